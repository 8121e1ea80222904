// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void copy(char *to, size_t size, const char *from)
{
	size_t len = from ? strnlen(from, size - 1) : 0;

	memcpy(to, from ? from : "", len);
	to[len] = '\0';
}

int mn_fail(struct mn_error *err, int errnum, const char *op, const char *object, const char *message, ...)
{
	if (err) {
		va_list args;

		memset(err, 0, sizeof(*err));
		err->errnum = errnum;
		copy(err->op, sizeof(err->op), op);
		copy(err->object, sizeof(err->object), object);
		if (message) {
			va_start(args, message);
			vsnprintf(err->message, sizeof(err->message), message, args);
			va_end(args);
		}
	}
	return -errnum;
}

const char *mn_errno_name(int errnum)
{
	const char *name = strerrorname_np(errnum);

	return name ? name : "E?";
}

int mn_error_format(const struct mn_error *err, char *buf, size_t size)
{
	return snprintf(buf, size, "%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s", err->op,
		*err->op && *err->object ? " " : "", err->object, *err->netns ? " (netns " : "", err->netns,
		*err->netns ? ")" : "", *err->op || *err->object || *err->netns ? ": " : "",
		err->errnum ? mn_errno_name(err->errnum) : "", err->errnum ? " " : "",
		err->errnum ? strerror(err->errnum) : "", err->errnum && *err->message ? ": " : "",
		err->message, *err->extack ? ": \"" : "", err->extack, *err->extack ? "\"" : "",
		*err->attribute ? " at " : "", err->attribute, "", "");
}
