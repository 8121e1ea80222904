// SPDX-License-Identifier: Apache-2.0
// Fuzzes what the kernel answers: the input is a request's number and the datagrams of the answer, each
// behind its length. Nothing is sent, and what is received comes from the input, with the faults that a
// socket can have.
#include "fuzz.h"
#include "kernel.h"

#include "lua_core.h"
#include "lua_nl.h"

#include <lualib.h>

static lua_State *lua;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	lua = luaL_newstate();
	fuzz_require(lua != NULL, "no Lua state");
	luaL_openlibs(lua);
	luaL_requiref(lua, "mncni.core", luaopen_mncni_core, 0);
	fuzz_require(luaL_dofile(lua, "spec/fuzz/netlink_reply.lua") == LUA_OK, "%s", lua_tostring(lua, -1));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	fuzz_kernel(data + 1, size - 1, false);
	lua_settop(lua, 2);
	lua_pushvalue(lua, 2);
	lua_pushinteger(lua, data[0]);
	fuzz_require(lua_pcall(lua, 1, 0, 0) == LUA_OK, "%s", lua_tostring(lua, -1));
	return 0;
}
