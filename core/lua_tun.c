// SPDX-License-Identifier: Apache-2.0
// mncni.core.tun: the face of tun.h.
#define _GNU_SOURCE
#include "lua_args.h"
#include "lua_core.h"
#include "lua_netns.h"
#include "tun.h"

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define TUN_META "mncni.core.tun"

static int tun_close(lua_State *L)
{
	int *fd = luaL_checkudata(L, 1, TUN_META);

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return 0;
}

// tun:persist(): the device stays when the handle is closed.
static int tun_persist(lua_State *L)
{
	struct mn_error err = { 0 };

	if (mn_tun_persist(*(int *)luaL_checkudata(L, 1, TUN_META), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

static int64_t id_at(lua_State *L, const char *key)
{
	int64_t id = -1;

	if (lua_getfield(L, 2, key) != LUA_TNIL) {
		if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0 || lua_tointeger(L, -1) > UINT32_MAX)
			mn_lua_bad_argument(L, "tun.open", "%s must be the number of a user or group", key);
		id = lua_tointeger(L, -1);
	}
	lua_pop(L, 1);
	return id;
}

// tun.open(ns, { ifname =, mode = "tap" or "tun", multi_queue =, owner =, group = }) makes a device in the
// namespace ns (nil: the caller's) and returns a handle with persist() and close(): the device is gone when
// that is closed, unless it was told to stay.
static int tun_open(lua_State *L)
{
	int netns = mn_lua_check_netns(L, 1), *fd;
	struct mn_error err = { 0 };
	struct mn_tun what = { 0 };
	const char *mode;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_getfield(L, 2, "ifname");
	what.ifname = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	if (!*what.ifname || strlen(what.ifname) >= IFNAMSIZ)
		mn_lua_bad_argument(L, "tun.open", "ifname must have 1 to %d bytes", IFNAMSIZ - 1);
	lua_getfield(L, 2, "mode");
	mode = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	if (strcmp(mode, "tap") != 0 && strcmp(mode, "tun") != 0)
		mn_lua_bad_argument(L, "tun.open", "mode must be \"tap\" or \"tun\"");
	what.tap = strcmp(mode, "tap") == 0;
	lua_getfield(L, 2, "multi_queue");
	what.multi_queue = lua_toboolean(L, -1);
	what.owner = id_at(L, "owner");
	what.group = id_at(L, "group");
	fd = lua_newuserdatauv(L, sizeof(*fd), 0);
	*fd = -1;
	luaL_setmetatable(L, TUN_META);
	if (mn_tun_open(netns, &what, fd, &err) < 0) {
		mn_lua_netns_label(L, 1, err.netns, sizeof(err.netns));
		return mn_lua_raise(L, &err);
	}
	return 1;
}

int mn_open_tun(lua_State *L)
{
	static const luaL_Reg methods[] = { { "persist", tun_persist }, { "close", tun_close },
		{ NULL, NULL } };
	static const luaL_Reg meta[] = { { "__gc", tun_close }, { "__close", tun_close }, { NULL, NULL } };
	static const luaL_Reg functions[] = { { "open", tun_open }, { NULL, NULL } };

	luaL_newmetatable(L, TUN_META);
	luaL_setfuncs(L, meta, 0);
	luaL_newlib(L, methods);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
