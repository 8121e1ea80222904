// SPDX-License-Identifier: Apache-2.0
#ifndef MNCNI_IO_H
#define MNCNI_IO_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

// openat(2) that no signal ends.
static inline int mn_openat(int dir, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dir, path, flags, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

// Gives a file that was made with O_TMPFILE its name, below the directory: 0 or -errno.
int mn_link_unnamed(int fd, int dir, const char *name);

// Writes all of it from the file's beginning on: 0 or -errno.
int mn_write_whole(int fd, const char *text, size_t size);

#endif
