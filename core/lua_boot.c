// SPDX-License-Identifier: Apache-2.0
// mncni.core.boot: which boot this is, and how long ago it was.
#include "lua_core.h"

#include "boot.h"

// boot.id(): the kernel's boot id, nil when it cannot be told.
static int boot_id(lua_State *L)
{
	const char *id = mn_boot_id();

	if (*id)
		lua_pushstring(L, id);
	else
		lua_pushnil(L);
	return 1;
}

// boot.clock(): whole seconds since the boot, whatever the wall clock was set to.
static int boot_clock(lua_State *L)
{
	lua_pushinteger(L, mn_boot_clock());
	return 1;
}

int mn_open_boot(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "id", boot_id },
		{ "clock", boot_clock },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
