// SPDX-License-Identifier: Apache-2.0
// core.schema(): the tables as Lua data, for help and the reference.
#include "lua_nl.h"

#include "lua_core.h"

#include <string.h>

static const char *const types[] = {
	[MN_UINT] = "integer",
	[MN_INT] = "integer",
	[MN_BOOL] = "boolean",
	[MN_FLAG] = "boolean",
	[MN_ENUM] = "name",
	[MN_BITS] = "names",
	[MN_ONEBIT] = "boolean",
	[MN_STRING] = "string",
	[MN_BYTES] = "bytes",
	[MN_MAC] = "mac",
	[MN_ADDRESS] = "address",
	[MN_IP] = "address",
	[MN_PREFIX] = "cidr",
	[MN_DEV] = "link",
	[MN_NETNS] = "netns",
	[MN_RANGE] = "range",
	[MN_VIA] = "via",
	[MN_WEIGHT] = "integer",
	[MN_BRIDGE_ID] = "bridge_id",
	[MN_DATA] = "data",
	[MN_COMMENT] = "string",
	[MN_STRINGS] = "strings",
	[MN_NEST] = "table",
	[MN_INLINE] = "table",
	[MN_VARIANT] = "table",
	[MN_LIST] = "list",
	[MN_HOPS] = "list",
	[MN_ARRAY] = "list",
	[MN_HANDLE] = "handle",
	[MN_BURST] = "burst",
	[MN_SHARE] = "share",
	[MN_VLANS] = "list",
	[MN_SKIP] = "",
};

struct context {
	lua_State *L;
	int fields; // stack index of the table being filled
	int depth;
};

static void push_fields(lua_State *L, const struct mn_table *table, int depth);

static void set_string(lua_State *L, const char *key, const char *value)
{
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

static void set_range(lua_State *L, const struct mn_row *row)
{
	bool is_signed = row->type == MN_INT;
	int64_t min = row->min, max = row->max;

	if (row->type == MN_STRING || row->type == MN_BYTES) {
		if (max) {
			lua_pushinteger(L, max);
			lua_setfield(L, -2, "max");
		}
		return;
	}
	if (row->type != MN_UINT && row->type != MN_INT && row->type != MN_WEIGHT)
		return;
	if (!max)
		max = row->size == 8 ? INT64_MAX
				     : (int64_t)((1ULL << (8 * row->size - (is_signed ? 1 : 0))) - 1);
	if (!min && is_signed)
		min = -max - 1;
	lua_pushinteger(L, min);
	lua_setfield(L, -2, "min");
	lua_pushinteger(L, max);
	lua_setfield(L, -2, "max");
}

static void set_values(lua_State *L, const struct mn_name *names)
{
	lua_Integer n = 0;

	lua_newtable(L);
	for (; names->name; names++) {
		lua_pushstring(L, names->name);
		lua_rawseti(L, -2, ++n);
	}
	lua_setfield(L, -2, "values");
}

static const struct mn_table *table_of(const struct mn_row *row, const char *key)
{
	if (row->type != MN_VARIANT)
		return row->table;
	for (const struct mn_variant *v = row->variants; v->kind; v++) {
		if (v->key && strcmp(v->key, key) == 0)
			return v->table;
	}
	return NULL;
}

// The row that tells one of many sorts of contents, as the kind of an nf_tables expression does; NULL for
// others.
static const struct mn_row *sorts_of(const struct mn_table *table)
{
	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		if (row->type == MN_VARIANT && row->variants[0].kind && !row->variants[0].key &&
			row->variants[1].kind && !row->variants[1].key)
			return row;
	}
	return NULL;
}

// kinds = { kind = fields }
static void set_kinds(lua_State *L, const struct mn_table *table, int depth)
{
	const struct mn_row *sorts = sorts_of(table);

	if (!sorts)
		return;
	lua_newtable(L);
	for (const struct mn_variant *v = sorts->variants; v->kind; v++) {
		push_fields(L, v->table, depth);
		lua_setfield(L, -2, v->kind);
	}
	lua_setfield(L, -2, "kinds");
}

static bool add_field(void *arg, const struct mn_row *row, const char *key)
{
	struct context *c = arg;
	const struct mn_table *inner = table_of(row, key);
	lua_State *L = c->L;

	luaL_checkstack(L, 10, NULL);
	if (row->flags & MN_LOW && lua_getfield(L, c->fields, key) != LUA_TNIL) {
		lua_pop(L, 1);
		return false; // the full one is told
	} else if (row->flags & MN_LOW) {
		lua_pop(L, 1);
	}
	lua_newtable(L);
	set_string(L, "type", types[row->type]);
	set_string(L, "attr", row->name);
	set_range(L, row);
	if (row->names)
		set_values(L, row->names);
	if (row->type == MN_IP && row->size)
		set_string(L, "family", row->size == 4 ? "inet" : "inet6");
	if (row->flags & MN_READ) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "readonly");
	}
	if (row->flags & MN_JOINED) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "joined");
	}
	// A peer is a link again: its fields are the link's, told once.
	if (inner && inner == &mn_link_table) {
		set_string(L, "of", "link");
	} else if (inner && c->depth < MN_CODEC_DEPTH) {
		push_fields(L, inner, c->depth + 1);
		lua_setfield(L, -2, "fields");
		set_kinds(L, inner, c->depth + 1);
	}
	lua_setfield(L, c->fields, key);
	return false;
}

static void push_fields(lua_State *L, const struct mn_table *table, int depth)
{
	struct context c = { .L = L, .depth = depth };

	lua_newtable(L);
	c.fields = lua_gettop(L);
	mn_each_key(table, sorts_of(table) ? "" : NULL, add_field, &c);
}

// core.schema() returns { object = { key = { type, attr, min, max, values, readonly, fields, kinds } } }:
// kinds are further fields that depend on the value's own `kind`; `of` names the object whose fields a value
// has.
int mn_lua_schema(lua_State *L)
{
	const struct mn_object *object;

	lua_newtable(L);
	for (size_t i = 0; (object = mn_object_at(i)); i++) {
		push_fields(L, object->table, 0);
		lua_setfield(L, -2, object->name);
	}
	return 1;
}

int mn_open_schema(lua_State *L)
{
	lua_pushcfunction(L, mn_lua_schema);
	return 1;
}
