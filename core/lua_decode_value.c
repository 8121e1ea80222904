// SPDX-License-Identifier: Apache-2.0
// The decoder's leaves: the bytes of one attribute or header field to one Lua value.
#define _GNU_SOURCE
#include "codec.h"

#include "cidr.h"
#include "lua_core.h"
#include "lua_netns.h"
#include "text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

static uint64_t read_number(const void *from, size_t size, bool net)
{
	uint8_t bytes[8] = { 0 };
	uint64_t value = 0;

	memcpy(bytes, from, size);
	for (size_t i = 0; i < size; i++) {
		size_t shift = 8 * (net || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? size - 1 - i : i);

		value |= (uint64_t)bytes[i] << shift;
	}
	return value;
}

static int64_t read_signed(const void *from, size_t size, bool net)
{
	uint64_t value = read_number(from, size, net);

	if (size < 8 && value >> (8 * size - 1))
		value |= ~0ULL << (8 * size);
	return (int64_t)value;
}

static void push_bits(lua_State *L, const struct mn_name *names, uint64_t bits)
{
	lua_Integer n = 0;

	lua_newtable(L);
	for (; names->name; names++) {
		if (names->value && (bits & names->value) == names->value) {
			lua_pushstring(L, names->name);
			lua_rawseti(L, -2, ++n);
			bits &= ~(uint64_t)names->value;
		}
	}
	if (bits) {
		lua_pushinteger(L, (lua_Integer)bits);
		lua_rawseti(L, -2, ++n);
	}
}

static bool push_address(lua_State *L, int family, const char *data, size_t len, int prefix)
{
	char text[MN_CIDR_TEXT], *end;

	if ((family != AF_INET || len != 4) && (family != AF_INET6 || len != 16))
		return false;
	end = mn_put_address(text, family, data);
	if (prefix >= 0) {
		*end++ = '/';
		end = mn_put_decimal(end, (unsigned int)prefix);
	}
	lua_pushlstring(L, text, (size_t)(end - text));
	return true;
}

static int family_of(size_t len)
{
	return len == 4 ? AF_INET : AF_INET6;
}

static bool push_prefix(
	struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len, const char *base)
{
	int prefix = (uint8_t)base[row->aux], full = (int)len * 8;

	if (prefix > full)
		return false;
	return push_address(
		d->L, d->family, data, len, prefix == full && !(row->flags & MN_FULL) ? -1 : prefix);
}

static bool push_via(struct mn_decoder *d, const char *data, size_t len)
{
	uint16_t family;
	const char *name;

	if (len < sizeof(family))
		return false;
	memcpy(&family, data, sizeof(family));
	lua_createtable(d->L, 0, 2);
	if (!push_address(d->L, family, data + sizeof(family), len - sizeof(family), -1)) {
		lua_pop(d->L, 1);
		return false;
	}
	lua_setfield(d->L, -2, "host");
	name = mn_name_of(mn_families, family);
	lua_pushstring(d->L, name ? name : "");
	lua_setfield(d->L, -2, "family");
	return true;
}

// Writes the six bytes of a MAC address; returns where the text ends.
static char *put_mac(char *to, const char *data)
{
	for (size_t i = 0; i < 6; i++) {
		to = mn_put_hex(to, (uint8_t)data[i], 2);
		*to++ = ':';
	}
	return to - 1;
}

static bool push_mac(lua_State *L, const char *data, size_t len)
{
	char text[20];

	if (len == 4 || len == 16) // the end points of tunnels
		return push_address(L, family_of(len), data, len, -1);
	if (len != 6)
		return false;
	lua_pushlstring(L, text, (size_t)(put_mac(text, data) - text));
	return true;
}

static bool push_bridge_id(lua_State *L, const char *data, size_t len)
{
	char text[32], *end;

	if (len != 8)
		return false;
	end = mn_put_hex(text, read_number(data, 2, true), 4);
	*end++ = '.';
	end = put_mac(end, data + 2);
	lua_pushlstring(L, text, (size_t)(end - text));
	return true;
}

// Pushes the name of a link, nil when there is none by this index or no way to know. Raises what the kernel
// refuses: a route without its device would be taken for another one.
static void push_link_name(struct mn_decoder *d, int index)
{
	struct mn_error err = { 0 };
	char name[16];
	int ret;

	if (!d->names || index <= 0) {
		lua_pushnil(d->L);
		return;
	}
	if (lua_rawgeti(d->L, d->names, index) == LUA_TNIL && d->nl && d->nl->socket) {
		lua_pop(d->L, 1);
		ret = mn_nl_link_name(d->nl, index, name, &err);
		if (ret < 0 && ret != -ENODEV)
			mn_lua_raise(d->L, &err);
		if (ret == 0)
			lua_pushstring(d->L, name);
		else
			lua_pushboolean(d->L, 0);
		lua_pushvalue(d->L, -1);
		lua_rawseti(d->L, d->names, index);
	}
	if (!lua_toboolean(d->L, -1)) {
		lua_pop(d->L, 1);
		lua_pushnil(d->L);
	}
}

static bool push_dev(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len,
	const char *container, size_t container_len)
{
	int index;

	if (len != 4)
		return false;
	index = (int)read_number(data, 4, false);
	if (row->flags & MN_FOREIGN && mn_attr_find(container, container_len, row->aux))
		lua_pushnil(d->L);
	else
		push_link_name(d, index);
	if (!lua_isnil(d->L, -1))
		return true;
	lua_pop(d->L, 1);
	if (!(row->flags & MN_ONLY_NAME))
		lua_pushinteger(d->L, index);
	return true;
}

static bool push_range(lua_State *L, const struct mn_row *row, const char *data, size_t len)
{
	unsigned long long first, last;

	if (len != 2 * (size_t)row->size)
		return false;
	first = read_number(data, row->size, row->flags & MN_NET);
	last = read_number(data + row->size, row->size, row->flags & MN_NET);
	if (first == last)
		lua_pushinteger(L, (lua_Integer)first);
	else
		lua_pushfstring(L, "%I-%I", (LUAI_UACINT)first, (LUAI_UACINT)last);
	return true;
}

// Pushes the list of names that are joined in value; pushes nothing and returns false when one is not
// known, or when there are so many or few that the encoder would not take the list.
static bool push_joined(lua_State *L, const struct mn_row *row, uint64_t value)
{
	int n = 0;

	for (uint64_t rest = value; rest; rest >>= MN_JOINED_BITS, n++) {
		if (!mn_name_of(row->names, rest & MN_JOINED_MASK))
			return false;
	}
	if (n == 0 || n > 32 / MN_JOINED_BITS)
		return false;
	lua_createtable(L, n, 0);
	for (; n > 0; n--, value >>= MN_JOINED_BITS) {
		lua_pushstring(L, mn_name_of(row->names, value & MN_JOINED_MASK));
		lua_rawseti(L, -2, n);
	}
	return true;
}

static bool push_number(lua_State *L, const struct mn_row *row, const char *data, size_t len)
{
	const char *name;
	uint64_t value;

	if (len < row->size || row->size == 0)
		return false;
	value = read_number(data, row->size, row->flags & MN_NET);
	switch (row->type) {
	case MN_INT:
		lua_pushinteger(L, read_signed(data, row->size, row->flags & MN_NET));
		break;
	case MN_BOOL:
		lua_pushboolean(L, value != 0);
		break;
	case MN_ONEBIT:
		lua_pushboolean(L, ((value & row->bit) != 0) != (row->aux != 0));
		break;
	case MN_WEIGHT:
		lua_pushinteger(L, (lua_Integer)value + 1);
		break;
	case MN_BITS:
		push_bits(L, row->names, value);
		break;
	case MN_ENUM:
		name = mn_name_of(row->names, (uint32_t)value);
		if (name)
			lua_pushstring(L, name);
		else if (!(row->flags & MN_JOINED) || !push_joined(L, row, value))
			lua_pushinteger(L, (lua_Integer)value);
		break;
	default:
		lua_pushinteger(L, (lua_Integer)value);
	}
	return true;
}

bool mn_decode_value(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len,
	const char *base, const char *container, size_t container_len)
{
	lua_State *L = d->L;

	switch (row->type) {
	case MN_FLAG:
		lua_pushboolean(L, 1);
		return true;
	case MN_STRING:
		lua_pushlstring(L, data, strnlen(data, len));
		return true;
	case MN_BYTES:
		lua_pushlstring(L, data, len);
		return true;
	case MN_MAC:
		return push_mac(L, data, len);
	case MN_ADDRESS:
		return push_address(L, d->family, data, len, -1);
	case MN_IP:
		return push_address(L, family_of(len), data, len, -1);
	case MN_PREFIX:
		return push_prefix(d, row, data, len, base);
	case MN_VIA:
		return push_via(d, data, len);
	case MN_DEV:
		return push_dev(d, row, data, len, container, container_len);
	case MN_RANGE:
		return push_range(L, row, data, len);
	case MN_BRIDGE_ID:
		return push_bridge_id(L, data, len);
	case MN_DATA:
		return mn_decode_data(d, data, len);
	case MN_COMMENT:
		return mn_decode_comment(d, row, data, len);
	case MN_HANDLE:
	case MN_BURST:
	case MN_SHARE:
		return mn_decode_tc(d, row, data, len, container, container_len);
	case MN_NETNS:
		if (len != 4)
			return false;
		lua_createtable(L, 0, 1);
		lua_pushinteger(L, (lua_Integer)read_number(data, 4, false));
		lua_setfield(L, -2, "fd");
		return true;
	default:
		return push_number(L, row, data, len);
	}
}
