// SPDX-License-Identifier: Apache-2.0
// The namespaces of the calls, and the numbers by which the kernel's notifications speak of them.
#define _GNU_SOURCE
#include "cleanup.h"
#include "trace_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/openat2.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

// Below the root of the process, with its links: runtimes name /var/run, which is a link to /run.
static int open_below(pid_t pid, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	char root[64];
	auto_close int dir = -1;

	snprintf(root, sizeof(root), "/proc/%d/root", (int)pid);
	dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

int mn_trace_netns_open(pid_t pid, const char *path)
{
	char whole[4096];
	int fd = open_below(pid, path);

	// A path like /proc/12/ns/net is a link of another sort, and older kernels have no openat2.
	if (fd < 0 &&
		(size_t)snprintf(whole, sizeof(whole), "/proc/%d/root%s", (int)pid, path) < sizeof(whole))
		fd = open(whole, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : fd;
}

// Sends a request about the namespace and returns the number in the answer, or -1.
static int ask(struct mn_nl *nl, int fd, uint16_t type)
{
	_Alignas(struct nlmsghdr) char space[128] = { 0 };
	struct mn_buffer request = { .data = space };
	struct nlmsghdr *header = mnl_nlmsg_put_header(space);
	struct rtgenmsg *general;
	const struct nlmsghdr *answer;
	const struct nlattr *attr;
	struct mn_error err;
	int number = -1;

	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | (type == RTM_NEWNSID ? NLM_F_ACK : 0);
	header->nlmsg_seq = mn_nl_next_seq(nl);
	general = mnl_nlmsg_put_extra_header(header, sizeof(*general));
	general->rtgen_family = AF_UNSPEC;
	mnl_attr_put_u32(header, NETNSA_FD, (uint32_t)fd);
	if (type == RTM_NEWNSID)
		mnl_attr_put_u32(header, NETNSA_NSID, (uint32_t)NETNSA_NSID_NOT_ASSIGNED);
	request.len = header->nlmsg_len;
	if (mn_nl_exchange(nl, &request, header->nlmsg_seq, &nl->in, &err) < 0)
		return -1;
	answer = mn_nl_next(nl, &nl->in, NULL, header->nlmsg_seq, header->nlmsg_seq);
	if (!answer || answer->nlmsg_type != RTM_NEWNSID)
		return -1;
	mnl_attr_for_each (attr, answer, sizeof(*general)) {
		if (mnl_attr_get_type(attr) == NETNSA_NSID &&
			mnl_attr_get_payload_len(attr) == sizeof(number))
			memcpy(&number, mnl_attr_get_payload(attr), sizeof(number));
	}
	return number;
}

int mn_trace_nsid(struct mn_trace *trace, int fd, uint64_t inode)
{
	int number;

	if (inode == trace->home || !trace->ask.socket)
		return -1;
	number = ask(&trace->ask, fd, RTM_GETNSID);
	if (number < 0) {
		(void)ask(&trace->ask, fd, RTM_NEWNSID);
		number = ask(&trace->ask, fd, RTM_GETNSID);
	}
	return number;
}
