// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "trace_private.h"

#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BUFFER (8 << 20)
#define SCRATCH_SIZE (1 << 20)
#define POLL_NS 100000L		   // how often a process that is about to become a call is looked at
#define SOON_NS INT64_C(100000000) // after that it is looked at less often
#define LATE_POLL_NS 2000000L
#define SLOW_POLL_NS 200000000L // where the kernel tells when it has
#define MAX_DATAGRAMS 256	// of one kind before the others are looked at
#define MAX_ROUNDS 64		// of looks at all, while something comes
#define NICE (-15)		// of the thread that reads

int64_t mn_trace_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int mn_trace_watch(struct mn_trace *trace, int fd, enum mn_trace_event event, pid_t pid, bool edge)
{
	struct epoll_event what = { .events = EPOLLIN | (edge ? EPOLLET : 0U),
		.data.u64 = (uint64_t)event << 32 | (uint32_t)pid };

	return epoll_ctl(trace->epoll, EPOLL_CTL_ADD, fd, &what) < 0 ? -errno : 0;
}

// Keeps what a netlink socket has until it is handed on; returns how many datagrams there were.
static int hear(struct mn_trace *trace, struct mn_nl *nl)
{
	int count = 0;

	while (nl->socket && count < MAX_DATAGRAMS) {
		struct mn_trace_record *record;
		struct mn_error err;
		int nsid;
		ssize_t got = mn_nl_event(nl, &trace->in, 0, &nsid, &err);

		if (got == -ENOBUFS)
			mn_trace_lost(trace, nl->protocol == NETLINK_ROUTE ? "route" : "nft", 1);
		else if (got <= 0)
			break;
		count++;
		if (got < 0)
			continue;
		record = mn_trace_record_make(&(struct mn_trace_record){ .type = MN_TRACE_MESSAGE,
						      .time = mn_trace_now(),
						      .other = nl->protocol,
						      .nsid = nsid },
			trace->in.data, (size_t)got);
		if (!record) {
			mn_trace_lost(trace, nl->protocol == NETLINK_ROUTE ? "route" : "nft", 1);
			continue;
		}
		*trace->heard_last = record;
		trace->heard_last = &record->next;
	}
	return count;
}

// Hands on what was heard, once who has sent it is known from the events of its process, which are older;
// what these tell of a call may have it handed on before that is told of.
static int hear_and_hand_on(struct mn_trace *trace, bool processes)
{
	int count = hear(trace, &trace->nl[0]) + hear(trace, &trace->nl[1]);

	if (trace->fanotify >= 0)
		mn_trace_exec_read(trace);
	if (processes && trace->proc >= 0)
		mn_trace_proc_read(trace);
	else if (processes && count > 0)
		mn_trace_process_poll(trace); // who has sent something runs what it has opened
	while (trace->heard) {
		struct mn_trace_record *record = trace->heard;

		trace->heard = record->next;
		if (!trace->heard)
			trace->heard_last = &trace->heard;
		record->next = NULL;
		mn_trace_put_record(trace, record);
	}
	return count;
}

// Whatever the kernel has told before a process ended belongs before its end.
void mn_trace_netlink_read(struct mn_trace *trace)
{
	int rounds = MAX_ROUNDS;

	while (hear_and_hand_on(trace, false) > 0 && trace->ended && rounds-- > 0)
		;
}

static void read_changes(struct mn_trace *trace)
{
	int rounds = MAX_ROUNDS;

	while (hear_and_hand_on(trace, true) > 0 && rounds-- > 0)
		;
	mn_trace_netlink_read(trace); // of those that have ended meanwhile
}

static void read_report(struct mn_trace *trace)
{
	union {
		char space[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = trace->said, .iov_len = sizeof(trace->said) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got;

	while ((got = recvmsg(trace->report, &msg, MSG_DONTWAIT)) >= 0) {
		struct mn_trace_record head = { .type = MN_TRACE_REPORT, .time = mn_trace_now() };

		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
				head.pid = ((const struct ucred *)(const void *)CMSG_DATA(c))->pid;
		}
		read_changes(trace); // it speaks of changes that the kernel has told of before
		mn_trace_put(trace, &head, trace->said, (size_t)got);
		msg.msg_controllen = sizeof(control);
	}
}

static void read_packets(struct mn_trace *trace)
{
	for (int i = 0; i < MAX_DATAGRAMS; i++) {
		struct sockaddr_ll from = { 0 };
		socklen_t len = sizeof(from);
		ssize_t got = recvfrom(trace->packet, trace->buffer, sizeof(trace->buffer), MSG_DONTWAIT,
			(struct sockaddr *)&from, &len);

		if (got < 0)
			return;
		mn_trace_put(trace,
			&(struct mn_trace_record){ .type = MN_TRACE_PACKET,
				.time = mn_trace_now(),
				.other = ntohs(from.sll_protocol),
				.nsid = from.sll_pkttype },
			trace->buffer, (size_t)got);
	}
}

static void set_timer(struct mn_trace *trace)
{
	struct itimerspec every = { 0 };
	struct itimerspec now;
	bool soon = mn_trace_now() - trace->opened < SOON_NS;
	long wanted = trace->pending == 0 ? 0
		: trace->proc >= 0	  ? SLOW_POLL_NS
		: soon			  ? POLL_NS
					  : LATE_POLL_NS;

	if (timerfd_gettime(trace->timer, &now) == 0 && now.it_interval.tv_nsec == wanted)
		return;
	every.it_interval.tv_nsec = every.it_value.tv_nsec = wanted;
	(void)timerfd_settime(trace->timer, 0, &every, NULL);
}

static void read_taps(struct mn_trace *trace, pid_t pid)
{
	struct mn_process *process = mn_trace_process(trace, pid);

	for (int i = 0; process && i < MN_TRACE_TAPS; i++)
		mn_tap_read(trace, &process->taps[i]);
}

static void on_pidfd(struct mn_trace *trace, pid_t pid)
{
	struct mn_process *process = mn_trace_process(trace, pid);

	if (process)
		mn_trace_process_ends(trace, process, mn_trace_process_status(pid));
}

static bool serve(struct mn_trace *trace, const struct epoll_event *event)
{
	pid_t pid = (pid_t)(uint32_t)event->data.u64;
	struct signalfd_siginfo info;
	uint64_t count;

	switch ((enum mn_trace_event)(event->data.u64 >> 32)) {
	case EVENT_STOP:
		return false;
	case EVENT_SIGNAL:
		while (read(trace->signals, &info, sizeof(info)) > 0)
			mn_trace_put(trace,
				&(struct mn_trace_record){ .type = MN_TRACE_STOP, .time = mn_trace_now() },
				NULL, 0);
		break;
	case EVENT_TIMER:
		(void)!read(trace->timer, &count, sizeof(count));
		mn_trace_process_poll(trace);
		break;
	case EVENT_REPORT:
		read_report(trace);
		break;
	case EVENT_PACKET:
		read_packets(trace);
		break;
	case EVENT_PIDFD:
		on_pidfd(trace, pid);
		break;
	case EVENT_PROC:
	case EVENT_FANOTIFY:
	case EVENT_NETLINK:
	case EVENT_TAP:
		break; // looked at in their order
	}
	return true;
}

// Processes that begin come before what they do, and that before their end.
static void *run(void *data)
{
	struct mn_trace *trace = data;
	struct epoll_event events[64];
	bool going = true;

	// What it is to see is gone within a millisecond. A real-time class would hold up the calls
	// themselves.
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	while (going) {
		int n = epoll_wait(trace->epoll, events, 64, -1);

		if (trace->fanotify >= 0)
			mn_trace_exec_read(trace);
		for (int i = 0; i < n; i++) {
			if (events[i].data.u64 >> 32 == EVENT_TAP)
				read_taps(trace, (pid_t)(uint32_t)events[i].data.u64);
		}
		if (trace->proc >= 0)
			mn_trace_proc_read(trace);
		for (int i = 0; i < n; i++)
			going = serve(trace, &events[i]) && going;
		read_changes(trace);
		if (trace->ended && trace->report >= 0)
			read_report(trace);
		mn_trace_process_tell_ended(trace);
		set_timer(trace);
	}
	return NULL;
}

static int open_route(struct mn_trace *trace, int netns, struct mn_error *err)
{
	static const unsigned int groups[] = { RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_NSID, RTNLGRP_TC };
	int ret = mn_nl_open(&trace->ask, NETLINK_ROUTE, netns, err);

	if (ret == 0)
		ret = mn_nl_listen(&trace->nl[0], NETLINK_ROUTE, netns, true, err);
	for (size_t i = 0; ret == 0 && i < sizeof(groups) / sizeof(*groups); i++)
		ret = mn_nl_join(&trace->nl[0], groups[i], err);
	return ret == 0 ? mn_trace_watch(trace, mn_nl_fd(&trace->nl[0]), EVENT_NETLINK, 0, false) : ret;
}

static int open_nft(struct mn_trace *trace, int netns, struct mn_error *err)
{
	int ret = mn_nl_listen(&trace->nl[1], NETLINK_NETFILTER, netns, true, err);

	if (ret == 0)
		ret = mn_nl_join(&trace->nl[1], NFNLGRP_NFTABLES, err);
	return ret == 0 ? mn_trace_watch(trace, mn_nl_fd(&trace->nl[1]), EVENT_NETLINK, 0, false) : ret;
}

// Whether nobody listens at the path any more.
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return refused;
}

// The state directory, as the plugin would make it.
static void make_directory(const char *path)
{
	char *directory = strndup(path, (size_t)(strrchr(path, '/') - path));

	if (directory)
		(void)mkdir(directory, 0700);
	free(directory);
}

static int open_report(struct mn_trace *trace, const char *path, struct mn_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int on = 1, size = RECEIVE_BUFFER;

	if (!path || !strchr(path, '/') || strlen(path) >= sizeof(address.sun_path))
		return mn_fail(err, ENAMETOOLONG, NULL, NULL, "the state directory has too long a name");
	memcpy(address.sun_path, path, strlen(path) + 1);
	trace->report = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (trace->report < 0)
		return mn_fail(err, errno, NULL, NULL, NULL);
	(void)setsockopt(trace->report, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)setsockopt(trace->report, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	make_directory(path);
	if (is_stale(&address))
		(void)unlink(path);
	if (bind(trace->report, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int errnum = errno;

		close(trace->report);
		trace->report = -1;
		return mn_fail(err, errnum, NULL, NULL, "%s",
			errnum == EADDRINUSE	   ? "another trace hears the plugin's reports"
				: errnum == ENOENT ? "there is no place for the state directory"
						   : path);
	}
	(void)chmod(path, 0600);
	return mn_trace_watch(trace, trace->report, EVENT_REPORT, 0, false);
}

static int open_nlmon(struct mn_trace *trace, int index, struct mn_error *err)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index
	};
	int size = RECEIVE_BUFFER;

	trace->packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (trace->packet < 0 || bind(trace->packet, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return mn_fail(err, errno, NULL, NULL, "the device cannot be listened at");
	(void)setsockopt(trace->packet, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return mn_trace_watch(trace, trace->packet, EVENT_PACKET, 0, false);
}

// Opens what is wanted; what cannot be had is told and left out.
static void open_sources(struct mn_trace *trace, const struct mn_trace_options *options, int netns,
	struct mn_error missing[MN_TRACE_SOURCES])
{
	const bool *wanted = options->wanted;

	trace->taps = wanted[MN_TRACE_PIPES];
	if (wanted[MN_TRACE_PROC] && mn_trace_proc_open(&trace->proc, &missing[MN_TRACE_PROC]) == 0)
		(void)mn_trace_watch(trace, trace->proc, EVENT_PROC, 0, false);
	if (wanted[MN_TRACE_FANOTIFY] &&
		mn_trace_exec_open(&trace->fanotify, options->directories, &missing[MN_TRACE_FANOTIFY]) == 0)
		(void)mn_trace_watch(trace, trace->fanotify, EVENT_FANOTIFY, 0, false);
	if (wanted[MN_TRACE_ROUTE] && open_route(trace, netns, &missing[MN_TRACE_ROUTE]) < 0)
		mn_nl_close(&trace->nl[0]);
	if (wanted[MN_TRACE_NFT] && open_nft(trace, netns, &missing[MN_TRACE_NFT]) < 0)
		mn_nl_close(&trace->nl[1]);
	if (wanted[MN_TRACE_REPORTS])
		(void)open_report(trace, options->report, &missing[MN_TRACE_REPORTS]);
	if (wanted[MN_TRACE_NLMON])
		(void)open_nlmon(trace, options->nlmon, &missing[MN_TRACE_NLMON]);
}

static int open_own(struct mn_trace *trace, struct mn_error *err)
{
	sigset_t signals;

	trace->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	trace->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	trace->epoll = epoll_create1(EPOLL_CLOEXEC);
	trace->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	// Only read: they stay blocked for the process until the trace has ended.
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	trace->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (trace->wake < 0 || trace->stop < 0 || trace->epoll < 0 || trace->timer < 0 ||
		trace->signals < 0 || pipe2(trace->scratch, O_CLOEXEC | O_NONBLOCK) < 0 ||
		mn_trace_watch(trace, trace->stop, EVENT_STOP, 0, false) < 0 ||
		mn_trace_watch(trace, trace->signals, EVENT_SIGNAL, 0, false) < 0 ||
		mn_trace_watch(trace, trace->timer, EVENT_TIMER, 0, false) < 0)
		return mn_fail(err, errno, "start", "trace", NULL);
	(void)fcntl(trace->scratch[1], F_SETPIPE_SZ, SCRATCH_SIZE);
	return 0;
}

static int start_thread(struct mn_trace *trace, struct mn_error *err)
{
	sigset_t all, before;
	int errnum;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	errnum = pthread_create(&trace->thread, NULL, run, trace);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (errnum)
		return mn_fail(err, errnum, "start", "trace", NULL);
	trace->running = true;
	return 0;
}

int mn_trace_start(struct mn_trace **result, const struct mn_trace_options *options,
	struct mn_error missing[MN_TRACE_SOURCES], struct mn_error *err)
{
	struct mn_trace *trace = calloc(1, sizeof(*trace));
	int netns = -1, ret;
	struct stat st;

	*result = NULL;
	if (!trace)
		return mn_fail(err, ENOMEM, "start", "trace", NULL);
	pthread_mutex_init(&trace->lock, NULL);
	trace->last = &trace->first;
	trace->heard_last = &trace->heard;
	trace->wake = trace->stop = trace->epoll = trace->signals = trace->proc = trace->fanotify = -1;
	trace->timer = trace->report = trace->packet = trace->scratch[0] = trace->scratch[1] = -1;
	ret = open_own(trace, err);
	if (ret == 0)
		ret = mn_netns_open(options->netns, &netns, err);
	if (ret == 0) {
		if (fstat(netns, &st) == 0)
			trace->home = st.st_ino;
		open_sources(trace, options, netns, missing);
		close(netns);
		ret = start_thread(trace, err);
	}
	if (ret < 0) {
		mn_trace_stop(trace);
		return ret;
	}
	*result = trace;
	return 0;
}

// Nobody is to send to a socket that nobody reads.
static void remove_report(const struct mn_trace *trace)
{
	struct sockaddr_un address = { 0 };
	socklen_t len = sizeof(address);

	if (trace->report >= 0 && getsockname(trace->report, (struct sockaddr *)&address, &len) == 0)
		(void)unlink(address.sun_path);
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

void mn_trace_stop(struct mn_trace *trace)
{
	uint64_t one = 1;
	sigset_t signals;

	if (trace->running) {
		(void)!write(trace->stop, &one, sizeof(one));
		(void)pthread_join(trace->thread, NULL);
	}
	for (size_t i = 0; i < MN_TRACE_BUCKETS; i++) {
		while (trace->processes[i])
			mn_trace_process_drop(trace, trace->processes[i]);
	}
	mn_trace_record_free(trace->first);
	mn_trace_record_free(trace->heard);
	remove_report(trace);
	mn_nl_close(&trace->nl[0]);
	mn_nl_close(&trace->nl[1]);
	mn_nl_close(&trace->ask);
	mn_buffer_free(&trace->in);
	close_all((const int[]){ trace->wake, trace->stop, trace->epoll, trace->signals, trace->proc,
			  trace->fanotify, trace->timer, trace->report, trace->packet, trace->scratch[0],
			  trace->scratch[1] },
		11);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	pthread_mutex_destroy(&trace->lock);
	free(trace);
}
