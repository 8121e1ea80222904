// SPDX-License-Identifier: Apache-2.0
// Netlink sockets as Lua handles.
#ifndef MNCNI_LUA_NL_H
#define MNCNI_LUA_NL_H

#include "codec.h"

#define MN_SOCKET_META "mncni.socket"
#define MN_DUMP_META "mncni.dump"
#define MN_BUFFER_META "mncni.buffer"

struct mn_socket {
	struct mn_nl nl;
	char netns[96]; // what errors call the namespace
};

// The open socket at index; raises when it is none or closed.
struct mn_socket *mn_lua_check_socket(lua_State *L, int index);

// The object by the name at index, which belongs to the protocol (-1: any); raises naming the nearest.
const struct mn_object *mn_lua_check_object(lua_State *L, int index, int protocol);

// Fills err's parts that say what was attempted and pushes it as an error object; index (0: none) is the
// position in a batch.
void mn_socket_push_error(lua_State *L, const struct mn_socket *sock, const struct mn_object *object,
	enum mn_verb verb, int args, int index, struct mn_error *err);

// The same, raised.
int mn_socket_raise(lua_State *L, const struct mn_socket *sock, const struct mn_object *object,
	enum mn_verb verb, int args, int index, struct mn_error *err) __attribute__((noreturn));

// sock:batch{...} and the changing verbs of sock:request().
int mn_socket_change(
	lua_State *L, struct mn_socket *sock, enum mn_verb verb, const struct mn_object *object, int args);
int mn_socket_batch(lua_State *L);

// sock:dump(object, filter)
int mn_socket_dump(lua_State *L);

// Pushes the first object that the filter at args matches, or nil; for what the kernel cannot get singly.
int mn_socket_first(lua_State *L, int socket, const struct mn_object *object, int args);

// Pushes one object or nil. The socket is at stack index 1.
int mn_socket_get(lua_State *L, struct mn_socket *sock, const struct mn_object *object, int args, int keys);

// Pushes a list of { family, table, name, elem, ... } for the elements in all messages of reply whose number
// is seq; where the set (a table at index `set`) has intervals, their ends are joined.
void mn_nft_elements(
	lua_State *L, struct mn_socket *sock, const struct mn_buffer *reply, uint32_t seq, int set);

// Pushes the element that holds args.elem, or nil.
int mn_nft_get_element(lua_State *L, struct mn_socket *sock, int args);

void mn_open_dump(lua_State *L);
int mn_open_socket(lua_State *L);
int mn_open_encode(lua_State *L);
int mn_open_decode(lua_State *L);
int mn_open_schema(lua_State *L);
int mn_open_monitor(lua_State *L);

#endif
