// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "recorder.h"

#include "mncni.h"
#include "text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD_NAME "mncni-call "
#define HEAD_SIZE 39   // of it, the version, 16 digits of the number and 8 of the size
#define KIND_MAX 16    // bytes of a kind
#define NOTE_HEAD 80   // bytes of a note besides its own
#define NOTE_MAX 12288 // bytes of one note: no configuration leaves the steps without room
#define LAST_ROOM 5120 // for the answer and the end
#define END_SIZE 24    // bytes of the end's own

static struct {
	int64_t since;
	unsigned int lost;
	size_t used; // 0: nothing is recorded
	char text[MN_RECORDER_SIZE];
} record __attribute__((aligned(4096))); // an ordinary one is in a page

void mn_record_begin(int64_t started)
{
	record.since = started;
	record.lost = 0;
	record.used = HEAD_SIZE;
}

// Writes a number and what follows it; returns where that ends.
static char *put_number(char *to, uint64_t value, char next)
{
	to = mn_put_decimal(to, value);
	*to++ = next;
	return to;
}

// Adds a note that ends before `room`, cut where it is too long. Bytes come before the count of them, which a
// signal handler believes.
static void put(const char *kind, const char *bytes, size_t len, size_t room)
{
	size_t kept = len < NOTE_MAX ? len : NOTE_MAX;
	char *to = record.text + record.used;

	if (record.used + NOTE_HEAD >= room) {
		record.lost++;
		return;
	}
	if (kept > room - record.used - NOTE_HEAD)
		kept = room - record.used - NOTE_HEAD;
	to = mempcpy(to, kind, strnlen(kind, KIND_MAX));
	*to++ = ' ';
	to = put_number(to, (uint64_t)(mn_record_clock() - record.since), ' ');
	to = put_number(to, kept, ' ');
	to = put_number(to, len, '\n');
	memcpy(to, bytes, kept);
	to[kept] = '\n';
	__asm__ volatile("" ::: "memory");
	record.used = (size_t)(to - record.text) + kept + 1;
}

void mn_record_note(const char *kind, const char *bytes, size_t len)
{
	if (record.used)
		put(kind, bytes, len, MN_RECORDER_SIZE - LAST_ROOM);
}

size_t mn_recorder_finish(uint64_t number, const char *document, const char **whole)
{
	char end[END_SIZE], *to;
	size_t size;

	if (!record.used)
		return 0;
	if (document)
		put("answer", document, strlen(document), MN_RECORDER_SIZE - END_SIZE - NOTE_HEAD);
	put("end", end, (size_t)(put_number(end, record.lost, '\0') - end - 1), MN_RECORDER_SIZE);
	size = record.used;
	to = put_number(stpcpy(record.text, HEAD_NAME), MN_RECORDER_FORMAT, ' ');
	to = mn_put_hex(to, number, 16);
	*to++ = ' ';
	*mn_put_hex(to, size, 8) = '\n';
	record.used = 0;
	*whole = record.text;
	return size;
}

size_t mn_recorder_check(const char *bytes, size_t size, uint64_t number)
{
	char head[HEAD_SIZE + 1] = "";
	uint64_t found;
	size_t whole;
	int format;

	if (size < HEAD_SIZE)
		return 0;
	memcpy(head, bytes, HEAD_SIZE);
	if (sscanf(head, HEAD_NAME "%d %16" SCNx64 " %8zx\n", &format, &found, &whole) != 3 ||
		format != MN_RECORDER_FORMAT || found != number || whole < HEAD_SIZE)
		return 0;
	return whole < size ? whole : size;
}

void mn_record_save(int fd)
{
	int file = record.used ? memfd_create("mncni-record", 0) : -1;

	if (file < 0)
		return;
	if (pwrite(file, record.text, record.used, 0) == (ssize_t)record.used)
		(void)dup2(file, fd);
	close(file);
}

void mn_record_resume(int fd, int64_t started)
{
	ssize_t size;

	mn_record_begin(started);
	// Only an unnamed file has seals; a pipe would be waited for.
	if (fcntl(fd, F_GET_SEALS) < 0)
		return;
	size = pread(fd, record.text, sizeof(record.text), 0);
	if (size > HEAD_SIZE)
		record.used = (size_t)size;
}
