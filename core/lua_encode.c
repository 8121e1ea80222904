// SPDX-License-Identifier: Apache-2.0
// The encoder: walks a table of the schema and a Lua table together.
#include "codec.h"

#include "lua_core.h"
#include "nearest.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_path(struct mn_encoder *e, const char *key, char *text, size_t size)
{
	int len = 0;

	*text = '\0';
	for (int i = 0; i < e->depth && (size_t)len < size; i++)
		len += snprintf(text + len, size - (size_t)len, "%s.", e->path[i]);
	if ((size_t)len < size)
		snprintf(text + len, size - (size_t)len, "%s", key);
}

int mn_encode_refuse(struct mn_encoder *e, const struct mn_row *row, const char *message, ...)
{
	struct mn_error err = { 0 };
	char path[96];
	va_list args;

	snprintf(err.op, sizeof(err.op), "%s", mn_verb_name(e->verb));
	mn_describe(e->L, e->object, e->args, err.object, sizeof(err.object));
	if (e->netns)
		snprintf(err.netns, sizeof(err.netns), "%s", e->netns);
	va_start(args, message);
	vsnprintf(err.message, sizeof(err.message), message, args);
	va_end(args);
	if (row && row->key) {
		write_path(e, row->key, path, sizeof(path));
		snprintf(err.attribute, sizeof(err.attribute), "%s (%s)", path, row->name);
	}
	mn_lua_raise(e->L, &err);
}

void *mn_encode_put(struct mn_encoder *e, uint16_t type, size_t len)
{
	struct nlattr *attr;
	size_t at = e->out->len, space = MNL_ATTR_HDRLEN + MNL_ALIGN(len);

	if (len > UINT16_MAX - MNL_ATTR_HDRLEN)
		mn_encode_refuse(e, NULL, "a value of %zu bytes does not fit a netlink attribute", len);
	if (mn_buffer_reserve(e->out, space) < 0)
		luaL_error(e->L, "not enough memory");
	attr = (struct nlattr *)(e->out->data + at);
	attr->nla_type = type;
	attr->nla_len = (uint16_t)(MNL_ATTR_HDRLEN + len);
	e->out->len += space;
	return e->out->data + at + MNL_ATTR_HDRLEN;
}

size_t mn_encode_nest(struct mn_encoder *e, uint16_t attr)
{
	size_t nest = e->out->len;

	mn_encode_put(e, attr, 0);
	return nest;
}

void mn_encode_nest_end(struct mn_encoder *e, const struct mn_row *row, size_t nest)
{
	size_t len = e->out->len - nest;

	if (len > UINT16_MAX)
		mn_encode_refuse(e, row, "%zu bytes are more than fit one netlink attribute (65535)", len);
	((struct nlattr *)(e->out->data + nest))->nla_len = (uint16_t)len;
}

// Whether a key may be there. Of the many that a schema knows, a table has few: most of those that it lacks
// are told without asking Lua, which would make a string of each.
static bool may_have(const struct mn_encoder *e, const char *key)
{
	return e->keys & mn_key_bit(key);
}

// Pushes the value of a key; returns its type.
static int push_field(struct mn_encoder *e, int args, const char *key)
{
	if (may_have(e, key))
		return lua_getfield(e->L, args, key);
	lua_pushnil(e->L);
	return LUA_TNIL;
}

// Whether it is there; key may be NULL, and is not then.
static bool has_field(struct mn_encoder *e, int args, const char *key)
{
	bool found;

	if (!key || !may_have(e, key))
		return false;
	found = lua_getfield(e->L, args, key) != LUA_TNIL;
	lua_pop(e->L, 1);
	return found;
}

// Learns which keys the table at args may have; one that inherits them may have any.
static void learn_keys(struct mn_encoder *e, int args)
{
	lua_State *L = e->L;

	e->keys = 0;
	if (lua_getmetatable(L, args)) {
		lua_pop(L, 1);
		e->keys = UINT64_MAX;
		return;
	}
	for (lua_pushnil(L); lua_next(L, args); lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TSTRING)
			e->keys |= mn_key_bit(lua_tostring(L, -2));
	}
}

static void encode_rows(
	struct mn_encoder *e, const struct mn_table *table, int args, int raw, size_t base, size_t container);

// Appends the zeroed fixed header of a nested table and returns where it is.
static size_t put_header(struct mn_encoder *e, const struct mn_table *table)
{
	size_t at = e->out->len;

	if (mn_buffer_reserve(e->out, NLMSG_ALIGN(table->header)) < 0)
		luaL_error(e->L, "not enough memory");
	e->out->len += NLMSG_ALIGN(table->header);
	return at;
}

static void enter(struct mn_encoder *e, const struct mn_row *row, const char *key)
{
	if (e->depth >= MN_CODEC_DEPTH - 1)
		mn_encode_refuse(e, row, "nested too deeply");
	luaL_checkstack(e->L, 10, "nested too deeply");
	e->path[e->depth++] = key;
}

static bool offer_key(void *search, const struct mn_row *row, const char *key)
{
	(void)row;
	mn_nearest_offer(search, key);
	return false;
}

static _Noreturn void refuse_key(
	struct mn_encoder *e, const struct mn_table *table, const char *kind, const char *key)
{
	struct mn_nearest search;
	char path[128];

	mn_nearest_start(&search, key);
	mn_each_key(table, kind, offer_key, &search);
	write_path(e, key, path, sizeof(path));
	if (search.found)
		mn_encode_refuse(
			e, NULL, "unknown key \"%s\", the nearest known one is \"%s\"", path, search.found);
	mn_encode_refuse(e, NULL, "unknown key \"%s\"", path);
}

// The string that selects the inline variants of a table: its "kind", when it has such a key.
static const char *kind_of(struct mn_encoder *e, int args)
{
	const char *kind = NULL;

	if (push_field(e, args, "kind") == LUA_TSTRING)
		kind = lua_tostring(e->L, -1); // stays in the table
	lua_pop(e->L, 1);
	return kind;
}

static void check_keys(struct mn_encoder *e, const struct mn_table *table, int args)
{
	lua_State *L = e->L;
	const char *kind = kind_of(e, args);

	lua_pushnil(L);
	while (lua_next(L, args)) {
		const char *key;

		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			mn_encode_refuse(e, NULL, "keys are names, %s%s is a %s",
				e->depth ? e->path[e->depth - 1] : "", e->depth ? "[...]" : "a key",
				luaL_typename(L, -1));
		key = lua_tostring(L, -1);
		if (strcmp(key, "raw") != 0 && !mn_key_known(table, kind, key))
			refuse_key(e, table, kind, key);
	}
}

// Encodes the Lua table on top of the stack as the table's header and attributes.
static void encode_table(struct mn_encoder *e, const struct mn_row *row, const struct mn_table *table)
{
	lua_State *L = e->L;
	int args = lua_gettop(L), raw = 0;
	size_t base = e->out->len;
	uint64_t outer = e->keys;

	if (!lua_istable(L, args))
		mn_encode_refuse(e, row, "expected a table, got %s", luaL_typename(L, args));
	learn_keys(e, args);
	check_keys(e, table, args);
	if (table->header)
		base = put_header(e, table);
	if (e->depth == 0 && e->object->prepare && e->verb != MN_DUMP && e->verb != MN_NEW)
		e->object->prepare(e->out->data + base, e->verb);
	if (push_field(e, args, "raw") == LUA_TTABLE)
		raw = lua_gettop(L);
	encode_rows(e, table, args, raw, base, e->out->len);
	e->keys = outer;
	lua_settop(L, args);
}

static void encode_nest(
	struct mn_encoder *e, const struct mn_row *row, const struct mn_table *table, const char *key)
{
	size_t nest = mn_encode_nest(e, mn_nest_type(row));
	bool later = e->later;

	enter(e, row, key);
	e->later = false; // a nest that had to wait comes whole
	encode_table(e, row, table);
	e->later = later;
	e->depth--;
	mn_encode_nest_end(e, row, nest);
}

// A nest whose keys stand among the parent's: written only when there is something in it.
static void encode_inline(
	struct mn_encoder *e, const struct mn_row *row, const struct mn_table *table, int args, int raw)
{
	lua_State *L = e->L;
	size_t nest = mn_encode_nest(e, mn_nest_type(row)), start = e->out->len;
	int top = lua_gettop(L), inner = 0;

	luaL_checkstack(L, 10, "nested too deeply");
	if (raw && lua_getfield(L, raw, row->name) == LUA_TTABLE)
		inner = lua_gettop(L);
	encode_rows(e, table, args, inner, start, start);
	lua_settop(L, top);
	if (e->out->len == start)
		e->out->len = nest;
	else
		mn_encode_nest_end(e, row, nest);
}

static const char *key_of_attr(const struct mn_table *table, uint16_t attr)
{
	const struct mn_row *row = mn_row_of_attr(table, attr, NULL);

	return row ? row->key : "kind";
}

static void encode_variant(
	struct mn_encoder *e, const struct mn_table *table, const struct mn_row *row, int args, int raw)
{
	lua_State *L = e->L;
	const char *kind_key = key_of_attr(table, row->aux), *kind = NULL;
	const struct mn_variant *given = NULL, *chosen;
	size_t kind_len = 0;

	for (const struct mn_variant *v = row->variants; v->kind; v++) {
		if (!v->key)
			continue;
		if (has_field(e, args, v->key)) {
			if (given)
				mn_encode_refuse(e, NULL, "%s and %s exclude each other", given->key, v->key);
			given = v;
		}
	}
	if (push_field(e, args, kind_key) == LUA_TSTRING)
		kind = lua_tolstring(L, -1, &kind_len);
	lua_pop(L, 1);
	if (given && kind && strcmp(kind, given->kind) != 0)
		mn_encode_refuse(e, NULL, "%s is \"%s\", so there can be no %s", kind_key, kind, given->key);
	chosen = given ? given : kind ? mn_variant_named(row, kind, kind_len) : NULL;
	// Without a kind, the keys tell: a veth's peer.
	for (const struct mn_variant *v = row->variants; v->kind && !kind; v++) {
		const char *key = !v->key && v->table->count == 1 ? v->table->rows[0].key : NULL;

		if (!key)
			continue;
		if (has_field(e, args, key)) {
			if (given)
				mn_encode_refuse(e, NULL, "%s and %s exclude each other", given->key, key);
			chosen = v;
		}
	}
	if (!chosen) {
		if (raw) // the raw attributes of a nest for which there is no table
			encode_inline(e, row, &mn_nothing_table, args, raw);
		return;
	}
	if (given || !kind) { // the kernel wants the kind beside the data
		size_t len = strlen(chosen->kind) + 1;

		if (!kind)
			memcpy(mn_encode_put(e, row->aux, len), chosen->kind, len);
	}
	if (!chosen->key) {
		encode_inline(e, row, chosen->table, args, raw);
		return;
	}
	if (!given)
		return;
	lua_getfield(L, args, chosen->key);
	encode_nest(e, row, chosen->table, chosen->key);
	lua_pop(L, 1);
}

void mn_encode_record(struct mn_encoder *e, const struct mn_row *row)
{
	enter(e, row, row->key);
	encode_table(e, row, row->table);
	e->depth--;
}

// Attributes without a row: raw[number] = bytes.
static void encode_raw(struct mn_encoder *e, int raw)
{
	lua_State *L = e->L;

	lua_pushnil(L);
	while (lua_next(L, raw)) {
		if (lua_isinteger(L, -2)) {
			lua_Integer number = lua_tointeger(L, -2);
			size_t len;
			const char *bytes;

			if (number < 1 || number > UINT16_MAX || lua_type(L, -1) != LUA_TSTRING)
				mn_encode_refuse(e, NULL, "raw holds byte strings by attribute number");
			bytes = lua_tolstring(L, -1, &len);
			if (len)
				memcpy(mn_encode_put(e, (uint16_t)number, len), bytes, len);
			else
				mn_encode_put(e, (uint16_t)number, 0);
		} else if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) {
			mn_encode_refuse(e, NULL, "raw holds byte strings by attribute number");
		}
		lua_pop(L, 1);
	}
}

static bool names_object(const struct mn_encoder *e, const struct mn_row *row)
{
	for (size_t i = 0; i < 4 && e->object->ident[i]; i++) {
		if (row->key && strcmp(row->key, e->object->ident[i]) == 0)
			return true;
	}
	return false;
}

// Notes that a key has to wait for the second message, which a peer does not get.
static void put_off(struct mn_encoder *e, const struct mn_row *row, int args, const char *key)
{
	if (!has_field(e, args, key))
		return;
	e->has_later = true;
	if (e->depth)
		mn_encode_refuse(
			e, row, "%s cannot be set while the %s is created", key, e->path[e->depth - 1]);
}

// Whether the row takes part in the message being built.
static bool wanted(struct mn_encoder *e, const struct mn_row *row, int args)
{
	bool creates = e->verb == MN_ADD || e->verb == MN_REPLACE;

	if (row->type == MN_SKIP || (e->filter && row->type != MN_INLINE && !(row->flags & MN_FILTER)))
		return false;
	if (e->later)
		return row->type == MN_INLINE || row->flags & MN_LATER || names_object(e, row);
	if (!(row->flags & MN_LATER) || !creates)
		return true;
	if (row->type == MN_VARIANT) {
		for (const struct mn_variant *v = row->variants; v->kind; v++) {
			if (v->key)
				put_off(e, row, args, v->key);
		}
		return false;
	}
	put_off(e, row, args, row->key);
	return false;
}

// Whether the message makes or changes its object, so that all of it has to be there.
static bool makes(const struct mn_encoder *e)
{
	return !e->later && e->verb != MN_NEW && e->verb != MN_DUMP && e->verb != MN_GET &&
		e->verb != MN_DEL && e->verb != MN_FLUSH;
}

// Whether a link's name needs no look-up because its index is given too.
static bool index_given(struct mn_encoder *e, const struct mn_row *row, int args)
{
	return row->type == MN_DEV && row->flags & MN_ONLY_NAME && has_field(e, args, "ifindex");
}

static void encode_rows(
	struct mn_encoder *e, const struct mn_table *table, int args, int raw, size_t base, size_t container)
{
	lua_State *L = e->L;

	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		if (row->flags & MN_PRESET && makes(e) && !has_field(e, args, row->key)) {
			mn_encode_preset(e, row, base, container);
			continue;
		}
		if (!wanted(e, row, args))
			continue;
		if (row->type == MN_INLINE) {
			encode_inline(e, row, row->table, args, raw);
			continue;
		}
		if (row->type == MN_VARIANT) {
			encode_variant(e, table, row, args, raw);
			continue;
		}
		if (!row->key)
			continue; // it has a preset and no other value
		if (row->flags & MN_REQUIRED && e->depth && makes(e) && !has_field(e, args, row->key))
			mn_encode_refuse(e, row, "required, and not given");
		if (!may_have(e, row->key))
			continue;
		if (lua_getfield(L, args, row->key) == LUA_TNIL || index_given(e, row, args)) {
			lua_pop(L, 1);
			continue;
		}
		if (row->flags & MN_READ && e->verb != MN_NEW && e->verb != MN_DUMP)
			mn_encode_refuse(e, row, "is told by the kernel and cannot be set");
		switch (row->type) {
		case MN_NEST:
			encode_nest(e, row, row->table, row->key);
			break;
		case MN_LIST:
		case MN_HOPS:
		case MN_STRINGS:
		case MN_ARRAY:
		case MN_VLANS:
			mn_encode_list(e, row, base);
			break;
		default:
			mn_encode_value(e, row, base, container);
		}
		lua_pop(L, 1);
	}
	if (raw && !e->later)
		encode_raw(e, raw);
}

static uint16_t message_type(const struct mn_encoder *e)
{
	if (e->verb == MN_DEL || e->verb == MN_FLUSH)
		return e->object->type_del;
	if (e->verb == MN_GET || e->verb == MN_DUMP)
		return e->object->type_get;
	return e->object->type_change && e->verb != MN_NEW ? e->object->type_change : e->object->type_new;
}

static uint16_t message_flags(struct mn_encoder *e)
{
	switch (e->verb) {
	case MN_NEW:
		return 0;
	case MN_GET:
		return NLM_F_REQUEST;
	case MN_DUMP:
		return NLM_F_REQUEST | NLM_F_DUMP;
	default:
		if (!e->object->flags[e->verb])
			mn_encode_refuse(
				e, NULL, "there is no %s for a %s", mn_verb_name(e->verb), e->object->name);
		return e->object->flags[e->later ? MN_SET : e->verb];
	}
}

static void check_required_of(struct mn_encoder *e, const struct mn_table *table)
{
	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		if (row->type == MN_INLINE)
			check_required_of(e, row->table);
		if (!(row->flags & MN_REQUIRED))
			continue;
		if (lua_getfield(e->L, e->args, row->key) == LUA_TNIL)
			mn_encode_refuse(e, row, "required, and not given");
		lua_pop(e->L, 1);
	}
}

// What a message of this verb cannot do without. The kernel takes a missing name for "all of them".
static void check_required(struct mn_encoder *e)
{
	bool one = false;

	if (e->verb == MN_NEW || e->verb == MN_DUMP)
		return;
	check_required_of(e, e->object->table);
	if (!e->object->one_by)
		return;
	one = lua_getfield(e->L, e->args, e->object->one_by) != LUA_TNIL;
	lua_pop(e->L, 1);
	if (e->verb == MN_FLUSH && one)
		mn_encode_refuse(e, NULL, "flush removes all, so there can be no %s", e->object->one_by);
	if (!one && (e->verb == MN_DEL || (e->verb == MN_REPLACE && e->object == &mn_nft_rule_object)))
		mn_encode_refuse(e, NULL, "%s needs %s%s", mn_verb_name(e->verb), e->object->one_by,
			e->verb == MN_DEL ? "; flush removes all" : "");
}

size_t mn_encode(struct mn_encoder *e)
{
	lua_State *L = e->L;
	size_t message = e->out->len;
	bool complete = e->verb != MN_DUMP && e->verb != MN_NEW;
	int top = lua_gettop(L);
	struct nlmsghdr *nlh;

	luaL_checkstack(L, 20, "nested too deeply");
	e->args = lua_absindex(L, e->args);
	e->family = e->object->family;
	e->depth = 0;
	e->message = message;
	e->interval = -1;
	check_required(e);
	if (mn_buffer_reserve(e->out, NLMSG_HDRLEN) < 0)
		luaL_error(L, "not enough memory");
	nlh = (struct nlmsghdr *)(e->out->data + message);
	nlh->nlmsg_type = message_type(e);
	nlh->nlmsg_flags = message_flags(e);
	e->out->len += NLMSG_HDRLEN;

	lua_pushvalue(L, e->args);
	encode_table(e, NULL, e->object->table);
	lua_settop(L, top);

	nlh = (struct nlmsghdr *)(e->out->data + message);
	nlh->nlmsg_len = (uint32_t)(e->out->len - message);
	*(uint8_t *)mnl_nlmsg_get_payload(nlh) = e->family;
	if (complete && e->object->finish) {
		if (mn_buffer_reserve(e->out, MN_FINISH_ROOM) < 0)
			luaL_error(L, "not enough memory");
		nlh = (struct nlmsghdr *)(e->out->data + message);
		e->object->finish(nlh, e->verb);
		e->out->len = message + nlh->nlmsg_len;
		e->family = *(uint8_t *)mnl_nlmsg_get_payload(nlh);
	}
	return message;
}
