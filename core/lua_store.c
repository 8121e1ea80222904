// SPDX-License-Identifier: Apache-2.0
// mncni.core.store: the address store of a network as a handle.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lua_args.h"
#include "lua_store.h"

#define STORE_META "mncni.store"
#define BUFFER_META "mncni.store.buffer"

// Memory of plain C that Lua frees if something raises on the way.
struct buffer {
	void *memory;
	size_t used, room;
};

static int buffer_gc(lua_State *L)
{
	struct buffer *buffer = luaL_checkudata(L, 1, BUFFER_META);

	free(buffer->memory);
	buffer->memory = NULL;
	return 0;
}

static struct buffer *push_buffer(lua_State *L)
{
	struct buffer *buffer = lua_newuserdatauv(L, sizeof(*buffer), 0);

	*buffer = (struct buffer){ 0 };
	luaL_setmetatable(L, BUFFER_META);
	return buffer;
}

static struct mn_store *check_store(lua_State *L)
{
	struct mn_store *store = luaL_checkudata(L, 1, STORE_META);

	if (store->dir < 0)
		mn_lua_bad_argument(L, "store", "the handle is closed");
	return store;
}

// store.open{ dir = absolute path, create = boolean, deadline = milliseconds to wait for the lock, boot_id =
// path of another boot id, for specs }: a handle, or nil when the directory is not there and create is not
// set.
static int store_open(lua_State *L)
{
	static const char *const keys[] = { "dir", "create", "deadline", "boot_id", NULL };
	const char *dir, *boot;
	unsigned int flags = 0;
	struct mn_store *store;
	struct mn_error err;
	int deadline, rc;

	mn_lua_check_keys(L, 1, "store.open", keys);
	dir = mn_store_get_string(L, 1, "store.open", "dir", true);
	boot = mn_store_get_string(L, 1, "store.open", "boot_id", false);
	deadline = (int)mn_store_get_integer(L, 1, "store.open", "deadline", MN_STORE_DEADLINE_MS);
	lua_getfield(L, 1, "create");
	if (lua_toboolean(L, -1))
		flags |= MN_STORE_CREATE;
	store = lua_newuserdatauv(L, sizeof(*store), 0);
	store->dir = -1;
	luaL_setmetatable(L, STORE_META);
	rc = mn_store_open(store, dir, flags, deadline, boot, &err);
	if (rc == -ENOENT && !flags)
		lua_pushnil(L);
	else if (rc < 0)
		mn_lua_raise(L, &err);
	return 1;
}

static int store_close(lua_State *L)
{
	mn_store_close(luaL_checkudata(L, 1, STORE_META));
	return 0;
}

// store:writable(): raises what stands in the way of writing reservations. Changes nothing.
static int store_writable(lua_State *L)
{
	struct mn_error err;

	if (mn_store_writable(check_store(L), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

static int store_path(lua_State *L)
{
	const struct mn_store *store = luaL_checkudata(L, 1, STORE_META);

	lua_pushstring(L, store->path);
	return 1;
}

// Raises err, or pushes the address that was found, nil when rc tells that there was none.
static int answer(lua_State *L, int rc, const struct mn_address *address, const struct mn_error *err)
{
	if (rc < 0)
		mn_lua_raise(L, err);
	if (rc)
		mn_store_push_address(L, address);
	else
		lua_pushnil(L);
	return 1;
}

// store:plan{ ranges = { { first=, last=, gateway= } }, index = number of the set, lost = address }: the
// address to journal and publish next, nil when none is free. Nothing is reserved yet. lost names one that
// publish answered "taken" for.
static int store_plan(lua_State *L)
{
	static const char *const keys[] = { "ranges", "index", "lost", NULL };
	struct mn_store *store = check_store(L);
	struct mn_range_set set;
	struct mn_address address;
	struct mn_error err = { 0 };
	int rc;

	mn_lua_check_keys(L, 2, "store:plan", keys);
	mn_store_get_set(L, 2, "store:plan", &set);
	address = mn_store_get_address(L, 2, "store:plan", "lost", false);
	rc = mn_store_plan(store, &set, &address, &err);
	return answer(L, rc, &address, &err);
}

// store:reserve{ ranges =, index =, container =, ifname = }: plan and publish in one; the address, or nil.
static int store_reserve(lua_State *L)
{
	static const char *const keys[] = { "ranges", "index", "container", "ifname", NULL };
	struct mn_store *store = check_store(L);
	struct mn_attachment who;
	struct mn_range_set set;
	struct mn_address address;
	struct mn_error err = { 0 };
	int rc;

	mn_lua_check_keys(L, 2, "store:reserve", keys);
	who = mn_store_get_attachment(L, 2, "store:reserve");
	mn_store_get_set(L, 2, "store:reserve", &set);
	rc = mn_store_reserve(store, &set, who.container, who.ifname, &address, &err);
	return answer(L, rc, &address, &err);
}

// store:publish{ address =, container =, ifname = }: "reserved", "held" (by this attachment before) or
// "taken".
static int store_publish(lua_State *L)
{
	static const char *const keys[] = { "address", "container", "ifname", NULL };
	static const char *const outcomes[] = {
		[MN_STORE_TAKEN] = "taken",
		[MN_STORE_RESERVED] = "reserved",
		[MN_STORE_HELD] = "held",
	};
	struct mn_store *store = check_store(L);
	struct mn_attachment who;
	struct mn_address address;
	struct mn_error err;
	int rc;

	mn_lua_check_keys(L, 2, "store:publish", keys);
	address = mn_store_get_address(L, 2, "store:publish", "address", true);
	who = mn_store_get_attachment(L, 2, "store:publish");
	rc = mn_store_publish(store, &address, who.container, who.ifname, &err);
	if (rc < 0)
		mn_lua_raise(L, &err);
	lua_pushstring(L, outcomes[rc]);
	return 1;
}

// store:holds{ address =, container =, ifname = }: whether the attachment holds the address.
static int store_holds(lua_State *L)
{
	static const char *const keys[] = { "address", "container", "ifname", NULL };
	struct mn_store *store = check_store(L);
	struct mn_attachment who;
	struct mn_address address;
	struct mn_error err;
	int rc;

	mn_lua_check_keys(L, 2, "store:holds", keys);
	address = mn_store_get_address(L, 2, "store:holds", "address", true);
	who = mn_store_get_attachment(L, 2, "store:holds");
	rc = mn_store_holds(store, &address, who.container, who.ifname, &err);
	if (rc < 0)
		mn_lua_raise(L, &err);
	lua_pushboolean(L, rc);
	return 1;
}

// store:release{ container =, ifname =, addresses = list or nil }: frees those that the attachment holds,
// without a list all that a look through the directory finds; how many. Raises code 5 when one cannot be
// freed.
static int store_release(lua_State *L)
{
	static const char *const keys[] = { "container", "ifname", "addresses", NULL };
	struct mn_store *store = check_store(L);
	struct mn_address *addresses = NULL;
	struct mn_attachment who;
	struct mn_error err;
	size_t n = 0;
	int rc;

	mn_lua_check_keys(L, 2, "store:release", keys);
	who = mn_store_get_attachment(L, 2, "store:release");
	if (lua_getfield(L, 2, "addresses") == LUA_TTABLE) {
		n = (size_t)lua_rawlen(L, -1);
		addresses = lua_newuserdatauv(L, (n + 1) * sizeof(*addresses), 0);
		for (size_t i = 0; i < n; i++) {
			lua_rawgeti(L, -2, (lua_Integer)i + 1);
			if (!mn_address_parse(luaL_tolstring(L, -1, NULL), &addresses[i]))
				mn_lua_bad_argument(L, "store:release", "\"%s\" is not an IP address",
					lua_tostring(L, -1));
			lua_pop(L, 2);
		}
		if (n == 0) {
			lua_pushinteger(L, 0);
			return 1;
		}
	} else if (!lua_isnil(L, -1)) {
		mn_lua_bad_argument(
			L, "store:release", "addresses must be a list, not %s", luaL_typename(L, -1));
	}
	rc = mn_store_free(store, who.container, who.ifname, addresses, n, &err);
	if (rc < 0)
		mn_lua_raise(L, &err);
	lua_pushinteger(L, rc);
	return 1;
}

// store:find{ container =, ifname = }: the list of addresses that the attachment holds, by reading every
// file.
static int store_find(lua_State *L)
{
	static const char *const keys[] = { "container", "ifname", NULL };
	struct mn_store *store = check_store(L);
	struct mn_address *found;
	struct mn_attachment who;
	struct buffer *buffer;
	struct mn_error err;
	size_t n;
	int rc;

	mn_lua_check_keys(L, 2, "store:find", keys);
	who = mn_store_get_attachment(L, 2, "store:find");
	buffer = push_buffer(L);
	rc = mn_store_find(store, who.container, who.ifname, &found, &n, &err);
	if (rc < 0)
		mn_lua_raise(L, &err);
	buffer->memory = found;
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		mn_store_push_address(L, &found[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

// Appends a terminated string, or a single byte 1 for none.
static int append(struct buffer *buffer, const char *text)
{
	size_t size = strlen(text ? text : "\1") + 1;

	if (buffer->used + size > buffer->room) {
		size_t room = (buffer->room + size) * 2;
		void *grown = realloc(buffer->memory, room);

		if (!grown)
			return -ENOMEM;
		buffer->memory = grown;
		buffer->room = room;
	}
	memcpy((char *)buffer->memory + buffer->used, text ? text : "\1", size);
	buffer->used += size;
	return 0;
}

static int append_entry(const struct mn_store_entry *entry, void *arg)
{
	char address[MN_ADDRESS_STRLEN];
	struct buffer *buffer = arg;

	mn_address_format(&entry->address, address);
	return append(buffer, address) || append(buffer, entry->container) || append(buffer, entry->ifname) ||
			append(buffer, entry->stale ? "stale" : NULL)
		? -ENOMEM
		: 0;
}

static const char *next_text(const char **at)
{
	const char *text = *at;

	*at += strlen(text) + 1;
	return *text == '\1' ? NULL : text;
}

static void set_text(lua_State *L, const char *key, const char *text)
{
	if (!text)
		return;
	lua_pushstring(L, text);
	lua_setfield(L, -2, key);
}

// store:list(): a list of { address =, container =, ifname =, stale = true when of an earlier boot }. Without
// a container the file holds nothing that an attachment could own; without an ifname it is in the oldest
// form.
static int store_list(lua_State *L)
{
	struct mn_store *store = check_store(L);
	struct buffer *buffer = push_buffer(L);
	struct mn_error err = { 0 };
	int rc = mn_store_list(store, append_entry, buffer, &err);
	const char *at = buffer->memory, *end;

	if (rc == -ENOMEM && !err.errnum)
		return luaL_error(L, "not enough memory");
	if (rc < 0)
		mn_lua_raise(L, &err);
	lua_newtable(L);
	end = buffer->used ? at + buffer->used : at;
	for (lua_Integer i = 1; at < end; i++) {
		lua_createtable(L, 0, 3);
		set_text(L, "address", next_text(&at));
		set_text(L, "container", next_text(&at));
		set_text(L, "ifname", next_text(&at));
		lua_pushboolean(L, next_text(&at) != NULL);
		lua_setfield(L, -2, "stale");
		lua_rawseti(L, -2, i);
	}
	return 1;
}

// store:count{ ranges = }: how many addresses of the set are taken, and how many it has to give.
static int store_count(lua_State *L)
{
	static const char *const keys[] = { "ranges", "index", NULL };
	struct mn_store *store = check_store(L);
	struct mn_range_set set;
	struct mn_error err;
	uint64_t taken, size;

	mn_lua_check_keys(L, 2, "store:count", keys);
	mn_store_get_set(L, 2, "store:count", &set);
	if (mn_store_count(store, &set, &taken, &size, &err) < 0)
		mn_lua_raise(L, &err);
	lua_pushinteger(L, (lua_Integer)taken);
	lua_pushinteger(L, (lua_Integer)size);
	return 2;
}

// store:has_room{ ranges =, index = }: whether the set has a free address.
static int store_has_room(lua_State *L)
{
	static const char *const keys[] = { "ranges", "index", NULL };
	struct mn_store *store = check_store(L);
	struct mn_range_set set;
	struct mn_error err;
	int rc;

	mn_lua_check_keys(L, 2, "store:has_room", keys);
	mn_store_get_set(L, 2, "store:has_room", &set);
	rc = mn_store_has_room(store, &set, &err);
	if (rc < 0)
		mn_lua_raise(L, &err);
	lua_pushboolean(L, rc);
	return 1;
}

static int store_tostring(lua_State *L)
{
	const struct mn_store *store = luaL_checkudata(L, 1, STORE_META);

	lua_pushfstring(L, "store %s%s", store->path, store->dir < 0 ? " (closed)" : "");
	return 1;
}

int mn_open_store(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "plan", store_plan },
		{ "publish", store_publish },
		{ "reserve", store_reserve },
		{ "release", store_release },
		{ "holds", store_holds },
		{ "find", store_find },
		{ "list", store_list },
		{ "count", store_count },
		{ "has_room", store_has_room },
		{ "writable", store_writable },
		{ "path", store_path },
		{ "close", store_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", store_close },
		{ "__close", store_close },
		{ "__tostring", store_tostring },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, BUFFER_META)) {
		lua_pushcfunction(L, buffer_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	if (luaL_newmetatable(L, STORE_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, store_open);
	lua_setfield(L, -2, "open");
	return 1;
}
