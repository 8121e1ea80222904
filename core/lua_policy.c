// SPDX-License-Identifier: Apache-2.0
// mncni.core.policy: what lua/mncni/policy.lua needs to find policies; policies themselves do not use it.
#define _GNU_SOURCE
#include "embed.h"
#include "lua_core.h"
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_META "mncni.policy_file"
#define PREFIX "policy "

static int file_gc(lua_State *L)
{
	mn_policy_file_clear(luaL_checkudata(L, 1, FILE_META));
	return 0;
}

// Pushes a userdata that holds a policy file, empty, and frees it whatever happens.
static struct mn_policy_file *push_file(lua_State *L)
{
	struct mn_policy_file *file = lua_newuserdatauv(L, sizeof(*file), 0);

	*file = (struct mn_policy_file){ 0 };
	luaL_setmetatable(L, FILE_META);
	return file;
}

// Returns the search path of this state: the one its maker chose, else the environment's or the default.
static const char *search_path(lua_State *L)
{
	const char *path = lua_getfield(L, LUA_REGISTRYINDEX, MN_POLICY_PATH_KEY) == LUA_TSTRING
		? lua_tostring(L, -1)
		: NULL;
	lua_pop(L, 1); // the registry keeps the string alive
	return path ? path : mn_policy_path();
}

// From now on the state may hold the code of a policy.
static void seal(lua_State *L)
{
	lua_pushboolean(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, MN_SEALED_KEY);
}

static int read_file(lua_State *L, const char *name)
{
	struct mn_policy_file *file = push_file(L);
	struct mn_error err;
	int ret = mn_policy_read(search_path(L), name, file, &err);

	if (ret == -ENOENT) {
		lua_pushnil(L);
		return 1;
	}
	if (ret < 0)
		return mn_lua_raise(L, &err);
	seal(L);
	if (lua_getfield(L, LUA_REGISTRYINDEX, MN_GUARD_KEY) == LUA_TFUNCTION) {
		lua_pushnil(L); // once: each call of it would begin to count anew
		lua_setfield(L, LUA_REGISTRYINDEX, MN_GUARD_KEY);
		lua_call(L, 0, 0);
	}
	lua_pushlstring(L, file->text, file->size);
	lua_pushstring(L, file->path);
	mn_policy_file_clear(file);
	return 2;
}

static const char *check_name(lua_State *L, int index)
{
	const char *name = luaL_checkstring(L, index);

	if (strlen(name) != lua_rawlen(L, index) || !mn_policy_name_ok(name)) {
		struct mn_error err;

		mn_fail(&err, 0, "load", NULL,
			"\"%.80s\" cannot be the name of a policy: letters, digits, \"_\", \".\" and \"-\" are allowed, "
			"a letter or digit first",
			name);
		err.code = MN_CODE_CONFIG;
		mn_lua_raise(L, &err);
	}
	return name;
}

// read(name) returns the text of a policy file and its path, or nil when no directory has it; raises when the
// file or a directory above it may not be trusted.
static int policy_read(lua_State *L)
{
	const char *name = check_name(L, 1);

	seal(L); // where there is no file, one that is built in is run
	return read_file(L, name);
}

// read_module(name) does the same for a module beside the policies; a dot in its name is a subdirectory.
static int policy_read_module(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);

	if (strlen(name) != lua_rawlen(L, 1) || !mn_policy_name_ok(name) || strstr(name, "..") ||
		name[strlen(name) - 1] == '.') {
		lua_pushnil(L);
		return 1;
	}
	return read_file(L, luaL_gsub(L, name, ".", "/"));
}

static int count_directory(const char *directory, void *data)
{
	(void)directory;
	++*(int *)data;
	return 0;
}

// Stops at the directory whose turn it is, and leaves a copy of it in file->path.
struct pick {
	int left;
	struct mn_policy_file *file;
};

static int pick_directory(const char *directory, void *data)
{
	struct pick *pick = data;

	if (pick->left-- > 0)
		return 0;
	pick->file->path = strdup(directory);
	return 1;
}

// directories() returns the list of directories in which policies are looked for, in order.
static int policy_directories(lua_State *L)
{
	const char *path = search_path(L);
	int count = 0;

	mn_policy_each_directory(path, count_directory, &count);
	lua_createtable(L, count, 0);
	for (int i = 0; i < count; i++) {
		struct mn_policy_file *file = push_file(L);
		struct pick pick = { .left = i, .file = file };

		mn_policy_each_directory(path, pick_directory, &pick);
		lua_pushstring(L, file->path);
		lua_seti(L, -3, i + 1);
		lua_pop(L, 1);
	}
	return 1;
}

static int add_name(const char *name, void *data)
{
	struct mn_policy_file *names = data;
	size_t length = strlen(name) + 1;
	char *text = realloc(names->text, names->size + length);

	if (!text)
		return -ENOMEM;
	memcpy(text + names->size, name, length);
	names->text = text;
	names->size += length;
	return 0;
}

// list(directory) returns the names of the policy files in a directory, in no order; raises when it may not
// be trusted.
static int policy_list(lua_State *L)
{
	const char *directory = luaL_checkstring(L, 1);
	struct mn_policy_file *names = push_file(L);
	struct mn_error err = { 0 };
	lua_Integer n = 0;

	if (mn_policy_list(directory, add_name, names, &err) < 0)
		return mn_lua_raise(L, &err);
	lua_newtable(L);
	for (size_t at = 0; at < names->size; at += strlen(names->text + at) + 1) {
		lua_pushstring(L, names->text + at);
		lua_seti(L, -2, ++n);
	}
	mn_policy_file_clear(names);
	return 1;
}

// Returns what this program carries; the list is empty in a stock interpreter.
static const struct mn_embedded *embedded(lua_State *L)
{
	static const struct mn_embedded none = { 0 };
	const struct mn_embedded *list;

	lua_getfield(L, LUA_REGISTRYINDEX, MN_EMBEDDED_KEY);
	list = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return list ? list : &none;
}

// builtins() returns the names of the policies that are part of this program.
static int policy_builtins(lua_State *L)
{
	lua_Integer n = 0;

	lua_newtable(L);
	for (const struct mn_embedded *entry = embedded(L); entry->name; entry++) {
		if (strncmp(entry->name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		lua_pushstring(L, entry->name + strlen(PREFIX));
		lua_seti(L, -2, ++n);
	}
	return 1;
}

static const struct mn_embedded *find_builtin(lua_State *L, const char *name)
{
	const struct mn_embedded *entry = embedded(L);

	for (; entry->name; entry++) {
		if (strncmp(entry->name, PREFIX, strlen(PREFIX)) == 0 &&
			strcmp(entry->name + strlen(PREFIX), name) == 0)
			return entry;
	}
	return NULL;
}

// builtin(name) runs a built-in policy and returns its table of hooks; nil when there is none of that name.
static int policy_builtin(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	const struct mn_embedded *entry = find_builtin(L, name);

	if (!entry) {
		lua_pushnil(L);
		return 1;
	}
	if (luaL_loadbufferx(L, (const char *)entry->code, entry->size, entry->name, "b") != LUA_OK)
		lua_error(L);
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

int mn_open_policy(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "read", policy_read },
		{ "read_module", policy_read_module },
		{ "directories", policy_directories },
		{ "list", policy_list },
		{ "builtins", policy_builtins },
		{ "builtin", policy_builtin },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, FILE_META)) {
		lua_pushcfunction(L, file_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
