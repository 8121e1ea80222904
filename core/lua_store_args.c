// SPDX-License-Identifier: Apache-2.0
#include "lua_store.h"

#include <limits.h>

#include "lua_args.h"

#define MAX_RANGES 1024

const char *mn_store_get_string(lua_State *L, int index, const char *what, const char *key, bool needed)
{
	const char *value;
	int type = lua_getfield(L, index, key);

	if (type == LUA_TNIL && !needed) {
		lua_pop(L, 1);
		return NULL;
	}
	if (type != LUA_TSTRING)
		mn_lua_bad_argument(L, what, "%s must be a string, not %s", key, luaL_typename(L, -1));
	value = lua_tostring(L, -1);
	lua_pop(L, 1);
	return value;
}

lua_Integer mn_store_get_integer(
	lua_State *L, int index, const char *what, const char *key, lua_Integer fallback)
{
	lua_Integer value = fallback;
	int is_integer = 1;

	if (lua_getfield(L, index, key) != LUA_TNIL)
		value = lua_tointegerx(L, -1, &is_integer);
	if (!is_integer || value < 0 || value > INT_MAX)
		mn_lua_bad_argument(L, what, "%s must be an integer from 0 to %d", key, INT_MAX);
	lua_pop(L, 1);
	return value;
}

struct mn_address mn_store_get_address(
	lua_State *L, int index, const char *what, const char *key, bool needed)
{
	struct mn_address address = { 0 };

	if (lua_getfield(L, index, key) == LUA_TNIL && !needed) {
		lua_pop(L, 1);
		return address;
	}
	if (!mn_address_parse(luaL_tolstring(L, -1, NULL), &address))
		mn_lua_bad_argument(L, what, "%s: \"%s\" is not an IP address", key, lua_tostring(L, -1));
	lua_pop(L, 2);
	return address;
}

void mn_store_get_set(lua_State *L, int index, const char *what, struct mn_range_set *set)
{
	static const char *const keys[] = { "first", "last", "gateway", NULL };
	lua_Unsigned n;

	set->index = (unsigned int)mn_store_get_integer(L, index, what, "index", 0);
	if (lua_getfield(L, index, "ranges") != LUA_TTABLE)
		mn_lua_bad_argument(L, what, "ranges must be a list, not %s", luaL_typename(L, -1));
	n = lua_rawlen(L, -1);
	if (n == 0 || n > MAX_RANGES)
		mn_lua_bad_argument(L, what, "ranges must have from 1 to %d entries", MAX_RANGES);
	set->n = (size_t)n;
	set->ranges = lua_newuserdatauv(L, set->n * sizeof(*set->ranges), 0);
	lua_insert(L, -2);
	for (size_t i = 0; i < set->n; i++) {
		struct mn_range *range = &set->ranges[i];
		int at;

		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		at = lua_gettop(L);
		mn_lua_check_keys(L, at, what, keys);
		range->first = mn_store_get_address(L, at, what, "first", true);
		range->last = mn_store_get_address(L, at, what, "last", true);
		range->gateway = mn_store_get_address(L, at, what, "gateway", false);
		if (range->first.family != range->last.family ||
			mn_address_compare(&range->first, &range->last) > 0)
			mn_lua_bad_argument(
				L, what, "range %d: first must not be above last, in one family", (int)i + 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

struct mn_attachment mn_store_get_attachment(lua_State *L, int index, const char *what)
{
	struct mn_attachment attachment;

	attachment.container = mn_store_get_string(L, index, what, "container", true);
	attachment.ifname = mn_store_get_string(L, index, what, "ifname", true);
	return attachment;
}

void mn_store_push_address(lua_State *L, const struct mn_address *address)
{
	char text[MN_ADDRESS_STRLEN];

	mn_address_format(address, text);
	lua_pushstring(L, text);
}
