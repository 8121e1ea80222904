// SPDX-License-Identifier: Apache-2.0
// core.json: objects are plain tables, arrays are tables marked by the metatable "mncni.array", null is
// json.null.
#ifndef MNCNI_LUA_JSON_H
#define MNCNI_LUA_JSON_H

#include "json.h"
#include "lua_core.h"

#define MN_ARRAY_META "mncni.array"

// What a conversion holds besides Lua values; the collector frees it when an error cut the conversion short.
struct mn_lua_json {
	cJSON *tree;
	char *text;
};

// Pushes an empty holder.
struct mn_lua_json *mn_lua_json_hold(lua_State *L);

// Frees what is held, if anything.
void mn_lua_json_release(struct mn_lua_json *held);

// Pushes the Lua value of a tree that came from mn_json_parse. The tree must be held: this may raise.
void mn_lua_push_json(lua_State *L, const cJSON *item);

// encode(value [, {pretty = true}]) -> text
int mn_lua_json_encode(lua_State *L);

// steps(steps, back) -> the lines of a journal for a list of steps (mncni.steps), the last without its end:
// what there is of each one's told or args, net, object, shared, verb and where, and its way back, if that is
// not false.
int mn_lua_json_steps(lua_State *L);

int mn_open_json(lua_State *L);

#endif
