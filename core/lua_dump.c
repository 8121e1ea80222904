// SPDX-License-Identifier: Apache-2.0
// sock:dump(): the whole answer is received first, then decoded one object at a time as the caller iterates.
#define _GNU_SOURCE
#include "lua_nl.h"

#include "lua_core.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

// User values: 1 the socket, 2 the names of links (or the list of elements), 3 the filter as the decoder
// would give it (or nil).
struct dump {
	lua_Integer next; // in the list of elements, 0 for other objects
	struct mn_buffer reply;
	const struct mn_object *object;
	const struct nlmsghdr *at;
	uint32_t seq;
};

static int dump_close(lua_State *L)
{
	struct dump *dump = luaL_checkudata(L, 1, MN_DUMP_META);

	mn_buffer_free(&dump->reply);
	dump->at = NULL;
	dump->object = NULL;
	return 0;
}

static bool matches(lua_State *L, int want, int have);

// Whether the list at have has an element like the value on top of the stack.
static bool has_element(lua_State *L, int have)
{
	int wanted = lua_gettop(L);

	for (lua_Integer i = 1, n = luaL_len(L, have); i <= n; i++) {
		lua_geti(L, have, i);
		if (matches(L, wanted, lua_gettop(L)))
			return true;
		lua_settop(L, wanted);
	}
	return false;
}

// Whether all that stands in want stands in have too: lists as sets, other tables key by key.
static bool matches(lua_State *L, int want, int have)
{
	bool is_list;

	if (!lua_istable(L, want) || !lua_istable(L, have))
		return lua_rawequal(L, want, have);
	luaL_checkstack(L, 8, NULL);
	is_list = luaL_len(L, want) > 0;
	lua_pushnil(L);
	while (lua_next(L, want)) {
		int top = lua_gettop(L);
		bool good;

		if (is_list) {
			good = has_element(L, have);
		} else {
			lua_pushvalue(L, top - 1);
			lua_gettable(L, have);
			good = matches(L, top, top + 1);
		}
		lua_settop(L, top - 1);
		if (!good) {
			lua_pop(L, 1);
			return false;
		}
	}
	return true;
}

// The iterator: the next object, or nil at the end.
static int dump_next(lua_State *L)
{
	struct dump *dump = lua_touserdata(L, lua_upvalueindex(1));
	struct mn_decoder d = { .L = L };
	struct mn_socket *sock;

	lua_settop(L, 0);
	if (!dump->object)
		return 0;
	lua_getiuservalue(L, lua_upvalueindex(1), 1);
	lua_getiuservalue(L, lua_upvalueindex(1), 2);
	lua_getiuservalue(L, lua_upvalueindex(1), 3);
	if (dump->next) {
		lua_geti(L, 2, dump->next++);
		return 1;
	}
	sock = lua_touserdata(L, 1);
	d.nl = &sock->nl;
	d.names = 2;
	while ((dump->at = mn_nl_next(&sock->nl, &dump->reply, dump->at, dump->seq, dump->seq))) {
		bool gone;

		if (dump->at->nlmsg_type == NLMSG_DONE)
			break;
		if (mn_object_of(sock->nl.protocol, dump->at, &gone) != dump->object)
			continue;
		// A dump of all families brings multicast routing along.
		if (dump->object == &mn_route_object && *(uint8_t *)mnl_nlmsg_get_payload(dump->at) >= 128)
			continue;
		mn_decode(&d, dump->object, dump->at);
		if (lua_isnil(L, 3) || matches(L, 3, lua_gettop(L)))
			return 1;
		lua_settop(L, 3);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_replace(L, 1);
	lua_settop(L, 1);
	dump_close(L);
	return 0;
}

// A dump of links tells all names at once.
static void learn_names(lua_State *L, const struct mn_socket *sock, const struct dump *dump, int names)
{
	const struct nlmsghdr *nlh = NULL;

	while ((nlh = mn_nl_next(&sock->nl, &dump->reply, nlh, dump->seq, dump->seq))) {
		const struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);
		const struct nlattr *name;

		if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(*link))
			continue;
		name = mn_attr_find((const char *)(link + 1), mnl_nlmsg_get_payload_len(nlh) - sizeof(*link),
			IFLA_IFNAME);
		if (!name)
			continue;
		lua_pushlstring(L, mnl_attr_get_payload(name),
			strnlen(mnl_attr_get_payload(name), mnl_attr_get_payload_len(name)));
		lua_rawseti(L, names, link->ifi_index);
	}
}

// Pushes what the decoder makes of the filter, reduced to the keys that were given. Returns the family it
// implies.
static uint8_t normalise(lua_State *L, struct mn_encoder *e, int names)
{
	struct mn_decoder d = { .L = L, .nl = e->nl, .names = names };
	struct mn_encoder as_event = *e;
	size_t start = e->out->len;
	uint8_t family;
	int filter = e->args, value;

	as_event.verb = MN_NEW;
	mn_encode(&as_event);
	e->missing = as_event.missing;
	family = *(uint8_t *)mnl_nlmsg_get_payload((struct nlmsghdr *)(e->out->data + start));
	lua_newtable(L);
	value = lua_gettop(L);
	mn_decode(&d, e->object, (struct nlmsghdr *)(e->out->data + start));
	e->out->len = start;
	lua_pushnil(L);
	while (lua_next(L, filter)) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushvalue(L, -1);
		lua_gettable(L, value + 1);
		lua_settable(L, value);
	}
	lua_settop(L, value);
	return family;
}

// Encodes the request and receives the answer into dump.
static void run(lua_State *L, struct mn_socket *sock, struct dump *dump, struct mn_encoder *e, uint8_t family)
{
	const struct nlmsghdr *refusal;
	struct nlmsghdr *request;
	struct mn_error err = { 0 };
	size_t at;

	e->filter = true;
	at = mn_encode(e);
	if (e->object == &mn_link_object || e->object == &mn_vlan_object) {
		uint32_t mask = e->object == &mn_link_object ? RTEXT_FILTER_SKIP_STATS
							     : RTEXT_FILTER_BRVLAN_COMPRESSED;

		memcpy(mn_encode_put(e, IFLA_EXT_MASK, sizeof(mask)), &mask, sizeof(mask));
	}
	request = (struct nlmsghdr *)(e->out->data + at);
	request->nlmsg_len = (uint32_t)(e->out->len - at);
	if (!*(uint8_t *)mnl_nlmsg_get_payload(request))
		*(uint8_t *)mnl_nlmsg_get_payload(request) = family;
	if (mn_nl_dump(&sock->nl, (char *)request, request->nlmsg_len, &dump->reply, &refusal, &err) < 0)
		mn_socket_raise(L, sock, e->object, MN_DUMP, e->args, 0, &err);
	dump->seq = sock->nl.seq;
	// There is no such table, so nothing is in it.
	if (refusal && mn_nl_errno(refusal) != ENOENT && mn_nl_errno(refusal) != ENODEV) {
		mn_nl_refusal(e->object, request, refusal, &err);
		mn_socket_raise(L, sock, e->object, MN_DUMP, e->args, 0, &err);
	}
	dump->object = refusal ? NULL : e->object;
}

// Elements are listed set by set, and the set tells what they are. Pushes it, nil when there is none.
static void find_set(lua_State *L, struct mn_socket *sock, struct mn_encoder *e)
{
	static const char *const keys[] = { "family", "table", "name" };

	lua_newtable(L);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (lua_getfield(L, e->args, keys[i]) == LUA_TNIL)
			mn_encode_refuse(e, NULL, "a list of elements needs family, table and name");
		lua_setfield(L, -2, keys[i]);
	}
	mn_socket_get(L, sock, &mn_nft_set_object, lua_gettop(L), 0);
	e->out->len = 0;
}

// Refuses to list what the kernel lists of one link only, without the link.
static void check_listed(lua_State *L, struct mn_encoder *e)
{
	bool given = lua_getfield(L, e->args, e->object->list_by) != LUA_TNIL ||
		lua_getfield(L, e->args, "ifindex") != LUA_TNIL;

	if (!given)
		mn_encode_refuse(e, NULL, "a list of each %s needs %s", e->object->name, e->object->list_by);
	lua_settop(L, e->args);
}

// Pushes the iterator for what the filter at args (a table or nil) matches; its dump userdata is left below
// it.
static void push_dump(lua_State *L, int socket, const struct mn_object *object, int args)
{
	struct mn_socket *sock = mn_lua_check_socket(L, socket);
	struct mn_encoder e = { .L = L,
		.nl = &sock->nl,
		.out = &sock->nl.out,
		.object = object,
		.verb = MN_DUMP,
		.netns = sock->netns,
		.may_miss = true };
	struct dump *dump = lua_newuserdatauv(L, sizeof(*dump), 3);
	int self = lua_gettop(L);
	uint8_t family = 0;
	int set = 0;

	memset(dump, 0, sizeof(*dump));
	luaL_setmetatable(L, MN_DUMP_META);
	lua_pushvalue(L, socket);
	lua_setiuservalue(L, self, 1);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setiuservalue(L, self, 2);
	if (lua_istable(L, args))
		lua_pushvalue(L, args);
	else
		lua_newtable(L);
	e.args = self + 2;
	sock->nl.out.len = 0;
	if (object == &mn_nft_element_object) {
		find_set(L, sock, &e);
		set = lua_gettop(L);
	} else if (lua_istable(L, args)) {
		family = normalise(L, &e, self + 1);
		lua_setiuservalue(L, self, 3);
	}
	if (object->list_by)
		check_listed(L, &e);
	if (!e.missing && !(set && lua_isnil(L, set)))
		run(L, sock, dump, &e, family);
	if (set && dump->object) {
		mn_nft_elements(L, sock, &dump->reply, dump->seq, set);
		lua_setiuservalue(L, self, 2);
		dump->next = 1;
	}
	if (dump->object == &mn_link_object || dump->object == &mn_vlan_object)
		learn_names(L, sock, dump, self + 1);
	lua_settop(L, self);
	lua_pushvalue(L, self);
	lua_pushcclosure(L, dump_next, 1);
}

// sock:dump(object [, filter]) gives an iterator over the objects that have all of the filter's keys. What
// the kernel can filter it does; the rest is compared here.
int mn_socket_dump(lua_State *L)
{
	struct mn_socket *sock = mn_lua_check_socket(L, 1);
	const struct mn_object *object = mn_lua_check_object(L, 2, sock->nl.protocol);

	lua_settop(L, 3);
	if (!lua_isnil(L, 3))
		luaL_checktype(L, 3, LUA_TTABLE);
	push_dump(L, 1, object, 3);
	lua_pushnil(L);
	lua_pushnil(L);
	lua_pushvalue(L, 4);
	return 4;
}

int mn_socket_first(lua_State *L, int socket, const struct mn_object *object, int args)
{
	int self;

	push_dump(L, socket, object, args);
	self = lua_gettop(L) - 1;
	lua_call(L, 0, 1);
	lua_pushcfunction(L, dump_close);
	lua_pushvalue(L, self);
	lua_call(L, 1, 0);
	return 1;
}

void mn_open_dump(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{ "__gc", dump_close },
		{ "__close", dump_close },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, MN_DUMP_META))
		luaL_setfuncs(L, meta, 0);
	lua_pop(L, 1);
}
