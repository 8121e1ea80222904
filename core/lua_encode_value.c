// SPDX-License-Identifier: Apache-2.0
// The encoder's leaves: one Lua value to the bytes of one attribute or header field.
#define _GNU_SOURCE
#include "codec.h"

#include "lua_core.h"
#include "lua_netns.h"
#include "nearest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_number(void *to, uint64_t value, size_t size, bool net)
{
	uint8_t bytes[8] = { 0 };

	for (size_t i = 0; i < size; i++) {
		size_t shift = 8 * (net || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? size - 1 - i : i);

		bytes[i] = (uint8_t)(value >> shift);
	}
	memcpy(to, bytes, size);
}

// Where the row's `size` bytes go: the header, a struct that several rows share, or an attribute of their
// own.
static void *place(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container, size_t size)
{
	const struct nlattr *shared;
	char *data;

	if (row->flags & MN_HEADER)
		return e->out->data + base + row->at;
	if (!(row->flags & MN_STRUCT))
		return mn_encode_put(e, row->attr, size);
	shared = mn_attr_find(e->out->data + container, e->out->len - container, row->attr);
	if (shared)
		return (char *)mnl_attr_get_payload(shared) + row->at;
	data = mn_encode_put(e, row->attr, row->aux);
	if (row->flags & MN_ONES)
		memset(data, 0xff, row->aux);
	return data + row->at;
}

const char *mn_encode_given(lua_State *L, char *text, size_t size)
{
	switch (lua_type(L, -1)) {
	case LUA_TSTRING:
		snprintf(text, size, "\"%.80s\"", lua_tostring(L, -1));
		break;
	case LUA_TNUMBER:
	case LUA_TBOOLEAN:
		snprintf(text, size, "%s", luaL_tolstring(L, -1, NULL));
		lua_pop(L, 1);
		break;
	default:
		snprintf(text, size, "a %s", luaL_typename(L, -1));
	}
	return text;
}

void mn_encode_expected(struct mn_encoder *e, const struct mn_row *row, const char *what)
{
	char text[96];

	mn_encode_refuse(e, row, "expected %s, got %s", what, mn_encode_given(e->L, text, sizeof(text)));
}

static void range_of(const struct mn_row *row, int64_t *min, int64_t *max)
{
	bool is_signed = row->type == MN_INT;

	*min = row->min;
	*max = row->max;
	if (*min || *max) {
		if (!*max)
			*max = row->size < 8 ? (int64_t)((1ULL << (8 * row->size)) - 1) : INT64_MAX;
		return;
	}
	if (row->size == 8) {
		*min = is_signed ? INT64_MIN : 0;
		*max = INT64_MAX;
	} else {
		*min = is_signed ? -(1LL << (8 * row->size - 1)) : 0;
		*max = is_signed ? (1LL << (8 * row->size - 1)) - 1
				 : (int64_t)((1ULL << (8 * row->size)) - 1);
	}
}

static int64_t check_integer(struct mn_encoder *e, const struct mn_row *row, int64_t min, int64_t max)
{
	int is_integer = 0;
	lua_Integer value = lua_type(e->L, -1) == LUA_TNUMBER ? lua_tointegerx(e->L, -1, &is_integer) : 0;

	if (!is_integer || value < min || value > max) {
		char what[80];

		snprintf(what, sizeof(what), "an integer from %lld to %lld", (long long)min, (long long)max);
		mn_encode_expected(e, row, what);
	}
	return value;
}

static _Noreturn void unknown_name(struct mn_encoder *e, const struct mn_row *row, const char *name)
{
	struct mn_nearest search;
	char all[256];
	int len = 0;

	mn_nearest_start(&search, name);
	for (const struct mn_name *n = row->names; n->name; n++) {
		mn_nearest_offer(&search, n->name);
		if ((size_t)len < sizeof(all))
			len += snprintf(
				all + len, sizeof(all) - (size_t)len, "%s%s", len ? ", " : "", n->name);
	}
	if (search.found)
		mn_encode_refuse(
			e, row, "\"%s\" is unknown, the nearest known name is \"%s\"", name, search.found);
	mn_encode_refuse(e, row, "\"%s\" is unknown, there are %s", name, all);
}

static uint64_t check_joined(struct mn_encoder *e, const struct mn_row *row)
{
	lua_State *L = e->L;
	int list = lua_gettop(L);
	lua_Integer n = (lua_Integer)lua_rawlen(L, list);
	uint64_t joined = 0;

	if (n < 1 || n > 32 / MN_JOINED_BITS)
		mn_encode_refuse(e, row, "expected a list of 1 to %d names, got %lld", 32 / MN_JOINED_BITS,
			(long long)n);
	for (lua_Integer i = 1; i <= n; i++) {
		const struct mn_name *found;

		if (lua_rawgeti(L, list, i) != LUA_TSTRING)
			mn_encode_expected(e, row, "a list of names");
		found = mn_name_find(row->names, lua_tostring(L, -1));
		if (!found)
			unknown_name(e, row, lua_tostring(L, -1));
		joined = joined << MN_JOINED_BITS | found->value;
		lua_settop(L, list);
	}
	return joined;
}

static uint64_t check_enum(struct mn_encoder *e, const struct mn_row *row)
{
	const struct mn_name *found;
	int64_t min, max;

	if (lua_type(e->L, -1) == LUA_TSTRING) {
		found = mn_name_find(row->names, lua_tostring(e->L, -1));
		if (!found)
			unknown_name(e, row, lua_tostring(e->L, -1));
		return found->value;
	}
	if (row->flags & MN_JOINED && lua_istable(e->L, -1))
		return check_joined(e, row);
	range_of(row, &min, &max);
	if (row->flags & MN_LOW)
		max = UINT32_MAX;
	if (lua_type(e->L, -1) != LUA_TNUMBER)
		mn_encode_expected(e, row, "a name or a number");
	return (uint64_t)check_integer(e, row, min, max);
}

static uint64_t check_bits(struct mn_encoder *e, const struct mn_row *row)
{
	lua_State *L = e->L;
	uint64_t bits = 0;
	int list = lua_gettop(L);

	if (lua_type(L, list) == LUA_TNUMBER)
		return (uint64_t)check_integer(e, row, 0, UINT32_MAX);
	if (!lua_istable(L, list))
		mn_encode_expected(e, row, "a list of names");
	for (lua_Integer i = 1, n = luaL_len(L, list); i <= n; i++) {
		const struct mn_name *found;

		lua_geti(L, list, i);
		if (lua_type(L, -1) == LUA_TNUMBER) {
			bits |= (uint64_t)check_integer(e, row, 0, UINT32_MAX);
		} else if (lua_type(L, -1) == LUA_TSTRING) {
			found = mn_name_find(row->names, lua_tostring(L, -1));
			if (!found)
				unknown_name(e, row, lua_tostring(L, -1));
			bits |= found->value;
		} else {
			mn_encode_expected(e, row, "a list of names");
		}
		lua_settop(L, list);
	}
	return bits;
}

static bool check_boolean(struct mn_encoder *e, const struct mn_row *row)
{
	if (lua_isboolean(e->L, -1))
		return lua_toboolean(e->L, -1);
	if (lua_isinteger(e->L, -1) && (lua_tointeger(e->L, -1) == 0 || lua_tointeger(e->L, -1) == 1))
		return lua_tointeger(e->L, -1) != 0;
	mn_encode_expected(e, row, "true or false");
}

static void encode_string(struct mn_encoder *e, const struct mn_row *row)
{
	size_t len = 0;
	const char *text = lua_type(e->L, -1) == LUA_TSTRING ? lua_tolstring(e->L, -1, &len) : NULL;

	if (!text || (row->max && (int64_t)len > row->max) || strlen(text) != len) {
		char what[64];

		snprintf(what, sizeof(what), "a string of at most %lld characters without zero bytes",
			(long long)row->max);
		mn_encode_expected(e, row, what);
	}
	memcpy(mn_encode_put(e, row->attr, len + 1), text, len);
}

static void encode_bytes(struct mn_encoder *e, const struct mn_row *row)
{
	size_t len;
	const char *bytes;

	if (lua_type(e->L, -1) != LUA_TSTRING)
		mn_encode_expected(e, row, "a string of bytes");
	bytes = lua_tolstring(e->L, -1, &len);
	memcpy(mn_encode_put(e, row->attr, len), bytes, len);
}

// Finds the index of a link by name, in the socket's namespace.
static int resolve(struct mn_encoder *e, const struct mn_row *row, const char *name)
{
	struct mn_error err;
	int index, result;

	if (e->known) {
		lua_Integer known =
			lua_getfield(e->L, e->known, name) == LUA_TNUMBER ? lua_tointeger(e->L, -1) : 0;

		lua_pop(e->L, 1);
		if (known > 0 && known <= INT32_MAX)
			return (int)known;
	}
	if (!e->nl)
		mn_encode_refuse(
			e, row, "the name \"%s\" cannot be looked up without a socket, give the index", name);
	result = mn_nl_link_index(e->nl, name, &index, &err);
	if (result == -ENODEV && e->unknown_link && e->unknown_link(e))
		result = mn_nl_link_index(e->nl, name, &index, &err);
	if (result == 0)
		return index;
	if (result == -ENODEV && e->may_miss) {
		e->missing = true;
		return 0;
	}
	snprintf(err.op, sizeof(err.op), "%s", mn_verb_name(e->verb));
	mn_describe(e->L, e->object, e->args, err.object, sizeof(err.object));
	snprintf(err.netns, sizeof(err.netns), "%s", e->netns ? e->netns : "");
	snprintf(err.attribute, sizeof(err.attribute), "%s (%s)", row->key, row->name);
	if (result == -ENODEV)
		snprintf(err.message, sizeof(err.message), "there is no link \"%s\"", name);
	err.code = 102;
	return mn_lua_raise(e->L, &err);
}

static void encode_dev(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container)
{
	int index = 0;

	if (lua_type(e->L, -1) == LUA_TSTRING)
		index = resolve(e, row, lua_tostring(e->L, -1));
	else if (lua_isinteger(e->L, -1))
		index = (int)check_integer(e, row, 0, INT32_MAX);
	else if (lua_type(e->L, -1) != LUA_TBOOLEAN || lua_toboolean(e->L, -1))
		mn_encode_expected(e, row, "a link's name or index");
	write_number(place(e, row, base, container, 4), (uint64_t)index, 4, false);
}

static void encode_netns(struct mn_encoder *e, const struct mn_row *row)
{
	uint32_t number;
	uint16_t attr = row->attr;

	if (luaL_testudata(e->L, -1, MN_NETNS_META)) {
		number = (uint32_t)mn_lua_check_netns(e->L, lua_gettop(e->L));
	} else if (lua_isinteger(e->L, -1)) {
		number = (uint32_t)check_integer(e, row, 1, INT32_MAX);
		attr = row->aux;
	} else if (lua_istable(e->L, -1)) {
		bool pid = lua_getfield(e->L, -1, "pid") != LUA_TNIL;

		if (pid)
			attr = row->aux;
		else
			lua_getfield(e->L, -2, "fd");
		number = (uint32_t)check_integer(e, row, pid ? 1 : 0, INT32_MAX);
		lua_pop(e->L, pid ? 1 : 2);
	} else {
		mn_encode_expected(e, row, "a namespace handle, a pid, { pid = ... } or { fd = ... }");
	}
	write_number(mn_encode_put(e, attr, 4), number, 4, false);
}

static void encode_range(struct mn_encoder *e, const struct mn_row *row)
{
	unsigned long long max = (1ULL << (8 * row->size)) - 1, first = 0, last = 0;
	bool good;
	int end = 0;
	char *to;

	if (lua_isinteger(e->L, -1)) {
		first = last = (unsigned long long)lua_tointeger(e->L, -1);
		good = lua_tointeger(e->L, -1) >= 0;
	} else {
		const char *text = lua_type(e->L, -1) == LUA_TSTRING ? lua_tostring(e->L, -1) : "";

		good = sscanf(text, "%llu-%llu%n", &first, &last, &end) == 2 && !text[end];
	}
	if (!good || first > last || last > max) {
		char what[96];

		snprintf(what, sizeof(what), "a number or \"first-last\", from 0 to %llu", max);
		mn_encode_expected(e, row, what);
	}
	to = mn_encode_put(e, row->attr, 2 * (size_t)row->size);
	write_number(to, first, row->size, row->flags & MN_NET);
	write_number(to + row->size, last, row->size, row->flags & MN_NET);
}

static void encode_bit(struct mn_encoder *e, const struct mn_row *row, size_t base)
{
	bool on = check_boolean(e, row) != (row->aux != 0);
	uint32_t flags, mask;
	char *word = e->out->data + base + row->at;

	if (e->depth && row->bit == 1 &&
		e->verb != MN_NEW) // IFF_UP: the kernel answers ENOTCONN and takes 20 ms for it
		mn_encode_refuse(e, row, "a %s cannot be set up while it is created; set it up afterwards",
			e->path[e->depth - 1]);
	memcpy(&flags, word, sizeof(flags));
	memcpy(&mask, word + sizeof(flags), sizeof(mask));
	flags = on ? flags | row->bit : flags & ~row->bit;
	mask |= row->bit;
	memcpy(word, &flags, sizeof(flags));
	memcpy(word + sizeof(flags), &mask, sizeof(mask));
}

static void encode_number(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container)
{
	uint64_t value;
	int64_t min, max;

	switch (row->type) {
	case MN_ENUM:
		value = check_enum(e, row);
		break;
	case MN_BITS:
		value = check_bits(e, row);
		break;
	case MN_BOOL:
		value = check_boolean(e, row);
		break;
	case MN_HANDLE:
	case MN_BURST:
	case MN_SHARE:
		value = mn_encode_tc(e, row, container);
		break;
	default:
		range_of(row, &min, &max);
		if (row->flags & MN_LOW)
			max = INT64_MAX; // the attribute with the same key has refused what is too much
		value = (uint64_t)check_integer(e, row, min, max);
	}
	if (row->type == MN_WEIGHT)
		value--;
	if (row->flags & MN_LOW && value >> (8 * row->size))
		value = row->type == MN_BITS ? value & 0xff : row->bit;
	// The family of the message is the first byte of its header.
	if (row->flags & MN_HEADER && row->at == 0 && e->depth == 0 && row->size == 1 &&
		strcmp(row->key, "family") == 0) {
		if (e->object->family && value != e->object->family)
			mn_encode_refuse(e, row, "a %s has the family %s", e->object->name,
				mn_family_name(e->object->family));
		e->family = (uint8_t)value;
	}
	write_number(place(e, row, base, container, row->size), value, row->size, row->flags & MN_NET);
}

void mn_encode_preset(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container)
{
	if (row->type == MN_SKIP)
		mn_encode_put(e, row->attr, row->bit);
	else
		write_number(
			place(e, row, base, container, row->size), row->bit, row->size, row->flags & MN_NET);
}

void mn_encode_value(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container)
{
	luaL_checkstack(e->L, 8, NULL);
	switch (row->type) {
	case MN_FLAG:
		if (check_boolean(e, row))
			mn_encode_put(e, row->attr, 0);
		break;
	case MN_ONEBIT:
		encode_bit(e, row, base);
		break;
	case MN_STRING:
		encode_string(e, row);
		break;
	case MN_BYTES:
		encode_bytes(e, row);
		break;
	case MN_MAC:
		mn_encode_mac(e, row);
		break;
	case MN_ADDRESS:
		mn_encode_address(e, row);
		break;
	case MN_IP:
		mn_encode_ip(e, row);
		break;
	case MN_PREFIX:
		mn_encode_prefix(e, row, base);
		break;
	case MN_DEV:
		encode_dev(e, row, base, container);
		break;
	case MN_NETNS:
		encode_netns(e, row);
		break;
	case MN_RANGE:
		encode_range(e, row);
		break;
	case MN_VIA:
		mn_encode_via(e, row);
		break;
	case MN_BRIDGE_ID:
		mn_encode_bridge_id(e, row);
		break;
	case MN_DATA:
		mn_encode_data(e, row);
		break;
	case MN_COMMENT:
		mn_encode_comment(e, row);
		break;
	default:
		encode_number(e, row, base, container);
	}
}
