// SPDX-License-Identifier: Apache-2.0
// mncni.line: lines typed at a terminal, edited as people are used to, by libedit. For mncni repl alone.
#define _GNU_SOURCE
#include <editline/readline.h>
#include <lauxlib.h>
#include <locale.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

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
	rl_attempted_completion_over = 1; // no names of files
	rl_completion_append_character = '\0';
	if (!lua_checkstack(asking, 8))
		return NULL;
	lua_pushvalue(asking, 2);
	lua_pushstring(asking, text);
	lua_pushlstring(asking, rl_line_buffer, (size_t)end);
	if (lua_pcall(asking, 2, 1, 0) == LUA_OK && lua_istable(asking, -1))
		found = rl_completion_matches(text, next_match);
	lua_pop(asking, 1);
	return found;
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
	asking = L;
	line = readline(prompt);
	asking = NULL;
	lua_pushstring(L, line); // nil for NULL; a line that no memory is left for ends the program
	free(line);
	return 1;
}

// add(line) makes it one that the arrow keys bring back.
static int line_add(lua_State *L)
{
	(void)add_history(luaL_checkstring(L, 1));
	return 0;
}

int luaopen_mncni_line(lua_State *L);

int luaopen_mncni_line(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "read", line_read },
		{ "add", line_add },
		{ NULL, NULL },
	};
	static char breaks[] = " \t\n\"'(){}[]=<>,;+-*/%^#~|&";

	(void)setlocale(LC_CTYPE, "");
	rl_attempted_completion_function = complete;
	rl_completer_word_break_characters = breaks;
	rl_basic_word_break_characters = breaks;
	luaL_newlib(L, functions);
	return 1;
}
