// SPDX-License-Identifier: Apache-2.0
// What the encoder says of arguments that it cannot encode: what was asked for, and which key is wrong.
#include "codec.h"

#include "lua_core.h"
#include "nearest.h"

#include <stdarg.h>
#include <stdio.h>

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

static void write_path(struct mn_encoder *e, const char *key, char *text, size_t size)
{
	int len = 0;

	*text = '\0';
	for (int i = 0; i < e->depth && (size_t)len < size; i++)
		len += snprintf(text + len, size - (size_t)len, "%s.", e->path[i]);
	if ((size_t)len < size)
		snprintf(text + len, size - (size_t)len, "%s", key);
}

int mn_encode_refuse(struct mn_encoder *e, const struct mn_row *row, const char *message, ...)
{
	struct mn_error err = { 0 };
	char path[96];
	va_list args;

	snprintf(err.op, sizeof(err.op), "%s", mn_verb_name(e->verb));
	mn_describe(e->L, e->object, e->args, err.object, sizeof(err.object));
	if (e->netns)
		snprintf(err.netns, sizeof(err.netns), "%s", e->netns);
	va_start(args, message);
	vsnprintf(err.message, sizeof(err.message), message, args);
	va_end(args);
	if (row && row->key) {
		write_path(e, row->key, path, sizeof(path));
		snprintf(err.attribute, sizeof(err.attribute), "%s (%s)", path, row->name);
	}
	mn_lua_raise(e->L, &err);
}

static bool offer_key(void *search, const struct mn_row *row, const char *key)
{
	(void)row;
	mn_nearest_offer(search, key);
	return false;
}

void mn_encode_refuse_key(
	struct mn_encoder *e, const struct mn_table *table, const char *kind, const char *key)
{
	struct mn_nearest search;
	char path[128];

	mn_nearest_start(&search, key);
	mn_each_key(table, kind, offer_key, &search);
	write_path(e, key, path, sizeof(path));
	if (search.found)
		mn_encode_refuse(
			e, NULL, "unknown key \"%s\", the nearest known one is \"%s\"", path, search.found);
	mn_encode_refuse(e, NULL, "unknown key \"%s\"", path);
}
