// SPDX-License-Identifier: Apache-2.0
// The address store of one network: a directory in the layout of the reference host-local plugin.
//
// A file per reserved address, named after it, holds "CONTAINER\r\nIFNAME". Contents come before names
// (O_TMPFILE, write, linkat), so a reservation is there whole or not at all, and publishing needs no lock.
// The lock (flock on `lock`, which host-local takes too) guards two things only: moving last_reserved_ip.N,
// and compare-then-unlink.
//
// `.mncni` tells that we know the directory, and in which boot that was. The nanoseconds of a reservation's
// mtime carry a number made from the boot id, so that a file of ours tells its boot whatever the clock did.
// Reservations of an earlier boot are void; files without our number, as host-local writes them, are kept and
// marked when seen, at the first use after adoption and at the first use in every boot.
#ifndef MNCNI_STORE_H
#define MNCNI_STORE_H

#include "boot.h"
#include "error.h"
#include "range.h"

#define MN_STORE_PATH_MAX 1024
#define MN_STORE_OWNER_MAX 1024 // bytes of CONTAINER\r\nIFNAME
#define MN_STORE_DEADLINE_MS 10000

struct mn_store {
	int dir; // -1 when closed
	int deadline_ms;
	char path[MN_STORE_PATH_MAX];
	char boot[MN_BOOT_ID]; // this boot's id; empty when the kernel does not tell
	uint32_t mark;	       // its number, 0 when the kernel does not tell
	bool hint_lost; // last_reserved_ip could not be written; the caller's own memory counts instead
};

enum mn_store_flags {
	MN_STORE_CREATE = 1, // make the directory; without it, one that is not there is -ENOENT
};

enum mn_store_outcome {
	MN_STORE_TAKEN,	   // somebody else holds the address
	MN_STORE_RESERVED, // it was free and is ours now
	MN_STORE_HELD,	   // this very attachment held it already
};

// Opens the store in dir, an absolute path without "..". deadline_ms bounds each wait for the lock, 0 means
// MN_STORE_DEADLINE_MS. boot_path is where the boot id is read, NULL for the kernel's; another is for specs.
int mn_store_open(struct mn_store *store, const char *dir, unsigned int flags, int deadline_ms,
	const char *boot_path, struct mn_error *err);

// Tells, changing nothing, whether reservations can be written: 0 or -errno.
int mn_store_writable(struct mn_store *store, struct mn_error *err);

// Idempotent.
void mn_store_close(struct mn_store *store);

// Picks the next address of the set that nobody holds and moves the hint there, so that no other caller picks
// it; nothing is reserved yet: journal it, then publish it. Returns 1, or 0 when the set has no free address.
// A second call after a lost race passes the address that was lost in *address; else its family is 0.
int mn_store_plan(struct mn_store *store, const struct mn_range_set *set, struct mn_address *address,
	struct mn_error *err);

// Reserves exactly this address, at once visible with its owner in it. Returns an enum mn_store_outcome or
// -errno.
int mn_store_publish(struct mn_store *store, const struct mn_address *address, const char *container,
	const char *ifname, struct mn_error *err);

// Plans and publishes in one go, for callers without a journal. Returns 1, or 0 when the set is exhausted.
int mn_store_reserve(struct mn_store *store, const struct mn_range_set *set, const char *container,
	const char *ifname, struct mn_address *address, struct mn_error *err);

// Tells whether the attachment holds this address: 1, 0 or -errno. Takes no lock.
int mn_store_holds(struct mn_store *store, const struct mn_address *address, const char *container,
	const char *ifname, struct mn_error *err);

// Frees those of the addresses (text, a prefix behind is ignored) that the attachment holds, or with n == 0
// all that a look through the whole directory finds. What is not there, or belongs to somebody else, is left
// and no error; what cannot be freed is one (code 5), after everything else was freed. Needs no open store
// and no Lua.
int mn_store_release(const char *dir, const char *container, const char *ifname,
	const char *const addresses[], size_t n, int deadline_ms, struct mn_error *err);

// The same on an open store; returns how many were freed, or -errno.
int mn_store_free(struct mn_store *store, const char *container, const char *ifname,
	const struct mn_address *addresses, size_t n, struct mn_error *err);

// One reservation as mn_store_list() tells it. The strings live for the duration of the call.
struct mn_store_entry {
	struct mn_address address;
	const char *container; // NULL when the file holds nothing that an attachment could own
	const char *ifname;    // NULL in the oldest form, which names the container alone
	bool stale;	       // of an earlier boot, hence void
};

// Calls visit for each address file, without the lock; a non-zero answer ends the walk and is returned.
int mn_store_list(struct mn_store *store, int (*visit)(const struct mn_store_entry *entry, void *arg),
	void *arg, struct mn_error *err);

// Collects into a malloc'ed array the addresses that the attachment holds, by a look through the whole
// directory. Files in the oldest form, with the container alone, count when no file names both.
int mn_store_find(struct mn_store *store, const char *container, const char *ifname,
	struct mn_address **addresses, size_t *n, struct mn_error *err);

// Tells whether the set has a free address: 1, 0 or -errno. No lock, no side effect, and no look through the
// directory while there is one near the last address given out.
int mn_store_has_room(struct mn_store *store, const struct mn_range_set *set, struct mn_error *err);

// Counts the set's addresses that can be given out, and how many of them are taken. No lock, no side effect.
int mn_store_count(struct mn_store *store, const struct mn_range_set *set, uint64_t *taken, uint64_t *size,
	struct mn_error *err);

#endif
