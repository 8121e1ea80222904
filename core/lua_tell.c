// SPDX-License-Identifier: Apache-2.0
// mncni.core.tell: what a trace is told that no notification of the kernel tells.
#define _GNU_SOURCE
#include "lua_core.h"
#include "tell.h"

#include <limits.h>

#define MAX_REFUSALS 32

// Keeps the error on top of the stack, where somebody wants to know.
void mn_lua_keep_refusal(lua_State *L)
{
	lua_Integer count;

	if (lua_getfield(L, LUA_REGISTRYINDEX, MN_REFUSALS_KEY) == LUA_TTABLE) {
		count = (lua_Integer)lua_rawlen(L, -1);
		if (count < MAX_REFUSALS) {
			lua_pushvalue(L, -2);
			lua_rawseti(L, -2, count + 1);
		}
	}
	lua_pop(L, 1);
}

// listener(state_dir): the path for send() where a trace listens, else nil. From then on the first of the
// requests that the kernel refuses are kept.
static int tell_listener(lua_State *L)
{
	const char *state_dir = luaL_checkstring(L, 1);
	char path[PATH_MAX];

	if (!mn_tell_is_heard(state_dir, path, sizeof(path))) {
		lua_pushnil(L);
		return 1;
	}
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, MN_REFUSALS_KEY);
	lua_pushstring(L, path);
	return 1;
}

// refusals(): the error objects of the requests that the kernel refused since listener().
static int tell_refusals(lua_State *L)
{
	if (lua_getfield(L, LUA_REGISTRYINDEX, MN_REFUSALS_KEY) != LUA_TTABLE)
		lua_newtable(L);
	return 1;
}

// send(path, text): whether it was taken. Never waits.
static int tell_send(lua_State *L)
{
	size_t len;
	const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &len);

	lua_pushboolean(L, mn_tell(path, text, len) == 0);
	return 1;
}

int mn_open_tell(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "listener", tell_listener },
		{ "refusals", tell_refusals },
		{ "send", tell_send },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
