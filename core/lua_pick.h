// SPDX-License-Identifier: Apache-2.0
#ifndef MNCNI_LUA_PICK_H
#define MNCNI_LUA_PICK_H

#include "lua_core.h"
#include "pick.h"

#define MN_PICKER_META "mncni.picker"

int mn_open_picker(lua_State *L);

#endif
