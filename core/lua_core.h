// SPDX-License-Identifier: Apache-2.0
// What the lua_*.c faces share. Each mn_open_* pushes the one value that luaopen_mncni_core stores.
#ifndef MNCNI_LUA_CORE_H
#define MNCNI_LUA_CORE_H

#include <lauxlib.h>
#include <lua.h>

#include "error.h"

#define MN_ERROR_META "mncni.error"

// Pushes err as an error object: a table {op, object, netns, errno, name, message, extack, attribute, code}.
void mn_lua_push_error(lua_State *L, const struct mn_error *err);

// Raises err. The caller holds nothing that Lua does not know of.
int mn_lua_raise(lua_State *L, const struct mn_error *err) __attribute__((noreturn));

// Registry keys that a bounded state sets: where it looks for policies, and what the program carries
// (core/embed.h).
#define MN_POLICY_PATH_KEY "mncni.policy_path"
#define MN_SEALED_KEY "mncni.sealed" // true once the code of a policy is there
#define MN_GUARD_KEY "mncni.guard" // a function to call once, before the first of it that is read from a file
#define MN_EMBEDDED_KEY "mncni.embedded"
#define MN_HANDLES_KEY "mncni.handles"	 // a list of {table, label}
#define MN_RESULTS_KEY "mncni.results"	 // a list of texts that mn_call_texts() has given to its caller
#define MN_REFUSALS_KEY "mncni.refusals" // a list of error objects, while a trace listens

// Finds the Lua line being executed, from a level on: the nearest one outside of mncni's own modules and
// true, else the nearest at all (currentline 0 when there is none) and false.
bool mn_place(lua_State *L, int level, lua_Debug *ar);

// The name of the file of what mn_place has found.
const char *mn_place_file(const lua_Debug *ar);

int mn_open_error(lua_State *L);
int mn_open_netns(lua_State *L);
int mn_open_store(lua_State *L);
int mn_open_record(lua_State *L);
int mn_open_sysctl(lua_State *L);
int mn_open_conntrack(lua_State *L);
int mn_open_tun(lua_State *L);
int mn_open_exec(lua_State *L);
int mn_open_find_program(lua_State *L);
int mn_open_journal(lua_State *L);
int mn_open_policy(lua_State *L);
int mn_open_place(lua_State *L);
int mn_open_current(lua_State *L);
int mn_open_regex(lua_State *L);
int mn_open_boot(lua_State *L);
int mn_open_contains(lua_State *L);
int mn_open_has_others(lua_State *L);
int mn_open_keys(lua_State *L);
int mn_open_directory(lua_State *L);
int mn_open_file(lua_State *L);
int mn_open_inotify(lua_State *L);
int mn_open_tell(lua_State *L);

// Keeps the error object on top of the stack for core.tell.refusals(), if that was asked for; it stays there.
void mn_lua_keep_refusal(lua_State *L);

__attribute__((visibility("default"))) int luaopen_mncni_core(lua_State *L);

#endif
