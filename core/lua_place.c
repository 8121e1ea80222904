// SPDX-License-Identifier: Apache-2.0
// core.place: the line of a policy that is being executed.
#include "lua_core.h"

#include <string.h>

// A deep recursion of ours is not worth a walk through all of it.
#define LEVELS 100

// Tells whether a chunk of this source (lua_Debug) is one of mncni's own files, whose lines mean nothing to
// the writer of a policy. Built in, they have no lines.
static bool is_ours(const char *source)
{
	static const char checkout[] = "@lua/mncni/";

	return strncmp(source, checkout, sizeof(checkout) - 1) == 0 || strstr(source, "/lua/5.4/mncni/");
}

bool mn_place(lua_State *L, int level, lua_Debug *ar)
{
	lua_Debug own = { 0 };

	for (int last = level + LEVELS; level < last && lua_getstack(L, level, ar); level++) {
		lua_getinfo(L, "l", ar);
		if (ar->currentline <= 0)
			continue;
		lua_getinfo(L, "S", ar);
		if (!is_ours(ar->source))
			return true;
		if (!own.currentline)
			own = *ar;
	}
	*ar = own;
	return false;
}

const char *mn_place_file(const lua_Debug *ar)
{
	return *ar->source == '@' || *ar->source == '=' ? ar->source + 1 : ar->short_src;
}

// place() returns the file and the line of the nearest frame that is a policy's, or whoever's calls mncni;
// nothing when there is none.
static int place(lua_State *L)
{
	lua_Debug ar;

	if (!mn_place(L, 1, &ar))
		return 0;
	lua_pushstring(L, mn_place_file(&ar));
	lua_pushinteger(L, ar.currentline);
	return 2;
}

int mn_open_place(lua_State *L)
{
	lua_pushcfunction(L, place);
	return 1;
}
