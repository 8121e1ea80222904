// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "directory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cleanup.h"
#include "io.h"

static int unusable(const char *op, const char *path, int errnum, struct mn_error *err)
{
	mn_fail(err, errnum, op, path, "%s",
		errnum == ENOTDIR	   ? "a directory is expected here"
			: errnum == ENOSPC ? "free space or inodes on this file system"
			: errnum == EROFS  ? "remount the file system read-write"
			: errnum == EACCES ? "check its owner, its mode and the mount"
					   : "");
	if (err)
		err->code = 5;
	return -errnum;
}

int mn_directory_usable(const char *path, struct mn_error *err)
{
	char at[PATH_MAX];
	auto_close int fd = -1;
	struct statvfs fs;

	if ((size_t)snprintf(at, sizeof(at), "%s", path) >= sizeof(at))
		return unusable("read", path, ENAMETOOLONG, err);
	while ((fd = mn_openat(AT_FDCWD, at, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0 && errno == ENOENT) {
		char *slash = strrchr(at, '/');

		if (slash)
			slash[slash == at ? 1 : 0] = '\0';
		else
			snprintf(at, sizeof(at), ".");
	}
	if (fd < 0)
		return unusable("read", at, errno, err);
	if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return unusable("write", at, errno, err);
	// Some file systems count no inodes.
	if (fstatvfs(fd, &fs) == 0 && (fs.f_bfree == 0 || (fs.f_files > 0 && fs.f_ffree == 0)))
		return unusable("write", at, ENOSPC, err);
	return 0;
}
