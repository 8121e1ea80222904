// SPDX-License-Identifier: Apache-2.0
// The kernel's process connector: who forks, runs a program, and ends.
#define _GNU_SOURCE
#include "trace_private.h"

#include <errno.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACK_MS 500
#define BUFFER (8 << 20)

#define REQUEST_SIZE NLMSG_LENGTH(sizeof(struct cn_msg) + sizeof(enum proc_cn_mcast_op))

// Asks to be told of all processes.
static bool ask(int fd)
{
	char request[NLMSG_SPACE(sizeof(struct cn_msg) + sizeof(enum proc_cn_mcast_op))]
		__attribute__((aligned(8))) = { 0 };
	struct nlmsghdr *header = (struct nlmsghdr *)(void *)request;
	struct cn_msg *message = (struct cn_msg *)(void *)(request + NLMSG_HDRLEN);
	enum proc_cn_mcast_op op = PROC_CN_MCAST_LISTEN;

	header->nlmsg_len = REQUEST_SIZE;
	header->nlmsg_type = NLMSG_DONE;
	message->id.idx = CN_IDX_PROC;
	message->id.val = CN_VAL_PROC;
	message->len = sizeof(op);
	memcpy(message->data, &op, sizeof(op));
	return send(fd, request, REQUEST_SIZE, 0) == (ssize_t)REQUEST_SIZE;
}

// The event in one datagram, or NULL.
static const struct proc_event *event_of(const char *buffer, ssize_t got)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)(const void *)buffer;
	const struct cn_msg *message = (const struct cn_msg *)(const void *)(buffer + NLMSG_HDRLEN);

	// Older kernels send shorter events, which have all that is read here.
	if (got < (ssize_t)(NLMSG_HDRLEN + sizeof(*message) + offsetof(struct proc_event, event_data) + 8) ||
		header->nlmsg_type != NLMSG_DONE || message->id.idx != CN_IDX_PROC)
		return NULL;
	return (const struct proc_event *)(const void *)message->data;
}

// Whether the kernel says that we are heard; outside of the first process namespace it says nothing.
static bool is_acknowledged(int fd)
{
	char buffer[1024] __attribute__((aligned(8)));
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	int64_t deadline = mn_trace_now() + ACK_MS * INT64_C(1000000);

	while (mn_trace_now() < deadline && poll(&ready, 1, ACK_MS) > 0) {
		const struct proc_event *event =
			event_of(buffer, recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT));

		if (event && (int)event->what == 0)
			return event->event_data.ack.err == 0;
	}
	return false;
}

int mn_trace_proc_open(int *fd, struct mn_error *err)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
	int size = BUFFER;

	*fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);
	if (*fd < 0 && errno == EPROTONOSUPPORT)
		return mn_fail(err, errno, NULL, NULL,
			"this is not the machine's first network namespace, or its kernel has none");
	if (*fd < 0)
		return mn_fail(err, errno, NULL, NULL, NULL);
	(void)setsockopt(*fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(*fd, (struct sockaddr *)&address, sizeof(address)) == 0 && ask(*fd)) {
		if (is_acknowledged(*fd))
			return 0;
		errno = EOPNOTSUPP;
		(void)mn_fail(err, errno, NULL, NULL,
			"this is not the machine's first process namespace, or its kernel has none");
	} else {
		(void)mn_fail(err, errno, NULL, NULL, "%s",
			errno == ECONNREFUSED
				? "this is not the machine's first network namespace, or its kernel has none"
				: "CAP_NET_ADMIN is needed");
	}
	close(*fd);
	*fd = -1;
	return -errno;
}

static void on_fork(struct mn_trace *trace, const struct proc_event *event)
{
	pid_t parent = event->event_data.fork.parent_tgid, child = event->event_data.fork.child_pid;
	const struct mn_process *maker = mn_trace_process(trace, parent);

	if (!maker || !(maker->call || maker->followed))
		return;
	if (child == event->event_data.fork.child_tgid)
		mn_trace_process_forked(trace, child);
	mn_trace_put(trace,
		&(struct mn_trace_record){ .type = MN_TRACE_FORK,
			.time = (int64_t)event->timestamp_ns,
			.pid = child,
			.other = parent },
		NULL, 0);
}

static void on_exit_event(struct mn_trace *trace, const struct proc_event *event)
{
	pid_t pid = event->event_data.exit.process_pid;
	struct mn_process *process;

	if (pid != event->event_data.exit.process_tgid)
		return;
	process = mn_trace_process(trace, pid);
	if (process)
		mn_trace_process_ends(trace, process, (int)event->event_data.exit.exit_code);
}

void mn_trace_proc_read(struct mn_trace *trace)
{
	char buffer[1024] __attribute__((aligned(8)));
	bool lost = false;

	for (;;) {
		ssize_t got = recv(trace->proc, buffer, sizeof(buffer), MSG_DONTWAIT);
		const struct proc_event *event;

		if (got < 0 && errno == ENOBUFS)
			lost = true;
		else if (got < 0 && errno != EINTR)
			break;
		if (got < 0)
			continue;
		event = event_of(buffer, got);
		if (!event)
			continue;
		switch ((unsigned int)event->what) {
		case PROC_EVENT_FORK:
			on_fork(trace, event);
			break;
		case PROC_EVENT_EXEC:
			// That it opened the program was told before, and may be all that is left of it.
			if (trace->fanotify >= 0)
				mn_trace_exec_read(trace);
			mn_trace_process_runs(
				trace, event->event_data.exec.process_tgid, (int64_t)event->timestamp_ns);
			break;
		case PROC_EVENT_EXIT:
			on_exit_event(trace, event);
			break;
		default:
			break;
		}
	}
	if (lost) {
		mn_trace_lost(trace, "proc", 1);
		mn_trace_process_sweep(trace);
	}
}
