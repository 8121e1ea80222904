// SPDX-License-Identifier: Apache-2.0
// What the parts of the store share: store.c (reservations), store_dir.c (directory, files), store_lock.c,
// store_boot.c (boots and adoption), store_plan.c (which address is next).
#ifndef MNCNI_STORE_PRIVATE_H
#define MNCNI_STORE_PRIVATE_H

#include <dirent.h>
#include <sys/stat.h>

#include "store.h"

// What a file's content says about its owner.
enum mn_owner {
	MN_OWNER_NONE,	// what a crash leaves: empty, or with NUL bytes; nobody can own or free it
	MN_OWNER_OURS,	// container and ifname, as asked
	MN_OWNER_OLD,	// the container alone, as asked
	MN_OWNER_OTHER, // anything else, to be kept
};

struct mn_file {
	struct stat st;
	char text[MN_STORE_OWNER_MAX + 8]; // terminated; without white space at the end
	size_t size;			   // bytes of text
};

// Fails with -errno and a message that names the file `name` in the store, and what to do about it.
int mn_store_fail(
	const struct mn_store *store, int errnum, const char *op, const char *name, struct mn_error *err);

// Takes the store's lock within its deadline; the descriptor in *lock holds it until closed.
int mn_store_lock(struct mn_store *store, int *lock, struct mn_error *err);

// Reads a small file: 1, 0 when there is none, -errno. Of what is no regular file only st_mode tells, or
// nothing.
int mn_store_read(const struct mn_store *store, const char *name, struct mn_file *file, struct mn_error *err);

// The same for one that is to be written to next, under the lock: *fd is for that, -1 where it must be opened
// anew. 0 also for what cannot be read.
int mn_store_read_open(struct mn_store *store, const char *name, struct mn_file *file, int *fd);

// Makes an unnamed file with this content, ready for mn_store_link(); -EOPNOTSUPP where those do not exist.
int mn_store_prepare(
	struct mn_store *store, const char *text, size_t size, uint32_t mark, int *fd, struct mn_error *err);

// Gives a prepared file its name. Returns 0, -EEXIST without an error message, or -errno.
int mn_store_link(struct mn_store *store, int fd, const char *name, struct mn_error *err);

// Creates the file whole where unnamed files do not exist. The lock is held. Returns as mn_store_link().
int mn_store_create(struct mn_store *store, const char *text, size_t size, uint32_t mark, const char *name,
	struct mn_error *err);

// Replaces the content of a small file in one write, or creates it. The lock is held. Never leaves it empty.
int mn_store_write(struct mn_store *store, const char *name, const char *text, struct mn_error *err);

// Opens the directory for reading names; the caller closes it.
int mn_store_names(struct mn_store *store, DIR **names, struct mn_error *err);

// Takes the next name that is an address: 1, 0 at the end, -errno.
int mn_store_next_name(struct mn_store *store, DIR *names, struct mn_address *address, struct mn_error *err);

// Judges a file's content; container NULL asks only whether anybody can own it.
enum mn_owner mn_store_owner(const struct mn_file *file, const char *container, const char *ifname);

// The boot number in a file's time stamp, whoever put it there.
uint32_t mn_store_mark(const struct stat *st);

// Reads this boot's id and number into the store.
void mn_store_read_boot(struct mn_store *store, const char *boot_path);

// Tells, with or without the lock, whether the directory is settled in this boot: 1, 0, -errno. *earlier is
// the number of the boot that it was last used in, 0 for none.
int mn_store_settled(struct mn_store *store, uint32_t *earlier, struct mn_error *err);

// Adopts a directory, or begins a new boot in it: frees what is void, marks what is kept, writes `.mncni`.
// Takes the lock for a few files at a time.
int mn_store_settle(struct mn_store *store, struct mn_error *err);

// Unlinks the address's file if, under the lock, its content still means nothing. 1 when it did.
int mn_store_reclaim(struct mn_store *store, const char *name, struct mn_error *err);

#endif
