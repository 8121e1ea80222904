// SPDX-License-Identifier: Apache-2.0
// Starts programs as a container runtime does and says how long each took, with no interpreter in between.
//
// Each line of stdin is one run, its fields separated by tabs: LABEL PROGRAM STDIN-FILE NAME=VALUE...
// where the rest is the complete environment. For each a line "LABEL<tab>WALL<tab>USER<tab>SYSTEM" is
// printed, in microseconds: from just before the start until the program has been waited for, and what it and
// its children used of the processors. The first run that fails ends the whole, with what it printed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENV 64

struct run {
	char *label, *program, *input;
	char *env[MAX_ENV + 1];
};

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const char *label, const char *what)
{
	fprintf(stderr, "spawn: %s: %s: %s\n", label, what, strerror(errno));
	exit(1);
}

// Splits a line in place; returns whether it had all it needs.
static int parse(char *line, struct run *run)
{
	size_t count = 0;
	char *field;

	line[strcspn(line, "\n")] = '\0';
	run->label = strsep(&line, "\t");
	run->program = strsep(&line, "\t");
	run->input = strsep(&line, "\t");
	while ((field = strsep(&line, "\t")) && count < MAX_ENV)
		run->env[count++] = field;
	run->env[count] = NULL;
	return run->input != NULL;
}

static void print_failure(const struct run *run, int output, int status)
{
	char text[4096];
	ssize_t size;

	fflush(stdout);
	fprintf(stderr, "spawn: %s: %s %d\n", run->label, WIFEXITED(status) ? "exit status" : "signal",
		WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	lseek(output, 0, SEEK_SET);
	size = read(output, text, sizeof(text));
	if (size > 0)
		fprintf(stderr, "%.*s\n", (int)size, text);
}

static int64_t in_us(const struct timeval *time)
{
	return (int64_t)time->tv_sec * 1000000 + time->tv_usec;
}

// Runs one program; output is an empty file for its stdout. Returns the microseconds, or -1 when it failed.
static int64_t time_one(const struct run *run, int output, struct rusage *used)
{
	posix_spawn_file_actions_t files;
	char *argv[] = { run->program, NULL };
	int64_t before, after;
	int input, status;
	pid_t pid;

	input = open(run->input, O_RDONLY | O_CLOEXEC);
	if (input < 0)
		die(run->label, run->input);
	if (posix_spawn_file_actions_init(&files) ||
		posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO) ||
		posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO))
		die(run->label, "posix_spawn");
	before = now_us();
	errno = posix_spawn(&pid, run->program, &files, NULL, argv, (char *const *)run->env);
	if (errno)
		die(run->label, run->program);
	if (wait4(pid, &status, 0, used) != pid)
		die(run->label, "wait");
	after = now_us();
	posix_spawn_file_actions_destroy(&files);
	close(input);
	if (!status)
		return after - before;
	print_failure(run, output, status);
	return -1;
}

int main(void)
{
	int output = memfd_create("stdout", MFD_CLOEXEC);
	char *line = NULL;
	size_t room = 0;
	int failed = 0;

	if (output < 0)
		die("stdout", "memfd_create");
	while (!failed && getline(&line, &room, stdin) > 0) {
		struct run run;
		struct rusage used;
		int64_t took;

		if (!parse(line, &run)) {
			fprintf(stderr, "spawn: a line needs a label, a program and a file for stdin\n");
			failed = 1;
			break;
		}
		if (ftruncate(output, 0) < 0 || lseek(output, 0, SEEK_SET) < 0)
			die(run.label, "stdout");
		took = time_one(&run, output, &used);
		failed = took < 0;
		if (!failed)
			printf("%s\t%lld\t%lld\t%lld\n", run.label, (long long)took,
				(long long)in_us(&used.ru_utime), (long long)in_us(&used.ru_stime));
	}
	free(line);
	close(output);
	return failed;
}
