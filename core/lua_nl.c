// SPDX-License-Identifier: Apache-2.0
// core.socket: a netlink socket inside one namespace, and sock:request().
#include "lua_nl.h"

#include "lua_args.h"
#include "lua_core.h"
#include "lua_netns.h"
#include "nearest.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

struct mn_socket *mn_lua_check_socket(lua_State *L, int index)
{
	struct mn_socket *sock = luaL_checkudata(L, index, MN_SOCKET_META);
	struct mn_error err;

	if (sock->nl.socket)
		return sock;
	mn_fail(&err, EBADF, "use", "netlink socket", "the handle is closed");
	mn_lua_raise(L, &err);
}

const struct mn_object *mn_lua_check_object(lua_State *L, int index, int protocol)
{
	const char *name = luaL_checkstring(L, index);
	const struct mn_object *object = mn_object_find(name);
	struct mn_nearest search;

	if (object && (protocol < 0 || object->protocol == protocol))
		return object;
	mn_nearest_start(&search, name);
	for (size_t i = 0; (object = mn_object_at(i)); i++) {
		if (protocol < 0 || object->protocol == protocol)
			mn_nearest_offer(&search, object->name);
	}
	mn_lua_bad_argument(L, "netlink", "there is no object \"%s\" for this protocol%s%s%s", name,
		search.found ? ", the nearest is \"" : "", search.found ? search.found : "",
		search.found ? "\"" : "");
}

void mn_socket_push_error(lua_State *L, const struct mn_socket *sock, const struct mn_object *object,
	enum mn_verb verb, int args, int index, struct mn_error *err)
{
	snprintf(err->op, sizeof(err->op), "%s", mn_verb_name(verb));
	snprintf(err->netns, sizeof(err->netns), "%s", sock->netns);
	if (!err->code)
		err->code = 102;
	mn_describe(L, object, args, err->object, sizeof(err->object));
	mn_lua_push_error(L, err);
	if (index) {
		lua_pushinteger(L, index);
		lua_setfield(L, -2, "index");
	}
	mn_lua_keep_refusal(L);
}

int mn_socket_raise(lua_State *L, const struct mn_socket *sock, const struct mn_object *object,
	enum mn_verb verb, int args, int index, struct mn_error *err)
{
	mn_socket_push_error(L, sock, object, verb, args, index, err);
	lua_error(L);
	__builtin_unreachable();
}

static enum mn_verb check_verb(lua_State *L, int index)
{
	const char *name = luaL_checkstring(L, index);
	int verb = mn_verb_find(name);

	if (verb < 0 || verb == MN_DUMP || verb == MN_NEW)
		mn_lua_bad_argument(L, "netlink", "there is no verb \"%s\"", name);
	return (enum mn_verb)verb;
}

static bool means_absent(int errnum)
{
	return errnum == ENODEV || errnum == ENOENT || errnum == ESRCH || errnum == ENXIO ||
		errnum == ENETUNREACH || errnum == EHOSTUNREACH;
}

// `ip route get` answers what a packet would do; anything but a host address asks for an entry of the table.
static bool wants_entry(lua_State *L, int args)
{
	static const char *const entry_keys[] = { "table", "protocol", "metric", "type", "scope", "gateway" };
	uint8_t bytes[16];
	int family, prefix;
	bool host;

	for (size_t i = 0; i < sizeof(entry_keys) / sizeof(entry_keys[0]); i++) {
		bool given = lua_getfield(L, args, entry_keys[i]) != LUA_TNIL;

		lua_pop(L, 1);
		if (given)
			return true;
	}
	lua_getfield(L, args, "dst");
	host = mn_address_at(L, -1, &family, bytes, &prefix) &&
		(prefix < 0 || prefix == (family == AF_INET ? 32 : 128));
	lua_pop(L, 1);
	return !host;
}

static bool is_rule_without_handle(lua_State *L, const struct mn_object *object, int args)
{
	bool given;

	if (object != &mn_nft_rule_object)
		return false;
	given = lua_getfield(L, args, object->one_by) != LUA_TNIL;
	lua_pop(L, 1);
	return !given;
}

// Has the decoder want the keys in the list at that index.
static void read_keys(lua_State *L, int list, struct mn_decoder *d)
{
	uint64_t whole = 0;

	for (lua_Integer i = 1; lua_rawgeti(L, list, i) == LUA_TSTRING; i++) {
		const char *key = lua_tostring(L, -1), *dot = strchr(key, '.');

		d->keys |= mn_key_bit(key);
		if (dot) {
			d->partly |= mn_key_bit(key);
			d->inner |= mn_key_bit(dot + 1);
		} else {
			whole |= mn_key_bit(key);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	d->partly &= ~whole;
}

// Whether the list of keys at that index has nothing but "ifindex" in it, if that.
static bool wants_index_only(lua_State *L, int list)
{
	bool only = lua_rawgeti(L, list, 1) == LUA_TNIL ||
		(lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "ifindex") == 0 &&
			lua_rawgeti(L, list, 2) == LUA_TNIL);

	lua_settop(L, list);
	return only;
}

// The name of a link in a table that has nothing else in it, or NULL.
static const char *only_ifname(lua_State *L, int args)
{
	int top = lua_gettop(L), count = 0;
	const char *name = NULL;
	size_t len;

	if (lua_getmetatable(L, args) == 0 && lua_getfield(L, args, "ifname") == LUA_TSTRING) {
		name = lua_tolstring(L, -1, &len);
		if (len >= IF_NAMESIZE || strlen(name) < len)
			name = NULL;
		for (lua_pushnil(L); lua_next(L, args) && ++count < 2;)
			lua_pop(L, 1);
	}
	lua_settop(L, top);
	return count == 1 ? name : NULL;
}

// Asks for one object; pushes it, or nil when there is none. With `keys` (an index, or 0) what the list there
// names is in it, and may be all.
int mn_socket_get(lua_State *L, struct mn_socket *sock, const struct mn_object *object, int args, int keys)
{
	struct mn_encoder e = { .L = L,
		.nl = &sock->nl,
		.out = &sock->nl.out,
		.object = object,
		.verb = MN_GET,
		.netns = sock->netns,
		.args = args,
		.may_miss = true };
	struct mn_decoder d = { .L = L, .nl = &sock->nl, .some = keys != 0 };
	const struct mn_object *what;
	const struct nlmsghdr *answer;
	struct nlmsghdr *request;
	struct mn_error err = { 0 };
	const char *ifname;
	int index;
	bool gone;

	ifname = object == &mn_link_object && keys && wants_index_only(L, keys) ? only_ifname(L, args) : NULL;
	if (ifname) {
		if (mn_nl_link_index(&sock->nl, ifname, &index, &err) == 0) {
			lua_createtable(L, 0, 1);
			lua_pushinteger(L, index);
			lua_setfield(L, -2, "ifindex");
			return 1;
		}
		if (!means_absent(err.errnum))
			mn_socket_raise(L, sock, object, MN_GET, args, 0, &err);
		luaL_pushfail(L);
		return 1;
	}
	if (object->dump_to_get || (object == &mn_route_object && wants_entry(L, args)) ||
		is_rule_without_handle(L, object, args))
		return mn_socket_first(L, 1, object, args);
	if (object == &mn_nft_element_object)
		return mn_nft_get_element(L, sock, args);
	sock->nl.out.len = 0;
	mn_encode(&e);
	if (e.missing) {
		luaL_pushfail(L);
		return 1;
	}
	request = (struct nlmsghdr *)sock->nl.out.data;
	if (object == &mn_link_object) {
		uint32_t mask = RTEXT_FILTER_SKIP_STATS;

		memcpy(mn_encode_put(&e, IFLA_EXT_MASK, sizeof(mask)), &mask, sizeof(mask));
		request = (struct nlmsghdr *)sock->nl.out.data;
		request->nlmsg_len = (uint32_t)sock->nl.out.len;
	}
	request->nlmsg_seq = mn_nl_next_seq(&sock->nl);
	if (mn_nl_exchange(&sock->nl, &sock->nl.out, request->nlmsg_seq, &sock->nl.in, &err) < 0)
		mn_socket_raise(L, sock, object, MN_GET, args, 0, &err);
	answer = mn_nl_next(&sock->nl, &sock->nl.in, NULL, request->nlmsg_seq, request->nlmsg_seq);
	if (!answer || means_absent(mn_nl_errno(answer))) {
		luaL_pushfail(L);
		return 1;
	}
	if (answer->nlmsg_type == NLMSG_ERROR) {
		mn_nl_refusal(object, request, answer, &err);
		mn_socket_raise(L, sock, object, MN_GET, args, 0, &err);
	}
	what = mn_object_of(sock->nl.protocol, answer, &gone);
	if (keys)
		read_keys(L, keys, &d);
	lua_newtable(L);
	d.names = lua_gettop(L);
	mn_decode(&d, what ? what : object, answer);
	if (object == &mn_nsid_object && lua_getfield(L, -1, "nsid") == LUA_TNUMBER &&
		lua_tointeger(L, -1) < 0)
		luaL_pushfail(L); // there is such a namespace, but it has no number here
	else
		lua_settop(L, d.names + 1);
	return 1;
}

// sock:request(verb, object, args) changes or gets one object. "get" returns it, or nil when there is none;
// the others return true. What the kernel refuses is raised. sock:request("get", object, args, keys) decodes
// what that list of keys names, for who needs no more; "bridge.vlan_filtering" is a key of a nested table.
static int socket_request(lua_State *L)
{
	struct mn_socket *sock = mn_lua_check_socket(L, 1);
	enum mn_verb verb = check_verb(L, 2);
	const struct mn_object *object = mn_lua_check_object(L, 3, sock->nl.protocol);

	lua_settop(L, 5);
	if (lua_isnil(L, 4)) {
		lua_newtable(L);
		lua_replace(L, 4);
	}
	luaL_checktype(L, 4, LUA_TTABLE);
	if (verb == MN_GET)
		return mn_socket_get(L, sock, object, 4, lua_istable(L, 5) ? 5 : 0);
	lua_settop(L, 4);
	return mn_socket_change(L, sock, verb, object, 4);
}

static int socket_close(lua_State *L)
{
	struct mn_socket *sock = luaL_checkudata(L, 1, MN_SOCKET_META);

	mn_nl_close(&sock->nl);
	return 0;
}

static int socket_tostring(lua_State *L)
{
	const struct mn_socket *sock = luaL_checkudata(L, 1, MN_SOCKET_META);

	lua_pushfstring(L, "netlink socket (%s%s%s%s)",
		sock->nl.protocol == NETLINK_ROUTE ? "route" : "netfilter", *sock->netns ? ", netns " : "",
		sock->netns, sock->nl.socket ? "" : ", closed");
	return 1;
}

static int socket_fd(lua_State *L)
{
	lua_pushinteger(L, mn_nl_fd(&mn_lua_check_socket(L, 1)->nl));
	return 1;
}

// sock:cookie(): what tells the socket's namespace from every other of this boot, past ones too; nil where
// the kernel (before 5.14) has no such number.
static int socket_cookie(lua_State *L)
{
	uint64_t cookie;

	if (mn_nl_cookie(&mn_lua_check_socket(L, 1)->nl, &cookie) < 0)
		lua_pushnil(L);
	else
		lua_pushinteger(L, (lua_Integer)cookie);
	return 1;
}

// sock:portid(): the kernel's name for the socket, by which a monitor's events tell whose request caused
// them.
static int socket_portid(lua_State *L)
{
	lua_pushinteger(L, mn_lua_check_socket(L, 1)->nl.portid);
	return 1;
}

static int check_protocol(lua_State *L, const char *name)
{
	if (strcmp(name, "route") == 0)
		return NETLINK_ROUTE;
	if (strcmp(name, "netfilter") == 0)
		return NETLINK_NETFILTER;
	mn_lua_bad_argument(L, "socket", "protocol is \"route\" or \"netfilter\", not \"%s\"", name);
}

// core.socket{ protocol = "route"|"netfilter", netns = handle or nil } opens a socket in that namespace.
static int socket_open(lua_State *L)
{
	static const char *const keys[] = { "protocol", "netns", NULL };
	struct mn_socket *sock;
	struct mn_error err = { 0 };
	int protocol, netns;

	mn_lua_check_keys(L, 1, "socket", keys);
	lua_settop(L, 1);
	lua_getfield(L, 1, "protocol");
	protocol = check_protocol(L, luaL_optstring(L, 2, "route"));
	lua_getfield(L, 1, "netns");
	netns = mn_lua_check_netns(L, 3);
	sock = lua_newuserdatauv(L, sizeof(*sock), 0);
	memset(sock, 0, sizeof(*sock));
	luaL_setmetatable(L, MN_SOCKET_META);
	mn_lua_netns_label(L, 3, sock->netns, sizeof(sock->netns));
	sock->nl.protocol = protocol;
	if (mn_nl_open(&sock->nl, protocol, netns, &err) < 0) {
		snprintf(err.netns, sizeof(err.netns), "%s", sock->netns);
		mn_lua_raise(L, &err);
	}
	return 1;
}

int mn_open_socket(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "request", socket_request },
		{ "batch", mn_socket_batch },
		{ "dump", mn_socket_dump },
		{ "fd", socket_fd },
		{ "cookie", socket_cookie },
		{ "portid", socket_portid },
		{ "close", socket_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", socket_close },
		{ "__close", socket_close },
		{ "__tostring", socket_tostring },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, MN_SOCKET_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	mn_open_dump(L);
	lua_pushcfunction(L, socket_open);
	return 1;
}
