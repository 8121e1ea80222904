// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "tell.h"

#include "cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

bool mn_tell_is_heard(const char *state_dir, char *path, size_t size)
{
	int len = snprintf(path, size, "%s/%s", state_dir, MN_TELL_SOCKET);

	return len > 0 && (size_t)len < size && access(path, F_OK) == 0;
}

int mn_tell(const char *path, const char *text, size_t len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int fd = -1;
	int room = (int)len + 4096;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return sendto(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
		       sizeof(address)) < 0
		? -errno
		: 0;
}
