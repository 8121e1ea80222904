// SPDX-License-Identifier: Apache-2.0
// The codec's leaves that only traffic control has: handles, bursts and shares.
#define _GNU_SOURCE
#include "codec.h"

#include <inttypes.h>
#include <linux/pkt_sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

__extension__ typedef unsigned __int128 wide;

static const struct mn_name handles[] = { { "root", TC_H_ROOT }, { "ingress", TC_H_INGRESS },
	{ "clsact", TC_H_CLSACT }, { 0 } };

// Reads up to four hexadecimal digits; -1 when there is anything else.
static long read_half(const char *text, size_t len)
{
	char digits[5] = { 0 };

	if (len > 4 || strspn(text, "0123456789abcdefABCDEF") < len)
		return -1;
	memcpy(digits, text, len);
	return strtol(digits, NULL, 16);
}

static uint32_t check_handle(struct mn_encoder *e, const struct mn_row *row)
{
	const char *text = lua_type(e->L, -1) == LUA_TSTRING ? lua_tostring(e->L, -1) : "", *colon;
	const struct mn_name *name = mn_name_find(handles, text);
	long major, minor;

	if (name)
		return name->value;
	colon = strchr(text, ':');
	major = colon && colon > text ? read_half(text, (size_t)(colon - text)) : -1;
	minor = colon ? read_half(colon + 1, strlen(colon + 1)) : -1;
	if (major < 0 || minor < 0)
		mn_encode_refuse(e, row,
			"expected \"1:\", \"1:10\" (hexadecimal), \"root\" or \"ingress\", got %s",
			*text ? text : luaL_typename(e->L, -1));
	return (uint32_t)major << 16 | (uint32_t)minor;
}

static void push_handle(lua_State *L, uint32_t value)
{
	const char *name = mn_name_of(handles, value);
	char text[16];

	if (name) {
		lua_pushstring(L, name);
		return;
	}
	snprintf(text, sizeof(text), value & 0xffff ? "%x:%x" : "%x:", value >> 16, value & 0xffff);
	lua_pushstring(L, text);
}

// The rate, in bytes per second, by which a burst is told in ticks; 0 when it is not among the attributes.
static uint64_t rate_of(const struct mn_row *row, const char *container, size_t len)
{
	const struct nlattr *full = mn_attr_find(container, len, (uint16_t)(row->bit >> 16)),
			    *field = mn_attr_find(container, len, row->attr);
	size_t at = row->bit & 0xffff;
	uint64_t rate = 0;
	uint32_t low = 0;

	if (full && mnl_attr_get_payload_len(full) >= sizeof(rate))
		memcpy(&rate, mnl_attr_get_payload(full), sizeof(rate));
	if (!rate && field && mnl_attr_get_payload_len(field) >= at + sizeof(low)) {
		memcpy(&low, (const char *)mnl_attr_get_payload(field) + at, sizeof(low));
		rate = low;
	}
	return rate;
}

static uint32_t check_burst(struct mn_encoder *e, const struct mn_row *row, size_t container)
{
	uint64_t rate = rate_of(row, e->out->data + container, e->out->len - container);
	lua_Integer bytes = lua_isinteger(e->L, -1) ? lua_tointeger(e->L, -1) : -1;
	wide ticks;

	if (bytes < 0 || bytes > UINT32_MAX)
		mn_encode_refuse(e, row, "expected an integer from 0 to %" PRIu32 " (bytes)", UINT32_MAX);
	if (!rate)
		mn_encode_refuse(e, row, "a burst needs the rate that it belongs to");
	ticks = ((wide)bytes * 1000000000 + (wide)rate * MN_TICK_NS - 1) / ((wide)rate * MN_TICK_NS);
	if (ticks > UINT32_MAX)
		mn_encode_refuse(e, row,
			"%lld bytes take more than 274 seconds at %" PRIu64
			" bytes per second, which is more than the kernel can count",
			(long long)bytes, rate);
	return (uint32_t)ticks;
}

// Pushes nothing where there is no burst, or no rate to tell it by.
static void push_burst(lua_State *L, uint64_t rate, uint32_t ticks)
{
	wide bytes = (wide)ticks * MN_TICK_NS * rate / 1000000000;

	if (bytes > 0)
		lua_pushinteger(L, bytes > UINT32_MAX ? UINT32_MAX : (lua_Integer)bytes);
}

static uint32_t check_share(struct mn_encoder *e, const struct mn_row *row)
{
	lua_Number share = lua_type(e->L, -1) == LUA_TNUMBER ? lua_tonumber(e->L, -1) : -1;

	if (!(share >= 0 && share <= 1))
		mn_encode_refuse(e, row, "expected a number from 0 to 1");
	return (uint32_t)(share * UINT32_MAX + 0.5);
}

uint32_t mn_encode_tc(struct mn_encoder *e, const struct mn_row *row, size_t container)
{
	if (row->type == MN_HANDLE)
		return check_handle(e, row);
	return row->type == MN_BURST ? check_burst(e, row, container) : check_share(e, row);
}

bool mn_decode_tc(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len,
	const char *container, size_t container_len)
{
	uint32_t value;

	if (len < sizeof(value))
		return false;
	memcpy(&value, data, sizeof(value));
	if (row->type == MN_HANDLE)
		push_handle(d->L, value);
	else if (row->type == MN_SHARE)
		lua_pushnumber(d->L, (lua_Number)value / UINT32_MAX);
	else
		push_burst(d->L, rate_of(row, container, container_len), value);
	return true;
}
