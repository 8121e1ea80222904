// SPDX-License-Identifier: Apache-2.0
// Elements of nf_tables sets as people write them: the kernel's interval starts and ends joined to CIDRs.
#define _GNU_SOURCE
#include "lua_nl.h"

#include "cidr.h"
#include "lua_core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key {
	uint8_t bytes[NFT_DATA_VALUE_MAXLEN];
	uint8_t len;
	bool end;
	lua_Integer at; // in the list of what was decoded
};

// By key; where one interval ends and the next one starts, the end comes first.
static int compare(const void *left, const void *right)
{
	const struct key *a = left, *b = right;
	size_t len = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->bytes, b->bytes, len);

	if (order)
		return order;
	return a->len != b->len ? a->len - b->len : (int)b->end - (int)a->end;
}

static bool is_address(const char *type, size_t len)
{
	return (strcmp(type, "ipv4_addr") == 0 && len == 4) || (strcmp(type, "ipv6_addr") == 0 && len == 16);
}

static void push_key(lua_State *L, const char *type, const uint8_t *bytes, size_t len)
{
	char text[INET6_ADDRSTRLEN];

	if (!is_address(type, len)) {
		lua_pushlstring(L, (const char *)bytes, len);
		return;
	}
	mn_put_address(text, len == 4 ? AF_INET : AF_INET6, bytes);
	lua_pushstring(L, text);
}

// The length of the prefix that is exactly first to last, -1 when none is.
static int prefix_of(const uint8_t *first, const uint8_t *last, int len)
{
	int prefix = 0, bits = 8 * len;

#define BIT(bytes, i) ((bytes)[(i) / 8] >> (7 - (i) % 8) & 1)
	while (prefix < bits && BIT(first, prefix) == BIT(last, prefix))
		prefix++;
	for (int i = prefix; i < bits; i++) {
		if (BIT(first, i) || !BIT(last, i))
			return -1;
	}
#undef BIT
	return prefix;
}

static void push_interval(lua_State *L, const char *type, const struct key *start, const struct key *end)
{
	uint8_t last[NFT_DATA_VALUE_MAXLEN];
	int prefix;

	if (end) {
		memcpy(last, end->bytes, start->len);
		for (int i = start->len - 1; i >= 0 && last[i]-- == 0; i--)
			;
	} else {
		memset(last, 0xff, sizeof(last));
	}
	push_key(L, type, start->bytes, start->len);
	if (!is_address(type, start->len) || memcmp(last, start->bytes, start->len) == 0)
		return;
	prefix = prefix_of(start->bytes, last, start->len);
	if (prefix >= 0) {
		lua_pushfstring(L, "%s/%d", lua_tostring(L, -1), prefix);
	} else {
		push_key(L, type, last, start->len);
		lua_pushfstring(L, "%s-%s", lua_tostring(L, -2), lua_tostring(L, -1));
		lua_remove(L, -2);
	}
	lua_remove(L, -2);
}

// Moves the decoded elements of one message to the end of the list at index all.
static void gather(lua_State *L, const struct nlmsghdr *nlh, int all)
{
	struct mn_decoder d = { .L = L };
	int top = lua_gettop(L);

	mn_decode(&d, &mn_nft_element_object, nlh);
	if (lua_getfield(L, -1, "elem") == LUA_TTABLE) {
		for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++) {
			lua_rawgeti(L, -1, i);
			lua_rawseti(L, all, (lua_Integer)lua_rawlen(L, all) + 1);
		}
	}
	lua_settop(L, top);
}

static bool has_name(lua_State *L, int list, const char *name)
{
	bool found = false;

	if (!lua_istable(L, list))
		return false;
	for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, list); i <= n && !found; i++) {
		lua_rawgeti(L, list, i);
		found = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) == 0;
		lua_pop(L, 1);
	}
	return found;
}

// Pushes the keys of what was gathered, in order, as a userdata; returns how many.
static size_t sort_keys(lua_State *L, int all, struct key **keys)
{
	size_t n = lua_rawlen(L, all), used = 0;
	struct key *list = lua_newuserdatauv(L, (n + 1) * sizeof(*list), 0);
	int top = lua_gettop(L);

	for (size_t i = 1; i <= n; i++) {
		struct key *key = &list[used];

		lua_rawgeti(L, all, (lua_Integer)i);
		if (lua_getfield(L, -1, "key") == LUA_TSTRING && lua_rawlen(L, -1) <= sizeof(key->bytes)) {
			key->len = (uint8_t)lua_rawlen(L, -1);
			memcpy(key->bytes, lua_tostring(L, -1), key->len);
			lua_getfield(L, -2, "flags");
			key->end = has_name(L, lua_gettop(L), "interval_end");
			key->at = (lua_Integer)i;
			used++;
		}
		lua_settop(L, top);
	}
	qsort(list, used, sizeof(*list), compare);
	*keys = list;
	return used;
}

void mn_nft_elements(
	lua_State *L, struct mn_socket *sock, const struct mn_buffer *reply, uint32_t seq, int set)
{
	static const char *const of_set[] = { "family", "table", "name" },
				 *const of_element[] = { "timeout", "expires", "comment", "data" };
	const struct nlmsghdr *nlh = NULL;
	struct key *keys;
	lua_Integer count = 0;
	const char *type;
	int result, all;
	bool interval;
	size_t n;

	luaL_checkstack(L, 20, NULL);
	lua_newtable(L);
	result = lua_gettop(L);
	lua_newtable(L);
	all = lua_gettop(L);
	while ((nlh = mn_nl_next(&sock->nl, reply, nlh, seq, seq))) {
		if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
			gather(L, nlh, all);
	}
	lua_getfield(L, set, "type");
	type = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	lua_getfield(L, set, "flags");
	interval = has_name(L, lua_gettop(L), "interval");
	n = sort_keys(L, all, &keys);
	for (size_t i = 0; i < n; i++) {
		const struct key *next = i + 1 < n ? &keys[i + 1] : NULL;

		if (keys[i].end)
			continue;
		lua_createtable(L, 0, 6);
		for (size_t k = 0; k < sizeof(of_set) / sizeof(of_set[0]); k++) {
			lua_getfield(L, set, of_set[k]);
			lua_setfield(L, -2, of_set[k]);
		}
		lua_rawgeti(L, all, keys[i].at);
		for (size_t k = 0; k < sizeof(of_element) / sizeof(of_element[0]); k++) {
			lua_getfield(L, -1, of_element[k]);
			lua_setfield(L, -3, of_element[k]);
		}
		lua_pop(L, 1);
		if (interval)
			push_interval(L, type, &keys[i], next);
		else
			push_key(L, type, keys[i].bytes, keys[i].len);
		lua_setfield(L, -2, "elem");
		lua_rawseti(L, result, ++count);
	}
	lua_settop(L, result);
}

// With both ends of an interval in one request, the kernel answers each; the ack comes last.
int mn_nft_get_element(lua_State *L, struct mn_socket *sock, int args)
{
	struct mn_encoder e = { .L = L,
		.nl = &sock->nl,
		.out = &sock->nl.out,
		.object = &mn_nft_element_object,
		.verb = MN_GET,
		.netns = sock->netns,
		.args = args };
	struct mn_error err = { 0 };
	const struct nlmsghdr *answer = NULL;
	struct nlmsghdr *request;
	uint32_t seq;
	int set;

	if (lua_getfield(L, args, "elem") == LUA_TNIL)
		mn_encode_refuse(&e, NULL, "get needs elem");
	lua_pop(L, 1);
	lua_newtable(L);
	for (const char *const *key = (const char *const[]){ "family", "table", "name", NULL }; *key; key++) {
		lua_getfield(L, args, *key);
		lua_setfield(L, -2, *key);
	}
	mn_socket_get(L, sock, &mn_nft_set_object, lua_gettop(L), 0);
	set = lua_gettop(L);
	if (lua_isnil(L, set))
		return 1;
	sock->nl.out.len = 0;
	mn_encode(&e);
	request = (struct nlmsghdr *)sock->nl.out.data;
	seq = request->nlmsg_seq = mn_nl_next_seq(&sock->nl);
	request->nlmsg_flags |= NLM_F_ACK;
	if (mn_nl_exchange(&sock->nl, &sock->nl.out, seq, &sock->nl.in, &err) < 0)
		mn_socket_raise(L, sock, &mn_nft_element_object, MN_GET, args, 0, &err);
	while ((answer = mn_nl_next(&sock->nl, &sock->nl.in, answer, seq, seq))) {
		if (mn_nl_errno(answer) == ENOENT) {
			luaL_pushfail(L);
			return 1;
		}
		if (mn_nl_errno(answer)) {
			mn_nl_refusal(&mn_nft_element_object, request, answer, &err);
			mn_socket_raise(L, sock, &mn_nft_element_object, MN_GET, args, 0, &err);
		}
	}
	mn_nft_elements(L, sock, &sock->nl.in, seq, set);
	lua_rawgeti(L, -1, 1);
	return 1;
}
