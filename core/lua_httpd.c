// SPDX-License-Identifier: Apache-2.0
// mncni.httpd: a web server that a Lua function answers for.
#include "lua_http.h"

#include "httpd.h"
#include "lua_args.h"

#include <string.h>

#define META "mncni.httpd"
#define OP "httpd"

struct server {
	struct mn_httpd httpd;
	bool running; // the handler is being called: it must not be closed now
	bool closing;
};

// What the handler is to answer: light userdata of one call.
struct question {
	struct mn_httpd_request *request;
	const char *method, *path;
};

static struct server *check_server(lua_State *L)
{
	struct server *server = luaL_checkudata(L, 1, META);

	if (!server->httpd.daemon || server->closing)
		mn_lua_bad_argument(L, OP, "the handle is closed");
	return server;
}

static bool is_line(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	return len > 0;
}

// (handler, question): asks the handler and gives its answer.
static int ask(lua_State *L)
{
	const struct question *question = lua_touserdata(L, 2);
	const char *type, *body;
	size_t type_len, len;
	lua_Integer status;
	int is_integer;

	lua_settop(L, 1);
	lua_pushstring(L, question->method);
	lua_pushstring(L, question->path);
	lua_call(L, 2, 3);
	status = lua_tointegerx(L, 1, &is_integer);
	if (!is_integer || status < 200 || status > 599)
		mn_lua_bad_argument(L, OP, "a handler returns a status from 200 to 599, not %s",
			luaL_tolstring(L, 1, NULL));
	type = luaL_optlstring(L, 2, "text/plain; charset=utf-8", &type_len);
	if (!is_line(type, type_len))
		mn_lua_bad_argument(L, OP, "a content type is one line of text");
	body = luaL_optlstring(L, 3, "", &len);
	if (!mn_httpd_reply(question->request, (unsigned int)status, type, body, len))
		return luaL_error(L, "not enough memory");
	return 0;
}

// The handler stands at 2; the error of the last that failed goes to 3.
static void answer(void *data, struct mn_httpd_request *request, const char *method, const char *path)
{
	struct question question = { .request = request, .method = method, .path = path };
	lua_State *L = data;

	if (!lua_checkstack(L, 4))
		return;
	lua_pushcfunction(L, ask);
	lua_pushvalue(L, 2);
	lua_pushlightuserdata(L, &question);
	if (lua_pcall(L, 2, 0, 0) != LUA_OK)
		lua_replace(L, 3);
}

static int server_close(lua_State *L)
{
	struct server *server = luaL_checkudata(L, 1, META);

	server->closing = true;
	if (!server->running)
		mn_httpd_close(&server->httpd);
	return 0;
}

// server:run(handler) serves what is there, and returns the number of requests, and what the last handler
// that failed raised.
static int server_run(lua_State *L)
{
	struct server *server = check_server(L);
	struct mn_error err;
	int ret;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_pushnil(L);
	if (server->running)
		mn_lua_bad_argument(L, OP, "it runs already: a handler cannot run it");
	server->running = true;
	ret = mn_httpd_run(&server->httpd, answer, L, &err);
	server->running = false;
	if (server->closing)
		mn_httpd_close(&server->httpd);
	if (ret < 0)
		mn_lua_raise(L, &err);
	lua_pushinteger(L, server->httpd.served);
	lua_insert(L, 3);
	return 2;
}

static int server_fd(lua_State *L)
{
	lua_pushinteger(L, mn_httpd_fd(&check_server(L)->httpd));
	return 1;
}

static int server_port(lua_State *L)
{
	lua_pushinteger(L, check_server(L)->httpd.port);
	return 1;
}

// server:timeout() -> milliseconds until it is to be run although nothing came in, nil for never.
static int server_timeout(lua_State *L)
{
	int64_t timeout = mn_httpd_timeout(&check_server(L)->httpd);

	if (timeout < 0)
		luaL_pushfail(L);
	else
		lua_pushinteger(L, timeout);
	return 1;
}

static int server_tostring(lua_State *L)
{
	const struct server *server = luaL_checkudata(L, 1, META);

	if (server->httpd.daemon)
		lua_pushfstring(L, "HTTP server (port %d)", (int)server->httpd.port);
	else
		lua_pushliteral(L, "HTTP server (closed)");
	return 1;
}

// httpd.listen{ address =, port = } -> server
static int httpd_listen(lua_State *L)
{
	static const char *const keys[] = { "address", "port", NULL };
	lua_Integer port = 0;
	const char *address;
	struct server *server;
	struct mn_error err;
	int is_integer;

	mn_lua_check_keys(L, 1, OP, keys);
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "port") != LUA_TNIL) {
		port = lua_tointegerx(L, 2, &is_integer);
		if (!is_integer || port < 0 || port > UINT16_MAX)
			mn_lua_bad_argument(L, OP, "port is an integer from 0 (any) to 65535");
	}
	if (lua_getfield(L, 1, "address") != LUA_TSTRING)
		mn_lua_bad_argument(
			L, OP, "address is a string like \"127.0.0.1\", not a %s", luaL_typename(L, -1));
	address = lua_tostring(L, -1);
	server = lua_newuserdatauv(L, sizeof(*server), 0);
	memset(server, 0, sizeof(*server));
	luaL_setmetatable(L, META);
	if (mn_httpd_open(&server->httpd, address, (uint16_t)port, &err) < 0)
		mn_lua_raise(L, &err);
	return 1;
}

int luaopen_mncni_httpd(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "run", server_run },
		{ "fd", server_fd },
		{ "port", server_port },
		{ "timeout", server_timeout },
		{ "close", server_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", server_close },
		{ "__close", server_close },
		{ "__tostring", server_tostring },
		{ NULL, NULL },
	};
	static const luaL_Reg functions[] = {
		{ "listen", httpd_listen },
		{ NULL, NULL },
	};

	lua_getglobal(L, "require"); // errors are the core's
	lua_pushliteral(L, "mncni.core");
	lua_call(L, 1, 0);
	if (luaL_newmetatable(L, META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
