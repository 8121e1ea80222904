// SPDX-License-Identifier: Apache-2.0
// Where an attachment's journal lives, how it is locked, and how lines get into it.
#define _GNU_SOURCE
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "exec.h"
#include "hash.h"
#include "io.h"
#include "mncni.h"
#include "netns.h"

#define JOURNAL_MAX (1 << 20) // bytes; an ordinary one has about 2 000
#define UNDO_WAIT_MS 10000    // for a call that still works on the attachment
#define NAME_PART_MAX 80      // longer names are shortened and told apart by a hash

static char active[MN_PATH_MAX];
static int active_fd = -1; // of the journal object while it is open: its lock is ours already

const char *mn_journal_active(void)
{
	return *active ? active : NULL;
}

void mn_journal_set_active(const struct mn_journal *journal)
{
	size_t size = journal ? strlen(journal->path) + 1 : 0;

	// The first byte decides whether a signal handler believes the rest, so it is written last.
	active[0] = '\0';
	active_fd = -1;
	if (size == 0 || size > sizeof(active))
		return;
	active_fd = journal->fd;
	memcpy(active + 1, journal->path + 1, size - 1);
	__asm__ volatile("" ::: "memory");
	active[0] = journal->path[0];
}

// One part of a file name: as it is, or shortened with a hash of the whole.
static void name_part(char *to, size_t size, const char *name)
{
	size_t len = strlen(name);

	if (len <= NAME_PART_MAX)
		snprintf(to, size, "%s", name);
	else
		snprintf(to, size, "%.*s#%016" PRIx64, NAME_PART_MAX - 17, name, mn_hash(name, len));
}

static int make_dir(const char *path, struct mn_error *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		int errnum = errno;

		mn_fail(err, errnum, "create", path, "the state directory cannot be made");
		err->code = 5;
		return -errnum;
	}
	return 0;
}

// Makes every missing directory of path, whose last component is a file.
static int make_parents(char *path, struct mn_error *err)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat st;
		int ret = 0;

		*slash = '\0';
		if (stat(path, &st) < 0)
			ret = make_dir(path, err);
		*slash = '/';
		if (ret < 0)
			return ret;
	}
	return 0;
}

int mn_journal_dir(char path[MN_PATH_MAX], const struct mn_journal_key *key, struct mn_error *err)
{
	char network[NAME_PART_MAX + 1] = "";

	if (key->network)
		name_part(network, sizeof(network), key->network);
	if (snprintf(path, MN_PATH_MAX, "%s/attachments%s%s", key->state_dir, key->network ? "/" : "",
		    network) >= MN_PATH_MAX)
		return mn_fail(err, ENAMETOOLONG, "open", key->state_dir,
			"the path of the state directory is too long");
	return 0;
}

int mn_journal_path(char path[MN_PATH_MAX], const struct mn_journal_key *key, struct mn_error *err)
{
	char container[NAME_PART_MAX + 1], type[NAME_PART_MAX + 1];
	size_t len;
	int ret;

	ret = mn_journal_dir(path, key, err);
	if (ret < 0)
		return ret;
	name_part(container, sizeof(container), key->container);
	name_part(type, sizeof(type), key->type);
	len = strlen(path);
	if (snprintf(path + len, MN_PATH_MAX - len, "/%s@%s@%s", container, type, key->ifname) >=
		(int)(MN_PATH_MAX - len))
		return mn_fail(
			err, ENAMETOOLONG, "open", key->state_dir, "the path of the journal is too long");
	return 0;
}

static int io_error(struct mn_error *err, const char *op, const char *path, const char *message)
{
	int errnum = errno;

	mn_fail(err, errnum, op, path, "%s", message);
	if (err)
		err->code = 5;
	return -errnum;
}

// True while path still names the file behind fd: its last owner may have removed it before we got the lock.
static bool still_named(int fd, const char *path)
{
	struct stat ours, named;

	return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev &&
		ours.st_ino == named.st_ino;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int lock_until(int fd, int64_t deadline, const char *path, struct mn_error *err)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return io_error(err, "lock", path, "the journal cannot be locked");
		if (now_ms() >= deadline) {
			mn_fail(err, EAGAIN, "lock", path,
				"another call works on this attachment; try again later");
			err->code = 11;
			return -EAGAIN;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

static const int OPEN_FLAGS = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW;

// Makes a journal that is locked before it has its name, so that a failure leaves none. A descriptor or
// -errno; -EOPNOTSUPP where the file system has no unnamed files.
static int create_locked(char *path)
{
	char *slash = strrchr(path, '/');
	auto_close int fd = -1;
	int ret;

	*slash = '\0';
	fd = mn_openat(AT_FDCWD, path, O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	*slash = '/';
	if (fd < 0)
		return errno == EISDIR ? -EOPNOTSUPP : -errno;
	do
		ret = flock(fd, LOCK_EX | LOCK_NB);
	while (ret < 0 && (errno == EINTR || errno == EWOULDBLOCK));
	ret = ret < 0 ? -errno : mn_link_unnamed(fd, AT_FDCWD, path);
	return ret < 0 ? ret : steal_fd(&fd);
}

// Makes the journal, and the directories above it where they are missing. A descriptor, which is locked
// unless *locked is cleared, or -errno.
static int create(char *path, bool *locked, struct mn_error *err)
{
	int ret = create_locked(path);

	if (ret == -ENOENT) {
		ret = make_parents(path, err);
		if (ret < 0)
			return ret;
		ret = create_locked(path);
	}
	*locked = ret >= 0;
	if (ret == -EOPNOTSUPP) {
		ret = mn_openat(AT_FDCWD, path, OPEN_FLAGS | O_CREAT | O_EXCL, 0600);
		ret = ret < 0 ? -errno : ret;
	}
	if (ret < 0) {
		errno = -ret;
		io_error(err, "open", path, "the journal cannot be opened");
	}
	return ret;
}

int mn_journal_open(
	struct mn_journal *journal, char *path, unsigned int wait_ms, bool *created, struct mn_error *err)
{
	int64_t deadline = now_ms() + wait_ms;

	*journal = (struct mn_journal){ .fd = -1, .path = path };
	for (;;) {
		auto_close int fd = -1;
		bool locked = false;
		int ret;

		if (created) {
			fd = create(path, &locked, err);
			*created = fd >= 0;
			if (fd < 0 && fd != -EEXIST)
				return fd;
		}
		if (fd < 0)
			fd = mn_openat(AT_FDCWD, path, OPEN_FLAGS, 0);
		if (fd < 0 && errno == ENOENT && created)
			continue; // somebody has removed it meanwhile
		if (fd < 0)
			return io_error(err, "open", path, "the journal cannot be opened");
		ret = locked ? 0 : lock_until(fd, deadline, path, err);
		if (ret < 0)
			return ret;
		if (!locked && !still_named(fd, path))
			continue;
		journal->fd = steal_fd(&fd);
		return 0;
	}
}

int mn_undo_file(const char *path, bool rollback, struct mn_error *err)
{
	enum mn_undo_mode mode = rollback ? MN_UNDO_ROLLBACK : MN_UNDO_DEL;
	char own[MN_PATH_MAX]; // the path given may be that of the active journal, which ends here
	struct mn_journal journal = { .fd = active_fd, .path = own };
	int ret;

	if (snprintf(own, sizeof(own), "%s", path) >= (int)sizeof(own))
		return mn_fail(err, ENAMETOOLONG, "open", path, "the path of the journal is too long");
	if (active_fd >= 0 && strcmp(active, own) == 0)
		return mn_undo(&journal, mode, err);
	ret = mn_journal_open(&journal, own, UNDO_WAIT_MS, NULL, err);
	if (ret < 0)
		return ret == -ENOENT ? 0 : ret;
	ret = mn_undo(&journal, mode, err);
	mn_journal_close(&journal);
	return ret;
}

void mn_leave(void)
{
	mn_exec_kill();
	mn_netns_go_home();
}

const char *mn_undo_path(void)
{
	return mn_journal_active();
}

int mn_journal_append(struct mn_journal *journal, const char *json, struct mn_error *err)
{
	struct iovec line[] = {
		{ .iov_base = (void *)json, .iov_len = strlen(json) },
		{ .iov_base = (void *)"\n", .iov_len = 1 },
	};
	ssize_t written;

	do {
		written = writev(journal->fd, line, 2);
	} while (written < 0 && errno == EINTR);
	if (written == (ssize_t)line[0].iov_len + 1) {
		mn_record_note("journal", json, line[0].iov_len);
		return 0;
	}
	if (written >= 0)
		errno = ENOSPC;
	io_error(err, "write", journal->path,
		"nothing was changed, because the change could not be journalled");
	if (written > 0) { // a torn line would hide the next one from a reader
		off_t end = lseek(journal->fd, 0, SEEK_END);

		if (end >= written)
			(void)!ftruncate(journal->fd, end - written);
	}
	return -err->errnum;
}

int mn_journal_read(const struct mn_journal *journal, char **text, struct mn_error *err)
{
	auto_free char *buf = NULL;
	struct stat st;
	size_t len = 0;

	if (fstat(journal->fd, &st) < 0)
		return io_error(err, "read", journal->path, "the journal cannot be read");
	if (st.st_size > JOURNAL_MAX) {
		errno = EFBIG;
		return io_error(
			err, "read", journal->path, "the journal is larger than any that mncni writes");
	}
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return mn_fail(err, ENOMEM, "read", journal->path, "no memory for %lld bytes",
			(long long)st.st_size);
	while (len < (size_t)st.st_size) {
		ssize_t n = pread(journal->fd, buf + len, (size_t)st.st_size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return io_error(err, "read", journal->path, "the journal cannot be read");
		if (n == 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	if (strlen(buf) < len) {
		errno = EINVAL;
		return io_error(err, "read", journal->path, "it has zero bytes in it, as no journal has");
	}
	*text = buf;
	buf = NULL;
	return 0;
}

int mn_journal_peek(const char *path, char **text, struct mn_error *err)
{
	auto_close int fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	struct mn_journal journal = { .fd = fd, .path = (char *)path };
	struct stat st;

	if (fd < 0)
		return io_error(err, "open", path, "the journal cannot be opened");
	if (fstat(fd, &st) < 0)
		return io_error(err, "read", path, "the journal cannot be read");
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return io_error(err, "read", path, "it is no regular file, so no journal");
	}
	return mn_journal_read(&journal, text, err);
}

int mn_journal_remove(struct mn_journal *journal, struct mn_error *err)
{
	if (unlink(journal->path) < 0 && errno != ENOENT)
		return io_error(err, "remove", journal->path, "the journal cannot be removed");
	if (mn_journal_active() && strcmp(mn_journal_active(), journal->path) == 0)
		mn_journal_set_active(NULL);
	return 0;
}

void mn_journal_close(struct mn_journal *journal)
{
	if (journal->fd < 0)
		return;
	if (active_fd == journal->fd)
		active_fd = -1;
	close(journal->fd);
	journal->fd = -1;
}
