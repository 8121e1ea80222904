// SPDX-License-Identifier: Apache-2.0
// Network namespaces as descriptors: open, create, pin, remove, and being inside one for a moment.
#ifndef MNCNI_NETNS_H
#define MNCNI_NETNS_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MN_NETNS_DIR "/run/netns" // where iproute2 pins namespaces by name

// Opens the network namespace at path. Anything else (nothing there, a plain file, another kind of namespace)
// is an error with code 8 that says what the path is instead. The path is never opened for reading before it
// is known.
int mn_netns_open(const char *path, int *fd, struct mn_error *err);

// Opens the network namespace that iproute2 knows by this name.
int mn_netns_open_name(const char *name, int *fd, struct mn_error *err);

// Opens the network namespace of a process.
int mn_netns_open_pid(pid_t pid, int *fd, struct mn_error *err);

// Duplicates a descriptor after checking that it is a network namespace.
int mn_netns_open_fd(int from, int *fd, struct mn_error *err);

// The path below /proc of the calling thread's network namespace or, with pid, of its process namespace.
const char *mn_netns_self(bool pid);

// Opens the network namespace of the calling thread.
int mn_netns_current(int *fd, struct mn_error *err);

// Makes a new network namespace and opens it; the caller stays where it is. With a name it is pinned in
// MN_NETNS_DIR as `ip netns add` does; without one it lives as long as a descriptor or a process holds it.
int mn_netns_create(const char *name, int *fd, struct mn_error *err);

// Keeps a namespace alive at path (a name without "/" is one in MN_NETNS_DIR), which must not exist yet.
int mn_netns_pin(int fd, const char *path, struct mn_error *err);

// Unpins a namespace, as `ip netns del` does. Outside MN_NETNS_DIR only what is a network namespace is
// removed.
int mn_netns_remove(const char *path, struct mn_error *err);

// Writes the path of a name, or the path itself when it contains "/"; refuses what cannot be a name.
int mn_netns_path(const char *name, char *path, size_t size, struct mn_error *err);

// Writes the names in MN_NETNS_DIR that are network namespaces, sorted, each with its terminating zero, as
// far as they fit; returns the size they need. A machine without the directory has no names.
ssize_t mn_netns_names(char *buf, size_t size, struct mn_error *err);

// Device and inode, which together tell one living namespace from another.
int mn_netns_id(int fd, uint64_t *dev, uint64_t *ino, struct mn_error *err);

// Moves the calling thread into a namespace; *home is the way back, to be given to mn_netns_leave(). An fd
// below 0 means the namespace the caller is in: nothing happens and *home is -1. May be nested.
int mn_netns_enter(int fd, int *home, struct mn_error *err);

// Moves the calling thread back and closes *home. A process that cannot come home would wire the wrong
// namespace, so it aborts. Keeps errno.
void mn_netns_leave(int *home);

// Until as many calls of the second, the calling thread leaves its namespace by mn_netns_enter() alone: the
// way home is opened once for all times.
void mn_netns_keep_home(void);
void mn_netns_let_home_go(void);

// Tells a thread that keeps its way home, and does not have it yet, of a socket of the namespace that it is
// in: that is asked in less time than /proc.
void mn_netns_learn_home(int socket);

// Takes a thread that is inside a namespace to where its outermost mn_netns_enter() came from, aborting if
// that fails. Does nothing when it is home. May be called from a signal handler, before an exec.
void mn_netns_go_home(void);

#endif
