// SPDX-License-Identifier: Apache-2.0
// mncni.line: what the prompt of mncni repl needs of its terminal to edit a line (mncni.repl_line). A program
// without a loader has no libedit to ask.
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

// raw(on): whether keys arrive as they are pressed, one by one and unseen, instead of line by line. Returns
// whether standard input is a terminal that can be told so.
static int line_raw(lua_State *L)
{
	static struct termios usual;
	static bool known;
	bool on = lua_toboolean(L, 1), done = known || !on;

	if (on) {
		known = tcgetattr(STDIN_FILENO, &usual) == 0;
		done = known;
	}
	if (known) {
		struct termios wanted = usual;

		if (on) {
			wanted.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
			wanted.c_iflag &= ~(tcflag_t)(IXON | INLCR | IGNCR);
			wanted.c_cc[VMIN] = 1;
			wanted.c_cc[VTIME] = 0;
		}
		// What was typed ahead stays.
		done = tcsetattr(STDIN_FILENO, TCSADRAIN, &wanted) == 0;
	}
	lua_pushboolean(L, done);
	return 1;
}

// columns(): how wide the terminal is.
static int line_columns(lua_State *L)
{
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		size.ws_col = 80;
	lua_pushinteger(L, size.ws_col);
	return 1;
}

int luaopen_mncni_line(lua_State *L);

int luaopen_mncni_line(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "raw", line_raw },
		{ "columns", line_columns },
		{ NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
