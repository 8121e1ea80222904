// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "sysctl.h"

#include "cleanup.h"
#include "io.h"
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ROOT "/proc/sys/"
#define PATH_ROOM 512 // bytes; the kernel's longest below net/ has some 100
#define CHUNK 4096

static int bad_key(const char *key, const char *why, struct mn_error *err)
{
	char object[160];

	snprintf(object, sizeof(object), "sysctl %.140s", key);
	return mn_fail(err, EINVAL, "use", object, "%s", why);
}

// Writes the path of a key, or refuses it.
static int key_path(const char *key, char *path, size_t size, struct mn_error *err)
{
	const char *separator = strpbrk(key, "./");
	bool dots = separator && *separator == '.';
	char *part;

	if ((size_t)snprintf(path, size, ROOT "%s", key) >= size)
		return bad_key(key, "the key is too long", err);
	part = path + strlen(ROOT);
	for (char *c = part; dots && *c; c++)
		*c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
	if (strncmp(part, "net/", 4) != 0)
		return bad_key(key, "only what is below net/ may be read or set", err);
	while (part) {
		size_t length = strcspn(part, "/");

		if (!length || (length == 1 && part[0] == '.') ||
			(length == 2 && part[0] == '.' && part[1] == '.'))
			return bad_key(key,
				"a key has no empty parts, no \".\" and no \"..\" between its slashes", err);
		part = part[length] ? part + length + 1 : NULL;
	}
	return 0;
}

// Says what is missing when the kernel has no such setting.
static const char *why_absent(const char *path, char *text, size_t size)
{
	const char *key = path + strlen(ROOT);
	char family[8], area[16], name[64], directory[PATH_ROOM];
	int length = -1;

	if (!strncmp(key, "net/bridge/", 11))
		return "the kernel has no such setting here; br_netfilter may not be loaded (modprobe br_netfilter)";
	if (!strncmp(key, "net/netfilter/nf_conntrack", 26))
		return "the kernel has no such setting here; nf_conntrack may not be loaded (modprobe nf_conntrack)";
	if (!strncmp(key, "net/ipv6/", 9) && access(ROOT "net/ipv6", F_OK) < 0)
		return "the kernel has no such setting here; it runs without IPv6";
	if (sscanf(key, "net/%7[^/]/%15[^/]/%63[^/]/%n", family, area, name, &length) == 3 && length > 0 &&
		(!strcmp(area, "conf") || !strcmp(area, "neigh"))) {
		snprintf(directory, sizeof(directory), ROOT "net/%s/%s/%s", family, area, name);
		if (access(directory, F_OK) < 0) {
			snprintf(text, size, "there is no interface \"%s\" in the namespace", name);
			return text;
		}
	}
	return "the kernel has no such setting; check the spelling";
}

static int failed_at(int errnum, const char *op, const char *path, const char *value, struct mn_error *err)
{
	char object[160], text[256];
	const char *why = "";

	snprintf(object, sizeof(object), "sysctl %.140s", path + strlen(ROOT));
	if (errnum == ENOENT || errnum == ENOTDIR) {
		errnum = ENOENT;
		why = why_absent(path, text, sizeof(text));
	} else if (errnum == EROFS) {
		why = "/proc/sys is mounted read-only, as in a container: mount the host's /proc/sys/net at DIR/net, and set MNCNI_PROC_SYS=DIR";
	} else if (errnum == EACCES || errnum == EPERM) {
		why = value ? "not writable: it needs root, or cannot be set in this namespace"
			    : "not readable";
	} else if (errnum == EISDIR) {
		why = "a group of settings, not a setting";
	} else if (value) {
		snprintf(text, sizeof(text), "\"%.200s\" is not accepted", value);
		why = text;
	}
	return mn_fail(err, errnum, op, object, "%s", why);
}

// The directory that several settings of a list have in common, open. A path to a setting passes over an
// entry of that name for each namespace of the machine that has been asked for one; from here it does not.
struct directory {
	int fd;		 // below 0: none
	const char *key; // of a setting in it
};

// How much of a key is that of a directory, 0 where its separators are dots.
static size_t directory_length(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash && !memchr(key, '.', strcspn(key, "/")) ? (size_t)(slash - key) : 0;
}

static bool are_together(const char *a, const char *b)
{
	size_t length = directory_length(a);

	return length > 0 && length == directory_length(b) && !memcmp(a, b, length);
}

// Goes to the directory of a setting where the next one is in it too, and away from any other. The path is
// that of the setting.
static void go_to(struct directory *directory, const char *key, const char *next, char *path)
{
	char *slash = strrchr(path, '/');

	if (directory->fd >= 0 && are_together(directory->key, key))
		return;
	if (directory->fd >= 0)
		close(steal_fd(&directory->fd));
	if (!next || !are_together(key, next))
		return;
	*slash = '\0';
	directory->fd = mn_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	*slash = '/';
	directory->key = key;
}

static int read_all(int fd, char **value)
{
	char first[CHUNK];
	auto_free char *more = NULL;
	char *buf = first;
	size_t used = 0, room = sizeof(first);

	for (;;) {
		ssize_t got = read(fd, buf + used, room - used - 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		used += (size_t)got;
		if (used < room - 1) // a setting comes whole, or fills the buffer
			break;
		buf = realloc(more, room + CHUNK);
		if (!buf)
			return -ENOMEM;
		if (!more)
			memcpy(buf, first, used);
		more = buf;
		room += CHUNK;
	}
	while (used && buf[used - 1] == '\n')
		used--;
	*value = strndup(buf, used);
	return *value ? 0 : -ENOMEM;
}

// Opens a setting below the directory that is mounted for writing, if there is one. -1 and EROFS where not.
static int __attribute__((noinline)) open_elsewhere(const char *path, int flags)
{
	const char *other = getenv("MNCNI_PROC_SYS");
	char there[PATH_MAX];
	int fd = -1;

	errno = EROFS;
	if (!other || !*other)
		return -1;
	if ((size_t)snprintf(there, sizeof(there), "%s/%s", other, path + strlen(ROOT)) >= sizeof(there)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mn_openat(AT_FDCWD, there, flags | O_CLOEXEC, 0);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		errno = EROFS; // the setting is there; what is missing is the mount
	return fd;
}

// Opens a setting, from its directory where that is open. A container sees /proc/sys read-only;
// MNCNI_PROC_SYS then names a directory where it, or net/ of it, is mounted for writing. What is below net/
// there is that of the caller's namespace, as in /proc/sys itself.
static int open_setting(const struct directory *directory, const char *path, int flags)
{
	bool near = directory && directory->fd >= 0;
	int fd = mn_openat(
		near ? directory->fd : AT_FDCWD, near ? strrchr(path, '/') + 1 : path, flags | O_CLOEXEC, 0);

	return fd < 0 && errno == EROFS ? open_elsewhere(path, flags) : fd;
}

// Opens a setting for both ways, or for the one that there is.
static int open_both(const struct directory *directory, const char *path, int *access)
{
	static const int ways[] = { O_RDWR, O_RDONLY, O_WRONLY };
	int fd = -1;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && fd < 0; i++) {
		*access = ways[i];
		fd = open_setting(directory, path, ways[i]);
		if (fd < 0 && errno != EACCES && errno != EPERM && errno != EROFS)
			break;
	}
	return fd;
}

static int write_all(int fd, const char *value)
{
	size_t length = strlen(value);
	ssize_t put;

	do
		put = pwrite(fd, value, length, 0);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	return (size_t)put == length ? 0 : -EINVAL;
}

static int write_path(const char *path, const char *value)
{
	auto_close int fd = open_setting(NULL, path, O_WRONLY);

	return fd < 0 ? -errno : write_all(fd, value);
}

static const char *next_word(const char *text, size_t *length)
{
	text += strspn(text, " \t\n");
	*length = strcspn(text, " \t\n");
	return text;
}

// Compares two values word by word: tcp_rmem prints tabs where people write spaces.
static bool same_value(const char *a, const char *b)
{
	size_t a_length = 0, b_length = 0;

	do {
		a = next_word(a + a_length, &a_length);
		b = next_word(b + b_length, &b_length);
		if (a_length != b_length || memcmp(a, b, a_length) != 0)
			return false;
	} while (a_length);
	return true;
}

static int get_one(struct directory *directory, struct mn_sysctl *setting, const struct mn_sysctl *next,
	struct mn_error *err)
{
	char path[PATH_ROOM];
	auto_close int fd = -1;
	int ret = key_path(setting->key, path, sizeof(path), err);

	if (ret < 0)
		return ret;
	go_to(directory, setting->key, next ? next->key : NULL, path);
	fd = open_setting(directory, path, O_RDONLY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	ret = fd < 0 ? -errno : read_all(fd, &setting->previous);
	return ret < 0 ? failed_at(-ret, "get", path, NULL, err) : 0;
}

static void begin(struct mn_sysctl *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		list[i].previous = NULL;
		list[i].changed = false;
	}
}

int mn_sysctl_get(int netns, struct mn_sysctl *list, size_t count, struct mn_error *err)
{
	struct directory directory = { .fd = -1 };
	int home, ret;

	begin(list, count);
	ret = mn_netns_enter(netns, &home, err);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = get_one(&directory, &list[i], i + 1 < count ? &list[i + 1] : NULL, err);
	if (directory.fd >= 0)
		close(directory.fd);
	mn_netns_leave(&home);
	return ret;
}

// Writes only what is different, so that a setting which is right already may be read-only. next is the one
// that follows, or NULL.
static int set_one(struct directory *directory, struct mn_sysctl *setting, const struct mn_sysctl *next,
	struct mn_error *err)
{
	char path[PATH_ROOM];
	auto_close int fd = -1;
	int access, ret = key_path(setting->key, path, sizeof(path), err);

	if (ret < 0)
		return ret;
	go_to(directory, setting->key, next ? next->key : NULL, path);
	if (setting->fresh)
		fd = open_setting(directory, path, access = O_WRONLY);
	if (fd < 0)
		fd = open_both(directory, path, &access);
	if (fd < 0)
		return failed_at(errno, "set", path, setting->value, err);
	if (access != O_WRONLY)
		ret = read_all(fd, &setting->previous);
	if (ret < 0 && ret != -EIO) // a secret that was never set
		return failed_at(-ret, "set", path, setting->value, err);
	if (setting->previous && same_value(setting->previous, setting->value))
		return 0;
	ret = access == O_RDONLY ? write_path(path, setting->value) : write_all(fd, setting->value);
	if (ret < 0)
		return failed_at(-ret, "set", path, setting->value, err);
	setting->changed = true;
	return 0;
}

static void put_back(const struct mn_sysctl *setting)
{
	char path[PATH_ROOM];

	if (setting->changed && setting->previous && !key_path(setting->key, path, sizeof(path), NULL))
		write_path(path, setting->previous);
}

int mn_sysctl_set(int netns, struct mn_sysctl *list, size_t count, size_t *failed, struct mn_error *err)
{
	struct directory directory = { .fd = -1 };
	int home, ret;

	begin(list, count);
	ret = mn_netns_enter(netns, &home, err);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < count && !ret; i++) {
		ret = set_one(&directory, &list[i], i + 1 < count ? &list[i + 1] : NULL, err);
		if (ret == -ENOENT && list[i].optional)
			ret = 0;
		if (ret < 0) {
			if (failed)
				*failed = i;
			while (i-- > 0)
				put_back(&list[i]);
			break;
		}
	}
	if (directory.fd >= 0)
		close(directory.fd);
	mn_netns_leave(&home);
	return ret;
}

void mn_sysctl_free(struct mn_sysctl *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].previous);
		list[i].previous = NULL;
	}
}
