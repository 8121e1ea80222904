// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "exec.h"

#include "cleanup.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define GRACE_MS 200	   // between SIGTERM and SIGKILL
#define LAST_MS 1000	   // after SIGKILL: a process in an uninterruptible wait is given up
#define FORWARD_MS 200	   // for a slow reader of our stderr, at the end
#define BUSY_MS 500	   // for a program that is just being written (ETXTBSY)
#define WITHOUT_PIDFD_MS 5 // between looks at the child where the kernel (before 5.3) has no pidfd

enum stage { RUNNING, ENDING, KILLED };

struct buffer {
	char *data;
	size_t size, room, max;
	bool overflow;
};

struct run {
	pid_t pid;
	int pidfd, out, err;
	bool exited;
	enum stage stage;
	int64_t until; // end of the stage in ms, or -1
	struct buffer output, errors;
	size_t forwarded;
	bool out_of_memory;
};

// The group that mn_exec_kill() ends.
static volatile sig_atomic_t running_group;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void mn_exec_kill(void)
{
	pid_t group = running_group;

	if (group > 0)
		kill(-group, SIGKILL);
}

// Moves a descriptor out of the range of stdin, stdout and stderr, which a caller may have closed.
static int above_stdio(int fd)
{
	int high;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	close(fd);
	return high;
}

// Puts the input into memory that the program reads as a file: nobody waits for a program that does not read
// it.
static int open_input(const char *input, size_t size)
{
	auto_close int fd = -1;
	int saved;

	if (!size)
		return above_stdio(mn_openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0));
	fd = above_stdio(memfd_create("stdin", MFD_CLOEXEC));
	while (fd >= 0 && size) {
		ssize_t put = write(fd, input, size);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			saved = errno;
			close(steal_fd(&fd));
			errno = saved;
			return -1;
		}
		input += put;
		size -= (size_t)put;
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return steal_fd(&fd);
}

static int open_pipe(int *ours, int *theirs)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ours = above_stdio(fds[0]);
	*theirs = above_stdio(fds[1]);
	if (*ours < 0 || *theirs < 0 || fcntl(*ours, F_SETFL, O_NONBLOCK) < 0)
		return -EMFILE;
	return 0;
}

static const char *why_not_started(const char *path, int errnum)
{
	struct stat st;

	switch (errnum) {
	case ENOENT:
		return access(path, F_OK) < 0 ? "no such program"
					      : "its interpreter (the #! line) or its loader is not there";
	case EACCES:
		if (!stat(path, &st) && S_ISDIR(st.st_mode))
			return "a directory, not a program";
		return access(path, X_OK) < 0 ? "not executable" : "may not be executed (mounted noexec?)";
	case ENOEXEC:
		return "neither a program of this machine nor a script that begins with #!";
	case ETXTBSY:
		return "somebody is still writing it";
	case E2BIG:
		return "its arguments and environment are too big";
	default:
		return "";
	}
}

static int not_started(const char *path, int errnum, struct mn_error *err)
{
	return mn_fail(err, errnum, "exec", path, "%s", why_not_started(path, errnum));
}

static int spawn(const struct mn_exec *what, const int stdio[3], pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int ret;

	sigfillset(&all);
	sigemptyset(&none);
	ret = posix_spawn_file_actions_init(&files);
	if (ret)
		return -ret;
	ret = posix_spawnattr_init(&attributes);
	if (ret) {
		posix_spawn_file_actions_destroy(&files);
		return -ret;
	}
	for (int fd = 0; fd < 3 && !ret; fd++)
		ret = posix_spawn_file_actions_adddup2(&files, stdio[fd], fd);
	if (!ret)
		ret = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	if (!ret)
		ret = posix_spawnattr_setflags(
			&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (!ret)
		ret = posix_spawnattr_setsigmask(&attributes, &none);
	if (!ret)
		ret = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!ret)
		ret = posix_spawnattr_setpgroup(&attributes, 0);
	if (!ret)
		ret = posix_spawn(pid, what->path, &files, &attributes, (char *const *)what->argv,
			(char *const *)what->env);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return -ret;
}

// Starts the program; no signal handler runs between its start and the moment mn_exec_kill() knows it.
static int start(const struct mn_exec *what, struct run *run, struct mn_error *err)
{
	auto_close int in = open_input(what->input, what->input_size);
	auto_close int out = -1;
	auto_close int errors = -1;
	int64_t patience = now_ms() + BUSY_MS;
	sigset_t all, before;
	int ret = in < 0 ? -errno : open_pipe(&run->out, &out);

	if (!ret)
		ret = open_pipe(&run->err, &errors);
	if (ret < 0)
		return mn_fail(err, -ret, "exec", what->path, "no descriptors for its input and output");
	sigfillset(&all);
	for (;;) {
		pthread_sigmask(SIG_BLOCK, &all, &before);
		ret = spawn(what, (int[]){ in, out, errors }, &run->pid);
		if (!ret)
			running_group = run->pid;
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (ret != -ETXTBSY || now_ms() >= patience)
			break;
		poll(NULL, 0, 10);
	}
	if (ret < 0)
		return not_started(what->path, -ret, err);
	run->pidfd = above_stdio(pidfd_open(run->pid, 0));
	return 0;
}

static bool make_room(struct buffer *buffer, size_t more)
{
	size_t room = buffer->room ? buffer->room : 4096;
	char *data;

	while (room < buffer->size + more + 1)
		room *= 2;
	if (room == buffer->room)
		return true;
	data = realloc(buffer->data, room);
	if (!data)
		return false;
	buffer->data = data;
	buffer->room = room;
	return true;
}

// Reads once into the buffer; what does not fit is dropped and noted. Returns the bytes taken from the pipe,
// 0 when there is nothing now, and closes the descriptor at its end.
static size_t take(struct run *run, int *fd, struct buffer *buffer)
{
	char chunk[16384];
	ssize_t got;
	size_t keep;

	if (*fd < 0)
		return 0;
	do
		got = read(*fd, chunk, sizeof(chunk));
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got <= 0) {
		close(steal_fd(fd));
		return 0;
	}
	keep = (size_t)got;
	if (keep > buffer->max - buffer->size) {
		keep = buffer->max - buffer->size;
		buffer->overflow = true;
	}
	if (!make_room(buffer, keep)) {
		run->out_of_memory = true;
		return (size_t)got;
	}
	memcpy(buffer->data + buffer->size, chunk, keep);
	buffer->size += keep;
	return (size_t)got;
}

// Takes what is in the pipe now, and no more: somebody may go on writing to it for ever.
static void drain(struct run *run, int *fd, struct buffer *buffer)
{
	int waiting = 0;

	if (*fd < 0 || ioctl(*fd, FIONREAD, &waiting) < 0)
		return;
	while (waiting > 0) {
		size_t got = take(run, fd, buffer);

		if (!got)
			return;
		waiting -= (int)(got < INT_MAX ? got : INT_MAX);
	}
}

// Writes one piece of the captured stderr to ours; SIGPIPE is blocked. A reader that is gone is no concern of
// ours.
static void forward(struct run *run)
{
	size_t size = run->errors.size - run->forwarded;
	ssize_t put =
		write(STDERR_FILENO, run->errors.data + run->forwarded, size < PIPE_BUF ? size : PIPE_BUF);

	if (put > 0)
		run->forwarded += (size_t)put;
	else if (put == 0 || (errno != EINTR && errno != EAGAIN))
		run->forwarded = SIZE_MAX;
}

static bool to_forward(const struct run *run)
{
	return run->forwarded < run->errors.size;
}

static void forward_rest(struct run *run)
{
	int64_t until = now_ms() + FORWARD_MS;
	int64_t left;

	while (to_forward(run) && (left = until - now_ms()) > 0) {
		struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };

		if (poll(&fd, 1, (int)left) > 0)
			forward(run);
	}
}

static void end_group(const struct run *run, int signal)
{
	// The leader is not reaped yet, so the number of the group is still ours.
	if (kill(-run->pid, signal) < 0 || signal == SIGKILL)
		kill(run->pid, signal);
}

static void enter_stage(struct run *run, enum stage stage)
{
	run->stage = stage;
	run->until = now_ms() + (stage == ENDING ? GRACE_MS : LAST_MS);
	end_group(run, stage == ENDING ? SIGTERM : SIGKILL);
}

static void wait_for_news(struct run *run)
{
	struct pollfd fds[] = {
		{ .fd = run->out, .events = POLLIN },
		{ .fd = run->err, .events = POLLIN },
		{ .fd = run->exited ? -1 : run->pidfd, .events = POLLIN },
		{ .fd = to_forward(run) ? STDERR_FILENO : -1, .events = POLLOUT },
	};
	int64_t wait = run->until < 0 ? INT_MAX : run->until - now_ms();
	siginfo_t info = { 0 };

	if (run->pidfd < 0 && wait > WITHOUT_PIDFD_MS)
		wait = WITHOUT_PIDFD_MS;
	if (poll(fds, 4, wait < 0 ? 0 : wait > INT_MAX ? INT_MAX : (int)wait) < 0)
		return;
	if (fds[0].revents)
		take(run, &run->out, &run->output);
	if (fds[1].revents)
		take(run, &run->err, &run->errors);
	if (fds[3].revents && to_forward(run))
		forward(run);
	if ((fds[2].revents || run->pidfd < 0) &&
		!waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == run->pid)
		run->exited = true;
}

// Follows the program until it has exited, or has been ended.
static void follow(struct run *run, struct mn_exec_result *result)
{
	for (;;) {
		wait_for_news(run);
		switch (run->stage) {
		case RUNNING:
			if (run->exited)
				return;
			result->timed_out = run->until >= 0 && now_ms() >= run->until;
			if (result->timed_out || run->output.overflow || run->out_of_memory)
				enter_stage(run, ENDING);
			break;
		case ENDING:
			// Others of the group may still be tidying up for as long as they hold its output.
			if (now_ms() < run->until && !(run->exited && run->out < 0 && run->err < 0))
				break;
			enter_stage(run, KILLED);
			if (run->exited)
				return;
			break;
		case KILLED:
			if (run->exited || now_ms() >= run->until)
				return;
		}
	}
}

static void reap(struct run *run, struct mn_exec_result *result)
{
	int status = 0;
	pid_t got;

	running_group = 0;
	do
		got = waitpid(run->pid, &status, run->exited ? 0 : WNOHANG);
	while (got < 0 && errno == EINTR);
	result->status = got == run->pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (got == run->pid && WIFSIGNALED(status))
		result->signal = WTERMSIG(status);
	else if (got != run->pid)
		result->signal = SIGKILL;
}

static bool hand_over(struct buffer *buffer, char **data, size_t *size)
{
	if (!make_room(buffer, 0))
		return false;
	buffer->data[buffer->size] = '\0';
	*data = buffer->data;
	*size = buffer->size;
	buffer->data = NULL;
	return true;
}

static int run_program(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err)
{
	struct run run = {
		.pidfd = -1,
		.out = -1,
		.err = -1,
		.until = what->timeout_ms > 0 ? now_ms() + what->timeout_ms : -1,
		.output.max = what->max_output,
		.errors.max = MN_EXEC_ERRORS,
	};
	int ret = start(what, &run, err);

	if (!ret) {
		follow(&run, result);
		drain(&run, &run.out, &run.output);
		drain(&run, &run.err, &run.errors);
		reap(&run, result);
		forward_rest(&run);
		result->overflow = run.output.overflow;
		if (run.out_of_memory || !hand_over(&run.output, &result->output, &result->output_size) ||
			!hand_over(&run.errors, &result->errors, &result->errors_size))
			ret = mn_fail(err, ENOMEM, "exec", what->path, "no memory for its output");
	}
	free(run.output.data);
	free(run.errors.data);
	mn_cleanup_close(&run.out);
	mn_cleanup_close(&run.err);
	mn_cleanup_close(&run.pidfd);
	return ret;
}

int mn_exec(const struct mn_exec *what, struct mn_exec_result *result, struct mn_error *err)
{
	struct sigaction child, reaping = { .sa_handler = SIG_DFL };
	bool ignoring, was_pending;
	sigset_t pipe, before, pending;
	int ret;

	memset(result, 0, sizeof(*result));
	result->status = -1;
	// A caller that ignores SIGCHLD (which survives exec) would never learn how the program ended.
	ignoring = !sigaction(SIGCHLD, NULL, &child) &&
		(child.sa_handler == SIG_IGN || (child.sa_flags & SA_NOCLDWAIT));
	if (ignoring)
		sigaction(SIGCHLD, &reaping, NULL);
	// Our stderr may be a pipe that nobody reads any more.
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);

	ret = run_program(what, result, err);

	sigpending(&pending);
	if (!was_pending && sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe, NULL, &(struct timespec){ 0 });
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ignoring)
		sigaction(SIGCHLD, &child, NULL);
	if (ret < 0)
		mn_exec_free(result);
	return ret;
}

void mn_exec_free(struct mn_exec_result *result)
{
	free(result->output);
	free(result->errors);
	result->output = NULL;
	result->errors = NULL;
}

int mn_exec_find(const char *name, const char *directories, char *path, size_t size, struct mn_error *err)
{
	int found = ENOENT;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, size, "%s", name) < size)
			return 0;
		return mn_fail(err, ENAMETOOLONG, "exec", "program", "its path is too long");
	}
	while (*name && directories && *directories) {
		size_t length = strcspn(directories, ":");
		struct stat st;

		if (length &&
			(size_t)snprintf(path, size, "%.*s/%s", (int)length, directories, name) < size &&
			!stat(path, &st) && S_ISREG(st.st_mode)) {
			if (!access(path, X_OK))
				return 0;
			found = EACCES;
		}
		directories += length + (directories[length] == ':');
	}
	return mn_fail(err, found, "exec", name, "%s",
		found == EACCES ? "not executable" : "no such program in PATH");
}
