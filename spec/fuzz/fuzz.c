// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "fuzz.h"

#include "embed.h"
#include "lua_core.h"
#include "state.h"

#include <ftw.h>
#include <lualib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNTERS 32768
#define OPEN_DIRECTORIES 8

// libFuzzer looks at these as it does at the counters that the compiler adds to C.
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static lua_State *lua;

void fuzz_fail(const char *message, ...)
{
	va_list args;

	va_start(args, message);
	fputs("fuzz: ", stderr);
	vfprintf(stderr, message, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

static void on_line(lua_State *L, lua_Debug *ar)
{
	size_t hash;

	if (ar->event == LUA_HOOKCOUNT) {
		mn_state_charge(L, 1000);
		return;
	}
	lua_getinfo(L, "Sl", ar);
	if (strncmp(ar->source, "@lua/", 5) != 0)
		return;
	hash = (size_t)ar->currentline;
	for (const char *c = ar->source + 11; *c; c++)
		hash = hash * 31 + (unsigned char)*c;
	counters[hash % COUNTERS]++;
}

void fuzz_trace_lua(lua_State *L)
{
	int count = (lua_gethookmask(L) & LUA_MASKCOUNT) ? LUA_MASKCOUNT : 0; // of a bounded state

	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	for (const struct mn_embedded *entry = mn_embedded; entry->name; entry++) {
		const char *name = strncmp(entry->name, "mncni.", 6) == 0 ? entry->name + 6 : "init";
		char path[128];

		if (strncmp(entry->name, "mncni", 5) != 0)
			continue;
		snprintf(path, sizeof(path), "lua/mncni/%s.lua", name);
		for (char *c = path + 10; (c = strchr(c, '.')) && strcmp(c, ".lua") != 0;)
			*c = '/';
		fuzz_require(luaL_loadfile(L, path) == LUA_OK, "%s", lua_tostring(L, -1));
		lua_setfield(L, -2, entry->name);
	}
	lua_pop(L, 2);
	lua_sethook(L, on_line, LUA_MASKLINE | count, 1000);
}

void fuzz_lua_open(const char *path, bool traced)
{
	lua = luaL_newstate();
	fuzz_require(lua != NULL, "no Lua state");
	luaL_openlibs(lua);
	luaL_requiref(lua, "mncni.core", luaopen_mncni_core, 0);
	lua_pop(lua, 1);
	if (traced)
		fuzz_trace_lua(lua);
	fuzz_require(luaL_dofile(lua, path) == LUA_OK, "%s", lua_tostring(lua, -1));
	fuzz_require(lua_isfunction(lua, 1), "%s returns no function", path);
}

static int traceback(lua_State *L)
{
	luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
	return 1;
}

int fuzz_lua_input(const uint8_t *data, size_t size)
{
	lua_settop(lua, 1);
	lua_pushcfunction(lua, traceback);
	lua_pushvalue(lua, 1);
	lua_pushlstring(lua, (const char *)data, size);
	fuzz_require(lua_pcall(lua, 1, 0, 2) == LUA_OK, "%s", lua_tostring(lua, -1));
	return 0;
}

const char *fuzz_directory(void)
{
	static char path[256];
	const char *base = getenv("TMPDIR");

	if (!*path) {
		snprintf(path, sizeof(path), "%s/mncni-fuzz.XXXXXX", base ? base : "/tmp");
		fuzz_require(mkdtemp(path) != NULL, "%s cannot be made", path);
	}
	return path;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	return at->level == 0 ? 0 : remove(path);
}

void fuzz_empty(const char *directory)
{
	(void)nftw(directory, remove_one, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
}

char *fuzz_part(const uint8_t **data, size_t *size, char end)
{
	const uint8_t *stop = *size ? memchr(*data, end, *size) : NULL;
	size_t len = stop ? (size_t)(stop - *data) : *size, taken = stop ? len + 1 : len;
	char *part;

	if (*size == 0)
		return NULL;
	part = malloc(len + 1);
	fuzz_require(part != NULL, "no memory");
	memcpy(part, *data, len);
	part[len] = '\0';
	*data += taken;
	*size -= taken;
	return part;
}
