// SPDX-License-Identifier: Apache-2.0
// Arguments of the address store's functions: each reads key from the table at index of the function `what`,
// and raises what is wrong with it.
#ifndef MNCNI_LUA_STORE_H
#define MNCNI_LUA_STORE_H

#include "lua_core.h"
#include "store.h"

// Who an address is for; the strings live as long as the table.
struct mn_attachment {
	const char *container;
	const char *ifname;
};

// The string lives as long as the table. NULL where it may be missing and is.
const char *mn_store_get_string(lua_State *L, int index, const char *what, const char *key, bool needed);

// An integer from 0 to INT_MAX.
lua_Integer mn_store_get_integer(
	lua_State *L, int index, const char *what, const char *key, lua_Integer fallback);

// An address as text, or any value that prints as one; family 0 where it may be missing and is.
struct mn_address mn_store_get_address(
	lua_State *L, int index, const char *what, const char *key, bool needed);

// Reads { ranges = { { first=, last=, gateway= }, ... }, index = n }; pushes the memory that the set lives
// in.
void mn_store_get_set(lua_State *L, int index, const char *what, struct mn_range_set *set);

// Reads { container =, ifname = }.
struct mn_attachment mn_store_get_attachment(lua_State *L, int index, const char *what);

// Pushes the address as text.
void mn_store_push_address(lua_State *L, const struct mn_address *address);

#endif
