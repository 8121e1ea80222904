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

// What a runtime would see; returns whether the call succeeded.
static bool check_reply(const char *verb, const char *status, const struct mn_text *out)
{
	cJSON *document = NULL;
	struct mn_error err = { 0 };
	const char *text = out->bytes;
	int64_t code = 0;

	fuzz_require(status && (strcmp(status, "0") == 0 || strcmp(status, "1") == 0), "status: %s",
		status ? status : "none");
	if (text)
		fuzz_require(mn_json_parse(text, out->size, &document, &err) == 0 && cJSON_IsObject(document),
			"not one JSON document: %s\n%s", err.message, text);
	if (*status == '1') {
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
	return *status == '0';
}

#define VARIABLES 16

// texts: room for the variables behind what is there.
static bool run(const char *verb, const cJSON *env, struct mn_text *texts, size_t count)
{
	struct mn_text reply[] = { { .name = "status" }, { .name = "stdout" } };
	char names[VARIABLES][80];
	struct mn_error err = { 0 };
	const cJSON *variable;
	size_t i = 0;
	int ret;

	cJSON_ArrayForEach (variable, env) {
		if (i == VARIABLES)
			break;
		snprintf(names[i], sizeof(names[i]), "env.%s", variable->string);
		texts[count + i] =
			(struct mn_text){ names[i], variable->valuestring, strlen(variable->valuestring) };
		i++;
	}
	renew();
	fuzz_kernel(NULL, 0, true);
	ret = mn_call_texts(state, module, "run", texts, count + i, reply, 2, &err);
	if (ret == 0)
		return check_reply(verb, reply[0].bytes, &reply[1]);
	// Memory or time is up: the host prints that.
	fuzz_require(err.code == MN_CODE_BUDGET, "the protocol code raised: %s", err.message);
	return false;
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
	const char *netns = mn_json_get_string(env, "CNI_NETNS"), *verb;
	struct mn_text texts[4 + VARIABLES] = { { "env.MNCNI_STATE_DIR", state_dir, strlen(state_dir) },
		{ "name", name, strlen(name) }, { "started", "1", 1 }, { "stdin", input, size } };

	if (netns && strcmp(netns, "@pod") == 0)
		cJSON_ReplaceItemInObjectCaseSensitive(env, "CNI_NETNS", cJSON_CreateString(POD));
	verb = verb_of(env);
	if (run(verb, env, texts, 4) && strcmp(verb, "ADD") == 0) {
		cJSON_ReplaceItemInObjectCaseSensitive(env, "CNI_COMMAND", cJSON_CreateString("DEL"));
		fuzz_require(run("DEL", env, texts, 4), "what was added cannot be deleted");
	}
	cJSON_Delete(env);
	check_empty();
}
