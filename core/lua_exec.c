// SPDX-License-Identifier: Apache-2.0
// mncni.core.exec{...}: runs a program to its end, or to its deadline.
#define _GNU_SOURCE
#include "exec.h"
#include "lua_args.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OP "exec"
#define META "mncni.exec"
#define DEFAULT_TIMEOUT 60000	 // ms
#define DEFAULT_OUTPUT (1 << 20) // bytes
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int result_free(lua_State *L)
{
	mn_exec_free(luaL_checkudata(L, 1, META));
	return 0;
}

// The string at the top of the stack, without zeros in it.
static const char *check_text(lua_State *L, const char *what)
{
	size_t length;
	const char *text = lua_tolstring(L, -1, &length);

	if (!text || strlen(text) != length)
		mn_lua_bad_argument(L, OP, "%s must be a string without zero bytes, got %s", what,
			text ? "one with a zero byte" : luaL_typename(L, -1));
	return text;
}

// Pushes the array of argv's strings, which a table pushed before it keeps alive.
static const char **push_argv(lua_State *L)
{
	const char **argv;
	lua_Integer count;

	if (lua_getfield(L, 1, "argv") != LUA_TTABLE)
		mn_lua_bad_argument(L, OP, "argv must be a list of strings, the program first, got %s",
			luaL_typename(L, -1));
	count = luaL_len(L, -1);
	if (count < 1 || count > INT_MAX)
		mn_lua_bad_argument(L, OP, "argv must name at least the program");
	lua_newtable(L);
	argv = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof(*argv), 0);
	for (lua_Integer i = 1; i <= count; i++) {
		lua_geti(L, -3, i);
		argv[i - 1] = check_text(L, "an entry of argv");
		lua_rawseti(L, -3, i);
	}
	argv[count] = NULL;
	return argv;
}

// Pushes the array of "K=V" strings, which a table pushed before it keeps alive.
static const char **push_env(lua_State *L)
{
	const char **env;
	size_t count = 0;
	int table;

	if (lua_getfield(L, 1, "env") == LUA_TNIL)
		return (const char **)environ;
	table = lua_gettop(L);
	if (lua_type(L, table) != LUA_TTABLE)
		mn_lua_bad_argument(
			L, OP, "env must be a table of strings by name, got %s", luaL_typename(L, -1));
	lua_newtable(L);
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
		count++;
	env = lua_newuserdatauv(L, (count + 1) * sizeof(*env), 0);
	count = 0;
	for (lua_pushnil(L); lua_next(L, table); count++) {
		const char *name;

		if (lua_type(L, -2) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP, "env must be a table of strings by name");
		check_text(L, "a value of env");
		lua_pushvalue(L, -2);
		name = check_text(L, "a name in env");
		if (!*name || strchr(name, '='))
			mn_lua_bad_argument(L, OP, "\"%s\" is not a name for a variable", name);
		env[count] = lua_pushfstring(L, "%s=%s", name, lua_tostring(L, -2));
		lua_rawseti(L, table + 1, (lua_Integer)count + 1);
		lua_pop(L, 2);
	}
	env[count] = NULL;
	return env;
}

static lua_Integer opt_number(lua_State *L, const char *key, lua_Integer otherwise, lua_Integer max)
{
	lua_Integer value = otherwise;

	if (lua_getfield(L, 1, key) != LUA_TNIL) {
		int is_integer;

		value = lua_tointegerx(L, -1, &is_integer);
		if (!is_integer || value < 1 || value > max)
			mn_lua_bad_argument(
				L, OP, "%s must be an integer from 1 to " LUA_INTEGER_FMT, key, max);
	}
	lua_pop(L, 1);
	return value;
}

static const char *search_path(const char *const *env)
{
	const char *path = NULL;

	for (; *env && !path; env++)
		if (!strncmp(*env, "PATH=", 5))
			path = *env + 5;
	return path ? path : DEFAULT_PATH;
}

static int push_result(lua_State *L, struct mn_exec_result *result)
{
	lua_createtable(L, 0, 6);
	if (result->status >= 0) {
		lua_pushinteger(L, result->status);
		lua_setfield(L, -2, "status");
	}
	if (result->signal) {
		lua_pushinteger(L, result->signal);
		lua_setfield(L, -2, "signal");
	}
	lua_pushlstring(L, result->output, result->output_size);
	lua_setfield(L, -2, "stdout");
	lua_pushlstring(L, result->errors, result->errors_size);
	lua_setfield(L, -2, "stderr");
	lua_pushboolean(L, result->timed_out);
	lua_setfield(L, -2, "timed_out");
	lua_pushboolean(L, result->overflow);
	lua_setfield(L, -2, "overflow");
	mn_exec_free(result);
	return 1;
}

// exec{argv=, env=, stdin=, timeout=, max_output=} -> {status=, signal=, stdout=, stderr=, timed_out=,
// overflow=}. env is complete when given, else ours; timeout in milliseconds; a program without "/" is looked
// for in env's PATH.
static int exec(lua_State *L)
{
	static const char *const keys[] = { "argv", "env", "stdin", "timeout", "max_output", NULL };
	struct mn_exec what = { 0 };
	struct mn_exec_result *result;
	struct mn_error err;
	char path[PATH_MAX];

	mn_lua_check_keys(L, 1, OP, keys);
	lua_settop(L, 1);
	what.timeout_ms = (int)opt_number(L, "timeout", DEFAULT_TIMEOUT, INT_MAX);
	what.max_output = (size_t)opt_number(L, "max_output", DEFAULT_OUTPUT, 1 << 30);
	what.argv = push_argv(L);
	what.env = push_env(L);
	if (lua_getfield(L, 1, "stdin") != LUA_TNIL) {
		if (lua_type(L, -1) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP, "stdin must be a string, got %s", luaL_typename(L, -1));
		what.input = lua_tolstring(L, -1, &what.input_size);
	}
	what.path = path;
	result = lua_newuserdatauv(L, sizeof(*result), 0);
	memset(result, 0, sizeof(*result));
	luaL_setmetatable(L, META);
	if (mn_exec_find(what.argv[0], search_path(what.env), path, sizeof(path), &err) < 0 ||
		mn_exec(&what, result, &err) < 0)
		return mn_lua_raise(L, &err);
	return push_result(L, result);
}

// find_program(name, directories) -> path of the first executable file of that name in a colon list, or nil.
static int find_program(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1), *directories = luaL_checkstring(L, 2);
	struct mn_error err = { 0 };
	char path[PATH_MAX];

	if (mn_exec_find(name, directories, path, sizeof(path), &err) < 0)
		lua_pushnil(L);
	else
		lua_pushstring(L, path);
	return 1;
}

int mn_open_find_program(lua_State *L)
{
	lua_pushcfunction(L, find_program);
	return 1;
}

int mn_open_exec(lua_State *L)
{
	if (luaL_newmetatable(L, META)) {
		lua_pushcfunction(L, result_free);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, exec);
	return 1;
}
