// SPDX-License-Identifier: Apache-2.0
// http.protobuf{...}: the fields that are wanted of answers in protocol buffers.
#include "lua_args.h"
#include "lua_http_request.h"

#include <string.h>

#define OP "protobuf"
#define MAX_FIELDS 64 // of one message

static const char *const types[] = { [MN_PB_STRING] = "string",
	[MN_PB_INTEGER] = "integer",
	[MN_PB_BOOLEAN] = "boolean",
	[MN_PB_TIME] = "time",
	[MN_PB_MAP] = "map" };

static const struct mn_pb_message *read_message(lua_State *L, int schema, int depth);

// Keeps a value, on top of the stack, as long as the schema.
static void keep(lua_State *L, int schema)
{
	lua_getiuservalue(L, schema, 1);
	lua_insert(L, -2);
	lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
	lua_pop(L, 1);
}

// Reads other = { kind, { fields } } and prefixed of the field at `at`.
static void read_message_options(lua_State *L, int at, struct mn_pb_field *field, int schema, int depth)
{
	lua_getfield(L, at, "prefixed");
	field->prefixed = lua_toboolean(L, -1);
	if (lua_getfield(L, at, "other") != LUA_TNIL) {
		luaL_checktype(L, -1, LUA_TTABLE);
		if (lua_geti(L, -1, 1) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP, "other is { kind, fields }");
		field->other_kind = lua_tostring(L, -1);
		keep(L, schema);
		lua_geti(L, -1, 2);
		field->other = read_message(L, schema, depth + 1);
	}
	lua_settop(L, at);
}

// Reads { "key", "type" or { fields }, each = true } or { inline = { fields } }, on top of the stack.
static void read_field(lua_State *L, struct mn_pb_field *field, int schema, int depth)
{
	int at = lua_gettop(L);

	if (lua_type(L, at) != LUA_TTABLE)
		mn_lua_bad_argument(L, OP, "field %d is { key, type }, not a %s", (int)field->number,
			luaL_typename(L, at));
	if (lua_getfield(L, at, "inline") != LUA_TNIL) {
		field->type = MN_PB_INLINE;
		field->message = read_message(L, schema, depth + 1);
		read_message_options(L, at, field, schema, depth);
		return;
	}
	if (lua_geti(L, at, 1) != LUA_TSTRING)
		mn_lua_bad_argument(L, OP, "field %d has no key", (int)field->number);
	field->key = lua_tostring(L, -1);
	keep(L, schema);
	lua_getfield(L, at, "each");
	field->each = lua_toboolean(L, -1);
	lua_geti(L, at, 2);
	if (lua_type(L, -1) == LUA_TTABLE) {
		field->type = MN_PB_MESSAGE;
		field->message = read_message(L, schema, depth + 1);
		read_message_options(L, at, field, schema, depth);
	} else {
		const char *type = luaL_optstring(L, -1, "");
		size_t i = 0;

		while (i < sizeof(types) / sizeof(types[0]) && strcmp(types[i], type) != 0)
			i++;
		if (i == sizeof(types) / sizeof(types[0]))
			mn_lua_bad_argument(L, OP,
				"%s is string, integer, boolean, time, map or a table of fields, not \"%.32s\"",
				field->key, type);
		field->type = (int)i;
		lua_getfield(L, at, "is_kind");
		field->is_kind = lua_toboolean(L, -1);
	}
	lua_settop(L, at);
}

// Reads { [number] = field, ... }, on top of the stack.
static const struct mn_pb_message *read_message(lua_State *L, int schema, int depth)
{
	struct {
		struct mn_pb_message message;
		struct mn_pb_field fields[];
	} * made;
	int at = lua_gettop(L);
	size_t count = 0;

	luaL_checkstack(L, 12, OP);
	if (lua_type(L, at) != LUA_TTABLE || depth == MN_PB_DEPTH - 1)
		mn_lua_bad_argument(L, OP, "a message is a table of fields by number, %d levels deep at most",
			MN_PB_DEPTH - 2);
	for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1))
		count++;
	if (count > MAX_FIELDS)
		mn_lua_bad_argument(L, OP, "a message has more than %d fields", MAX_FIELDS);
	made = lua_newuserdatauv(L, sizeof(*made) + count * sizeof(made->fields[0]), 0);
	memset(made, 0, sizeof(*made) + count * sizeof(made->fields[0]));
	made->message.fields = made->fields;
	keep(L, schema);
	for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
		struct mn_pb_field *field = &made->fields[made->message.count++];
		lua_Integer number = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;

		if (number < 1 || number > 536870911)
			mn_lua_bad_argument(L, OP, "the number of a field is from 1 to 536870911");
		field->number = (uint32_t)number;
		read_field(L, field, schema, depth);
	}
	lua_settop(L, at);
	return &made->message;
}

static const char *text_field(lua_State *L, const char *key, size_t most, size_t *len)
{
	const char *text;

	if (lua_getfield(L, 1, key) != LUA_TSTRING)
		mn_lua_bad_argument(L, OP, "%s is a string", key);
	text = lua_tolstring(L, -1, len);
	if (*len >= most)
		mn_lua_bad_argument(L, OP, "%s has more than %d bytes", key, (int)most - 1);
	return text;
}

int mn_lua_http_protobuf(lua_State *L)
{
	static const char *const keys[] = { "type", "stream", "prefix", "ok", "refused", "frame", NULL };
	struct mn_pb_schema *schema;
	const char *text;
	size_t len;

	mn_lua_check_keys(L, 1, OP, keys);
	lua_settop(L, 1);
	schema = lua_newuserdatauv(L, sizeof(*schema), 1);
	memset(schema, 0, sizeof(*schema));
	lua_newtable(L);
	lua_setiuservalue(L, 2, 1);
	luaL_setmetatable(L, MN_PROTOBUF_META);
	text = text_field(L, "type", sizeof(schema->type), &len);
	memcpy(schema->type, text, len);
	text = text_field(L, "prefix", sizeof(schema->prefix), &schema->prefix_len);
	memcpy(schema->prefix, text, schema->prefix_len);
	lua_settop(L, 2);
	lua_getfield(L, 1, "ok");
	schema->ok = read_message(L, 2, 0);
	lua_getfield(L, 1, "refused");
	schema->refused = read_message(L, 2, 0);
	if (lua_getfield(L, 1, "frame") != LUA_TNIL) {
		schema->frame = read_message(L, 2, 0);
		text = text_field(L, "stream", sizeof(schema->stream), &len);
		memcpy(schema->stream, text, len);
	}
	lua_settop(L, 2);
	return 1;
}

// schema:decode(text, what) -> JSON; what a request does with the body of an answer. what is "ok", the
// default, "refused" or "frames".
static int decode(lua_State *L)
{
	static const char *const whats[] = { "ok", "refused", "frames", NULL };
	const struct mn_pb_schema *schema = luaL_checkudata(L, 1, MN_PROTOBUF_META);
	size_t len;
	const char *text = luaL_checklstring(L, 2, &len);
	int what = luaL_checkoption(L, 3, "ok", whats);
	struct mn_error err;
	struct mn_pb *pb;
	luaL_Buffer json;
	int ret = 0;

	lua_settop(L, 3);
	pb = lua_newuserdatauv(L, sizeof(*pb), 0);
	memset(pb, 0, sizeof(*pb));
	luaL_argcheck(L, what != 2 || schema->frame, 3, "the schema has no frame");
	if (what == 2)
		mn_pb_start_frames(pb, schema);
	else
		mn_pb_start(pb, schema, what == 1 ? schema->refused : schema->ok);
	luaL_buffinit(L, &json);
	for (size_t at = 0; at < len && ret == 0; at++) { // byte by byte, as slowly as it may come
		ret = mn_pb_feed(pb, text + at, 1, &err);
		if (ret == 0)
			luaL_addlstring(&json, pb->out.data ? pb->out.data : "", pb->out.len);
	}
	if (ret == 0)
		ret = mn_pb_finish(pb, &err);
	if (ret == 0)
		luaL_addlstring(&json, pb->out.data, pb->out.len);
	mn_pb_free(pb);
	if (ret < 0)
		mn_lua_raise(L, &err);
	luaL_pushresult(&json);
	return 1;
}

void mn_lua_http_protobuf_register(lua_State *L)
{
	static const luaL_Reg methods[] = { { "decode", decode }, { NULL, NULL } };

	if (luaL_newmetatable(L, MN_PROTOBUF_META)) {
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
}
