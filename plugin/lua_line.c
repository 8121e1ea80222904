// SPDX-License-Identifier: Apache-2.0
// mncni.line: lines typed at a terminal, edited as people are used to, by libedit or libreadline where the
// node has one. For mncni repl alone: nothing else loads them, and the program is not linked with them.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <lauxlib.h>
#include <locale.h>
#include <lua.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef char **completion_fn(const char *text, int start, int end);
typedef char *generator_fn(const char *text, int state);

// What both libraries have (readline(3)).
static struct {
	char *(*readline)(const char *prompt);
	int (*add_history)(const char *line);
	char **(*matches)(const char *text, generator_fn *generator);
	char **line_buffer;
	int *completion_over;
	int *append_character;
} library;

static lua_State *asking; // whose line is being read, with the function for completion at index 2

// The names that a completion offers are the list at the top of the stack.
static char *next_match(const char *text, int state)
{
	static lua_Integer at;
	char *match = NULL;

	(void)text;
	at = state == 0 ? 1 : at + 1;
	if (lua_geti(asking, -1, at) == LUA_TSTRING)
		match = strdup(lua_tostring(asking, -1));
	lua_pop(asking, 1);
	return match;
}

// Asks Lua, complete(text, line up to the cursor) -> list; what it raises offers nothing.
static char **complete(const char *text, int start, int end)
{
	char **found = NULL;

	(void)start;
	*library.completion_over = 1; // no names of files
	if (library.append_character)
		*library.append_character = '\0';
	if (!lua_checkstack(asking, 8))
		return NULL;
	lua_pushvalue(asking, 2);
	lua_pushstring(asking, text);
	lua_pushlstring(asking, *library.line_buffer, (size_t)end);
	if (lua_pcall(asking, 2, 1, 0) == LUA_OK && lua_istable(asking, -1))
		found = library.matches(text, next_match);
	lua_pop(asking, 1);
	return found;
}

static void *find(void *handle, const char *name, bool *all)
{
	void *symbol = dlsym(handle, name);

	*all = *all && symbol;
	return symbol;
}

// Takes what is needed out of a library; false when that lacks some of it.
static bool take(void *handle)
{
	static char breaks[] = " \t\n\"'(){}[]=<>,;+-*/%^#~|&";
	completion_fn **function;
	char **word_breaks, **basic_breaks;
	bool all = true;

	*(void **)&library.readline = find(handle, "readline", &all);
	*(void **)&library.add_history = find(handle, "add_history", &all);
	*(void **)&library.matches = find(handle, "rl_completion_matches", &all);
	library.line_buffer = find(handle, "rl_line_buffer", &all);
	library.completion_over = find(handle, "rl_attempted_completion_over", &all);
	function = find(handle, "rl_attempted_completion_function", &all);
	word_breaks = find(handle, "rl_completer_word_break_characters", &all);
	basic_breaks = find(handle, "rl_basic_word_break_characters", &all);
	if (!all)
		return false;
	library.append_character = dlsym(handle, "rl_completion_append_character");
	*function = complete;
	*word_breaks = breaks;
	*basic_breaks = breaks;
	return true;
}

// open() loads a library, once, and returns whether there is one.
static int line_open(lua_State *L)
{
	static const char *const names[] = { "libedit.so.2", "libreadline.so.8", "libreadline.so.7" };
	static bool found;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !found; i++) {
		void *handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);

		found = handle && take(handle);
		if (handle && !found)
			dlclose(handle);
	}
	if (found)
		(void)setlocale(LC_CTYPE, "");
	lua_pushboolean(L, found);
	return 1;
}

// read(prompt, complete) returns a line without its end, nil at the end of input. complete(word, line) is
// called with the word before the cursor and the line up to it, and returns a list of what the word may
// become.
static int line_read(lua_State *L)
{
	const char *prompt = luaL_checkstring(L, 1);
	char *line;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	luaL_argcheck(L, library.readline, 1, "no library is open");
	asking = L;
	line = library.readline(prompt);
	asking = NULL;
	lua_pushstring(L, line); // nil for NULL; a line that no memory is left for ends the program
	free(line);
	return 1;
}

// add(line) makes it one that the arrow keys bring back.
static int line_add(lua_State *L)
{
	const char *line = luaL_checkstring(L, 1);

	luaL_argcheck(L, library.add_history, 1, "no library is open");
	(void)library.add_history(line);
	return 0;
}

int luaopen_mncni_line(lua_State *L);

int luaopen_mncni_line(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", line_open },
		{ "read", line_read },
		{ "add", line_add },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
