// SPDX-License-Identifier: Apache-2.0
// mncni.nft: nft's own language, and its JSON, as a module.
#include "lua_nftables.h"

#include "lua_args.h"
#include "nftables.h"

#include <string.h>

#define META "mncni.nft"
#define NETNS_META "mncni.netns" // of the core

// Puts core.json's function of that name in the place of the value on top of the stack, called with it.
static void through_json(lua_State *L, const char *function)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "mncni.core");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "json");
	lua_getfield(L, -1, function);
	lua_replace(L, -3);
	lua_pop(L, 1);
	lua_insert(L, -2);
	lua_call(L, 1, 1);
}

// Turns the value on top of the stack into a table with it under the key, or, without one, at 1.
static void wrap(lua_State *L, const char *key)
{
	lua_createtable(L, 1, 1);
	lua_insert(L, -2);
	if (key)
		lua_setfield(L, -2, key);
	else
		lua_seti(L, -2, 1);
}

// Leaves a string on the stack: commands as they are, or tables as JSON: { nftables = list }, the list, or
// one command of it.
static const char *push_commands(lua_State *L, const char *op, int index)
{
	size_t len;

	lua_pushvalue(L, index);
	if (lua_istable(L, -1)) {
		bool whole = lua_getfield(L, -1, "nftables") != LUA_TNIL;
		bool list = lua_geti(L, -2, 1) != LUA_TNIL;

		lua_pop(L, 2);
		if (!whole && !list)
			wrap(L, NULL);
		if (!whole)
			wrap(L, "nftables");
		through_json(L, "encode");
	}
	if (lua_type(L, -1) != LUA_TSTRING)
		mn_lua_bad_argument(L, op,
			"commands are a string, or a table as nft's JSON has them, not a %s",
			luaL_typename(L, -1));
	if (strlen(lua_tolstring(L, -1, &len)) != len)
		mn_lua_bad_argument(L, op, "there is a zero byte in the commands");
	return lua_tostring(L, -1);
}

static int nftables_close(lua_State *L)
{
	mn_nftables_close(luaL_checkudata(L, 1, META));
	return 0;
}

// Raises what the library says, with the place in the text.
static int raise_for(
	lua_State *L, const struct mn_nftables *nft, const struct mn_error *err, const char *details)
{
	mn_lua_push_error(L, err);
	if (nft->line) {
		lua_pushinteger(L, nft->line);
		lua_setfield(L, -2, "text_line");
		lua_pushinteger(L, nft->column);
		lua_setfield(L, -2, "text_column");
	}
	if (*details) {
		lua_pushstring(L, details);
		lua_setfield(L, -2, "details");
	}
	return lua_error(L);
}

static bool flag(lua_State *L, const char *name)
{
	bool value;

	if (lua_getfield(L, 1, name) > LUA_TBOOLEAN)
		mn_lua_bad_argument(
			L, "nft.run", "%s is true or false, not a %s", name, luaL_typename(L, -1));
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

// Defines the variables of the table on top of the stack.
static void define(lua_State *L, struct mn_nftables *nft)
{
	struct mn_error err;

	if (lua_isnil(L, -1))
		return;
	if (!lua_istable(L, -1))
		mn_lua_bad_argument(L, "nft.run", "define is a table of names and values");
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
			mn_lua_bad_argument(L, "nft.run", "define has names and values that are text");
		lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
		if (mn_nftables_define(nft, lua_tostring(L, -1), &err) < 0)
			mn_lua_raise(L, &err);
		lua_pop(L, 2);
	}
}

// Pushes the objects in the document on top of the stack, without what tells of the program.
static void push_objects(lua_State *L)
{
	lua_Integer count = 0;

	through_json(L, "decode");
	lua_getfield(L, -1, "nftables");
	lua_createtable(L, 0, 0);
	if (!lua_istable(L, -2))
		return;
	for (lua_Integer i = 1, n = luaL_len(L, -2); i <= n; i++) {
		int top = lua_gettop(L);

		if (lua_geti(L, -2, i) == LUA_TTABLE && lua_getfield(L, -1, "metainfo") == LUA_TNIL) {
			lua_pop(L, 1);
			lua_seti(L, -2, ++count);
		}
		lua_settop(L, top);
	}
}

// Does what run() says in the namespace that the thread is in. Its table is at 1, the commands, or nil, at 2.
static int run_here(lua_State *L)
{
	struct mn_nftables_options options = {
		.dry_run = flag(L, "dry_run"),
		.echo = flag(L, "echo"),
		.terse = flag(L, "terse"),
		.stateless = flag(L, "stateless"),
	};
	const char *file = lua_getfield(L, 1, "file") == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	struct mn_nftables *nft = lua_newuserdatauv(L, sizeof(*nft), 0);
	const char *output;
	struct mn_error err;

	memset(nft, 0, sizeof(*nft));
	luaL_setmetatable(L, META);
	lua_toclose(L, -1);
	if (mn_nftables_open(nft, &options, &err) < 0)
		mn_lua_raise(L, &err);
	lua_getfield(L, 1, "define");
	define(L, nft);
	if (mn_nftables_run(nft, lua_tostring(L, 2), file, &output, &err) < 0)
		return raise_for(L, nft, &err, output);
	if (!*output) {
		lua_createtable(L, 0, 0);
		return 1;
	}
	lua_pushstring(L, output);
	push_objects(L);
	return 1;
}

// Calls run_here with the table at 1 and the commands at 2, inside table.netns if that is there.
static int enter(lua_State *L, const char *op)
{
	lua_settop(L, 2);
	if (lua_getfield(L, 1, "netns") == LUA_TNIL) {
		lua_pushcfunction(L, run_here);
		lua_replace(L, 3);
	} else {
		if (!luaL_testudata(L, 3, NETNS_META))
			mn_lua_bad_argument(
				L, op, "netns is a handle of mncni.netns, not a %s", luaL_typename(L, 3));
		lua_getfield(L, 3, "run"); // run(handle, function, ...)
		lua_insert(L, 3);
		lua_pushcfunction(L, run_here);
	}
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_call(L, lua_gettop(L) - 3, 1);
	return 1;
}

// Puts a table of named arguments at 1, and the one without a name at 2; the keys are checked.
static void take_arguments(lua_State *L, const char *op, const char *const *keys)
{
	lua_settop(L, 1);
	lua_createtable(L, 0, 4);
	if (lua_istable(L, 1)) {
		lua_pushnil(L);
		while (lua_next(L, 1)) {
			if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) {
				lua_pop(L, 1);
				continue;
			}
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_settable(L, 2);
		}
		mn_lua_check_keys(L, 2, op, keys);
		lua_geti(L, 1, 1);
	} else {
		lua_pushvalue(L, 1);
	}
	lua_remove(L, 1);
}

// nft.run(commands) or nft.run{ commands, netns =, ... } -> list of objects
static int nft_run(lua_State *L)
{
	static const char *const keys[] = { "netns", "dry_run", "echo", "terse", "stateless", "file",
		"define", NULL };
	bool has_file;

	take_arguments(L, "nft.run", keys);
	has_file = lua_getfield(L, 1, "file") != LUA_TNIL;
	if (has_file && (lua_type(L, -1) != LUA_TSTRING || !lua_isnil(L, 2)))
		mn_lua_bad_argument(L, "nft.run", "file is a path, in place of commands");
	lua_settop(L, 2);
	if (!has_file)
		push_commands(L, "nft.run", 2);
	lua_replace(L, 2);
	return enter(L, "nft.run");
}

// nft.list([what]) or nft.list{ what, netns =, ... } -> list of objects
static int nft_list(lua_State *L)
{
	static const char *const keys[] = { "netns", "terse", "stateless", NULL };

	take_arguments(L, "nft.list", keys);
	if (lua_isnil(L, 2)) {
		lua_pushliteral(L, "ruleset");
		lua_replace(L, 2);
	}
	if (lua_type(L, 2) != LUA_TSTRING)
		mn_lua_bad_argument(L, "nft.list", "what is a string like \"table inet x\", not a %s",
			luaL_typename(L, 2));
	lua_pushfstring(L, "list %s", lua_tostring(L, 2));
	lua_replace(L, 2);
	return enter(L, "nft.list");
}

int luaopen_mncni_nft(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{ "__gc", nftables_close },
		{ "__close", nftables_close },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "run", nft_run },
		{ "list", nft_list },
		{ NULL, NULL },
	};

	lua_getglobal(L, "require"); // errors, JSON and namespaces are the core's
	lua_pushliteral(L, "mncni.core");
	lua_call(L, 1, 0);
	if (luaL_newmetatable(L, META))
		luaL_setfuncs(L, meta, 0);
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
