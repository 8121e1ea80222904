// SPDX-License-Identifier: Apache-2.0
// mncni.core.journal: the face of journal.h. A journal is closed, and so unlocked, by close, __close or __gc.
#include "lua_core.h"
#include "lua_json.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "journal.h"
#include "lua_args.h"

#define JOURNAL_META "mncni.journal"
#define DIRECTORY_META "mncni.journal.directory"

static struct mn_journal *check_journal(lua_State *L)
{
	struct mn_journal *journal = luaL_checkudata(L, 1, JOURNAL_META);

	if (journal->fd < 0)
		luaL_error(L, "the journal %s is closed", journal->path);
	return journal;
}

static const char *check_field(lua_State *L, const char *key)
{
	lua_getfield(L, 1, key);
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "journal.open: \"%s\" must be a string, not %s", key, luaL_typename(L, -1));
	return lua_tostring(L, -1); // stays on the stack, so the pointer stays good
}

// open{state_dir=, network=, container=, type=, ifname=, create=boolean, wait=milliseconds} returns the
// journal and whether it was made now; nil when there is none and create is not set. open{path=, wait=} opens
// one of list().
static int journal_open(lua_State *L)
{
	static const char *const known[] = { "path", "state_dir", "network", "container", "type", "ifname",
		"create", "wait", NULL };
	struct mn_journal_key key = { 0 };
	struct mn_journal *journal;
	struct mn_error err = { 0 };
	char path[MN_PATH_MAX];
	lua_Integer wait;
	bool create, created = false;
	size_t size;
	int ret = 0;

	luaL_checktype(L, 1, LUA_TTABLE);
	mn_lua_check_keys(L, 1, "journal.open", known);
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "path") != LUA_TNIL) {
		if (snprintf(path, sizeof(path), "%s", check_field(L, "path")) >= (int)sizeof(path))
			ret = mn_fail(&err, ENAMETOOLONG, "open", lua_tostring(L, -1),
				"the path of the journal is too long");
	} else {
		key.state_dir = check_field(L, "state_dir");
		key.network = check_field(L, "network");
		key.container = check_field(L, "container");
		key.type = check_field(L, "type");
		key.ifname = check_field(L, "ifname");
		ret = mn_journal_path(path, &key, &err);
	}
	if (ret < 0)
		return mn_lua_raise(L, &err);
	lua_getfield(L, 1, "create");
	create = lua_toboolean(L, -1) && key.state_dir;
	lua_getfield(L, 1, "wait");
	wait = luaL_optinteger(L, -1, 0);
	size = strlen(path) + 1;
	journal = lua_newuserdatauv(L, sizeof(*journal) + size, 0); // the path follows
	journal->fd = -1;
	journal->path = memcpy(journal + 1, path, size);
	luaL_setmetatable(L, JOURNAL_META);
	ret = mn_journal_open(
		journal, journal->path, wait < 0 ? 0 : (unsigned int)wait, create ? &created : NULL, &err);
	if (ret < 0 && !create && err.errnum == ENOENT) {
		lua_pushnil(L);
		return 1;
	}
	if (ret < 0)
		return mn_lua_raise(L, &err);
	lua_pushboolean(L, created);
	return 2;
}

// journal:append(json) appends one JSON document as a line.
static int journal_append(lua_State *L)
{
	struct mn_journal *journal = check_journal(L);
	struct mn_error err = { 0 };

	if (mn_journal_append(journal, luaL_checkstring(L, 2), &err) < 0)
		return mn_lua_raise(L, &err);
	return 0;
}

static int read_protected(lua_State *L)
{
	lua_pushstring(L, lua_touserdata(L, 1));
	return 1;
}

// Pushes malloc'ed text and frees it.
static int push_text(lua_State *L, char *text)
{
	int status;

	lua_pushcfunction(L, read_protected);
	lua_pushlightuserdata(L, text);
	status = lua_pcall(L, 1, 1, 0);
	free(text);
	return status == LUA_OK ? 1 : lua_error(L);
}

// journal:read() returns the whole text, a JSON document a line.
static int journal_read(lua_State *L)
{
	struct mn_journal *journal = check_journal(L);
	struct mn_error err = { 0 };
	char *text = NULL;

	if (mn_journal_read(journal, &text, &err) < 0)
		return mn_lua_raise(L, &err);
	return push_text(L, text);
}

// peek(path) returns the text of a journal without waiting for its lock: what is there now, perhaps while a
// call writes it. nil when there is none.
static int journal_peek(lua_State *L)
{
	struct mn_error err = { 0 };
	char *text = NULL;

	if (mn_journal_peek(luaL_checkstring(L, 1), &text, &err) == 0)
		return push_text(L, text);
	if (err.errnum != ENOENT)
		return mn_lua_raise(L, &err);
	lua_pushnil(L);
	return 1;
}

static int push_ends(lua_State *L)
{
	const char *const *ends = lua_touserdata(L, 1);

	lua_pushstring(L, ends[0]); // NULL: nil
	lua_pushstring(L, ends[1]);
	return 2;
}

// journal:ends() returns its first and its last line, nil where there is none; raises that a line, which of
// them, is no JSON object.
static int journal_ends(lua_State *L)
{
	struct mn_journal *journal = check_journal(L);
	struct mn_error err = { 0 };
	const char *ends[2];
	char *text;
	int status;

	if (mn_undo_look(journal, &text, &ends[0], &ends[1], &err) < 0)
		return mn_lua_raise(L, &err);
	lua_pushcfunction(L, push_ends);
	lua_pushlightuserdata(L, ends);
	status = lua_pcall(L, 1, 2, 0);
	free(text);
	return status == LUA_OK ? 2 : lua_error(L);
}

// journal:undo("del" | "rollback") undoes what it lists and removes it; raises the first failure after trying
// all.
static int journal_undo(lua_State *L)
{
	static const char *const modes[] = { "del", "rollback", NULL };
	struct mn_journal *journal = check_journal(L);
	int mode = luaL_checkoption(L, 2, "del", modes);
	struct mn_error err = { 0 };

	if (mn_undo(journal, mode ? MN_UNDO_ROLLBACK : MN_UNDO_DEL, &err) < 0)
		return mn_lua_raise(L, &err);
	return 0;
}

// journal:activate(boolean) makes it what the host undoes when this call dies, or no longer.
static int journal_activate(lua_State *L)
{
	struct mn_journal *journal = check_journal(L);

	mn_journal_set_active(lua_toboolean(L, 2) ? journal : NULL);
	return 0;
}

static int journal_remove(lua_State *L)
{
	struct mn_journal *journal = check_journal(L);
	struct mn_error err = { 0 };

	if (mn_journal_remove(journal, &err) < 0)
		return mn_lua_raise(L, &err);
	return 0;
}

static int journal_path(lua_State *L)
{
	struct mn_journal *journal = luaL_checkudata(L, 1, JOURNAL_META);

	lua_pushstring(L, journal->path);
	return 1;
}

static int journal_close(lua_State *L)
{
	mn_journal_close(luaL_checkudata(L, 1, JOURNAL_META));
	return 0;
}

// A directory handle that a raise while its names are pushed does not leak.
static int directory_close(lua_State *L)
{
	DIR **dir = lua_touserdata(L, 1);

	if (*dir)
		closedir(*dir);
	*dir = NULL;
	return 0;
}

// Pushes the paths of what is in a directory; a directory that is not there has nothing in it.
static int push_directory(lua_State *L, const char *path)
{
	DIR **dir = lua_newuserdatauv(L, sizeof(DIR *), 0);
	struct dirent *entry = NULL;
	struct mn_error err = { 0 };
	lua_Integer n = 0;

	*dir = NULL;
	luaL_setmetatable(L, DIRECTORY_META);
	lua_newtable(L);
	*dir = opendir(path);
	while (*dir) {
		errno = 0;
		entry = readdir(*dir);
		if (!entry)
			break;
		if (entry->d_name[0] == '.')
			continue;
		lua_pushfstring(L, "%s/%s", path, entry->d_name);
		lua_rawseti(L, -2, ++n);
	}
	if (errno && (*dir || errno != ENOENT)) {
		mn_fail(&err, errno, "list", path, "the journals cannot be listed");
		err.code = 5;
		return mn_lua_raise(L, &err);
	}
	lua_pushcfunction(L, directory_close);
	lua_pushvalue(L, -3);
	lua_call(L, 1, 0);
	return 1;
}

// list{state_dir=, network=} returns the paths of all journals of a network; without a network, those of the
// directories that each hold one network's.
static int journal_list(lua_State *L)
{
	static const char *const known[] = { "state_dir", "network", NULL };
	char path[MN_PATH_MAX];
	struct mn_journal_key key = { .container = "", .type = "", .ifname = "" };
	struct mn_error err = { 0 };

	luaL_checktype(L, 1, LUA_TTABLE);
	mn_lua_check_keys(L, 1, "journal.list", known);
	lua_settop(L, 1);
	key.state_dir = check_field(L, "state_dir");
	if (lua_getfield(L, 1, "network") != LUA_TNIL)
		key.network = check_field(L, "network");
	if (mn_journal_dir(path, &key, &err) < 0)
		return mn_lua_raise(L, &err);
	return push_directory(L, path);
}

// hash(text) returns 64 bits of it as an integer, the same on every machine: names of links are derived from
// it.
static int journal_hash(lua_State *L)
{
	size_t len;
	const char *text = luaL_checklstring(L, 1, &len);

	lua_pushinteger(L, (lua_Integer)mn_hash(text, len));
	return 1;
}

int mn_open_journal(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "append", journal_append },
		{ "read", journal_read },
		{ "ends", journal_ends },
		{ "undo", journal_undo },
		{ "activate", journal_activate },
		{ "remove", journal_remove },
		{ "path", journal_path },
		{ "close", journal_close },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "open", journal_open },
		{ "list", journal_list },
		{ "peek", journal_peek },
		{ "hash", journal_hash },
		{ "steps", mn_lua_json_steps },
		{ NULL, NULL },
	};

	luaL_newmetatable(L, DIRECTORY_META);
	lua_pushcfunction(L, directory_close);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 1);
	luaL_newmetatable(L, JOURNAL_META);
	lua_pushcfunction(L, journal_close);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, journal_close);
	lua_setfield(L, -2, "__close");
	luaL_newlib(L, methods);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
