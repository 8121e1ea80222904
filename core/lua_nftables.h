// SPDX-License-Identifier: Apache-2.0
#ifndef MNCNI_LUA_NFTABLES_H
#define MNCNI_LUA_NFTABLES_H

#include <lua.h>

__attribute__((visibility("default"))) int luaopen_mncni_nft(lua_State *L);

#endif
