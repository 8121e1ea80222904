// SPDX-License-Identifier: Apache-2.0
// mncni.core.file: the face of file.h, and of trust.h for files that are not policies.
#define _GNU_SOURCE
#include "lua_core.h"

#include "file.h"
#include "huge.h"
#include "trust.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// file.replace(path, content, mode): see mn_file_replace(); raises what stands in the way.
static int file_replace(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	size_t size;
	const char *content = luaL_checklstring(L, 2, &size);
	lua_Integer mode = luaL_checkinteger(L, 3);
	struct mn_error err = { 0 };

	luaL_argcheck(L, mode >= 0 && mode <= 07777, 3, "a mode is 0 to 07777");
	if (mn_file_replace(path, content, size, (mode_t)mode, &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

// file.mode(path): the permissions of a regular file, nil when there is none.
static int file_mode(lua_State *L)
{
	struct stat st;

	if (lstat(luaL_checkstring(L, 1), &st) < 0 || !S_ISREG(st.st_mode))
		lua_pushnil(L);
	else
		lua_pushinteger(L, st.st_mode & 07777);
	return 1;
}

// file.trusted(path, max): the text of a file that nobody but root and the user running this can have
// changed, nil when there is none; raises what is wrong with it, or that it has more than max bytes.
static int file_trusted(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	lua_Integer max = luaL_checkinteger(L, 2);
	struct mn_error err = { 0 };
	char *text;
	size_t size;
	int result = mn_trust_read(path, (size_t)max, &text, &size, &err);

	if (result == -ENOENT) {
		lua_pushnil(L);
		return 1;
	}
	if (result < 0)
		mn_lua_raise(L, &err);
	lua_pushlstring(L, text, size);
	free(text);
	return 1;
}

// file.target(path): where a symbolic link leads, nil when there is none.
static int file_target(lua_State *L)
{
	char target[PATH_MAX];
	ssize_t n = readlink(luaL_checkstring(L, 1), target, sizeof(target));

	if (n < 0)
		lua_pushnil(L);
	else
		lua_pushlstring(L, target, (size_t)n);
	return 1;
}

// file.link(path, target): see mn_file_link(); raises what stands in the way.
static int file_link(lua_State *L)
{
	struct mn_error err = { 0 };

	if (mn_file_link(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

// file.same(path, other): whether both are regular files of the same content.
static int file_same(lua_State *L)
{
	lua_pushboolean(L, mn_file_same(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
	return 1;
}

// file.is_terminal(descriptor): whether a person is at the other end.
static int file_is_terminal(lua_State *L)
{
	lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
	return 1;
}

// file.read(path, max): the text of a regular file, without ever waiting; raises (code 7) what is wrong with
// it, or that it has more than max bytes.
static int file_read(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	lua_Integer max = luaL_checkinteger(L, 2);
	struct mn_error err = { 0 };
	char *text;
	size_t size;

	luaL_argcheck(L, max >= 0 && max <= INT32_MAX, 2, "a number of bytes is 0 to 2147483647");
	if (mn_file_read(path, (size_t)max, &text, &size, &err) < 0)
		mn_lua_raise(L, &err);
	lua_pushlstring(L, text, size);
	free(text);
	return 1;
}

// file.huge(path): see mn_huge_read(); how many bytes of it are in huge pages, and how many could be. Raises
// what stands in the way.
static int file_huge(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	struct mn_error err = { 0 };
	size_t size, whole;

	if (mn_huge_read(path, &size, &whole, &err) < 0)
		mn_lua_raise(L, &err);
	lua_pushinteger(L, (lua_Integer)size);
	lua_pushinteger(L, (lua_Integer)whole);
	return 2;
}

// file.leave(): see mn_huge_leave(); raises what stands in the way.
static int file_leave(lua_State *L)
{
	struct mn_error err = { 0 };

	(void)mn_huge_leave(&err);
	return mn_lua_raise(L, &err);
}

int mn_open_file(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "replace", file_replace },
		{ "mode", file_mode },
		{ "target", file_target },
		{ "link", file_link },
		{ "same", file_same },
		{ "is_terminal", file_is_terminal },
		{ "trusted", file_trusted },
		{ "read", file_read },
		{ "huge", file_huge },
		{ "leave", file_leave },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
