// SPDX-License-Identifier: Apache-2.0
// mncni.core.regex: POSIX extended regular expressions, for files that others write (Lua's patterns are
// others).
#include "lua_args.h"
#include "posix_regex.h"

// regex.match(pattern, text) -> whether the pattern is found in text. Raises what is no pattern (EINVAL).
static int match(lua_State *L)
{
	const char *pattern = luaL_checkstring(L, 1), *text = luaL_checkstring(L, 2);
	struct mn_error err;
	bool matches;

	if (mn_regex_match(pattern, text, &matches, &err) < 0)
		return mn_lua_raise(L, &err);
	lua_pushboolean(L, matches);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "match", match },
	{ NULL, NULL },
};

int mn_open_regex(lua_State *L)
{
	luaL_newlib(L, functions);
	return 1;
}
