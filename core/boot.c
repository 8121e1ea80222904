// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "boot.h"

#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"

#define BOOT_PATH "/proc/sys/kernel/random/boot_id"

void mn_boot_read(const char *path, char id[MN_BOOT_ID])
{
	auto_close int fd = mn_openat(AT_FDCWD, path ? path : BOOT_PATH, O_RDONLY | O_CLOEXEC, 0);
	ssize_t got;

	do
		got = fd < 0 ? 0 : read(fd, id, MN_BOOT_ID - 1);
	while (got < 0 && errno == EINTR);
	id[got > 0 ? got : 0] = '\0';
	id[strcspn(id, " \t\r\n")] = '\0';
}

const char *mn_boot_id(void)
{
	static _Thread_local char id[MN_BOOT_ID];

	if (!*id)
		mn_boot_read(NULL, id);
	return id;
}

int64_t mn_boot_clock(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}
