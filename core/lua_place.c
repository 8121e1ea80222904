// SPDX-License-Identifier: Apache-2.0
// core.place: the line of a policy that is being executed.
#include "lua_core.h"

#include <string.h>

bool mn_place_is_ours(const char *source)
{
	// Built in, the library has no lines and no names: "=?".
	return *source == '=' || strstr(source, "lua/mncni/") || strstr(source, "5.4/mncni/");
}

// place() returns the file and the line of the nearest frame that is a policy's, or whoever's calls mncni;
// nothing when there is none.
static int place(lua_State *L)
{
	lua_Debug ar;

	for (int level = 1; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "l", &ar);
		if (ar.currentline <= 0)
			continue;
		lua_getinfo(L, "S", &ar);
		if (mn_place_is_ours(ar.source))
			continue;
		lua_pushstring(L, ar.short_src);
		lua_pushinteger(L, ar.currentline);
		return 2;
	}
	return 0;
}

int mn_open_place(lua_State *L)
{
	lua_pushcfunction(L, place);
	return 1;
}
