// SPDX-License-Identifier: Apache-2.0
// mncni.http: HTTP requests side by side, and one place to wait for all of them.
#include "lua_http.h"

#include "http.h"
#include "lua_args.h"
#include "lua_http_request.h"

#include <limits.h>
#include <string.h>

#define META "mncni.http"

static struct mn_http *check_open(lua_State *L)
{
	struct mn_http *http = luaL_checkudata(L, 1, META);

	if (!http->curl)
		mn_lua_bad_argument(L, "http", "the handle is closed");
	return http;
}

// multi:request{...} starts a request.
static int multi_request(lua_State *L)
{
	struct mn_http *http = check_open(L);

	lua_settop(L, 2);
	return mn_lua_http_start(L, http);
}

// multi:poll([descriptors [, milliseconds]]) -> list of the descriptors that can be read. Works on the
// requests meanwhile, and returns early when one has got further.
static int multi_poll(lua_State *L)
{
	struct mn_http *http = check_open(L);
	lua_Number timeout = luaL_optnumber(L, 3, -1);
	struct curl_waitfd *fds;
	lua_Integer count = 0, ready = 0;
	struct mn_error err;

	lua_settop(L, 2);
	if (!lua_isnil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		count = luaL_len(L, 2);
	}
	if (count < 0 || count > INT_MAX)
		mn_lua_bad_argument(L, "poll", "too many descriptors");
	fds = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof(*fds), 0);
	for (lua_Integer i = 0; i < count; i++) {
		int is_integer;
		lua_Integer fd;

		lua_geti(L, 2, i + 1);
		fd = lua_tointegerx(L, -1, &is_integer);
		if (!is_integer || fd < 0 || fd > INT_MAX)
			mn_lua_bad_argument(L, "poll", "[%d] is no descriptor but a %s", (int)i + 1,
				luaL_typename(L, -1));
		fds[i] = (struct curl_waitfd){ .fd = (int)fd, .events = CURL_WAIT_POLLIN };
		lua_pop(L, 1);
	}
	lua_createtable(L, (int)count, 0);
	if (mn_http_poll(http, fds, (unsigned int)count,
		    timeout < 0 || timeout > INT_MAX ? INT_MAX : (int)timeout, &err) < 0)
		mn_lua_raise(L, &err);
	for (lua_Integer i = 0; i < count; i++) {
		if (fds[i].revents) {
			lua_pushinteger(L, fds[i].fd);
			lua_rawseti(L, -2, ++ready);
		}
	}
	return 1;
}

static int multi_close(lua_State *L)
{
	mn_http_close(luaL_checkudata(L, 1, META));
	return 0;
}

static int multi_tostring(lua_State *L)
{
	const struct mn_http *http = luaL_checkudata(L, 1, META);

	lua_pushfstring(L, "HTTP requests%s", http->curl ? "" : " (closed)");
	return 1;
}

// http.multi() -> a handle for requests that run side by side and share connections.
static int multi_open(lua_State *L)
{
	struct mn_http *http = lua_newuserdatauv(L, sizeof(*http), 0);
	struct mn_error err;

	memset(http, 0, sizeof(*http));
	luaL_setmetatable(L, META);
	if (mn_http_open(http, &err) < 0)
		mn_lua_raise(L, &err);
	return 1;
}

int luaopen_mncni_http(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "request", multi_request },
		{ "poll", multi_poll },
		{ "close", multi_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", multi_close },
		{ "__close", multi_close },
		{ "__tostring", multi_tostring },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "multi", multi_open },
		{ "protobuf", mn_lua_http_protobuf },
		{ NULL, NULL },
	};

	lua_getglobal(L, "require"); // errors and pickers are the core's
	lua_pushliteral(L, "mncni.core");
	lua_call(L, 1, 0);
	mn_lua_http_register(L);
	mn_lua_http_protobuf_register(L);
	if (luaL_newmetatable(L, META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
