// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "record_text.h"

#include "json.h"
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define NAME_BYTES 96 // of container, netns, ... when the whole does not fit
#define MESSAGE_BYTES 640
#define KEY_BYTES 64

// Copies at most limit bytes without cutting a character in two; what is not UTF-8 becomes "?".
static void clip(char *to, const char *from, size_t limit)
{
	size_t used = 0;

	while (*from) {
		size_t len = mn_utf8_sequence(from, 4); // the terminator ends it before
		size_t need = len ? len : 1;

		if (used + need > limit)
			break;
		memcpy(to + used, len ? from : "?", need);
		used += need;
		from += need;
	}
	to[used] = '\0';
}

// The line that is being written. What does not fit is left out, and makes it longer all the same.
struct line {
	char *text;
	size_t len;
};

static void put(struct line *line, const char *bytes, size_t len)
{
	if (line->len + len <= MN_RECORD_TEXT)
		memcpy(line->text + line->len, bytes, len);
	line->len += len;
}

static void put_quoted(struct line *line, const char *text)
{
	size_t len = strlen(text);
	char escape[MN_JSON_ESCAPE];

	put(line, "\"", 1);
	for (size_t at = 0; at < len; at++) {
		size_t plain = mn_json_plain_span(text + at, len - at);

		put(line, text + at, plain);
		at += plain;
		if ((unsigned char)text[at] >= 0x80)
			put(line, text + at, 1);
		else if (at < len)
			put(line, escape, mn_json_escape(escape, text[at]));
	}
	put(line, "\"", 1);
}

static void put_key(struct line *line, const char *key)
{
	put(line, line->len ? "," : "{", 1);
	put_quoted(line, key);
	put(line, ":", 1);
}

static void add_text(struct line *line, const char *key, const char *value, size_t limit)
{
	char text[MESSAGE_BYTES + 1];

	if (!value || !*value)
		return;
	clip(text, value, limit);
	put_key(line, key);
	put_quoted(line, text);
}

static void add_number(struct line *line, const char *key, int64_t value)
{
	char text[1 + MN_DIGITS_MAX];

	put_key(line, key);
	put(line, text, (size_t)(mn_put_integer(text, value) - text));
}

// The date of a day since 1970-01-01, in the Gregorian calendar. gmtime(3) would first read the machine's
// time zone from a file, on the path of every pod. Years begin in March here, so that a leap day ends one.
static void date_of(int64_t day, int *year, int *month, int *mday)
{
	int64_t since = day + 719468, era = since / 146097, doe = since % 146097; // from 0000-03-01
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), march = (5 * doy + 2) / 153;

	*mday = (int)(doy - (153 * march + 2) / 5 + 1);
	*month = (int)(march < 10 ? march + 3 : march - 9);
	*year = (int)(era * 400 + yoe + (*month <= 2));
}

static void add_time(struct line *line)
{
	static const char behind[] = "--T::.Z";
	struct timespec now;
	char text[64], *at = text;
	int parts[7], second;

	clock_gettime(CLOCK_REALTIME, &now);
	second = (int)(now.tv_sec % 86400);
	date_of(now.tv_sec / 86400, &parts[0], &parts[1], &parts[2]);
	parts[3] = second / 3600;
	parts[4] = second / 60 % 60;
	parts[5] = second % 60;
	parts[6] = (int)(now.tv_nsec / 1000);
	for (size_t i = 0; i < 7; i++) {
		at = mn_put_padded(at, (unsigned int)parts[i], i == 0 ? 4 : i == 6 ? 6 : 2);
		*at++ = behind[i];
	}
	*at = '\0';
	put_key(line, "time");
	put_quoted(line, text);
}

static void add_ignored(struct line *line, const char *const *ignored, size_t room)
{
	if (!ignored || !*ignored)
		return;
	put_key(line, "ignored");
	for (const char *next = "["; *ignored; ignored++, next = ",") {
		char text[KEY_BYTES + 1];
		size_t need;

		clip(text, *ignored, KEY_BYTES);
		need = strlen(text) + 4;
		put(line, next, 1);
		put_quoted(line, need > room ? "..." : text);
		if (need >= room)
			break;
		room -= need;
	}
	put(line, "]", 1);
}

static size_t print(char *text, const struct mn_record *record, unsigned int repeated, size_t name,
	size_t message, size_t keys)
{
	struct line line = { .text = text };

	add_number(&line, "format", MN_RECORD_FORMAT);
	add_time(&line);
	add_text(&line, "verb", record->verb, name);
	add_text(&line, "policy", record->policy, name);
	add_text(&line, "network", record->network, name);
	add_text(&line, "pod", record->pod, name);
	add_text(&line, "container", record->container, name);
	add_text(&line, "ifname", record->ifname, name);
	add_text(&line, "netns", record->netns, name);
	add_number(&line, "duration", record->duration_us);
	add_number(&line, "code", record->code);
	if (repeated)
		add_number(&line, "repeated", repeated);
	add_text(&line, "message", record->message, message);
	add_text(&line, "trace", record->trace, name);
	add_ignored(&line, record->ignored, keys);
	put(&line, "}", 1);
	return line.len;
}

int mn_record_format(const struct mn_record *record, unsigned int repeated, char json[MN_RECORD_TEXT + 1])
{
	static const struct {
		size_t name, message, keys;
	} tries[] = { { 256, 640, 256 }, { NAME_BYTES, 320, 128 }, { NAME_BYTES, 80, 32 }, { 24, 24, 8 },
		{ 8, 8, 0 } };

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		size_t len = print(json, record, repeated, tries[i].name, tries[i].message, tries[i].keys);

		if (len > MN_RECORD_TEXT)
			continue;
		json[len] = '\0';
		return 0;
	}
	return -EMSGSIZE;
}

static bool same_text(const cJSON *object, const char *key, const char *value)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
	char text[MESSAGE_BYTES + 1] = "";

	if (value)
		clip(text, value, MESSAGE_BYTES);
	// A text that was cut starts as the whole does.
	return cJSON_IsString(item) ? !strncmp(item->valuestring, text, strlen(item->valuestring)) : !*text;
}

unsigned int mn_record_same(const char *json, const struct mn_record *record)
{
	cJSON *object = cJSON_Parse(json);
	const cJSON *repeated = cJSON_GetObjectItemCaseSensitive(object, "repeated");
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(object, "code");
	unsigned int count = 0;

	if (object && cJSON_IsNumber(code) && code->valueint == record->code &&
		same_text(object, "verb", record->verb) && same_text(object, "policy", record->policy) &&
		same_text(object, "network", record->network) &&
		same_text(object, "message", record->message))
		count = cJSON_IsNumber(repeated) && repeated->valueint > 0
			? (unsigned int)repeated->valueint + 1
			: 1;
	cJSON_Delete(object);
	return count;
}
