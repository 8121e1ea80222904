// SPDX-License-Identifier: Apache-2.0
// fanotify(7): who is about to run a program of the directories of plugins.
#define _GNU_SOURCE
#include "trace_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

int mn_trace_exec_open(int *fd, const char *const *directories, struct mn_error *err)
{
	const char *last = NULL;
	int marked = 0, errnum = ENOENT;

	*fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return mn_fail(err, errno, NULL, NULL, errno == EPERM ? "CAP_SYS_ADMIN is needed" : NULL);
	for (size_t i = 0; directories[i]; i++) {
		last = directories[i];
		if (fanotify_mark(*fd, FAN_MARK_ADD, FAN_OPEN_EXEC | FAN_EVENT_ON_CHILD, AT_FDCWD,
			    directories[i]) == 0)
			marked++;
		else
			errnum = errno;
	}
	if (marked > 0)
		return 0;
	close(*fd);
	*fd = -1;
	return mn_fail(err, errnum, NULL, NULL, "no directory of plugins can be watched%s%s",
		last ? ": " : "", last ? last : "");
}

void mn_trace_exec_read(struct mn_trace *trace)
{
	struct fanotify_event_metadata events[32];
	ssize_t got;

	while ((got = read(trace->fanotify, events, sizeof(events))) > 0) {
		const struct fanotify_event_metadata *event = events;
		int64_t time = mn_trace_now();

		for (; FAN_EVENT_OK(event, got); event = FAN_EVENT_NEXT(event, got)) {
			if (event->mask & FAN_Q_OVERFLOW)
				mn_trace_lost(trace, "fanotify", 1);
			else if (event->pid > 0) // of this process namespace
				mn_trace_process_opens(trace, event->pid, event->fd, time);
			if (event->fd >= 0)
				close(event->fd);
		}
	}
}
