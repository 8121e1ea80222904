// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "cni_call.h"

#include "exec.h"
#include "fuzz.h"
#include "json.h"
#include "kernel.h"
#include "lua_core.h"
#include "netns.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POD "/run/netns/fuzz"

int __wrap_mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err);

static struct mn_state *state;
static int module;
static char state_dir[300], policies[300];

// No program is started: a plugin that is delegated to answers with its own configuration, which may be
// anything.
int __wrap_mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err)
{
	(void)err;
	fuzz_require(what->path && what->argv && what->argv[0] && what->env, "half a program");
	memset(result, 0, sizeof(*result));
	result->status = (int)(what->input_size & 1);
	result->output = strndup(what->input ? what->input : "", what->input_size);
	result->output_size = strlen(result->output);
	result->errors = strdup("");
	return 0;
}

static void write_policy(const char *name, const char *text)
{
	char path[400];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.lua", policies, name);
	file = fopen(path, "we");
	fuzz_require(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s cannot be written", path);
}

// They take the place of the built-in ones: nothing that is made in the kernel, and addresses without a
// store.
static void write_policies(void)
{
	static const char interface[] =
		"local policy = {}\n"
		"policy.options = { bridge = { type = 'string', default = 'cbr0' }, mtu = { type = 'integer', min = 68 },\n"
		"  addresses = { type = 'list', of = { type = 'cidr' } }, isGateway = { type = 'boolean' } }\n"
		"function policy.add(pod, conf)\n"
		"  pod:wanted_mac()\n"
		"  if conf.ipam then return pod:result { pod:lease(conf.ipam), dns = conf.dns } end\n"
		"  return { ips = { { address = '10.0.0.2/24' } }, dns = conf.dns }\n"
		"end\n"
		"return policy\n";
	static const char ipam[] =
		"local policy = {}\n"
		"policy.options = { ranges = { type = 'list' }, routes = { type = 'list' } }\n"
		"function policy.lease(request, conf)\n"
		"  return { addresses = { { address = request.wanted[1] or '10.0.0.2/24', gateway = '10.0.0.1' } },\n"
		"    routes = conf.routes }\n"
		"end\n"
		"function policy.release() end\n"
		"function policy.gc() end\n"
		"return policy\n";

	fuzz_require(mkdir(policies, 0755) == 0, "%s cannot be made", policies);
	write_policy("nothing", interface);
	write_policy("naivebridge", interface);
	write_policy("loopback", interface);
	write_policy("host-local", ipam);
}

static void make_pod(void)
{
	struct mn_error err;
	int fd;

	if (access(POD, F_OK) == 0)
		return;
	(void)mkdir("/run/netns", 0755);
	fuzz_require(mn_netns_create("fuzz", &fd, &err) == 0, "no namespace for the pod: %s", err.message);
	close(fd);
}

static const struct mn_limits limits = {
	.memory = MN_DEFAULT_MEMORY, .instructions = 50000000, .wall_ms = 20000
};

static void new_state(void)
{
	struct mn_options options = { .limits = limits, .policy_path = policies };
	struct mn_error err;

	mn_state_free(state);
	fuzz_require(mn_state_new(&state, &options, &err) == 0, "%s", err.message);
	fuzz_trace_lua(state->L);
	module = mn_require(state, "mncni.cni", &err);
	fuzz_require(module > 0, "%s", err.message);
}

// As a process that was just started: no policy has been loaded, no limit changed.
static void renew(void)
{
	if (mn_state_limit(state, &limits) < 0 || mn_state_renew(state) < 0)
		new_state();
	lua_pushnil(state->L);
	lua_setfield(state->L, LUA_REGISTRYINDEX, MN_SEALED_KEY);
}

void fuzz_cni_open(void)
{
	snprintf(state_dir, sizeof(state_dir), "%s/state", fuzz_directory());
	snprintf(policies, sizeof(policies), "%s/policies", fuzz_directory());
	fuzz_require(mkdir(state_dir, 0700) == 0, "%s cannot be made", state_dir);
	write_policies();
	make_pod();
	new_state();
}

void fuzz_cni_set(cJSON *object, const char *key, const char *bytes, size_t size)
{
	bool plain = true;
	char *hex;

	for (size_t i = 0; i < size; i++)
		plain = plain && (signed char)bytes[i] > 0;
	if (plain) {
		cJSON_AddStringToObject(object, key, bytes);
		return;
	}
	hex = malloc(2 * size + 1);
	fuzz_require(hex != NULL, "no memory");
	for (size_t i = 0; i < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", (unsigned int)(unsigned char)bytes[i]);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(object, key), "hex", hex);
	free(hex);
}

// What a runtime would see; returns whether the call succeeded.
static bool check_reply(const char *verb, const char *reply)
{
	cJSON *object = NULL, *document = NULL;
	struct mn_error err = { 0 };
	int64_t status = -1, code = 0;
	const char *text;

	fuzz_require(mn_json_parse(reply, strlen(reply), &object, &err) == 0, "the reply: %s", err.message);
	fuzz_require(mn_json_get_integer(object, "status", &status) && (status == 0 || status == 1),
		"status: %s", reply);
	text = mn_json_get_string(object, "stdout");
	if (text)
		fuzz_require(
			mn_json_parse(text, strlen(text), &document, &err) == 0 && cJSON_IsObject(document),
			"not one JSON document: %s\n%s", err.message, text);
	if (status == 1) {
		fuzz_require(document && mn_json_get_integer(document, "code", &code) && code > 0,
			"no code: %s", text);
		fuzz_require(mn_json_get_string(document, "msg") && *mn_json_get_string(document, "msg"),
			"no msg: %s", text);
	} else if (strcmp(verb, "ADD") == 0) {
		fuzz_require(document && !cJSON_HasObjectItem(document, "code"), "no result: %s", text);
	}
	if (document)
		fuzz_require(mn_json_get_string(document, "cniVersion") != NULL, "no cniVersion: %s", text);
	cJSON_Delete(document);
	cJSON_Delete(object);
	return status == 0;
}

static bool run(const char *verb, const cJSON *request)
{
	char *text = cJSON_PrintUnformatted(request), *reply = NULL;
	struct mn_error err = { 0 };
	bool good = false;
	int ret;

	fuzz_require(text != NULL, "no memory");
	renew();
	fuzz_kernel(NULL, 0, true);
	ret = mn_call(state, module, "run", text, &reply, &err);
	if (ret == 0)
		good = check_reply(verb, reply);
	else // memory or time is up: the host prints that
		fuzz_require(err.code == MN_CODE_BUDGET, "the protocol code raised: %s", err.message);
	free(reply);
	free(text);
	return good;
}

static void check_empty(void)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/attachments", state_dir);
	if (access(path, F_OK) == 0)
		fuzz_empty(state_dir);
}

static const char *verb_of(const cJSON *env)
{
	const char *verb = mn_json_get_string(env, "CNI_COMMAND");

	return verb ? verb : "";
}

void fuzz_cni_call(cJSON *env, const char *name, const char *input, size_t size)
{
	cJSON *request = cJSON_CreateObject();
	const char *netns = mn_json_get_string(env, "CNI_NETNS"), *verb;

	if (netns && strcmp(netns, "@pod") == 0)
		cJSON_ReplaceItemInObjectCaseSensitive(env, "CNI_NETNS", cJSON_CreateString(POD));
	cJSON_DeleteItemFromObjectCaseSensitive(env, "MNCNI_STATE_DIR");
	cJSON_AddStringToObject(env, "MNCNI_STATE_DIR", state_dir);
	cJSON_AddItemToObject(request, "env", env);
	cJSON_AddStringToObject(request, "name", name);
	cJSON_AddNumberToObject(request, "started", 1);
	fuzz_cni_set(request, "stdin", input, size);
	verb = verb_of(env);
	if (run(verb, request) && strcmp(verb, "ADD") == 0) {
		cJSON_ReplaceItemInObjectCaseSensitive(env, "CNI_COMMAND", cJSON_CreateString("DEL"));
		fuzz_require(run("DEL", request), "what was added cannot be deleted");
	}
	cJSON_Delete(request);
	check_empty();
}
