// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a runtime says in the environment, with a configuration that is good: the verb by a digit, then
// CNI_ARGS, container, interface, namespace, path and what else there is, a line each.
#define _GNU_SOURCE
#include "cni_call.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_cni_open();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char config[] =
		"{\"cniVersion\":\"1.1.0\",\"name\":\"pods\",\"type\":\"mncni\",\"policy\":\"nothing\","
		"\"ipam\":{\"type\":\"host-local\"},\"cni.dev/valid-attachments\":[],"
		"\"prevResult\":{\"ips\":[{\"address\":\"10.0.0.2/24\"}]}}";
	static const char *const verbs[] = { "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION" };
	static const char *const keys[] = { "CNI_ARGS", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS",
		"CNI_PATH", "CNI_NETNS_OVERRIDE", "TRACEPARENT", "CNI_COMMAND" };
	cJSON *env = cJSON_CreateObject();
	char *line;

	if (size > 0 && *data >= '0' && *data < '6') {
		cJSON_AddStringToObject(env, "CNI_COMMAND", verbs[*data - '0']);
		data++;
		size--;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && (line = fuzz_part(&data, &size, '\n'));
		i++) {
		if (!cJSON_HasObjectItem(env, keys[i]))
			cJSON_AddStringToObject(env, keys[i], line);
		free(line);
	}
	fuzz_cni_call(env, "mncni", config, sizeof(config) - 1);
	return 0;
}
