// SPDX-License-Identifier: Apache-2.0
// state_runner [-m BYTES] [-i INSTRUCTIONS] [-w MS] [-g MS] [-s MS] [-n TIMES] [-p PATH] [-r MODULE | -P
// POLICY] [-a] HOOK Makes a bounded state, loads a policy (or module) and calls a hook with the JSON on
// stdin, or with none when stdin is empty. Prints the result and exits 0, or prints the error as JSON and
// exits 1. Exits 42 from the alarm's handler. -a: stdin is the list of arguments; -s: told to stop after so
// long; -n: calls so often, renewing the state each time;
// -k: also after an error; -u: prints each result, then the number of the network namespace, and goes into
// a new one.
#define _GNU_SOURCE
#include "mncni.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct job {
	struct mn_options options;
	const char *policy, *module, *hook;
	unsigned int stop_ms;
	int times;
	bool spread, keep_going, texts, moves;
};

static struct mn_state *running;

static void on_alarm(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "{\"code\":101,\"msg\":\"alarm\"}\n";

	(void)sig;
	(void)context;
	if (info->si_code == SI_TIMER && info->si_value.sival_ptr == &running)
		_exit(write(1, text, sizeof(text) - 1) > 0 ? 42 : 43);
}

static void *stop_later(void *data)
{
	const struct job *job = data;

	usleep(job->stop_ms * 1000);
	mn_state_stop(running);
	return NULL;
}

static int fail(const struct mn_state *state, const struct mn_error *err)
{
	char *text = mn_error_json(state, err);

	puts(text ? text : "no memory");
	free(text);
	return 1;
}

static char *read_stdin(void)
{
	size_t size = 0, max = 1 << 20;
	char *text = malloc(max);

	if (!text)
		return NULL;
	size = fread(text, 1, max - 1, stdin);
	text[size] = '\0';
	if (size == 0) {
		free(text);
		return NULL;
	}
	return text;
}

#define TEXTS 16

// Calls with the lines NAME=BYTES of the input as texts, and prints those that come back as a, b and c.
static int run_texts(struct mn_state *state, int handle, const char *hook, char *input)
{
	struct mn_text texts[TEXTS], back[] = { { .name = "a" }, { .name = "b" }, { .name = "c" } };
	struct mn_error err;
	size_t count = 0;

	for (char *line; count < TEXTS && (line = strsep(&input, "\n")) && *line; count++) {
		texts[count].name = strsep(&line, "=");
		texts[count].bytes = line; // NULL where there is no "="
		texts[count].size = line ? strlen(line) : 0;
	}
	if (mn_call_texts(state, handle, hook, texts, count, back, 3, &err) < 0)
		return fail(state, &err);
	for (size_t i = 0; i < 3; i++)
		printf("%s %zu %s\n", back[i].name, back[i].size, back[i].bytes ? back[i].bytes : "-");
	return 0;
}

static bool move(const char *result)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return false;
	printf("%s in %ju\n", result, (uintmax_t)st.st_ino);
	return unshare(CLONE_NEWNET) == 0;
}

static int run(struct mn_state *state, const struct job *job, char *json)
{
	struct mn_error err;
	char *result = NULL;
	int status = 0;
	int handle = job->module ? mn_require(state, job->module, &err) : mn_policy(state, job->policy, &err);

	if (handle < 0)
		return fail(state, &err);
	if (job->texts)
		return run_texts(state, handle, job->hook, json);
	for (int i = 0; i < job->times; i++) {
		free(result);
		if ((job->spread ? mn_apply : mn_call)(state, handle, job->hook, json, &result, &err) < 0) {
			status = fail(state, &err);
			if (!job->keep_going)
				return status;
		}
		if (mn_state_renew(state) < 0 || (job->moves && !move(result)))
			return 3;
	}
	if (result && !job->moves)
		puts(result);
	free(result);
	return status;
}

static int parse(int argc, char **argv, struct job *job)
{
	int option;

	while ((option = getopt(argc, argv, "m:i:w:g:s:n:p:r:P:aktu")) != -1) {
		switch (option) {
		case 'm':
			job->options.limits.memory = strtoull(optarg, NULL, 10);
			break;
		case 'i':
			job->options.limits.instructions = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			job->options.limits.wall_ms = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'g':
			job->options.grace_ms = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 's':
			job->stop_ms = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			job->times = (int)strtol(optarg, NULL, 10);
			break;
		case 'p':
			job->options.policy_path = optarg;
			break;
		case 'r':
			job->module = optarg;
			break;
		case 'P':
			job->policy = optarg;
			break;
		case 'a':
			job->spread = true;
			break;
		case 'k':
			job->keep_going = true;
			break;
		case 't':
			job->texts = true;
			break;
		case 'u':
			job->moves = true;
			break;
		default:
			return -1;
		}
	}
	job->hook = argv[optind];
	return job->hook && (job->module || job->policy) ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct job job = { .times = 1, .options = { .alarm_signal = SIGALRM, .alarm_data = &running } };
	struct sigaction action = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO };
	struct mn_error err;
	pthread_t stopper;
	char *json;
	int status;

	if (parse(argc, argv, &job) < 0)
		return 2;
	sigaction(SIGALRM, &action, NULL);
	json = read_stdin();
	if (mn_state_new(&running, &job.options, &err) < 0) {
		free(json);
		return fail(NULL, &err);
	}
	if (job.stop_ms && pthread_create(&stopper, NULL, stop_later, &job) != 0)
		return 3;
	status = run(running, &job, json);
	if (job.stop_ms)
		pthread_join(stopper, NULL);
	mn_state_free(running);
	free(json);
	return status;
}
