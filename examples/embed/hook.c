// SPDX-License-Identifier: Apache-2.0
// Runs one hook of a policy from C: hook POLICY HOOK JSON prints what the hook returns.
//
//	cc -o hook hook.c $(pkg-config --cflags --libs mncni)
//	MNCNI_POLICY_PATH=/root/policies ./hook routes desired '{"peers":[]}'
//
// The policy may use 8 MiB and 2 seconds here; one that runs away ends with an error, whatever it does.
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

static int run(struct mn_state *state, char **argv)
{
	struct mn_error err;
	char *result;
	int policy = mn_policy(state, argv[1], &err);

	if (policy < 0 || mn_call(state, policy, argv[2], argv[3], &result, &err) < 0)
		return fail(state, &err);
	puts(result);
	free(result);
	return 0;
}

int main(int argc, char **argv)
{
	const struct mn_options options = { .limits = { .memory = 8 << 20, .wall_ms = 2000 } };
	struct mn_state *state;
	struct mn_error err;
	int status;

	if (argc != 4) {
		fprintf(stderr, "usage: %s POLICY HOOK JSON\n", argv[0]);
		return 2;
	}
	if (mn_state_new(&state, &options, &err) < 0)
		return fail(NULL, &err);
	status = run(state, argv);
	mn_state_free(state);
	return status;
}
