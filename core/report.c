// SPDX-License-Identifier: Apache-2.0
// An error as a JSON document, for a program that has to print it.
#define _GNU_SOURCE
#include "error.h"
#include "state.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Returns the length of the UTF-8 character at text, 0 when there is none.
static size_t character(const unsigned char *text)
{
	size_t length = *text < 0x80		? 1
		: *text >= 0xc2 && *text < 0xe0 ? 2
		: *text >= 0xe0 && *text < 0xf0 ? 3
		: *text >= 0xf0 && *text < 0xf5 ? 4
						: 0;

	for (size_t i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xed && text[1] > 0x9f) ||
		(*text == 0xf0 && text[1] < 0x90) || (*text == 0xf4 && text[1] > 0x8f))
		return 0;
	return length;
}

// Adds a string unless it is empty; a byte that is not UTF-8 (a message was cut, a file name is odd) becomes
// "?".
static bool add_string(cJSON *object, const char *key, const char *value)
{
	unsigned char *copy;
	bool added;

	if (!value || !*value)
		return true;
	copy = (unsigned char *)strdup(value);
	if (!copy)
		return false;
	for (unsigned char *at = copy; *at;) {
		size_t length = character(at);

		if (length == 0)
			*at = '?';
		at += length ? length : 1;
	}
	added = cJSON_AddStringToObject(object, key, (char *)copy) != NULL;
	free(copy);
	return added;
}

static bool add_number(cJSON *object, const char *key, int value)
{
	return value == 0 || cJSON_AddNumberToObject(object, key, value) != NULL;
}

// Adds the text that a person needs to find the place: the kernel's words, the Lua line, the call stack.
static bool add_details(cJSON *object, const struct mn_report *report, const struct mn_error *err)
{
	char *text = NULL;
	char line[300] = "";
	bool added;

	if (report->line)
		snprintf(line, sizeof(line), "at %.255s:%d\n", report->file, report->line);
	if (asprintf(&text, "%s%s%s%s%s%s%s", report->details ? report->details : "",
		    report->details ? "\n" : "", *err->extack ? "the kernel says: " : "", err->extack,
		    *err->extack ? "\n" : "", line,
		    report->traceback && !report->quiet ? report->traceback : "") < 0)
		return false;
	if (*text && text[strlen(text) - 1] == '\n')
		text[strlen(text) - 1] = '\0';
	added = add_string(object, "details", text);
	free(text);
	return added;
}

static bool add_all(cJSON *object, const struct mn_report *report, const struct mn_error *err)
{
	char line[2048];

	mn_error_format(err, line, sizeof(line));
	return add_number(object, "code", err->code) &&
		add_string(object, "msg", report->msg ? report->msg : line) &&
		add_details(object, report, err) && add_string(object, "op", err->op) &&
		add_string(object, "object", err->object) && add_string(object, "netns", err->netns) &&
		add_number(object, "errno", err->errnum) &&
		add_string(object, "name", err->errnum ? mn_errno_name(err->errnum) : NULL) &&
		add_string(object, "message", err->message) && add_string(object, "extack", err->extack) &&
		add_string(object, "attribute", err->attribute) && add_string(object, "file", report->file) &&
		add_number(object, "line", report->line) &&
		add_string(object, "traceback", report->traceback);
}

char *mn_error_json(const struct mn_state *state, const struct mn_error *err)
{
	static const struct mn_report none;
	cJSON *object = cJSON_CreateObject();
	char *text = NULL;

	if (object && add_all(object, state ? &state->report : &none, err))
		text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}
