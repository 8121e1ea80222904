// SPDX-License-Identifier: Apache-2.0
// The processes that are looked at: calls, what they start, and what may become a call.
#define _GNU_SOURCE
#include "cleanup.h"
#include "trace_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PENDING_NS INT64_C(1000000000) // by then a process that opened a program has run it, or never will
#define SCRIPT_NS \
	INT64_C(50000000) // by then a script has its interpreter, which is not the file that was opened
#define NO_STATUS (-1)

static struct mn_process **bucket(struct mn_trace *trace, pid_t pid)
{
	return &trace->processes[(unsigned int)pid % MN_TRACE_BUCKETS];
}

struct mn_process *mn_trace_process(struct mn_trace *trace, pid_t pid)
{
	struct mn_process *process = *bucket(trace, pid);

	while (process && process->pid != pid)
		process = process->next;
	return process;
}

struct mn_process *mn_trace_process_add(struct mn_trace *trace, pid_t pid)
{
	struct mn_process **first = bucket(trace, pid), *process = mn_trace_process(trace, pid);

	if (process)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->pid = pid;
	process->since = mn_trace_now();
	process->pidfd = -1;
	process->status = NO_STATUS;
	for (int i = 0; i < MN_TRACE_TAPS; i++)
		process->taps[i].fd = -1;
	process->next = *first;
	*first = process;
	return process;
}

void mn_trace_process_drop(struct mn_trace *trace, struct mn_process *process)
{
	struct mn_process **at = bucket(trace, process->pid);

	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	if (process->pending)
		trace->pending--;
	for (int i = 0; i < MN_TRACE_TAPS; i++)
		mn_tap_close(&process->taps[i]);
	if (process->pidfd >= 0)
		close(process->pidfd);
	free(process->program);
	free(process);
}

// Reads a file of /proc/PID into buffer, terminated. Returns its length or -errno.
static ssize_t read_file(pid_t pid, const char *name, char *buffer, size_t size)
{
	auto_close int fd = -1;
	char path[64];
	size_t have = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (have < size - 1 && (got = read(fd, buffer + have, size - 1 - have)) > 0)
		have += (size_t)got;
	buffer[have] = '\0';
	return (ssize_t)have;
}

// The fields of /proc/PID/stat from the state on, NULL when there is no such process.
static const char *read_stat(pid_t pid, char *buffer, size_t size)
{
	const char *name_end = read_file(pid, "stat", buffer, size) > 0 ? strrchr(buffer, ')') : NULL;

	return name_end && name_end[1] == ' ' ? name_end + 2 : NULL;
}

static bool is_gone(pid_t pid)
{
	char buffer[1024];
	const char *fields = read_stat(pid, buffer, sizeof(buffer));

	return !fields || *fields == 'Z';
}

static const char *variable(const char *environment, size_t size, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = environment; at < environment + size; at += strlen(at) + 1) {
		if (strncmp(at, name, len) == 0 && at[len] == '=')
			return at + len + 1;
	}
	return NULL;
}

// A list of KEY=VALUE strings.
struct fields {
	char *data;
	size_t size, cap;
};

static void add(struct fields *fields, const char *key, const char *value)
{
	size_t need = strlen(key) + strlen(value) + 2;

	if (fields->size + need > fields->cap) {
		size_t cap = 2 * (fields->size + need);
		char *data = realloc(fields->data, cap);

		if (!data)
			return;
		fields->data = data;
		fields->cap = cap;
	}
	fields->size += (size_t)snprintf(fields->data + fields->size, need, "%s=%s", key, value) + 1;
}

static void add_number(struct fields *fields, const char *key, int64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)number);
	add(fields, key, text);
}

// The name that the kernel has for a process, without its newline.
static void add_name(struct fields *fields, const char *key, pid_t pid)
{
	char name[64];

	if (read_file(pid, "comm", name, sizeof(name)) > 0) {
		name[strcspn(name, "\n")] = '\0';
		add(fields, key, name);
	}
}

// The number that a process has in the innermost of its process namespaces, of /proc/PID/status; 0 without
// one.
static pid_t innermost(const char *status)
{
	const char *line = strstr(status, "\nNSpid:");
	const char *at = line ? line + 7 : NULL;
	long number = 0;

	while (at && *at && *at != '\n') {
		char *end;

		number = strtol(at, &end, 10);
		at = end > at ? end : NULL;
	}
	return (pid_t)number;
}

// Who made the process, and its number.
static void add_status(struct fields *fields, pid_t pid)
{
	char status[4096];
	const char *at;

	if (read_file(pid, "status", status, sizeof(status)) < 0)
		return;
	at = strstr(status, "\nPPid:");
	if (at) {
		pid_t parent = (pid_t)strtol(at + 6, NULL, 10);

		add_number(fields, "parent", parent);
		if (parent > 0)
			add_name(fields, "caller", parent);
	}
	if (innermost(status) > 0)
		add_number(fields, "number", innermost(status));
}

// Whether the directory of a program is one of the list.
static bool is_in_path(const char *program, const char *path)
{
	const char *slash = strrchr(program, '/');
	size_t len = slash ? (size_t)(slash - program) : 0;

	while (len > 0 && *path) {
		size_t here = strcspn(path, ":"), trimmed = here;

		while (trimmed > 1 && path[trimmed - 1] == '/')
			trimmed--;
		if (trimmed == len && strncmp(path, program, len) == 0)
			return true;
		path += here + (path[here] == ':');
	}
	return false;
}

// Finds the plugin: the program, or the script that it was started for, in a directory of CNI_PATH. A process
// that a call has made inherits its environment and is none. Without a CNI_PATH whatever is started so is a
// call.
static bool find_plugin(
	const struct mn_process *process, pid_t pid, const char *path, char *plugin, size_t size)
{
	char link[64], words[4096];
	ssize_t len;
	const char *word = words;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	len = read_file(pid, "cmdline", words, sizeof(words));
	for (int i = 0; len > 0 && i < 3 && word < words + len; i++, word += strlen(word) + 1) {
		if (path && is_in_path(word, path)) {
			snprintf(plugin, size, "%s", word);
			return true;
		}
	}
	len = readlink(link, plugin, size - 1);
	plugin[len > 0 ? len : 0] = '\0';
	if (len <= 0 || (path && *path && !is_in_path(plugin, path)))
		return false;
	return (path && *path) || !process || !process->followed;
}

static bool is_at_home(const struct mn_trace *trace, pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return stat(path, &st) == 0 && st.st_ino == trace->home;
}

// The namespace that the call is about gets its number now, so that the kernel's notifications of it are
// heard.
static void add_netns(struct mn_trace *trace, struct fields *fields, pid_t pid, const char *path)
{
	auto_close int fd = path && *path == '/' ? mn_trace_netns_open(pid, path) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	add_number(fields, "inode", (int64_t)st.st_ino);
	add_number(fields, "nsid", mn_trace_nsid(trace, fd, st.st_ino));
}

static void tap(struct mn_trace *trace, struct mn_process *process)
{
	for (int i = 0; trace->taps && i < MN_TRACE_TAPS; i++) {
		struct mn_tap *one = &process->taps[i];

		if (one->fd >= 0)
			continue;
		mn_tap_open(one, process->pid, i);
		if (one->fd >= 0 && one->is_pipe)
			(void)mn_trace_watch(trace, one->fd, EVENT_TAP, process->pid, true);
	}
}

static void tell_call(struct mn_trace *trace, struct mn_process *process, int64_t time, const char *plugin,
	const char *environment, size_t size)
{
	struct fields fields = { 0 };

	add_status(&fields, process->pid); // first: it may end at any moment
	// Who has made it waits for it: what was told until now is of that one.
	if (process->followed)
		mn_trace_netlink_read(trace);
	add_netns(trace, &fields, process->pid, variable(environment, size, "CNI_NETNS"));
	add(&fields, "plugin", plugin);
	for (const char *at = environment; at < environment + size; at += strlen(at) + 1) {
		const char *equals = strchr(at, '=');
		char key[64];

		if (strncmp(at, "CNI_", 4) != 0 || !equals || (size_t)(equals - at) >= sizeof(key))
			continue;
		snprintf(key, sizeof(key), "%.*s", (int)(equals - at), at);
		add(&fields, key, equals + 1);
	}
	mn_trace_put(trace,
		&(struct mn_trace_record){ .type = MN_TRACE_CALL, .time = time, .pid = process->pid },
		fields.data, fields.size);
	free(fields.data);
}

// Tells of a process that has run a program of the watched ones and of which nothing else will be known.
static void tell_missed(struct mn_trace *trace, pid_t pid, const char *program)
{
	mn_trace_put(trace,
		&(struct mn_trace_record){ .type = MN_TRACE_MISSED, .time = mn_trace_now(), .pid = pid },
		program, strlen(program));
}

// over: it has ended, or should have run its program long ago.
static void not_pending(struct mn_trace *trace, struct mn_process *process, bool over)
{
	if (process->pending)
		trace->pending--;
	if (process->pending && over && !process->read && process->program)
		tell_missed(trace, process->pid, process->program);
	process->pending = false;
	free(process->program);
	process->program = NULL;
}

// It was about to run a program of the plugins' and is no call.
static void forget_pending(struct mn_trace *trace, struct mn_process *process)
{
	not_pending(trace, process, true);
	for (int i = 0; i < MN_TRACE_TAPS; i++)
		mn_tap_close(&process->taps[i]);
	if (!process->followed)
		mn_trace_process_drop(trace, process);
}

// Where there are no process events, its end is waited for.
static void watch_end(struct mn_trace *trace, struct mn_process *process)
{
	if (trace->proc >= 0 || process->pidfd >= 0)
		return;
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (process->pidfd < 0)
		mn_trace_process_ends(trace, process, NO_STATUS);
	else
		(void)mn_trace_watch(trace, process->pidfd, EVENT_PIDFD, process->pid, false);
}

// Whether the environment says that it is a call, of this node; if so, tells of it.
static bool is_call(struct mn_trace *trace, pid_t pid, int64_t time)
{
	char *environment = trace->environment;
	char plugin[4096];
	ssize_t size = read_file(pid, "environ", environment, sizeof(trace->environment));
	struct mn_process *process = mn_trace_process(trace, pid);
	const char *command = size > 0 ? variable(environment, (size_t)size, "CNI_COMMAND") : NULL;

	if (process && size > 0)
		process->read = true;
	if (!command || !*command)
		return false;
	if (!is_at_home(trace, pid) ||
		!find_plugin(process, pid, variable(environment, (size_t)size, "CNI_PATH"), plugin,
			sizeof(plugin))) {
		if (process && is_gone(pid)) // meanwhile: what was read says nothing
			process->read = false;
		return false;
	}
	process = mn_trace_process_add(trace, pid);
	if (!process)
		return true;
	tap(trace, process);
	not_pending(trace, process, false);
	process->call = true;
	tell_call(trace, process, time, plugin, environment, (size_t)size);
	watch_end(trace, process);
	return true;
}

void mn_trace_process_forked(struct mn_trace *trace, pid_t pid)
{
	struct mn_process *process = mn_trace_process_add(trace, pid);

	if (process)
		process->followed = true;
}

void mn_trace_process_runs(struct mn_trace *trace, pid_t pid, int64_t time)
{
	struct mn_process *process;

	if (is_call(trace, pid, time))
		return;
	process = mn_trace_process(trace, pid);
	if (process && process->pending && !process->call)
		forget_pending(trace, process);
}

int mn_trace_process_status(pid_t pid)
{
	char buffer[1024];
	const char *fields = read_stat(pid, buffer, sizeof(buffer));
	const char *last = fields && *fields == 'Z' ? strrchr(fields, ' ') : NULL;

	return last ? (int)strtol(last, NULL, 10) : NO_STATUS;
}

// Where there are no process events, a helper is known by who has made it, as long as that one lives.
static void follow(struct mn_trace *trace, struct mn_process *process)
{
	char buffer[1024], status[4096];
	const char *fields = read_stat(process->pid, buffer, sizeof(buffer));
	pid_t parent = fields ? (pid_t)strtol(fields + 2, NULL, 10) : 0;
	const struct mn_process *maker = parent > 0 ? mn_trace_process(trace, parent) : NULL;

	if (process->followed || !maker || !(maker->call || maker->followed))
		return;
	process->followed = true;
	mn_trace_put(trace,
		&(struct mn_trace_record){ .type = MN_TRACE_FORK,
			.time = process->since,
			.pid = process->pid,
			.other = parent,
			.nsid = read_file(process->pid, "status", status, sizeof(status)) > 0
				? innermost(status)
				: 0 },
		NULL, 0);
	watch_end(trace, process);
}

// What a descriptor is of.
static char *path_of(int fd)
{
	char link[64], path[4096];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path));
	return len > 0 ? strndup(path, (size_t)len) : NULL;
}

// It has opened a program, and is about to run it.
static void begin_pending(struct mn_trace *trace, struct mn_process *process, int64_t time)
{
	process->since = trace->opened = time;
	if (!process->pending)
		trace->pending++;
	process->pending = true;
	process->read = false;
	free(process->program);
	process->program = NULL;
}

// It had ended when the kernel's word of it was read. With process events it is told of in their order,
// behind who has made it.
static void was_gone(struct mn_trace *trace, pid_t pid, int fd, int64_t time)
{
	char *program = is_gone(pid) ? path_of(fd) : NULL;
	struct mn_process *process = program && trace->proc >= 0 ? mn_trace_process_add(trace, pid) : NULL;

	if (process && !process->call) {
		begin_pending(trace, process, time);
		process->program = program;
		return;
	}
	if (program && trace->proc < 0)
		tell_missed(trace, pid, program);
	free(program);
}

void mn_trace_process_opens(struct mn_trace *trace, pid_t pid, int fd, int64_t time)
{
	struct mn_process *process = is_at_home(trace, pid) ? mn_trace_process_add(trace, pid) : NULL;
	struct stat st;

	if (!process)
		was_gone(trace, pid, fd, time);
	if (!process || process->call)
		return;
	// Its own standard input waits for the program that it is about to run.
	tap(trace, process);
	begin_pending(trace, process, time);
	if (fstat(fd, &st) == 0) {
		process->dev = st.st_dev;
		process->ino = st.st_ino;
	}
	process->program = path_of(fd);
	if (trace->proc < 0)
		follow(trace, process);
}

// Whether it is still what its maker is: the same words.
static bool is_copy(pid_t pid)
{
	char buffer[1024], own[4096], other[4096];
	const char *fields = read_stat(pid, buffer, sizeof(buffer));
	pid_t parent = fields ? (pid_t)strtol(fields + 2, NULL, 10) : 0;
	ssize_t len = parent > 0 ? read_file(parent, "cmdline", other, sizeof(other)) : -1;

	return len > 0 && read_file(pid, "cmdline", own, sizeof(own)) == len &&
		memcmp(own, other, (size_t)len) == 0;
}

// Whether it runs what it has opened: until then it is a copy of who has made it. A script is run by another
// program than the one that was opened.
static bool has_begun(const struct mn_process *process, int64_t now)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
	if (stat(path, &st) == 0 && st.st_dev == process->dev && st.st_ino == process->ino)
		return true;
	return now - process->since > SCRIPT_NS && !is_copy(process->pid);
}

void mn_trace_process_poll(struct mn_trace *trace)
{
	int64_t now = mn_trace_now();

	for (size_t i = 0; trace->pending > 0 && i < MN_TRACE_BUCKETS; i++) {
		struct mn_process *process = trace->processes[i], *next;

		for (; process; process = next) {
			next = process->next;
			if (!process->pending)
				continue;
			if (trace->proc < 0 && has_begun(process, now) &&
				is_call(trace, process->pid, process->since))
				continue;
			if (process->read || now - process->since > PENDING_NS)
				forget_pending(trace, process);
		}
	}
}

void mn_trace_process_ends(struct mn_trace *trace, struct mn_process *process, int status)
{
	if (process->over)
		return;
	process->over = true;
	not_pending(trace, process, true);
	process->status = status;
	process->since = mn_trace_now();
	process->ended = trace->ended;
	trace->ended = process;
}

void mn_trace_process_sweep(struct mn_trace *trace)
{
	for (size_t i = 0; i < MN_TRACE_BUCKETS; i++) {
		for (struct mn_process *process = trace->processes[i]; process; process = process->next) {
			if (is_gone(process->pid))
				mn_trace_process_ends(trace, process, mn_trace_process_status(process->pid));
		}
	}
}

void mn_trace_process_tell_ended(struct mn_trace *trace)
{
	struct mn_process *ordered = NULL, *process;

	// First in, first told.
	while ((process = trace->ended)) {
		trace->ended = process->ended;
		process->ended = ordered;
		ordered = process;
	}
	while ((process = ordered)) {
		ordered = process->ended;
		for (int i = 0; process->call && i < MN_TRACE_TAPS; i++) {
			struct mn_tap *one = &process->taps[i];

			mn_tap_read(trace, one);
			if (one->fd >= 0)
				mn_trace_put(trace,
					&(struct mn_trace_record){ .type = MN_TRACE_OUTPUT,
						.time = process->since,
						.pid = process->pid,
						.other = i },
					one->data, one->size);
		}
		mn_trace_put(trace,
			&(struct mn_trace_record){ .type = MN_TRACE_EXIT,
				.time = process->since,
				.pid = process->pid,
				.other = process->status },
			NULL, 0);
		mn_trace_process_drop(trace, process);
	}
}
