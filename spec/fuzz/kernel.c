// SPDX-License-Identifier: Apache-2.0
// Stands in for the kernel behind netlink sockets: the targets that link this in send nothing, wait for
// nothing, and receive what the input says.
#define _GNU_SOURCE
#include "kernel.h"

#include "nl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t size);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *rest);

static const uint8_t *left;
static size_t left_size;
static bool absent, owed; // an answer of our own
static uint32_t last_seq;

void fuzz_kernel(const uint8_t *data, size_t size, bool when_over)
{
	left = data;
	left_size = size;
	absent = when_over;
	owed = false;
}

static ssize_t answer_absent(char *to, size_t room)
{
	struct {
		struct nlmsghdr nlh;
		struct nlmsgerr error;
	} answer = {
		.nlh = { .nlmsg_len = sizeof(answer), .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = last_seq },
		.error.error = -ENODEV,
	};

	owed = false;
	if (room < sizeof(answer))
		return 0;
	memcpy(to, &answer, sizeof(answer));
	return sizeof(answer);
}

// The number 0 in an answer stands for "the last request", whatever number that had.
static void set_numbers(char *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)(data + at);

		if (!mn_nl_fits(nlh, (int)(size - at)))
			break;
		if (nlh->nlmsg_seq == 0)
			nlh->nlmsg_seq = last_seq;
		at += NLMSG_ALIGN(nlh->nlmsg_len);
	}
}

// Puts a datagram where the message has room; returns how much of it.
static size_t scatter(const struct msghdr *msg, const char *data, size_t size)
{
	size_t done = 0;

	for (size_t i = 0; i < msg->msg_iovlen && done < size; i++) {
		size_t part = size - done < msg->msg_iov[i].iov_len ? size - done : msg->msg_iov[i].iov_len;

		memcpy(msg->msg_iov[i].iov_base, data + done, part);
		done += part;
	}
	return done;
}

// Takes the next datagram of the input: two bytes of length, the highest bits of which choose a fault.
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	static const int faults[] = { EINTR, ENOBUFS, EAGAIN, ENOMEM };
	static _Alignas(struct nlmsghdr) char datagram[0x4000];
	size_t size;
	uint16_t length;

	(void)fd;
	(void)flags;
	msg->msg_flags = 0;
	msg->msg_controllen = 0;
	if (left_size < sizeof(length) && owed)
		return answer_absent(msg->msg_iov->iov_base, msg->msg_iov->iov_len);
	if (left_size < sizeof(length)) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(&length, left, sizeof(length));
	left += sizeof(length);
	left_size -= sizeof(length);
	if ((length & 0xc000) == 0xc000) {
		errno = faults[length & 3];
		return -1;
	}
	size = length & 0x3fff;
	size = size < left_size ? size : left_size;
	memcpy(datagram, left, size);
	left += size;
	left_size -= size;
	msg->msg_flags = (length & 0x8000) ? MSG_TRUNC : 0;
	set_numbers(datagram, size);
	return (ssize_t)scatter(msg, datagram, size);
}

// Readable as long as there is something to receive.
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	bool readable = left_size >= sizeof(uint16_t) || owed;

	(void)timeout;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = readable ? POLLIN : 0;
	return readable;
}

// Only the number of the request that is to be answered is kept: the last one that asks for it, else the last
// one.
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t size)
{
	const struct nlmsghdr *nlh = request;
	int rest = (int)size;
	bool acked = false;

	(void)nl;
	for (; mn_nl_fits(nlh, rest); nlh = mnl_nlmsg_next(nlh, &rest)) {
		if (acked && !(nlh->nlmsg_flags & NLM_F_ACK))
			continue;
		acked = nlh->nlmsg_flags & NLM_F_ACK;
		last_seq = nlh->nlmsg_seq;
	}
	owed = absent;
	return (ssize_t)size;
}

int __wrap_nanosleep(const struct timespec *pause, struct timespec *rest)
{
	(void)pause;
	(void)rest;
	return 0;
}
