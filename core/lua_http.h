// SPDX-License-Identifier: Apache-2.0
// Modules of their own, which the plugin does not have: mncni.http needs libcurl, mncni.httpd libmicrohttpd.
#ifndef MNCNI_LUA_HTTP_H
#define MNCNI_LUA_HTTP_H

#include "lua_core.h"

__attribute__((visibility("default"))) int luaopen_mncni_http(lua_State *L);
__attribute__((visibility("default"))) int luaopen_mncni_httpd(lua_State *L);

#endif
