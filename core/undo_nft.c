// SPDX-License-Identifier: Apache-2.0
// Elements of nf_tables under keys that others may have by now, and connection tracking entries that followed
// from them.
#define _GNU_SOURCE
#include "undo_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cidr.h"
#include "cleanup.h"
#include "conntrack.h"

#define MESSAGE_ROOM 1024 // bytes that the longest names and key leave unused
#define NAME_MAX_LEN 255
#define KEY_MAX NFT_DATA_VALUE_MAXLEN

// One journal entry at work, and the bytes of the transaction that is being made.
struct work {
	const cJSON *sets; // names
	const char *table;
	uint8_t family;
	struct mn_buffer out;
};

static int put_frame(struct work *work, uint16_t type, struct mn_error *err)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *header;

	if (mn_buffer_reserve(&work->out, MESSAGE_ROOM) < 0)
		return mn_fail(err, ENOMEM, "undo", "elements", "no memory");
	nlh = mnl_nlmsg_put_header(work->out.data + work->out.len);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	header = mnl_nlmsg_put_extra_header(nlh, sizeof(*header));
	header->res_id = htons(NFNL_SUBSYS_NFTABLES);
	work->out.len += nlh->nlmsg_len;
	return 0;
}

static int put_removal(struct work *work, const char *set, const char *hex, struct mn_error *err)
{
	auto_free char *key = NULL;
	struct nlattr *elements, *element, *data;
	struct nlmsghdr *nlh;
	size_t len;

	if (!set || strlen(set) > NAME_MAX_LEN || mn_undo_unhex(hex, &key, &len) < 0 || len == 0 ||
		len > KEY_MAX)
		return mn_undo_bad_entry(err, "elements", "keys");
	if (mn_buffer_reserve(&work->out, MESSAGE_ROOM) < 0)
		return mn_fail(err, ENOMEM, "undo", "elements", "no memory");
	nlh = mnl_nlmsg_put_header(work->out.data + work->out.len);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	((struct nfgenmsg *)mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg)))->nfgen_family =
		work->family;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, work->table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	elements = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	data = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, key);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, element);
	mnl_attr_nest_end(nlh, elements);
	work->out.len += nlh->nlmsg_len;
	return 0;
}

// Appends the removals of one group, or of its first `count`: a key for each set, "" where it has none.
static int put_group(struct work *work, const cJSON *group, int count, struct mn_error *err)
{
	const char *first = cJSON_IsArray(group) ? cJSON_GetStringValue(group->child) : NULL;
	int ret = 0;

	if (!first || !*first || cJSON_GetArraySize(group) > cJSON_GetArraySize(work->sets))
		return mn_undo_bad_entry(err, "elements", "keys");
	for (const cJSON *key = group->child, *set = work->sets->child; key && count-- > 0 && ret == 0;
		key = key->next, set = set->next) {
		const char *hex = cJSON_GetStringValue(key);

		if (!hex)
			return mn_undo_bad_entry(err, "elements", "keys");
		if (*hex)
			ret = put_removal(work, cJSON_GetStringValue(set), hex, err);
	}
	return ret;
}

// Removes a list of groups that starts at `group`, all of them or one, in one transaction. *gone tells that
// something was not there, and that therefore nothing was removed.
static int remove_groups(struct work *work, struct mn_nl *nl, const cJSON *group, bool all, int count,
	bool *gone, struct mn_error *err)
{
	int ret;

	work->out.len = 0;
	ret = put_frame(work, NFNL_MSG_BATCH_BEGIN, err);
	for (; group && ret == 0; group = all ? group->next : NULL)
		ret = put_group(work, group, count, err);
	if (ret == 0)
		ret = put_frame(work, NFNL_MSG_BATCH_END, err);
	return ret < 0 ? ret : mn_undo_send(nl, work->out.data, work->out.len, false, gone, err);
}

// The elements of each group go together or not at all: the first one is the proof that the others, whose
// keys somebody else may have by now, are ours. Where the others are gone, it goes by itself.
int mn_undo_elements(const cJSON *entry, int netns, struct mn_error *err)
{
	const cJSON *family = cJSON_GetObjectItemCaseSensitive(entry, "family");
	const cJSON *groups = cJSON_GetObjectItemCaseSensitive(entry, "keys");
	struct work work = { .sets = cJSON_GetObjectItemCaseSensitive(entry, "sets"),
		.table = mn_undo_string(entry, "table") };
	struct mn_nl nl = { 0 };
	bool gone = false;
	int ret;

	if (!cJSON_IsNumber(family) || !work.table || strlen(work.table) > NAME_MAX_LEN ||
		!cJSON_IsArray(work.sets) || !cJSON_IsArray(groups) || !groups->child)
		return mn_undo_bad_entry(err, "elements", "keys");
	work.family = (uint8_t)family->valueint;
	ret = mn_nl_open(&nl, NETLINK_NETFILTER, netns, err);
	if (ret == 0)
		ret = remove_groups(&work, &nl, groups->child, true, INT32_MAX, &gone, err);
	for (const cJSON *group = gone ? groups->child : NULL; group && ret == 0; group = group->next) {
		ret = remove_groups(&work, &nl, group, false, INT32_MAX, &gone, err);
		if (ret == 0 && gone)
			ret = remove_groups(&work, &nl, group, false, 1, &gone, err);
	}
	mn_buffer_free(&work.out);
	mn_nl_close(&nl);
	return ret;
}

// Forgets the connections that were translated to an address of ours.
int mn_undo_conntrack(const cJSON *entry, int netns, struct mn_error *err)
{
	const cJSON *protocol = cJSON_GetObjectItemCaseSensitive(entry, "protocol"), *port;
	const cJSON *ports = cJSON_GetObjectItemCaseSensitive(entry, "ports");
	const char *answerer = mn_undo_string(entry, "answerer");
	struct mn_conntrack_filter filter = { .has_answerer = true };
	struct mn_error ignored;
	struct mn_cidr address;
	size_t count;

	if (!cJSON_IsNumber(protocol) || !cJSON_IsArray(ports) || !answerer ||
		mn_cidr_parse(answerer, &address, &ignored) < 0)
		return mn_undo_bad_entry(err, "conntrack", "answerer");
	filter.family = (uint8_t)address.family;
	filter.protocol = (uint8_t)protocol->valueint;
	memcpy(filter.answerer, address.bytes, sizeof(filter.answerer));
	cJSON_ArrayForEach (port, ports) {
		if (!cJSON_IsNumber(port) || port->valueint < 0 || port->valueint > UINT16_MAX)
			return mn_undo_bad_entry(err, "conntrack", "ports");
		mn_conntrack_add_port(&filter, (uint16_t)port->valueint);
	}
	return mn_conntrack_flush(netns, &filter, &count, err);
}
