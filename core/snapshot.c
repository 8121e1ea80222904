// SPDX-License-Identifier: Apache-2.0
// Snapshots: a Lua state with its modules loaded, as bytes that become a section of the program. A program
// that is linked at a fixed address finds in them its own functions, and the state's blocks, where they were.
// What the process has that made them, and no other, is replaced when a state begins there.
#define _GNU_SOURCE
#include "error.h"
#include "io.h"
#include "lua_core.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MAGIC "mncni state 1"

// How an image begins.
struct head {
	char magic[16]; // none: there is no snapshot, or a state has begun there
	const struct head *self;
	lua_State *L;
	size_t used;
};

// The state's blocks follow: first those that every call writes to. These are the stack, Lua's table of
// strings, in which new ones are entered all over, and what is made before all else.
#define STACK 230		   // slots that most calls do with
#define STRINGS ((size_t)16 << 10) // bytes of the table for 1 024 to 2 048 strings
#define WRITTEN ((size_t)32 << 10) // bytes from the beginning on
#define HEAD_SIZE ((sizeof(struct head) + MN_HEAP_STEP - 1) / MN_HEAP_STEP * MN_HEAP_STEP)
#define STACK_ROOM (4096 - HEAD_SIZE) // bytes, for the slots and Lua's own ten

void mn_snapshot_take(struct mn_state *state, const struct mn_options *options)
{
	struct head *head = options->image;

	if (!head || options->image_size <= WRITTEN || options->prompt || strcmp(head->magic, MAGIC) != 0 ||
		head->self != head || !mn_heap_fills() || head->used > state->cap)
		return;
	mn_heap_populate((char *)head, WRITTEN);
	*head->magic = '\0';
	state->L = head->L;
	state->used = head->used;
	state->heap.image = options->image;
	state->heap.image_size = options->image_size;
	lua_setallocf(state->L, mn_state_allocate, state);
}

// Lua's standard streams hold libc's, which lie somewhere else in each process unless libc is a part of the
// program.
static void adopt_stream(lua_State *L, const char *name, FILE *stream)
{
	luaL_Stream *file;

	lua_getfield(L, -1, name);
	file = luaL_testudata(L, -1, LUA_FILEHANDLE);
	if (file && file->f != stream)
		file->f = stream;
	lua_pop(L, 1);
}

void mn_snapshot_adopt(lua_State *L)
{
	lua_Integer seed[2] = { 0 };

	lua_getglobal(L, LUA_IOLIBNAME);
	adopt_stream(L, "stdin", stdin);
	adopt_stream(L, "stderr", stderr);
	lua_getglobal(L, LUA_MATHLIBNAME);
	lua_getfield(L, -1, "randomseed");
	(void)!getrandom(seed, sizeof(seed), GRND_NONBLOCK);
	lua_pushinteger(L, seed[0]);
	lua_pushinteger(L, seed[1]);
	lua_call(L, 2, 0);
	lua_pop(L, 2);
}

static int open_libraries(lua_State *L)
{
	mn_state_open_libraries(L, false);
	return 0;
}

// Nothing of the way here is left behind: no handle, no garbage.
static int settle(lua_State *L)
{
	lua_pushnil(L);
	lua_setfield(L, LUA_REGISTRYINDEX, MN_HANDLES_KEY);
	// What has a finalizer is freed by the second; each leaves half of what was kept for calls that went
	// deeper.
	for (int i = 0; i < 4; i++)
		lua_gc(L, LUA_GCCOLLECT);
	return 0;
}

static int grow_stack(lua_State *L)
{
	luaL_checkstack(L, STACK, "snapshot");
	return 0;
}

static int keep_policy(lua_State *L)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "mncni.policy_builtin");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "keep");
	lua_pushstring(L, lua_touserdata(L, 1));
	lua_call(L, 1, 0);
	return 0;
}

static int keep_module(lua_State *L)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, lua_touserdata(L, 1));
	lua_call(L, 1, 0);
	return 0;
}

static int load(struct mn_state *state, const char *name, struct mn_error *err)
{
	static const char prefix[] = "policy ";
	bool policy = strncmp(name, prefix, strlen(prefix)) == 0;

	return mn_state_protect(state, policy ? keep_policy : keep_module,
		(char *)name + (policy ? strlen(prefix) : 0), "snapshot", name, err);
}

static int fill(struct mn_state *state, struct head *head, const char *const *modules, struct mn_error *err)
{
	int ret = mn_state_protect(state, mn_snapshot_reserve, NULL, "snapshot", NULL, err);

	if (ret >= 0)
		ret = mn_state_protect(state, open_libraries, NULL, "snapshot", NULL, err);
	for (; ret >= 0 && *modules; modules++)
		ret = load(state, *modules, err);
	if (ret >= 0)
		ret = mn_state_protect(state, mn_snapshot_warm, NULL, "snapshot", NULL, err);
	if (ret >= 0)
		ret = mn_state_protect(state, settle, NULL, "snapshot", NULL, err);
	if (ret < 0)
		return ret;
	// The stack was as large as loading needed it, and moved whenever that was more: it gets its place
	// last.
	state->heap.at = (char *)head + HEAD_SIZE;
	state->heap.end = state->heap.at + STACK_ROOM;
	return mn_state_protect(state, grow_stack, NULL, "snapshot", NULL, err);
}

static int write_image(const struct mn_options *options, const char *path, struct mn_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), ret;

	if (fd < 0)
		return mn_fail(err, errno, "snapshot", path, "the file cannot be made");
	ret = mn_write_whole(fd, options->image, options->image_size);
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	return ret < 0 ? mn_fail(err, -ret, "snapshot", path, "it cannot be written") : 0;
}

int mn_snapshot(
	const struct mn_options *options, const char *const *modules, const char *path, struct mn_error *err)
{
	struct mn_state state = { .limits.memory = MN_DEFAULT_MEMORY, .cap = MN_DEFAULT_MEMORY };
	struct head *head = options->image;
	int ret;

	if (!mn_heap_fills())
		return mn_fail(err, ENOTSUP, "snapshot", path, "this build has AddressSanitizer in it");
	if (!head || options->image_size <= WRITTEN || *head->magic)
		return mn_fail(
			err, EINVAL, "snapshot", path, "the program has no room for it, or has one already");
	mn_heap_fill(&state.heap, (char *)head + HEAD_SIZE + STACK_ROOM,
		options->image_size - HEAD_SIZE - STACK_ROOM, STRINGS);
	state.L = lua_newstate(mn_state_allocate, &state);
	if (!state.L)
		return mn_fail(err, ENOMEM, "snapshot", path, "%zu bytes are too few", options->image_size);
	*(struct mn_state **)lua_getextraspace(state.L) = &state;
	ret = fill(&state, head, modules, err);
	mn_report_clear(&state.report);
	if (ret < 0)
		return ret;
	memcpy(head->magic, MAGIC, sizeof(MAGIC));
	head->self = head;
	head->L = state.L;
	head->used = state.used;
	return write_image(options, path, err);
}
