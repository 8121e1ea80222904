// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "trust.h"

#include "cleanup.h"
#include "io.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LINKS 40
#define MAX_CHANGES 10

// Where a walk has arrived: fd is the directory that at names, rest what is still to be walked.
struct walk {
	int fd;
	int found; // the descriptor looked for, once the walk is over
	int links;
	char at[PATH_MAX];
	char rest[2 * PATH_MAX];
};

static int refuse(struct mn_error *err, int errnum, const char *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(struct mn_error *err, int errnum, const char *path, const char *format, ...)
{
	char message[sizeof(err->message)];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	mn_fail(err, errnum, "trust", path, "%s", message);
	if (err)
		err->code = MN_CODE_CONFIG;
	return -errnum;
}

// Says whether anybody but root and the effective user can change what st describes.
static int check(const char *path, const struct stat *st, struct mn_error *err)
{
	uid_t me = geteuid();
	mode_t mode = st->st_mode & 07777;

	if (st->st_uid != 0 && st->st_uid != me) {
		char also[48] = "";
		char owner[16] = "root";

		if (me != 0) {
			snprintf(also, sizeof(also), " or uid %u, who runs this", me);
			snprintf(owner, sizeof(owner), "%u", me);
		}
		return refuse(err, EPERM, path,
			"owned by uid %u (mode %04o) and not by root%s: chown %s%s %s", st->st_uid, mode,
			also, S_ISLNK(st->st_mode) ? "-h " : "", owner, path);
	}
	if (S_ISLNK(st->st_mode))
		return 0;
	if ((mode & 022) && !(S_ISDIR(st->st_mode) && (mode & S_ISVTX)))
		return refuse(err, EPERM, path,
			"owned by uid %u and writable by %s (mode %04o): chmod go-w %s", st->st_uid,
			mode & 002 ? "everybody" : "its group", mode, path);
	return 0;
}

static int restart(struct walk *walk, struct mn_error *err)
{
	struct stat st;

	if (walk->fd >= 0)
		close(walk->fd);
	snprintf(walk->at, sizeof(walk->at), "/");
	walk->fd = mn_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (walk->fd < 0 || fstat(walk->fd, &st) < 0)
		return refuse(err, errno, "/", "cannot be opened");
	return check("/", &st, err);
}

// Takes the first component off walk->rest; false when there is none left.
static bool next_component(struct walk *walk, char *name, size_t size)
{
	const char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	if (length == 0 || length >= size)
		return false;
	memcpy(name, start, length);
	name[length] = '\0';
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	return true;
}

// Puts the target of the symbolic link fd in front of what is left to walk.
static int follow(struct walk *walk, int fd, const char *path, struct mn_error *err)
{
	char target[PATH_MAX];
	char rest[2 * PATH_MAX];
	ssize_t length;

	if (++walk->links > MAX_LINKS)
		return refuse(err, ELOOP, path, "more than %d symbolic links", MAX_LINKS);
	length = readlinkat(fd, "", target, sizeof(target) - 1);
	if (length <= 0)
		return refuse(err, length < 0 ? errno : ENOENT, path, "a symbolic link that cannot be read");
	target[length] = '\0';
	if (!mn_join(rest, sizeof(rest), target, "/", walk->rest))
		return refuse(err, ENAMETOOLONG, path, "its target is too long");
	memcpy(walk->rest, rest, strlen(rest) + 1);
	return target[0] == '/' ? restart(walk, err) : 0;
}

// Opens the last component for reading and makes sure that it is what was checked. The walk is over then.
static int open_checked(struct walk *walk, const char *name, const char *path, const struct stat *seen,
	bool directory, struct mn_error *err)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (directory ? O_DIRECTORY : 0);
	auto_close int fd = -1;
	struct stat st;

	fd = mn_openat(walk->fd, name, flags, 0);
	if (fd < 0)
		return errno == ELOOP || errno == ENOENT ? -EAGAIN
							 : refuse(err, errno, path, "cannot be read");
	if (fstat(fd, &st) < 0)
		return refuse(err, errno, path, "cannot be read");
	if (st.st_dev != seen->st_dev || st.st_ino != seen->st_ino)
		return -EAGAIN;
	if (check(path, &st, err) < 0)
		return -EPERM;
	walk->found = steal_fd(&fd);
	return 0;
}

static int step(struct walk *walk, const char *name, bool directory, struct mn_error *err)
{
	auto_close int fd = -1;
	char path[PATH_MAX];
	struct stat st;
	bool last = walk->rest[strspn(walk->rest, "/")] == '\0';

	if (!mn_join(path, sizeof(path), walk->at, strcmp(walk->at, "/") == 0 ? "" : "/", name))
		return refuse(err, ENAMETOOLONG, walk->at, "a path that is too long");
	fd = mn_openat(walk->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0 && errno == ENOENT && walk->links)
		return refuse(err, ENOLINK, path, "a symbolic link leads there, and there is nothing");
	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse(err, errno, path, errno == ENOENT ? "not there" : "cannot be reached");
	if (!S_ISLNK(st.st_mode) && !S_ISDIR(st.st_mode) && (!last || directory))
		return refuse(err, ENOTDIR, path, "not a directory");
	if (!S_ISLNK(st.st_mode) && !S_ISREG(st.st_mode) && last && !directory)
		return refuse(err, EINVAL, path, "not a regular file");
	if (check(path, &st, err) < 0)
		return -EPERM;
	if (S_ISLNK(st.st_mode))
		return follow(walk, fd, path, err);
	if (last)
		return open_checked(walk, name, path, &st, directory, err);
	close(walk->fd);
	walk->fd = steal_fd(&fd);
	memcpy(walk->at, path, strlen(path) + 1);
	return 0;
}

// A parent directory is reached by the kernel's "..", from a descriptor, so at may only be shortened.
static int step_up(struct walk *walk, struct mn_error *err)
{
	int fd = mn_openat(walk->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	char *slash = strrchr(walk->at, '/');
	struct stat st;

	if (fd < 0)
		return refuse(err, errno, walk->at, "its parent cannot be opened");
	close(walk->fd);
	walk->fd = fd;
	if (slash)
		slash[slash == walk->at] = '\0';
	if (fstat(fd, &st) < 0)
		return refuse(err, errno, walk->at, "cannot be reached");
	return check(walk->at, &st, err);
}

// Sets walk->found. Returns 0, -EAGAIN when the path changed under the walk, or another -errno with err
// filled in.
static int walk_to_end(struct walk *walk, bool directory, struct mn_error *err)
{
	char name[NAME_MAX + 1];
	int ret = restart(walk, err);

	while (ret == 0 && walk->found < 0 && next_component(walk, name, sizeof(name))) {
		if (strcmp(name, ".") == 0)
			continue;
		ret = strcmp(name, "..") == 0 ? step_up(walk, err) : step(walk, name, directory, err);
	}
	if (ret < 0 || walk->found >= 0)
		return ret;
	if (walk->rest[strspn(walk->rest, "/")] != '\0')
		return refuse(err, ENAMETOOLONG, walk->at, "a name below it is too long");
	if (!directory)
		return refuse(err, EISDIR, walk->at, "not a regular file");
	// The path ended in "." or "..", or was "/" itself: the walk stands on the directory, checked.
	walk->found = mn_openat(walk->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	return walk->found < 0 ? refuse(err, errno, walk->at, "cannot be read") : 0;
}

static int absolute(const char *path, char *to, size_t size, struct mn_error *err)
{
	char cwd[PATH_MAX];

	*cwd = '\0';
	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return refuse(err, errno, path, "the current directory is not known");
	if (!mn_join(to, size, cwd, "/", path))
		return refuse(err, ENAMETOOLONG, path, "a path that is too long");
	return 0;
}

int mn_trust_open(const char *path, bool directory, struct mn_error *err)
{
	for (int i = 0; i < MAX_CHANGES; i++) {
		struct walk walk; // large: what is not used of it is not touched
		int ret = absolute(path, walk.rest, sizeof(walk.rest), err);

		walk.fd = walk.found = -1;
		walk.links = 0;
		if (ret == 0)
			ret = walk_to_end(&walk, directory, err);
		if (walk.fd >= 0)
			close(walk.fd);
		if (ret != -EAGAIN)
			return ret < 0 ? ret : walk.found;
	}
	return refuse(err, EAGAIN, path, "it changes while it is being checked");
}

static bool same_content(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

// Fills buf with what fd holds; -EAGAIN when it holds less.
static int read_bytes(int fd, const char *path, char *buf, size_t size, struct mn_error *err)
{
	size_t length = 0;

	while (length < size) {
		ssize_t n = read(fd, buf + length, size - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return refuse(err, errno, path, "cannot be read");
		if (n == 0)
			return -EAGAIN;
		length += (size_t)n;
	}
	return 0;
}

// Reads what fd holds; -EAGAIN when it was written to meanwhile.
static int read_whole(int fd, const char *path, size_t max, char **text, size_t *size, struct mn_error *err)
{
	struct stat before, after;
	char *buf;
	int ret;

	if (fstat(fd, &before) < 0)
		return refuse(err, errno, path, "cannot be read");
	if (before.st_size < 0 || (size_t)before.st_size > max)
		return refuse(err, EFBIG, path, "%lld bytes, and at most %zu are read",
			(long long)before.st_size, max);
	*size = (size_t)before.st_size;
	buf = malloc(*size + 1);
	if (!buf)
		return refuse(err, ENOMEM, path, "cannot be read");
	buf[*size] = '\0';
	ret = read_bytes(fd, path, buf, *size, err);
	if (ret == 0 && (fstat(fd, &after) < 0 || !same_content(&before, &after)))
		ret = -EAGAIN;
	if (ret < 0)
		free(buf);
	else
		*text = buf;
	return ret;
}

int mn_trust_read(const char *path, size_t max, char **text, size_t *size, struct mn_error *err)
{
	for (int i = 0; i < MAX_CHANGES; i++) {
		auto_close int fd = mn_trust_open(path, false, err);
		int ret;

		if (fd < 0)
			return fd;
		ret = read_whole(fd, path, max, text, size, err);
		if (ret != -EAGAIN)
			return ret;
	}
	return refuse(err, EAGAIN, path, "it changes while it is being read");
}
