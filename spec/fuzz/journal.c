// SPDX-License-Identifier: Apache-2.0
// Fuzzes journals: a byte that chooses rollback or DEL, and what the file holds. They are undone for real, in
// a network namespace without anything in it; only programs are not started.
#define _GNU_SOURCE
#include "fuzz.h"
#include "kernel.h"

#include "exec.h"
#include "journal.h"
#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __wrap_mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err);

// Stands in for running a program: what it would have been given must at least be whole.
int __wrap_mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err)
{
	fuzz_require(what->path && what->argv && what->argv[0] && what->env, "half a program");
	if (*what->path != '/')
		return mn_fail(err, ENOENT, "run", what->path, "there is no such program");
	result->status = (int)(strlen(what->path) % 2);
	result->output = strdup("it says so");
	return 0;
}

int __wrap_mn_sysctl_set(
	int netns, struct mn_sysctl *list, size_t count, size_t *failed, struct mn_error *err);

// Reads the setting: writing may wait for a lock of the whole machine's.
int __wrap_mn_sysctl_set(
	int netns, struct mn_sysctl *list, size_t count, size_t *failed, struct mn_error *err)
{
	int ret = mn_sysctl_get(netns, list, count, err);

	fuzz_require(count == 1, "more than one setting");
	(void)failed;
	return ret == 0 && !list->previous && !list->optional ? mn_fail(err, ENOENT, "set", list->key, "")
							      : ret;
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "%s cannot be written", path);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *answers = size ? memchr(data + 1, '\0', size - 1) : NULL;
	size_t length = answers ? (size_t)(answers - data) : size;
	struct mn_error err = { 0 };
	char path[512];
	int ret;

	if (size == 0)
		return 0;
	fuzz_kernel(answers ? answers + 1 : NULL, answers ? size - length - 1 : 0, true);
	snprintf(path, sizeof(path), "%s/journal", fuzz_directory());
	write_file(path, data + 1, length - 1);
	ret = mn_undo_file(path, data[0] & 1, &err);
	if (ret == 0) {
		fuzz_require(access(path, F_OK) < 0, "undone, and the journal is still there");
		return 0;
	}
	fuzz_require(err.errnum == -ret, "%d is not what the error tells, %d", ret, err.errnum);
	fuzz_require(access(path, F_OK) == 0, "not undone, and the journal is gone");
	return 0;
}
