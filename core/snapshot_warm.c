// SPDX-License-Identifier: Apache-2.0
// What each call of a program would write into its snapshot, for each of which the kernel copies a page. What
// has to be written is made first, so that it lies in the same few; which metamethods a metatable lacks,
// which Lua notes in it when it is first asked, is noted before the snapshot is taken.
#define _GNU_SOURCE
#include "lua_core.h"
#include "state.h"

#include <lualib.h>
#include <stdbool.h>

static const char *const names[] = { "__index", "__newindex", "__mode", "__name", "__close", "__tostring" };

static bool has(lua_State *L, int table, const char *name)
{
	bool found;

	lua_pushstring(L, name);
	found = lua_rawget(L, table) != LUA_TNIL;
	lua_pop(L, 1);
	return found;
}

// Whether a table is a metatable, as far as its keys tell.
static bool is_metatable(lua_State *L, int table)
{
	bool found = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !found; i++)
		found = has(L, table, names[i]);
	return found;
}

// Gives the metatable at that index to two tables that nobody keeps, and asks for what it lacks.
static void ask(lua_State *L, int table)
{
	int top = lua_gettop(L);

	if (has(L, table, "__gc")) // it would be called for them
		return;
	for (int i = 0; i < 2; i++) {
		lua_newtable(L);
		lua_pushvalue(L, table);
		lua_setmetatable(L, -2);
	}
	if (!has(L, table, "__newindex")) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "x");
	}
	if (!has(L, table, "__index"))
		lua_getfield(L, top + 2, "y");
	if (!has(L, table, "__len"))
		lua_len(L, top + 2);
	if (!has(L, table, "__eq"))
		(void)lua_compare(L, top + 1, top + 2, LUA_OPEQ);
	lua_settop(L, top);
}

// Goes through the value on top, which it pops, and all that it leads to; what was seen is in the table at
// `seen`.
static void walk(lua_State *L, int seen)
{
	int value = lua_gettop(L), type = lua_type(L, value);

	luaL_checkstack(L, 8, "too deep");
	lua_pushvalue(L, value);
	if ((type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TUSERDATA) ||
		lua_rawget(L, seen) != LUA_TNIL) {
		lua_settop(L, value - 1);
		return;
	}
	lua_pushvalue(L, value);
	lua_pushboolean(L, 1);
	lua_rawset(L, seen);
	lua_settop(L, value);
	if (lua_getmetatable(L, value))
		walk(L, seen);
	if (type == LUA_TFUNCTION) {
		for (int i = 1; lua_getupvalue(L, value, i); i++)
			walk(L, seen);
	} else if (type == LUA_TTABLE) {
		if (is_metatable(L, value))
			ask(L, value);
		for (lua_pushnil(L); lua_next(L, value);) {
			walk(L, seen);
			lua_pushvalue(L, -1);
			walk(L, seen);
		}
	}
	lua_settop(L, value - 1);
}

#define REGISTRY 64 // entries, twice as many as there are

// Makes room in the registry for all that is kept there.
static void grow_registry(lua_State *L)
{
	static const char places[REGISTRY - 16];

	for (size_t i = 0; i < sizeof(places); i++) {
		lua_pushboolean(L, 1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &places[i]);
	}
	for (size_t i = 0; i < sizeof(places); i++) {
		lua_pushnil(L);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &places[i]);
	}
}

int mn_snapshot_reserve(lua_State *L)
{
	luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1); // with the state of its random numbers
	grow_registry(L);
	return 0;
}

int mn_snapshot_warm(lua_State *L)
{
	lua_newtable(L);
	lua_pushvalue(L, LUA_REGISTRYINDEX);
	walk(L, lua_gettop(L) - 1);
	return 0;
}
