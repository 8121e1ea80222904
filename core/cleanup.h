// SPDX-License-Identifier: Apache-2.0
// Scope-bound cleanup for plain C. Never alive across a call that may raise a Lua error.
#ifndef MNCNI_CLEANUP_H
#define MNCNI_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void mn_cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void mn_cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

#define auto_close __attribute__((cleanup(mn_cleanup_close)))
#define auto_free __attribute__((cleanup(mn_cleanup_free)))

// Takes the descriptor out of an auto_close variable, which then closes nothing.
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
