// SPDX-License-Identifier: Apache-2.0
// core.inotify: which files of directories were changed, by inotify(7).
#define _GNU_SOURCE
#include "lua_core.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define INOTIFY_META "mncni.core.inotify"

// What ends a change of a file in a directory, and what ends the directory; it is looked at again then.
#define CHANGES \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | IN_MOVE_SELF | \
		IN_DELETE_SELF | IN_ONLYDIR)

static int inotify_drop(lua_State *L)
{
	int *fd = luaL_checkudata(L, 1, INOTIFY_META);

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return 0;
}

static _Noreturn void fail(lua_State *L, int errnum, const char *op, const char *object, const char *message)
{
	struct mn_error err = { 0 };

	mn_fail(&err, errnum, op, object, "%s", message);
	mn_lua_raise(L, &err);
}

static int check_open(lua_State *L)
{
	int fd = *(int *)luaL_checkudata(L, 1, INOTIFY_META);

	if (fd < 0)
		fail(L, EBADF, "use", "inotify", "the handle is closed");
	return fd;
}

// inotify:add(directory) watches it from now on and returns the number by which read() speaks of it; nil when
// there is no such directory.
static int inotify_watch(lua_State *L)
{
	const char *path = luaL_checkstring(L, 2);
	int number = inotify_add_watch(check_open(L), path, CHANGES);

	if (number < 0 && (errno == ENOENT || errno == ENOTDIR))
		lua_pushnil(L);
	else if (number < 0)
		fail(L, errno, "watch", path,
			errno == ENOSPC ? "raise fs.inotify.max_user_watches" : "check that it may be read");
	else
		lua_pushinteger(L, number);
	return 1;
}

// inotify:remove(number) ends what add() began. What read() still says of it is to be passed over.
static int inotify_remove(lua_State *L)
{
	lua_Integer number = luaL_checkinteger(L, 2);

	// EINVAL: the directory is gone, and the watch with it.
	if (inotify_rm_watch(check_open(L), (int)number) < 0 && errno != EINVAL)
		fail(L, errno, "unwatch", "inotify", "");
	return 0;
}

// inotify:read() returns a list of { watch = number, name = file } of what has changed, without waiting:
// empty when nothing has. name is nil where it is the directory itself, which may have been moved or removed;
// { overflow = true } says that some were lost.
static int inotify_read(lua_State *L)
{
	char buf[sizeof(struct inotify_event) + NAME_MAX + 1] __attribute__((aligned(8)));
	int fd = check_open(L);
	lua_Integer count = 0;

	lua_newtable(L);
	for (;;) {
		ssize_t got = read(fd, buf, sizeof(buf));
		const char *at = buf;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return 1;
		if (got <= 0)
			fail(L, got < 0 ? errno : EIO, "read", "inotify", "");
		while (at < buf + got) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)at;

			lua_createtable(L, 0, 2);
			lua_pushinteger(L, event->wd);
			lua_setfield(L, -2, "watch");
			if (event->mask & IN_Q_OVERFLOW) {
				lua_pushboolean(L, 1);
				lua_setfield(L, -2, "overflow");
			}
			if (event->len > 0) {
				lua_pushstring(L, event->name);
				lua_setfield(L, -2, "name");
			}
			lua_rawseti(L, -2, ++count);
			at += sizeof(*event) + event->len;
		}
	}
}

// inotify:wait(milliseconds) returns whether there is something to read by then; -1 waits for ever.
static int inotify_wait(lua_State *L)
{
	struct pollfd one = { .fd = check_open(L), .events = POLLIN };
	lua_Integer timeout = luaL_checkinteger(L, 2);

	luaL_argcheck(L, timeout >= -1 && timeout <= INT_MAX, 2, "not a number of milliseconds");
	lua_pushboolean(L, poll(&one, 1, (int)timeout) > 0);
	return 1;
}

static int inotify_fd(lua_State *L)
{
	lua_pushinteger(L, check_open(L));
	return 1;
}

// core.inotify() opens a handle with add, remove, read, wait, fd and close.
static int inotify_open(lua_State *L)
{
	int *fd = lua_newuserdatauv(L, sizeof(*fd), 0);

	*fd = -1;
	luaL_setmetatable(L, INOTIFY_META);
	*fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (*fd < 0)
		fail(L, errno, "open", "inotify",
			errno == EMFILE ? "raise fs.inotify.max_user_instances" : "");
	return 1;
}

int mn_open_inotify(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "add", inotify_watch },
		{ "remove", inotify_remove },
		{ "read", inotify_read },
		{ "wait", inotify_wait },
		{ "fd", inotify_fd },
		{ "close", inotify_drop },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", inotify_drop },
		{ "__close", inotify_drop },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, INOTIFY_META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, inotify_open);
	return 1;
}
