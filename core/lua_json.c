// SPDX-License-Identifier: Apache-2.0
#include "lua_json.h"

#include <stdlib.h>

#include "lua_args.h"

#define HOLDER_META "mncni.json"

struct mn_lua_json *mn_lua_json_hold(lua_State *L)
{
	struct mn_lua_json *held = lua_newuserdatauv(L, sizeof(*held), 0);

	*held = (struct mn_lua_json){ 0 };
	luaL_setmetatable(L, HOLDER_META);
	return held;
}

void mn_lua_json_release(struct mn_lua_json *held)
{
	cJSON_Delete(held->tree);
	held->tree = NULL;
	free(held->text);
	held->text = NULL;
}

static int holder_gc(lua_State *L)
{
	mn_lua_json_release(luaL_checkudata(L, 1, HOLDER_META));
	return 0;
}

static void push_array(lua_State *L, const cJSON *array)
{
	const cJSON *child;
	lua_Integer n = 0;

	lua_createtable(L, cJSON_GetArraySize(array), 0);
	cJSON_ArrayForEach (child, array) {
		mn_lua_push_json(L, child);
		lua_rawseti(L, -2, ++n);
	}
	luaL_setmetatable(L, MN_ARRAY_META);
}

static void push_object(lua_State *L, const cJSON *object)
{
	const cJSON *child;

	lua_createtable(L, 0, cJSON_GetArraySize(object));
	cJSON_ArrayForEach (child, object) {
		lua_pushstring(L, child->string);
		mn_lua_push_json(L, child);
		lua_rawset(L, -3);
	}
}

void mn_lua_push_json(lua_State *L, const cJSON *item)
{
	int64_t integer;

	luaL_checkstack(L, 4, "JSON");
	if (mn_json_integer(item, &integer))
		lua_pushinteger(L, integer);
	else if (cJSON_IsNumber(item))
		lua_pushnumber(L, item->valuedouble);
	else if (cJSON_IsString(item))
		lua_pushstring(L, item->valuestring);
	else if (cJSON_IsBool(item))
		lua_pushboolean(L, cJSON_IsTrue(item));
	else if (cJSON_IsArray(item))
		push_array(L, item);
	else if (cJSON_IsObject(item))
		push_object(L, item);
	else
		lua_pushlightuserdata(L, NULL);
}

// decode(text [, {max_depth = 64}]) -> value. Raises an error object with code 6 and the fields offset (from
// 0), line and column (from 1) when the text is not JSON.
static int json_decode(lua_State *L)
{
	static const char *const known[] = { "max_depth", NULL };
	lua_Integer depth = MN_JSON_DEPTH;
	struct mn_json_place place;
	struct mn_lua_json *held;
	struct mn_error err;
	const char *text;
	size_t len;

	lua_settop(L, 2);
	if (lua_type(L, 1) != LUA_TSTRING)
		mn_lua_bad_argument(L, "decode", "expected JSON as a string, got %s", luaL_typename(L, 1));
	if (!lua_isnil(L, 2)) {
		mn_lua_check_keys(L, 2, "decode", known);
		lua_getfield(L, 2, "max_depth");
		depth = luaL_optinteger(L, -1, depth);
		if (depth < 1 || depth > MN_JSON_DEPTH_MAX)
			mn_lua_bad_argument(L, "decode", "max_depth is from 1 to %d", MN_JSON_DEPTH_MAX);
		lua_settop(L, 2);
	}
	text = lua_tolstring(L, 1, &len);
	held = mn_lua_json_hold(L);
	if (mn_json_parse_at(text, len, (unsigned int)depth, &held->tree, &place, &err) < 0) {
		mn_lua_push_error(L, &err);
		lua_pushinteger(L, (lua_Integer)place.offset);
		lua_setfield(L, -2, "offset");
		lua_pushinteger(L, (lua_Integer)place.line);
		lua_setfield(L, -2, "line");
		lua_pushinteger(L, (lua_Integer)place.column);
		lua_setfield(L, -2, "column");
		return lua_error(L);
	}
	mn_lua_push_json(L, held->tree);
	mn_lua_json_release(held);
	return 1;
}

// array([table]) marks the table as an array, which stays [] when empty, and returns it.
static int json_array(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_newtable(L);
	} else if (lua_type(L, 1) != LUA_TTABLE) {
		mn_lua_bad_argument(L, "array", "expected a table, got %s", luaL_typename(L, 1));
	} else if (lua_getmetatable(L, 1)) {
		luaL_getmetatable(L, MN_ARRAY_META);
		if (!lua_rawequal(L, -1, -2))
			mn_lua_bad_argument(
				L, "array", "the table has a metatable of its own; copy it first");
		lua_settop(L, 1);
	}
	luaL_setmetatable(L, MN_ARRAY_META);
	return 1;
}

// is_array(value) tells whether the value is a table marked as an array.
static int json_is_array(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) {
		lua_pushboolean(L, 0);
		return 1;
	}
	luaL_getmetatable(L, MN_ARRAY_META);
	lua_pushboolean(L, lua_rawequal(L, -1, -2));
	return 1;
}

int mn_open_json(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "decode", json_decode },
		{ "encode", mn_lua_json_encode },
		{ "array", json_array },
		{ "is_array", json_is_array },
		{ NULL, NULL },
	};

	luaL_newmetatable(L, MN_ARRAY_META);
	if (luaL_newmetatable(L, HOLDER_META)) {
		lua_pushcfunction(L, holder_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 2);
	luaL_newlib(L, functions);
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
	return 1;
}
