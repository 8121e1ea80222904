// SPDX-License-Identifier: Apache-2.0
// The one undo: reads a journal and takes back what it lists, last first. Rollback, DEL, crash recovery and
// GC are this code; it needs no Lua, no policy and no configuration.
#define _GNU_SOURCE
#include "journal.h"

#include <cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "cleanup.h"
#include "exec.h"
#include "json.h"
#include "mncni.h"
#include "netns.h"
#include "nl.h"
#include "store.h"
#include "undo_private.h"

#define LOCK_WAIT_MS 10000 // for an address store's lock
#define EXEC_OUTPUT 65536  // bytes of what a delegate prints on DEL

int mn_undo_bad_entry(struct mn_error *err, const char *op, const char *what)
{
	mn_fail(err, EINVAL, "undo", op, "the journal's entry has no usable \"%s\"", what);
	if (err)
		err->code = 5;
	return -EINVAL;
}

// Tells whether an open namespace has the cookie that was recorded with it, as far as that can be told: the
// number of an inode, and a path, may be those of another one by now.
static bool has_cookie(int fd, const cJSON *cookie)
{
	struct mn_error ignored = { 0 };
	struct mn_nl nl = { 0 };
	uint64_t found;
	bool same;

	if (!cJSON_IsNumber(cookie) || mn_nl_open(&nl, NETLINK_ROUTE, fd, &ignored) < 0)
		return true;
	same = mn_nl_cookie(&nl, &found) < 0 || found == (uint64_t)cookie->valuedouble;
	mn_nl_close(&nl);
	return same;
}

// Tells whether an error of mn_netns_open says that no namespace is at a path. Others say that it could not
// be looked at.
static bool says_gone(int ret)
{
	return ret == -ENOENT || ret == -ENOTDIR || ret == -EINVAL || ret == -ELOOP || ret == -ENAMETOOLONG ||
		ret == -ESRCH;
}

// Opens the namespace that an entry names. 1: it is gone, and with it all that was in it. An entry without
// one means the caller's own, *fd -1. A path that leads to another namespace than the one recorded proves
// nothing about that one's contents, but there is nothing of ours behind it.
static int open_netns(const cJSON *entry, int *fd, struct mn_error *err)
{
	const cJSON *netns = cJSON_GetObjectItemCaseSensitive(entry, "netns");
	const char *path = mn_undo_string(netns, "path"), *id = mn_undo_string(netns, "id");
	char found[64];
	uint64_t dev, ino;
	int ret;

	*fd = -1;
	if (!netns)
		return 0;
	if (!path || !id)
		return mn_undo_bad_entry(err, "netns", "netns");
	ret = mn_netns_open(path, fd, err);
	if (ret < 0)
		return says_gone(ret) ? 1 : ret;
	ret = mn_netns_id(*fd, &dev, &ino, err);
	snprintf(found, sizeof(found), "%" PRIu64 ":%" PRIu64, dev, ino);
	if (ret < 0 || strcmp(found, id) != 0 ||
		!has_cookie(*fd, cJSON_GetObjectItemCaseSensitive(netns, "cookie"))) {
		close(*fd);
		*fd = -1;
		return ret < 0 ? ret : 1;
	}
	return 0;
}

// Copies the strings of a JSON array, or of an object as "key=value", into a NULL-terminated list. *whole
// tells whether there is nothing else in it.
static char **string_list(const cJSON *from, bool *whole)
{
	int n = cJSON_GetArraySize(from), count = 0;
	char **list = calloc((size_t)n + 1, sizeof(*list));
	const cJSON *item;

	cJSON_ArrayForEach (item, from) {
		const char *text = cJSON_GetStringValue(item);

		if (!list || !text)
			continue;
		if (item->string) {
			if (asprintf(&list[count], "%s=%s", item->string, text) < 0)
				list[count] = NULL;
		} else {
			list[count] = strdup(text);
		}
		if (list[count])
			count++;
	}
	*whole = list && count == n;
	return list;
}

static void free_list(char **list)
{
	for (char **item = list; item && *item; item++)
		free(*item);
	free(list);
}

static int undo_lease(const cJSON *entry, struct mn_error *err)
{
	const char *dir = mn_undo_string(entry, "dir"), *container = mn_undo_string(entry, "container");
	const char *ifname = mn_undo_string(entry, "ifname");
	char **addresses;
	bool whole;
	size_t n = 0;
	int ret;

	if (!dir || !container || !ifname)
		return mn_undo_bad_entry(err, "lease", "dir");
	addresses = string_list(cJSON_GetObjectItemCaseSensitive(entry, "addresses"), &whole);
	if (!addresses)
		return mn_fail(err, ENOMEM, "undo", "lease", "no memory");
	while (whole && addresses[n]) // of a list with holes, the store is asked
		n++;
	ret = mn_store_release(dir, container, ifname, (const char *const *)addresses, n, LOCK_WAIT_MS, err);
	free_list(addresses);
	return ret < 0 ? ret : 0;
}

// Tells whether a program that failed says, by the "code" in its JSON answer, that it has nothing to undo.
static bool has_nothing(const cJSON *entry, const char *output)
{
	const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(entry, "absent");
	const cJSON *code;
	cJSON *answer = NULL;
	bool same;

	if (!cJSON_IsNumber(wanted) || mn_json_parse(output, strlen(output), &answer, NULL) < 0)
		return false;
	code = cJSON_GetObjectItemCaseSensitive(answer, "code");
	same = cJSON_IsNumber(code) && code->valueint == wanted->valueint;
	cJSON_Delete(answer);
	return same;
}

static int undo_exec(const cJSON *entry, struct mn_error *err)
{
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(entry, "timeout");
	const char *input = mn_undo_string(entry, "stdin");
	bool argv_whole, env_whole;
	char **argv = string_list(cJSON_GetObjectItemCaseSensitive(entry, "argv"), &argv_whole);
	char **env = string_list(cJSON_GetObjectItemCaseSensitive(entry, "env"), &env_whole);
	struct mn_exec_result result = { 0 };
	int ret = 0;

	if (!argv_whole || !argv[0]) {
		ret = mn_undo_bad_entry(err, "exec", "argv");
	} else if (!env_whole) {
		ret = mn_undo_bad_entry(err, "exec", "env");
	} else {
		struct mn_exec what = {
			.path = argv[0],
			.argv = (const char *const *)argv,
			.env = (const char *const *)env,
			.input = input,
			.input_size = input ? strlen(input) : 0,
			.timeout_ms = cJSON_IsNumber(timeout) ? timeout->valueint : 0,
			.max_output = EXEC_OUTPUT,
		};

		ret = mn_exec(&what, &result, err);
		if (ret == 0 && result.status != 0 &&
			(result.timed_out || !has_nothing(entry, result.output))) {
			ret = mn_fail(err, EIO, "undo", argv[0], "it failed: %.300s",
				result.timed_out ? "no answer in time" : result.output);
			err->code = 105;
		}
		mn_exec_free(&result);
	}
	free_list(argv);
	free_list(env);
	return ret;
}

// Tells from the first line whether an earlier boot wrote the journal: what it lists in the kernel is gone,
// and what stands in its place by now is somebody else's.
static bool of_earlier_boot(const char *line)
{
	cJSON *head = NULL;
	const char *boot;
	bool earlier;

	if (mn_json_parse(line, strlen(line), &head, NULL) < 0)
		return false;
	boot = mn_undo_string(head, "boot");
	earlier = boot && *mn_boot_id() && strcmp(boot, mn_boot_id()) != 0;
	cJSON_Delete(head);
	return earlier;
}

// Tells whether an entry is about what pods share, which goes only with the failed call that has made it.
static bool is_shared(const char *op)
{
	return strcmp(op, "bridge") == 0 || strcmp(op, "gateway") == 0;
}

static int undo_entry(const cJSON *entry, enum mn_undo_mode mode, bool earlier, struct mn_error *err)
{
	static const struct {
		const char *op;
		int (*undo)(const cJSON *entry, int netns, struct mn_error *err);
	} in_netns[] = {
		{ "link", mn_undo_link },
		{ "bridge", mn_undo_bridge },
		{ "gateway", mn_undo_gateway },
		{ "vrf", mn_undo_bridge },
		{ "netlink", mn_undo_netlink },
		{ "sysctl", mn_undo_sysctl },
		{ "elements", mn_undo_elements },
		{ "conntrack", mn_undo_conntrack },
		{ "rules", mn_undo_rules },
	};
	const char *op = mn_undo_string(entry, "op");
	auto_close int netns = -1;
	int ret;

	if (!op)
		return mn_undo_bad_entry(err, "entry", "op");
	if (strcmp(op, "lease") == 0)
		return undo_lease(entry, err);
	if (strcmp(op, "exec") == 0)
		return undo_exec(entry, err);
	if (earlier || (is_shared(op) && mode != MN_UNDO_ROLLBACK))
		return 0;
	ret = open_netns(entry, &netns, err);
	if (ret >= 0 && strcmp(op, "move") == 0)
		return mn_undo_move(entry, netns, err);
	if (ret != 0)
		return ret < 0 ? ret : 0;
	for (size_t i = 0; i < sizeof(in_netns) / sizeof(in_netns[0]); i++) {
		if (strcmp(op, in_netns[i].op) == 0)
			return in_netns[i].undo(entry, netns, err);
	}
	mn_fail(err, EINVAL, "undo", op,
		"this version of mncni does not know how; a newer one wrote the journal");
	if (err)
		err->code = 5;
	return -EINVAL;
}

// What undoes one line: nothing, an entry, or a list of entries, all of which are tried, in their order.
static int undo_line(const cJSON *undo, enum mn_undo_mode mode, bool earlier, struct mn_error *err)
{
	const cJSON *entry;
	int first = 0;

	if (!undo || cJSON_IsNull(undo))
		return 0;
	if (!cJSON_IsArray(undo))
		return undo_entry(undo, mode, earlier, err);
	cJSON_ArrayForEach (entry, undo) {
		struct mn_error one = { 0 };
		int ret = undo_entry(entry, mode, earlier, &one);

		if (ret < 0 && first == 0) {
			first = ret;
			*err = one;
		}
	}
	return first;
}

// Splits text into lines. A line that the end of the file cuts short was never followed by its change.
static size_t split_lines(char *text, char ***lines)
{
	size_t count = 0, n = 0;

	for (const char *c = text; (c = strchr(c, '\n')); c++)
		count++;
	*lines = calloc(count + 1, sizeof(**lines));
	for (char *end; *lines && (end = strchr(text, '\n')); text = end + 1) {
		*end = '\0';
		(*lines)[n++] = text;
	}
	return n;
}

// Parses one line; *line is NULL where it says nothing of what undoes it, which is looked at only.
static int parse_line(
	const struct mn_journal *journal, const char *text, size_t number, cJSON **line, struct mn_error *err)
{
	size_t len = strlen(text);
	int ret;

	*line = NULL;
	if (strstr(text, "\"undo\"")) {
		ret = mn_json_parse(text, len, line, err);
		if (ret == 0 && !cJSON_IsObject(*line)) {
			cJSON_Delete(*line);
			ret = -EINVAL;
		}
	} else {
		ret = mn_json_check_object(text, len, err);
	}
	if (ret == 0)
		return 0;
	mn_fail(err, EINVAL, "undo", journal->path, "line %zu of the journal is no JSON object", number);
	if (err)
		err->code = 5;
	*line = NULL;
	return -EINVAL;
}

int mn_undo_look(const struct mn_journal *journal, char **text, const char **first, const char **last,
	struct mn_error *err)
{
	auto_free char **lines = NULL;
	int ret = mn_journal_read(journal, text, err);
	size_t n = 0;

	if (ret < 0)
		return ret;
	*first = *last = NULL;
	n = split_lines(*text, &lines);
	if (!lines)
		ret = mn_fail(err, ENOMEM, "read", journal->path, "no memory");
	for (size_t i = 0; lines && i < n && ret == 0; i++) {
		cJSON *line;

		ret = parse_line(journal, lines[i], i + 1, &line, err);
		cJSON_Delete(line);
		*first = lines[0];
		*last = lines[i];
	}
	if (ret < 0) {
		free(*text);
		*text = NULL;
	}
	return ret;
}

static void note_failure(const struct mn_error *err)
{
	char line[1024];

	mn_error_format(err, line, sizeof(line));
	mn_record_note("stuck", line, strlen(line));
}

int mn_undo(struct mn_journal *journal, enum mn_undo_mode mode, struct mn_error *err)
{
	auto_free char *text = NULL;
	auto_free char **lines = NULL;
	struct mn_error first = { 0 };
	bool earlier;
	size_t n;
	int ret;

	ret = mn_journal_read(journal, &text, err);
	if (ret < 0)
		return ret;
	n = split_lines(text, &lines);
	if (!lines)
		return mn_fail(err, ENOMEM, "undo", journal->path, "no memory");
	earlier = n > 0 && of_earlier_boot(lines[0]);
	mn_record_note(mode == MN_UNDO_ROLLBACK ? "rollback" : "del", journal->path, strlen(journal->path));
	while (n-- > 0) {
		struct mn_error one = { 0 };
		cJSON *line;

		ret = parse_line(journal, lines[n], n + 1, &line, &one);
		if (ret == 0 && line) {
			const cJSON *undo = cJSON_GetObjectItemCaseSensitive(line, "undo");

			ret = undo_line(undo, mode, earlier, &one);
			if (undo && ret >= 0)
				mn_record_note("undone", lines[n], strlen(lines[n]));
		}
		if (ret < 0)
			note_failure(&one);
		cJSON_Delete(line);
		if (ret < 0 && first.errnum == 0)
			first = one.errnum ? one : (struct mn_error){ .errnum = -ret };
	}
	if (first.errnum) {
		if (err)
			*err = first;
		return -first.errnum;
	}
	return mn_journal_remove(journal, err);
}
