// SPDX-License-Identifier: Apache-2.0
// What a signal handler of a host does when it comes in the middle of things.
//   away home PATH     enters the namespace at PATH, twice, and lets a handler exec `readlink` of its
//   namespace away kill SECONDS  runs a program that a handler ends after 200 ms; prints the signal that
//   ended it
#define _GNU_SOURCE
#include "exec.h"
#include "netns.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void exec_at_home(int signal)
{
	(void)signal;
	mn_netns_go_home(); // NOLINT(bugprone-signal-handler): made for this
	execl("/bin/readlink", "readlink", "/proc/self/ns/net", (char *)NULL);
	_exit(1);
}

static void end_program(int signal)
{
	(void)signal;
	mn_exec_kill(); // NOLINT(bugprone-signal-handler): made for this
}

static int home(const char *path, struct mn_error *err)
{
	int fd, first, second;

	if (mn_netns_open(path, &fd, err) < 0 || mn_netns_enter(fd, &first, err) < 0 ||
		mn_netns_enter(fd, &second, err) < 0)
		return -1;
	signal(SIGTERM, exec_at_home);
	raise(SIGTERM);
	return -1;
}

static int end(const char *seconds, struct mn_error *err)
{
	const char *argv[] = { "sleep", seconds, NULL }, *env[] = { NULL };
	struct mn_exec what = { .path = "/bin/sleep", .argv = argv, .env = env, .max_output = 1 };
	struct itimerval soon = { .it_value.tv_usec = 200000 };
	struct mn_exec_result result;

	signal(SIGALRM, end_program);
	setitimer(ITIMER_REAL, &soon, NULL);
	mn_exec_kill(); // nothing runs yet
	if (mn_exec(&what, &result, err) < 0)
		return -1;
	printf("%d\n", result.signal);
	mn_exec_free(&result);
	return 0;
}

int main(int argc, char **argv)
{
	struct mn_error err = { 0 };
	int ret = argc != 3 ? -1 : !strcmp(argv[1], "home") ? home(argv[2], &err) : end(argv[2], &err);

	if (ret < 0)
		fprintf(stderr, "away: %s\n", err.message);
	return ret < 0;
}
