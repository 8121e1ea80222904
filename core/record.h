// SPDX-License-Identifier: Apache-2.0
// The ring of call records: what the last calls on this node did, for people and for metrics. One file of
// text in the state directory with a slot per record, written without waiting and readable when torn. Behind
// the slots there is room for each one's whole record (recorder.h), which releases that do not know it leave
// alone.
#ifndef MNCNI_RECORD_H
#define MNCNI_RECORD_H

#include <stdint.h>

#include "error.h"

#define MN_RECORD_FILE "calls.ring"
#define MN_RECORD_FORMAT 1
#define MN_RECORD_SLOTS 256
#define MN_RECORD_SIZE 1024 // bytes of a slot, its newline included

// The record and how it is written are public: see mn_record_write() in mncni.h.

struct mn_record_list {
	unsigned int count;
	struct mn_record_found {
		uint64_t number; // counts up from 1
		const char *json;
	} found[MN_RECORD_SLOTS];
	char *memory; // that the JSON is in: freed by the caller
};

// Reads the ring, newest record first. Torn and foreign slots are left out; no ring gives no records.
int mn_record_read(const char *state_dir, struct mn_record_list *list, struct mn_error *err);

// Reads the whole record of a number into *text, malloc'd and *size long: 0 when there is none.
int mn_record_read_whole(
	const char *state_dir, uint64_t number, char **text, size_t *size, struct mn_error *err);

#endif
