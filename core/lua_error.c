// SPDX-License-Identifier: Apache-2.0
// Errors as objects: mncni.core.error{...} makes one, tostring gives the one line a person reads.
#include "lua_core.h"

#include <stdio.h>
#include <string.h>

static void set_string(lua_State *L, const char *key, const char *value)
{
	if (!*value)
		return;
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

void mn_lua_push_error(lua_State *L, const struct mn_error *err)
{
	lua_createtable(L, 0, 8);
	set_string(L, "op", err->op);
	set_string(L, "object", err->object);
	set_string(L, "netns", err->netns);
	set_string(L, "message", err->message);
	set_string(L, "extack", err->extack);
	set_string(L, "attribute", err->attribute);
	if (err->errnum) {
		lua_pushinteger(L, err->errnum);
		lua_setfield(L, -2, "errno");
		set_string(L, "name", mn_errno_name(err->errnum));
	}
	if (err->code) {
		lua_pushinteger(L, err->code);
		lua_setfield(L, -2, "code");
	}
	luaL_setmetatable(L, MN_ERROR_META);
}

int mn_lua_raise(lua_State *L, const struct mn_error *err)
{
	mn_lua_push_error(L, err);
	lua_error(L);
	__builtin_unreachable();
}

static void get_string(lua_State *L, int index, const char *key, char *to, size_t size)
{
	lua_getfield(L, index, key);
	if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER)
		snprintf(to, size, "%s", lua_tostring(L, -1));
	lua_pop(L, 1);
}

static int error_tostring(lua_State *L)
{
	struct mn_error err = { 0 };
	char line[1536];

	luaL_checktype(L, 1, LUA_TTABLE);
	get_string(L, 1, "op", err.op, sizeof(err.op));
	get_string(L, 1, "object", err.object, sizeof(err.object));
	get_string(L, 1, "netns", err.netns, sizeof(err.netns));
	get_string(L, 1, "message", err.message, sizeof(err.message));
	get_string(L, 1, "extack", err.extack, sizeof(err.extack));
	get_string(L, 1, "attribute", err.attribute, sizeof(err.attribute));
	lua_getfield(L, 1, "errno");
	err.errnum = (int)lua_tointeger(L, -1);
	mn_error_format(&err, line, sizeof(line));
	lua_pushstring(L, line);
	return 1;
}

// error{op=, object=, message=, ...} turns the table it is given into an error object and returns it.
static int error_new(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_getfield(L, 1, "errno");
	if (lua_isinteger(L, -1)) {
		lua_pushstring(L, mn_errno_name((int)lua_tointeger(L, -1)));
		lua_setfield(L, 1, "name");
	}
	lua_settop(L, 1);
	luaL_setmetatable(L, MN_ERROR_META);
	return 1;
}

// is_error(value) tells whether the value is an error object.
static int error_is(lua_State *L)
{
	lua_settop(L, 1);
	if (!lua_getmetatable(L, 1)) {
		lua_pushboolean(L, 0);
		return 1;
	}
	luaL_getmetatable(L, MN_ERROR_META);
	lua_pushboolean(L, lua_rawequal(L, -1, -2));
	return 1;
}

int mn_open_error(lua_State *L)
{
	if (luaL_newmetatable(L, MN_ERROR_META)) {
		lua_pushcfunction(L, error_tostring);
		lua_setfield(L, -2, "__tostring");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, error_is);
	lua_setfield(L, -2, "is_error");
	lua_pushcfunction(L, error_new);
	return 1;
}
