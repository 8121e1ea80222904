// SPDX-License-Identifier: Apache-2.0
// Loading modules and policies, calling their functions with JSON, and telling what went wrong.
#define _GNU_SOURCE
#include "error.h"
#include "lua_core.h"
#include "netns.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mn_report_clear(struct mn_report *report)
{
	free(report->msg);
	free(report->details);
	free(report->traceback);
	*report = (struct mn_report){ 0 };
}

// Message handler: notes where the error was raised and leaves it as it is.
static int on_error(lua_State *L)
{
	struct mn_state *state = mn_state_of(L);
	struct mn_report *report = &state->report;

	if (state->expired)
		return 1; // it was noted where that happened
	state->cap = state->limits.memory + MN_REPORT_MEMORY;
	mn_report_clear(report);
	report->quiet = !mn_state_locate(L, report) && lua_type(L, 1) != LUA_TSTRING;
	if (report->quiet)
		report->line = 0;
	luaL_traceback(L, L, NULL, 1);
	report->traceback = strdup(lua_tostring(L, -1));
	lua_settop(L, 1);
	return 1;
}

// What a failed call passes to the function that reads the error.
struct failure {
	struct mn_state *state;
	struct mn_error *err;
	const char *op;
	const char *object;
};

static void copy_field(lua_State *L, const char *key, char *to, size_t size)
{
	lua_pushstring(L, key);
	lua_rawget(L, 2);
	if (lua_type(L, -1) == LUA_TSTRING)
		snprintf(to, size, "%s", lua_tostring(L, -1));
	lua_pop(L, 1);
}

static lua_Integer integer_field(lua_State *L, const char *key, lua_Integer least, lua_Integer most)
{
	lua_Integer value;

	lua_pushstring(L, key);
	lua_rawget(L, 2);
	value = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
	lua_pop(L, 1);
	return value >= least && value <= most ? value : 0;
}

static bool replace_string_field(lua_State *L, const char *key, char **to)
{
	bool found;

	lua_pushstring(L, key);
	found = lua_rawget(L, 2) == LUA_TSTRING;
	if (found) {
		free(*to);
		*to = strdup(lua_tostring(L, -1));
	}
	lua_pop(L, 1);
	return found;
}

// Reads an error object, or any table that looks like one.
static void read_table(lua_State *L, struct failure *failure)
{
	struct mn_report *report = &failure->state->report;
	struct mn_error *err = failure->err;
	lua_Integer line;

	memset(err, 0, sizeof(*err));
	copy_field(L, "op", err->op, sizeof(err->op));
	copy_field(L, "object", err->object, sizeof(err->object));
	copy_field(L, "netns", err->netns, sizeof(err->netns));
	copy_field(L, "message", err->message, sizeof(err->message));
	copy_field(L, "extack", err->extack, sizeof(err->extack));
	copy_field(L, "attribute", err->attribute, sizeof(err->attribute));
	copy_field(L, "file", report->file, sizeof(report->file));
	replace_string_field(L, "details", &report->details);
	if (replace_string_field(L, "traceback", &report->traceback))
		report->quiet = false;
	err->errnum = (int)integer_field(L, "errno", 1, 4095);
	err->code = (int)integer_field(L, "code", 1, 9999);
	line = integer_field(L, "line", 1, INT32_MAX);
	if (line)
		report->line = (int)line;
	if (!report->line)
		*report->file = '\0';
	if (!err->code)
		err->code = MN_CODE_POLICY;
}

static bool is_error_table(lua_State *L)
{
	bool found;

	if (lua_type(L, 2) != LUA_TTABLE)
		return false;
	if (lua_getmetatable(L, 2)) {
		luaL_getmetatable(L, MN_ERROR_META);
		found = lua_rawequal(L, -1, -2);
		lua_pop(L, 2);
		if (found)
			return true;
	}
	lua_pushliteral(L, "message");
	found = lua_rawget(L, 2) == LUA_TSTRING;
	lua_pop(L, 1);
	return found;
}

// Runs protected, with the error as second argument: its __tostring may itself raise.
static int read_error(lua_State *L)
{
	struct failure *failure = lua_touserdata(L, 1);
	struct mn_report *report = &failure->state->report;
	const char *text;

	if (is_error_table(L)) {
		bool object = lua_getmetatable(L, 2);

		lua_settop(L, 2);
		read_table(L, failure);
		if (object)
			report->msg = strdup(luaL_tolstring(L, 2, NULL));
		return 0;
	}
	if (lua_type(L, 2) == LUA_TSTRING || luaL_getmetafield(L, 2, "__tostring") != LUA_TNIL)
		text = luaL_tolstring(L, 2, NULL);
	else
		text = lua_pushfstring(L,
			"a %s was raised as an error, which says nothing: use a string or mncni.error",
			luaL_typename(L, 2));
	mn_fail(failure->err, 0, failure->op, failure->object, "%s", text);
	failure->err->code = MN_CODE_POLICY;
	if (asprintf(&report->msg, "%s %s: %s", failure->op, failure->object ? failure->object : "", text) <
		0)
		report->msg = NULL;
	return 0;
}

static bool is_memory_error(struct mn_state *state, int status)
{
	const char *text;

	if (status == LUA_ERRMEM)
		return true;
	// A coroutine, or a pcall and error(), hands it on as an ordinary string.
	text = lua_type(state->L, -1) == LUA_TSTRING ? lua_tostring(state->L, -1) : "";
	return state->refused && strstr(text, "not enough memory");
}

static int fail_by_limit(const struct failure *failure, int errnum, const char *message)
{
	mn_fail(failure->err, errnum, failure->op, failure->object, "%s", message);
	failure->err->errnum = 0;
	failure->err->code = MN_CODE_BUDGET;
	return -errnum;
}

static int fail_by_memory(const struct failure *failure)
{
	char message[160];

	snprintf(message, sizeof(message), "stopped: it needs more memory than the %zu KiB it may use",
		failure->state->limits.memory >> 10);
	return fail_by_limit(failure, ENOMEM, message);
}

// Turns the error on top of the stack, which it pops, into failure->err and the state's report.
static int take_error(struct failure *failure, int status)
{
	struct mn_state *state = failure->state;
	lua_State *L = state->L;

	if (state->expired) {
		lua_pop(L, 1);
		return fail_by_limit(failure, ECANCELED, state->why);
	}
	if (is_memory_error(state, status)) {
		lua_pop(L, 1);
		return fail_by_memory(failure);
	}
	lua_pushcfunction(L, read_error);
	lua_pushlightuserdata(L, failure);
	lua_rotate(L, -3, 2); // function, failure, error
	if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
		lua_pop(L, 1);
		if (state->expired)
			return fail_by_limit(failure, ECANCELED, state->why);
		mn_fail(failure->err, 0, failure->op, failure->object,
			"an error was raised that cannot be printed");
		failure->err->code = MN_CODE_POLICY;
	}
	return failure->err->errnum ? -failure->err->errnum : -EINVAL;
}

int mn_state_protect(struct mn_state *state, lua_CFunction function, void *data, const char *op,
	const char *object, struct mn_error *err)
{
	struct mn_error unwanted = { 0 };
	struct failure failure = { .state = state, .err = err ? err : &unwanted, .op = op, .object = object };
	lua_State *L = state->L;
	int status, ret = 0;

	mn_report_clear(&state->report);
	state->refused = false;
	if (state->expired)
		return fail_by_limit(&failure, ECANCELED, state->why);
	lua_pushcfunction(L, on_error); // neither a light C function nor a light userdata needs memory
	lua_pushcfunction(L, function);
	lua_pushlightuserdata(L, data);
	if (!state->prompt) // a person's code may bring what goes elsewhere
		mn_netns_keep_home();
	status = lua_pcall(L, 1, 0, -3);
	if (!state->prompt)
		mn_netns_let_home_go();
	if (status != LUA_OK)
		ret = take_error(&failure, status);
	else if (state->expired) // the script caught the error and ended before its next look
		ret = fail_by_limit(&failure, ECANCELED, state->why);
	lua_settop(L, 0);
	state->cap = state->limits.memory;
	return ret;
}

// One request to load or call something, passed through the protected call.
struct request {
	const char *name; // of the module, policy or function
	const char *json;
	bool spread; // json is the list of arguments
	int handle;
	bool has;
	char label[160];
	char **result;
	bool by_text; // instead of by JSON, both ways
	const struct mn_text *texts;
	size_t count;
	struct mn_text *results;
	size_t wanted;
};

// Keeps the table on top as a new handle.
static int keep(lua_State *L, const char *kind, const char *name)
{
	int handle;

	luaL_getsubtable(L, LUA_REGISTRYINDEX, MN_HANDLES_KEY);
	handle = (int)lua_rawlen(L, -1) + 1;
	lua_createtable(L, 2, 0);
	lua_pushvalue(L, -3);
	lua_rawseti(L, -2, 1);
	lua_pushfstring(L, "%s \"%s\"", kind, name);
	lua_rawseti(L, -2, 2);
	lua_rawseti(L, -2, handle);
	return handle;
}

static void require(lua_State *L, const char *name)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, name);
	lua_call(L, 1, 1);
}

static int require_module(lua_State *L)
{
	struct request *request = lua_touserdata(L, 1);

	if (strncmp(request->name, "mncni", 5) != 0) {
		require(L, "mncni.policy"); // knows the files beside the policies
		lua_pop(L, 1);
	}
	require(L, request->name);
	if (!lua_istable(L, -1))
		return luaL_error(L, "it returns a %s and not a table of functions", luaL_typename(L, -1));
	request->handle = keep(L, "module", request->name);
	return 0;
}

static int load_policy(lua_State *L)
{
	struct request *request = lua_touserdata(L, 1);

	require(L, "mncni.policy");
	lua_getfield(L, -1, "load");
	lua_pushstring(L, request->name);
	lua_call(L, 1, 1);
	request->handle = keep(L, "policy", request->name);
	return 0;
}

static int load(struct mn_state *state, lua_CFunction loader, const char *kind, const char *name,
	struct mn_error *err)
{
	struct request request = { .name = name };
	int ret;

	snprintf(request.label, sizeof(request.label), "%s \"%.140s\"", kind, name);
	ret = mn_state_protect(state, loader, &request, "load", request.label, err);
	return ret < 0 ? ret : request.handle;
}

int mn_require(struct mn_state *state, const char *module, struct mn_error *err)
{
	return load(state, require_module, "module", module, err);
}

int mn_policy(struct mn_state *state, const char *name, struct mn_error *err)
{
	return load(state, load_policy, "policy", name, err);
}

// Pushes what belongs to a handle; index 1 is the table, 2 the label.
static int push_handle(lua_State *L, int handle, int index)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, MN_HANDLES_KEY);
	if (lua_rawgeti(L, -1, handle) == LUA_TTABLE)
		return lua_rawgeti(L, -1, index);
	lua_pushnil(L);
	return LUA_TNIL;
}

static int find_function(lua_State *L)
{
	struct request *request = lua_touserdata(L, 1);

	if (push_handle(L, request->handle, 2) == LUA_TNIL)
		return luaL_error(L, "%d is not the handle of a module or policy", request->handle);
	snprintf(request->label, sizeof(request->label), "%s", lua_tostring(L, -1));
	push_handle(L, request->handle, 1);
	request->has = lua_getfield(L, -1, request->name) == LUA_TFUNCTION;
	return 0;
}

bool mn_has(struct mn_state *state, int handle, const char *function)
{
	struct request request = { .name = function, .handle = handle };

	return mn_state_protect(state, find_function, &request, function, NULL, NULL) == 0 && request.has;
}

static void push_json_function(lua_State *L, const char *name)
{
	require(L, "mncni.core");
	lua_getfield(L, -1, "json");
	lua_getfield(L, -1, name);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

// Pushes the arguments that the JSON text holds, and returns their number.
static int push_arguments(lua_State *L, const struct request *request)
{
	int count;

	if (!request->json)
		return 0;
	push_json_function(L, "decode");
	lua_pushstring(L, request->json);
	lua_call(L, 1, 1);
	if (!request->spread)
		return 1;
	if (!lua_istable(L, -1))
		return luaL_error(L, "the arguments are not a JSON array");
	count = (int)lua_rawlen(L, -1);
	luaL_checkstack(L, count + 4, "too many arguments");
	for (int i = 1; i <= count; i++)
		lua_rawgeti(L, -i, i);
	lua_remove(L, -count - 1);
	return count;
}

// Puts the text on top into the table below it, which it pops, unless there is one of that name.
static void add_text(lua_State *L, const char *name)
{
	if (lua_getfield(L, -2, name) == LUA_TNIL) {
		lua_pushvalue(L, -2);
		lua_setfield(L, -4, name);
	}
	lua_pop(L, 2);
}

static int push_texts(lua_State *L, const struct request *request)
{
	lua_createtable(L, 0, (int)request->count);
	for (size_t i = 0; i < request->count; i++) {
		const struct mn_text *text = &request->texts[i];
		const char *dot = strchr(text->name, '.');

		if (!text->bytes)
			continue;
		if (dot) {
			lua_pushlstring(L, text->name, (size_t)(dot - text->name));
			luaL_getsubtable(L, -2, lua_tostring(L, -1));
			lua_remove(L, -2);
		} else {
			lua_pushvalue(L, -1);
		}
		lua_pushlstring(L, text->bytes, text->size);
		add_text(L, dot ? dot + 1 : text->name);
		lua_pop(L, 1);
	}
	return 1;
}

// Gives the texts of the table on top to the caller, and keeps them for it.
static void take_texts(lua_State *L, const struct request *request)
{
	if (!lua_istable(L, -1))
		luaL_error(L, "it returned a %s and not a table", luaL_typename(L, -1));
	lua_createtable(L, (int)request->wanted, 0);
	for (size_t i = 0; i < request->wanted; i++) {
		struct mn_text *text = &request->results[i];

		lua_getfield(L, -2, text->name);
		text->bytes = lua_tolstring(L, -1, &text->size);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, LUA_REGISTRYINDEX, MN_RESULTS_KEY);
}

// Encodes the value on top; what JSON cannot hold is the fault of the function that returned it.
static void encode_result(lua_State *L, const struct request *request)
{
	struct mn_error err;

	if (lua_isnil(L, -1)) {
		lua_pushliteral(L, "null");
		return;
	}
	push_json_function(L, "encode");
	lua_rotate(L, -2, 1);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK)
		return;
	if (lua_type(L, -1) == LUA_TSTRING && strstr(lua_tostring(L, -1), "not enough memory"))
		lua_error(L);
	mn_fail(&err, 0, request->name, request->label, "it returned what JSON cannot hold: %s",
		luaL_tolstring(L, -1, NULL));
	err.code = MN_CODE_POLICY;
	mn_lua_raise(L, &err);
}

static int call(lua_State *L)
{
	struct request *request = lua_touserdata(L, 1);
	int count;

	push_handle(L, request->handle, 1);
	if (lua_getfield(L, -1, request->name) != LUA_TFUNCTION)
		return luaL_error(L, "there is no function of that name");
	count = request->by_text ? push_texts(L, request) : push_arguments(L, request);
	lua_call(L, count, 1);
	if (request->by_text)
		take_texts(L, request);
	if (!request->result)
		return 0;
	encode_result(L, request);
	*request->result = strdup(lua_tostring(L, -1));
	if (!*request->result)
		return luaL_error(L, "no memory for the result");
	return 0;
}

static int do_call(struct mn_state *state, struct request *request, struct mn_error *err)
{
	int ret = mn_state_protect(state, find_function, request, request->name, NULL, err);

	if (request->result)
		*request->result = NULL;
	if (ret == 0)
		ret = mn_state_protect(state, call, request, request->name, request->label, err);
	if (ret < 0 && request->result) {
		free(*request->result);
		*request->result = NULL;
	}
	return ret;
}

int mn_call(struct mn_state *state, int handle, const char *function, const char *json, char **result,
	struct mn_error *err)
{
	struct request request = { .name = function, .handle = handle, .json = json, .result = result };

	return do_call(state, &request, err);
}

int mn_apply(struct mn_state *state, int handle, const char *function, const char *json_array, char **result,
	struct mn_error *err)
{
	struct request request = {
		.name = function, .handle = handle, .json = json_array, .spread = true, .result = result
	};

	return do_call(state, &request, err);
}

int mn_call_texts(struct mn_state *state, int handle, const char *function, const struct mn_text *texts,
	size_t count, struct mn_text *results, size_t wanted, struct mn_error *err)
{
	struct request request = { .name = function,
		.handle = handle,
		.by_text = true,
		.texts = texts,
		.count = count,
		.results = results,
		.wanted = wanted };
	int ret;

	for (size_t i = 0; i < wanted; i++)
		results[i].bytes = NULL;
	ret = do_call(state, &request, err);
	for (size_t i = 0; ret < 0 && i < wanted; i++)
		results[i].bytes = NULL;
	return ret;
}
