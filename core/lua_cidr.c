// SPDX-License-Identifier: Apache-2.0
#include "lua_cidr.h"

#include <math.h>
#include <string.h>
#include <sys/socket.h>

#include "lua_args.h"
#include "nearest.h"

const struct mn_cidr *mn_lua_test_cidr(lua_State *L, int idx)
{
	return luaL_testudata(L, idx, MN_CIDR_META);
}

void mn_lua_push_cidr(lua_State *L, const struct mn_cidr *cidr)
{
	struct mn_cidr *value = lua_newuserdatauv(L, sizeof(*value), 0);

	*value = *cidr;
	luaL_setmetatable(L, MN_CIDR_META);
}

// Reads the text at idx. Returns 0, or -EINVAL with err filled in.
static int parse(lua_State *L, int idx, struct mn_cidr *cidr, struct mn_error *err)
{
	size_t len;
	const char *text = lua_tolstring(L, idx, &len);

	if (strlen(text) != len)
		return mn_cidr_parse("", cidr, err); // a zero byte: no address in any spelling
	return mn_cidr_parse(text, cidr, err);
}

void mn_lua_check_cidr(lua_State *L, int idx, struct mn_cidr *cidr)
{
	const struct mn_cidr *value = mn_lua_test_cidr(L, idx);
	struct mn_error err;

	if (value) {
		*cidr = *value;
		return;
	}
	if (lua_type(L, idx) != LUA_TSTRING)
		mn_lua_bad_argument(
			L, "cidr", "expected an address as text or cidr, got %s", luaL_typename(L, idx));
	if (parse(L, idx, cidr, &err) < 0)
		mn_lua_raise(L, &err);
}

// The receiver of a method: a value, or text for those who call cidr.contains(a, b) by hand.
static struct mn_cidr self(lua_State *L)
{
	struct mn_cidr cidr;

	mn_lua_check_cidr(L, 1, &cidr);
	return cidr;
}

static int push(lua_State *L, struct mn_cidr cidr)
{
	mn_lua_push_cidr(L, &cidr);
	return 1;
}

static int cidr_contains(lua_State *L)
{
	struct mn_cidr cidr = self(L), other;

	mn_lua_check_cidr(L, 2, &other);
	lua_pushboolean(L, mn_cidr_contains(&cidr, &other));
	return 1;
}

static int cidr_overlaps(lua_State *L)
{
	struct mn_cidr cidr = self(L), other;

	mn_lua_check_cidr(L, 2, &other);
	lua_pushboolean(L, mn_cidr_overlaps(&cidr, &other));
	return 1;
}

static int cidr_nth(lua_State *L)
{
	struct mn_cidr cidr = self(L), found;
	lua_Integer n = luaL_checkinteger(L, 2);
	char text[MN_CIDR_TEXT];

	if (!mn_cidr_nth(&cidr, n, &found))
		mn_lua_bad_argument(L, "cidr", "%s has no address number " LUA_INTEGER_FMT,
			mn_cidr_format(&cidr, text), n);
	return push(L, found);
}

static int cidr_next(lua_State *L)
{
	struct mn_cidr cidr = self(L);

	if (mn_cidr_next(&cidr))
		return push(L, cidr);
	luaL_pushfail(L);
	return 1;
}

static int cidr_last(lua_State *L)
{
	struct mn_cidr cidr = self(L);

	return push(L, mn_cidr_last(&cidr));
}

static int cidr_is_host(lua_State *L)
{
	struct mn_cidr cidr = self(L);

	lua_pushboolean(L, mn_cidr_is_host(&cidr));
	return 1;
}

static int cidr_size(lua_State *L)
{
	struct mn_cidr cidr = self(L);
	unsigned int bits = mn_cidr_bits(&cidr) - cidr.prefix;

	if (bits < 63)
		lua_pushinteger(L, (lua_Integer)1 << bits);
	else
		lua_pushnumber(L, ldexp(1.0, (int)bits));
	return 1;
}

// with_prefix(n) gives the same address with another prefix length, without one when n is nil.
static int cidr_with_prefix(lua_State *L)
{
	struct mn_cidr cidr = self(L);
	lua_Integer bits = mn_cidr_bits(&cidr), prefix = luaL_optinteger(L, 2, bits);

	if (prefix < 0 || prefix > bits)
		mn_lua_bad_argument(L, "cidr",
			"prefix " LUA_INTEGER_FMT " is not a length from 0 to " LUA_INTEGER_FMT, prefix,
			bits);
	cidr.prefix = (uint8_t)prefix;
	cidr.has_prefix = !lua_isnoneornil(L, 2);
	return push(L, cidr);
}

struct walk {
	struct mn_cidr next, last;
	bool done;
};

static int hosts_step(lua_State *L)
{
	struct walk *walk = lua_touserdata(L, lua_upvalueindex(1));
	struct mn_cidr found = walk->next;

	if (walk->done) {
		lua_pushnil(L);
		return 1;
	}
	walk->done = mn_cidr_compare(&found, &walk->last) == 0 || !mn_cidr_next(&walk->next);
	return push(L, found);
}

// hosts() iterates over the addresses a host may have. Left out are an IPv4 network's own and its broadcast
// address (not in a /31, RFC 3021), and the IPv6 subnet-router anycast address (RFC 4291 section 2.6.1; not
// in a /127, RFC 6164).
static int cidr_hosts(lua_State *L)
{
	struct mn_cidr cidr = self(L);
	struct walk *walk = lua_newuserdatauv(L, sizeof(*walk), 0);

	walk->next = mn_cidr_first(&cidr);
	walk->last = mn_cidr_last(&cidr);
	walk->done = false;
	if (mn_cidr_bits(&cidr) - cidr.prefix > 1) {
		mn_cidr_nth(&cidr, 1, &walk->next);
		if (cidr.family == AF_INET)
			mn_cidr_nth(&cidr, -2, &walk->last);
	}
	lua_pushcclosure(L, hosts_step, 1);
	return 1;
}

static int cidr_tostring(lua_State *L)
{
	struct mn_cidr cidr = self(L);
	char text[MN_CIDR_TEXT];

	lua_pushstring(L, mn_cidr_format(&cidr, text));
	return 1;
}

static int cidr_eq(lua_State *L)
{
	const struct mn_cidr *a = mn_lua_test_cidr(L, 1), *b = mn_lua_test_cidr(L, 2);

	lua_pushboolean(L, a && b && mn_cidr_compare(a, b) == 0);
	return 1;
}

static int cidr_lt(lua_State *L)
{
	struct mn_cidr a = self(L), b;

	mn_lua_check_cidr(L, 2, &b);
	lua_pushboolean(L, mn_cidr_compare(&a, &b) < 0);
	return 1;
}

static int cidr_le(lua_State *L)
{
	struct mn_cidr a = self(L), b;

	mn_lua_check_cidr(L, 2, &b);
	lua_pushboolean(L, mn_cidr_compare(&a, &b) <= 0);
	return 1;
}

static int field_family(lua_State *L, const struct mn_cidr *cidr)
{
	lua_pushstring(L, cidr->family == AF_INET ? "inet" : "inet6");
	return 1;
}

static int field_prefix(lua_State *L, const struct mn_cidr *cidr)
{
	lua_pushinteger(L, cidr->prefix);
	return 1;
}

static int field_address(lua_State *L, const struct mn_cidr *cidr)
{
	char text[MN_CIDR_TEXT];

	lua_pushstring(L, mn_cidr_address(cidr, text));
	return 1;
}

static int field_network(lua_State *L, const struct mn_cidr *cidr)
{
	struct mn_cidr network = mn_cidr_first(cidr);

	network.has_prefix = true;
	return push(L, network);
}

static int field_bytes(lua_State *L, const struct mn_cidr *cidr)
{
	lua_pushlstring(L, (const char *)cidr->bytes, mn_cidr_bits(cidr) / 8);
	return 1;
}

static const struct {
	const char *name;
	int (*push)(lua_State *L, const struct mn_cidr *cidr);
} fields[] = {
	{ "family", field_family },
	{ "prefix", field_prefix },
	{ "address", field_address },
	{ "network", field_network },
	{ "bytes", field_bytes },
};

static const luaL_Reg methods[] = {
	{ "contains", cidr_contains },
	{ "overlaps", cidr_overlaps },
	{ "nth", cidr_nth },
	{ "next", cidr_next },
	{ "last", cidr_last },
	{ "hosts", cidr_hosts },
	{ "size", cidr_size },
	{ "is_host", cidr_is_host },
	{ "with_prefix", cidr_with_prefix },
	{ NULL, NULL },
};

// The value of which a field is asked for. Its metatable is the second upvalue, which the registry would have
// to be searched for.
static const struct mn_cidr *owner(lua_State *L)
{
	const struct mn_cidr *cidr = lua_touserdata(L, 1);

	if (!cidr || !lua_getmetatable(L, 1) || lua_topointer(L, -1) != lua_topointer(L, lua_upvalueindex(2)))
		luaL_typeerror(L, 1, MN_CIDR_META);
	lua_pop(L, 1);
	return cidr;
}

// Fields are computed, methods come from the table in the upvalue; a misspelt one is an error, not nil.
static int cidr_index(lua_State *L)
{
	const struct mn_cidr *cidr = owner(L);
	struct mn_nearest search;
	const char *name;

	if (lua_type(L, 2) != LUA_TSTRING)
		mn_lua_bad_argument(L, "cidr", "a cidr has no element of type %s", luaL_typename(L, 2));
	name = lua_tostring(L, 2);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcmp(name, fields[i].name) == 0)
			return fields[i].push(L, cidr);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	mn_nearest_start(&search, name);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		mn_nearest_offer(&search, fields[i].name);
	for (const luaL_Reg *method = methods; method->name; method++)
		mn_nearest_offer(&search, method->name);
	mn_lua_bad_argument(L, "cidr", "a cidr has no \"%.64s\"%s%s%s", name,
		search.found ? "; did you mean \"" : "", search.found ? search.found : "",
		search.found ? "\"?" : "");
}

// cidr(text or value) -> value; raises an error object when the text is no address.
static int cidr_call(lua_State *L)
{
	struct mn_cidr cidr;

	lua_settop(L, 2); // the module's table, the argument
	mn_lua_check_cidr(L, 2, &cidr);
	if (mn_lua_test_cidr(L, 2))
		return 1;
	return push(L, cidr);
}

// cidr.parse(anything) -> value, or nil and a message.
static int cidr_try(lua_State *L)
{
	struct mn_cidr cidr;
	struct mn_error err;

	lua_settop(L, 1);
	if (mn_lua_test_cidr(L, 1))
		return 1;
	if (lua_type(L, 1) == LUA_TSTRING) {
		if (parse(L, 1, &cidr, &err) == 0)
			return push(L, cidr);
		luaL_pushfail(L);
		lua_pushstring(L, err.message);
		return 2;
	}
	luaL_pushfail(L);
	lua_pushfstring(L, "expected an address as text or cidr, got %s", luaL_typename(L, 1));
	return 2;
}

// cidr.is(anything) tells whether it is a cidr value.
static int cidr_is(lua_State *L)
{
	lua_pushboolean(L, mn_lua_test_cidr(L, 1) != NULL);
	return 1;
}

int mn_open_cidr(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{ "__tostring", cidr_tostring },
		{ "__eq", cidr_eq },
		{ "__lt", cidr_lt },
		{ "__le", cidr_le },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "parse", cidr_try },
		{ "is", cidr_is },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, MN_CIDR_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_pushvalue(L, -2);
		lua_pushcclosure(L, cidr_index, 2);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, cidr_call);
	lua_setfield(L, -2, "__call");
	lua_setmetatable(L, -2);
	return 1;
}
