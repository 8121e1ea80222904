// SPDX-License-Identifier: Apache-2.0
// Reservations: publishing, finding and freeing the files that stand for addresses.
#define _GNU_SOURCE
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define RACES 1000 // lost in a row before we say so instead of trying on

// Writes what a reservation of this attachment holds; its length, or -errno.
static int owner_text(
	char text[MN_STORE_OWNER_MAX], const char *container, const char *ifname, struct mn_error *err)
{
	int length = snprintf(text, MN_STORE_OWNER_MAX, "%s\r\n%s", container, ifname);

	if (*container && *ifname && length < MN_STORE_OWNER_MAX && !strpbrk(container, " \t\r\n") &&
		!strpbrk(ifname, " \t\r\n"))
		return length;
	mn_fail(err, EINVAL, "reserve", "attachment", "\"%.64s\", \"%.32s\" cannot own an address: %s",
		container, ifname, "both must be given, without white space, and below 1 KiB together");
	if (err)
		err->code = 4;
	return -EINVAL;
}

enum mn_owner mn_store_owner(const struct mn_file *file, const char *container, const char *ifname)
{
	const char *text = file->text, *rest;
	size_t size = file->size, id;

	if (!S_ISREG(file->st.st_mode) || size > MN_STORE_OWNER_MAX)
		return MN_OWNER_OTHER;
	if (size == 0 || memchr(text, '\0', size))
		return MN_OWNER_NONE;
	if (!container)
		return MN_OWNER_OTHER;
	while (size > 0 && strchr(" \t\r\n", text[size - 1]))
		size--;
	id = strcspn(text, "\r\n");
	if (id > size)
		id = size;
	if (strlen(container) != id || memcmp(text, container, id) != 0)
		return MN_OWNER_OTHER;
	if (id == size)
		return MN_OWNER_OLD;
	rest = text + id + strspn(text + id, "\r\n");
	size -= (size_t)(rest - text);
	return strlen(ifname) == size && memcmp(rest, ifname, size) == 0 ? MN_OWNER_OURS : MN_OWNER_OTHER;
}

int mn_store_reclaim(struct mn_store *store, const char *name, struct mn_error *err)
{
	auto_close int lock = -1;
	struct mn_file file;
	int rc = mn_store_lock(store, &lock, err);

	if (rc < 0)
		return rc;
	rc = mn_store_read(store, name, &file, err);
	if (rc <= 0)
		return rc < 0 ? rc : 1;
	if (mn_store_owner(&file, NULL, NULL) != MN_OWNER_NONE)
		return 0;
	if (unlinkat(store->dir, name, 0) < 0 && errno != ENOENT)
		return mn_store_fail(store, errno, "free", name, err);
	return 1;
}

// The way of file systems without unnamed files: under the lock, through a second name.
static int create_locked(
	struct mn_store *store, const char *text, size_t size, const char *name, struct mn_error *err)
{
	auto_close int lock = -1;
	int rc = mn_store_lock(store, &lock, err);

	return rc < 0 ? rc : mn_store_create(store, text, size, store->mark, name, err);
}

int mn_store_publish(struct mn_store *store, const struct mn_address *address, const char *container,
	const char *ifname, struct mn_error *err)
{
	auto_close int fd = -1;
	char text[MN_STORE_OWNER_MAX], name[MN_ADDRESS_STRLEN];
	int size = owner_text(text, container, ifname, err), rc;

	if (size < 0)
		return size;
	mn_address_format(address, name);
	rc = mn_store_prepare(store, text, (size_t)size, store->mark, &fd, err);
	if (rc < 0 && rc != -EOPNOTSUPP)
		return rc;
	for (int i = 0; i < RACES; i++) {
		struct mn_file file;
		enum mn_owner owner;

		rc = fd >= 0 ? mn_store_link(store, fd, name, err)
			     : create_locked(store, text, (size_t)size, name, err);
		if (rc != -EEXIST)
			return rc < 0 ? rc : MN_STORE_RESERVED;
		rc = mn_store_read(store, name, &file, err);
		if (rc < 0)
			return rc;
		if (rc == 0) // freed since
			continue;
		owner = mn_store_owner(&file, container, ifname);
		if (owner != MN_OWNER_NONE)
			return owner == MN_OWNER_OURS ? MN_STORE_HELD : MN_STORE_TAKEN;
		rc = mn_store_reclaim(store, name, err);
		if (rc < 0)
			return rc;
	}
	return MN_STORE_TAKEN;
}

int mn_store_reserve(struct mn_store *store, const struct mn_range_set *set, const char *container,
	const char *ifname, struct mn_address *address, struct mn_error *err)
{
	address->family = 0;
	for (int i = 0; i < RACES; i++) {
		int rc = mn_store_plan(store, set, address, err);

		if (rc <= 0)
			return rc;
		rc = mn_store_publish(store, address, container, ifname, err);
		if (rc != MN_STORE_TAKEN)
			return rc < 0 ? rc : 1;
	}
	mn_fail(err, EAGAIN, "reserve", store->path, "others took every address first; try again");
	if (err)
		err->code = 11;
	return -EAGAIN;
}

int mn_store_holds(struct mn_store *store, const struct mn_address *address, const char *container,
	const char *ifname, struct mn_error *err)
{
	char name[MN_ADDRESS_STRLEN];
	struct mn_file file;
	enum mn_owner owner;
	int rc;

	mn_address_format(address, name);
	rc = mn_store_read(store, name, &file, err);
	if (rc <= 0)
		return rc;
	owner = mn_store_owner(&file, container, ifname);
	return owner == MN_OWNER_OURS || owner == MN_OWNER_OLD;
}

// Shows every address file to visit. A file that cannot be read is an error, told after all others were
// visited.
static int each_file(struct mn_store *store,
	int (*visit)(const struct mn_address *address, struct mn_file *file, void *arg), void *arg,
	struct mn_error *err)
{
	struct mn_address address;
	DIR *names;
	int rc = mn_store_names(store, &names, err), failed = 0;

	if (rc < 0)
		return rc;
	while ((rc = mn_store_next_name(store, names, &address, err)) > 0) {
		char name[MN_ADDRESS_STRLEN];
		struct mn_file file;

		mn_address_format(&address, name);
		rc = mn_store_read(store, name, &file, failed ? NULL : err);
		if (rc < 0)
			failed = rc;
		else if (rc > 0 && (rc = visit(&address, &file, arg)) != 0)
			break;
	}
	closedir(names);
	return rc ? rc : failed;
}

struct listing {
	int (*visit)(const struct mn_store_entry *entry, void *arg);
	void *arg;
	uint32_t earlier;
};

static int list_file(const struct mn_address *address, struct mn_file *file, void *arg)
{
	struct listing *listing = arg;
	struct mn_store_entry entry = { .address = *address };

	entry.stale = listing->earlier && mn_store_mark(&file->st) == listing->earlier;
	if (S_ISREG(file->st.st_mode) && file->size <= MN_STORE_OWNER_MAX &&
		mn_store_owner(file, NULL, NULL) != MN_OWNER_NONE) {
		char *rest = file->text + strcspn(file->text, "\r\n");
		char *at = rest + strspn(rest, "\r\n");

		*rest = '\0';
		at[strcspn(at, " \t\r\n")] = '\0';
		entry.container = file->text;
		entry.ifname = *at ? at : NULL;
	}
	return listing->visit(&entry, listing->arg);
}

int mn_store_list(struct mn_store *store, int (*visit)(const struct mn_store_entry *entry, void *arg),
	void *arg, struct mn_error *err)
{
	struct listing listing = { visit, arg, 0 };
	int rc = mn_store_settled(store, &listing.earlier, err);

	return rc < 0 ? rc : each_file(store, list_file, &listing, err);
}

struct search {
	const char *container;
	const char *ifname;
	struct mn_address *found; // the first `ours` name both, the rest the container alone
	size_t n, room, ours;
};

static int search_file(const struct mn_address *address, struct mn_file *file, void *arg)
{
	struct search *search = arg;
	enum mn_owner owner = mn_store_owner(file, search->container, search->ifname);

	if (owner != MN_OWNER_OURS && owner != MN_OWNER_OLD)
		return 0;
	if (search->n == search->room) {
		size_t room = search->room ? search->room * 2 : 4;
		struct mn_address *grown = realloc(search->found, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		search->found = grown;
		search->room = room;
	}
	search->found[search->n] = *address;
	if (owner == MN_OWNER_OURS) {
		search->found[search->n] = search->found[search->ours];
		search->found[search->ours++] = *address;
	}
	search->n++;
	return 0;
}

// Finds as much as can be read: on failure too, *addresses has what was found.
static int find(struct mn_store *store, const char *container, const char *ifname,
	struct mn_address **addresses, size_t *n, struct mn_error *err)
{
	struct search search = { .container = container, .ifname = ifname };
	int rc = each_file(store, search_file, &search, err);

	*addresses = search.found;
	*n = search.ours ? search.ours : search.n;
	if (rc == -ENOMEM)
		return mn_store_fail(store, ENOMEM, "read", NULL, err);
	return rc;
}

int mn_store_find(struct mn_store *store, const char *container, const char *ifname,
	struct mn_address **addresses, size_t *n, struct mn_error *err)
{
	int rc = find(store, container, ifname, addresses, n, err);

	if (rc < 0) {
		free(*addresses);
		*addresses = NULL;
		*n = 0;
	}
	return rc;
}

// Under the lock: unlinks the address's file if the attachment owns it. 1 when it was freed.
static int free_file(struct mn_store *store, const struct mn_address *address, const char *container,
	const char *ifname, struct mn_error *err)
{
	int rc = mn_store_holds(store, address, container, ifname, err);
	char name[MN_ADDRESS_STRLEN];

	if (rc <= 0)
		return rc;
	mn_address_format(address, name);
	if (unlinkat(store->dir, name, 0) == 0)
		return 1;
	return errno == ENOENT ? 0 : mn_store_fail(store, errno, "free", name, err);
}

static bool any_there(struct mn_store *store, const struct mn_address *addresses, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char name[MN_ADDRESS_STRLEN];
		struct stat st;

		mn_address_format(&addresses[i], name);
		if (fstatat(store->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
			return true;
	}
	return false;
}

int mn_store_free(struct mn_store *store, const char *container, const char *ifname,
	const struct mn_address *addresses, size_t n, struct mn_error *err)
{
	struct mn_address *found = NULL;
	int freed = 0, failed = 0;

	if (n == 0) {
		failed = find(store, container, ifname, &found, &n, err);
		addresses = found;
	}
	if (any_there(store, addresses, n)) {
		auto_close int lock = -1;

		int rc = mn_store_lock(store, &lock, failed ? NULL : err);

		failed = failed ? failed : rc;
		for (size_t i = 0; i < n && lock >= 0; i++) {
			rc = free_file(store, &addresses[i], container, ifname, failed ? NULL : err);
			if (rc > 0)
				freed++;
			else if (rc < 0 && !failed)
				failed = rc;
		}
	}
	free(found);
	return failed ? failed : freed;
}

// Frees the addresses among the n that can be read; if any cannot, what was held has to be looked for.
static int release_listed(struct mn_store *store, const char *container, const char *ifname,
	const char *const addresses[], size_t n, struct mn_error *err)
{
	struct mn_address *list = calloc(n ? n : 1, sizeof(*list));
	size_t parsed = 0;
	int rc;

	if (!list)
		return mn_store_fail(store, ENOMEM, "free", NULL, err);
	for (size_t i = 0; i < n; i++) {
		if (mn_address_parse(addresses[i], &list[parsed]))
			parsed++;
	}
	rc = mn_store_free(store, container, ifname, list, parsed == n ? n : 0, err);
	free(list);
	return rc;
}

int mn_store_release(const char *dir, const char *container, const char *ifname,
	const char *const addresses[], size_t n, int deadline_ms, struct mn_error *err)
{
	struct mn_store store;
	int rc = mn_store_open(&store, dir, 0, deadline_ms, NULL, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = release_listed(&store, container, ifname, addresses, n, err);
	mn_store_close(&store);
	return rc < 0 ? rc : 0;
}
