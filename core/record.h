// SPDX-License-Identifier: Apache-2.0
// The ring of call records: what the last calls on this node did, for people and for metrics. One file of
// text in the state directory with a slot per record, written without waiting and readable when torn.
#ifndef MNCNI_RECORD_H
#define MNCNI_RECORD_H

#include <stdint.h>

#include "error.h"

#define MN_RECORD_FILE "calls.ring"
#define MN_RECORD_FORMAT 1
#define MN_RECORD_SLOTS 256
#define MN_RECORD_SIZE 1024 // bytes of a slot, its newline included

// One call. NULL strings and an empty list are left out of the record; text that does not fit is cut, the
// message first.
struct mn_record {
	const char *verb;
	const char *policy;
	const char *network;
	const char *container;
	const char *ifname;
	const char *netns;
	const char *message;
	const char *trace;	    // the runtime's TRACEPARENT
	const char *const *ignored; // keys of the configuration that nobody reads, NULL-terminated
	int64_t duration_us;
	int code; // 0: it succeeded
};

// Adds a record to the ring of state_dir. A STATUS or VERSION that repeats the newest record only counts it
// up ("repeated"), and makes no directory. Waits at most 10 ms for another writer, then gives up with
// -EAGAIN.
int mn_record_write(const char *state_dir, const struct mn_record *record, struct mn_error *err);

// Reads the ring into *lines: malloc'd, *count strings of JSON one after the other, each terminated, newest
// first. Torn and foreign slots are left out; no ring gives no lines.
int mn_record_read(const char *state_dir, char **lines, unsigned int *count, struct mn_error *err);

// Microseconds of CLOCK_MONOTONIC, for durations.
int64_t mn_record_clock(void);

#endif
