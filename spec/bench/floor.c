// SPDX-License-Identifier: Apache-2.0
// The floor: what naivebridge leaves in the kernel of a pod, by nothing but its netlink requests and
// settings, without a configuration, an address store, a journal or an answer. Called as a CNI plugin is, ADD
// and DEL, for a bridge that is there; BENCH_BRIDGE, BENCH_ADDRESS ("10.1.0.2/16") and BENCH_GATEWAY say the
// rest; with BENCH_TEARDOWN=lazy a DEL takes the link out of service and leaves it there. Linked statically:
// what it takes beyond its requests is the start of an empty program.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUP 78      // as mncni's links have it
#define DEAD_GROUP 79 // and those that are only to be deleted

static char buffer[8192];
static size_t used;
static unsigned int sequence;

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "floor: %s is not set\n", name);
		exit(1);
	}
	return value;
}

static struct nlmsghdr *begin(uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer + used);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	nlh->nlmsg_seq = ++sequence;
	return nlh;
}

static void end(const struct nlmsghdr *nlh)
{
	used += MNL_ALIGN(nlh->nlmsg_len);
}

static struct mnl_socket *open_socket(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int one = 1;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("socket");
	(void)mnl_socket_setsockopt(nl, NETLINK_CAP_ACK, &one, sizeof(one));
	return nl;
}

// Sends what was put together and waits for the answers, which must be good.
static void send_all(struct mnl_socket *nl, const char *what)
{
	char answers[8192];
	unsigned int last = sequence;

	if (mnl_socket_sendto(nl, buffer, used) < 0)
		die(what);
	for (unsigned int seen = 0; seen < last;) {
		ssize_t size = mnl_socket_recvfrom(nl, answers, sizeof(answers));
		int left = (int)size;

		if (size < 0)
			die(what);
		for (const struct nlmsghdr *nlh = (void *)answers; mnl_nlmsg_ok(nlh, left);
			nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

			errno = -err->error;
			if (nlh->nlmsg_type == NLMSG_ERROR && err->error)
				die(what);
			seen = nlh->nlmsg_seq;
		}
	}
	used = 0;
}

// The name of the node's end.
static const char *host_ifname(void)
{
	static char name[IFNAMSIZ];
	unsigned int hash = 5381;

	for (const char *at = variable("CNI_CONTAINERID"); *at; at++)
		hash = hash * 33 + (unsigned char)*at;
	snprintf(name, sizeof(name), "floor%08x", hash);
	return name;
}

static void put_name(struct nlmsghdr *nlh)
{
	mnl_attr_put_strz(nlh, IFLA_IFNAME, host_ifname());
}

// A veth pair: one end a port of the bridge, the other the pod's interface.
static void put_veth(int pod, unsigned int bridge)
{
	struct nlmsghdr *nlh = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *of_peer;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_name(nlh);
	mnl_attr_put_u32(nlh, IFLA_MASTER, bridge);
	mnl_attr_put_u32(nlh, IFLA_MTU, 1500);
	mnl_attr_put_u32(nlh, IFLA_GROUP, GROUP);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	of_peer = mnl_nlmsg_put_extra_header(nlh, sizeof(*of_peer));
	memset(of_peer, 0, sizeof(*of_peer));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, variable("CNI_IFNAME"));
	mnl_attr_put_u32(nlh, IFLA_MTU, 1500);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)pod);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	end(nlh);
}

// The node's end up, with its alias and hairpin: the kernel takes neither when a link is created.
static void put_port(void)
{
	struct nlmsghdr *nlh = begin(RTM_NEWLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	struct nlattr *info, *data;
	char alias[256];

	link->ifi_flags = IFF_UP;
	link->ifi_change = IFF_UP;
	put_name(nlh);
	snprintf(alias, sizeof(alias), "floor %s %s", variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
	mnl_attr_put_str(nlh, IFLA_IFALIAS, alias);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_SLAVE_DATA);
	mnl_attr_put_u8(nlh, IFLA_BRPORT_MODE, 1);
	mnl_attr_put_u8(nlh, IFLA_BRPORT_ISOLATED, 0);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	end(nlh);
}

static unsigned int index_of(struct mnl_socket *nl, const char *name)
{
	char answer[8192];
	struct nlmsghdr *nlh = begin(RTM_GETLINK, 0);
	const struct ifinfomsg *link;
	ssize_t size;

	nlh->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (mnl_socket_sendto(nl, buffer, nlh->nlmsg_len) < 0)
		die(name);
	size = mnl_socket_recvfrom(nl, answer, sizeof(answer));
	nlh = (struct nlmsghdr *)answer;
	if (size < 0 || nlh->nlmsg_type != RTM_NEWLINK)
		die(name);
	link = mnl_nlmsg_get_payload(nlh);
	return (unsigned int)link->ifi_index;
}

// The pod's interface up, with its address and the default route.
static void put_pod(unsigned int index)
{
	char address[64];
	struct in_addr local, gateway;
	struct ifinfomsg *link;
	struct ifaddrmsg *addr;
	struct nlmsghdr *nlh;
	struct rtmsg *route;
	char *slash;

	snprintf(address, sizeof(address), "%s", variable("BENCH_ADDRESS"));
	slash = strchr(address, '/');
	if (slash)
		*slash = '\0';
	if (!slash || inet_pton(AF_INET, address, &local) != 1 ||
		inet_pton(AF_INET, variable("BENCH_GATEWAY"), &gateway) != 1)
		die("BENCH_ADDRESS, BENCH_GATEWAY");
	nlh = begin(RTM_NEWLINK, 0);
	link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	link->ifi_index = (int)index;
	link->ifi_flags = IFF_UP;
	link->ifi_change = IFF_UP;
	end(nlh);
	nlh = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	addr = mnl_nlmsg_put_extra_header(nlh, sizeof(*addr));
	addr->ifa_family = AF_INET;
	addr->ifa_prefixlen = (unsigned char)atoi(slash + 1);
	addr->ifa_index = index;
	mnl_attr_put(nlh, IFA_LOCAL, sizeof(local), &local);
	mnl_attr_put(nlh, IFA_ADDRESS, sizeof(local), &local);
	end(nlh);
	nlh = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	route = mnl_nlmsg_put_extra_header(nlh, sizeof(*route));
	route->rtm_family = AF_INET;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_BOOT;
	route->rtm_type = RTN_UNICAST;
	mnl_attr_put(nlh, RTA_GATEWAY, sizeof(gateway), &gateway);
	mnl_attr_put_u32(nlh, RTA_OIF, index);
	end(nlh);
}

// A setting of the namespace that this process is in.
static void set(const char *family, const char *ifname, const char *key, const char *value)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, 1) != 1)
		die(path);
	close(fd);
}

static void enter(int ns)
{
	if (setns(ns, CLONE_NEWNET) < 0)
		die("setns");
}

static void add(void)
{
	int pod = open(variable("CNI_NETNS"), O_RDONLY | O_CLOEXEC);
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	const char *ifname = variable("CNI_IFNAME");
	struct mnl_socket *host = open_socket(), *inside;
	unsigned int bridge = index_of(host, variable("BENCH_BRIDGE")), index;

	if (pod < 0 || own < 0)
		die("namespace");
	used = 0;
	put_veth(pod, bridge);
	send_all(host, "veth");
	set("ipv6", host_ifname(), "accept_ra", "0");
	enter(pod);
	inside = open_socket();
	index = index_of(inside, ifname);
	set("ipv6", ifname, "accept_ra", "0");
	set("ipv6", ifname, "accept_dad", "0");
	set("ipv6", ifname, "keep_addr_on_down", "1");
	set("ipv4", ifname, "arp_notify", "1");
	enter(own);
	put_port();
	send_all(host, "port");
	put_pod(index);
	send_all(inside, "pod");
}

static void del(void)
{
	struct mnl_socket *host = open_socket();
	bool lazy = getenv("BENCH_TEARDOWN") != NULL;
	struct nlmsghdr *nlh = begin(lazy ? RTM_NEWLINK : RTM_DELLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));

	put_name(nlh);
	if (lazy) { // down, and no port any more
		link->ifi_change = IFF_UP;
		mnl_attr_put_u32(nlh, IFLA_MASTER, 0);
		mnl_attr_put_u32(nlh, IFLA_GROUP, DEAD_GROUP);
	}
	end(nlh);
	send_all(host, "link");
}

int main(void)
{
	const char *verb = variable("CNI_COMMAND");

	if (strcmp(verb, "ADD") == 0)
		add();
	else if (strcmp(verb, "DEL") == 0)
		del();
	return 0;
}
