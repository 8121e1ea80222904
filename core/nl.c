// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "nl.h"

#include "netns.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define LISTEN_BUFFER (8 << 20)
#define SHORT_DATAGRAM 2048 // bytes, which most answers fit into
#define FIRST_ROOM 1024	    // bytes of a buffer, which most requests fit into
#define MAX_ERRNO 4095	    // what the kernel calls an errno

// Makes room for more bytes behind those that are there.
static int make_room(struct mn_buffer *buffer, size_t more)
{
	size_t need = buffer->len + more;

	if (need > buffer->cap || !buffer->data) {
		size_t cap = buffer->cap ? buffer->cap : FIRST_ROOM;
		char *data;

		while (cap < need)
			cap *= 2;
		data = realloc(buffer->data, cap);
		if (!data)
			return -ENOMEM;
		buffer->data = data;
		buffer->cap = cap;
	}
	return 0;
}

int mn_buffer_reserve(struct mn_buffer *buffer, size_t more)
{
	if (make_room(buffer, more) < 0)
		return -ENOMEM;
	if (more > 0) // an empty buffer has no bytes that could be pointed at
		memset(buffer->data + buffer->len, 0, more);
	return 0;
}

void mn_buffer_free(struct mn_buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

static int open_here(struct mn_nl *nl, int protocol, struct mn_error *err)
{
	int on = 1, size = 0;
	socklen_t len = sizeof(size);

	nl->socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
	if (!nl->socket || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return mn_fail(err, errno, "open", "netlink socket", NULL);
	nl->protocol = protocol;
	nl->portid = mnl_socket_get_portid(nl->socket);
	nl->seq = 0;
	// A kernel that lacks one of these (before 4.20) says less and filters less, but answers.
	mnl_socket_setsockopt(nl->socket, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (getsockopt(mn_nl_fd(nl), SOL_SOCKET, SO_SNDBUF, &size, &len) == 0)
		nl->sndbuf = (size_t)size;
	return 0;
}

int mn_nl_open(struct mn_nl *nl, int protocol, int netns_fd, struct mn_error *err)
{
	int home, result;

	result = mn_netns_enter(netns_fd, &home, err);
	if (result < 0)
		return result;
	result = open_here(nl, protocol, err);
	mn_netns_leave(&home);
	if (result < 0)
		mn_nl_close(nl);
	else if (netns_fd < 0)
		mn_netns_learn_home(mn_nl_fd(nl));
	return result;
}

int mn_nl_listen(struct mn_nl *nl, int protocol, int netns_fd, bool all_netns, struct mn_error *err)
{
	int on = 1, size = LISTEN_BUFFER;
	int result = mn_nl_open(nl, protocol, netns_fd, err);

	if (result < 0)
		return result;
	// Without the privilege the default size stays, and overruns come earlier.
	(void)setsockopt(mn_nl_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (all_netns && mnl_socket_setsockopt(nl->socket, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0) {
		result = mn_fail(err, errno, "listen", "netlink socket", "cannot hear other namespaces");
		mn_nl_close(nl);
	}
	return result;
}

int mn_nl_join(struct mn_nl *nl, unsigned int group, struct mn_error *err)
{
	if (mnl_socket_setsockopt(nl->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return mn_fail(err, errno, "listen", "netlink socket", "cannot join group %u", group);
	return 0;
}

void mn_nl_close(struct mn_nl *nl)
{
	if (nl->socket)
		mnl_socket_close(nl->socket);
	nl->socket = NULL;
	mn_buffer_free(&nl->out);
	mn_buffer_free(&nl->in);
	mn_buffer_free(&nl->names);
}

int mn_nl_fd(const struct mn_nl *nl)
{
	return nl->socket ? mnl_socket_get_fd(nl->socket) : -1;
}

int mn_nl_cookie(const struct mn_nl *nl, uint64_t *cookie)
{
	socklen_t size = sizeof(*cookie);

	return getsockopt(mn_nl_fd(nl), SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size) < 0 ? -errno : 0;
}

uint32_t mn_nl_next_seq(struct mn_nl *nl)
{
	if (++nl->seq == 0)
		nl->seq = 1;
	return nl->seq;
}

static int talk_failed(struct mn_error *err, int errnum, const char *message)
{
	return mn_fail(err, errnum, "talk to", "the kernel", "%s", message);
}

static int send_all(struct mn_nl *nl, const char *data, size_t len, struct mn_error *err)
{
	// The kernel refuses a send that is larger than the buffer; growing it needs CAP_NET_ADMIN, as such a
	// request itself does.
	if (len + 64 > nl->sndbuf) {
		int size = (int)len + MN_NL_BUFFER;

		if (setsockopt(mn_nl_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0)
			nl->sndbuf = (size_t)size;
	}
	for (;;) {
		if (mnl_socket_sendto(nl->socket, data, len) >= 0)
			return 0;
		if (errno != EINTR)
			return talk_failed(err, errno, "the request was not taken");
	}
}

// Waits until the socket can be read. Returns 1, or 0 when the time is over.
static int wait_readable(const struct mn_nl *nl, int timeout)
{
	struct pollfd ready = { .fd = mn_nl_fd(nl), .events = POLLIN };

	for (;;) {
		int n = poll(&ready, 1, timeout);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

// Appends one datagram without waiting. Returns its length or -errno; *sender is the port it came from. Few
// are as large as they may be: what the buffer has no room for comes by way of the stack.
static ssize_t receive_one(struct mn_nl *nl, struct mn_buffer *into, uint32_t *sender, int *nsid)
{
	char rest[MN_NL_BUFFER];
	union {
		char space[CMSG_SPACE(sizeof(int)) * 2];
		struct cmsghdr align;
	} control;
	struct sockaddr_nl from = { 0 };
	struct iovec iov[2];
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = iov, .msg_iovlen = 2
	};
	size_t room;
	ssize_t got;

	if (make_room(into, SHORT_DATAGRAM) < 0)
		return -ENOMEM;
	room = into->cap - into->len;
	iov[0] = (struct iovec){ .iov_base = into->data + into->len, .iov_len = room };
	iov[1] = (struct iovec){ .iov_base = rest, .iov_len = sizeof(rest) };

	if (nsid) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		*nsid = -1;
	}
	do {
		got = recvmsg(mn_nl_fd(nl), &msg, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (msg.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (nsid) {
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID)
				memcpy(nsid, CMSG_DATA(c), sizeof(*nsid));
		}
	}
	if ((size_t)got > room) {
		if (make_room(into, NLMSG_ALIGN((size_t)got)) < 0)
			return -ENOMEM;
		memcpy(into->data + into->len + room, rest, (size_t)got - room);
	}
	*sender = from.nl_pid;
	into->len += NLMSG_ALIGN((size_t)got);
	return got;
}

// Returns 0, or 1 when nothing is there and the caller does not want to wait.
static int receive_answer(
	struct mn_nl *nl, struct mn_buffer *reply, size_t *start, bool wait, bool *lost, struct mn_error *err)
{
	for (;;) {
		uint32_t sender = 0;
		ssize_t got;

		*start = reply->len;
		got = receive_one(nl, reply, &sender, NULL);
		if (got == -EAGAIN) {
			int ready;

			if (!wait || *lost)
				return 1;
			ready = wait_readable(nl, MN_NL_TIMEOUT);
			if (ready < 0)
				return talk_failed(err, -ready, "waiting for the answer failed");
			if (ready == 0)
				return talk_failed(err, ETIMEDOUT, "it does not answer");
			continue;
		}
		if (got == -ENOBUFS) // more refusals than fit; the first ones are there
			*lost = true;
		else if (got < 0)
			return talk_failed(err, (int)-got, "the answer could not be received");
		if (got < 0)
			continue;
		if (sender == 0) // only the kernel is asked, only the kernel is heard
			return 0;
		reply->len = *start;
	}
}

static bool for_us(const struct mn_nl *nl, const struct nlmsghdr *nlh)
{
	return nlh->nlmsg_pid == 0 || nlh->nlmsg_pid == nl->portid;
}

// Whether a message ends the answer to the request it belongs to. After a request for an ack, that is the
// ack.
static bool is_final(const struct nlmsghdr *nlh, bool acked)
{
	return nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE ||
		(!acked && nlh->nlmsg_type >= NLMSG_MIN_TYPE && !(nlh->nlmsg_flags & NLM_F_MULTI));
}

static bool wants_ack(const struct mn_buffer *request, uint32_t seq)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)request->data;
	int len = (int)request->len;

	for (; mn_nl_fits(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		if (nlh->nlmsg_seq == seq)
			return nlh->nlmsg_flags & NLM_F_ACK;
	}
	return false;
}

// Receives until the request numbered `last` is answered. The kernel works through a send before it returns,
// so once something was refused and nothing more is there, nothing more will come. *interrupted tells whether
// a dump was inconsistent, or a part of it was lost.
static int receive_until(struct mn_nl *nl, struct mn_buffer *reply, uint32_t last, bool acked,
	bool *interrupted, struct mn_error *err)
{
	bool refused = false, lost = false;

	for (;;) {
		const struct nlmsghdr *nlh;
		size_t start;
		int len, result;

		result = receive_answer(nl, reply, &start, !refused, &lost, err);
		if (result > 0 && !refused)
			return talk_failed(err, ENOBUFS, "there were more answers than fit");
		if (result)
			return result < 0 ? result : 0;
		nlh = (const struct nlmsghdr *)(reply->data + start);
		len = (int)(reply->len - start);
		for (; mn_nl_fits(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
			if (!for_us(nl, nlh))
				continue;
			refused = refused || mn_nl_errno(nlh);
			if (nlh->nlmsg_seq != last)
				continue;
			if (nlh->nlmsg_flags & NLM_F_DUMP_INTR && interrupted)
				*interrupted = true;
			if (!is_final(nlh, acked))
				continue;
			if (!lost || refused)
				return 0;
			if (!interrupted)
				return talk_failed(err, ENOBUFS, "there were more answers than fit");
			*interrupted = true; // a list with a hole
			return 0;
		}
	}
}

int mn_nl_exchange(struct mn_nl *nl, const struct mn_buffer *request, uint32_t last, struct mn_buffer *reply,
	struct mn_error *err)
{
	int result = send_all(nl, request->data, request->len, err);

	reply->len = 0;
	return result < 0 ? result : receive_until(nl, reply, last, wants_ack(request, last), NULL, err);
}

static void pause_between_tries(int attempt)
{
	struct timespec pause = { .tv_nsec = 200000L * (1 << (attempt < 6 ? attempt : 6)) };

	(void)nanosleep(&pause, NULL);
}

int mn_nl_dump(struct mn_nl *nl, char *data, size_t len, struct mn_buffer *reply,
	const struct nlmsghdr **refusal, struct mn_error *err)
{
	*refusal = NULL;
	for (int attempt = 0; attempt < MN_NL_DUMP_TRIES; attempt++) {
		struct nlmsghdr *request = (struct nlmsghdr *)data;
		bool interrupted = false;
		int result;

		request->nlmsg_seq = mn_nl_next_seq(nl);
		reply->len = 0;
		result = send_all(nl, data, len, err);
		if (result == 0)
			result = receive_until(nl, reply, nl->seq, false, &interrupted, err);
		if (result < 0)
			return result;
		for (const struct nlmsghdr *nlh = NULL;
			(nlh = mn_nl_next(nl, reply, nlh, nl->seq, nl->seq));) {
			if (mn_nl_errno(nlh) == EINTR)
				interrupted = true;
			else if (mn_nl_errno(nlh) && !*refusal)
				*refusal = nlh;
		}
		if (*refusal || !interrupted)
			return 0;
		pause_between_tries(attempt);
	}
	return mn_fail(err, EINTR, "list", NULL, "the list changed while it was read, %d times in a row",
		MN_NL_DUMP_TRIES);
}

ssize_t mn_nl_event(struct mn_nl *nl, struct mn_buffer *into, int timeout, int *nsid, struct mn_error *err)
{
	for (;;) {
		uint32_t sender = 0;
		ssize_t got;

		into->len = 0;
		got = receive_one(nl, into, &sender, nsid);
		if (got == -EAGAIN) {
			int ready = timeout == 0 ? 0 : wait_readable(nl, timeout);

			if (ready < 0)
				return talk_failed(err, -ready, "waiting for events failed");
			if (ready == 0)
				return 0;
			continue;
		}
		if (got == -ENOBUFS || got == -EMSGSIZE)
			return -ENOBUFS;
		if (got < 0)
			return talk_failed(err, (int)-got, "events could not be received");
		if (sender == 0)
			return got;
	}
}

const struct nlmsghdr *mn_nl_next(const struct mn_nl *nl, const struct mn_buffer *reply,
	const struct nlmsghdr *from, uint32_t first, uint32_t last)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)reply->data;
	int len = (int)reply->len;

	if (!nlh)
		return NULL;
	if (from) {
		len -= (int)((const char *)from - reply->data);
		nlh = mnl_nlmsg_next(from, &len);
	}
	for (; mn_nl_fits(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		if (nlh->nlmsg_seq - first <= last - first && for_us(nl, nlh))
			return nlh;
	}
	return NULL;
}

bool mn_nl_fits(const struct nlmsghdr *nlh, int len)
{
	return len >= (int)sizeof(*nlh) && nlh->nlmsg_len >= sizeof(*nlh) && nlh->nlmsg_len <= (uint32_t)len;
}

int mn_nl_errno(const struct nlmsghdr *nlh)
{
	int error = 0;

	// The first thing in both is the negative errno; a DONE of an old kernel may have none.
	if ((nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) &&
		nlh->nlmsg_len >= NLMSG_HDRLEN + sizeof(error))
		memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
	return error >= 0 ? 0 : error >= -MAX_ERRNO ? -error : EPROTO;
}

static int ask_link_index(struct mn_nl *nl, const char *name, int *index, struct mn_error *err)
{
	_Alignas(struct nlmsghdr) char space[256] = { 0 };
	struct mn_buffer request = { .data = space };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(space);
	const struct nlmsghdr *answer;
	const struct ifinfomsg *link;
	int result;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	request.len = nlh->nlmsg_len;
	result = mn_nl_exchange(nl, &request, nlh->nlmsg_seq, &nl->names, err);
	if (result < 0)
		return result;
	answer = mn_nl_next(nl, &nl->names, NULL, nlh->nlmsg_seq, nlh->nlmsg_seq);
	if (answer && mn_nl_errno(answer))
		return mn_fail(err, mn_nl_errno(answer), "get", NULL, NULL);
	if (!answer || answer->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(answer) < sizeof(*link))
		return mn_fail(err, ENODEV, "get", NULL, NULL);
	link = mnl_nlmsg_get_payload(answer);
	*index = link->ifi_index;
	return 0;
}

// The answer by netlink would be all that the kernel knows of the link, and SIOCGIFINDEX alone would start
// modprobe for a name that is not there: whether it is there shows when the socket is bound to it, which
// means nothing to netlink and is taken back. socket(7), netdevice(7).
int mn_nl_link_index(struct mn_nl *nl, const char *name, int *index, struct mn_error *err)
{
	struct ifreq request = { 0 };
	size_t len = strlen(name);
	int fd = mn_nl_fd(nl), found;

	if (len == 0 || len >= IFNAMSIZ)
		return mn_fail(err, ENODEV, "get", NULL, "not a link's name");
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)len) < 0)
		return errno == ENODEV ? mn_fail(err, ENODEV, "get", NULL, NULL)
				       : ask_link_index(nl, name, index, err);
	memcpy(request.ifr_name, name, len);
	found = ioctl(fd, SIOCGIFINDEX, &request);
	(void)setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0);
	if (found < 0)
		return ask_link_index(nl, name, index, err);
	*index = request.ifr_ifindex;
	return 0;
}

// By an ioctl(2) in the socket's namespace, which does not wait for RTNL; an answer by netlink would be all
// that the kernel knows of the link.
int mn_nl_link_name(struct mn_nl *nl, int index, char *name, struct mn_error *err)
{
	struct ifreq request = { .ifr_ifindex = index };

	if (ioctl(mn_nl_fd(nl), SIOCGIFNAME, &request) < 0)
		return mn_fail(err, errno, "get", NULL, NULL);
	memcpy(name, request.ifr_name, IFNAMSIZ);
	return 0;
}
