// SPDX-License-Identifier: Apache-2.0
// Whether files could be made in a directory, told without making any.
#ifndef MNCNI_DIRECTORY_H
#define MNCNI_DIRECTORY_H

#include "error.h"

// 0 when files can be made in the directory at path, or, while it is not there, in the nearest one above it
// that is. -errno with what stands in the way, code 5: no directory, not to be read or written, read-only,
// full.
int mn_directory_usable(const char *path, struct mn_error *err);

#endif
