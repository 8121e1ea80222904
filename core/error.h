// SPDX-License-Identifier: Apache-2.0
// The one error type of plain C: a function returns 0 or -errno and fills a struct mn_error on failure.
#ifndef MNCNI_ERROR_H
#define MNCNI_ERROR_H

#include "mncni.h"

// Fills err and returns -errnum. op and object may be NULL; object and message are truncated to fit.
int mn_fail(struct mn_error *err, int errnum, const char *op, const char *object, const char *message, ...)
	__attribute__((format(printf, 5, 6)));

// Returns the symbolic name ("EEXIST") of a positive errno, or "E?" when libc knows none.
const char *mn_errno_name(int errnum);

// Writes the error as one line that a person can act on, always terminated; returns the length it has in
// full.
int mn_error_format(const struct mn_error *err, char *buf, size_t size);

#endif
