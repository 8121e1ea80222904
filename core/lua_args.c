// SPDX-License-Identifier: Apache-2.0
#include "lua_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nearest.h"

int mn_lua_bad_argument(lua_State *L, const char *what, const char *message, ...)
{
	struct mn_error err = { 0 };
	va_list args;

	snprintf(err.op, sizeof(err.op), "%s", what);
	va_start(args, message);
	vsnprintf(err.message, sizeof(err.message), message, args);
	va_end(args);
	mn_lua_raise(L, &err);
}

static void unknown_key(lua_State *L, const char *what, const char *key, const char *const *known)
{
	const char *near = mn_nearest(key, known);
	char names[384];
	size_t used = 0;

	if (near)
		mn_lua_bad_argument(L, what, "unknown key \"%.64s\"; did you mean \"%s\"?", key, near);
	names[0] = '\0';
	for (const char *const *name = known; *name && used < sizeof(names); name++)
		used += (size_t)snprintf(
			names + used, sizeof(names) - used, "%s%s", name == known ? "" : ", ", *name);
	mn_lua_bad_argument(L, what, "unknown key \"%.64s\"; the known ones are %s", key, names);
}

void mn_lua_check_keys(lua_State *L, int idx, const char *what, const char *const *known)
{
	idx = lua_absindex(L, idx);
	if (lua_type(L, idx) != LUA_TTABLE)
		mn_lua_bad_argument(
			L, what, "expected a table of named arguments, got %s", luaL_typename(L, idx));
	luaL_checkstack(L, 4, what);
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		const char *const *name = known;
		const char *key;
		size_t len;

		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING) {
			key = luaL_tolstring(L, -1, NULL);
			mn_lua_bad_argument(
				L, what, "unexpected value at [%.64s]; arguments have names", key);
		}
		key = lua_tolstring(L, -1, &len);
		while (*name && strcmp(*name, key) != 0)
			name++;
		if (!*name || strlen(key) != len)
			unknown_key(L, what, key, known);
	}
}

// nearest(name, names) -> the member of the list names that name most likely meant, or nil when none is near.
static int nearest(lua_State *L)
{
	struct mn_nearest search;
	lua_Integer count;

	mn_nearest_start(&search, luaL_checkstring(L, 1));
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	lua_pushnil(L); // the name found so far, kept alive
	count = luaL_len(L, 2);
	for (lua_Integer i = 1; i <= count; i++) {
		const char *before = search.found;

		if (lua_geti(L, 2, i) == LUA_TSTRING)
			mn_nearest_offer(&search, lua_tostring(L, -1));
		if (search.found != before)
			lua_replace(L, 3);
		else
			lua_pop(L, 1);
	}
	return 1;
}

int mn_open_nearest(lua_State *L)
{
	lua_pushcfunction(L, nearest);
	return 1;
}
