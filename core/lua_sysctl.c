// SPDX-License-Identifier: Apache-2.0
// mncni.core.sysctl: settings below /proc/sys/net inside a namespace.
#include "lua_args.h"
#include "lua_netns.h"
#include "sysctl.h"

#include <errno.h>
#include <string.h>

#define META "mncni.sysctl"

// What a call needs while the kernel works; belongs to Lua, so that a raise frees it.
struct work {
	size_t count;
	struct mn_sysctl list[];
};

static int work_free(lua_State *L)
{
	struct work *work = luaL_checkudata(L, 1, META);

	mn_sysctl_free(work->list, work->count);
	return 0;
}

static struct work *push_work(lua_State *L, size_t count)
{
	struct work *work = lua_newuserdatauv(L, sizeof(*work) + count * sizeof(work->list[0]), 0);

	memset(work, 0, sizeof(*work) + count * sizeof(work->list[0]));
	work->count = count;
	luaL_setmetatable(L, META);
	return work;
}

// The string at index, which must be free of zeros.
static const char *check_text(lua_State *L, int index, const char *op, const char *what)
{
	size_t length;
	const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;

	if (!text)
		mn_lua_bad_argument(L, op, "the %s must be a string, got %s", what, luaL_typename(L, index));
	if (strlen(text) != length)
		mn_lua_bad_argument(L, op, "the %s contains a zero byte", what);
	return text;
}

// Replaces the value at index (string, integer or boolean) by the text that the kernel reads.
static const char *check_value(lua_State *L, int index, const char *op, const char *key)
{
	if (lua_isboolean(L, index)) {
		lua_pushstring(L, lua_toboolean(L, index) ? "1" : "0");
		lua_replace(L, index);
	} else if (lua_isinteger(L, index)) {
		lua_pushfstring(L, "%I", lua_tointeger(L, index));
		lua_replace(L, index);
	} else if (lua_type(L, index) != LUA_TSTRING) {
		mn_lua_bad_argument(L, op, "%s: the value must be a string, an integer or a boolean, got %s",
			key, lua_type(L, index) == LUA_TNUMBER ? "a float" : luaL_typename(L, index));
	}
	return check_text(L, index, op, "value");
}

static int raise_in(lua_State *L, struct mn_error *err)
{
	mn_lua_netns_label(L, 1, err->netns, sizeof(err->netns));
	return mn_lua_raise(L, err);
}

// sysctl.get(ns, key, ...) -> a string for each key, or nil where the kernel has no such setting. ns is a
// handle, or nil for the caller's.
static int sysctl_get(lua_State *L)
{
	int netns = mn_lua_check_netns(L, 1), count = lua_gettop(L) > 2 ? lua_gettop(L) - 1 : 1;
	struct work *work;
	struct mn_error err;

	lua_settop(L, count + 1);
	luaL_checkstack(L, count + 4, "too many keys");
	work = push_work(L, (size_t)count);
	for (int i = 0; i < count; i++)
		work->list[i].key = check_text(L, i + 2, "sysctl.get", "key");
	if (mn_sysctl_get(netns, work->list, work->count, &err) < 0)
		return raise_in(L, &err);
	for (int i = 0; i < count; i++)
		lua_pushstring(L, work->list[i].previous); // nil for NULL
	return count;
}

// sysctl.set(ns, key, value) -> previous, changed. Writes only what is different; a missing setting is an
// error.
static int sysctl_set(lua_State *L)
{
	int netns = mn_lua_check_netns(L, 1);
	const char *key = check_text(L, 2, "sysctl.set", "key");
	const char *value = check_value(L, 3, "sysctl.set", key);
	struct work *work = push_work(L, 1);
	struct mn_error err;

	work->list[0].key = key;
	work->list[0].value = value;
	if (mn_sysctl_set(netns, work->list, 1, NULL, &err) < 0)
		return raise_in(L, &err);
	lua_pushstring(L, work->list[0].previous);
	lua_pushboolean(L, work->list[0].changed);
	return 2;
}

// Pushes the list of {key, previous, changed} that a batch returns.
static void push_outcome(lua_State *L, const struct work *work)
{
	lua_createtable(L, (int)work->count, 0);
	for (size_t i = 0; i < work->count; i++) {
		lua_createtable(L, 0, 3);
		lua_pushstring(L, work->list[i].key);
		lua_setfield(L, -2, "key");
		lua_pushstring(L, work->list[i].previous);
		lua_setfield(L, -2, "previous");
		lua_pushboolean(L, work->list[i].changed);
		lua_setfield(L, -2, "changed");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

// sysctl.batch(ns, { {key, value}, ... } [, quiet]) -> list of {key, previous, changed}, nothing when quiet
// is true; in one visit to the namespace. An entry with optional = true is passed over where the kernel has
// no such setting; one with fresh = true is of a link that was made just now, and is not looked at before.
// When one fails those before it are put back, and the error has its position as `index`.
static int sysctl_batch(lua_State *L)
{
	int netns = mn_lua_check_netns(L, 1);
	struct mn_error err;
	struct work *work;
	bool quiet = lua_toboolean(L, 3);
	size_t failed = 0;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	lua_newtable(L); // 3: keeps the texts
	work = push_work(L, (size_t)luaL_len(L, 2));
	for (size_t i = 0; i < work->count; i++) {
		if (lua_geti(L, 2, (lua_Integer)i + 1) != LUA_TTABLE)
			mn_lua_bad_argument(L, "sysctl.batch", "entry %zu must be {key, value}", i + 1);
		lua_geti(L, 5, 1);
		work->list[i].key = check_text(L, 6, "sysctl.batch", "key");
		lua_geti(L, 5, 2);
		work->list[i].value = check_value(L, 7, "sysctl.batch", work->list[i].key);
		lua_getfield(L, 5, "optional");
		work->list[i].optional = lua_toboolean(L, -1);
		lua_getfield(L, 5, "fresh");
		work->list[i].fresh = lua_toboolean(L, -1);
		lua_settop(L, 7);
		lua_rawseti(L, 3, 2 * (lua_Integer)i + 1);
		lua_rawseti(L, 3, 2 * (lua_Integer)i + 2);
		lua_settop(L, 4);
	}
	if (mn_sysctl_set(netns, work->list, work->count, &failed, &err) < 0) {
		mn_lua_netns_label(L, 1, err.netns, sizeof(err.netns));
		mn_lua_push_error(L, &err);
		lua_pushinteger(L, (lua_Integer)failed + 1);
		lua_setfield(L, -2, "index");
		return lua_error(L);
	}
	if (quiet)
		return 0;
	push_outcome(L, work);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "get", sysctl_get },
	{ "set", sysctl_set },
	{ "batch", sysctl_batch },
	{ NULL, NULL },
};

int mn_open_sysctl(lua_State *L)
{
	if (luaL_newmetatable(L, META)) {
		lua_pushcfunction(L, work_free);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
