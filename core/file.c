// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "file.h"

#include "cleanup.h"
#include "io.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".mncni-new-" // a name that no reader of such directories takes for one of its files

static int failed(struct mn_error *err, int errnum, const char *op, const char *path)
{
	mn_fail(err, errnum, op, path, "%s",
		errnum == EROFS		   ? "remount the file system read-write"
			: errnum == ENOSPC ? "free space on this file system"
			: errnum == EACCES ? "check its owner, its mode and the mount"
					   : "");
	if (err)
		err->code = 5;
	return -errnum;
}

// Makes the directories above the last part of path.
static int make_directories(const char *path, struct mn_error *err)
{
	char at[PATH_MAX];

	snprintf(at, sizeof(at), "%s", path);
	for (char *slash = strchr(at + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			return failed(err, errno, "make", at);
		*slash = '/';
	}
	return 0;
}

// Writes a new file beside the old one, whole and on the disk.
static int write_new(int dir, const char *name, const char *content, size_t size, mode_t mode)
{
	auto_close int fd = mn_openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int result;

	if (fd < 0)
		return -errno;
	result = mn_write_whole(fd, content, size);
	if (result == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		result = -errno;
	return result;
}

int mn_file_replace(const char *path, const void *content, size_t size, mode_t mode, struct mn_error *err)
{
	const char *name = strrchr(path, '/');
	char above[PATH_MAX], temporary[NAME_MAX + 1];
	auto_close int dir = -1;
	int result;

	if (!name || !name[1] || strlen(path) >= sizeof(above))
		return failed(err, EINVAL, "write", path);
	result = make_directories(path, err);
	if (result < 0)
		return result;
	snprintf(above, sizeof(above), "%.*s", name == path ? 1 : (int)(name - path), path);
	dir = mn_openat(AT_FDCWD, above, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return failed(err, errno, "open", above);
	name++;
	if ((size_t)snprintf(temporary, sizeof(temporary), TEMPORARY "%s", name) >= sizeof(temporary))
		return failed(err, ENAMETOOLONG, "write", path);
	// One that was killed may have left its own; there is one writer of each file.
	if (unlinkat(dir, temporary, 0) < 0 && errno != ENOENT)
		return failed(err, errno, "remove", temporary);
	result = write_new(dir, temporary, content, size, mode);
	if (result == 0 && renameat(dir, temporary, dir, name) < 0)
		result = -errno;
	if (result < 0) {
		(void)unlinkat(dir, temporary, 0);
		return failed(err, -result, "write", path);
	}
	(void)fsync(dir);
	return 0;
}

int mn_file_link(const char *path, const char *target, struct mn_error *err)
{
	int result = strlen(path) < PATH_MAX ? make_directories(path, err)
					     : failed(err, ENAMETOOLONG, "link", path);

	if (result == 0 && symlink(target, path) < 0)
		result = failed(err, errno, "link", path);
	return result;
}

static int open_regular(const char *path, struct stat *st)
{
	int fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);

	if (fd >= 0 && (fstat(fd, st) < 0 || !S_ISREG(st->st_mode))) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

bool mn_file_same(const char *path, const char *other)
{
	struct stat first = { 0 }, second = { 0 };
	auto_close int fd = open_regular(path, &first);
	auto_close int other_fd = open_regular(other, &second);
	off_t at = 0;

	if (fd < 0 || other_fd < 0 || first.st_size != second.st_size)
		return false;
	while (at < first.st_size) {
		char bytes[16384], more[sizeof(bytes)];
		ssize_t n = pread(fd, bytes, sizeof(bytes), at);

		if (n <= 0 || pread(other_fd, more, (size_t)n, at) != n ||
			memcmp(bytes, more, (size_t)n) != 0)
			return false;
		at += n;
	}
	return true;
}

static int unreadable(struct mn_error *err, int errnum, const char *path, const char *remedy)
{
	mn_fail(err, errnum, "read", path, "%s", remedy);
	if (err)
		err->code = MN_CODE_CONFIG;
	return -errnum;
}

static int cannot_read(struct mn_error *err, int errnum, const char *path)
{
	return unreadable(err, errnum, path,
		errnum == ENOENT || errnum == ENOTDIR ? "is the path right?"
			: errnum == EACCES	      ? "check its owner and mode"
						      : "");
}

static int irregular(struct mn_error *err, const char *path)
{
	return unreadable(err, EINVAL, path, "it is a pipe, a socket or a device; name a regular file");
}

static int check_regular(int fd, const char *path, size_t max, size_t *size, struct mn_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return cannot_read(err, errno, path);
	if (S_ISDIR(st.st_mode))
		return unreadable(err, EISDIR, path, "name a file in it");
	if (!S_ISREG(st.st_mode))
		return irregular(err, path);
	*size = st.st_size < 0 || (size_t)st.st_size > max ? max : (size_t)st.st_size;
	return 0;
}

static int too_large(struct mn_error *err, const char *path, size_t max)
{
	char remedy[80];

	snprintf(remedy, sizeof(remedy), "at most %zu bytes are read; is it the right file?", max);
	return unreadable(err, EFBIG, path, remedy);
}

static ssize_t read_some(int fd, char *buf, size_t size)
{
	ssize_t got;

	do
		got = read(fd, buf, size);
	while (got < 0 && errno == EINTR);
	return got;
}

int mn_file_read(const char *path, size_t max, char **text, size_t *size, struct mn_error *err)
{
	auto_close int fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	auto_free char *buf = NULL;
	size_t room = 0;
	ssize_t got;
	int ret;

	if (fd < 0)
		return errno == ENXIO ? irregular(err, path) : cannot_read(err, errno, path); // a socket
	ret = check_regular(fd, path, max, &room, err);
	if (ret < 0)
		return ret;
	room += 2; // one byte for what is too much, one for the NUL
	buf = malloc(room);
	if (!buf)
		return cannot_read(err, ENOMEM, path);
	*size = 0;
	while ((got = read_some(fd, buf + *size, room - 1 - *size)) > 0) {
		*size += (size_t)got;
		if (*size > max)
			return too_large(err, path, max);
		if (*size + 1 == room) { // it has grown, or tells no size
			char *larger = realloc(buf, room *= 2);

			if (!larger)
				return cannot_read(err, ENOMEM, path);
			buf = larger;
		}
	}
	if (got < 0)
		return cannot_read(err, errno, path);
	buf[*size] = '\0';
	*text = buf;
	buf = NULL;
	return 0;
}
