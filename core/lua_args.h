// SPDX-License-Identifier: Apache-2.0
// What faces need to check table arguments, and core.nearest.
#ifndef MNCNI_LUA_ARGS_H
#define MNCNI_LUA_ARGS_H

#include "lua_core.h"

// Raises an error object about `what` ("exec", "netns.open") unless the value at idx is a table whose keys
// are all in the NULL-terminated list; the message names the unknown key and the known one nearest to it.
void mn_lua_check_keys(lua_State *L, int idx, const char *what, const char *const *known);

// Raises an error object with op `what` and a printf message; for arguments that are wrong in any other way.
int mn_lua_bad_argument(lua_State *L, const char *what, const char *message, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

int mn_open_nearest(lua_State *L);

#endif
