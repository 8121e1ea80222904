// SPDX-License-Identifier: Apache-2.0
// mncni.core.keys: the keys of a table, in order.
#include "lua_core.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct key {
	const char *text; // borrowed from what is on the stack
	size_t len;
	int at; // where the key is there
};

static int by_text(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

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
	struct key few[16], *list = few;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	count = count_keys(L);
	if (count > INT_MAX / 2 - 10)
		return luaL_error(L, "too many keys");
	luaL_checkstack(L, 2 * (int)count + 10, "too many keys");
	lua_createtable(L, (int)count, 0);
	if ((size_t)count > sizeof(few) / sizeof(few[0]))
		list = lua_newuserdatauv(L, (size_t)count * sizeof(*list), 0);
	for (lua_pushnil(L); lua_next(L, 1); n++) {
		lua_pop(L, 1);
		list[n].at = lua_gettop(L);
		list[n].text = luaL_tolstring(L, -1, &list[n].len);
		lua_pushvalue(L, -2);
	}
	qsort(list, (size_t)count, sizeof(*list), by_text);
	for (n = 0; n < count; n++) {
		lua_pushvalue(L, list[n].at);
		lua_rawseti(L, 2, n + 1);
	}
	lua_settop(L, 2);
	return 1;
}

int mn_open_keys(lua_State *L)
{
	lua_pushcfunction(L, keys);
	return 1;
}
