// SPDX-License-Identifier: Apache-2.0
// mncni.core.keys: the keys of a table, in order; mncni.core.contains: whether a list has a value;
// mncni.core.has_others: whether a table has keys that a list has not.
#include "lua_core.h"

#include "names.h"

#include <limits.h>

static lua_Integer count_keys(lua_State *L)
{
	lua_Integer count = 0;

	for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
		count++;
	return count;
}

// core.keys(t) returns the keys of a table as a list, in the order of their texts' bytes, whatever they are.
static int keys(lua_State *L)
{
	lua_Integer count, n = 0;
	struct mn_name few[MN_NAMES_FEW], *list = few;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	count = count_keys(L);
	if (count > INT_MAX / 2 - 10)
		return luaL_error(L, "too many keys");
	luaL_checkstack(L, 2 * (int)count + 10, "too many keys");
	lua_createtable(L, (int)count, 0);
	if (count > MN_NAMES_FEW)
		list = lua_newuserdatauv(L, (size_t)count * sizeof(*list), 0);
	for (lua_pushnil(L); lua_next(L, 1); n++) {
		lua_pop(L, 1);
		list[n].at = lua_gettop(L);
		if (lua_type(L, -1) == LUA_TSTRING)
			list[n].text = lua_tolstring(L, -1, &list[n].len);
		else
			list[n].text = luaL_tolstring(L, -1, &list[n].len);
		lua_pushvalue(L, list[n].at); // which lua_next takes away
	}
	mn_names_sort(list, (size_t)count);
	for (n = 0; n < count; n++) {
		lua_pushvalue(L, list[n].at);
		lua_rawseti(L, 2, n + 1);
	}
	lua_settop(L, 2);
	return 1;
}

// Tells whether one of the elements of the list at that index, up to the first nil, is the value on top.
static bool is_listed(lua_State *L, int list)
{
	int value = lua_gettop(L);
	bool found = false;

	for (lua_Integer i = 1; !found && lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
		found = lua_rawequal(L, value, -1);
		lua_settop(L, value);
	}
	lua_settop(L, value);
	return found;
}

// core.contains(list, value) tells whether one of the list's elements, up to the first nil, is the value.
static int contains(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	lua_pushboolean(L, is_listed(L, 1));
	return 1;
}

// core.has_others(t, list) tells whether the table has a key that is none of the list's elements.
static int has_others(lua_State *L)
{
	bool found = false;

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	for (lua_pushnil(L); !found && lua_next(L, 1);) {
		lua_pop(L, 1);
		found = !is_listed(L, 2);
	}
	lua_pushboolean(L, found);
	return 1;
}

int mn_open_contains(lua_State *L)
{
	lua_pushcfunction(L, contains);
	return 1;
}

int mn_open_has_others(lua_State *L)
{
	lua_pushcfunction(L, has_others);
	return 1;
}

int mn_open_keys(lua_State *L)
{
	lua_pushcfunction(L, keys);
	return 1;
}
