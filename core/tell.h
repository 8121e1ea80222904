// SPDX-License-Identifier: Apache-2.0
// Telling a trace that listens, and nobody else, what a call did: a datagram to a socket in the state
// directory.
#ifndef MNCNI_TELL_H
#define MNCNI_TELL_H

#include <stdbool.h>
#include <stddef.h>

#define MN_TELL_SOCKET "trace.sock"

// Writes the socket's path and says whether it is there.
bool mn_tell_is_heard(const char *state_dir, char *path, size_t size);

// Sends without waiting: 0, or -errno, which is no reason to fail anything.
int mn_tell(const char *path, const char *text, size_t len);

#endif
