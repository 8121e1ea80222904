// SPDX-License-Identifier: Apache-2.0
// The queue of records between the thread that reads and who asks for them.
#define _GNU_SOURCE
#include "trace_private.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX ((size_t)64 << 20) // bytes

struct mn_trace_record *mn_trace_record_make(
	const struct mn_trace_record *head, const void *data, size_t size)
{
	struct mn_trace_record *record = malloc(sizeof(*record) + size);

	if (!record)
		return NULL;
	*record = *head;
	record->next = NULL;
	record->size = size;
	if (size > 0)
		memcpy(record->data, data, size);
	return record;
}

// Takes the record over; NULL is one that there was no memory for.
static void append(struct mn_trace *trace, struct mn_trace_record *record)
{
	if (!record) {
		trace->dropped++;
		return;
	}
	*trace->last = record;
	trace->last = &record->next;
	trace->queued += sizeof(*record) + record->size;
}

void mn_trace_put_record(struct mn_trace *trace, struct mn_trace_record *record)
{
	static const char own[] = "trace";
	uint64_t one = 1;

	pthread_mutex_lock(&trace->lock);
	if (trace->queued > QUEUE_MAX) {
		trace->dropped++;
		free(record);
	} else {
		if (trace->dropped > 0)
			append(trace,
				mn_trace_record_make(&(struct mn_trace_record){ .type = MN_TRACE_LOST,
							     .time = mn_trace_now(),
							     .other = (int)trace->dropped },
					own, strlen(own)));
		trace->dropped = 0;
		append(trace, record);
	}
	pthread_mutex_unlock(&trace->lock);
	(void)!write(trace->wake, &one, sizeof(one));
}

void mn_trace_put(struct mn_trace *trace, const struct mn_trace_record *head, const void *data, size_t size)
{
	mn_trace_put_record(trace, mn_trace_record_make(head, data, size));
}

void mn_trace_lost(struct mn_trace *trace, const char *source, int count)
{
	mn_trace_put(trace,
		&(struct mn_trace_record){ .type = MN_TRACE_LOST, .time = mn_trace_now(), .other = count },
		source, strlen(source));
}

struct mn_trace_record *mn_trace_next(struct mn_trace *trace, int timeout)
{
	struct pollfd ready = { .fd = trace->wake, .events = POLLIN };
	struct mn_trace_record *record;
	uint64_t count;

	for (;;) {
		pthread_mutex_lock(&trace->lock);
		record = trace->first;
		if (record) {
			trace->first = record->next;
			if (!trace->first)
				trace->last = &trace->first;
			trace->queued -= sizeof(*record) + record->size;
		} else {
			(void)!read(trace->wake, &count, sizeof(count));
		}
		pthread_mutex_unlock(&trace->lock);
		if (record || poll(&ready, 1, timeout) == 0)
			return record;
	}
}

void mn_trace_record_free(struct mn_trace_record *first)
{
	while (first) {
		struct mn_trace_record *next = first->next;

		free(first);
		first = next;
	}
}
