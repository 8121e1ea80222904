// SPDX-License-Identifier: Apache-2.0
// The values that only nf_tables has: register contents, comments in user data, and elements written as
// CIDRs.
#define _GNU_SOURCE
#include "codec.h"

#include "lua_core.h"
#include "text.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#define NFT_MESSAGE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))

static const struct mn_name verdicts[] = { { "drop", NF_DROP }, { "accept", NF_ACCEPT },
	{ "queue", NF_QUEUE }, { "continue", (uint32_t)NFT_CONTINUE }, { "break", (uint32_t)NFT_BREAK },
	{ "jump", (uint32_t)NFT_JUMP }, { "goto", (uint32_t)NFT_GOTO }, { "return", (uint32_t)NFT_RETURN },
	{ 0 } };

static const struct {
	const char *key;
	uint8_t size;
	bool net;
} numbers[] = { { "u8", 1, false }, { "u16", 2, false }, { "u32", 4, false }, { "be16", 2, true },
	{ "be32", 4, true } };

struct bytes {
	uint8_t data[NFT_DATA_VALUE_MAXLEN];
	size_t len;
};

static _Noreturn void bad_data(struct mn_encoder *e, const struct mn_row *row)
{
	mn_encode_refuse(e, row,
		"expected bytes, an address, { u8|u16|u32|be16|be32 = number }, { address = }, { ifname = }, "
		"{ mac = }, a list of those, or { verdict =, chain = }");
}

static void append(
	struct mn_encoder *e, const struct mn_row *row, struct bytes *to, const void *data, size_t len)
{
	if (len > sizeof(to->data) - to->len)
		mn_encode_refuse(e, row, "more than %d bytes", NFT_DATA_VALUE_MAXLEN);
	memcpy(to->data + to->len, data, len);
	to->len += len;
}

static bool append_number(struct mn_encoder *e, const struct mn_row *row, struct bytes *to)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint8_t data[4];
		lua_Integer value;

		if (lua_getfield(e->L, -1, numbers[i].key) == LUA_TNIL) {
			lua_pop(e->L, 1);
			continue;
		}
		value = lua_isinteger(e->L, -1) ? lua_tointeger(e->L, -1) : -1;
		if (value < 0 || value >> (8 * numbers[i].size))
			mn_encode_refuse(e, row, "%s is an integer from 0 to %lld", numbers[i].key,
				(1LL << (8 * numbers[i].size)) - 1);
		for (size_t k = 0; k < numbers[i].size; k++) {
			bool big = numbers[i].net || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

			data[k] = (uint8_t)(value >> (8 * (big ? numbers[i].size - 1 - k : k)));
		}
		append(e, row, to, data, numbers[i].size);
		lua_pop(e->L, 1);
		return true;
	}
	return false;
}

static bool append_address(struct mn_encoder *e, const struct mn_row *row, struct bytes *to)
{
	uint8_t address[16];
	int family, prefix;

	if (!mn_address_at(e->L, -1, &family, address, &prefix))
		return false;
	append(e, row, to, address, family == AF_INET ? 4 : 16);
	return true;
}

// Appends what the table on top of the stack stands for.
static void append_table(struct mn_encoder *e, const struct mn_row *row, struct bytes *to)
{
	lua_State *L = e->L;
	int table = lua_gettop(L);

	if (append_number(e, row, to))
		return;
	if (lua_getfield(L, table, "address") != LUA_TNIL) {
		if (!append_address(e, row, to))
			bad_data(e, row);
	} else if (lua_getfield(L, table, "ifname") == LUA_TSTRING) {
		char name[16] = { 0 };

		if (lua_rawlen(L, -1) >= sizeof(name))
			mn_encode_refuse(e, row, "a link's name has at most 15 characters");
		memcpy(name, lua_tostring(L, -1), lua_rawlen(L, -1));
		append(e, row, to, name, sizeof(name));
	} else if (lua_getfield(L, table, "mac") == LUA_TSTRING) {
		uint8_t mac[6];

		if (!mn_read_mac(lua_tostring(L, -1), mac))
			bad_data(e, row);
		append(e, row, to, mac, sizeof(mac));
	} else {
		bad_data(e, row);
	}
	lua_settop(L, table);
}

static void append_value(struct mn_encoder *e, const struct mn_row *row, struct bytes *to)
{
	lua_State *L = e->L;
	lua_Integer n;

	if (lua_type(L, -1) == LUA_TSTRING) {
		append(e, row, to, lua_tostring(L, -1), lua_rawlen(L, -1));
		return;
	}
	if (lua_isuserdata(L, -1) && append_address(e, row, to))
		return;
	if (!lua_istable(L, -1))
		bad_data(e, row);
	n = (lua_Integer)lua_rawlen(L, -1);
	if (n == 0)
		append_table(e, row, to);
	for (lua_Integer i = 1; i <= n; i++) { // joined, each part in registers of four bytes of its own
		static const uint8_t zero[4];

		lua_rawgeti(L, -1, i);
		luaL_checkstack(L, 8, NULL);
		if (lua_istable(L, -1) && lua_rawlen(L, -1) == 0)
			append_table(e, row, to);
		else if (!append_address(e, row, to))
			bad_data(e, row);
		lua_pop(L, 1);
		append(e, row, to, zero, (4 - to->len % 4) % 4);
	}
}

static void put_verdict(struct mn_encoder *e, const struct mn_row *row)
{
	lua_State *L = e->L;
	const struct mn_name *verdict = mn_name_find(verdicts, luaL_tolstring(L, -1, NULL));
	size_t nest;
	uint32_t code;

	if (!verdict)
		mn_encode_refuse(e, row, "\"%s\" is no verdict", lua_tostring(L, -1));
	lua_pop(L, 2);
	code = htonl(verdict->value);
	nest = mn_encode_nest(e, NFTA_DATA_VERDICT | NLA_F_NESTED);
	memcpy(mn_encode_put(e, NFTA_VERDICT_CODE, sizeof(code)), &code, sizeof(code));
	if (lua_getfield(L, -1, "chain") == LUA_TSTRING)
		memcpy(mn_encode_put(e, NFTA_VERDICT_CHAIN, lua_rawlen(L, -1) + 1), lua_tostring(L, -1),
			lua_rawlen(L, -1));
	lua_pop(L, 1);
	mn_encode_nest_end(e, row, nest);
}

static void put_bytes(
	struct mn_encoder *e, const struct mn_row *row, uint16_t attr, const void *data, size_t len)
{
	size_t nest = mn_encode_nest(e, attr | NLA_F_NESTED);

	memcpy(mn_encode_put(e, NFTA_DATA_VALUE, len), data, len);
	mn_encode_nest_end(e, row, nest);
}

void mn_encode_data(struct mn_encoder *e, const struct mn_row *row)
{
	struct bytes bytes = { .len = 0 };

	if (lua_istable(e->L, -1) && lua_getfield(e->L, -1, "verdict") != LUA_TNIL) {
		size_t nest = mn_encode_nest(e, row->attr | NLA_F_NESTED);

		put_verdict(e, row);
		mn_encode_nest_end(e, row, nest);
		return;
	}
	if (lua_isnil(e->L, -1)) // the verdict that is not there
		lua_pop(e->L, 1);
	append_value(e, row, &bytes);
	put_bytes(e, row, row->attr, bytes.data, bytes.len);
}

// User data is a row of { type, length, bytes }; a comment is a string with its terminating zero.
void mn_encode_comment(struct mn_encoder *e, const struct mn_row *row)
{
	size_t len;
	const char *text = lua_tolstring(e->L, -1, &len);
	char *to;

	if (lua_type(e->L, -1) != LUA_TSTRING || len > (size_t)row->max || strlen(text) != len)
		mn_encode_refuse(e, row, "expected a string of at most %lld characters", (long long)row->max);
	to = mn_encode_put(e, row->attr, len + 3);
	to[0] = (char)row->aux;
	to[1] = (char)(len + 1);
	memcpy(to + 2, text, len);
}

bool mn_decode_comment(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len)
{
	while (len >= 2) {
		size_t size = (uint8_t)data[1];

		if (size > len - 2)
			return false;
		if ((uint8_t)data[0] == row->aux) {
			lua_pushlstring(d->L, data + 2, strnlen(data + 2, size));
			return true;
		}
		data += 2 + size;
		len -= 2 + size;
	}
	return true; // user data without a comment is nft's own
}

bool mn_decode_data(struct mn_decoder *d, const char *data, size_t len)
{
	const struct nlattr *value = mn_attr_find(data, len, NFTA_DATA_VALUE),
			    *verdict = mn_attr_find(data, len, NFTA_DATA_VERDICT), *part;
	const char *name = NULL;

	if (value) {
		lua_pushlstring(d->L, mnl_attr_get_payload(value), mnl_attr_get_payload_len(value));
		return true;
	}
	if (!verdict)
		return false;
	part = mn_attr_find(
		mnl_attr_get_payload(verdict), mnl_attr_get_payload_len(verdict), NFTA_VERDICT_CODE);
	if (part && mnl_attr_get_payload_len(part) >= 4)
		name = mn_name_of(verdicts, ntohl(mnl_attr_get_u32(part)));
	if (!name)
		return false;
	lua_createtable(d->L, 0, 2);
	lua_pushstring(d->L, name);
	lua_setfield(d->L, -2, "verdict");
	part = mn_attr_find(
		mnl_attr_get_payload(verdict), mnl_attr_get_payload_len(verdict), NFTA_VERDICT_CHAIN);
	if (part) {
		lua_pushlstring(d->L, mnl_attr_get_payload(part),
			strnlen(mnl_attr_get_payload(part), mnl_attr_get_payload_len(part)));
		lua_setfield(d->L, -2, "chain");
	}
	return true;
}

static bool attr_is(const struct nlmsghdr *nlh, uint16_t attr, const char *text)
{
	const struct nlattr *found = mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct nfgenmsg), attr);

	return found && text && mnl_attr_get_payload_len(found) == strlen(text) + 1 &&
		memcmp(mnl_attr_get_payload(found), text, strlen(text) + 1) == 0;
}

static int interval_flag(const struct nlmsghdr *nlh)
{
	const struct nlattr *flags = mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct nfgenmsg), NFTA_SET_FLAGS);

	return flags && mnl_attr_get_payload_len(flags) >= 4 &&
		ntohl(mnl_attr_get_u32(flags)) & NFT_SET_INTERVAL;
}

// Asks the kernel whether the set has intervals; 0 when there is no such set.
static int ask_interval(struct mn_encoder *e, const char *table, const char *name)
{
	_Alignas(struct nlmsghdr) char space[768] = { 0 };
	struct mn_buffer request = { .data = space };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(space);
	const struct nlmsghdr *answer;
	struct nfgenmsg *header;
	struct mn_error err;

	if (!e->nl || !table || !name || strlen(table) > 255 || strlen(name) > 255)
		return 0;
	nlh->nlmsg_type = NFT_MESSAGE(NFT_MSG_GETSET);
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = mn_nl_next_seq(e->nl);
	header = mnl_nlmsg_put_extra_header(nlh, sizeof(*header));
	header->nfgen_family = e->family;
	mnl_attr_put_strz(nlh, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_NAME, name);
	request.len = nlh->nlmsg_len;
	if (mn_nl_exchange(e->nl, &request, nlh->nlmsg_seq, &e->nl->names, &err) < 0)
		return 0;
	answer = mn_nl_next(e->nl, &e->nl->names, NULL, nlh->nlmsg_seq, nlh->nlmsg_seq);
	return answer && answer->nlmsg_type == NFT_MESSAGE(NFT_MSG_NEWSET) ? interval_flag(answer) : 0;
}

// Whether the set is one of intervals: told by a message earlier in the same buffer, or by the kernel.
static bool is_interval(struct mn_encoder *e)
{
	lua_State *L = e->L;
	const char *table, *name;
	int len = (int)e->message;

	if (e->interval >= 0)
		return e->interval;
	table = lua_getfield(L, e->args, "table") == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	name = lua_getfield(L, e->args, "name") == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)e->out->data; mn_nl_fits(nlh, len);
		nlh = mnl_nlmsg_next(nlh, &len)) {
		if (nlh->nlmsg_type == NFT_MESSAGE(NFT_MSG_NEWSET) && attr_is(nlh, NFTA_SET_TABLE, table) &&
			attr_is(nlh, NFTA_SET_NAME, name))
			e->interval = interval_flag(nlh);
	}
	if (e->interval < 0)
		e->interval = ask_interval(e, table, name);
	lua_pop(L, 2);
	return e->interval;
}

// The address after the last one of the prefix; false when there is none.
static bool after(uint8_t *address, int prefix)
{
	for (int bit = prefix - 1; bit >= 0; bit--) {
		uint8_t mask = (uint8_t)(0x80 >> (bit % 8));

		if (!(address[bit / 8] & mask)) {
			address[bit / 8] |= mask;
			return true;
		}
		address[bit / 8] &= (uint8_t)~mask;
	}
	return false;
}

static void put_key(struct mn_encoder *e, const struct mn_row *row, const uint8_t *key, int size, bool end)
{
	size_t nest = mn_encode_nest(e, row->aux | NLA_F_NESTED);
	uint32_t flags = htonl(NFT_SET_ELEM_INTERVAL_END);

	put_bytes(e, row, NFTA_SET_ELEM_KEY, key, (size_t)size);
	if (end)
		memcpy(mn_encode_put(e, NFTA_SET_ELEM_FLAGS, sizeof(flags)), &flags, sizeof(flags));
	mn_encode_nest_end(e, row, nest);
}

// Adds timeout and comment from the table at index to the element that starts at nest.
static void add_details(struct mn_encoder *e, const struct mn_row *row, int index, size_t nest)
{
	for (const struct mn_row *r = mn_nft_elem_table.rows;
		r < mn_nft_elem_table.rows + mn_nft_elem_table.count; r++) {
		if (!r->key || r->type == MN_SKIP || lua_getfield(e->L, index, r->key) == LUA_TNIL) {
			lua_settop(e->L, index);
			continue;
		}
		mn_encode_value(e, r, 0, nest);
		lua_settop(e->L, index);
	}
	mn_encode_nest_end(e, row, nest);
}

// Reads "10.0.0.1-10.0.0.9", what a range is printed as that is no CIDR; last becomes its end.
static bool range_at(lua_State *L, uint8_t first[16], uint8_t last[16], int *family)
{
	const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "",
		   *dash = strchr(text, '-');
	int other, prefix;
	bool good;

	if (!dash)
		return false;
	lua_pushlstring(L, text, (size_t)(dash - text));
	good = mn_address_at(L, -1, family, first, &prefix) && prefix < 0;
	lua_pushstring(L, dash + 1);
	good = good && mn_address_at(L, -1, &other, last, &prefix) && prefix < 0 && other == *family;
	lua_pop(L, 2);
	return good && memcmp(first, last, *family == AF_INET ? 4 : 16) <= 0;
}

// Encodes what is on top of the stack when it is an address or CIDR, or a table that has one as `val`. In a
// set of intervals that takes two elements: where it starts, and the first address after it.
bool mn_encode_elem(struct mn_encoder *e, const struct mn_row *row)
{
	lua_State *L = e->L;
	int top = lua_gettop(L), family = 0, prefix = -1, size;
	bool table = lua_istable(L, top), range = false, has_end;
	uint8_t address[16], last[16];
	size_t nest;

	luaL_checkstack(L, 10, NULL);
	if (table && lua_getfield(L, top, "val") == LUA_TNIL) {
		lua_settop(L, top);
		return false;
	}
	if (!mn_address_at(L, -1, &family, address, &prefix)) {
		range = range_at(L, address, last, &family);
		prefix = -1;
	}
	if (!range && prefix < 0 && !mn_address_at(L, -1, &family, address, &prefix))
		mn_encode_refuse(e, row,
			"expected an address, a CIDR, a range, { val = one of those } or { key = bytes }");
	lua_settop(L, top);
	size = family == AF_INET ? 4 : 16;
	for (int bit = prefix < 0 ? 8 * size : prefix; bit < 8 * size; bit++) {
		if (address[bit / 8] & (0x80 >> (bit % 8)))
			mn_encode_refuse(e, row, "the CIDR has bits set behind its prefix length");
	}
	nest = e->out->len;
	put_key(e, row, address, size, false);
	if (table) {
		static const char *const known[] = { "val", "timeout", "expires", "comment", "data", NULL };

		lua_pushnil(L);
		while (lua_next(L, top)) {
			bool good = false;

			lua_pop(L, 1);
			for (size_t i = 0; known[i]; i++)
				good = good ||
					(lua_type(L, -1) == LUA_TSTRING &&
						strcmp(known[i], lua_tostring(L, -1)) == 0);
			if (!good)
				mn_encode_refuse(e, row, "unknown key \"%s\" in an element",
					luaL_tolstring(L, -1, NULL));
		}
		add_details(e, row, top, nest);
	}
	if (range)
		memcpy(address, last, sizeof(address));
	if (prefix < 0)
		prefix = 8 * size;
	has_end = range || prefix < 8 * size || is_interval(e);
	if (has_end && after(address, prefix))
		put_key(e, row, address, size, true);
	return true;
}
