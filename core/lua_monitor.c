// SPDX-License-Identifier: Apache-2.0
// core.monitor: what the kernel tells about changes, in one namespace or in all that have a number in it.
#define _GNU_SOURCE
#include "lua_nl.h"

#include "lua_args.h"
#include "lua_core.h"
#include "lua_netns.h"
#include "nearest.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MONITOR_META "mncni.core.monitor"

static const struct {
	const char *name;
	int protocol;
	unsigned int groups[2];
} groups[] = {
	{ "link", NETLINK_ROUTE, { RTNLGRP_LINK } },
	{ "addr", NETLINK_ROUTE, { RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR } },
	{ "route", NETLINK_ROUTE, { RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE } },
	{ "rule", NETLINK_ROUTE, { RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE } },
	{ "neigh", NETLINK_ROUTE, { RTNLGRP_NEIGH } },
	{ "fdb", NETLINK_ROUTE, { RTNLGRP_NEIGH } },
	{ "vlan", NETLINK_ROUTE, { RTNLGRP_LINK } },
	{ "nsid", NETLINK_ROUTE, { RTNLGRP_NSID } },
	{ "tc", NETLINK_ROUTE, { RTNLGRP_TC } },
	{ "nft", NETLINK_NETFILTER, { NFNLGRP_NFTABLES } },
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

enum { ROUTE, NETFILTER, SOCKETS };

struct monitor {
	struct mn_nl nl[SOCKETS];
	struct mn_nl ask; // for the names of links in the monitor's own namespace
	struct mn_buffer in;
	const struct nlmsghdr *at; // in it, the next message
	int left;		   // bytes from there
	int from;		   // which socket it came from
	int nsid;
	int epoll; // when there are two sockets, so that one descriptor tells of both
	bool wanted[GROUPS];
	uint32_t own; // events caused by the socket of this port are left out, 0: none are
};

static int monitor_close(lua_State *L)
{
	struct monitor *mon = luaL_checkudata(L, 1, MONITOR_META);

	for (int i = 0; i < SOCKETS; i++)
		mn_nl_close(&mon->nl[i]);
	mn_nl_close(&mon->ask);
	mn_buffer_free(&mon->in);
	mon->left = 0;
	if (mon->epoll >= 0)
		close(mon->epoll);
	mon->epoll = -1;
	return 0;
}

static struct monitor *check_open(lua_State *L)
{
	struct monitor *mon = luaL_checkudata(L, 1, MONITOR_META);
	struct mn_error err;

	if (mon->nl[ROUTE].socket || mon->nl[NETFILTER].socket)
		return mon;
	mn_fail(&err, EBADF, "use", "monitor", "the handle is closed");
	mn_lua_raise(L, &err);
}

static bool is_wanted(const struct monitor *mon, const struct mn_object *object)
{
	const char *group = object->group ? object->group : object->name;

	for (size_t i = 0; i < GROUPS; i++) {
		if (mon->wanted[i] &&
			(strcmp(groups[i].name, group) == 0 ||
				(groups[i].protocol == NETLINK_NETFILTER &&
					object->protocol == NETLINK_NETFILTER)))
			return true;
	}
	return false;
}

// Pushes the event that the next message in the buffer tells of; false when the buffer has no more.
static bool push_buffered(lua_State *L, struct monitor *mon)
{
	while (mon->left > 0 && mn_nl_fits(mon->at, mon->left)) {
		const struct nlmsghdr *nlh = mon->at;
		struct mn_decoder d = { .L = L };
		const struct mn_object *object = NULL;
		bool gone = false;

		mon->at = mnl_nlmsg_next(mon->at, &mon->left);
		if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
			object = mn_object_of(mon->nl[mon->from].protocol, nlh, &gone);
		if (!object || !is_wanted(mon, object) || (mon->own && nlh->nlmsg_pid == mon->own))
			continue;
		lua_createtable(L, 0, 6);
		lua_pushstring(L, gone ? "del" : "new");
		lua_setfield(L, -2, "event");
		lua_pushstring(L, object->name);
		lua_setfield(L, -2, "object");
		lua_pushinteger(L, nlh->nlmsg_pid);
		lua_setfield(L, -2, "portid");
		lua_pushinteger(L, nlh->nlmsg_seq);
		lua_setfield(L, -2, "seq");
		if (mon->nsid >= 0) {
			lua_pushinteger(L, mon->nsid);
			lua_setfield(L, -2, "nsid");
		} else if (mon->ask.socket) {
			d.nl = &mon->ask;
			lua_newtable(L);
			d.names = lua_gettop(L);
		}
		mn_decode(&d, object, nlh);
		lua_setfield(L, d.names ? -3 : -2, "value");
		if (d.names)
			lua_pop(L, 1);
		return true;
	}
	mon->left = 0;
	return false;
}

static int64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// Which socket has something, -1 when the time is over, or -errno - 1.
static int wait_any(const struct monitor *mon, int64_t deadline)
{
	struct pollfd ready[SOCKETS];

	for (int i = 0; i < SOCKETS; i++)
		ready[i] = (struct pollfd){ .fd = mn_nl_fd(&mon->nl[i]), .events = POLLIN };
	for (;;) {
		int64_t left = deadline - now();
		int timeout = left < 0 ? 0 : (int)(left > INT32_MAX ? INT32_MAX : left);
		int n = poll(ready, SOCKETS, deadline < 0 ? -1 : timeout);

		if (n < 0 && errno != EINTR)
			return -errno - 1;
		for (int i = 0; n > 0 && i < SOCKETS; i++) {
			if (ready[i].revents)
				return i;
		}
		if (n == 0 && deadline >= 0 && now() >= deadline)
			return -1;
	}
}

// mon:next([timeout in milliseconds]) waits for the next event and returns { event = "new"|"del", object,
// value, nsid, portid, seq }: nsid is the other namespace's number, nil for the monitor's own. Returns nil
// when the time is over. { event = "overrun" } says that the kernel had to drop some: look again at what
// matters.
static int monitor_next(lua_State *L)
{
	struct monitor *mon = check_open(L);
	lua_Number timeout = luaL_optnumber(L, 2, -1);
	int64_t deadline = timeout < 0 ? -1 : now() + (int64_t)(timeout < 1e12 ? timeout : 1e12);
	struct mn_error err = { 0 };

	for (;;) {
		ssize_t got;

		if (push_buffered(L, mon))
			return 1;
		mon->from = wait_any(mon, deadline);
		if (mon->from == -1) {
			luaL_pushfail(L);
			return 1;
		}
		if (mon->from < 0) {
			mn_fail(&err, -mon->from - 1, "wait for", "events", NULL);
			mn_lua_raise(L, &err);
		}
		got = mn_nl_event(&mon->nl[mon->from], &mon->in, 0, &mon->nsid, &err);
		if (got == -ENOBUFS) {
			lua_createtable(L, 0, 1);
			lua_pushliteral(L, "overrun");
			lua_setfield(L, -2, "event");
			return 1;
		}
		if (got < 0)
			mn_lua_raise(L, &err);
		mon->at = (const struct nlmsghdr *)mon->in.data;
		mon->left = (int)got;
	}
}

// The descriptor to wait on; readable means that next() may have something. Events that came in the same
// datagram as the last one are not seen by it: call next(0) until it returns nil.
static int monitor_fd(lua_State *L)
{
	const struct monitor *mon = check_open(L);

	if (mon->epoll >= 0)
		lua_pushinteger(L, mon->epoll);
	else
		lua_pushinteger(L, mn_nl_fd(&mon->nl[mon->nl[ROUTE].socket ? ROUTE : NETFILTER]));
	return 1;
}

// mon:leave_out(portid): from now on without what the requests of that socket cause (core.socket's portid()).
static int monitor_leave_out(lua_State *L)
{
	check_open(L)->own = (uint32_t)luaL_checkinteger(L, 2);
	return 0;
}

// Marks the group whose name is on top of the stack.
static void want(lua_State *L, struct monitor *mon)
{
	const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
	struct mn_nearest search;

	mn_nearest_start(&search, name);
	for (size_t i = 0; i < GROUPS; i++) {
		if (strcmp(groups[i].name, name) == 0) {
			mon->wanted[i] = true;
			return;
		}
		mn_nearest_offer(&search, groups[i].name);
	}
	mn_lua_bad_argument(L, "monitor",
		"there is no group \"%s\"; there are link, addr, route, rule, neigh, fdb, vlan, "
		"nsid, tc and nft",
		name);
}

static int listen_to(struct monitor *mon, int netns, bool all_netns, struct mn_error *err)
{
	for (size_t i = 0; i < GROUPS; i++) {
		struct mn_nl *nl = &mon->nl[groups[i].protocol == NETLINK_ROUTE ? ROUTE : NETFILTER];
		int result = 0;

		if (!mon->wanted[i])
			continue;
		if (!nl->socket)
			result = mn_nl_listen(nl, groups[i].protocol, netns, all_netns, err);
		for (int k = 0; k < 2 && result == 0 && groups[i].groups[k]; k++)
			result = mn_nl_join(nl, groups[i].groups[k], err);
		if (result < 0)
			return result;
	}
	return mon->nl[ROUTE].socket ? mn_nl_open(&mon->ask, NETLINK_ROUTE, netns, err) : 0;
}

// One descriptor that is readable when either socket is.
static int join_sockets(struct monitor *mon, struct mn_error *err)
{
	struct epoll_event event = { .events = EPOLLIN };

	if (!mon->nl[ROUTE].socket || !mon->nl[NETFILTER].socket)
		return 0;
	mon->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < SOCKETS; i++) {
		if (mon->epoll < 0 || epoll_ctl(mon->epoll, EPOLL_CTL_ADD, mn_nl_fd(&mon->nl[i]), &event) < 0)
			return mn_fail(err, errno, "listen", "monitor", NULL);
	}
	return 0;
}

// core.monitor{ groups = {"link", ...}, netns = handle or nil, all_netns = boolean } listens from now on.
static int monitor_open(lua_State *L)
{
	static const char *const keys[] = { "groups", "netns", "all_netns", NULL };
	struct mn_error err = { 0 };
	struct monitor *mon;
	int netns;
	bool all_netns;
	lua_Integer n;

	mn_lua_check_keys(L, 1, "monitor", keys);
	lua_settop(L, 1);
	lua_getfield(L, 1, "groups");
	lua_getfield(L, 1, "netns");
	lua_getfield(L, 1, "all_netns");
	all_netns = lua_toboolean(L, 4);
	netns = mn_lua_check_netns(L, 3);
	if (!lua_istable(L, 2) || (n = luaL_len(L, 2)) == 0)
		mn_lua_bad_argument(L, "monitor", "groups is a list of what to listen for");
	mon = lua_newuserdatauv(L, sizeof(*mon), 0);
	memset(mon, 0, sizeof(*mon));
	mon->epoll = -1;
	luaL_setmetatable(L, MONITOR_META);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 2, i);
		want(L, mon);
		lua_pop(L, 1);
	}
	if (listen_to(mon, netns, all_netns, &err) < 0 || join_sockets(mon, &err) < 0) {
		mn_lua_netns_label(L, 3, err.netns, sizeof(err.netns));
		mn_lua_raise(L, &err);
	}
	return 1;
}

int mn_open_monitor(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "next", monitor_next },
		{ "fd", monitor_fd },
		{ "leave_out", monitor_leave_out },
		{ "close", monitor_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", monitor_close },
		{ "__close", monitor_close },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, MONITOR_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, monitor_open);
	return 1;
}
