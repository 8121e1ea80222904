// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "netns.h"

#include "cleanup.h"
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define CODE_NETNS 8 // what a CNI plugin reports for a namespace that is not usable
#define HOME_TRIES 1000
#define HOME_PAUSE_NS 1000000

// The descriptor that leads home from the outermost mn_netns_enter() of this thread, for mn_netns_go_home().
static _Thread_local volatile int way_home __attribute__((tls_model("initial-exec"))) = -1;

// The way home of this thread where it is opened once for many, and how many ask for that.
static _Thread_local int kept_home = -1;
static _Thread_local unsigned int keepers;

static int netns_code(int result, struct mn_error *err)
{
	if (err)
		err->code = CODE_NETNS;
	return result;
}

static void describe(char *object, size_t size, const char *path)
{
	snprintf(object, size, "netns %.140s", path);
}

static const char *kind_of_file(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a plain file";
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	default:
		return "something else";
	}
}

static const char *kind_of_namespace(int type)
{
	static const struct {
		int type;
		const char *name;
	} kinds[] = {
		{ CLONE_NEWNS, "a mount namespace" },
		{ CLONE_NEWPID, "a pid namespace" },
		{ CLONE_NEWUTS, "a UTS namespace" },
		{ CLONE_NEWIPC, "an IPC namespace" },
		{ CLONE_NEWUSER, "a user namespace" },
		{ CLONE_NEWCGROUP, "a cgroup namespace" },
		{ 0x80, "a time namespace" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].type == type)
			return kinds[i].name;
	return "another kind of namespace";
}

// Fails unless the descriptor (O_PATH is enough) is on the kernel's namespace filesystem.
static int check_nsfs(int fd, const char *object, struct mn_error *err)
{
	struct statfs fs;
	struct stat st;
	int ret;

	do
		ret = fstatfs(fd, &fs);
	while (ret < 0 && errno == EINTR);
	if (ret == 0 && fs.f_type == NSFS_MAGIC)
		return 0;
	if (ret < 0 || fstat(fd, &st) < 0)
		return netns_code(mn_fail(err, errno, "open", object, "cannot tell what it is"), err);
	if (S_ISREG(st.st_mode) && !st.st_size)
		return netns_code(mn_fail(err, EINVAL, "open", object,
					  "an empty file, not a network namespace: nothing is mounted on it "
					  "(any more); remove it and make the namespace again"),
			err);
	return netns_code(mn_fail(err, EINVAL, "open", object,
				  "%s, not a network namespace: give a path such as " MN_NETNS_DIR
				  "/NAME or /proc/PID/ns/net",
				  kind_of_file(st.st_mode)),
		err);
}

static int check_type(int fd, const char *object, struct mn_error *err)
{
	int type = ioctl(fd, NS_GET_NSTYPE);

	if (type == CLONE_NEWNET)
		return 0;
	if (type < 0)
		return netns_code(
			mn_fail(err, errno, "open", object, "cannot tell which kind of namespace it is"),
			err);
	return netns_code(mn_fail(err, EINVAL, "open", object,
				  "%s, not a network namespace: a process has its network namespace at "
				  "/proc/PID/ns/net",
				  kind_of_namespace(type)),
		err);
}

static int open_failed(int errnum, const char *path, const char *object, struct mn_error *err)
{
	const char *advice = "cannot be opened";
	pid_t pid;

	if (errnum == ENOENT && sscanf(path, "/proc/%d/ns/net", &pid) == 1)
		advice = "no such process: it has ended, and its namespace with it unless it is pinned";
	else if (errnum == ENOENT && !strncmp(path, MN_NETNS_DIR "/", sizeof(MN_NETNS_DIR)))
		advice = "no namespace of that name: `ip netns list` shows those that are there, "
			 "`ip netns add` makes one";
	else if (errnum == ENOENT || errnum == ENOTDIR)
		advice = "nothing is there: the namespace is gone, or the path is wrong";
	else if (errnum == EACCES || errnum == EPERM)
		advice = "not allowed: this needs root (CAP_SYS_ADMIN and CAP_SYS_PTRACE)";
	return netns_code(mn_fail(err, errnum, "open", object, "%s", advice), err);
}

// Fails unless what the path names is on the kernel's namespace filesystem.
static int check_path(const char *path, const char *object, struct mn_error *err)
{
	auto_close int handle = -1;
	struct statfs fs;

	if (statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC)
		return 0;
	handle = mn_openat(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	return handle < 0 ? open_failed(errno, path, object, err) : check_nsfs(handle, object, err);
}

int mn_netns_open(const char *path, int *fd, struct mn_error *err)
{
	char object[160];
	auto_close int opened = -1;
	int ret;

	*fd = -1;
	describe(object, sizeof(object), path);
	ret = check_path(path, object, err);
	if (ret < 0)
		return ret;
	// Known not to be a device or a pipe, it is opened for use, and is looked at again.
	opened = mn_openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (opened < 0)
		return open_failed(errno, path, object, err);
	ret = check_nsfs(opened, object, err);
	if (ret == 0)
		ret = check_type(opened, object, err);
	if (ret < 0)
		return ret;
	*fd = steal_fd(&opened);
	return 0;
}

int mn_netns_path(const char *name, char *path, size_t size, struct mn_error *err)
{
	int length;

	if (!strcmp(name, "") || !strcmp(name, ".") || !strcmp(name, ".."))
		return netns_code(mn_fail(err, EINVAL, "open", "netns", "\"%s\" is not a name", name), err);
	length = strchr(name, '/') ? snprintf(path, size, "%s", name)
				   : snprintf(path, size, MN_NETNS_DIR "/%s", name);
	if (length < 0 || (size_t)length >= size || strlen(name) >= PATH_MAX)
		return netns_code(mn_fail(err, ENAMETOOLONG, "open", "netns", "the name is too long"), err);
	return 0;
}

int mn_netns_open_name(const char *name, int *fd, struct mn_error *err)
{
	char path[PATH_MAX];
	int ret = mn_netns_path(name, path, sizeof(path), err);

	*fd = -1;
	return ret < 0 ? ret : mn_netns_open(path, fd, err);
}

int mn_netns_open_pid(pid_t pid, int *fd, struct mn_error *err)
{
	char path[64];

	*fd = -1;
	if (pid <= 0)
		return netns_code(mn_fail(err, EINVAL, "open", "netns", "%d is not a process id", pid), err);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	return mn_netns_open(path, fd, err);
}

int mn_netns_open_fd(int from, int *fd, struct mn_error *err)
{
	char object[64];
	int ret;

	*fd = -1;
	snprintf(object, sizeof(object), "netns of descriptor %d", from);
	ret = check_nsfs(from, object, err);
	if (!ret)
		ret = check_type(from, object, err);
	if (ret < 0)
		return ret;
	*fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
	if (*fd < 0)
		return netns_code(mn_fail(err, errno, "open", object, "cannot be duplicated"), err);
	return 0;
}

const char *mn_netns_self(bool pid)
{
	// The first thread has a shorter way, with fewer entries for the kernel to make and to take away.
	if (__libc_single_threaded || gettid() == getpid())
		return pid ? "/proc/self/ns/pid" : "/proc/self/ns/net";
	return pid ? "/proc/thread-self/ns/pid" : "/proc/thread-self/ns/net";
}

static int open_current(int *fd, struct mn_error *err)
{
	const char *path = mn_netns_self(false);

	*fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (*fd < 0)
		return netns_code(mn_fail(err, errno, "open", path, "is /proc mounted?"), err);
	return 0;
}

void mn_netns_keep_home(void)
{
	keepers++;
}

// The kernel tells it to who has CAP_NET_ADMIN there; for others it is opened below /proc.
void mn_netns_learn_home(int socket)
{
	if (keepers > 0 && way_home < 0 && kept_home < 0)
		kept_home = ioctl(socket, SIOCGSKNS);
}

void mn_netns_let_home_go(void)
{
	if (--keepers == 0 && kept_home >= 0)
		close(steal_fd(&kept_home));
}

// Opens the namespace that the thread is in, to go back there.
static int open_home(int *fd, struct mn_error *err)
{
	int ret = 0;

	if (keepers == 0 || way_home >= 0)
		return open_current(fd, err);
	if (kept_home < 0)
		ret = open_current(&kept_home, err);
	*fd = kept_home;
	return ret;
}

static void close_home(int fd)
{
	if (fd != kept_home)
		close(fd);
}

int mn_netns_current(int *fd, struct mn_error *err)
{
	int home, ret;

	if (keepers == 0 || way_home >= 0)
		return open_current(fd, err);
	*fd = -1;
	ret = open_home(&home, err);
	if (ret < 0)
		return ret;
	*fd = fcntl(home, F_DUPFD_CLOEXEC, 0);
	return *fd < 0 ? netns_code(mn_fail(err, errno, "open", "netns", NULL), err) : 0;
}

int mn_netns_id(int fd, uint64_t *dev, uint64_t *ino, struct mn_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return netns_code(mn_fail(err, errno, "identify", "netns", NULL), err);
	*dev = st.st_dev;
	*ino = st.st_ino;
	return 0;
}

int mn_netns_enter(int fd, int *home, struct mn_error *err)
{
	int here;
	int ret;

	*home = -1;
	if (fd < 0)
		return 0;
	ret = open_home(&here, err);
	if (ret < 0)
		return ret;
	if (way_home < 0)
		way_home = here;
	if (setns(fd, CLONE_NEWNET) < 0) {
		ret = netns_code(mn_fail(err, errno, "enter", "netns", "%s",
					 errno == EPERM ? "this needs root (CAP_SYS_ADMIN)" : ""),
			err);
		if (way_home == here)
			way_home = -1;
		close_home(here);
		return ret;
	}
	*home = here;
	return 0;
}

static void come_home(int home)
{
	static const char last_words[] = "mncni: cannot return to the own network namespace, aborting\n";

	// It fails for want of memory alone, which passes.
	for (int i = 0; i < HOME_TRIES; i++) {
		if (!setns(home, CLONE_NEWNET))
			return;
		nanosleep(&(struct timespec){ .tv_nsec = HOME_PAUSE_NS }, NULL);
	}
	if (write(STDERR_FILENO, last_words, sizeof(last_words) - 1) < 0)
		abort();
	abort();
}

void mn_netns_leave(int *home)
{
	int saved = errno;

	if (*home < 0)
		return;
	come_home(*home);
	if (way_home == *home)
		way_home = -1;
	close_home(steal_fd(home));
	errno = saved;
}

void mn_netns_go_home(void)
{
	if (way_home >= 0)
		come_home(way_home);
}

// Makes the directory of names a shared mount of its own, so that a namespace pinned there is seen (and let
// go) in every mount namespace of the machine. Concurrent callers, iproute2 among them, take turns on the
// directory's lock.
static int prepare_directory(struct mn_error *err)
{
	auto_close int lock = -1;

	if (mkdir(MN_NETNS_DIR, 0755) < 0 && errno != EEXIST)
		return netns_code(mn_fail(err, errno, "create", MN_NETNS_DIR, NULL), err);
	lock = mn_openat(AT_FDCWD, MN_NETNS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return netns_code(mn_fail(err, errno, "lock", MN_NETNS_DIR, NULL), err);
	if (!mount("", MN_NETNS_DIR, "none", MS_SHARED | MS_REC, NULL))
		return 0;
	if (errno == EINVAL && !mount(MN_NETNS_DIR, MN_NETNS_DIR, "none", MS_BIND | MS_REC, NULL) &&
		!mount("", MN_NETNS_DIR, "none", MS_SHARED | MS_REC, NULL))
		return 0;
	return netns_code(mn_fail(err, errno, "mount", MN_NETNS_DIR, "%s",
				  errno == EPERM ? "this needs root (CAP_SYS_ADMIN)" : "cannot be shared"),
		err);
}

static int create_anonymous(int *fd, struct mn_error *err)
{
	int home;
	int ret = mn_netns_current(&home, err);

	if (ret < 0)
		return ret;
	if (unshare(CLONE_NEWNET) < 0) {
		ret = netns_code(
			mn_fail(err, errno, "create", "netns", "%s",
				errno == EPERM		  ? "this needs root (CAP_SYS_ADMIN)"
					: errno == ENOSPC ? "the limit user.max_net_namespaces is reached"
							  : ""),
			err);
		close(home);
		return ret;
	}
	ret = open_current(fd, err); // the new one
	come_home(home);
	close(home);
	return ret;
}

int mn_netns_pin(int fd, const char *name, struct mn_error *err)
{
	char path[PATH_MAX], object[160], from[sizeof("/proc/self/fd/-2147483648")];
	auto_close int file = -1;
	int ret = mn_netns_path(name, path, sizeof(path), err);

	if (!ret && !strchr(name, '/'))
		ret = prepare_directory(err);
	if (ret < 0)
		return ret;
	describe(object, sizeof(object), path);
	file = mn_openat(AT_FDCWD, path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (file < 0)
		return netns_code(
			mn_fail(err, errno, "create", object, "%s",
				errno == EEXIST ? "the name is taken: choose another, or remove it first"
						: ""),
			err);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (mount(from, path, "none", MS_BIND, NULL) < 0) {
		ret = netns_code(mn_fail(err, errno, "mount", object, NULL), err);
		unlink(path);
		return ret;
	}
	return 0;
}

int mn_netns_create(const char *name, int *fd, struct mn_error *err)
{
	auto_close int made = -1;
	int ret;

	*fd = -1;
	if (name && strchr(name, '/'))
		return netns_code(mn_fail(err, EINVAL, "create", "netns",
					  "\"%s\" is not a name: pin the namespace to give it a path", name),
			err);
	ret = create_anonymous(&made, err);
	if (!ret && name)
		ret = mn_netns_pin(made, name, err);
	if (!ret)
		*fd = steal_fd(&made);
	return ret;
}

int mn_netns_remove(const char *name, struct mn_error *err)
{
	char path[PATH_MAX], object[160];
	auto_close int fd = -1;
	struct stat st;
	int ret = mn_netns_path(name, path, sizeof(path), err);

	if (ret < 0)
		return ret;
	describe(object, sizeof(object), path);
	ret = mn_netns_open(path, &fd, err);
	// A name whose namespace was unmounted by hand leaves an empty file, which `ip netns del` removes
	// too.
	if (ret == -EINVAL && !strncmp(path, MN_NETNS_DIR "/", sizeof(MN_NETNS_DIR)) && !lstat(path, &st) &&
		S_ISREG(st.st_mode) && !st.st_size)
		ret = 0;
	if (ret < 0) {
		if (err)
			snprintf(err->op, sizeof(err->op), "remove");
		return ret;
	}
	if (fd >= 0 && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return netns_code(mn_fail(err, errno, "remove", object, "%s",
					  errno == EINVAL ? "it is not pinned here: a process holds it"
							  : "cannot be unmounted"),
			err);
	if (unlink(path) < 0)
		return netns_code(mn_fail(err, errno, "remove", object, NULL), err);
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_netns(const struct dirent *entry)
{
	char path[sizeof(MN_NETNS_DIR) + sizeof(entry->d_name)];
	int fd;

	snprintf(path, sizeof(path), MN_NETNS_DIR "/%s", entry->d_name);
	if (mn_netns_open(path, &fd, NULL) < 0)
		return 0;
	close(fd);
	return 1;
}

ssize_t mn_netns_names(char *buf, size_t size, struct mn_error *err)
{
	struct dirent **entries;
	size_t used = 0;
	int count = scandir(MN_NETNS_DIR, &entries, is_netns, by_name);

	if (count < 0 && errno == ENOENT)
		return 0;
	if (count < 0)
		return mn_fail(err, errno, "list", MN_NETNS_DIR, NULL);
	for (int i = 0; i < count; i++) {
		size_t length = strlen(entries[i]->d_name) + 1;

		if (used + length <= size)
			memcpy(buf + used, entries[i]->d_name, length);
		used += length;
		free(entries[i]);
	}
	free(entries);
	return (ssize_t)used;
}
