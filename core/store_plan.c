// SPDX-License-Identifier: Apache-2.0
// Which address is next: round robin after the last one, without reading the directory while a free one is
// near.
#define _GNU_SOURCE
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"

#define PROBES \
	128 // looked at one by one under the lock, about a microsecond each, before the directory is read
#define ROUNDS 16 // directory read, and the gap found there lost to others

// Tells whether the address may be given out: 1, 0 or -errno. What a crash left empty counts as free.
static int is_free(struct mn_store *store, const struct mn_range_set *set, const struct mn_address *address,
	struct mn_error *err)
{
	char name[MN_ADDRESS_STRLEN];
	struct stat st;

	if (mn_range_set_is_gateway(set, address))
		return 0;
	mn_address_format(address, name);
	if (fstatat(store->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISREG(st.st_mode) && st.st_size == 0;
	return errno == ENOENT ? 1 : mn_store_fail(store, errno, "read", name, err);
}

// The file that says which address of a set was given out last, as it was when it was read under the lock.
struct hint {
	int fd; // below 0: not open
	off_t size;
};

// Reads the position of the address that was given out last; false when none is known or it is out of the
// set. With a hint, the file stays open for the next.
static bool read_hint(
	struct mn_store *store, const struct mn_range_set *set, uint64_t *position, struct hint *hint)
{
	struct mn_address last;
	struct mn_file file;
	char name[32];

	snprintf(name, sizeof(name), "last_reserved_ip.%u", set->index);
	if ((hint ? mn_store_read_open(store, name, &file, &hint->fd)
		  : mn_store_read(store, name, &file, NULL)) <= 0)
		return false;
	if (hint)
		hint->size = file.st.st_size;
	file.text[strcspn(file.text, " \t\r\n")] = '\0';
	return mn_address_parse(file.text, &last) && mn_range_set_position(set, &last, position);
}

static void write_hint(struct mn_store *store, const struct mn_range_set *set,
	const struct mn_address *address, const struct hint *hint)
{
	char name[32], text[MN_ADDRESS_STRLEN];
	off_t size;

	mn_address_format(address, text);
	size = (off_t)strlen(text);
	if (hint->fd >= 0) {
		store->hint_lost = mn_write_whole(hint->fd, text, (size_t)size) < 0 ||
			(hint->size > size && ftruncate(hint->fd, size) < 0);
		return;
	}
	snprintf(name, sizeof(name), "last_reserved_ip.%u", set->index);
	store->hint_lost = mn_store_write(store, name, text, NULL) < 0;
}

// Under the lock: the first free address within the next PROBES from *start on; 1, 0 when there is none,
// -errno.
static int probe(struct mn_store *store, const struct mn_range_set *set, uint64_t size, uint64_t start,
	struct mn_address *address, const struct hint *hint, struct mn_error *err)
{
	for (uint64_t i = 0; i < PROBES && i < size; i++) {
		int rc;

		mn_range_set_at(set, (start + i) % size, address);
		rc = is_free(store, set, address, err);
		if (rc > 0)
			write_hint(store, set, address, hint);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int compare_steps(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

// Every taken position of a set as its distance, going round, from where the search starts.
struct steps {
	uint64_t *step;
	size_t n, room;
};

static int add_step(struct steps *steps, uint64_t step)
{
	if (steps->n == steps->room) {
		size_t room = steps->room ? steps->room * 2 : 1024;
		uint64_t *grown = realloc(steps->step, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		steps->step = grown;
		steps->room = room;
	}
	steps->step[steps->n++] = step;
	return 0;
}

static int collect(struct mn_store *store, const struct mn_range_set *set, uint64_t size, uint64_t start,
	struct steps *steps, struct mn_error *err)
{
	struct mn_address address;
	uint64_t position;
	DIR *names;
	int rc = mn_store_names(store, &names, err);

	if (rc < 0)
		return rc;
	while ((rc = mn_store_next_name(store, names, &address, err)) > 0) {
		if (!mn_range_set_position(set, &address, &position))
			continue;
		if (add_step(steps, (position + size - start) % size) < 0) {
			rc = mn_store_fail(store, ENOMEM, "read", NULL, err);
			break;
		}
	}
	closedir(names);
	for (size_t i = 0; i < set->n && rc == 0; i++) {
		if (mn_range_set_position(set, &set->ranges[i].gateway, &position) &&
			add_step(steps, (position + size - start) % size) < 0)
			rc = mn_store_fail(store, ENOMEM, "read", NULL, err);
	}
	return rc;
}

// Reads the directory, without the lock, for the distance from start to the nearest gap: 1, 0 when all is
// taken.
static int nearest_gap(struct mn_store *store, const struct mn_range_set *set, uint64_t size, uint64_t start,
	uint64_t *gap, struct mn_error *err)
{
	struct steps steps = { 0 };
	int rc = collect(store, set, size, start, &steps, err);

	*gap = 0;
	if (rc == 0 && steps.n > 0) {
		qsort(steps.step, steps.n, sizeof(*steps.step), compare_steps);
		for (size_t i = 0; i < steps.n && steps.step[i] <= *gap; i++)
			*gap = steps.step[i] + 1;
	}
	free(steps.step);
	return rc < 0 ? rc : *gap < size;
}

struct salvage {
	struct mn_store *store;
	const struct mn_range_set *set;
	struct mn_address *address;
	struct mn_error *err;
};

// Takes the first file of the set that a crash left without an owner out of the way.
static int salvage_file(const struct mn_store_entry *entry, void *arg)
{
	struct salvage *salvage = arg;
	char name[MN_ADDRESS_STRLEN];
	uint64_t position;
	int rc;

	if (entry->container || !mn_range_set_position(salvage->set, &entry->address, &position) ||
		mn_range_set_is_gateway(salvage->set, &entry->address))
		return 0;
	mn_address_format(&entry->address, name);
	rc = mn_store_reclaim(salvage->store, name, salvage->err);
	if (rc > 0)
		*salvage->address = entry->address;
	return rc;
}

// Where the search starts: behind the last address given out, or behind the one just lost if that is not on
// record.
static uint64_t start_position(struct mn_store *store, const struct mn_range_set *set, uint64_t size,
	const struct mn_address *lost, struct hint *hint)
{
	uint64_t position;

	if (store->hint_lost && lost->family && mn_range_set_position(set, lost, &position))
		return (position + 1) % size;
	return read_hint(store, set, &position, hint) ? (position + 1) % size : 0;
}

int mn_store_plan(struct mn_store *store, const struct mn_range_set *set, struct mn_address *address,
	struct mn_error *err)
{
	struct mn_address lost = *address;
	struct salvage salvage = { store, set, address, err };
	uint64_t size = mn_range_set_size(set), start = 0, gap = 0;

	for (int round = 0; size > 0; round++) {
		struct hint hint = { .fd = -1 };
		auto_close int lock = -1;
		int rc = mn_store_lock(store, &lock, err);

		if (rc < 0)
			return rc;
		if (round == 0)
			start = start_position(store, set, size, &lost, &hint);
		rc = probe(store, set, size, (start + gap) % size, address, &hint, err);
		if (hint.fd >= 0)
			close(hint.fd);
		if (rc != 0)
			return rc;
		close(steal_fd(&lock));
		rc = size > PROBES ? nearest_gap(store, set, size, start, &gap, err) : 0;
		if (rc < 0)
			return rc;
		if (rc == 0)
			break;
		if (round == ROUNDS) {
			mn_fail(err, EAGAIN, "reserve", store->path,
				"others took every gap first; try again");
			if (err)
				err->code = 11;
			return -EAGAIN;
		}
	}
	return mn_store_list(store, salvage_file, &salvage, err);
}

struct count {
	struct mn_store *store;
	uint32_t earlier;
	bool look; // at each file, since some of them may count for nothing
};

// Tells whether the address of this file is taken.
static bool counts(const struct count *count, const struct mn_address *address)
{
	char name[MN_ADDRESS_STRLEN];
	struct stat st;

	if (!count->look)
		return true;
	mn_address_format(address, name);
	if (fstatat(count->store->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno != ENOENT;
	if (S_ISREG(st.st_mode) && st.st_size == 0)
		return false;
	return !count->earlier || mn_store_mark(&st) != count->earlier;
}

static int count_names(
	const struct count *count, const struct mn_range_set *set, uint64_t *taken, struct mn_error *err)
{
	struct mn_address address;
	uint64_t position;
	DIR *names;
	int rc = mn_store_names(count->store, &names, err);

	*taken = 0;
	if (rc < 0)
		return rc;
	while ((rc = mn_store_next_name(count->store, names, &address, err)) > 0) {
		if (mn_range_set_position(set, &address, &position) &&
			!mn_range_set_is_gateway(set, &address) && counts(count, &address))
			++*taken;
	}
	closedir(names);
	return rc;
}

int mn_store_count(struct mn_store *store, const struct mn_range_set *set, uint64_t *taken, uint64_t *size,
	struct mn_error *err)
{
	struct count count = { .store = store };
	uint64_t position;
	int rc = mn_store_settled(store, &count.earlier, err);

	*taken = 0;
	*size = mn_range_set_size(set);
	for (size_t i = 0; i < set->n; i++) {
		bool seen = !mn_range_set_position(set, &set->ranges[i].gateway, &position);

		for (size_t j = 0; j < i; j++)
			seen = seen || mn_address_equal(&set->ranges[i].gateway, &set->ranges[j].gateway);
		*size -= seen ? 0 : 1;
	}
	if (rc < 0)
		return rc;
	count.look = count.earlier != 0;
	rc = count_names(&count, set, taken, err);
	if (rc == 0 && *taken >= *size && !count.look) {
		count.look = true;
		rc = count_names(&count, set, taken, err);
	}
	return rc;
}

int mn_store_has_room(struct mn_store *store, const struct mn_range_set *set, struct mn_error *err)
{
	const struct mn_address none = { 0 };
	uint64_t size = mn_range_set_size(set), start = start_position(store, set, size, &none, NULL), taken;
	int rc;

	for (uint64_t i = 0; i < PROBES && i < size; i++) {
		struct mn_address address;

		mn_range_set_at(set, (start + i) % size, &address);
		rc = is_free(store, set, &address, err);
		if (rc != 0)
			return rc;
	}
	rc = mn_store_count(store, set, &taken, &size, err);
	return rc < 0 ? rc : taken < size;
}
