// SPDX-License-Identifier: Apache-2.0
// The store's directory: opening it, and reading and publishing files in it through its descriptor.
#define _GNU_SOURCE
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"

#define TEMPORARY ".mncni.tmp" // only where unnamed files do not exist

static const char *remedy(int errnum)
{
	switch (errnum) {
	case EROFS:
		return "remount the file system read-write, or set ipam.dataDir to a directory that can be written";
	case ENOSPC:
	case EDQUOT:
		return "free space or inodes on this file system";
	case EACCES:
	case EPERM:
		return "check its owner, its mode and the mount";
	case EIO:
		return "the disk or the file system fails, see the kernel's log";
	case ELOOP:
		return "symbolic links are not followed here, put a real file or directory in its place";
	case ENOTDIR:
		return "a directory is expected here";
	case ENOENT:
	case ESTALE:
		return "the directory was removed while in use, try again";
	default:
		return "";
	}
}

int mn_store_fail(
	const struct mn_store *store, int errnum, const char *op, const char *name, struct mn_error *err)
{
	char object[MN_STORE_PATH_MAX + 64];

	snprintf(object, sizeof(object), "%s%s%s", store->path, name ? "/" : "", name ? name : "");
	mn_fail(err, errnum, op, object, "%s", remedy(errnum));
	if (err)
		err->code = errnum == ENOENT || errnum == ESTALE ? 11 : 5;
	return -errnum;
}

static bool has_dots(const char *path)
{
	for (const char *at = path; (at = strstr(at, "/..")); at += 3) {
		if (at[3] == '/' || at[3] == '\0')
			return true;
	}
	return false;
}

// Makes path and what is missing above it, with mode 0755 whatever the umask.
static int make_directories(struct mn_store *store, struct mn_error *err)
{
	char path[MN_STORE_PATH_MAX];

	snprintf(path, sizeof(path), "%s", store->path);
	for (char *at = path + 1;; at++) {
		char was = *at;

		if (was != '/' && was != '\0')
			continue;
		*at = '\0';
		if (mkdir(path, 0755) == 0) {
			if (chmod(path, 0755) < 0)
				return mn_store_fail(store, errno, "make directory", NULL, err);
		} else if (errno != EEXIST) {
			int errnum = errno;
			struct stat st;

			// Above a read-only or forbidden directory mkdir may fail for one that is there.
			if (was == '\0' || stat(path, &st) < 0)
				return mn_store_fail(store, errnum == ENOENT ? EACCES : errnum,
					"make directory", NULL, err);
		}
		if (was == '\0')
			return 0;
		*at = was;
	}
}

// Refuses a directory in which just anybody could make files for us to act on.
static int check_directory(struct mn_store *store, struct mn_error *err)
{
	struct stat st;

	if (fstat(store->dir, &st) < 0)
		return mn_store_fail(store, errno, "open", NULL, err);
	if (!(st.st_mode & S_IWOTH))
		return 0;
	mn_fail(err, EACCES, "open", store->path,
		"everybody may write to it; make it root's alone: chmod 0755 %s", store->path);
	if (err)
		err->code = 5;
	return -EACCES;
}

int mn_store_open(struct mn_store *store, const char *dir, unsigned int flags, int deadline_ms,
	const char *boot_path, struct mn_error *err)
{
	size_t length = strlen(dir);
	int rc;

	*store = (struct mn_store){ .dir = -1,
		.deadline_ms = deadline_ms > 0 ? deadline_ms : MN_STORE_DEADLINE_MS };
	while (length > 1 && dir[length - 1] == '/')
		length--;
	if (dir[0] != '/' || length < 2 || length >= sizeof(store->path) || has_dots(dir)) {
		mn_fail(err, EINVAL, "open", dir,
			"the store needs an absolute path without \"..\", below %d bytes", MN_STORE_PATH_MAX);
		if (err)
			err->code = 7;
		return -EINVAL;
	}
	memcpy(store->path, dir, length);
	store->path[length] = '\0';
	store->dir = mn_openat(AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (store->dir < 0 && errno == ENOENT && flags & MN_STORE_CREATE) {
		rc = make_directories(store, err);
		if (rc < 0)
			return rc;
		store->dir =
			mn_openat(AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	}
	if (store->dir < 0)
		return mn_store_fail(store, errno, "open", NULL, err);
	mn_store_read_boot(store, boot_path);
	if (!(flags & MN_STORE_CREATE))
		return 0;
	rc = check_directory(store, err);
	if (rc == 0) {
		uint32_t earlier;

		rc = mn_store_settled(store, &earlier, err);
		rc = rc < 0 ? rc : rc ? 0 : mn_store_settle(store, err);
	}
	if (rc < 0)
		mn_store_close(store);
	return rc;
}

int mn_store_writable(struct mn_store *store, struct mn_error *err)
{
	if (faccessat(store->dir, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return mn_store_fail(store, errno, "write", NULL, err);
	return check_directory(store, err);
}

void mn_store_close(struct mn_store *store)
{
	if (store->dir >= 0)
		close(steal_fd(&store->dir));
}

static const int READ_FLAGS = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

// Reads an open file; see mn_store_read().
static int read_file(
	const struct mn_store *store, int fd, const char *name, struct mn_file *file, struct mn_error *err)
{
	ssize_t got;

	if (fstat(fd, &file->st) < 0)
		return mn_store_fail(store, errno, "read", name, err);
	if (!S_ISREG(file->st.st_mode))
		return 1;
	do
		got = pread(fd, file->text, sizeof(file->text) - 1, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return mn_store_fail(store, errno, "read", name, err);
	file->size = (size_t)got;
	file->text[got] = '\0';
	return 1;
}

int mn_store_read(const struct mn_store *store, const char *name, struct mn_file *file, struct mn_error *err)
{
	auto_close int fd = mn_openat(store->dir, name, O_RDONLY | READ_FLAGS, 0);

	memset(&file->st, 0, sizeof(file->st));
	file->size = 0;
	file->text[0] = '\0';
	if (fd >= 0)
		return read_file(store, fd, name, file, err);
	if (errno == ENOENT)
		return 0;
	if (errno == ELOOP || errno == ENXIO) // a link or a socket: there, and not ours
		return 1;
	return mn_store_fail(store, errno, "read", name, err);
}

int mn_store_read_open(struct mn_store *store, const char *name, struct mn_file *file, int *fd)
{
	auto_close int both = mn_openat(store->dir, name, O_RDWR | READ_FLAGS, 0);

	*fd = -1;
	if (both < 0)
		return errno == ENOENT ? 0 : mn_store_read(store, name, file, NULL);
	if (read_file(store, both, name, file, NULL) <= 0 || !S_ISREG(file->st.st_mode))
		return 0;
	*fd = steal_fd(&both);
	return 1;
}

// Writes content, mode and mark into a file that has no name yet, or not its final one.
static int fill(
	struct mn_store *store, int fd, const char *text, size_t size, uint32_t mark, struct mn_error *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 0 } };
	int rc = mn_write_whole(fd, text, size);

	if (rc < 0)
		return mn_store_fail(store, -rc, "write", NULL, err);
	if (fchmod(fd, 0600) < 0)
		return mn_store_fail(store, errno, "write", NULL, err);
	if (mark && clock_gettime(CLOCK_REALTIME, &times[1]) == 0) {
		times[1].tv_nsec = mark;
		(void)futimens(fd, times); // unmarked, the file is kept through a boot, no more
	}
	return 0;
}

int mn_store_prepare(
	struct mn_store *store, const char *text, size_t size, uint32_t mark, int *fd, struct mn_error *err)
{
	auto_close int file = mn_openat(store->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	int rc;

	*fd = -1;
	if (file < 0) {
		if (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOSYS)
			return -EOPNOTSUPP;
		return mn_store_fail(store, errno, "write", NULL, err);
	}
	rc = fill(store, file, text, size, mark, err);
	if (rc == 0)
		*fd = steal_fd(&file);
	return rc;
}

int mn_store_link(struct mn_store *store, int fd, const char *name, struct mn_error *err)
{
	int ret = mn_link_unnamed(fd, store->dir, name);

	return ret == 0 || ret == -EEXIST ? ret : mn_store_fail(store, -ret, "reserve", name, err);
}

int mn_store_create(struct mn_store *store, const char *text, size_t size, uint32_t mark, const char *name,
	struct mn_error *err)
{
	int rc, fd;

	// What a kill left here may be a second name of a live reservation: never write to it.
	if (unlinkat(store->dir, TEMPORARY, 0) < 0 && errno != ENOENT)
		return mn_store_fail(store, errno, "write", TEMPORARY, err);
	fd = mn_openat(store->dir, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return mn_store_fail(store, errno, "write", TEMPORARY, err);
	rc = fill(store, fd, text, size, mark, err);
	close(fd);
	if (rc == 0 && linkat(store->dir, TEMPORARY, store->dir, name, 0) < 0)
		rc = errno == EEXIST ? -EEXIST : mn_store_fail(store, errno, "reserve", name, err);
	(void)unlinkat(store->dir, TEMPORARY, 0);
	return rc;
}

int mn_store_write(struct mn_store *store, const char *name, const char *text, struct mn_error *err)
{
	size_t size = strlen(text);
	auto_close int fd = mn_openat(store->dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	auto_close int unnamed = -1;
	struct stat st;
	int rc;

	if (fd >= 0) {
		rc = mn_write_whole(fd, text, size);
		if (rc < 0)
			return mn_store_fail(store, -rc, "write", name, err);
		if (fstat(fd, &st) < 0 || ((size_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0))
			return mn_store_fail(store, errno, "write", name, err);
		return 0;
	}
	if (errno != ENOENT)
		return mn_store_fail(store, errno, "write", name, err);
	rc = mn_store_prepare(store, text, size, 0, &unnamed, err);
	if (rc == -EOPNOTSUPP)
		return mn_store_create(store, text, size, 0, name, err);
	return rc < 0 ? rc : mn_store_link(store, unnamed, name, err);
}

int mn_store_names(struct mn_store *store, DIR **names, struct mn_error *err)
{
	int fd = mn_openat(store->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int rc = 0;

	*names = fd < 0 ? NULL : fdopendir(fd);
	if (!*names) {
		rc = mn_store_fail(store, errno, "read", NULL, err);
		if (fd >= 0)
			close(fd);
	}
	return rc;
}

int mn_store_next_name(struct mn_store *store, DIR *names, struct mn_address *address, struct mn_error *err)
{
	for (;;) {
		char spelled[MN_ADDRESS_STRLEN];
		struct dirent *entry;

		errno = 0;
		entry = readdir(names);
		if (!entry)
			return errno ? mn_store_fail(store, errno, "read", NULL, err) : 0;
		if (!mn_address_parse(entry->d_name, address))
			continue;
		// Only the one spelling that host-local and we look an address up by.
		mn_address_format(address, spelled);
		if (strcmp(spelled, entry->d_name) == 0)
			return 1;
	}
}
