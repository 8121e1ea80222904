// SPDX-License-Identifier: Apache-2.0
// mncni.trace_core: what `mncni trace` reads, record by record. A call never loads it.
#define _GNU_SOURCE
#include "lua_args.h"
#include "lua_trace.h"
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRACE_META "mncni.trace_core"
#define MAX_DIRECTORIES 256

static const char *const source_names[MN_TRACE_SOURCES] = { "proc", "fanotify", "pipes", "route", "nft",
	"reports", "nlmon" };

static const char *const type_names[] = { "call", "fork", "output", "missed", "exit", "message", "packet",
	"report", "lost", "stop" };

struct source {
	struct mn_trace *trace;
};

static int trace_close(lua_State *L)
{
	struct source *source = luaL_checkudata(L, 1, TRACE_META);

	if (source->trace)
		mn_trace_stop(source->trace);
	source->trace = NULL;
	return 0;
}

// Pushes the record as a table; its data as a string, or of a call, a list of KEY=VALUE strings, as a table.
static int push_record(lua_State *L)
{
	const struct mn_trace_record *record = lua_touserdata(L, 1);
	const char *at = record->data, *end = record->data + record->size;

	lua_createtable(L, 0, 8);
	lua_pushstring(L, type_names[record->type]);
	lua_setfield(L, -2, "type");
	lua_pushinteger(L, record->time);
	lua_setfield(L, -2, "time");
	lua_pushinteger(L, record->pid);
	lua_setfield(L, -2, "pid");
	lua_pushinteger(L, record->other);
	lua_setfield(L, -2, "other");
	lua_pushinteger(L, record->nsid);
	lua_setfield(L, -2, "nsid");
	if (record->type != MN_TRACE_CALL) {
		lua_pushlstring(L, record->data, record->size);
		lua_setfield(L, -2, "data");
		return 1;
	}
	lua_newtable(L);
	for (; at < end; at += strlen(at) + 1) {
		const char *equals = strchr(at, '=');

		if (!equals)
			continue;
		lua_pushlstring(L, at, (size_t)(equals - at));
		lua_pushstring(L, equals + 1);
		lua_rawset(L, -3);
	}
	lua_setfield(L, -2, "data");
	return 1;
}

// source:next([milliseconds]) waits for the next record: {type, time (nanoseconds), pid, other, nsid, data},
// what they mean says core/trace.h; data of a call is a table. nil when there is none in that time.
static int trace_next(lua_State *L)
{
	struct source *source = luaL_checkudata(L, 1, TRACE_META);
	lua_Integer timeout = luaL_optinteger(L, 2, -1);
	struct mn_trace_record *record;
	int status;

	if (!source->trace)
		mn_lua_bad_argument(L, "trace", "it is closed");
	record = mn_trace_next(source->trace,
		timeout < 0		      ? -1
			: timeout > INT32_MAX ? INT32_MAX
					      : (int)timeout);
	if (!record) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushcfunction(L, push_record);
	lua_pushlightuserdata(L, record);
	status = lua_pcall(L, 1, 1, 0);
	free(record);
	return status == LUA_OK ? 1 : lua_error(L);
}

// Fills options->wanted from the list at index.
static void check_wanted(lua_State *L, int index, struct mn_trace_options *options)
{
	lua_Integer count;

	luaL_checktype(L, index, LUA_TTABLE);
	count = luaL_len(L, index);
	for (lua_Integer i = 1; i <= count; i++) {
		lua_geti(L, index, i);
		options->wanted[luaL_checkoption(L, -1, NULL, source_names)] = true;
		lua_pop(L, 1);
	}
}

// open{ sources = {"proc", ...}, netns = path, directories = { of plugins }, report = path of the socket,
// nlmon = index } starts to watch. Returns the source, and a table of those that cannot be had: name -> why.
// Signals that stop a program are held back, and told as a record, until it is closed.
static int trace_open(lua_State *L)
{
	static const char *const keys[] = { "sources", "netns", "directories", "report", "nlmon", NULL };
	const char *directories[MAX_DIRECTORIES + 1] = { NULL };
	struct mn_error missing[MN_TRACE_SOURCES], err = { 0 };
	struct mn_trace_options options = { .directories = directories };
	struct source *source;

	mn_lua_check_keys(L, 1, "trace", keys);
	lua_settop(L, 1);
	lua_getfield(L, 1, "sources");
	check_wanted(L, 2, &options);
	lua_getfield(L, 1, "netns");
	options.netns = luaL_checkstring(L, 3);
	lua_getfield(L, 1, "report");
	options.report = luaL_optstring(L, 4, NULL);
	lua_getfield(L, 1, "nlmon");
	options.nlmon = (int)luaL_optinteger(L, 5, 0);
	lua_getfield(L, 1, "directories");
	for (int i = 0; lua_istable(L, 6) && i < MAX_DIRECTORIES; i++) {
		lua_geti(L, 6, i + 1);
		directories[i] = lua_tostring(L, -1); // the list keeps it
		lua_pop(L, 1);
		if (!directories[i])
			break;
	}
	memset(missing, 0, sizeof(missing));
	source = lua_newuserdatauv(L, sizeof(*source), 0);
	source->trace = NULL;
	luaL_setmetatable(L, TRACE_META);
	if (mn_trace_start(&source->trace, &options, missing, &err) < 0)
		mn_lua_raise(L, &err);
	lua_newtable(L);
	for (int i = 0; i < MN_TRACE_SOURCES; i++) {
		if (!missing[i].errnum)
			continue;
		lua_pushstring(L, missing[i].message[0] ? missing[i].message : strerror(missing[i].errnum));
		lua_setfield(L, -2, source_names[i]);
	}
	return 2;
}

// now(): nanoseconds of the clock that records have.
static int trace_now(lua_State *L)
{
	lua_pushinteger(L, mn_trace_now());
	return 1;
}

// offset(): what is to be added to a record's time for nanoseconds since 1970.
static int trace_offset(lua_State *L)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000000 + now.tv_nsec - mn_trace_now());
	return 1;
}

int luaopen_mncni_trace_core(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "next", trace_next },
		{ "close", trace_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", trace_close },
		{ "__close", trace_close },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "open", trace_open },
		{ "now", trace_now },
		{ "offset", trace_offset },
		{ NULL, NULL },
	};

	lua_getglobal(L, "require"); // errors are the core's
	lua_pushliteral(L, "mncni.core");
	lua_call(L, 1, 0);
	if (luaL_newmetatable(L, TRACE_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
