// SPDX-License-Identifier: Apache-2.0
// What goes through a pipe of another process, seen without taking it away: tee(2) copies what is in the
// pipe, as often as something new comes, and the copies are joined where they overlap.
#define _GNU_SOURCE
#include "trace_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TAPPED ((size_t)2 << 20) // of one descriptor

void mn_tap_open(struct mn_tap *tap, pid_t pid, int number)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
	// Anything but a pipe or a file may do something when it is opened.
	if (stat(path, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode)))
		return;
	tap->is_pipe = S_ISFIFO(st.st_mode);
	tap->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

// Adds what of the bytes was not seen yet: they begin somewhere in what was.
static void join(struct mn_tap *tap, const char *bytes, size_t size)
{
	size_t overlap = size < tap->size ? size : tap->size;
	char *data;

	while (overlap > 0 && memcmp(tap->data + tap->size - overlap, bytes, overlap) != 0)
		overlap--;
	if (overlap == size || tap->size + size - overlap > MAX_TAPPED)
		return;
	data = realloc(tap->data, tap->size + size - overlap);
	if (!data)
		return;
	memcpy(data + tap->size, bytes + overlap, size - overlap);
	tap->data = data;
	tap->size += size - overlap;
}

static void read_pipe(struct mn_trace *trace, struct mn_tap *tap)
{
	ssize_t copied = tee(tap->fd, trace->scratch[1], sizeof(trace->buffer), SPLICE_F_NONBLOCK);
	size_t have = 0;

	while (copied > 0 && have < (size_t)copied) {
		ssize_t got = read(trace->scratch[0], trace->buffer + have, (size_t)copied - have);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	if (have > 0)
		join(tap, trace->buffer, have);
}

void mn_tap_read(struct mn_trace *trace, struct mn_tap *tap)
{
	ssize_t got;

	if (tap->fd < 0)
		return;
	if (tap->is_pipe) {
		read_pipe(trace, tap);
		return;
	}
	while (tap->size < MAX_TAPPED &&
		(got = pread(tap->fd, trace->buffer, sizeof(trace->buffer), (off_t)tap->size)) > 0) {
		char *data = realloc(tap->data, tap->size + (size_t)got);

		if (!data)
			return;
		memcpy(data + tap->size, trace->buffer, (size_t)got);
		tap->data = data;
		tap->size += (size_t)got;
	}
}

void mn_tap_close(struct mn_tap *tap)
{
	if (tap->fd >= 0)
		close(tap->fd);
	free(tap->data);
	*tap = (struct mn_tap){ .fd = -1 };
}
