// SPDX-License-Identifier: Apache-2.0
// mncni.core.directory: the face of directory.h.
#include "lua_core.h"

#include "directory.h"

#include <dirent.h>
#include <errno.h>

#define LISTING_META "mncni.listing"

// directory.usable(path): raises what would stop files from being made there. Changes nothing.
static int directory_usable(lua_State *L)
{
	struct mn_error err = { 0 };

	if (mn_directory_usable(luaL_checkstring(L, 1), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

// A directory that is being read, which a raise meanwhile does not leak.
static int listing_close(lua_State *L)
{
	DIR **dir = lua_touserdata(L, 1);

	if (*dir)
		closedir(*dir);
	*dir = NULL;
	return 0;
}

// directory.list(path): the names of what is in it, in no order, without those that begin with a dot; nil
// when there is no such directory. Raises why it cannot be read.
static int directory_list(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	DIR **dir = lua_newuserdatauv(L, sizeof(DIR *), 0);
	struct dirent *entry;
	struct mn_error err = { 0 };
	lua_Integer n = 0;

	*dir = NULL;
	luaL_setmetatable(L, LISTING_META);
	lua_newtable(L);
	*dir = opendir(path);
	if (!*dir && (errno == ENOENT || errno == ENOTDIR)) {
		lua_pushnil(L);
		return 1;
	}
	errno = *dir ? 0 : errno;
	while (*dir && (entry = readdir(*dir))) {
		if (entry->d_name[0] != '.') {
			lua_pushstring(L, entry->d_name);
			lua_rawseti(L, -2, ++n);
		}
		errno = 0;
	}
	if (errno) {
		mn_fail(&err, errno, "list", path, "it cannot be read");
		err.code = 5;
		mn_lua_raise(L, &err);
	}
	lua_pushcfunction(L, listing_close);
	lua_pushvalue(L, 2);
	lua_call(L, 1, 0);
	lua_settop(L, 3);
	return 1;
}

int mn_open_directory(lua_State *L)
{
	if (luaL_newmetatable(L, LISTING_META)) {
		lua_pushcfunction(L, listing_close);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, directory_usable);
	lua_setfield(L, -2, "usable");
	lua_pushcfunction(L, directory_list);
	lua_setfield(L, -2, "list");
	return 1;
}
