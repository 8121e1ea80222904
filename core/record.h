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

// The record and how it is written are public: see mn_record_write() in mncni.h.

// Reads the ring into *lines: malloc'd, *count strings of JSON one after the other, each terminated, newest
// first. Torn and foreign slots are left out; no ring gives no lines.
int mn_record_read(const char *state_dir, char **lines, unsigned int *count, struct mn_error *err);

#endif
