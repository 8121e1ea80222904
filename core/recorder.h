// SPDX-License-Identifier: Apache-2.0
// The flight recorder: what the call of this process was given and has done so far, kept in memory until its
// record is written. How it is begun and what is noted from outside is public: see mn_record_begin() in
// mncni.h.
//
// Its text is a line "mncni-call FORMAT NUMBER SIZE" (both hexadecimal), and then notes: a line "KIND
// MICROSECONDS KEPT LENGTH", KEPT bytes, a newline. The last note is of kind "end".
#ifndef MNCNI_RECORDER_H
#define MNCNI_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#define MN_RECORDER_FORMAT 1
#define MN_RECORDER_SIZE 32768 // bytes of the whole text at most

// Ends the text, with what the runtime is told, and says where it is. Returns its size, 0 when nothing is
// recorded.
size_t mn_recorder_finish(uint64_t number, const char *document, const char **text);

// Returns how many of the bytes are the whole text of this number: 0 for what is none, or of a format that a
// newer release writes.
size_t mn_recorder_check(const char *bytes, size_t size, uint64_t number);

#endif
