// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "record.h"

#include "cleanup.h"
#include "hash.h"
#include "io.h"
#include "record_text.h"
#include "recorder.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define HEADER "mncni-calls format=%d slots=%d size=%d next=%" PRIu64 "\n"
#define PREFIX 34 // "%016x %016x " before the JSON of a slot
#define RING_SIZE ((off_t)(MN_RECORD_SLOTS + 1) * MN_RECORD_SIZE)
#define WHOLE_START ((off_t)266240) // the first page behind the slots
#define LOCK_TRIES 40
#define LOCK_PAUSE_NS 250000

_Static_assert(WHOLE_START >= RING_SIZE, "whole records begin behind the slots");
_Static_assert(MN_RECORD_SIZE == PREFIX + MN_RECORD_TEXT + 1, "a slot is its prefix, its text and a newline");

struct ring {
	int fd;
	uint64_t next; // the number of the next record; the first is 1
};

int64_t mn_record_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int fail(struct mn_error *err, int errnum, const char *op, const char *path)
{
	int ret = mn_fail(err, errnum, op, path, NULL);

	if (err)
		err->code = 5;
	return ret;
}

static off_t slot_offset(uint64_t number)
{
	return (off_t)((number - 1) % MN_RECORD_SLOTS + 1) * MN_RECORD_SIZE;
}

static off_t whole_offset(uint64_t number)
{
	return WHOLE_START + (off_t)((number - 1) % MN_RECORD_SLOTS) * MN_RECORDER_SIZE;
}

// Checks one slot; returns its number and leaves the JSON terminated in place, or returns 0.
static uint64_t slot_parse(char slot[MN_RECORD_SIZE], char **json)
{
	uint64_t number, hash;
	size_t len;

	if (slot[MN_RECORD_SIZE - 1] != '\n')
		return 0;
	slot[MN_RECORD_SIZE - 1] = '\0';
	len = strlen(slot);
	if (len != MN_RECORD_SIZE - 1 || sscanf(slot, "%16" SCNx64 " %16" SCNx64 " ", &number, &hash) != 2)
		return 0;
	while (len > PREFIX && slot[len - 1] == ' ')
		slot[--len] = '\0';
	if (mn_hash(slot + PREFIX, len - PREFIX) != hash)
		return 0;
	*json = slot + PREFIX;
	return number;
}

static int lock(int fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_NS }, NULL);
	}
	return -EAGAIN;
}

static int open_ring(const char *state_dir, bool make, const char *path)
{
	int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = mn_openat(AT_FDCWD, path, flags, 0600);

	if (fd < 0 && errno == ENOENT && make && (!mkdir(state_dir, 0700) || errno == EEXIST))
		fd = mn_openat(AT_FDCWD, path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

// Finds the number to go on with: the header's, or one more than the newest slot when the header is damaged.
// What is no ring at all is emptied; one of a newer format is left alone (-ENOTSUP).
static int read_header(struct ring *ring)
{
	char header[MN_RECORD_SIZE + 1] = "", slot[MN_RECORD_SIZE];
	int format, slots, size;
	uint64_t newest = 0;

	if (pread(ring->fd, header, MN_RECORD_SIZE, 0) < 0)
		return -errno;
	if (sscanf(header, "mncni-calls format=%d slots=%d size=%d next=%" SCNu64, &format, &slots, &size,
		    &ring->next) == 4 &&
		ring->next > 0) {
		if (format > MN_RECORD_FORMAT)
			return -ENOTSUP;
		if (format == MN_RECORD_FORMAT && slots == MN_RECORD_SLOTS && size == MN_RECORD_SIZE)
			return 0;
	}
	for (uint64_t i = 1; i <= MN_RECORD_SLOTS; i++) {
		char *json;
		uint64_t number;

		if (pread(ring->fd, slot, sizeof(slot), slot_offset(i)) != sizeof(slot))
			break;
		number = slot_parse(slot, &json);
		if (number && slot_offset(number) == slot_offset(i) && number > newest)
			newest = number;
	}
	ring->next = newest + 1;
	if (!newest && ftruncate(ring->fd, 0) < 0)
		return -errno;
	return 0;
}

static int write_header(const struct ring *ring)
{
	char header[MN_RECORD_SIZE];
	int len;

	memset(header, ' ', sizeof(header));
	len = snprintf(header, sizeof(header), HEADER, MN_RECORD_FORMAT, MN_RECORD_SLOTS, MN_RECORD_SIZE,
		ring->next);
	header[len] = ' ';
	header[sizeof(header) - 1] = '\n';
	return pwrite(ring->fd, header, sizeof(header), 0) == (ssize_t)sizeof(header) ? 0 : -EIO;
}

static int write_slot(const struct ring *ring, uint64_t number, const char *json)
{
	char slot[MN_RECORD_SIZE];
	size_t len = strlen(json);

	memset(slot, ' ', sizeof(slot));
	mn_put_hex(slot, number, 16);
	mn_put_hex(slot + 17, mn_hash(json, len), 16);
	memcpy(slot + PREFIX, json, len + 1);
	slot[PREFIX + len] = ' ';
	slot[sizeof(slot) - 1] = '\n';
	return pwrite(ring->fd, slot, sizeof(slot), slot_offset(number)) == (ssize_t)sizeof(slot) ? 0 : -EIO;
}

// Writes the text into the next slot, and the whole record, if there is room on the disk. The header goes
// first: a process killed in between loses its own record and nobody else's.
static int append(struct ring *ring, const char *json, const char *document)
{
	uint64_t number = ring->next++;
	int ret = write_header(ring);
	const char *whole;
	size_t size;

	if (ret < 0)
		return ret;
	size = mn_recorder_finish(number, document, &whole);
	if (size)
		(void)!pwrite(ring->fd, whole, size, whole_offset(number));
	return write_slot(ring, number, json);
}

// Returns how often the newest record says what this one would, 0 when it says something else.
static unsigned int repeats(const struct ring *ring, const struct mn_record *record)
{
	char slot[MN_RECORD_SIZE];
	char *json;

	if (ring->next < 2 ||
		pread(ring->fd, slot, sizeof(slot), slot_offset(ring->next - 1)) != (ssize_t)sizeof(slot) ||
		slot_parse(slot, &json) != ring->next - 1)
		return 0;
	return mn_record_same(json, record);
}

static bool is_probe(const struct mn_record *record)
{
	return record->verb && (!strcmp(record->verb, "STATUS") || !strcmp(record->verb, "VERSION"));
}

static int write_locked(struct ring *ring, const struct mn_record *record)
{
	unsigned int repeated = 0;
	char json[MN_RECORD_TEXT + 1];
	int ret = read_header(ring);

	if (ret < 0)
		return ret;
	if (is_probe(record))
		repeated = repeats(ring, record);
	ret = mn_record_format(record, repeated, json);
	if (ret < 0)
		return ret;
	return repeated ? write_slot(ring, ring->next - 1, json) : append(ring, json, record->document);
}

int mn_record_write(const char *state_dir, const struct mn_record *record, struct mn_error *err)
{
	char path[PATH_MAX];
	auto_close int fd = -1;
	struct ring ring = { 0 };
	struct stat st;
	int ret;

	if (!mn_join(path, sizeof(path), state_dir, "/", MN_RECORD_FILE))
		return fail(err, ENAMETOOLONG, "record", state_dir);
	fd = open_ring(state_dir, !is_probe(record), path);
	if (fd == -ENOENT && is_probe(record))
		return 0; // a node that never made a pod, asked how it is
	if (fd < 0)
		return fail(err, -fd, "open", path);
	if (fstat(fd, &st) < 0)
		return fail(err, errno, "stat", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, EINVAL, "record: not a regular file", path);
	ret = lock(fd);
	if (ret < 0)
		return fail(err, -ret, "lock", path);
	ring.fd = fd;
	ret = write_locked(&ring, record);
	return ret < 0 ? fail(err, -ret, "write", path) : 0;
}

static int newest_first(const void *a, const void *b)
{
	uint64_t left = ((const struct mn_record_found *)a)->number,
		 right = ((const struct mn_record_found *)b)->number;

	return left < right ? 1 : left > right ? -1 : 0;
}

// Reads up to size bytes from an offset of the file on; returns how many there were.
static ssize_t read_at(int fd, char *buf, size_t size, off_t offset)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = pread(fd, buf + used, size - used, offset + (off_t)used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

// Reads a part of the ring into *buf, malloc'd. Returns how many bytes there were, 0 where there is no ring.
static ssize_t read_part(const char *state_dir, char **buf, size_t size, off_t offset, struct mn_error *err)
{
	auto_close int fd = -1;
	char path[PATH_MAX];
	ssize_t n;

	*buf = NULL;
	if (!mn_join(path, sizeof(path), state_dir, "/", MN_RECORD_FILE))
		return fail(err, ENAMETOOLONG, "read", state_dir);
	fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "open", path);
	*buf = malloc(size);
	if (!*buf)
		return fail(err, ENOMEM, "read", path);
	n = read_at(fd, *buf, size, offset);
	return n < 0 ? fail(err, (int)-n, "read", path) : n;
}

int mn_record_read(const char *state_dir, struct mn_record_list *list, struct mn_error *err)
{
	ssize_t size = read_part(state_dir, &list->memory, (size_t)RING_SIZE, 0, err);

	list->count = 0;
	for (off_t at = MN_RECORD_SIZE; at + MN_RECORD_SIZE <= size; at += MN_RECORD_SIZE) {
		char *json;
		uint64_t number = slot_parse(list->memory + at, &json);

		if (number && slot_offset(number) == at)
			list->found[list->count++] =
				(struct mn_record_found){ .number = number, .json = json };
	}
	qsort(list->found, list->count, sizeof(*list->found), newest_first);
	return size < 0 ? (int)size : 0;
}

int mn_record_read_whole(
	const char *state_dir, uint64_t number, char **text, size_t *size, struct mn_error *err)
{
	ssize_t n = read_part(state_dir, text, MN_RECORDER_SIZE, whole_offset(number), err);

	*size = n > 0 ? mn_recorder_check(*text, (size_t)n, number) : 0;
	return n < 0 ? (int)n : 0;
}
