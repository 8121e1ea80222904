// SPDX-License-Identifier: Apache-2.0
// Wires a network namespace by a policy, as a container runtime would, without a plugin to execute:
//
//	cc -o wire wire.c $(pkg-config --cflags --libs mncni libcjson)
//	./wire ADD web /run/netns/web eth0 <mynet.json		# prints the result
//	./wire DEL web /run/netns/web eth0 <mynet.json
//
// The configuration is one plugin's, with the name of the network and "policy" in it.
#include <cJSON.h>
#include <mncni.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const struct mn_state *state, const struct mn_error *err)
{
	char *text = mn_error_json(state, err);

	fprintf(stderr, "%s\n", text ? text : err->message);
	free(text);
	return 1;
}

// What mncni.cni is asked: the variables of the CNI specification, and the configuration.
static char *make_request(char **argv, const char *configuration)
{
	static const char *const names[] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME" };
	cJSON *request = cJSON_CreateObject(), *env = cJSON_AddObjectToObject(request, "env");
	char *text;

	for (int i = 0; i < 4; i++)
		cJSON_AddStringToObject(env, names[i], argv[i + 1]);
	cJSON_AddStringToObject(request, "name", "mncni");
	cJSON_AddStringToObject(request, "stdin", configuration);
	text = cJSON_PrintUnformatted(request);
	cJSON_Delete(request);
	return text;
}

int main(int argc, char **argv)
{
	char configuration[65536] = "", *request, *reply = NULL;
	struct mn_state *state;
	struct mn_error err;
	int module, status = 1;

	if (argc != 5 || fread(configuration, 1, sizeof(configuration) - 1, stdin) == 0) {
		fprintf(stderr, "usage: %s ADD|CHECK|DEL CONTAINER NETNS IFNAME <configuration\n", argv[0]);
		return 2;
	}
	if (mn_state_new(&state, NULL, &err) < 0)
		return fail(NULL, &err);
	request = make_request(argv, configuration);
	module = mn_require(state, "mncni.cni", &err);
	if (module > 0 && mn_call(state, module, "run", request, &reply, &err) == 0) {
		cJSON *answer = cJSON_Parse(reply); // { status, stdout, stderr }, as a plugin would have it
		const char *document = cJSON_GetStringValue(cJSON_GetObjectItem(answer, "stdout"));

		if (document)
			puts(document);
		status = cJSON_GetObjectItem(answer, "status")->valueint;
		cJSON_Delete(answer);
	} else { // A limit ended it: what it had done is undone from its journal.
		if (mn_undo_path())
			mn_undo_file(mn_undo_path(), true, NULL);
		fail(state, &err);
	}
	free(request);
	free(reply);
	mn_state_free(state);
	return status;
}
