// SPDX-License-Identifier: Apache-2.0
// core.encode, core.decode and core.schema: the codec without a socket.
#define _GNU_SOURCE
#include "lua_nl.h"

#include "lua_args.h"
#include "lua_core.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

void mn_describe(lua_State *L, const struct mn_object *object, int args, char *text, size_t size)
{
	int len = snprintf(text, size, "%s", object->name);
	bool first = true;

	for (size_t i = 0; i < 4 && object->ident[i] && lua_istable(L, args); i++) {
		lua_getfield(L, args, object->ident[i]);
		if (!lua_isnil(L, -1) && !lua_istable(L, -1) && (size_t)len < size) {
			const char *value = luaL_tolstring(L, -1, NULL);

			if (object->protocol == NETLINK_NETFILTER) // nft's way: family, table and name
				len += snprintf(
					text + len, size - (size_t)len, "%s%s", first ? " \"" : " ", value);
			else
				len += first ? snprintf(text + len, size - (size_t)len, " \"%s\"", value)
					     : snprintf(text + len, size - (size_t)len, " %s %s",
						       object->ident[i], value);
			first = false;
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
	if (!first && object->protocol == NETLINK_NETFILTER && (size_t)len < size)
		snprintf(text + len, size - (size_t)len, "\"");
}

static int buffer_free(lua_State *L)
{
	mn_buffer_free(luaL_checkudata(L, 1, MN_BUFFER_META));
	return 0;
}

// core.encode(verb, object, args) returns the bytes of the request; with the verb "new", of the kernel's
// message about such an object. Links are given by index: there is no socket to ask for names.
static int codec_encode(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	int verb = mn_verb_find(name);
	struct mn_encoder e = { .L = L, .object = mn_lua_check_object(L, 2, -1), .args = 3 };
	struct mn_buffer *buffer;

	if (verb < 0)
		mn_lua_bad_argument(L, "encode", "there is no verb \"%s\"", name);
	lua_settop(L, 3);
	luaL_checktype(L, 3, LUA_TTABLE);
	buffer = lua_newuserdatauv(L, sizeof(*buffer), 0);
	memset(buffer, 0, sizeof(*buffer));
	luaL_setmetatable(L, MN_BUFFER_META);
	e.verb = (enum mn_verb)verb;
	e.out = buffer;
	mn_encode(&e);
	if (e.has_later) {
		e.later = true;
		mn_encode(&e);
	}
	lua_pushlstring(L, buffer->data, buffer->len);
	return 1;
}

static const struct mn_object *object_of_request(int protocol, const struct nlmsghdr *nlh)
{
	const uint8_t *family = mnl_nlmsg_get_payload(nlh);
	const struct mn_object *object;

	for (size_t i = 0; (object = mn_object_at(i)); i++) {
		if (object->protocol == protocol && object->type_get == nlh->nlmsg_type &&
			(!object->family || (nlh->nlmsg_len > NLMSG_HDRLEN && *family == object->family)))
			return object;
	}
	return NULL;
}

// Pushes a table about one message.
static void push_message(lua_State *L, const struct nlmsghdr *nlh)
{
	// The subsystem is in the high byte of netfilter's types; rtnetlink's are small.
	int protocol = nlh->nlmsg_type > 0xff ? NETLINK_NETFILTER : NETLINK_ROUTE;
	struct mn_decoder d = { .L = L };
	const struct mn_object *object = NULL;
	const char *event;
	bool gone = false;

	lua_createtable(L, 0, 7);
	lua_pushinteger(L, nlh->nlmsg_type);
	lua_setfield(L, -2, "type");
	lua_pushinteger(L, nlh->nlmsg_flags);
	lua_setfield(L, -2, "flags");
	lua_pushinteger(L, nlh->nlmsg_seq);
	lua_setfield(L, -2, "seq");
	lua_pushinteger(L, nlh->nlmsg_pid);
	lua_setfield(L, -2, "portid");
	if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
		object = mn_object_of(protocol, nlh, &gone);
	event = gone ? "del" : "new";
	if (!object && nlh->nlmsg_type >= NLMSG_MIN_TYPE) {
		object = object_of_request(protocol, nlh);
		event = "get";
	}
	if (!object)
		return;
	lua_pushstring(L, object->name);
	lua_setfield(L, -2, "object");
	lua_pushstring(L, event);
	lua_setfield(L, -2, "event");
	mn_decode(&d, object, nlh);
	lua_setfield(L, -2, "value");
}

// core.decode(bytes) returns a list of { type, flags, seq, portid, object, event = "new"|"del"|"get", value
// }; of messages that are about nothing known only the first four. Half a message at the end is left out.
static int codec_decode(lua_State *L)
{
	size_t size;
	const char *bytes = luaL_checklstring(L, 1, &size);
	const struct nlmsghdr *nlh;
	struct mn_buffer *buffer;
	lua_Integer n = 0;
	int len = (int)size;

	if (size > INT32_MAX)
		mn_lua_bad_argument(L, "decode", "too many bytes");
	lua_settop(L, 1);
	// A Lua string is not aligned as messages have to be.
	buffer = lua_newuserdatauv(L, sizeof(*buffer), 0);
	memset(buffer, 0, sizeof(*buffer));
	luaL_setmetatable(L, MN_BUFFER_META);
	lua_newtable(L);
	if (mn_buffer_reserve(buffer, size) < 0)
		return luaL_error(L, "not enough memory");
	memcpy(buffer->data, bytes, size);
	for (nlh = (const struct nlmsghdr *)buffer->data; mn_nl_fits(nlh, len);
		nlh = mnl_nlmsg_next(nlh, &len)) {
		push_message(L, nlh);
		lua_rawseti(L, 3, ++n);
	}
	return 1;
}

int mn_open_encode(lua_State *L)
{
	if (luaL_newmetatable(L, MN_BUFFER_META)) {
		lua_pushcfunction(L, buffer_free);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, codec_encode);
	return 1;
}

int mn_open_decode(lua_State *L)
{
	lua_pushcfunction(L, codec_decode);
	return 1;
}
