// SPDX-License-Identifier: Apache-2.0
// The decoder: walks the bytes of a message and a table of the schema together.
#define _GNU_SOURCE
#include "codec.h"

#include "lua_core.h"

#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <string.h>

static void decode_attrs(
	struct mn_decoder *d, const struct mn_table *table, const char *base, const char *data, size_t len);

// Whether a key of the table that is being filled is wanted. Of nested tables all are, unless some were
// named.
static bool is_wanted(struct mn_decoder *d, const char *key)
{
	uint64_t bit;

	if (!d->some || d->depth > 2)
		return true;
	bit = mn_key_bit(key);
	if (d->depth > 1)
		return d->whole || d->inner & bit;
	d->whole = !(d->partly & bit);
	return d->keys & bit;
}

// Keeps an attribute that no row describes: value.raw[number] = bytes, or value.raw.IFLA_LINKINFO[number] for
// one in an inline nest. The number keeps the flag by which the kernel marks nests.
static void keep_raw(struct mn_decoder *d, const struct nlattr *attr)
{
	lua_State *L = d->L;
	int top = lua_gettop(L);
	uint16_t number = attr->nla_type & (uint16_t)~NLA_F_NET_BYTEORDER;

	if (!is_wanted(d, "raw"))
		return;
	lua_pushvalue(L, d->top);
	for (int i = -1; i < d->path_len; i++) {
		const char *key = i < 0 ? "raw" : d->path[i];

		if (lua_getfield(L, -1, key) != LUA_TTABLE) {
			lua_pop(L, 1);
			lua_newtable(L);
			lua_pushvalue(L, -1);
			lua_setfield(L, -3, key);
		}
	}
	lua_pushlstring(L, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
	lua_rawseti(L, -2, number);
	lua_settop(L, top);
}

// How many attributes there are, which is about how many fields a table of them gets.
static int count_attrs(const char *data, size_t len)
{
	const struct nlattr *attr = (const struct nlattr *)data;
	int n = 0;

	for (size_t step; mn_attr_fits(attr, len); len -= step) {
		n++;
		step = MNL_ALIGN((size_t)attr->nla_len);
		if (step >= len)
			break;
		attr = (const struct nlattr *)((const char *)attr + step);
	}
	return n;
}

// Whether some keys are wanted of the table that comes next, and not all.
static bool is_partial(const struct mn_decoder *d)
{
	return d->some && (d->depth == 0 || (d->depth == 1 && !d->whole));
}

// Pushes a new table for the nested table that starts at data.
static bool decode_table(struct mn_decoder *d, const struct mn_table *table, const char *data, size_t len)
{
	struct mn_decoder outer = *d;
	size_t header = NLMSG_ALIGN(table->header);

	if (len < table->header || d->depth >= MN_CODEC_DEPTH - 1)
		return false;
	if (header > len)
		header = len;
	luaL_checkstack(d->L, 12, "nested too deeply");
	lua_createtable(d->L, 0, is_partial(d) ? 8 : count_attrs(data + header, len - header));
	d->depth++;
	d->top = lua_gettop(d->L);
	d->path_len = 0;
	decode_attrs(d, table, data, data + header, len - header);
	d->depth = outer.depth;
	d->top = outer.top;
	d->path_len = outer.path_len;
	memcpy(d->path, outer.path, sizeof(d->path));
	return true;
}

static bool decode_inline(struct mn_decoder *d, const struct mn_row *row, const struct mn_table *table,
	const struct nlattr *attr)
{
	const char *data = mnl_attr_get_payload(attr);

	if (d->path_len >= MN_CODEC_DEPTH - 1)
		return false;
	d->path[d->path_len++] = row->name;
	decode_attrs(d, table, data, data, mnl_attr_get_payload_len(attr));
	d->path_len--;
	return true;
}

static bool decode_variant(struct mn_decoder *d, const struct mn_row *row, const struct nlattr *attr,
	const char *data, size_t len)
{
	const struct mn_variant *variant = mn_variant_of(row, data, len);

	if (!variant)
		return decode_inline(d, row, &mn_nothing_table, attr);
	if (!variant->key)
		return decode_inline(d, row, variant->table, attr);
	if (!is_wanted(d, variant->key))
		return true;
	if (!decode_table(d, variant->table, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr)))
		return false;
	lua_setfield(d->L, d->top, variant->key);
	return true;
}

// Pushes a list of what the nests in an attribute hold; those of another number are left out.
static bool decode_list(struct mn_decoder *d, const struct mn_row *row, const struct nlattr *attr)
{
	lua_State *L = d->L;
	const char *data = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr);
	const struct nlattr *item = (const struct nlattr *)data;
	lua_Integer n = 0;

	luaL_checkstack(L, 6, "nested too deeply");
	lua_newtable(L);
	while (mn_attr_fits(item, len)) {
		size_t step = MNL_ALIGN((size_t)item->nla_len), size = mnl_attr_get_payload_len(item);

		if (!row->aux || mnl_attr_get_type(item) == row->aux) {
			if (row->type == MN_STRINGS)
				lua_pushlstring(L, mnl_attr_get_payload(item),
					strnlen(mnl_attr_get_payload(item), size));
			else if (!decode_table(d, row->table, mnl_attr_get_payload(item), size))
				lua_newtable(L);
			lua_rawseti(L, -2, ++n);
		}
		if (step >= len)
			break;
		len -= step;
		item = (const struct nlattr *)((const char *)item + step);
	}
	return true;
}

// Sets the key of a table's last row to a list of the structs behind the header at base, which counts them.
static void decode_array(
	struct mn_decoder *d, const struct mn_row *row, const char *base, const char *data, size_t len)
{
	lua_State *L = d->L;
	size_t size = row->table->header, count = (uint8_t)base[row->at];

	lua_newtable(L);
	for (size_t i = 0; i < count && (i + 1) * size <= len; i++) {
		if (!decode_table(d, row->table, data + i * size, size))
			break;
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, d->top, row->key);
}

static bool decode_hops(struct mn_decoder *d, const struct mn_row *row, const struct nlattr *attr)
{
	lua_State *L = d->L;
	const char *data = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr);
	lua_Integer n = 0;

	luaL_checkstack(L, 6, "nested too deeply");
	lua_newtable(L);
	while (len >= sizeof(struct rtnexthop)) {
		size_t size = ((const struct rtnexthop *)data)->rtnh_len, step = RTNH_ALIGN(size);

		if (size < sizeof(struct rtnexthop) || size > len || !decode_table(d, row->table, data, size))
			break;
		lua_rawseti(L, -2, ++n);
		if (step >= len)
			break;
		len -= step;
		data += step;
	}
	return true;
}

// Adds what an attribute says of one VLAN to the list, or ends the range that the one before has begun.
static bool decode_vlan(struct mn_decoder *d, const struct mn_row *row, const struct nlattr *attr)
{
	lua_State *L = d->L;
	int top = lua_gettop(L);
	struct bridge_vlan_info info;
	uint16_t flags;

	if (mnl_attr_get_payload_len(attr) != sizeof(info))
		return false;
	memcpy(&info, mnl_attr_get_payload(attr), sizeof(info));
	flags = info.flags & (uint16_t) ~(BRIDGE_VLAN_INFO_RANGE_BEGIN | BRIDGE_VLAN_INFO_RANGE_END);
	luaL_checkstack(L, 10, "nested too deeply");
	if (lua_getfield(L, d->top, row->key) != LUA_TTABLE) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_setfield(L, d->top, row->key);
	}
	if (info.flags & BRIDGE_VLAN_INFO_RANGE_END &&
		lua_geti(L, top + 1, luaL_len(L, top + 1)) == LUA_TTABLE) {
		lua_pushinteger(L, info.vid);
		lua_setfield(L, -2, "vlanEnd");
	} else {
		lua_settop(L, top + 1);
		lua_newtable(L);
		lua_pushinteger(L, info.vid);
		lua_setfield(L, -2, "vlan");
		if (flags &&
			mn_decode_value(d, row->table->rows + row->table->count - 1, (const char *)&flags,
				sizeof(flags), NULL, NULL, 0))
			lua_setfield(L, -2, "flags");
		lua_rawseti(L, top + 1, luaL_len(L, top + 1) + 1);
	}
	lua_settop(L, top);
	return true;
}

// Decodes an attribute by one row into the table at d->top; false when it does not fit the row.
static bool decode_row(struct mn_decoder *d, const struct mn_row *row, const struct nlattr *attr,
	const char *base, const char *data, size_t len)
{
	const char *payload = mnl_attr_get_payload(attr);
	size_t size = mnl_attr_get_payload_len(attr);
	int top = lua_gettop(d->L);
	bool good;

	if (row->flags & MN_STRUCT && !row->key)
		return true;
	if (row->key && !is_wanted(d, row->key))
		return true;
	if (row->flags & MN_LOW) { // the full one may stand before it
		bool there = lua_getfield(d->L, d->top, row->key) != LUA_TNIL;

		lua_pop(d->L, 1);
		if (there)
			return true;
	}
	switch (row->type) {
	case MN_SKIP:
		return true;
	case MN_INLINE:
		return decode_inline(d, row, row->table, attr);
	case MN_VARIANT:
		return decode_variant(d, row, attr, data, len);
	case MN_NEST:
		good = decode_table(d, row->table, payload, size);
		break;
	case MN_LIST:
	case MN_STRINGS:
		good = decode_list(d, row, attr);
		break;
	case MN_HOPS:
		good = decode_hops(d, row, attr);
		break;
	case MN_VLANS:
		return decode_vlan(d, row, attr);
	default:
		if (row->flags & MN_STRUCT) {
			if (size < (size_t)row->at + row->size)
				return false;
			payload += row->at;
			size = row->size;
		}
		good = mn_decode_value(d, row, payload, size, base, data, len);
	}
	if (good && lua_gettop(d->L) > top)
		lua_setfield(d->L, d->top, row->key);
	return good;
}

static void decode_header(struct mn_decoder *d, const struct mn_table *table, const char *base)
{
	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		int top = lua_gettop(d->L);

		if (row->flags & MN_HEADER && is_wanted(d, row->key) &&
			mn_decode_value(d, row, base + row->at, row->size, base, NULL, 0) &&
			lua_gettop(d->L) > top)
			lua_setfield(d->L, d->top, row->key);
	}
}

// A prefix of length 0 has no attribute.
static void decode_defaults(struct mn_decoder *d, const struct mn_table *table, const char *base)
{
	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		if (!(row->flags & MN_DEFAULT) || base[row->aux] != 0)
			continue;
		lua_pushliteral(d->L, "default");
		lua_setfield(d->L, d->top, row->key);
	}
}

static void decode_attrs(
	struct mn_decoder *d, const struct mn_table *table, const char *base, const char *data, size_t len)
{
	const struct nlattr *attr = (const struct nlattr *)data;
	const struct mn_row *next = NULL; // the kernel's order is about that of the rows
	size_t left = len;

	luaL_checkstack(d->L, 8, "nested too deeply");
	if (table->header) {
		decode_header(d, table, base);
		decode_defaults(d, table, base);
	}
	if (table->count && table->rows[table->count - 1].type == MN_ARRAY) {
		decode_array(d, &table->rows[table->count - 1], base, data, len);
		return;
	}
	while (mn_attr_fits(attr, left)) {
		size_t step = MNL_ALIGN((size_t)attr->nla_len);
		uint16_t number = mnl_attr_get_type(attr);
		const struct mn_row *row = mn_row_of_attr(table, number, next);
		bool good = row != NULL;

		for (; row && row < table->rows + table->count && row->attr == number &&
			!(row->flags & MN_HEADER);
			row++)
			good = decode_row(d, row, attr, base, data, len) && good;
		next = row ? row : next;
		if (!good)
			keep_raw(d, attr);
		if (step >= left)
			break;
		left -= step;
		attr = (const struct nlattr *)((const char *)attr + step);
	}
}

// The kernel sends an address's own side as IFA_LOCAL, and the other side as IFA_ADDRESS, which is the same
// when there is no peer; for IPv6 without a peer it sends IFA_ADDRESS only.
static void tidy_addr(lua_State *L)
{
	int value = lua_gettop(L);
	bool own = lua_getfield(L, value, "address") != LUA_TNIL,
	     other = lua_getfield(L, value, "peer") != LUA_TNIL;

	if (!own && other) {
		lua_pushvalue(L, -1);
		lua_setfield(L, value, "address");
	}
	if (other && (!own || lua_rawequal(L, -1, -2))) {
		lua_pushnil(L);
		lua_setfield(L, value, "peer");
	}
	lua_settop(L, value);
}

// The kernel leaves priority 0 out and says -1 where nothing is suppressed.
static void tidy_rule(lua_State *L)
{
	int value = lua_gettop(L);

	if (lua_getfield(L, value, "priority") == LUA_TNIL) {
		lua_pushinteger(L, 0);
		lua_setfield(L, value, "priority");
	}
	if (lua_getfield(L, value, "suppress_prefixlength") == LUA_TNUMBER && lua_tointeger(L, -1) == -1) {
		lua_pushnil(L);
		lua_setfield(L, value, "suppress_prefixlength");
	}
	lua_settop(L, value);
}

void mn_decode(struct mn_decoder *d, const struct mn_object *object, const struct nlmsghdr *nlh)
{
	const char *payload = mnl_nlmsg_get_payload(nlh);
	size_t len = mnl_nlmsg_get_payload_len(nlh);

	d->family = len ? (uint8_t)*payload : 0;
	d->depth = 0;
	if (!decode_table(d, object->table, payload, len))
		lua_newtable(d->L);
	else if (object == &mn_addr_object)
		tidy_addr(d->L);
	else if (object == &mn_rule_object)
		tidy_rule(d->L);
}
