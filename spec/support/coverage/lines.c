// SPDX-License-Identifier: Apache-2.0
// Which lines of Lua ran: linked into the programs of `make coverage`, whose calls of lua_newstate and
// lua_sethook come here (ld's --wrap), and loaded by a stock lua5.4 as the module "coverage". At the end of
// the process "source:line" is appended to the file RAN for each line that ran, also by programs that are given an
// environment of their own.
#define _GNU_SOURCE
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOURCES 512
#define LINES 2048

struct source {
	char name[120];
	unsigned char ran[LINES / 8];
};

static struct source sources[SOURCES];
static int count;
static lua_Hook theirs; // the hook that the state has asked for
static int their_mask;

// Lua's strings of sources come and go: a name is compared, not a pointer.
static struct source *find(const char *name)
{
	static struct source *last;

	if (last && strcmp(last->name, name) == 0)
		return last;
	for (int i = 0; i < count; i++)
		if (strcmp(sources[i].name, name) == 0)
			return last = &sources[i];
	if (count == SOURCES || strlen(name) >= sizeof(sources[0].name))
		return NULL;
	strcpy(sources[count].name, name);
	return last = &sources[count++];
}

static void on_event(lua_State *L, lua_Debug *ar)
{
	if (ar->event == LUA_HOOKLINE) {
		struct source *source;

		lua_getinfo(L, "Sl", ar);
		source = *ar->source == '@' ? find(ar->source + 1) : NULL;
		if (source && ar->currentline >= 0 && ar->currentline < LINES)
			source->ran[ar->currentline / 8] |= (unsigned char)(1 << ar->currentline % 8);
		if (!(their_mask & LUA_MASKLINE))
			return;
	}
	if (theirs)
		theirs(L, ar);
}

__attribute__((destructor)) static void report(void)
{
	int fd = count > 0 ? open(RAN, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
	char *text = NULL;
	size_t size = 0;
	FILE *out = fd < 0 ? NULL : open_memstream(&text, &size);

	for (int i = 0; out && i < count; i++)
		for (int line = 0; line < LINES; line++)
			if (sources[i].ran[line / 8] & 1 << line % 8)
				fprintf(out, "%s:%d\n", sources[i].name, line);
	if (out && fclose(out) == 0)
		(void)!write(fd, text, size);
	free(text);
	if (fd >= 0)
		close(fd);
}

#ifdef WRAPPED
lua_State *__real_lua_newstate(lua_Alloc allocate, void *data);
void __real_lua_sethook(lua_State *L, lua_Hook hook, int mask, int number);
lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *data);
void __wrap_lua_sethook(lua_State *L, lua_Hook hook, int mask, int number);

void __wrap_lua_sethook(lua_State *L, lua_Hook hook, int mask, int number)
{
	theirs = hook;
	their_mask = mask;
	__real_lua_sethook(L, on_event, mask | LUA_MASKLINE, number);
}

lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *data)
{
	lua_State *L = __real_lua_newstate(allocate, data);

	if (L)
		__wrap_lua_sethook(L, NULL, 0, 0);
	return L;
}
#else
int luaopen_coverage(lua_State *L);

__attribute__((visibility("default"))) int luaopen_coverage(lua_State *L)
{
	lua_sethook(L, on_event, LUA_MASKLINE, 0);
	return 0;
}
#endif
