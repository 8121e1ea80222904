// SPDX-License-Identifier: Apache-2.0
// swap A B: exchanges two names again and again, until its stdin is closed or a minute has passed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	time_t end = time(NULL) + 60;

	if (argc != 3)
		return 2;
	do {
		for (int i = 0; i < 1000; i++) {
			if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) < 0) {
				perror(argv[1]);
				return 1;
			}
		}
	} while (poll(&input, 1, 0) == 0 && time(NULL) < end);
	return 0;
}
