// SPDX-License-Identifier: Apache-2.0
// Fuzzes the address store: a directory with the files that the input names, "NAME\nCONTENT" each and a zero
// byte between. An attachment then takes an address and gives it back, beside whatever is there.
#define _GNU_SOURCE
#include "fuzz.h"

#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTAINER "c0ffee"
#define IFNAME "eth0"
#define FILES_MAX 8

// Makes one file; a content that starts with "@" makes a link to what follows, "#" sets the time stamp that
// marks boots.
static void make_file(int dir, char *entry)
{
	char *content = strchr(entry, '\n');
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = 0 } };
	int fd;

	if (content)
		*content++ = '\0';
	if (!*entry || strchr(entry, '/') || strlen(entry) > 255)
		return;
	if (content && *content == '@') {
		(void)!symlinkat(content + 1, dir, entry);
		return;
	}
	fd = openat(dir, entry, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (content && *content == '#') {
		times[1].tv_nsec = strtol(content + 1, &content, 10) % 1000000000;
		if (times[1].tv_nsec < 0)
			times[1].tv_nsec = 0;
	}
	if (content)
		(void)!write(fd, content, strlen(content));
	(void)futimens(fd, times);
	close(fd);
}

static void fill(const char *path, const uint8_t *data, size_t size)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *entry;

	fuzz_require(dir >= 0, "%s cannot be opened", path);
	for (int n = 0; n < FILES_MAX && (entry = fuzz_part(&data, &size, '\0')); n++) {
		make_file(dir, entry);
		free(entry);
	}
	close(dir);
}

static int count_entry(const struct mn_store_entry *entry, void *arg)
{
	char printed[MN_ADDRESS_STRLEN];

	mn_address_format(&entry->address, printed);
	fuzz_require(*printed, "an entry without address");
	++*(size_t *)arg;
	return 0;
}

static void use(struct mn_store *store)
{
	struct mn_range range = { { 0 }, { 0 }, { 0 } };
	struct mn_range_set set = { .ranges = &range, .n = 1 };
	struct mn_address address = { 0 }, *found = NULL;
	struct mn_error err = { 0 };
	uint64_t taken, all, position;
	size_t n = 0, entries = 0;
	int got, room;

	mn_address_parse("10.0.0.1", &range.first);
	mn_address_parse("10.0.0.6", &range.last);
	mn_address_parse("10.0.0.1", &range.gateway);
	fuzz_require(mn_store_list(store, count_entry, &entries, &err) == 0, "list: %s", err.message);
	room = mn_store_has_room(store, &set, &err);
	got = mn_store_reserve(store, &set, CONTAINER, IFNAME, &address, &err);
	if (got < 0) { // a directory or a link stands where a file should be
		fuzz_require(*err.object, "an error without its file");
		return;
	}
	fuzz_require(room < 0 || room == got, "room %d, and %d reserved", room, got);
	if (got > 0) {
		fuzz_require(mn_range_set_position(&set, &address, &position) &&
				!mn_range_set_is_gateway(&set, &address),
			"an address that is not to be given");
		fuzz_require(mn_store_holds(store, &address, CONTAINER, IFNAME, &err) == 1, "it is not held");
	}
	fuzz_require(mn_store_count(store, &set, &taken, &all, &err) == 0 && taken <= all, "%s", err.message);
	fuzz_require(mn_store_find(store, CONTAINER, IFNAME, &found, &n, &err) == 0, "find: %s", err.message);
	fuzz_require(got == 0 || n > 0, "what was reserved is not found");
	fuzz_require(
		mn_store_free(store, CONTAINER, IFNAME, found, n, &err) == (int)n, "free: %s", err.message);
	free(found);
	fuzz_require(got == 0 || mn_store_holds(store, &address, CONTAINER, IFNAME, &err) == 0, "still held");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mn_error err = { 0 };
	struct mn_store store;
	char path[512];
	int ret;

	snprintf(path, sizeof(path), "%s/pods", fuzz_directory());
	fuzz_require(mkdir(path, 0755) == 0 || errno == EEXIST, "%s cannot be made", path);
	fill(path, data, size);
	ret = mn_store_open(&store, path, MN_STORE_CREATE, 50, NULL, &err);
	if (ret == 0)
		use(&store);
	else
		fuzz_require(*err.object, "an error without its file");
	if (ret == 0)
		mn_store_close(&store);
	fuzz_empty(path);
	return 0;
}
