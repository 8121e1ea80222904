// SPDX-License-Identifier: Apache-2.0
// mncni.core.record: the ring of call records.
#include "lua_core.h"

#include <stdlib.h>
#include <string.h>

#include "lua_args.h"
#include "record.h"

#define MAX_IGNORED 64

static const char *text_field(lua_State *L, const char *key)
{
	const char *text;

	// Converted in place, so that the table keeps the string alive.
	if (lua_getfield(L, 2, key) != LUA_TNIL && lua_type(L, -1) != LUA_TSTRING) {
		luaL_tolstring(L, -1, NULL);
		lua_pushvalue(L, -1);
		lua_setfield(L, 2, key);
	}
	text = lua_tostring(L, -1);
	lua_pop(L, 1);
	return text;
}

// Fills ignored with the strings of the list in field "ignored"; what is too much or no string is left out.
static void ignored_field(lua_State *L, const char *ignored[MAX_IGNORED + 1])
{
	size_t n = 0;

	if (lua_getfield(L, 2, "ignored") == LUA_TTABLE)
		for (lua_Integer i = 1; n < MAX_IGNORED; i++) {
			int type = lua_geti(L, -1, i);

			if (type == LUA_TSTRING)
				ignored[n++] = lua_tostring(L, -1);
			lua_pop(L, 1);
			if (type == LUA_TNIL)
				break;
		}
	ignored[n] = NULL;
	lua_pop(L, 1);
}

// write(state_dir, { verb, policy, network, pod, container, ifname, netns, message, trace, ignored, duration,
// code, document }) adds a record. Raises an error object when it cannot be written.
static int record_write(lua_State *L)
{
	static const char *const known[] = { "verb", "policy", "network", "pod", "container", "ifname",
		"netns", "message", "trace", "ignored", "duration", "code", "document", NULL };
	const char *state_dir = luaL_checkstring(L, 1);
	const char *ignored[MAX_IGNORED + 1];
	struct mn_record record = { .ignored = ignored };
	struct mn_error err;

	mn_lua_check_keys(L, 2, "record.write", known);
	lua_settop(L, 2);
	record.verb = text_field(L, "verb");
	record.policy = text_field(L, "policy");
	record.network = text_field(L, "network");
	record.pod = text_field(L, "pod");
	record.container = text_field(L, "container");
	record.ifname = text_field(L, "ifname");
	record.netns = text_field(L, "netns");
	record.message = text_field(L, "message");
	record.trace = text_field(L, "trace");
	record.document = text_field(L, "document");
	lua_getfield(L, 2, "duration");
	record.duration_us = lua_tointeger(L, -1);
	lua_getfield(L, 2, "code");
	record.code = (int)lua_tointeger(L, -1);
	ignored_field(L, ignored);
	if (mn_record_write(state_dir, &record, &err) < 0)
		return mn_lua_raise(L, &err);
	return 0;
}

static int push_list(lua_State *L)
{
	const struct mn_record_list *list = lua_touserdata(L, 1);

	lua_createtable(L, (int)list->count, 0);
	lua_createtable(L, (int)list->count, 0);
	for (unsigned int i = 0; i < list->count; i++) {
		lua_pushstring(L, list->found[i].json);
		lua_seti(L, 2, i + 1);
		lua_pushinteger(L, (lua_Integer)list->found[i].number);
		lua_seti(L, 3, i + 1);
	}
	return 2;
}

// read(state_dir) returns the records as a list of JSON texts, newest first, and the list of their numbers.
static int record_read(lua_State *L)
{
	const char *state_dir = luaL_checkstring(L, 1);
	struct mn_record_list list;
	struct mn_error err;
	int ret = mn_record_read(state_dir, &list, &err);

	if (ret < 0) {
		free(list.memory);
		return mn_lua_raise(L, &err);
	}
	lua_pushcfunction(L, push_list);
	lua_pushlightuserdata(L, &list);
	ret = lua_pcall(L, 1, 2, 0);
	free(list.memory);
	return ret == LUA_OK ? 2 : lua_error(L);
}

struct bytes {
	char *text;
	size_t size;
};

static int push_bytes(lua_State *L)
{
	const struct bytes *bytes = lua_touserdata(L, 1);

	lua_pushlstring(L, bytes->text, bytes->size);
	return 1;
}

// whole(state_dir, number) returns the text of a whole record, in the form that recorder.h tells; nil when
// there is none.
static int record_whole(lua_State *L)
{
	const char *state_dir = luaL_checkstring(L, 1);
	lua_Integer number = luaL_checkinteger(L, 2);
	struct bytes bytes;
	struct mn_error err;
	int ret = mn_record_read_whole(state_dir, (uint64_t)number, &bytes.text, &bytes.size, &err);

	if (ret < 0 || bytes.size == 0) {
		free(bytes.text);
		if (ret < 0)
			return mn_lua_raise(L, &err);
		lua_pushnil(L);
		return 1;
	}
	lua_pushcfunction(L, push_bytes);
	lua_pushlightuserdata(L, &bytes);
	ret = lua_pcall(L, 1, 1, 0);
	free(bytes.text);
	return ret == LUA_OK ? 1 : lua_error(L);
}

// clock() returns microseconds of a clock that no administrator sets, for durations.
static int record_clock(lua_State *L)
{
	lua_pushinteger(L, mn_record_clock());
	return 1;
}

int mn_open_record(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "write", record_write },
		{ "read", record_read },
		{ "whole", record_whole },
		{ "clock", record_clock },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
