// SPDX-License-Identifier: Apache-2.0
// mncni.core.directory: the face of directory.h.
#include "lua_core.h"

#include "directory.h"

// directory.usable(path): raises what would stop files from being made there. Changes nothing.
static int directory_usable(lua_State *L)
{
	struct mn_error err = { 0 };

	if (mn_directory_usable(luaL_checkstring(L, 1), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

int mn_open_directory(lua_State *L)
{
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, directory_usable);
	lua_setfield(L, -2, "usable");
	return 1;
}
