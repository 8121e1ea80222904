// SPDX-License-Identifier: Apache-2.0
// The one undo: reads a journal and takes back what it lists, last first. Rollback, DEL, crash recovery and
// GC are this code; it needs no Lua, no policy and no configuration.
#define _GNU_SOURCE
#include "journal.h"

#include <cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "cleanup.h"
#include "exec.h"
#include "json.h"
#include "netns.h"
#include "nl.h"
#include "store.h"
#include "sysctl.h"

#define LOCK_WAIT_MS 10000 // for an address store's lock
#define SYSCTL_ROUNDS 100  // of writing and looking again
#define EXEC_OUTPUT 65536  // bytes of what a delegate prints on DEL

static const char *string_of(const cJSON *entry, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, key));
}

static int bad_entry(struct mn_error *err, const char *op, const char *what)
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

// Opens the namespace that an entry names. 1: it is gone, and with it all that was in it. An entry without
// one means the caller's own, *fd -1. A path that leads to another namespace than the one recorded proves
// nothing about that one's contents, but there is nothing of ours behind it.
static int open_netns(const cJSON *entry, int *fd, struct mn_error *err)
{
	const cJSON *netns = cJSON_GetObjectItemCaseSensitive(entry, "netns");
	const char *path = string_of(netns, "path"), *id = string_of(netns, "id");
	struct mn_error ignored = { 0 };
	char found[64];
	uint64_t dev, ino;
	int ret;

	*fd = -1;
	if (!netns)
		return 0;
	if (!path || !id)
		return bad_entry(err, "netns", "netns");
	if (mn_netns_open(path, fd, &ignored) < 0)
		return 1;
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

// One request and its answer. -errno without err filled in when the kernel refuses; *reply may be NULL.
static int talk(struct mn_nl *nl, struct nlmsghdr *nlh, const struct nlmsghdr **reply, struct mn_error *err)
{
	struct mn_buffer request = { .data = (char *)nlh, .len = nlh->nlmsg_len, .cap = nlh->nlmsg_len };
	const struct nlmsghdr *answer;
	int ret;

	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	nlh->nlmsg_pid = nl->portid;
	ret = mn_nl_exchange(nl, &request, nlh->nlmsg_seq, &nl->in, err);
	if (ret < 0)
		return ret;
	answer = mn_nl_next(nl, &nl->in, NULL, nlh->nlmsg_seq, nlh->nlmsg_seq);
	if (!answer)
		return mn_fail(err, EPROTO, "undo", "netlink", "the kernel did not answer a request");
	if (reply)
		*reply = answer;
	return -mn_nl_errno(answer);
}

static struct nlmsghdr *link_request(char *buf, uint16_t type, uint16_t flags, int index, const char *ifname)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_index = index;
	if (ifname)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	return nlh;
}

static bool absent(int ret)
{
	return ret == -ENODEV || ret == -ENOENT || ret == -ESRCH || ret == -EADDRNOTAVAIL;
}

static int refused(struct mn_error *err, int ret, const char *object)
{
	if (err && err->errnum == 0) {
		mn_fail(err, -ret, "undo", object, "it is still there; DEL again when the cause is gone");
		err->code = 102;
	}
	return ret;
}

// Finds a link and tells whether it is ours: the alias names the attachment, or, in the moment before the
// kernel takes the alias, there is none and the group says who made it.
static int find_ours(
	struct mn_nl *nl, const char *ifname, const char *alias, int *index, struct mn_error *err)
{
	char buf[256] = { 0 };
	const struct nlmsghdr *reply = NULL;
	const struct ifinfomsg *info;
	const struct nlattr *attr;
	const char *found = NULL;
	uint32_t group = 0;
	int ret;

	*index = 0;
	ret = talk(nl, link_request(buf, RTM_GETLINK, 0, 0, ifname), &reply, err);
	if (ret < 0)
		return absent(ret) ? 0 : refused(err, ret, ifname);
	if (!reply || reply->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(reply) < sizeof(*info))
		return refused(err, -EPROTO, ifname);
	info = mnl_nlmsg_get_payload(reply);
	mnl_attr_for_each (attr, reply, sizeof(*info)) {
		if (mnl_attr_get_type(attr) == IFLA_IFALIAS)
			found = mnl_attr_get_str(attr);
		else if (mnl_attr_get_type(attr) == IFLA_GROUP)
			group = mnl_attr_get_u32(attr);
	}
	if (alias && (found ? strcmp(found, alias) != 0 : group != MN_LINK_GROUP))
		return 0;
	*index = info->ifi_index;
	return 0;
}

static int delete_link(struct mn_nl *nl, int index, const char *ifname, struct mn_error *err)
{
	char buf[256] = { 0 };
	int ret = talk(nl, link_request(buf, RTM_DELLINK, NLM_F_ACK, index, NULL), NULL, err);

	return ret < 0 && !absent(ret) ? refused(err, ret, ifname) : 0;
}

// The name of a link in an entry; NULL when there is none that a link can have.
static const char *ifname_of(const cJSON *entry)
{
	const char *ifname = string_of(entry, "ifname");

	return ifname && strlen(ifname) < IFNAMSIZ ? ifname : NULL;
}

static int undo_link(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *ifname = ifname_of(entry);
	struct mn_nl nl = { 0 };
	int index, ret;

	if (!ifname)
		return bad_entry(err, "link", "ifname");
	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find_ours(&nl, ifname, string_of(entry, "alias"), &index, err);
	if (ret == 0 && index)
		ret = delete_link(&nl, index, ifname, err);
	mn_nl_close(&nl);
	return ret;
}

// A bridge that a failed call has made goes again, unless somebody has joined it meanwhile.
static int undo_bridge(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *ifname = ifname_of(entry);
	const struct nlmsghdr *refusal = NULL, *port;
	struct mn_nl nl = { 0 };
	char buf[256] = { 0 };
	int index, ret;

	if (!ifname)
		return bad_entry(err, "bridge", "ifname");
	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find_ours(&nl, ifname, NULL, &index, err);
	if (ret == 0 && index) {
		struct nlmsghdr *nlh = link_request(buf, RTM_GETLINK, NLM_F_DUMP, 0, NULL);

		mnl_attr_put_u32(nlh, IFLA_MASTER, (uint32_t)index);
		ret = mn_nl_dump(&nl, buf, nlh->nlmsg_len, &nl.in, &refusal, err);
		port = ret == 0 && !refusal ? mn_nl_next(&nl, &nl.in, NULL, 0, UINT32_MAX) : NULL;
		if (ret == 0 && (!port || port->nlmsg_type == NLMSG_DONE))
			ret = delete_link(&nl, index, ifname, err);
	}
	mn_nl_close(&nl);
	return ret;
}

static int unhex(const char *hex, char **bytes, size_t *len)
{
	*len = strlen(hex) / 2;
	*bytes = calloc(1, *len + 1);
	if (!*bytes)
		return -ENOMEM;
	for (size_t i = 0; i < *len; i++) {
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
			free(*bytes);
			*bytes = NULL;
			return -EINVAL;
		}
		(*bytes)[i] = (char)byte;
	}
	return 0;
}

static bool is_frame(const struct nlmsghdr *nlh)
{
	return nlh->nlmsg_type == NFNL_MSG_BATCH_BEGIN || nlh->nlmsg_type == NFNL_MSG_BATCH_END;
}

// Sends encoded requests in one go and looks at every answer. *gone tells whether something that one of them
// removes was not there.
static int send_requests(struct mn_nl *nl, char *bytes, size_t len, bool *gone, struct mn_error *err)
{
	struct mn_buffer request = { .data = bytes, .len = len, .cap = len };
	const struct nlmsghdr *answer = NULL;
	uint32_t first = 0, last = 0;
	int left = (int)len, ret;

	for (struct nlmsghdr *nlh = (struct nlmsghdr *)bytes; mn_nl_fits(nlh, left);
		nlh = mnl_nlmsg_next(nlh, &left)) {
		nlh->nlmsg_seq = mn_nl_next_seq(nl);
		nlh->nlmsg_pid = nl->portid;
		first = first ? first : nlh->nlmsg_seq;
		if (nl->protocol == NETLINK_NETFILTER && is_frame(nlh))
			continue;
		nlh->nlmsg_flags |= NLM_F_ACK; // without it success has no answer
		last = nlh->nlmsg_seq;
	}
	*gone = false;
	ret = last ? mn_nl_exchange(nl, &request, last, &nl->in, err) : bad_entry(err, "netlink", "message");
	while (ret == 0 && (answer = mn_nl_next(nl, &nl->in, answer, first, last))) {
		int errnum = mn_nl_errno(answer);

		if (absent(-errnum))
			*gone = true;
		else if (errnum)
			ret = refused(err, -errnum, "netlink request");
	}
	return ret;
}

// Sends each part of a transaction of nf_tables as one of its own; all are tried.
static int send_one_by_one(struct mn_nl *nl, char *bytes, size_t len, struct mn_error *err)
{
	const struct nlmsghdr *begin = (const struct nlmsghdr *)bytes, *nlh = begin;
	auto_free char *one = calloc(3, MNL_ALIGN(len)); // a frame is no longer than all of it
	int left = (int)len, first = 0;
	bool gone;

	if (!one)
		return mn_fail(err, ENOMEM, "undo", "netlink request", "no memory");
	for (; mn_nl_fits(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		size_t size = MNL_ALIGN(begin->nlmsg_len);
		int ret;

		if (is_frame(nlh))
			continue;
		memcpy(one, begin, begin->nlmsg_len);
		memcpy(one + size, nlh, nlh->nlmsg_len);
		size += MNL_ALIGN(nlh->nlmsg_len);
		memcpy(one + size, begin, begin->nlmsg_len); // an end is like a beginning but for its type
		((struct nlmsghdr *)(one + size))->nlmsg_type = NFNL_MSG_BATCH_END;
		ret = send_requests(nl, one, size + begin->nlmsg_len, &gone, err);
		first = first ? first : ret;
	}
	return first;
}

// Sends requests that were encoded when the change was made; what they remove may be gone already. A
// transaction does nothing at all then, so what is left of it goes piece by piece.
static int undo_netlink(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *hex = string_of(entry, "message"), *protocol = string_of(entry, "protocol");
	auto_free char *bytes = NULL;
	struct mn_nl nl = { 0 };
	bool netfilter, gone = false;
	size_t len;
	int ret;

	if (!hex || !protocol || unhex(hex, &bytes, &len) < 0)
		return bad_entry(err, "netlink", "message");
	netfilter = strcmp(protocol, "netfilter") == 0;
	ret = mn_nl_open(&nl, netfilter ? NETLINK_NETFILTER : NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = send_requests(&nl, bytes, len, &gone, err);
	if (ret == 0 && netfilter && gone)
		ret = send_one_by_one(&nl, bytes, len, err);
	mn_nl_close(&nl);
	return ret;
}

// Tells whether a set of nf_tables has elements, by a request that lists them. One that is gone has none.
static int set_in_use(const char *hex, int netns, bool *in_use, struct mn_error *err)
{
	auto_free char *request = NULL;
	const struct nlmsghdr *refusal = NULL, *nlh = NULL;
	struct mn_nl nl = { 0 };
	size_t len;
	int ret;

	*in_use = false;
	if (unhex(hex, &request, &len) < 0 || len < NLMSG_HDRLEN)
		return bad_entry(err, "sysctl", "unless");
	ret = mn_nl_open(&nl, NETLINK_NETFILTER, netns, err);
	if (ret == 0)
		ret = mn_nl_dump(&nl, request, len, &nl.in, &refusal, err);
	if (ret == 0 && refusal && !absent(-mn_nl_errno(refusal)))
		ret = refused(err, -mn_nl_errno(refusal), "nftables set");
	while (ret == 0 && !refusal && (nlh = mn_nl_next(&nl, &nl.in, nlh, 0, UINT32_MAX))) {
		const struct nlattr *attr;

		if (nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
			continue;
		mnl_attr_for_each (attr, nlh, sizeof(struct nfgenmsg))
			*in_use |= mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_ELEMENTS &&
				mnl_attr_get_payload_len(attr) > 0;
	}
	mn_nl_close(&nl);
	return ret;
}

// Puts a setting back; with "unless" only when a set that lists who needs it is empty. Others may come and go
// at this moment without any lock: whoever takes an element out looks again after the write, until what was
// written is right, and whoever puts one in does so before the setting is made.
static int undo_sysctl(const cJSON *entry, int netns, struct mn_error *err)
{
	const cJSON *unless = cJSON_GetObjectItemCaseSensitive(entry, "unless");
	const char *key = string_of(entry, "key"), *value = string_of(entry, "value");
	const char *list = string_of(unless, "message"), *kept = string_of(unless, "value");
	bool needed = false, before;
	int rounds = SYSCTL_ROUNDS, ret = 0;

	if (!key || !value || (unless && (!list || !kept)))
		return bad_entry(err, "sysctl", "key");
	if (list)
		ret = set_in_use(list, netns, &needed, err);
	do {
		struct mn_sysctl setting = { .key = key, .value = needed ? kept : value, .optional = true };

		before = needed;
		if (ret == 0)
			ret = mn_sysctl_set(netns, &setting, 1, NULL, err);
		mn_sysctl_free(&setting, 1);
		if (ret == 0 && list)
			ret = set_in_use(list, netns, &needed, err);
	} while (ret == 0 && needed != before && --rounds);
	return ret;
}

// Copies the strings of a JSON array, or of an object as "key=value", into a NULL-terminated list.
static char **string_list(const cJSON *from)
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
	const char *dir = string_of(entry, "dir"), *container = string_of(entry, "container");
	const char *ifname = string_of(entry, "ifname");
	char **addresses;
	size_t n = 0;
	int ret;

	if (!dir || !container || !ifname)
		return bad_entry(err, "lease", "dir");
	addresses = string_list(cJSON_GetObjectItemCaseSensitive(entry, "addresses"));
	if (!addresses)
		return mn_fail(err, ENOMEM, "undo", "lease", "no memory");
	while (addresses[n])
		n++;
	ret = mn_store_release(dir, container, ifname, (const char *const *)addresses, n, LOCK_WAIT_MS, err);
	free_list(addresses);
	return ret < 0 ? ret : 0;
}

static int undo_exec(const cJSON *entry, struct mn_error *err)
{
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(entry, "timeout");
	const char *input = string_of(entry, "stdin");
	char **argv = string_list(cJSON_GetObjectItemCaseSensitive(entry, "argv"));
	char **env = string_list(cJSON_GetObjectItemCaseSensitive(entry, "env"));
	struct mn_exec_result result = { 0 };
	int ret = 0;

	if (!argv || !env || !argv[0]) {
		ret = bad_entry(err, "exec", "argv");
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
		if (ret == 0 && result.status != 0) {
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
	boot = string_of(head, "boot");
	earlier = boot && *mn_boot_id() && strcmp(boot, mn_boot_id()) != 0;
	cJSON_Delete(head);
	return earlier;
}

static int undo_entry(const cJSON *entry, enum mn_undo_mode mode, bool earlier, struct mn_error *err)
{
	static const struct {
		const char *op;
		int (*undo)(const cJSON *entry, int netns, struct mn_error *err);
	} in_netns[] = {
		{ "link", undo_link },
		{ "bridge", undo_bridge },
		{ "netlink", undo_netlink },
		{ "sysctl", undo_sysctl },
	};
	const char *op = string_of(entry, "op");
	auto_close int netns = -1;
	int ret;

	if (!op)
		return bad_entry(err, "entry", "op");
	if (strcmp(op, "lease") == 0)
		return undo_lease(entry, err);
	if (strcmp(op, "exec") == 0)
		return undo_exec(entry, err);
	if (earlier || (strcmp(op, "bridge") == 0 && mode != MN_UNDO_ROLLBACK))
		return 0;
	ret = open_netns(entry, &netns, err);
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

	if (!cJSON_IsArray(undo))
		return cJSON_IsObject(undo) ? undo_entry(undo, mode, earlier, err) : 0;
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

	for (const char *c = text; *c; c++)
		count += *c == '\n';
	*lines = calloc(count + 1, sizeof(**lines));
	for (char *end; *lines && (end = strchr(text, '\n')); text = end + 1) {
		*end = '\0';
		(*lines)[n++] = text;
	}
	return n;
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
	while (n-- > 0) {
		struct mn_error one = { 0 };
		cJSON *line = NULL;

		if (mn_json_parse(lines[n], strlen(lines[n]), &line, &one) < 0 || !cJSON_IsObject(line)) {
			mn_fail(&one, EINVAL, "undo", journal->path,
				"line %zu of the journal is no JSON object", n + 1);
			one.code = 5;
			ret = -EINVAL;
		} else {
			ret = undo_line(cJSON_GetObjectItemCaseSensitive(line, "undo"), mode, earlier, &one);
		}
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
