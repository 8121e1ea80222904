// SPDX-License-Identifier: Apache-2.0
// request.status, request:body() and so on: a request, from its arguments to what has come in.
#include "lua_http_request.h"

#include "lua_args.h"
#include "lua_pick.h"
#include "nearest.h"

#include <limits.h>
#include <string.h>

#define OP "request"
#define META "mncni.http.request"
#define KEYS_UNTIL_CERT "url", "method", "headers", "body", "ca", "ca_file", "cert", "key"
#define MAX_LINE 65536	      // bytes of one header that is sent
#define MAX_TIME 2147483647LL // ms

enum { MULTI = 1, PICKER, HEADERS, ERROR, PROTOBUF, VALUES = PROTOBUF }; // user values of a request

static struct mn_http_request *check_request(lua_State *L)
{
	return luaL_checkudata(L, 1, META);
}

// The string argument of that name, which stays in the table; NULL when it is not given.
static const char *text_argument(lua_State *L, const char *key, size_t *len)
{
	const char *text = NULL;
	size_t size = 0;

	if (lua_getfield(L, 2, key) != LUA_TNIL) {
		if (lua_type(L, -1) != LUA_TSTRING)
			mn_lua_bad_argument(L, OP, "%s is a string, not a %s", key, luaL_typename(L, -1));
		text = lua_tolstring(L, -1, &size);
		if (!len && strlen(text) != size)
			mn_lua_bad_argument(L, OP, "%s has a zero byte in it", key);
	}
	if (len)
		*len = size;
	lua_pop(L, 1);
	return text;
}

static struct mn_http_text bytes_argument(lua_State *L, const char *key)
{
	struct mn_http_text text;

	text.data = text_argument(L, key, &text.len);
	return text;
}

static struct mn_http_text pem_argument(lua_State *L, const char *key)
{
	struct mn_http_text text = bytes_argument(L, key);

	if (text.data && !strstr(text.data, "-----BEGIN "))
		mn_lua_bad_argument(
			L, OP, "%s is the text of a PEM file (-----BEGIN ...), which this is not", key);
	return text;
}

static lua_Integer number_argument(
	lua_State *L, const char *key, lua_Integer otherwise, lua_Integer min, lua_Integer max)
{
	lua_Integer value = otherwise;
	int is_integer;

	if (lua_getfield(L, 2, key) != LUA_TNIL) {
		value = lua_tointegerx(L, -1, &is_integer);
		if (!is_integer || value < min || value > max)
			mn_lua_bad_argument(L, OP,
				"%s is an integer from " LUA_INTEGER_FMT " to " LUA_INTEGER_FMT, key, min,
				max);
	}
	lua_pop(L, 1);
	return value;
}

static bool flag_argument(lua_State *L, const char *key)
{
	bool value;

	lua_getfield(L, 2, key);
	if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
		mn_lua_bad_argument(L, OP, "%s is true or false, not a %s", key, luaL_typename(L, -1));
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

static const char *method_argument(lua_State *L)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE", NULL };
	const char *method = text_argument(L, "method", NULL);

	for (const char *const *known = methods; *known; known++)
		if (!method || strcmp(method, *known) == 0)
			return *known;
	mn_lua_bad_argument(L, OP, "method is GET, POST, PUT, PATCH or DELETE, not \"%.32s\"", method);
}

// Whether a name is a token (RFC 9110 section 5.6.2).
static bool is_token(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
			    name[i]) ||
			!name[i])
			return false;
	return len > 0;
}

// Pushes the line for the name and value on top of the stack, as curl_slist takes them.
static const char *push_line(lua_State *L)
{
	size_t name_len, len;
	const char *name, *value;

	if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
		mn_lua_bad_argument(L, OP, "headers is a table of strings by name");
	name = lua_tolstring(L, -2, &name_len);
	value = lua_tolstring(L, -1, &len);
	if (!is_token(name, name_len))
		mn_lua_bad_argument(L, OP, "headers: \"%.64s\" is not a name for a header", name);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' && value[i] != '\t')
			mn_lua_bad_argument(L, OP,
				"headers: the value of %.64s has byte 0x%02x in it (a line break?)", name,
				(unsigned int)(unsigned char)value[i]);
	if (len > MAX_LINE)
		mn_lua_bad_argument(
			L, OP, "headers: the value of %.64s is larger than %d bytes", name, MAX_LINE);
	return len > 0 ? lua_pushfstring(L, "%s: %s", name, value) : lua_pushfstring(L, "%s;", name);
}

// Pushes a table that keeps lines alive, and the array of them.
static const char *const *push_headers(lua_State *L)
{
	const char **lines;
	size_t count = 0;

	if (lua_getfield(L, 2, "headers") == LUA_TNIL) {
		lua_newtable(L);
		lua_replace(L, -2);
	}
	if (lua_type(L, -1) != LUA_TTABLE)
		mn_lua_bad_argument(
			L, OP, "headers is a table of strings by name, not a %s", luaL_typename(L, -1));
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		count++;
	lua_newtable(L);
	lines = lua_newuserdatauv(L, (count + 1) * sizeof(*lines), 0);
	count = 0;
	for (lua_pushnil(L); lua_next(L, -4); lua_pop(L, 1)) {
		lines[count++] = push_line(L);
		lua_rawseti(L, -5, (lua_Integer)count);
	}
	lines[count] = NULL;
	return lines;
}

static void check_pairs(lua_State *L, const struct mn_http_options *options)
{
	if (!options->url)
		mn_lua_bad_argument(L, OP, "url is missing");
	if (options->ca.data && options->ca_file)
		mn_lua_bad_argument(L, OP, "ca and ca_file are two ways to say the same: give one");
	if (!options->cert.data != !options->key.data)
		mn_lua_bad_argument(L, OP, "cert and key come together, and %s is missing",
			options->cert.data ? "key" : "cert");
}

static struct mn_pick *picker_argument(lua_State *L)
{
	struct mn_pick *pick = NULL;

	if (lua_getfield(L, 2, "pick") != LUA_TNIL) {
		pick = luaL_testudata(L, -1, MN_PICKER_META);
		if (!pick)
			mn_lua_bad_argument(L, OP, "pick is a picker, not a %s", luaL_typename(L, -1));
		if (pick->busy)
			mn_lua_bad_argument(
				L, OP, "pick is the picker of another request: make one for each");
	}
	return pick;
}

int mn_lua_http_start(lua_State *L, struct mn_http *http)
{
	static const char *const keys[] = { KEYS_UNTIL_CERT, "insecure", "server_name", "proxy",
		"connect_timeout", "timeout", "max_body", "gzip", "pick", "protobuf", NULL };
	struct mn_http_options options = { 0 };
	struct mn_http_request *request;
	struct mn_error err;

	mn_lua_check_keys(L, 2, OP, keys);
	options.url = text_argument(L, "url", NULL);
	options.method = method_argument(L);
	options.body = bytes_argument(L, "body");
	options.ca = pem_argument(L, "ca");
	options.ca_file = text_argument(L, "ca_file", NULL);
	options.cert = pem_argument(L, "cert");
	options.key = pem_argument(L, "key");
	options.insecure = flag_argument(L, "insecure");
	options.server_name = text_argument(L, "server_name", NULL);
	options.proxy = text_argument(L, "proxy", NULL);
	options.connect_timeout =
		(long)number_argument(L, "connect_timeout", MN_HTTP_CONNECT_TIMEOUT, 1, MAX_TIME);
	options.timeout = (long)number_argument(L, "timeout", 0, 0, MAX_TIME);
	options.max_body = (size_t)number_argument(L, "max_body", MN_HTTP_MAX_BODY, 0, (lua_Integer)1 << 40);
	options.gzip = flag_argument(L, "gzip");
	check_pairs(L, &options);
	options.pick = picker_argument(L);
	if (lua_getfield(L, 2, "protobuf") != LUA_TNIL) {
		options.protobuf = luaL_testudata(L, -1, MN_PROTOBUF_META);
		if (!options.protobuf)
			mn_lua_bad_argument(L, OP, "protobuf is what http.protobuf returns, not a %s",
				luaL_typename(L, -1));
	}
	options.headers = push_headers(L);
	request = lua_newuserdatauv(L, sizeof(*request), VALUES);
	memset(request, 0, sizeof(*request));
	luaL_setmetatable(L, META);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, MULTI);
	lua_pushvalue(L, 3);
	lua_setiuservalue(L, -2, PICKER);
	lua_pushvalue(L, 4);
	lua_setiuservalue(L, -2, PROTOBUF);
	if (mn_http_start(http, request, &options, &err) < 0)
		mn_lua_raise(L, &err);
	return 1;
}

// Adds a header to the table on top; a name that comes again is joined with a comma (RFC 9110 section 5.3).
static void add_header(lua_State *L, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value, *end = line + len;
	luaL_Buffer name;

	if (!colon)
		return;
	luaL_buffinit(L, &name);
	for (const char *c = line; c < colon; c++)
		luaL_addchar(&name, *c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
	luaL_pushresult(&name);
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		continue;
	while (end > value && (unsigned char)end[-1] <= ' ')
		end--;
	lua_pushvalue(L, -1);
	if (lua_rawget(L, -3) == LUA_TNIL) {
		lua_pop(L, 1);
	} else {
		lua_pushliteral(L, ", ");
		lua_concat(L, 2);
		lua_pushlstring(L, value, (size_t)(end - value));
		lua_concat(L, 2);
		lua_rawset(L, -3);
		return;
	}
	lua_pushlstring(L, value, (size_t)(end - value));
	lua_rawset(L, -3);
}

static int push_headers_of(lua_State *L, const struct mn_http_request *request)
{
	const char *at = request->received.data, *end;

	if (lua_getiuservalue(L, 1, HEADERS) != LUA_TNIL || !request->status)
		return 1;
	lua_newtable(L);
	for (end = at + request->received.len; at < end;) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		stop = stop ? stop + 1 : end;
		add_header(L, at, (size_t)(stop - at));
		at = stop;
	}
	lua_pushvalue(L, -1);
	lua_setiuservalue(L, 1, HEADERS);
	return 1;
}

static int push_error_of(lua_State *L, const struct mn_http_request *request)
{
	if (lua_getiuservalue(L, 1, ERROR) != LUA_TNIL || !request->failure || !request->done)
		return 1;
	mn_lua_push_error(L, &request->err);
	lua_pushstring(L, request->failure);
	lua_setfield(L, -2, "name");
	lua_pushvalue(L, -1);
	lua_setiuservalue(L, 1, ERROR);
	return 1;
}

// request:body() -> what has come of a body that is kept, all of it when the request is done.
static int request_body(lua_State *L)
{
	const struct mn_http_request *request = check_request(L);

	if (mn_http_is_picked(request))
		mn_lua_bad_argument(L, "body", "the picker reads this body: use take()");
	lua_pushlstring(L, request->body.len > 0 ? request->body.data : "", request->body.len);
	return 1;
}

// request:take() -> list of the documents picked since the last time, bytes of the body that came in all.
static int request_take(lua_State *L)
{
	struct mn_http_request *request = check_request(L);
	lua_Integer count = 0;
	const char *text;
	size_t at = 0, len;

	lua_newtable(L);
	if (mn_http_is_picked(request)) {
		while (mn_http_next_document(request, &at, &text, &len)) {
			lua_pushlstring(L, text, len);
			lua_rawseti(L, -2, ++count);
		}
		mn_http_taken(request);
	}
	lua_pushinteger(L, (lua_Integer)request->bytes);
	return 2;
}

static int request_close(lua_State *L)
{
	mn_http_request_close(check_request(L));
	return 0;
}

static int request_tostring(lua_State *L)
{
	const struct mn_http_request *request = check_request(L);

	lua_pushfstring(L, "request %s (%s)", request->target,
		request->failure	? request->failure
			: request->done ? "done"
					: "running");
	return 1;
}

enum field { STATUS, RESPONSE_HEADERS, DONE, FAILURE, BYTES, STARTED, LAST };

static const char *const fields[] = { "status", "headers", "done", "error", "bytes", "started", "last",
	NULL };

static int push_field(lua_State *L, const struct mn_http_request *request, enum field field)
{
	switch (field) {
	case STATUS:
		if (request->status)
			lua_pushinteger(L, request->status);
		else
			lua_pushnil(L);
		return 1;
	case RESPONSE_HEADERS:
		return push_headers_of(L, request);
	case DONE:
		lua_pushboolean(L, request->done);
		return 1;
	case FAILURE:
		return push_error_of(L, request);
	case BYTES:
		lua_pushinteger(L, (lua_Integer)request->bytes);
		return 1;
	case STARTED:
		lua_pushinteger(L, request->started);
		return 1;
	default:
		lua_pushinteger(L, request->last);
		return 1;
	}
}

// A field, or a method (upvalue 1). A name that is neither is an error.
static int request_index(lua_State *L)
{
	const struct mn_http_request *request = check_request(L);
	const char *name = luaL_checkstring(L, 2), *near;

	for (int i = 0; fields[i]; i++)
		if (strcmp(fields[i], name) == 0)
			return push_field(L, request, (enum field)i);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	near = mn_nearest(name, fields);
	mn_lua_bad_argument(L, OP, "a request has no \"%.64s\"%s%s%s", name, near ? "; did you mean \"" : "",
		near ? near : "", near ? "\"?" : "");
}

void mn_lua_http_register(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "body", request_body },
		{ "take", request_take },
		{ "close", request_close },
		{ NULL, NULL },
	};
	static const luaL_Reg meta[] = {
		{ "__gc", request_close },
		{ "__close", request_close },
		{ "__tostring", request_tostring },
		{ NULL, NULL },
	};

	if (luaL_newmetatable(L, META)) {
		luaL_setfuncs(L, meta, 0);
		luaL_newlib(L, methods);
		lua_pushcclosure(L, request_index, 1);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
}
