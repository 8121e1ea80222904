// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "io.h"

#include <stdio.h>
#include <unistd.h>

int mn_link_unnamed(int fd, int dir, const char *name)
{
	char path[sizeof("/proc/self/fd/-2147483648")];

	if (linkat(fd, "", dir, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM && errno != EINVAL)
		return -errno;
	// Without CAP_DAC_READ_SEARCH the descriptor has to be named through /proc.
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int mn_write_whole(int fd, const char *text, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t put = pwrite(fd, text + done, size - done, (off_t)done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		done += (size_t)put;
	}
	return 0;
}
