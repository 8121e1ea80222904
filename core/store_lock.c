// SPDX-License-Identifier: Apache-2.0
// The store's lock: flock on `lock`, which host-local takes too, waited for no longer than the deadline.
#define _GNU_SOURCE
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// Writes "process 12 (host-local)" as far as the kernel tells who holds the flock on the file.
static void name_holder(const struct stat *st, char *buf, size_t size)
{
	char line[256], path[64], name[32] = "";
	FILE *locks = fopen("/proc/locks", "re");
	int pid = 0;

	snprintf(buf, size, "another process");
	while (locks && fgets(line, sizeof(line), locks)) {
		unsigned long inode;
		int found;

		if (sscanf(line, "%*s FLOCK %*s %*s %d %*x:%*x:%lu", &found, &inode) == 2 &&
			inode == st->st_ino)
			pid = found;
	}
	if (locks)
		(void)fclose(locks);
	if (pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	locks = fopen(path, "re");
	if (locks) {
		if (fgets(name, sizeof(name), locks))
			name[strcspn(name, "\n")] = '\0';
		(void)fclose(locks);
	}
	snprintf(buf, size, *name ? "process %d (%s)" : "process %d", pid, name);
}

static int busy(struct mn_store *store, int fd, struct mn_error *err)
{
	char holder[80] = "another process", object[MN_STORE_PATH_MAX + 8];
	struct stat st;

	if (fstat(fd, &st) == 0)
		name_holder(&st, holder, sizeof(holder));
	snprintf(object, sizeof(object), "%s/lock", store->path);
	mn_fail(err, EAGAIN, "lock", object,
		"%s has held the address store's lock for more than %d ms; try again, or look why it does not finish",
		holder, store->deadline_ms);
	if (err)
		err->code = 11;
	return -EAGAIN;
}

// Opens the lock file, making it with mode 0600 whatever the umask.
static int open_lock(struct mn_store *store)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

	for (int i = 0; i < 100; i++) {
		int fd = mn_openat(store->dir, "lock", flags, 0);

		if (fd >= 0 || errno != ENOENT)
			return fd;
		fd = mn_openat(store->dir, "lock", flags | O_CREAT | O_EXCL, 0600);
		if (fd >= 0) {
			(void)fchmod(fd, 0600);
			return fd;
		}
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

// Tells whether the locked file is still the one of that name, which somebody may have removed meanwhile.
static bool still_named(struct mn_store *store, int fd)
{
	struct stat ours, named;

	return fstat(fd, &ours) == 0 && fstatat(store->dir, "lock", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

int mn_store_lock(struct mn_store *store, int *lock, struct mn_error *err)
{
	int64_t start = now_us(), end = start + (int64_t)store->deadline_ms * 1000;
	int64_t pause = 50;

	*lock = -1;
	for (;;) {
		auto_close int fd = open_lock(store);

		if (fd < 0)
			return mn_store_fail(store, errno, "lock", "lock", err);
		while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int64_t now = now_us();
			struct timespec rest = { 0 };

			if (errno == EINTR)
				continue;
			if (errno != EWOULDBLOCK)
				return mn_store_fail(store, errno, "lock", "lock", err);
			if (now >= end)
				return busy(store, fd, err);
			// Waiters that came together must not come back together.
			pause = pause < 4000 ? pause * 2 : 4000 + (now ^ (int64_t)getpid() * 7919) % 1000;
			rest.tv_nsec = (now + pause > end ? end - now : pause) * 1000;
			(void)nanosleep(&rest, NULL);
		}
		if (still_named(store, fd)) {
			*lock = steal_fd(&fd);
			return 0;
		}
		if (now_us() >= end)
			return busy(store, fd, err);
	}
}
