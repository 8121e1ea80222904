// SPDX-License-Identifier: Apache-2.0
// What the undo takes back in a network namespace: links, requests of rtnetlink and nf_tables, settings.
#define _GNU_SOURCE
#include "undo_private.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "journal.h"
#include "nl.h"
#include "sysctl.h"

#define SYSCTL_ROUNDS 100 // of writing and looking again

int mn_undo_talk(struct mn_nl *nl, struct nlmsghdr *nlh, const struct nlmsghdr **reply, struct mn_error *err)
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

struct nlmsghdr *mn_undo_link_request(char *buf, uint16_t type, uint16_t flags, int index, const char *ifname)
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

bool mn_undo_absent(int ret)
{
	return ret == -ENODEV || ret == -ENOENT || ret == -ESRCH || ret == -EADDRNOTAVAIL;
}

int mn_undo_refused(struct mn_error *err, int ret, const char *object)
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
	ret = mn_undo_talk(nl, mn_undo_link_request(buf, RTM_GETLINK, 0, 0, ifname), &reply, err);
	if (ret < 0)
		return mn_undo_absent(ret) ? 0 : mn_undo_refused(err, ret, ifname);
	if (!reply || reply->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(reply) < sizeof(*info))
		return mn_undo_refused(err, -EPROTO, ifname);
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
	int ret = mn_undo_talk(nl, mn_undo_link_request(buf, RTM_DELLINK, NLM_F_ACK, index, NULL), NULL, err);

	return ret < 0 && !mn_undo_absent(ret) ? mn_undo_refused(err, ret, ifname) : 0;
}

const char *mn_undo_ifname(const cJSON *entry)
{
	const char *ifname = mn_undo_string(entry, "ifname");

	return ifname && strlen(ifname) < IFNAMSIZ ? ifname : NULL;
}

int mn_undo_link(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *ifname = mn_undo_ifname(entry);
	struct mn_nl nl = { 0 };
	int index, ret;

	if (!ifname)
		return mn_undo_bad_entry(err, "link", "ifname");
	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find_ours(&nl, ifname, mn_undo_string(entry, "alias"), &index, err);
	if (ret == 0 && index)
		ret = delete_link(&nl, index, ifname, err);
	mn_nl_close(&nl);
	return ret;
}

// A bridge that a failed call has made goes again, and so does a VRF of a pod's, unless somebody has joined
// it.
int mn_undo_bridge(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *ifname = mn_undo_ifname(entry);
	const struct nlmsghdr *refusal = NULL, *port;
	struct mn_nl nl = { 0 };
	char buf[256] = { 0 };
	int index, ret;

	if (!ifname)
		return mn_undo_bad_entry(err, "bridge", "ifname");
	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find_ours(&nl, ifname, mn_undo_string(entry, "alias"), &index, err);
	if (ret == 0 && index) {
		struct nlmsghdr *nlh = mn_undo_link_request(buf, RTM_GETLINK, NLM_F_DUMP, 0, NULL);

		mnl_attr_put_u32(nlh, IFLA_MASTER, (uint32_t)index);
		ret = mn_nl_dump(&nl, buf, nlh->nlmsg_len, &nl.in, &refusal, err);
		port = ret == 0 && !refusal ? mn_nl_next(&nl, &nl.in, NULL, 0, UINT32_MAX) : NULL;
		if (ret == 0 && (!port || port->nlmsg_type == NLMSG_DONE))
			ret = delete_link(&nl, index, ifname, err);
	}
	mn_nl_close(&nl);
	return ret;
}

// Tells whether a link message of the bridge family says that the port is in a VLAN.
static bool is_in_vlan(const struct nlmsghdr *nlh, int vlan)
{
	const struct nlattr *attr, *info;

	mnl_attr_for_each (attr, nlh, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(attr) != IFLA_AF_SPEC)
			continue;
		mnl_attr_for_each_nested (info, attr) {
			const struct bridge_vlan_info *found = mnl_attr_get_payload(info);

			if (mnl_attr_get_type(info) == IFLA_BRIDGE_VLAN_INFO &&
				mnl_attr_get_payload_len(info) >= sizeof(*found) && found->vid == vlan)
				return true;
		}
	}
	return false;
}

// What a dump of a bridge's ports says of a gateway's: its index, 0 when it is no port, and whether there is
// another one in its VLAN than the one called `except`.
static void look_at_ports(
	const struct mn_nl *nl, int bridge, const cJSON *entry, int vlan, int *index, bool *in_use)
{
	const char *name = mn_undo_string(entry, "ifname"), *except = mn_undo_string(entry, "except");
	const struct nlmsghdr *nlh = NULL;

	*index = 0;
	*in_use = false;
	while ((nlh = mn_nl_next(nl, &nl->in, nlh, 0, UINT32_MAX))) {
		const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
		const char *found = NULL;
		const struct nlattr *attr;
		uint32_t master = 0;

		if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(*info))
			continue;
		mnl_attr_for_each (attr, nlh, sizeof(*info)) {
			if (mnl_attr_get_type(attr) == IFLA_IFNAME)
				found = mnl_attr_get_str(attr);
			else if (mnl_attr_get_type(attr) == IFLA_MASTER)
				master = mnl_attr_get_u32(attr);
		}
		if (!found || master != (uint32_t)bridge)
			continue;
		if (strcmp(found, name) == 0)
			*index = info->ifi_index;
		else if (!except || strcmp(found, except) != 0)
			*in_use = *in_use || is_in_vlan(nlh, vlan);
	}
}

// A VLAN's gateway that a failed call has made goes again, unless another pod is in that VLAN by now.
int mn_undo_gateway(const cJSON *entry, int netns, struct mn_error *err)
{
	const cJSON *vlan = cJSON_GetObjectItemCaseSensitive(entry, "vlan");
	const char *ifname = mn_undo_ifname(entry), *bridge = mn_undo_string(entry, "bridge");
	const struct nlmsghdr *refusal = NULL;
	struct mn_nl nl = { 0 };
	char buf[256] = { 0 };
	bool in_use;
	int index, ret;

	if (!ifname || !bridge || strlen(bridge) >= IFNAMSIZ || !cJSON_IsNumber(vlan))
		return mn_undo_bad_entry(err, "gateway", "ifname");
	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find_ours(&nl, bridge, NULL, &index, err);
	if (ret == 0 && index) {
		struct nlmsghdr *nlh = mn_undo_link_request(buf, RTM_GETLINK, NLM_F_DUMP, 0, NULL);

		((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_family = AF_BRIDGE;
		mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
		ret = mn_nl_dump(&nl, buf, nlh->nlmsg_len, &nl.in, &refusal, err);
		if (ret == 0 && !refusal) {
			look_at_ports(&nl, index, entry, vlan->valueint, &index, &in_use);
			if (index && !in_use)
				ret = delete_link(&nl, index, ifname, err);
		}
	}
	mn_nl_close(&nl);
	return ret;
}

int mn_undo_unhex(const char *hex, char **bytes, size_t *len)
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

bool mn_undo_is_whole(const char *bytes, size_t len, bool netfilter)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)bytes;
	int left = (int)len, requests = 0;
	bool ended = false;

	if (netfilter) {
		if (!mn_nl_fits(nlh, left) || nlh->nlmsg_type != NFNL_MSG_BATCH_BEGIN)
			return false;
		nlh = mnl_nlmsg_next(nlh, &left);
	}
	for (; !ended && mn_nl_fits(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (!netfilter || !is_frame(nlh))
			requests++;
		else if (nlh->nlmsg_type == NFNL_MSG_BATCH_END)
			ended = true;
		else
			return false;
	}
	return left <= 0 && requests > 0 && ended == netfilter;
}

// Tells whether a refusal says that what a request of traffic control would remove is not there: the kernel
// says EINVAL where it finds nothing, or something of another kind or handle, which is somebody else's.
static bool is_not_ours(const struct nlmsghdr *request, int errnum)
{
	return errnum == EINVAL &&
		(request->nlmsg_type == RTM_DELQDISC || request->nlmsg_type == RTM_DELTCLASS ||
			request->nlmsg_type == RTM_DELTFILTER);
}

// Tells whether the kernel says that something need not, or can no longer, be put back: somebody has done so,
// or what it was a part of (device, address, gateway) is gone.
static bool without_place(int errnum)
{
	return errnum == EEXIST || errnum == ENETDOWN || errnum == ENETUNREACH || errnum == EHOSTUNREACH ||
		errnum == EINVAL;
}

int mn_undo_send(struct mn_nl *nl, char *bytes, size_t len, bool restore, bool *gone, struct mn_error *err)
{
	struct mn_buffer request = { .data = bytes, .len = len, .cap = len };
	const struct nlmsghdr *answer = NULL;
	struct nlmsghdr *end = NULL;
	uint32_t first = 0, last = 0;
	int left = (int)len, ret;

	for (struct nlmsghdr *nlh = (struct nlmsghdr *)bytes; mn_nl_fits(nlh, left);
		nlh = mnl_nlmsg_next(nlh, &left)) {
		nlh->nlmsg_seq = mn_nl_next_seq(nl);
		nlh->nlmsg_pid = nl->portid;
		first = first ? first : nlh->nlmsg_seq;
		if (nl->protocol == NETLINK_NETFILTER && is_frame(nlh))
			continue;
		if (nl->protocol != NETLINK_NETFILTER)
			nlh->nlmsg_flags |= NLM_F_ACK; // without it success has no answer
		last = nlh->nlmsg_seq;
		end = nlh;
	}
	if (end) // a transaction fails as a whole, and a thousand answers would not fit
		end->nlmsg_flags |= NLM_F_ACK;
	*gone = false;
	ret = mn_nl_exchange(nl, &request, last, &nl->in, err);
	while (ret == 0 && (answer = mn_nl_next(nl, &nl->in, answer, first, last))) {
		int errnum = mn_nl_errno(answer);

		if (mn_undo_absent(-errnum) || (restore && without_place(errnum)) ||
			is_not_ours((const struct nlmsghdr *)bytes, errnum))
			*gone = true;
		else if (errnum)
			ret = mn_undo_refused(err, -errnum, "netlink request");
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
		ret = mn_undo_send(nl, one, size + begin->nlmsg_len, false, &gone, err);
		first = first ? first : ret;
	}
	return first;
}

// Sends requests that were encoded when the change was made; what they remove may be gone already. A
// transaction does nothing at all then, so what is left of it goes piece by piece.
int mn_undo_netlink(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *hex = mn_undo_string(entry, "message"), *protocol = mn_undo_string(entry, "protocol");
	auto_free char *bytes = NULL;
	struct mn_nl nl = { 0 };
	bool netfilter, gone = false;
	bool restore = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "restore"));
	size_t len;
	int ret;

	netfilter = protocol && strcmp(protocol, "netfilter") == 0;
	if (!hex || !protocol || mn_undo_unhex(hex, &bytes, &len) < 0 ||
		!mn_undo_is_whole(bytes, len, netfilter))
		return mn_undo_bad_entry(err, "netlink", "message");
	ret = mn_nl_open(&nl, netfilter ? NETLINK_NETFILTER : NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = mn_undo_send(&nl, bytes, len, restore, &gone, err);
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
	if (mn_undo_unhex(hex, &request, &len) < 0 || !mn_undo_is_whole(request, len, false))
		return mn_undo_bad_entry(err, "sysctl", "unless");
	ret = mn_nl_open(&nl, NETLINK_NETFILTER, netns, err);
	if (ret == 0)
		ret = mn_nl_dump(&nl, request, len, &nl.in, &refusal, err);
	if (ret == 0 && refusal && !mn_undo_absent(-mn_nl_errno(refusal)))
		ret = mn_undo_refused(err, -mn_nl_errno(refusal), "nftables set");
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
int mn_undo_sysctl(const cJSON *entry, int netns, struct mn_error *err)
{
	const cJSON *unless = cJSON_GetObjectItemCaseSensitive(entry, "unless");
	const char *key = mn_undo_string(entry, "key"), *value = mn_undo_string(entry, "value");
	const char *list = mn_undo_string(unless, "message"), *kept = mn_undo_string(unless, "value");
	bool needed = false, before;
	int rounds = SYSCTL_ROUNDS, ret = 0;

	if (!key || !value || (unless && (!list || !kept)))
		return mn_undo_bad_entry(err, "sysctl", "key");
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
