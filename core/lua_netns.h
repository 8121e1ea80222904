// SPDX-License-Identifier: Apache-2.0
// Namespace handles for the other faces.
#ifndef MNCNI_LUA_NETNS_H
#define MNCNI_LUA_NETNS_H

#include <lua.h>
#include <stddef.h>

#define MN_NETNS_META "mncni.netns"

// The descriptor of the handle at index, which the handle keeps; -1 for nil or none, the caller's own
// namespace. Raises when the value is no handle, or a closed one.
int mn_lua_check_netns(lua_State *L, int index);

// Writes what the handle was opened by (a path, or "dev:inode"); the empty string for nil.
void mn_lua_netns_label(lua_State *L, int index, char *label, size_t size);

#endif
