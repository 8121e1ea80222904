// SPDX-License-Identifier: Apache-2.0
// core.picker{...}: prunes JSON while it comes in.
#include "lua_pick.h"

#include <string.h>

#include "lua_args.h"

#define OP "picker"
#define MAX_NAMES 16 // levels of a tree of members

static void no_memory(lua_State *L)
{
	luaL_error(L, "not enough memory");
}

static struct mn_pick_node *new_node(lua_State *L, struct mn_pick_node *parent, const char *name, size_t len)
{
	struct mn_pick_node *node = mn_pick_node_new(parent, name, len);

	if (!node)
		no_memory(L);
	return node;
}

// Fills a node from what stands at the top of the stack: true, or a table of members.
static void read_members(lua_State *L, struct mn_pick_node *node, const char *what, int depth)
{
	luaL_checkstack(L, 4, OP);
	if (lua_type(L, -1) == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
		node->what = MN_PICK_ALL;
		return;
	}
	if (lua_type(L, -1) != LUA_TTABLE)
		mn_lua_bad_argument(L, OP, "%s%s%.64s is true or a table of members by name, not %s", what,
			node->len ? ": " : "", node->name, luaL_typename(L, -1));
	if (depth == MAX_NAMES)
		mn_lua_bad_argument(L, OP, "%s names members more than %d levels deep", what, MAX_NAMES);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		size_t len;
		const char *name;

		if (lua_type(L, -2) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP,
				"%s is a table of members by name ({ name = true }), not a list", what);
		name = lua_tolstring(L, -2, &len);
		read_members(L, new_node(L, node, name, len), what, depth + 1);
	}
}

// Adds the way to the documents, a list of names at the top of the stack, to the tree of the whole text.
static void read_items(lua_State *L, struct mn_pick_node *node)
{
	lua_Integer count;
	bool each;

	if (lua_type(L, -1) != LUA_TTABLE)
		mn_lua_bad_argument(L, OP, "items is a list of names, with each = true for an array, not %s",
			luaL_typename(L, -1));
	each = lua_getfield(L, -1, "each") != LUA_TNIL && lua_toboolean(L, -1);
	lua_pop(L, 1);
	count = luaL_len(L, -1);
	if (count == 0 && !each)
		mn_lua_bad_argument(L, OP, "items names no member: leave it out for whole documents");
	for (lua_Integer i = 1; i <= count; i++) {
		struct mn_pick_node *child;
		size_t len;
		const char *name;

		if (lua_geti(L, -1, i) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP, "items is a list of names, and [%d] is a %s", (int)i,
				luaL_typename(L, -1));
		name = lua_tolstring(L, -1, &len);
		child = mn_pick_node_find(node, name, len);
		if (node->what == MN_PICK_ALL || (child && i == count))
			mn_lua_bad_argument(L, OP, "also keeps what items goes through (\"%.64s\")", name);
		if (!child) {
			child = new_node(L, node, name, len);
			child->quiet = true;
		}
		node = child;
		lua_pop(L, 1);
	}
	node->what = each ? MN_PICK_EACH : MN_PICK_ONE;
}

static void read_tree(lua_State *L, struct mn_pick *pick)
{
	pick->keep = new_node(L, NULL, "", 0);
	if (lua_getfield(L, 1, "keep") == LUA_TNIL)
		pick->keep->what = MN_PICK_ALL;
	else
		read_members(L, pick->keep, "keep", 0);
	if (lua_getfield(L, 1, "items") == LUA_TNIL) {
		if (lua_getfield(L, 1, "also") != LUA_TNIL)
			mn_lua_bad_argument(L, OP, "also is of the text around items, which are not given");
		return;
	}
	pick->root = new_node(L, NULL, "", 0);
	if (lua_getfield(L, 1, "also") == LUA_TNIL)
		pick->root->quiet = true;
	else
		read_members(L, pick->root, "also", 0);
	lua_pop(L, 1);
	read_items(L, pick->root);
}

// picker{ items =, keep =, also =, max = } -> picker; see lua/types.
static int picker_new(lua_State *L)
{
	static const char *const keys[] = { "items", "keep", "also", "max", NULL };
	lua_Integer max = MN_PICK_MAX;
	struct mn_pick *pick;

	mn_lua_check_keys(L, 1, OP, keys);
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "max") != LUA_TNIL) {
		int is_integer;

		max = lua_tointegerx(L, -1, &is_integer);
		if (!is_integer || max < 64 || max > (lua_Integer)1 << 30)
			mn_lua_bad_argument(L, OP, "max is a number of bytes from 64 to %d", 1 << 30);
	}
	pick = lua_newuserdatauv(L, sizeof(*pick), 0);
	memset(pick, 0, sizeof(*pick));
	luaL_setmetatable(L, MN_PICKER_META);
	pick->max = (size_t)max;
	read_tree(L, pick);
	lua_settop(L, 3);
	mn_pick_start(pick);
	return 1;
}

static struct mn_pick *check_picker(lua_State *L)
{
	struct mn_pick *pick = luaL_checkudata(L, 1, MN_PICKER_META);

	if (pick->busy)
		mn_lua_bad_argument(
			L, OP, "a request reads with this picker: ask the request, or make another picker");
	return pick;
}

static int raise_at(lua_State *L, const struct mn_pick *pick, const struct mn_error *err)
{
	mn_lua_push_error(L, err);
	lua_pushinteger(L, (lua_Integer)pick->offset);
	lua_setfield(L, -2, "offset");
	return lua_error(L);
}

static void push_document(lua_State *L, const struct mn_pick *pick)
{
	const struct mn_bytes *document = mn_pick_document(pick);

	lua_pushlstring(L, document->data, document->len);
	lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

// picker:feed(text) -> list of the documents that this completes.
static int picker_feed(lua_State *L)
{
	struct mn_pick *pick = check_picker(L);
	struct mn_error err;
	size_t len;
	const char *text = luaL_checklstring(L, 2, &len);
	int ret;

	lua_settop(L, 2);
	lua_newtable(L);
	while ((ret = mn_pick_feed(pick, &text, &len, &err)) > 0) {
		pick->failed = true; // should the next line raise, the rest of the text is lost
		push_document(L, pick);
		pick->failed = false;
	}
	return ret < 0 ? raise_at(L, pick, &err) : 1;
}

// picker:finish() -> list of the documents that the end of the text completes. Raises when something is
// missing. The picker is ready for another text then.
static int picker_finish(lua_State *L)
{
	struct mn_pick *pick = check_picker(L);
	struct mn_error err;
	int ret;

	lua_settop(L, 1);
	lua_newtable(L);
	ret = mn_pick_finish(pick, &err);
	if (ret < 0)
		return raise_at(L, pick, &err);
	if (ret > 0)
		push_document(L, pick);
	mn_pick_start(pick);
	return 1;
}

// picker:reset() forgets what it has read.
static int picker_reset(lua_State *L)
{
	mn_pick_start(check_picker(L));
	return 0;
}

static int picker_gc(lua_State *L)
{
	mn_pick_free(luaL_checkudata(L, 1, MN_PICKER_META));
	return 0;
}

int mn_open_picker(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "feed", picker_feed },
		{ "finish", picker_finish },
		{ "reset", picker_reset },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, MN_PICKER_META)) {
		lua_pushcfunction(L, picker_gc);
		lua_setfield(L, -2, "__gc");
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	lua_pushcfunction(L, picker_new);
	return 1;
}
