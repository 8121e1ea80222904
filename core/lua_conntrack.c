// SPDX-License-Identifier: Apache-2.0
// mncni.core.conntrack: forgetting connection tracking entries inside a namespace.
#include "codec.h"
#include "conntrack.h"
#include "lua_args.h"
#include "lua_core.h"
#include "lua_netns.h"

#include <string.h>
#include <sys/socket.h>

// Reads the address at the top of the stack, which must be of the family.
static void check_address(lua_State *L, uint8_t family, uint8_t bytes[16])
{
	int found, prefix;

	if (!mn_address_at(L, -1, &found, bytes, &prefix) || found != family)
		mn_lua_bad_argument(L, "conntrack.flush", "\"%s\" is no address of the family %s",
			luaL_tolstring(L, -1, NULL), family == AF_INET ? "inet" : "inet6");
}

static uint8_t check_family(lua_State *L)
{
	const char *name;

	lua_getfield(L, 2, "family");
	name = luaL_optstring(L, -1, "");
	if (strcmp(name, "inet") != 0 && strcmp(name, "inet6") != 0)
		mn_lua_bad_argument(
			L, "conntrack.flush", "family is \"inet\" or \"inet6\", not \"%s\"", name);
	return strcmp(name, "inet") == 0 ? AF_INET : AF_INET6;
}

static lua_Integer check_number(lua_State *L, const char *what, lua_Integer max)
{
	lua_Integer value = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;

	if (value < 0 || value > max)
		mn_lua_bad_argument(
			L, "conntrack.flush", "%s is a number from 0 to %lld", what, (long long)max);
	return value;
}

// Reads the list of addresses in "to" into a userdata, which is left on the stack.
static void read_addresses(lua_State *L, struct mn_conntrack_filter *filter)
{
	lua_Integer n;
	uint8_t(*list)[16];

	if (lua_getfield(L, 2, "to") == LUA_TNIL)
		return;
	luaL_checktype(L, -1, LUA_TTABLE);
	n = luaL_len(L, -1);
	list = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof(*list), 0);
	for (lua_Integer i = 0; i < n; i++) {
		lua_geti(L, -2, i + 1);
		check_address(L, filter->family, list[i]);
		lua_pop(L, 1);
	}
	filter->to = (const uint8_t(*)[16])list;
	filter->to_count = (size_t)n;
}

// conntrack.flush(ns, { family = "inet" | "inet6", protocol = number, ports = { ports that were asked for },
// to = { addresses that were asked for } or nil for any, answerer = address of who answers, or nil for any })
// -> how many entries were removed. ns is a handle, or nil for the caller's.
static int conntrack_flush(lua_State *L)
{
	static const char *const keys[] = { "family", "protocol", "ports", "to", "answerer", NULL };
	int netns = mn_lua_check_netns(L, 1);
	struct mn_conntrack_filter *filter;
	struct mn_error err = { 0 };
	size_t count;

	mn_lua_check_keys(L, 2, "conntrack.flush", keys);
	lua_settop(L, 2);
	filter = lua_newuserdatauv(L, sizeof(*filter), 0);
	memset(filter, 0, sizeof(*filter));
	filter->family = check_family(L);
	lua_getfield(L, 2, "protocol");
	filter->protocol = (uint8_t)check_number(L, "protocol", UINT8_MAX);
	lua_getfield(L, 2, "ports");
	luaL_checktype(L, -1, LUA_TTABLE);
	for (lua_Integer i = 1, n = luaL_len(L, -1); i <= n; i++) {
		lua_geti(L, -1, i);
		mn_conntrack_add_port(filter, (uint16_t)check_number(L, "a port", UINT16_MAX));
		lua_pop(L, 1);
	}
	filter->has_answerer = lua_getfield(L, 2, "answerer") != LUA_TNIL;
	if (filter->has_answerer)
		check_address(L, filter->family, filter->answerer);
	read_addresses(L, filter);
	if (filter->to && filter->to_count == 0) { // none is not any
		lua_pushinteger(L, 0);
		return 1;
	}
	if (mn_conntrack_flush(netns, filter, &count, &err) < 0) {
		mn_lua_netns_label(L, 1, err.netns, sizeof(err.netns));
		mn_lua_raise(L, &err);
	}
	lua_pushinteger(L, (lua_Integer)count);
	return 1;
}

int mn_open_conntrack(lua_State *L)
{
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, conntrack_flush);
	lua_setfield(L, -2, "flush");
	return 1;
}
