// SPDX-License-Identifier: Apache-2.0
// Starts programs as a container runtime does and says how long each took, with no interpreter in between.
//
// Each line of stdin is one run, its fields separated by tabs: LABEL PROGRAM STDIN-FILE NAME=VALUE...
// where the rest is the complete environment. PROGRAM and STDIN-FILE may be lists, separated by colons: these
// are started one after the other, as the plugins of a chain are, and what one prints takes the place of
// @previous@ in the next one's stdin. For each a line "LABEL<tab>WALL<tab>CPU<tab>RSS" is printed, in
// microseconds and KiB: from just before the start until the program has been waited for, what it and its
// children used of the processors, and its largest resident set, of a list the sum of them. The first run
// that fails ends the whole, with what it printed.
//
// With the argument "at-once" all runs are started before the first is waited for; a last line "total" has
// the time from the first start to the last end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENV 64
#define MAX_AT_ONCE 1000

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

static int empty_file(void)
{
	int fd = memfd_create("spawn", MFD_CLOEXEC);

	if (fd < 0)
		die("spawn", "memfd_create");
	return fd;
}

// Opens a program's stdin, with what the one before it has printed.
static int open_input(const char *path, int output)
{
	static const char mark[] = "@previous@";
	static char text[65536], previous[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC), made;
	ssize_t size, got;
	char *at;

	if (fd < 0 || (size = read(fd, text, sizeof(text) - 1)) < 0)
		die(path, "open");
	text[size] = '\0';
	at = strstr(text, mark);
	if (!at) {
		lseek(fd, 0, SEEK_SET);
		return fd;
	}
	close(fd);
	got = pread(output, previous, sizeof(previous), 0);
	made = empty_file();
	if (got < 0 ||
		dprintf(made, "%.*s%.*s%s", (int)(at - text), text, (int)got, previous, at + strlen(mark)) <
			0 ||
		lseek(made, 0, SEEK_SET) < 0)
		die(path, "stdin");
	return made;
}

static pid_t start(const struct run *run, char *program, int input, int output)
{
	posix_spawn_file_actions_t files;
	char *argv[] = { program, NULL };
	pid_t pid;

	if (posix_spawn_file_actions_init(&files) ||
		posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO) ||
		posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO))
		die(run->label, "posix_spawn");
	errno = posix_spawn(&pid, program, &files, NULL, argv, (char *const *)run->env);
	if (errno)
		die(run->label, program);
	posix_spawn_file_actions_destroy(&files);
	close(input);
	return pid;
}

// The kernel divides what it has measured between user and system by its ticks; the sum is exact.
static void print_times(const struct run *run, int64_t took, const struct rusage *used)
{
	int64_t cpu = in_us(&used->ru_utime) + in_us(&used->ru_stime);

	printf("%s\t%lld\t%lld\t%ld\n", run->label, (long long)took, (long long)cpu, used->ru_maxrss);
}

static bool parse_line(char *line, struct run *run)
{
	if (parse(line, run))
		return true;
	fprintf(stderr, "spawn: a line needs a label, a program and a file for stdin\n");
	return false;
}

// Runs the programs of one line; returns the status of the last, and adds up what they used.
static int run_all(struct run *run, int output, struct rusage *used)
{
	char *program, *input;
	int status = 0;

	memset(used, 0, sizeof(*used));
	while (status == 0 && (program = strsep(&run->program, ":")) && (input = strsep(&run->input, ":"))) {
		int from = open_input(input, output);
		struct rusage one;

		if (ftruncate(output, 0) < 0 || lseek(output, 0, SEEK_SET) < 0)
			die(run->label, "stdout");
		if (wait4(start(run, program, from, output), &status, 0, &one) < 0)
			die(run->label, "wait");
		timeradd(&used->ru_utime, &one.ru_utime, &used->ru_utime);
		timeradd(&used->ru_stime, &one.ru_stime, &used->ru_stime);
		used->ru_maxrss += one.ru_maxrss;
	}
	return status;
}

static int one_by_one(void)
{
	int output = empty_file(), failed = 0;
	char *line = NULL;
	size_t room = 0;

	while (!failed && getline(&line, &room, stdin) > 0) {
		struct rusage used;
		struct run run;
		int64_t before;
		int status;

		if (!parse_line(line, &run))
			return 1;
		before = now_us();
		status = run_all(&run, output, &used);
		if (status == 0)
			print_times(&run, now_us() - before, &used);
		else
			print_failure(&run, output, status);
		failed = status != 0;
	}
	free(line);
	close(output);
	return failed;
}

static int at_once(void)
{
	static struct job {
		struct run run;
		int output;
		int64_t begun;
		pid_t pid;
	} jobs[MAX_AT_ONCE];
	size_t count = 0, room = 0;
	char *line = NULL;
	int failed = 0;

	while (count < MAX_AT_ONCE && getline(&line, &room, stdin) > 0) {
		if (!parse_line(line, &jobs[count].run))
			return 1;
		jobs[count++].output = empty_file();
		line = NULL; // the job keeps it
		room = 0;
	}
	for (size_t i = 0; i < count; i++) {
		jobs[i].begun = now_us();
		jobs[i].pid = start(
			&jobs[i].run, jobs[i].run.program, open_input(jobs[i].run.input, -1), jobs[i].output);
	}
	for (size_t left = count; left > 0; left--) {
		struct rusage used;
		int status;
		pid_t pid = wait4(-1, &status, 0, &used);

		for (size_t i = 0; i < count; i++) {
			if (jobs[i].pid != pid)
				continue;
			if (status == 0)
				print_times(&jobs[i].run, now_us() - jobs[i].begun, &used);
			else
				print_failure(&jobs[i].run, jobs[i].output, status);
			failed = failed || status != 0;
		}
	}
	printf("total\t%lld\t0\t0\n", count ? (long long)(now_us() - jobs[0].begun) : 0);
	return failed;
}

int main(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], "at-once") == 0 ? at_once() : one_by_one();
}
