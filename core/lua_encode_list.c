// SPDX-License-Identifier: Apache-2.0
// Lists of the codec: nests of nests, next hops, strings, arrays of structs, ranges of VLANs.
#define _GNU_SOURCE
#include "codec.h"

#include "lua_core.h"

#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <string.h>

static bool is_single(lua_State *L, int value)
{
	bool empty;

	if (!lua_istable(L, value))
		return true;
	lua_pushnil(L);
	empty = lua_next(L, value) == 0;
	lua_settop(L, value);
	return !empty && lua_rawlen(L, value) == 0;
}

// Calls encode for each element of the list on top of the stack, which it finds on top in turn.
static void each_element(struct mn_encoder *e, const struct mn_row *row,
	void (*encode)(struct mn_encoder *e, const struct mn_row *row))
{
	lua_State *L = e->L;
	int list = lua_gettop(L);

	// One element of a set may stand without a list around it.
	if (row->table == &mn_nft_elem_table && is_single(L, list)) {
		lua_pushvalue(L, list);
		encode(e, row);
		lua_settop(L, list);
		return;
	}
	if (!lua_istable(L, list))
		mn_encode_refuse(e, row, "expected a list, got %s", luaL_typename(L, list));
	for (lua_Integer i = 1, n = luaL_len(L, list); i <= n; i++) {
		lua_geti(L, list, i);
		encode(e, row);
		lua_settop(L, list);
	}
}

static void encode_element(struct mn_encoder *e, const struct mn_row *row)
{
	size_t nest;

	if (row->table == &mn_nft_elem_table && mn_encode_elem(e, row))
		return;
	nest = mn_encode_nest(e, row->aux | NLA_F_NESTED);

	mn_encode_record(e, row);
	mn_encode_nest_end(e, row, nest);
}

static void encode_string(struct mn_encoder *e, const struct mn_row *row)
{
	size_t len;
	const char *text;

	if (lua_type(e->L, -1) != LUA_TSTRING)
		mn_encode_refuse(e, row, "expected a list of strings, got %s in it", luaL_typename(e->L, -1));
	text = lua_tolstring(e->L, -1, &len);
	memcpy(mn_encode_put(e, row->aux, len + 1), text, len);
}

// One struct rtnexthop with its attributes: like an attribute, but with a header of its own shape.
static void encode_hop(struct mn_encoder *e, const struct mn_row *row)
{
	size_t at = e->out->len;

	mn_encode_record(e, row);
	if (e->out->len - at > UINT16_MAX)
		mn_encode_refuse(e, row, "a next hop is too long");
	((struct rtnexthop *)(e->out->data + at))->rtnh_len = (unsigned short)(e->out->len - at);
}

// The structs behind a header at base, which counts them.
static void encode_array(struct mn_encoder *e, const struct mn_row *row, size_t base)
{
	size_t start = e->out->len, count;

	each_element(e, row, mn_encode_record);
	count = (e->out->len - start) / row->table->header;
	if (count > (size_t)row->max)
		mn_encode_refuse(e, row, "%zu are more than fit (%d)", count, (int)row->max);
	e->out->data[base + row->at] = (char)count;
}

// Numbers the nests of a list by their order, from 1.
static void number_elements(struct mn_encoder *e, size_t nest)
{
	uint16_t n = 0;

	for (size_t at = nest + MNL_ATTR_HDRLEN; at < e->out->len;) {
		struct nlattr *attr = (struct nlattr *)(e->out->data + at);

		attr->nla_type = ++n | NLA_F_NESTED;
		at += MNL_ALIGN(attr->nla_len);
	}
}

// One VLAN, or a range of them, which is two attributes: the first and the last.
static void encode_vlan(struct mn_encoder *e, const struct mn_row *row)
{
	size_t at = e->out->len;
	struct mn_vlan_range range;
	struct bridge_vlan_info info;

	mn_encode_record(e, row);
	memcpy(&range, e->out->data + at, sizeof(range));
	e->out->len = at;
	if (!range.vid)
		mn_encode_refuse(e, row, "each element needs its vlan, from 1 to 4094");
	if (range.end && range.end < range.vid)
		mn_encode_refuse(e, row, "vlanEnd %u is less than vlan %u", range.end, range.vid);
	info = (struct bridge_vlan_info){ .flags = range.flags, .vid = range.vid };
	if (range.end && range.end != range.vid) {
		info.flags |= BRIDGE_VLAN_INFO_RANGE_BEGIN;
		memcpy(mn_encode_put(e, row->attr, sizeof(info)), &info, sizeof(info));
		info = (struct bridge_vlan_info){ .flags = range.flags | BRIDGE_VLAN_INFO_RANGE_END,
			.vid = range.end };
	}
	memcpy(mn_encode_put(e, row->attr, sizeof(info)), &info, sizeof(info));
}

void mn_encode_list(struct mn_encoder *e, const struct mn_row *row, size_t base)
{
	size_t nest;

	if (row->type == MN_ARRAY) {
		encode_array(e, row, base);
		return;
	}
	if (row->type == MN_VLANS) {
		each_element(e, row, encode_vlan);
		return;
	}
	nest = mn_encode_nest(e, mn_nest_type(row));
	each_element(e, row,
		row->type == MN_HOPS	       ? encode_hop
			: row->type == MN_LIST ? encode_element
					       : encode_string);
	if (row->type == MN_LIST && !row->aux)
		number_elements(e, nest);
	mn_encode_nest_end(e, row, nest);
}
