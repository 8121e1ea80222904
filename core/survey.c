// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "survey.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "netns.h"

#define THREAD_MAX 64 // bytes of "/proc/PID/task/TID"
#define FILE_MAX (THREAD_MAX + 16)
#ifndef PIDFD_GET_PID_NAMESPACE // linux/pidfd.h since 6.11
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)
#endif

static int failed(const char *path, int errnum, struct mn_error *err)
{
	return mn_fail(err, errnum, "look at", path, "%s",
		errnum == EACCES || errnum == EPERM
			? "not allowed, so not every namespace can be known: this needs root and CAP_SYS_PTRACE"
			: "not every namespace can be known");
}

// Whether an error only says that the thread has ended.
static bool ended(int errnum)
{
	return errnum == ENOENT || errnum == ESRCH;
}

// The entry of a namespace, a new one without a path if there is none yet; NULL for lack of memory.
static struct mn_seen *entry(struct mn_survey *survey, uint64_t dev, uint64_t ino)
{
	for (size_t i = 0; i < survey->n; i++)
		if (survey->seen[i].ino == ino && survey->seen[i].dev == dev)
			return &survey->seen[i];
	if (survey->n == survey->room) {
		size_t room = survey->room ? survey->room * 2 : 64;
		struct mn_seen *grown = realloc(survey->seen, room * sizeof(*grown));

		if (!grown)
			return NULL;
		survey->seen = grown;
		survey->room = room;
	}
	survey->seen[survey->n] = (struct mn_seen){ .dev = dev, .ino = ino };
	return &survey->seen[survey->n++];
}

// Whether a path leads to a namespace: a mount may be covered by another one.
static bool leads_to(const char *path, uint64_t dev, uint64_t ino)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == ino && st.st_dev == dev;
}

// Adds a namespace, and the path unless it has one; of a mount only a path that leads to it.
static int add(struct mn_survey *survey, uint64_t dev, uint64_t ino, const char *path, bool mounted,
	struct mn_error *err)
{
	struct mn_seen *seen = entry(survey, dev, ino);

	if (!seen)
		return failed(path, ENOMEM, err);
	if (seen->path || (mounted && !leads_to(path, dev, ino)))
		return 0;
	seen->path = strdup(path);
	return seen->path ? 0 : failed(path, ENOMEM, err);
}

// Undoes the escapes of mountinfo (\040 is a space) in place.
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		unsigned int byte;

		if (*from == '\\' && sscanf(from + 1, "%3o", &byte) == 1) {
			*to++ = (char)byte;
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

// One line: "ID PARENT MAJOR:MINOR net:[INODE] MOUNT-POINT OPTIONS ... - nsfs nsfs rw".
static int add_mount(struct mn_survey *survey, const char *thread, char *line, struct mn_error *err)
{
	char path[PATH_MAX + 64];
	unsigned int major, minor;
	unsigned long ino;
	int at = 0;

	if (sscanf(line, "%*d %*d %u:%u net:[%lu] %n", &major, &minor, &ino, &at) != 3 || !at ||
		!strstr(line, " - nsfs "))
		return 0;
	line[at + strcspn(line + at, " ")] = '\0';
	unescape(line + at);
	snprintf(path, sizeof(path), "%s/root%s", thread, line + at);
	return add(survey, makedev(major, minor), ino, path, true, err);
}

// Returns 1 when the thread has ended before all of its mounts were read.
static int add_mounts(struct mn_survey *survey, const char *thread, struct mn_error *err)
{
	char path[FILE_MAX];
	auto_free char *line = NULL;
	size_t size = 0;
	int ret = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%.63s/mountinfo", thread);
	file = fopen(path, "re");
	if (!file)
		return ended(errno) || errno == EINVAL ? 1 : failed(path, errno, err);
	errno = 0;
	while (ret == 0 && getline(&line, &size, file) >= 0)
		ret = add_mount(survey, thread, line, err);
	if (ret == 0 && ferror(file))
		ret = ended(errno) || errno == EINVAL ? 1 : failed(path, errno, err);
	(void)fclose(file);
	return ret;
}

// Looks at one thread ("/proc/1/task/1"), and at its mounts unless its mount namespace was looked at before.
static int look_at(
	struct mn_survey *survey, struct mn_survey *mounts, const char *thread, struct mn_error *err)
{
	char path[FILE_MAX];
	struct stat st;
	size_t before = mounts->n;
	int ret;

	snprintf(path, sizeof(path), "%.63s/ns/net", thread);
	if (stat(path, &st) < 0)
		return ended(errno) ? 0 : failed(path, errno, err);
	ret = add(survey, st.st_dev, st.st_ino, path, false, err);
	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "%.63s/ns/mnt", thread);
	if (stat(path, &st) < 0)
		return ended(errno) ? 0 : failed(path, errno, err);
	ret = add(mounts, st.st_dev, st.st_ino, path, false, err);
	if (ret < 0 || mounts->n == before)
		return ret;
	ret = add_mounts(survey, thread, err);
	if (ret > 0) { // another thread may still have the mount namespace
		free(mounts->seen[--mounts->n].path);
		ret = 0;
	}
	return ret;
}

// Looks at every thread of every process of /proc; it calls itself for the threads of one.
static int walk(struct mn_survey *survey, struct mn_survey *mounts, const char *directory, bool threads,
	struct mn_error *err)
{
	DIR *dir = opendir(directory);
	int ret = 0;

	if (!dir)
		return threads && ended(errno) ? 0 : failed(directory, errno, err);
	while (ret == 0) {
		char path[THREAD_MAX];
		struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			ret = errno && !ended(errno) ? failed(directory, errno, err) : 0;
			break;
		}
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "%.30s/%.20s%s", directory, entry->d_name,
			threads ? "" : "/task");
		ret = threads ? look_at(survey, mounts, path, err) : walk(survey, mounts, path, true, err);
	}
	closedir(dir);
	return ret;
}

int mn_survey(struct mn_survey *survey, struct mn_error *err)
{
	struct mn_survey mounts = { 0 };
	int ret;

	*survey = (struct mn_survey){ 0 };
	ret = walk(survey, &mounts, "/proc", false, err);
	mn_survey_free(&mounts);
	return ret;
}

void mn_survey_free(struct mn_survey *survey)
{
	for (size_t i = 0; i < survey->n; i++)
		free(survey->seen[i].path);
	free(survey->seen);
	*survey = (struct mn_survey){ 0 };
}

// The process namespace of this process, by a descriptor of itself, which costs the kernel less than what it
// makes for a path below /proc. -1 before Linux 6.11.
static int open_view(void)
{
	auto_close int self = pidfd_open(getpid(), 0);

	return self < 0 ? -1 : ioctl(self, PIDFD_GET_PID_NAMESPACE, 0);
}

int mn_survey_view(uint64_t *dev, uint64_t *ino, struct mn_error *err)
{
	const char *path = mn_netns_self(true);
	auto_close int view = open_view();
	struct stat st;

	if ((view < 0 || fstat(view, &st) < 0) && stat(path, &st) < 0)
		return failed(path, errno, err);
	*dev = st.st_dev;
	*ino = st.st_ino;
	return 0;
}
