// SPDX-License-Identifier: Apache-2.0
// What the files of trace share; all of it belongs to the thread, but for the queue.
#ifndef MNCNI_TRACE_PRIVATE_H
#define MNCNI_TRACE_PRIVATE_H

#include "nl.h"
#include "trace.h"

#include <pthread.h>

#define MN_TRACE_TAPS 3 // descriptors 0 to 2
#define MN_TRACE_BUCKETS 1024

// A descriptor of a call that is looked at without taking anything from it.
struct mn_tap {
	int fd; // -1: none
	bool is_pipe;
	char *data;
	size_t size;
};

// A process that is a call, or belongs to one, or may become one.
struct mn_process {
	struct mn_process *next;  // in its bucket
	struct mn_process *ended; // in the list of those to be told of
	pid_t pid;
	bool call;
	bool followed; // a call made it
	bool pending;  // opened its program and has not run it yet
	bool read;     // its environment was read
	bool over;
	int64_t since;
	uint64_t dev, ino; // of the program that it has opened
	char *program;	   // its path, while that is of interest
	int pidfd;	   // where there are no process events
	int status;
	struct mn_tap taps[MN_TRACE_TAPS];
};

struct mn_trace {
	pthread_t thread;
	pthread_mutex_t lock;
	struct mn_trace_record *first, **last;
	size_t queued; // bytes
	// Changes, not handed on yet; the thread's own.
	struct mn_trace_record *heard, **heard_last;
	unsigned int dropped;
	int wake; // an eventfd: there are records
	int stop;
	int epoll;
	int signals;
	int proc, fanotify, timer, report, packet;
	bool taps;
	bool running;
	struct mn_nl nl[2];
	struct mn_nl ask; // the numbers of namespaces
	struct mn_buffer in;
	uint64_t home; // the node's own namespace: its inode
	struct mn_process *processes[MN_TRACE_BUCKETS];
	struct mn_process *ended;
	unsigned int pending;
	int64_t opened; // when the last of them opened its program
	int scratch[2]; // the pipe that tee(2) copies into
	char buffer[1 << 16];
	char said[256 << 10];	     // a report
	char environment[128 << 10]; // of a process
};

enum mn_trace_event {
	EVENT_STOP,
	EVENT_SIGNAL,
	EVENT_PROC,
	EVENT_FANOTIFY,
	EVENT_TIMER,
	EVENT_NETLINK,
	EVENT_REPORT,
	EVENT_PACKET,
	EVENT_TAP,
	EVENT_PIDFD
};

// trace_queue.c
// A record of its own, NULL for lack of memory; and those that hang together, freed.
struct mn_trace_record *mn_trace_record_make(
	const struct mn_trace_record *head, const void *data, size_t size);
void mn_trace_record_free(struct mn_trace_record *first);

// Adds a record to the queue, which has it then (NULL: one that there was no memory for); what is too much is
// counted and told when there is room again.
void mn_trace_put_record(struct mn_trace *trace, struct mn_trace_record *record);
void mn_trace_put(struct mn_trace *trace, const struct mn_trace_record *head, const void *data, size_t size);
void mn_trace_lost(struct mn_trace *trace, const char *source, int count);

// Hands on what the kernel has told of changes until now.
void mn_trace_netlink_read(struct mn_trace *trace);

// Has the loop told of a descriptor; edge: only when something comes.
int mn_trace_watch(struct mn_trace *trace, int fd, enum mn_trace_event event, pid_t pid, bool edge);

// trace_proc.c
int mn_trace_proc_open(int *fd, struct mn_error *err);
void mn_trace_proc_read(struct mn_trace *trace);

// trace_exec.c
int mn_trace_exec_open(int *fd, const char *const *directories, struct mn_error *err);
void mn_trace_exec_read(struct mn_trace *trace);

// trace_process.c
struct mn_process *mn_trace_process(struct mn_trace *trace, pid_t pid);
struct mn_process *mn_trace_process_add(struct mn_trace *trace, pid_t pid);
void mn_trace_process_drop(struct mn_trace *trace, struct mn_process *process);

// A process of a call has made it.
void mn_trace_process_forked(struct mn_trace *trace, pid_t pid);

// The process runs a program now: tells of a call if it is one.
void mn_trace_process_runs(struct mn_trace *trace, pid_t pid, int64_t time);

// The process is about to run a program, open at fd.
void mn_trace_process_opens(struct mn_trace *trace, pid_t pid, int fd, int64_t time);

// Looks at those that were about to, where nothing else tells.
void mn_trace_process_poll(struct mn_trace *trace);

// The process has ended; it is told of by mn_trace_process_tell_ended.
void mn_trace_process_ends(struct mn_trace *trace, struct mn_process *process, int status);

// Looks for those whose end nobody has told of.
void mn_trace_process_sweep(struct mn_trace *trace);

// The status of a process that nobody has waited for yet, -1 if somebody has.
int mn_trace_process_status(pid_t pid);
void mn_trace_process_tell_ended(struct mn_trace *trace);

// trace_tap.c
void mn_tap_open(struct mn_tap *tap, pid_t pid, int number);
void mn_tap_read(struct mn_trace *trace, struct mn_tap *tap);
void mn_tap_close(struct mn_tap *tap);

// trace_netns.c
// The network namespace at a path as the process sees it: -1 when there is none.
int mn_trace_netns_open(pid_t pid, const char *path);

// The number that a namespace has in the node's, given now if it has none; -1 when it is the node's own or
// has none.
int mn_trace_nsid(struct mn_trace *trace, int fd, uint64_t inode);

#endif
