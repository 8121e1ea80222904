// SPDX-License-Identifier: Apache-2.0
// core.current: what the call that is being served leaves for all that it calls.
#include "lua_core.h"

// current([value]) returns the value, or has it be this one from now on. It is in the registry, to which
// every call writes: a variable of a module would have the kernel copy a page of the snapshot for it.
static int current(lua_State *L)
{
	static const char key;

	if (lua_gettop(L) == 0) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &key);
		return 1;
	}
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
	return 0;
}

int mn_open_current(lua_State *L)
{
	lua_pushcfunction(L, current);
	return 1;
}
