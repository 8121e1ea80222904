// SPDX-License-Identifier: Apache-2.0
// Addresses as Lua values: full userdata "mncni.cidr", immutable.
#ifndef MNCNI_LUA_CIDR_H
#define MNCNI_LUA_CIDR_H

#include "cidr.h"
#include "lua_core.h"

#define MN_CIDR_META "mncni.cidr"

// Copies the cidr at idx, a value or its text; raises an error object when it is neither.
void mn_lua_check_cidr(lua_State *L, int idx, struct mn_cidr *cidr);

// Returns the cidr value at idx, NULL when that is something else. Raises nothing.
const struct mn_cidr *mn_lua_test_cidr(lua_State *L, int idx);

// Pushes a new value.
void mn_lua_push_cidr(lua_State *L, const struct mn_cidr *cidr);

int mn_open_cidr(lua_State *L);

#endif
