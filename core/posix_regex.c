// SPDX-License-Identifier: Apache-2.0
#include "posix_regex.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#define PATTERN_MAX 1024 // bytes; what the library makes of a pattern may be many times as large

static int refused(const regex_t *compiled, int code, const char *pattern, struct mn_error *err)
{
	char why[128], object[160];

	regerror(code, compiled, why, sizeof(why));
	snprintf(object, sizeof(object), "pattern \"%.140s\"", pattern);
	return mn_fail(err, code == REG_ESPACE ? ENOMEM : EINVAL, "match", object, "%s", why);
}

int mn_regex_match(const char *pattern, const char *text, bool *matches, struct mn_error *err)
{
	regex_t compiled;
	int ret;

	if (strlen(pattern) > PATTERN_MAX)
		return mn_fail(err, EINVAL, "match", "pattern", "it has more than %d bytes", PATTERN_MAX);
	ret = regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB);
	if (ret)
		return refused(&compiled, ret, pattern, err);
	ret = regexec(&compiled, text, 0, NULL, 0);
	*matches = ret == 0;
	ret = ret == 0 || ret == REG_NOMATCH ? 0 : refused(&compiled, ret, pattern, err);
	regfree(&compiled);
	return ret;
}
