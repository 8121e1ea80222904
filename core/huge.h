// SPDX-License-Identifier: Apache-2.0
// Programs in huge pages: a short program spends much of its time on page faults, one for some pages each,
// and a hypervisor with paging in software has more of them. Where the page cache holds a program in huge
// pages, each process has one for all of its code.
#ifndef MNCNI_HUGE_H
#define MNCNI_HUGE_H

#include "error.h"

#include <stddef.h>

// Has the kernel read the regular file at path into huge pages of its page cache, as far as it can: on file
// systems with large folios (XFS since Linux 5.18, ext4 since 6.16), on tmpfs and, with
// CONFIG_READ_ONLY_THP_FOR_FS, on others (since 6.1). It lasts until the pages are reclaimed or the file is
// replaced; what is in them already stays. *size: how many bytes of the file are in huge pages now, fewer
// than *whole, those that fill huge pages, where the kernel cannot, or the file runs. Returns 0 or -errno:
// -ETXTBSY when it is this process that runs it, and it is in small pages.
int mn_huge_read(const char *path, size_t *size, size_t *whole, struct mn_error *err);

// Begins this program anew, with its arguments, from a copy in memory, so that no process runs its file.
// Returns -errno, or not at all.
int mn_huge_leave(struct mn_error *err);

#endif
