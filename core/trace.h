// SPDX-License-Identifier: Apache-2.0
// Watching a node's CNI calls and what the kernel changes meanwhile: a thread reads the sources as they speak
// and hands on records in the order in which things happened.
#ifndef MNCNI_TRACE_H
#define MNCNI_TRACE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mn_trace_type {
	MN_TRACE_CALL,	  // a process became a CNI call; data: KEY=VALUE strings, each terminated
	MN_TRACE_FORK,	  // a process (or thread) was made by pid `other`, which belongs to a call; nsid: its
			  // number in its own process namespace, 0 where that is of no interest
	MN_TRACE_OUTPUT,  // all that was seen of descriptor `other` of a call
	MN_TRACE_MISSED,  // a process had ended before it could be looked at; data: the program that it ran
	MN_TRACE_EXIT,	  // other: the status as wait(2) has it, -1 when it is not known
	MN_TRACE_MESSAGE, // netlink messages of protocol `other`; nsid: of the namespace, -1 for the node's
			  // own
	MN_TRACE_PACKET,  // what nlmon has seen of protocol `other`; nsid: the direction (sll_pkttype)
	MN_TRACE_REPORT,  // data: what our own plugin tells of its call
	MN_TRACE_LOST,	  // other: how many times something was lost (at least); data: of which source
	MN_TRACE_STOP,	  // somebody sent a signal to stop
};

struct mn_trace_record {
	struct mn_trace_record *next;
	enum mn_trace_type type;
	int64_t time; // nanoseconds of CLOCK_MONOTONIC
	pid_t pid;
	int other;
	int nsid;
	size_t size;
	char data[];
};

enum mn_trace_source {
	MN_TRACE_PROC,	   // the kernel's process events
	MN_TRACE_FANOTIFY, // programs of these directories being opened to be run
	MN_TRACE_PIPES,	   // standard input and output of the calls
	MN_TRACE_ROUTE,	   // rtnetlink's groups, all namespaces with a number
	MN_TRACE_NFT,	   // nf_tables' group, likewise
	MN_TRACE_REPORTS,  // our own plugin's reports
	MN_TRACE_NLMON,	   // every netlink message, by a device nlmon
	MN_TRACE_SOURCES,
};

struct mn_trace_options {
	bool wanted[MN_TRACE_SOURCES];
	const char *netns;		// path of the node's network namespace
	const char *const *directories; // of plugins, NULL at the end
	const char *report;		// path of the socket
	int nlmon;			// index of the device, in the caller's namespace
};

// Nanoseconds of CLOCK_MONOTONIC.
int64_t mn_trace_now(void);

struct mn_trace;

// Begins. What cannot be had of the wanted sources is told in missing, and is no error; *trace is to be
// stopped.
int mn_trace_start(struct mn_trace **trace, const struct mn_trace_options *options,
	struct mn_error missing[MN_TRACE_SOURCES], struct mn_error *err);

// The next record, to be freed; NULL when there is none within so many milliseconds (-1: forever).
struct mn_trace_record *mn_trace_next(struct mn_trace *trace, int timeout);

// Ends the thread and closes everything.
void mn_trace_stop(struct mn_trace *trace);

#endif
