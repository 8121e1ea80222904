// SPDX-License-Identifier: Apache-2.0
// Running another program: a plugin that a policy delegates to, with a deadline and bounded output.
#ifndef MNCNI_EXEC_H
#define MNCNI_EXEC_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct mn_exec {
	const char *path;	 // the program, by a path with "/"
	const char *const *argv; // complete, NULL-terminated
	const char *const *env;	 // complete, NULL-terminated
	const char *input;	 // what it reads on stdin; may be NULL when input_size is 0
	size_t input_size;
	int timeout_ms;	   // 0: no deadline
	size_t max_output; // bytes of stdout; more ends it
};

struct mn_exec_result {
	int status;	// exit code, -1 when it did not exit by itself
	int signal;	// what ended it, 0 when it exited
	bool timed_out; // the deadline passed and its process group was ended
	bool overflow;	// it wrote more than max_output and its process group was ended
	char *output;	// stdout, terminated
	size_t output_size;
	char *errors; // stderr as far as MN_EXEC_ERRORS, terminated
	size_t errors_size;
};

#define MN_EXEC_ERRORS 65536 // bytes of stderr kept and forwarded; what comes after is dropped

// Runs a program to its end and returns 0 with the result filled in, whatever it did; to be freed with
// mn_exec_free(). Returns -errno with err when it could not be started. The program gets a process group of
// its own, default signal handling, an empty signal mask and no descriptors but stdin, stdout and stderr; its
// stderr is also written to ours. When the deadline passes or the output is too big its group gets SIGTERM,
// and SIGKILL 200 ms later. Processes that it leaves behind after a normal end are not waited for, even when
// they hold its output open. Only this child is waited for. The calling thread's namespaces are the
// program's.
int mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err);

void mn_exec_free(struct mn_exec_result *result);

// Finds an executable file called name in a colon-separated list of directories; with a "/" in it the name is
// the path.
int mn_exec_find(const char *name, const char *directories, char *path, size_t size, struct mn_error *err);

// Sends SIGKILL to the group of the program that mn_exec() is running, if any. For signal handlers.
void mn_exec_kill(void);

#endif
