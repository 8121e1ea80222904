// SPDX-License-Identifier: Apache-2.0
// POSIX extended regular expressions, as regex(7) has them.
#ifndef MNCNI_POSIX_REGEX_H
#define MNCNI_POSIX_REGEX_H

#include "error.h"

#include <stdbool.h>

// Tells in *matches whether the pattern is found anywhere in text. Returns 0, -EINVAL with the reason for a
// pattern that is none, or -ENOMEM.
int mn_regex_match(const char *pattern, const char *text, bool *matches, struct mn_error *err);

#endif
