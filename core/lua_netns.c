// SPDX-License-Identifier: Apache-2.0
// mncni.core.netns: network namespaces as handles.
#define _GNU_SOURCE
#include "lua_netns.h"

#include "cleanup.h"
#include "lua_args.h"
#include "netns.h"
#include "survey.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

// The path it was opened by, or nil, is the first user value.
struct netns {
	int fd;
};

static struct netns *check_handle(lua_State *L, int index)
{
	return luaL_checkudata(L, index, MN_NETNS_META);
}

static int check_open(lua_State *L, int index)
{
	struct netns *ns = check_handle(L, index);
	struct mn_error err;

	if (ns->fd >= 0)
		return ns->fd;
	mn_fail(&err, EBADF, "use", "netns", "the handle is closed");
	err.code = 8;
	return mn_lua_raise(L, &err);
}

int mn_lua_check_netns(lua_State *L, int index)
{
	return lua_isnoneornil(L, index) ? -1 : check_open(L, index);
}

void mn_lua_netns_label(lua_State *L, int index, char *label, size_t size)
{
	uint64_t dev, ino;

	*label = '\0';
	if (lua_isnoneornil(L, index))
		return;
	lua_getiuservalue(L, index, 1);
	if (lua_isstring(L, -1))
		snprintf(label, size, "%s", lua_tostring(L, -1));
	else if (!mn_netns_id(check_open(L, index), &dev, &ino, NULL))
		snprintf(label, size, "%llu:%llu", (unsigned long long)dev, (unsigned long long)ino);
	lua_pop(L, 1);
}

// Pushes a handle that is closed as yet; whoever opens it has nothing to lose when Lua raises.
static struct netns *push_handle(lua_State *L)
{
	struct netns *ns = lua_newuserdatauv(L, sizeof(*ns), 1);

	ns->fd = -1;
	luaL_setmetatable(L, MN_NETNS_META);
	return ns;
}

// Sets the path of the handle on top of the stack.
static void set_path(lua_State *L, const char *path)
{
	lua_pushstring(L, path);
	lua_setiuservalue(L, -2, 1);
}

static int finish(lua_State *L, int result, const struct mn_error *err)
{
	return result < 0 ? mn_lua_raise(L, err) : 1;
}

// Opens by path (or name) into the handle on top of the stack.
static int open_path(lua_State *L, struct netns *ns, const char *name)
{
	struct mn_error err;
	char path[PATH_MAX];
	int ret = mn_netns_path(name, path, sizeof(path), &err);

	if (!ret) {
		set_path(L, path);
		ret = mn_netns_open(path, &ns->fd, &err);
	}
	return finish(L, ret, &err);
}

static int open_pid(lua_State *L, struct netns *ns, lua_Integer pid)
{
	struct mn_error err;
	int ret;

	if (pid <= 0 || pid > INT_MAX) {
		mn_fail(&err, EINVAL, "open", "netns", LUA_INTEGER_FMT " is not a process id", pid);
		err.code = 8;
		return mn_lua_raise(L, &err);
	}
	lua_pushfstring(L, "/proc/%I/ns/net", pid);
	lua_setiuservalue(L, -2, 1);
	ret = mn_netns_open_pid((pid_t)pid, &ns->fd, &err);
	return finish(L, ret, &err);
}

// netns.open{path=|name=|pid=|fd=}: the table form, for a name that looks like something else.
static int open_table(lua_State *L)
{
	static const char *const keys[] = { "path", "name", "pid", "fd", NULL };
	struct mn_error err;
	const char *key = NULL;
	struct netns *ns;
	int count = 0;

	mn_lua_check_keys(L, 1, "netns.open", keys);
	for (int i = 0; keys[i]; i++) {
		if (lua_getfield(L, 1, keys[i]) != LUA_TNIL) {
			key = keys[i];
			count++;
			lua_replace(L, 2);
			lua_settop(L, 2);
		} else {
			lua_pop(L, 1);
		}
	}
	if (count != 1)
		return mn_lua_bad_argument(L, "netns.open", "give exactly one of path, name, pid and fd");
	if (*key == 'p' && key[1] == 'i') {
		lua_Integer pid = luaL_checkinteger(L, 2);

		return open_pid(L, push_handle(L), pid);
	}
	if (*key == 'f') {
		lua_Integer fd = luaL_checkinteger(L, 2);

		luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 1, "fd is not a descriptor");
		ns = push_handle(L);
		return finish(L, mn_netns_open_fd((int)fd, &ns->fd, &err), &err);
	}
	luaL_checktype(L, 2, LUA_TSTRING);
	if (*key == 'n' && strchr(lua_tostring(L, 2), '/'))
		return mn_lua_bad_argument(
			L, "netns.open", "\"%s\" is a path, not a name", lua_tostring(L, 2));
	if (*key == 'p' && !strchr(lua_tostring(L, 2), '/')) {
		lua_pushfstring(L, "./%s", lua_tostring(L, 2));
		lua_replace(L, 2);
	}
	return open_path(L, push_handle(L), lua_tostring(L, 2));
}

// netns.open(what): a path, a name in /run/netns, or a process id. Raises code 8 when that is no network
// namespace.
static int netns_open(lua_State *L)
{
	switch (lua_type(L, 1)) {
	case LUA_TNUMBER: {
		lua_Integer pid = luaL_checkinteger(L, 1);

		return open_pid(L, push_handle(L), pid);
	}
	case LUA_TSTRING:
		return open_path(L, push_handle(L), lua_tostring(L, 1));
	case LUA_TTABLE:
		lua_settop(L, 1);
		lua_pushnil(L);
		return open_table(L);
	default:
		return luaL_typeerror(L, 1, "path, name, process id or table");
	}
}

// netns.current(): the namespace the caller is in.
static int netns_current(lua_State *L)
{
	struct netns *ns = push_handle(L);
	struct mn_error err;

	return finish(L, mn_netns_current(&ns->fd, &err), &err);
}

// netns.create([name]): a new namespace; the caller stays where it is.
static int netns_create(lua_State *L)
{
	const char *name = luaL_optstring(L, 1, NULL);
	struct netns *ns = push_handle(L);
	struct mn_error err;

	if (name) {
		lua_pushfstring(L, MN_NETNS_DIR "/%s", name);
		lua_setiuservalue(L, -2, 1);
	}
	return finish(L, mn_netns_create(name, &ns->fd, &err), &err);
}

// netns.pin(ns, path): keeps the namespace alive at a path, or under a name in /run/netns.
static int netns_pin(lua_State *L)
{
	struct mn_error err;

	if (mn_netns_pin(check_open(L, 1), luaL_checkstring(L, 2), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

// netns.remove(name_or_path): unpins it; it lives on as long as a process or a handle is in it.
static int netns_remove(lua_State *L)
{
	struct mn_error err;

	if (mn_netns_remove(luaL_checkstring(L, 1), &err) < 0)
		mn_lua_raise(L, &err);
	return 0;
}

// ns:run(fn, ...): calls fn(...) inside the namespace and returns its results. Errors are raised again after
// the way back; the process aborts when there is none.
static int netns_run(lua_State *L)
{
	int fd = check_open(L, 1);
	struct mn_error err;
	int status, home;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (mn_netns_enter(fd, &home, &err) < 0)
		mn_lua_raise(L, &err);
	// Not a continuation: a yield out of the namespace must fail.
	status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
	mn_netns_leave(&home);
	return status == LUA_OK ? lua_gettop(L) - 1 : lua_error(L);
}

// netns.list(): the names in /run/netns that are network namespaces, sorted.
static int netns_list(lua_State *L)
{
	struct mn_error err;
	lua_Integer count = 0;
	ssize_t size = 0, room;
	char *names;

	do { // once more when names were added meanwhile
		room = size;
		names = lua_newuserdatauv(L, (size_t)room + 1, 0);
		size = mn_netns_names(names, (size_t)room, &err);
		if (size < 0)
			mn_lua_raise(L, &err);
		if (size > room)
			lua_pop(L, 1);
	} while (size > room);
	lua_newtable(L);
	for (char *name = names; name < names + size; name += strlen(name) + 1) {
		lua_pushstring(L, name);
		lua_rawseti(L, -2, ++count);
	}
	return 1;
}

static void push_pair(lua_State *L, uint64_t dev, uint64_t ino)
{
	lua_pushfstring(L, "%I:%I", (lua_Integer)dev, (lua_Integer)ino);
}

static int push_survey(lua_State *L)
{
	const struct mn_survey *survey = lua_touserdata(L, 1);

	lua_createtable(L, 0, (int)survey->n);
	for (size_t i = 0; i < survey->n; i++) {
		push_pair(L, survey->seen[i].dev, survey->seen[i].ino);
		if (survey->seen[i].path)
			lua_pushstring(L, survey->seen[i].path);
		else
			lua_pushboolean(L, 0);
		lua_rawset(L, -3);
	}
	return 1;
}

// netns.survey(): a table from the id of every network namespace that a process of /proc or a mount holds to
// a path that opens it, or to false where only mounts hold it that other mounts cover, so that no path leads
// there. Raises when it cannot look at all of them.
static int netns_survey(lua_State *L)
{
	struct mn_survey survey;
	struct mn_error err = { 0 };
	int ret = mn_survey(&survey, &err), status = LUA_OK;

	if (ret == 0) {
		lua_pushcfunction(L, push_survey);
		lua_pushlightuserdata(L, &survey);
		status = lua_pcall(L, 1, 1, 0);
	}
	mn_survey_free(&survey);
	if (ret < 0)
		mn_lua_raise(L, &err);
	return status == LUA_OK ? 1 : lua_error(L);
}

// netns.view(): the id of the process namespace that the caller is in, whose processes survey() sees.
static int netns_view(lua_State *L)
{
	struct mn_error err = { 0 };
	uint64_t dev, ino;

	if (mn_survey_view(&dev, &ino, &err) < 0)
		mn_lua_raise(L, &err);
	push_pair(L, dev, ino);
	return 1;
}

static int netns_fd(lua_State *L)
{
	lua_pushinteger(L, check_open(L, 1));
	return 1;
}

static void push_id(lua_State *L, int fd)
{
	struct mn_error err;
	uint64_t dev, ino;

	if (mn_netns_id(fd, &dev, &ino, &err) < 0)
		mn_lua_raise(L, &err);
	push_pair(L, dev, ino);
}

static int netns_id(lua_State *L)
{
	push_id(L, check_open(L, 1));
	return 1;
}

static int netns_path(lua_State *L)
{
	check_handle(L, 1);
	lua_getiuservalue(L, 1, 1);
	return 1;
}

static int netns_close(lua_State *L)
{
	struct netns *ns = check_handle(L, 1);

	if (ns->fd >= 0)
		close(steal_fd(&ns->fd));
	return 0;
}

// Two open handles are equal when they hold the same namespace, whatever they were opened by.
static int netns_eq(lua_State *L)
{
	struct netns *a = luaL_testudata(L, 1, MN_NETNS_META);
	struct netns *b = luaL_testudata(L, 2, MN_NETNS_META);

	if (!a || !b || a->fd < 0 || b->fd < 0) {
		lua_pushboolean(L, a && a == b);
		return 1;
	}
	push_id(L, a->fd);
	push_id(L, b->fd);
	lua_pushboolean(L, lua_rawequal(L, -1, -2));
	return 1;
}

static int netns_tostring(lua_State *L)
{
	struct netns *ns = check_handle(L, 1);
	char label[PATH_MAX];

	if (ns->fd >= 0)
		mn_lua_netns_label(L, 1, label, sizeof(label));
	lua_pushfstring(L, "netns %s", ns->fd < 0 ? "(closed)" : label);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "run", netns_run },
	{ "fd", netns_fd },
	{ "id", netns_id },
	{ "path", netns_path },
	{ "close", netns_close },
	{ NULL, NULL },
};

static const luaL_Reg metamethods[] = {
	{ "__gc", netns_close },
	{ "__close", netns_close },
	{ "__eq", netns_eq },
	{ "__tostring", netns_tostring },
	{ NULL, NULL },
};

static const luaL_Reg functions[] = {
	{ "open", netns_open },
	{ "current", netns_current },
	{ "create", netns_create },
	{ "pin", netns_pin },
	{ "remove", netns_remove },
	{ "list", netns_list },
	{ "survey", netns_survey },
	{ "view", netns_view },
	{ NULL, NULL },
};

int mn_open_netns(lua_State *L)
{
	if (luaL_newmetatable(L, MN_NETNS_META)) {
		luaL_setfuncs(L, metamethods, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
