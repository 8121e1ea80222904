// SPDX-License-Identifier: Apache-2.0
// This boot: its id, and a clock that starts with it and knows no steps. Records carry both, because what an
// earlier boot has made in the kernel is gone, and because the wall clock may be set at any time.
#ifndef MNCNI_BOOT_H
#define MNCNI_BOOT_H

#include <stdint.h>

#define MN_BOOT_ID 64

// Reads a boot id from the file at path (NULL: the kernel's); empty when it cannot be told.
void mn_boot_read(const char *path, char id[MN_BOOT_ID]);

// The kernel's boot id, read once in the life of a thread; empty when it cannot be told.
const char *mn_boot_id(void);

// Seconds since the boot, time asleep included.
int64_t mn_boot_clock(void);

#endif
