// SPDX-License-Identifier: Apache-2.0
// The libraries of a bounded state: Lua's own, without what would end the process, escape the limits, crash
// Lua 5.4.4 (bytecode, generational collection, deeply nested coroutine.close) or write to stdout, which
// belongs to the host.
#define _GNU_SOURCE
#include "embed.h"
#include "lua_args.h"
#include "lua_core.h"
#include "state.h"

#include <lualib.h>
#include <stdio.h>
#include <string.h>

#define MAX_CLOSING 100

// There in a program that was linked with them: the agent.
__attribute__((weak)) int luaopen_mncni_http(lua_State *L);
__attribute__((weak)) int luaopen_mncni_httpd(lua_State *L);

// There in the plugin, for `mncni repl` and `mncni trace`; found only by name, so that a call knows nothing
// of them.
__attribute__((weak)) int luaopen_mncni_line(lua_State *L);
__attribute__((weak)) int luaopen_mncni_trace_core(lua_State *L);

// Raises the text that is its upvalue: what stands in for a function that is not there.
static int refuse(lua_State *L)
{
	return luaL_error(L, "%s", lua_tostring(L, lua_upvalueindex(1)));
}

static int print(lua_State *L)
{
	int count = lua_gettop(L);

	for (int i = 1; i <= count; i++) {
		size_t size;
		const char *text = luaL_tolstring(L, i, &size);

		if (i > 1)
			fputc('\t', stderr);
		fwrite(text, 1, size, stderr);
		lua_pop(L, 1);
	}
	fputc('\n', stderr);
	return 0;
}

// load(chunk, name, mode, env) as Lua's own, with the mode "t" whatever was asked for.
static int load_text(lua_State *L)
{
	if (lua_gettop(L) < 3)
		lua_settop(L, 3);
	lua_pushliteral(L, "t");
	lua_replace(L, 3);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

// collectgarbage(...) as Lua's own but for the generational mode, which has a bug in 5.4.4.
static int collect_garbage(lua_State *L)
{
	if (strcmp(luaL_optstring(L, 1, "collect"), "generational") == 0)
		return luaL_error(L, "the generational collector is not available");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

// A new coroutine has a count of its own, so what it may run uncounted is counted when it is made.
static int make_coroutine(lua_State *L)
{
	mn_state_charge(L, 1000);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

// Hooks are off in the message handler of an error that a hook raised, so once the state has expired none is
// called.
static int handle_message(lua_State *L)
{
	if (mn_state_of(L)->expired)
		return 1;
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int return_all(lua_State *L, int status, lua_KContext context)
{
	(void)status;
	(void)context;
	return lua_gettop(L);
}

// xpcall(f, handler, ...) as Lua's own; f may yield.
static int protected_call(lua_State *L)
{
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, handle_message, 1);
	lua_replace(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
	return lua_gettop(L);
}

// Lua 5.4.4 does not bound how deep coroutine.close nests, and overflows the C stack.
static int close_coroutine(lua_State *L)
{
	struct mn_state *state = mn_state_of(L);
	int status;

	mn_state_charge(L, 0); // a coroutine that was stopped has its hooks off, and would run its __close
			       // without limits
	if (state->closing >= MAX_CLOSING)
		return luaL_error(L, "coroutine.close is nested more than %d deep", MAX_CLOSING);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	state->closing++;
	status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
	state->closing--;
	return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

// Replaces table[name], the table on top, by a function that has the old one as its upvalue.
static void wrap(lua_State *L, const char *name, lua_CFunction function)
{
	lua_getfield(L, -1, name);
	lua_pushcclosure(L, function, 1);
	lua_setfield(L, -2, name);
}

// Replaces table[name], the table on top, by a function that raises the text.
static void forbid(lua_State *L, const char *name, const char *text)
{
	lua_pushstring(L, text);
	lua_pushcclosure(L, refuse, 1);
	lua_setfield(L, -2, name);
}

static void restrict_base(lua_State *L)
{
	lua_pushglobaltable(L);
	lua_pushcfunction(L, print);
	lua_setfield(L, -2, "print");
	wrap(L, "load", load_text);
	wrap(L, "collectgarbage", collect_garbage);
	wrap(L, "xpcall", protected_call);
	forbid(L, "dofile",
		"dofile is not available: require finds Lua files beside the policies, and checks their owner");
	forbid(L, "loadfile",
		"loadfile is not available: require finds Lua files beside the policies, and checks their owner");
	lua_pop(L, 1);

	lua_getglobal(L, LUA_STRLIBNAME);
	forbid(L, "dump", "string.dump is not available: only source text is run");
	lua_pop(L, 1);

	lua_getglobal(L, LUA_OSLIBNAME);
	forbid(L, "exit", "os.exit is not available: raise an error instead");
	lua_pop(L, 1);

	lua_getglobal(L, LUA_COLIBNAME);
	wrap(L, "create", make_coroutine);
	wrap(L, "wrap", make_coroutine);
	wrap(L, "close", close_coroutine);
	lua_pop(L, 1);
}

// io.stdout and io.write go to stderr.
static void restrict_io(lua_State *L)
{
	lua_getglobal(L, LUA_IOLIBNAME);
	lua_getfield(L, -1, "stderr");
	lua_setfield(L, -2, "stdout");
	lua_getfield(L, -1, "output");
	lua_getfield(L, -2, "stderr");
	lua_call(L, 1, 0);
	lua_pop(L, 1);
}

static void restrict_debug(lua_State *L)
{
	static const char *const kept[] = { "traceback", "getinfo" };

	lua_getglobal(L, LUA_DBLIBNAME);
	lua_createtable(L, 0, 2);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		lua_getfield(L, -2, kept[i]);
		lua_setfield(L, -2, kept[i]);
	}
	lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, LUA_DBLIBNAME);
	lua_pop(L, 1);
	lua_setglobal(L, LUA_DBLIBNAME);
	lua_pop(L, 1);
}

// A searcher for require: the modules that are part of this program.
static int search_embedded(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);

	for (const struct mn_embedded *entry = mn_embedded; entry->name; entry++) {
		if (strcmp(entry->name, name) != 0)
			continue;
		if (luaL_loadbufferx(L, (const char *)entry->code, entry->size, name, "b") != LUA_OK)
			return lua_error(L);
		lua_pushliteral(L, "built in");
		return 2;
	}
	if (luaopen_mncni_line && strcmp(name, "mncni.line") == 0) {
		lua_pushcfunction(L, luaopen_mncni_line);
		return 1;
	}
	if (luaopen_mncni_trace_core && strcmp(name, "mncni.trace_core") == 0) {
		lua_pushcfunction(L, luaopen_mncni_trace_core);
		return 1;
	}
	lua_pushfstring(L, "no built-in module '%s'", name);
	return 1;
}

static lua_Integer limit_field(lua_State *L, const char *key)
{
	lua_Integer value;

	lua_getfield(L, 1, key);
	value = luaL_optinteger(L, -1, 0);
	lua_pop(L, 1);
	if (value < 0)
		mn_lua_bad_argument(L, "limit", "%s is below 0", key);
	return value;
}

// limit{ memory = bytes, instructions =, wall_ms = } changes what the state may use, as mn_state_limit()
// does. Only before the first policy is loaded: none lifts its own limits by calling it.
static int state_limit(lua_State *L)
{
	static const char *const keys[] = { "memory", "instructions", "wall_ms", NULL };
	struct mn_limits limits;

	mn_lua_check_keys(L, 1, "limit", keys);
	if (lua_getfield(L, LUA_REGISTRYINDEX, MN_SEALED_KEY) != LUA_TNIL)
		mn_lua_bad_argument(
			L, "limit", "the limits are set before a policy is loaded, and stay then");
	limits = (struct mn_limits){
		.memory = (size_t)limit_field(L, "memory"),
		.instructions = (uint64_t)limit_field(L, "instructions"),
		.wall_ms = (unsigned int)limit_field(L, "wall_ms"),
	};
	if (mn_state_limit(mn_state_of(L), &limits) < 0)
		return luaL_error(L, "the limits of the state could not be changed");
	return 0;
}

// short_at() tells the file and line at which memory ran out last; nothing where that is not known.
static int state_short_at(lua_State *L)
{
	const struct mn_state *state = mn_state_of(L);

	if (!state->refused || !state->report.line)
		return 0;
	lua_pushstring(L, state->report.file);
	lua_pushinteger(L, state->report.line);
	return 2;
}

// mncni.state: what only a bounded state has.
static int open_state(lua_State *L)
{
	static const luaL_Reg functions[] = { { "limit", state_limit }, { "short_at", state_short_at },
		{ NULL, NULL } };

	luaL_newlib(L, functions);
	return 1;
}

// require finds what is preloaded and what is built in; mncni.policy adds the files beside the user's
// policies. package is on top.
static void restrict_package(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "path");
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "cpath");
	forbid(L, "loadlib", "package.loadlib is not available");
	lua_createtable(L, 3, 0);
	lua_getfield(L, -2, "searchers");
	lua_geti(L, -1, 1);
	lua_seti(L, -3, 1);
	lua_pop(L, 1);
	lua_pushcfunction(L, search_embedded);
	lua_seti(L, -2, 2);
	lua_setfield(L, -2, "searchers");
}

// At a prompt it finds Lua's files and modules too, after what is built in. package is on top.
static void extend_package(lua_State *L)
{
	lua_getfield(L, -1, "searchers");
	for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
		lua_geti(L, -1, i);
		lua_seti(L, -2, i + 1);
	}
	lua_pushcfunction(L, search_embedded);
	lua_seti(L, -2, 2);
	lua_pop(L, 1);
}

// What is part of the program in C. package is on top.
static void preload(lua_State *L)
{
	lua_getfield(L, -1, "preload");
	lua_pushcfunction(L, luaopen_mncni_core);
	lua_setfield(L, -2, "mncni.core");
	lua_pushcfunction(L, open_state);
	lua_setfield(L, -2, "mncni.state");
	if (luaopen_mncni_http) {
		lua_pushcfunction(L, luaopen_mncni_http);
		lua_setfield(L, -2, "mncni.http");
	}
	if (luaopen_mncni_httpd) {
		lua_pushcfunction(L, luaopen_mncni_httpd);
		lua_setfield(L, -2, "mncni.httpd");
	}
	lua_pop(L, 1);
}

void mn_state_open_libraries(lua_State *L, bool prompt)
{
	if (!prompt) { // LUA_PATH of whoever started the host means nothing here
		lua_pushboolean(L, 1);
		lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
	}
	luaL_openlibs(L);
	if (!prompt) {
		restrict_base(L);
		restrict_io(L);
		restrict_debug(L);
	}
	lua_getglobal(L, LUA_LOADLIBNAME);
	if (prompt)
		extend_package(L);
	else
		restrict_package(L);
	preload(L);
	lua_pop(L, 1);
	lua_pushlightuserdata(L, (void *)mn_embedded);
	lua_setfield(L, LUA_REGISTRYINDEX, MN_EMBEDDED_KEY);
}
