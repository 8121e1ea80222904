// SPDX-License-Identifier: Apache-2.0
// Fuzzes a call of the plugin: lines NAME=VALUE of the environment ("name" is what the plugin was called by),
// an empty line, and what is on stdin.
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
	cJSON *env = cJSON_CreateObject();
	char *name = NULL, *line, *input;

	while ((line = fuzz_part(&data, &size, '\n')) && *line) {
		char *value = strchr(line, '=');

		if (value)
			*value++ = '\0';
		if (value && strcmp(line, "name") == 0 && !name)
			name = strdup(value);
		else if (value && strncmp(line, "CNI_", 4) == 0 && !cJSON_HasObjectItem(env, line))
			cJSON_AddStringToObject(env, line, value);
		free(line);
	}
	free(line);
	input = malloc(size + 1);
	fuzz_require(input != NULL, "no memory");
	memcpy(input, data, size);
	input[size] = '\0';
	fuzz_cni_call(env, name ? name : "mncni", input, size);
	free(name);
	free(input);
	return 0;
}
