// SPDX-License-Identifier: Apache-2.0
// Boots and adoption: which reservations a reboot made void, and which are not ours to judge.
#define _GNU_SOURCE
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "boot.h"
#include "cleanup.h"

#define STAMP ".mncni"
#define FORMAT 1
#define STAMP_HEAD "mncni-store 1\nboot " // of that format
#define BATCH 32			  // files handled while the lock is held once

// FNV-1a, folded into the range of a time stamp's nanoseconds and never 0.
static uint32_t mark_of(const char *boot)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	if (!*boot)
		return 0;
	for (; *boot; boot++)
		hash = (hash ^ (unsigned char)*boot) * UINT64_C(1099511628211);
	return (uint32_t)(hash % 999999936) + 1;
}

uint32_t mn_store_mark(const struct stat *st)
{
	return (uint32_t)st->st_mtim.tv_nsec;
}

void mn_store_read_boot(struct mn_store *store, const char *boot_path)
{
	if (boot_path)
		mn_boot_read(boot_path, store->boot);
	else
		memcpy(store->boot, mn_boot_id(), sizeof(store->boot));
	store->mark = mark_of(store->boot);
}

// Whether a stamp is the one that this boot and this release leave.
static bool is_ours(const struct mn_store *store, const char *stamp)
{
	size_t head = strlen(STAMP_HEAD), boot = strlen(store->boot);

	return strncmp(stamp, STAMP_HEAD, head) == 0 && strncmp(stamp + head, store->boot, boot) == 0 &&
		strcmp(stamp + head + boot, "\n") == 0;
}

int mn_store_settled(struct mn_store *store, uint32_t *earlier, struct mn_error *err)
{
	struct mn_file file;
	char boot[64] = "";
	int format = 0, fields, rc = mn_store_read(store, STAMP, &file, err);

	*earlier = 0;
	if (rc <= 0)
		return rc;
	if (store->mark && is_ours(store, file.text))
		return 1;
	fields = sscanf(file.text, "mncni-store %d boot %63s", &format, boot);
	if (fields < 1)
		return 0;
	if (format > FORMAT || !store->mark)
		return 1; // a newer release keeps this directory, or nothing is known of boots: judge nothing
	if (strcmp(boot, store->boot) == 0)
		return 1;
	*earlier = mark_of(boot);
	return 0;
}

// Frees or marks one file under the lock. A file of the earlier boot goes; one that nobody marked stays and
// will go with this boot; whoever wrote it holds the lock while doing so.
static int settle_file(
	struct mn_store *store, uint32_t earlier, const struct mn_address *address, struct mn_error *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 0 } };
	char name[MN_ADDRESS_STRLEN];
	struct stat st;

	mn_address_format(address, name);
	if (fstatat(store->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : mn_store_fail(store, errno, "read", name, err);
	if (!S_ISREG(st.st_mode) || mn_store_mark(&st) == store->mark)
		return 0;
	if (earlier && mn_store_mark(&st) == earlier) {
		if (unlinkat(store->dir, name, 0) < 0 && errno != ENOENT)
			return mn_store_fail(
				store, errno, "free a reservation of an earlier boot", name, err);
		return 0;
	}
	times[1].tv_sec = st.st_mtim.tv_sec;
	times[1].tv_nsec = store->mark;
	(void)utimensat(store->dir, name, times, AT_SYMLINK_NOFOLLOW); // unmarked it is kept all the same
	return 0;
}

static int settle_batch(struct mn_store *store, uint32_t earlier, const struct mn_address *batch, size_t n,
	struct mn_error *err)
{
	auto_close int lock = -1;
	int rc = mn_store_lock(store, &lock, err);

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = settle_file(store, earlier, &batch[i], err);
	return rc;
}

static int settle_all(struct mn_store *store, uint32_t earlier, DIR *names, struct mn_error *err)
{
	struct mn_address batch[BATCH];
	size_t n = 0;
	int rc;

	while ((rc = mn_store_next_name(store, names, &batch[n], err)) > 0) {
		char name[MN_ADDRESS_STRLEN];
		struct stat st;

		mn_address_format(&batch[n], name);
		if (fstatat(store->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			mn_store_mark(&st) == store->mark)
			continue;
		if (++n < BATCH)
			continue;
		rc = settle_batch(store, earlier, batch, n, err);
		if (rc < 0)
			return rc;
		n = 0;
	}
	return rc < 0 || n == 0 ? rc : settle_batch(store, earlier, batch, n, err);
}

int mn_store_settle(struct mn_store *store, struct mn_error *err)
{
	auto_close int lock = -1;
	uint32_t earlier;
	char stamp[128];
	DIR *names;
	int rc = mn_store_settled(store, &earlier, err);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (store->mark) {
		rc = mn_store_names(store, &names, err);
		if (rc < 0)
			return rc;
		rc = settle_all(store, earlier, names, err);
		closedir(names);
		if (rc < 0)
			return rc;
	}
	rc = mn_store_lock(store, &lock, err);
	if (rc < 0)
		return rc;
	snprintf(stamp, sizeof(stamp), STAMP_HEAD "%s\n", store->mark ? store->boot : "-");
	rc = mn_store_write(store, STAMP, stamp, err);
	return rc == -EEXIST ? 0 : rc;
}
