// SPDX-License-Identifier: Apache-2.0
#ifndef MNCNI_LUA_TRACE_H
#define MNCNI_LUA_TRACE_H

#include "lua_core.h"

__attribute__((visibility("default"))) int luaopen_mncni_trace_core(lua_State *L);

#endif
