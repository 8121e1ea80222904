// SPDX-License-Identifier: Apache-2.0
// inject: runs a program and disturbs one system call, or one answer of the kernel's netlink, of it or of
// what it starts. Calls are counted as they are entered, of all threads and processes in one sequence, from
// 1, the first after the program was loaded. Exits as the program does (128 + n for signal n), once every
// process has ended.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
int main(void)
{
	fputs("inject: this machine's registers are not known to it: it runs on x86_64 only\n", stderr);
	return 2;
}
#else

#include <linux/ptrace.h> // struct ptrace_syscall_info

#define USAGE \
	"usage: inject [OPTION...] PROGRAM [ARGUMENT...]\n" \
	"  --at N           which system call, or with --reply which answer of netlink, from 1\n" \
	"  --kill WHOM      SIGKILL instead of the call: caller (the process that makes it), first (the program\n" \
	"                   itself, whatever it has started lives on) or tree (all)\n" \
	"  --fail ERRNO     the call is not made and fails with this (EIO, ...)\n" \
	"  --reply HOW      an answer is changed: lost, truncated, interrupted (a dump), or ERRNO (an error message);\n" \
	"                   no-buffers is a lost one with ENOBUFS\n" \
	"  --always         every one from --at on\n" \
	"  --list           every call and answer is listed in the report\n" \
	"  --stderr FILE    takes the program's standard error\n" \
	"  --report FILE    one line at the end: calls= answers= main= hit= call= by= ready= status=\n"

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define ANSWER_MAX 65536
#define PROCESSES 256

static const char *const names[] = {
#include "syscalls.h"
};

enum whom { NOBODY, CALLER, FIRST, TREE };

static struct {
	long at;
	enum whom kill;
	int errnum; // of --fail, or of --reply ERRNO
	const char *reply, *errors;
	bool always, list;
	FILE *report;
} options;

// A thread of the program or of what it started.
struct thread {
	pid_t tid, pid;
	int number; // of its process: 1 is the program
	bool known; // its attributes were taken from its parent
	bool ready; // its main() has begun: mncni's first act there is umask()
	long call;
	uint64_t args[6];
	bool answered; // the call is not made, its result is this
	long result;
	uint64_t end_of_heap;
};

static struct thread threads[PROCESSES];
static pid_t first;
static int processes, status = -1;
static bool counting, silent;
static long calls, answers, main_at;

// What was disturbed.
static struct {
	bool done;
	long call;
	int by;
	bool ready, answer_is_dump;
} hit;

static void die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(2);
}

static const char *name_of(long call)
{
	return call >= 0 && call < (long)(sizeof(names) / sizeof(names[0])) && names[call] ? names[call]
											   : "unknown";
}

static struct thread *find(pid_t tid)
{
	struct thread *unused = NULL;

	for (size_t i = 0; i < PROCESSES; i++) {
		if (threads[i].tid == tid)
			return &threads[i];
		if (!threads[i].tid && !unused)
			unused = &threads[i];
	}
	if (!unused) {
		fputs("inject: too many threads\n", stderr);
		exit(2);
	}
	*unused = (struct thread){ .tid = tid, .pid = tid };
	return unused;
}

static pid_t process_of(pid_t tid)
{
	char path[64], line[128];
	pid_t pid = tid;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "Tgid:", 5) == 0)
			pid = (pid_t)strtol(line + 5, NULL, 10);
	}
	if (file)
		(void)fclose(file);
	return pid;
}

// A new thread is as ready as what made it; a new process gets the next number.
static void adopt(const struct thread *parent, pid_t tid)
{
	struct thread *child = find(tid);

	child->pid = process_of(tid);
	child->known = true;
	child->ready = parent->ready;
	child->end_of_heap = parent->end_of_heap;
	child->number = child->pid == parent->pid ? parent->number : ++processes;
}

static bool copy_from(pid_t pid, uint64_t address, void *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

static bool copy_to(pid_t pid, uint64_t address, const void *from, size_t size)
{
	struct iovec local = { (void *)(uintptr_t)from, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_writev(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

// At its entry: the call is not made, and returns the result.
static void answer(struct thread *thread, long result)
{
	thread->answered = true;
	thread->result = result;
	// close() lets go of the descriptor whatever it returns.
	if (thread->call != SYS_close)
		ptrace(PTRACE_POKEUSER, thread->tid, offsetof(struct user_regs_struct, orig_rax), -1L);
}

// At its exit: the call returns the result.
static void set_result(const struct thread *thread, long result)
{
	ptrace(PTRACE_POKEUSER, thread->tid, offsetof(struct user_regs_struct, rax), result);
}

static void note_hit(const struct thread *thread)
{
	if (hit.done)
		return;
	hit.done = true;
	hit.call = thread->call;
	hit.by = thread->number;
	hit.ready = thread->ready;
}

// Calls that do not return, or always succeed by their manuals.
static bool cannot_fail(long call)
{
	static const long list[] = { SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_getpid, SYS_gettid,
		SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_umask, SYS_getpgrp,
		SYS_set_tid_address };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		if (call == list[i])
			return true;
	}
	return false;
}

static void kill_whom(const struct thread *caller)
{
	if (options.kill == CALLER)
		kill(caller->pid, SIGKILL);
	else if (options.kill == FIRST)
		kill(first, SIGKILL);
	for (size_t i = 0; options.kill == TREE && i < PROCESSES; i++) {
		if (threads[i].tid)
			kill(threads[i].pid, SIGKILL);
	}
}

static bool reached(long count)
{
	return options.at && (count == options.at || (options.always && count > options.at));
}

static void entered(struct thread *thread, const struct ptrace_syscall_info *info)
{
	thread->call = (long)info->entry.nr;
	memcpy(thread->args, info->entry.args, sizeof(thread->args));
	thread->answered = false;
	calls++;
	if (thread->call == SYS_umask && !thread->ready) {
		thread->ready = true;
		if (thread->pid == first)
			main_at = calls;
	}
	if (options.list)
		fprintf(options.report, "%ld %s by %d%s\n", calls, name_of(thread->call), thread->number,
			thread->ready ? "" : " before main");
	// Nobody waits the seconds that a lost answer costs.
	if (silent && (thread->call == SYS_poll || thread->call == SYS_ppoll)) {
		silent = false;
		answer(thread, 0);
		return;
	}
	if (options.reply || !reached(calls))
		return;
	if (options.kill) {
		note_hit(thread);
		kill_whom(thread);
	} else if (options.errnum && !cannot_fail(thread->call)) {
		note_hit(thread);
		// brk() tells a failure by the end of the heap as it was.
		answer(thread, thread->call == SYS_brk ? (long)thread->end_of_heap : -options.errnum);
	}
}

// Turns the first message of an answer into a refusal. Returns the new length.
static size_t refuse(char *data, int errnum)
{
	struct nlmsghdr header, *nlh = (struct nlmsghdr *)data;
	struct nlmsgerr body = { .error = -errnum };

	memcpy(&header, data, sizeof(header));
	body.msg = header;
	nlh->nlmsg_len = NLMSG_LENGTH(sizeof(body));
	nlh->nlmsg_type = NLMSG_ERROR;
	nlh->nlmsg_flags = NLM_F_CAPPED;
	memcpy(NLMSG_DATA(nlh), &body, sizeof(body));
	return NLMSG_LENGTH(sizeof(body));
}

static bool is_dump(const char *data, size_t size)
{
	return size >= sizeof(struct nlmsghdr) && ((const struct nlmsghdr *)data)->nlmsg_flags & NLM_F_MULTI;
}

static void mark_interrupted(char *data, size_t size)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)data;
	int left = (int)size;

	for (; NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left))
		nlh->nlmsg_flags |= NLM_F_DUMP_INTR;
}

// Where a call that received something from netlink has put it; false when it was another kind of socket.
static bool received(const struct thread *thread, struct msghdr *msg, struct iovec *into)
{
	struct sockaddr_nl from = { 0 };
	uint64_t name = thread->args[4];

	if (thread->call == SYS_recvmsg) {
		if (!copy_from(thread->pid, thread->args[1], msg, sizeof(*msg)) || msg->msg_iovlen < 1 ||
			!copy_from(thread->pid, (uint64_t)(uintptr_t)msg->msg_iov, into, sizeof(*into)))
			return false;
		name = (uint64_t)(uintptr_t)msg->msg_name;
	} else if (thread->call == SYS_recvfrom) {
		*into = (struct iovec){ (void *)(uintptr_t)thread->args[1], thread->args[2] };
	} else {
		return false;
	}
	return name && copy_from(thread->pid, name, &from, sizeof(from)) && from.nl_family == AF_NETLINK;
}

static void change_answer(
	struct thread *thread, struct msghdr *msg, const struct iovec *into, char *data, size_t size)
{
	uint64_t base = (uint64_t)(uintptr_t)into->iov_base;

	hit.answer_is_dump = is_dump(data, size);
	if (strcmp(options.reply, "lost") == 0) {
		silent = true;
		set_result(thread, -EAGAIN);
	} else if (strcmp(options.reply, "no-buffers") == 0) {
		set_result(thread, -ENOBUFS);
	} else if (strcmp(options.reply, "truncated") == 0) {
		msg->msg_flags |= MSG_TRUNC;
		if (thread->call == SYS_recvmsg)
			copy_to(thread->pid, thread->args[1] + offsetof(struct msghdr, msg_flags),
				&msg->msg_flags, sizeof(msg->msg_flags));
		set_result(thread, (long)size / 2);
	} else if (strcmp(options.reply, "interrupted") == 0) {
		if (!is_dump(data, size))
			return;
		mark_interrupted(data, size);
		copy_to(thread->pid, base, data, size);
	} else {
		size = refuse(data, options.errnum);
		copy_to(thread->pid, base, data, size);
		set_result(thread, (long)size);
	}
	note_hit(thread);
}

static void left(struct thread *thread, const struct ptrace_syscall_info *info)
{
	static char data[ANSWER_MAX];
	struct msghdr msg = { 0 };
	struct iovec into = { 0 };
	size_t size;

	if (thread->answered) {
		set_result(thread, thread->result);
		return;
	}
	if (thread->call == SYS_brk)
		thread->end_of_heap = (uint64_t)info->exit.rval;
	if (info->exit.is_error || info->exit.rval <= 0 || info->exit.rval > ANSWER_MAX ||
		!received(thread, &msg, &into))
		return;
	size = (size_t)info->exit.rval;
	if (!copy_from(thread->pid, (uint64_t)(uintptr_t)into.iov_base, data, size))
		return;
	answers++;
	if (options.list)
		fprintf(options.report, "answer %ld: %zu bytes%s\n", answers, size,
			is_dump(data, size) ? " of a dump" : "");
	if (options.reply && reached(answers))
		change_answer(thread, &msg, &into, data, size);
}

static void at_syscall(struct thread *thread)
{
	struct ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->tid, sizeof(info), &info) < 0)
		return; // killed meanwhile
	if (!counting)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		entered(thread, &info);
	else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
		left(thread, &info);
}

// Handles a stop; returns the signal that the thread is to get when it goes on.
static int stopped(struct thread *thread, int wait_status)
{
	int signum = WSTOPSIG(wait_status);
	unsigned long other = 0;

	switch (wait_status >> 16) {
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		if (ptrace(PTRACE_GETEVENTMSG, thread->tid, 0, &other) == 0)
			adopt(thread, (pid_t)other);
		return 0;
	case PTRACE_EVENT_EXEC:
		thread->ready = false;
		counting = true;
		return 0;
	default:
		break;
	}
	if (signum == SYSCALL_STOP) {
		at_syscall(thread);
		return 0;
	}
	// How a new thread shows itself.
	return signum == SIGSTOP ? 0 : signum;
}

static void start(char **argv)
{
	const long follow = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
		PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int wait_status;

	first = fork();
	if (first < 0)
		die("fork");
	if (first == 0) {
		if (options.errors && !freopen(options.errors, "w", stderr))
			_exit(126);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0)
			_exit(126);
		execv(argv[0], argv);
		_exit(127);
	}
	if (waitpid(first, &wait_status, 0) != first || !WIFSTOPPED(wait_status) ||
		ptrace(PTRACE_SETOPTIONS, first, 0, follow) < 0)
		die("ptrace");
	find(first)->known = true;
	find(first)->number = processes = 1;
	ptrace(PTRACE_SYSCALL, first, 0, 0);
}

static void run(void)
{
	for (;;) {
		int wait_status, signum;
		pid_t tid = waitpid(-1, &wait_status, __WALL);
		struct thread *thread;

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			return; // all have ended
		thread = find(tid);
		if (!WIFSTOPPED(wait_status)) {
			if (tid == first)
				status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
								  : WEXITSTATUS(wait_status);
			thread->tid = 0;
			continue;
		}
		signum = stopped(thread, wait_status);
		ptrace(PTRACE_SYSCALL, tid, 0, (long)signum);
	}
}

static int errno_of(const char *name)
{
	for (int i = 1; i < 200; i++) {
		const char *known = strerrorname_np(i);

		if (known && strcmp(known, name) == 0)
			return i;
	}
	return 0;
}

static bool parse_reply(const char *how)
{
	static const char *const known[] = { "lost", "truncated", "interrupted", "no-buffers" };

	options.reply = how;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(how, known[i]) == 0)
			return true;
	}
	options.errnum = errno_of(how);
	return options.errnum != 0;
}

static bool parse(int argc, char **argv)
{
	static const struct option known[] = { { "at", required_argument, NULL, 'a' },
		{ "kill", required_argument, NULL, 'k' }, { "fail", required_argument, NULL, 'f' },
		{ "reply", required_argument, NULL, 'r' }, { "always", no_argument, NULL, 'w' },
		{ "list", no_argument, NULL, 'l' }, { "report", required_argument, NULL, 'o' },
		{ "stderr", required_argument, NULL, 'e' }, { 0 } };
	bool good = true;
	int c;

	options.report = stderr;
	while ((c = getopt_long(argc, argv, "+", known, NULL)) >= 0) {
		switch (c) {
		case 'a':
			options.at = strtol(optarg, NULL, 10);
			good = good && options.at > 0;
			break;
		case 'k':
			options.kill = strcmp(optarg, "caller") == 0 ? CALLER
				: strcmp(optarg, "first") == 0	     ? FIRST
				: strcmp(optarg, "tree") == 0	     ? TREE
								     : NOBODY;
			good = good && options.kill != NOBODY;
			break;
		case 'f':
			options.errnum = errno_of(optarg);
			good = good && options.errnum != 0;
			break;
		case 'r':
			good = good && parse_reply(optarg);
			break;
		case 'w':
			options.always = true;
			break;
		case 'l':
			options.list = true;
			break;
		case 'e':
			options.errors = optarg;
			break;
		case 'o':
			options.report = fopen(optarg, "we");
			if (!options.report)
				die(optarg);
			break;
		default:
			return false;
		}
	}
	return good && optind < argc;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		fputs(USAGE, stderr);
		return 2;
	}
	// What outlives the program is waited for here.
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	start(argv + optind);
	run();
	fprintf(options.report,
		"calls=%ld answers=%ld main=%ld hit=%d call=%s by=%d ready=%d dump=%d status=%d\n", calls,
		answers, main_at, hit.done, hit.done ? name_of(hit.call) : "-", hit.by, hit.ready,
		hit.answer_is_dump, status);
	return fclose(options.report) == 0 && status >= 0 ? status : 2;
}
#endif
