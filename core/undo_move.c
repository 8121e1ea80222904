// SPDX-License-Identifier: Apache-2.0
// Gives a device that was moved into a pod back to the node: with its name, its alias and its state. While it
// is away its alias is its name, by which it is known wherever it is. A physical device comes back by itself,
// in the first network namespace, when the pod's ends; then only the rest is left to do.
#define _GNU_SOURCE
#include "undo_private.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "netns.h"

#define MAC_TEXT 18

struct device {
	const char *name;	// of old, and its alias meanwhile
	char address[MAC_TEXT]; // what it must have to be it; empty: any
	int index;		// out: 0 when there is none
	char found[IFNAMSIZ];	// out: its name now
};

static void mac_text(const struct nlattr *attr, char text[MAC_TEXT])
{
	const uint8_t *mac = mnl_attr_get_payload(attr);

	*text = '\0';
	if (mnl_attr_get_payload_len(attr) == 6)
		snprintf(text, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
			mac[4], mac[5]);
}

// Takes the link of a message when it is the device.
static void consider(const struct nlmsghdr *nlh, struct device *device)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	const char *alias = NULL, *ifname = NULL;
	const struct nlattr *attr;
	char address[MAC_TEXT] = "";

	mnl_attr_for_each (attr, nlh, sizeof(*info)) {
		if (mnl_attr_get_type(attr) == IFLA_IFALIAS)
			alias = mnl_attr_get_str(attr);
		else if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			ifname = mnl_attr_get_str(attr);
		else if (mnl_attr_get_type(attr) == IFLA_ADDRESS)
			mac_text(attr, address);
	}
	if (!alias || !ifname || strcmp(alias, device->name) != 0 ||
		(*device->address && strcmp(address, device->address) != 0))
		return;
	device->index = info->ifi_index;
	snprintf(device->found, sizeof(device->found), "%s", ifname);
	snprintf(device->address, sizeof(device->address), "%s", address);
}

static int find(struct mn_nl *nl, struct device *device, struct mn_error *err)
{
	const struct nlmsghdr *refusal = NULL, *nlh = NULL;
	char buf[256] = { 0 };
	int ret;

	device->index = 0;
	nlh = mn_undo_link_request(buf, RTM_GETLINK, NLM_F_DUMP, 0, NULL);
	ret = mn_nl_dump(nl, buf, nlh->nlmsg_len, &nl->in, &refusal, err);
	if (ret < 0 || refusal)
		return ret < 0 ? ret : mn_undo_refused(err, -EPROTO, device->name);
	nlh = NULL;
	while (!device->index && (nlh = mn_nl_next(nl, &nl->in, nlh, 0, UINT32_MAX))) {
		if (nlh->nlmsg_type == RTM_NEWLINK &&
			mnl_nlmsg_get_payload_len(nlh) >= sizeof(struct ifinfomsg))
			consider(nlh, device);
	}
	return 0;
}

static struct nlmsghdr *change(char *buf, const struct device *device)
{
	memset(buf, 0, 512);
	return mn_undo_link_request(buf, RTM_SETLINK, NLM_F_ACK, device->index, NULL);
}

static int set_up(struct mn_nl *nl, const struct device *device, bool up, struct mn_error *err)
{
	char buf[512];
	struct nlmsghdr *nlh = change(buf, device);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);

	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	return mn_undo_talk(nl, nlh, NULL, err);
}

static int set_name(struct mn_nl *nl, const struct device *device, const char *name, struct mn_error *err)
{
	char buf[512];
	struct nlmsghdr *nlh = change(buf, device);

	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return mn_undo_talk(nl, nlh, NULL, err);
}

// Moves the device out of the pod, under a name that nothing on the node has.
static int move_out(int netns, struct device *device, struct mn_error *err)
{
	struct mn_nl nl = { 0 };
	auto_close int home = -1;
	char buf[512], name[IFNAMSIZ];
	struct nlmsghdr *nlh;
	int ret;

	ret = mn_nl_open(&nl, NETLINK_ROUTE, netns, err);
	if (ret == 0)
		ret = find(&nl, device, err);
	if (ret == 0 && device->index)
		ret = mn_netns_current(&home, err);
	if (ret == 0 && device->index) {
		snprintf(name, sizeof(name), "mncn%d", device->index);
		ret = set_up(&nl, device, false, err);
		if (ret == 0)
			ret = set_name(&nl, device, name, err);
		nlh = change(buf, device);
		mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)home);
		if (ret == 0)
			ret = mn_undo_talk(&nl, nlh, NULL, err);
		if (ret < 0)
			mn_undo_refused(err, ret, device->name);
	}
	mn_nl_close(&nl);
	return ret;
}

// Gives the device on the node its name, its state and, last of all, its alias: without the one that it has
// now, nobody who comes after a failure would find it.
static int restore(struct device *device, const char *alias, bool up, struct mn_error *err)
{
	struct mn_nl nl = { 0 };
	char buf[512];
	struct nlmsghdr *nlh;
	int ret;

	ret = mn_nl_open(&nl, NETLINK_ROUTE, -1, err);
	if (ret == 0)
		ret = find(&nl, device, err);
	if (ret < 0 || !device->index) {
		mn_nl_close(&nl);
		return ret;
	}
	if (strcmp(device->found, device->name) != 0) {
		ret = set_up(&nl, device, false, err);
		if (ret == 0)
			ret = set_name(&nl, device, device->name, err);
		if (ret == -EEXIST && err && err->errnum == 0) {
			mn_fail(err, EEXIST, "undo", device->name,
				"another link of the node has the name, so the device that the pod had is %s "
				"now; rename one of them, and DEL again",
				device->found);
			err->code = 103;
		}
	}
	if (ret == 0)
		ret = set_up(&nl, device, up, err);
	if (ret == 0) {
		nlh = change(buf, device);
		mnl_attr_put(nlh, IFLA_IFALIAS, strlen(alias), alias);
		ret = mn_undo_talk(&nl, nlh, NULL, err);
	}
	mn_nl_close(&nl);
	return ret < 0 ? mn_undo_refused(err, ret, device->name) : 0;
}

int mn_undo_move(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *alias = mn_undo_string(entry, "alias"), *address = mn_undo_string(entry, "address");
	struct device device = { .name = mn_undo_ifname(entry) };
	int ret = 0;

	if (!device.name || !alias || !address || strlen(alias) > 255)
		return mn_undo_bad_entry(err, "move", "ifname");
	if (netns >= 0)
		ret = move_out(netns, &device, err);
	if (ret == 0 && !device.index) // it never went, or has come back by itself
		snprintf(device.address, sizeof(device.address), "%s", address);
	if (ret == 0)
		ret = restore(
			&device, alias, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "up")), err);
	return ret;
}
