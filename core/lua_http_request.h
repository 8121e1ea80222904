// SPDX-License-Identifier: Apache-2.0
// A single request, as Lua sees it.
#ifndef MNCNI_LUA_HTTP_REQUEST_H
#define MNCNI_LUA_HTTP_REQUEST_H

#include "http.h"
#include "lua_core.h"

#define MN_PROTOBUF_META "mncni.http.protobuf"

// protobuf{ type =, prefix =, ok =, refused = } -> schema; see lua/types.
int mn_lua_http_protobuf(lua_State *L);
void mn_lua_http_protobuf_register(lua_State *L);

// Starts the request that the table at 2 describes, of the handle at 1, and pushes it.
int mn_lua_http_start(lua_State *L, struct mn_http *http);

// Makes what requests are known by; called once for a state.
void mn_lua_http_register(lua_State *L);

#endif
