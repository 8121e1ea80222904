// SPDX-License-Identifier: Apache-2.0
// The encoder's addresses: of the IP families with or without a prefix, of Ethernet, and of bridges.
#define _GNU_SOURCE
#include "codec.h"

#include "lua_core.h"
#include "text.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool mn_address_at(lua_State *L, int index, int *family, uint8_t bytes[16], int *prefix)
{
	char text[INET6_ADDRSTRLEN];
	const char *given_text, *slash;
	size_t len;
	bool good;

	if (lua_type(L, index) != LUA_TSTRING && !luaL_testudata(L, index, "mncni.cidr"))
		return false;
	given_text = luaL_tolstring(L, index, &len);
	slash = strchr(given_text, '/');
	good = strlen(given_text) == len;
	*prefix = -1;
	if (slash) {
		char *end;
		unsigned long value = strtoul(slash + 1, &end, 10);

		good = good && slash[1] >= '0' && slash[1] <= '9' && !*end && end - slash <= 4 &&
			value <= 128;
		*prefix = (int)value;
		len = (size_t)(slash - given_text);
	}
	good = good && len < sizeof(text);
	if (good) {
		memcpy(text, given_text, len);
		text[len] = '\0';
		*family = strchr(text, ':') ? AF_INET6 : AF_INET;
		good = inet_pton(*family, text, bytes) == 1 && *prefix <= (*family == AF_INET ? 32 : 128);
	}
	lua_pop(L, 1);
	return good;
}

static size_t address_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

// A host address: no prefix, or one of full length.
static int check_host(struct mn_encoder *e, const struct mn_row *row, uint8_t bytes[16])
{
	int family, prefix;

	if (!mn_address_at(e->L, -1, &family, bytes, &prefix))
		mn_encode_expected(e, row, "an address");
	if (prefix >= 0 && prefix != 8 * (int)address_size(family) && !luaL_testudata(e->L, -1, "mncni.cidr"))
		mn_encode_expected(e, row, "a host address without prefix length");
	return family;
}

const char *mn_family_name(int family)
{
	const char *name = mn_name_of(mn_families, (uint32_t)family);

	return name ? name : "another family";
}

// All addresses of a message are of one family; the first one decides it.
static void settle_family(struct mn_encoder *e, const struct mn_row *row, int family)
{
	char text[96];

	if (e->family == 0)
		e->family = (uint8_t)family;
	if (e->family != family)
		mn_encode_refuse(e, row, "%s is %s, but the %s is %s%s",
			mn_encode_given(e->L, text, sizeof(text)), mn_family_name(family), e->object->name,
			mn_family_name(e->family),
			row->attr == RTA_GATEWAY && strcmp(row->key, "gateway") == 0
				? "; a gateway of another family is given as via = { family, host }"
				: "");
}

void mn_encode_prefix(struct mn_encoder *e, const struct mn_row *row, size_t base)
{
	uint8_t bytes[16];
	int family, prefix;

	if (row->flags & MN_DEFAULT && lua_type(e->L, -1) == LUA_TSTRING &&
		strcmp(lua_tostring(e->L, -1), "default") == 0)
		return;
	if (!mn_address_at(e->L, -1, &family, bytes, &prefix))
		mn_encode_expected(e, row,
			row->flags & MN_DEFAULT ? "an address, a CIDR or \"default\""
						: "an address or a CIDR");
	settle_family(e, row, family);
	e->out->data[base + row->aux] = (char)(prefix < 0 ? (int)address_size(family) * 8 : prefix);
	if (row->flags & MN_DEFAULT && prefix == 0)
		return; // the kernel wants no RTA_DST with length 0 in strict requests
	memcpy(mn_encode_put(e, row->attr, address_size(family)), bytes, address_size(family));
}

void mn_encode_ip(struct mn_encoder *e, const struct mn_row *row)
{
	uint8_t bytes[16];
	int family;

	family = check_host(e, row, bytes);
	if (row->size && address_size(family) != row->size)
		mn_encode_expected(e, row, row->size == 4 ? "an IPv4 address" : "an IPv6 address");
	memcpy(mn_encode_put(e, row->attr, address_size(family)), bytes, address_size(family));
}

void mn_encode_address(struct mn_encoder *e, const struct mn_row *row)
{
	uint8_t bytes[16];
	int family = check_host(e, row, bytes);

	settle_family(e, row, family);
	memcpy(mn_encode_put(e, row->attr, address_size(family)), bytes, address_size(family));
}

void mn_encode_via(struct mn_encoder *e, const struct mn_row *row)
{
	uint8_t bytes[16];
	uint16_t family16;
	char *to;
	int family;

	if (!lua_istable(e->L, -1))
		mn_encode_expected(e, row, "{ family, host }");
	lua_getfield(e->L, -1, "host");
	family = check_host(e, row, bytes);
	lua_pop(e->L, 1);
	family16 = (uint16_t)family;
	to = mn_encode_put(e, row->attr, sizeof(family16) + address_size(family));
	memcpy(to, &family16, sizeof(family16));
	memcpy(to + sizeof(family16), bytes, address_size(family));
}

void mn_encode_mac(struct mn_encoder *e, const struct mn_row *row)
{
	uint8_t mac[6];

	if (lua_type(e->L, -1) != LUA_TSTRING || !mn_read_mac(lua_tostring(e->L, -1), mac))
		mn_encode_expected(e, row, "a MAC address like \"02:00:00:00:00:01\"");
	memcpy(mn_encode_put(e, row->attr, sizeof(mac)), mac, sizeof(mac));
}

void mn_encode_bridge_id(struct mn_encoder *e, const struct mn_row *row)
{
	uint8_t id[8];
	const char *text = lua_type(e->L, -1) == LUA_TSTRING ? lua_tostring(e->L, -1) : "";
	int end = 0;

	if (sscanf(text, "%2hhx%2hhx.%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &id[0], &id[1], &id[2], &id[3],
		    &id[4], &id[5], &id[6], &id[7], &end) != 8 ||
		text[end])
		mn_encode_expected(e, row, "a bridge id like \"8000.02:00:00:00:00:01\"");
	memcpy(mn_encode_put(e, row->attr, sizeof(id)), id, sizeof(id));
}
