// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "record_text.h"

#include "cleanup.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_BYTES 96 // of container, netns, ... when the whole does not fit
#define MESSAGE_BYTES 640
#define KEY_BYTES 64

// Returns how many bytes the UTF-8 sequence at text has, 0 when it is none.
static size_t sequence(const unsigned char *text)
{
	static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = *text < 0x80 ? 1 : *text >> 5 == 6 ? 2 : *text >> 4 == 14 ? 3 : *text >> 3 == 30 ? 4 : 0;
	unsigned int point;

	if (len < 2)
		return len;
	point = *text & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3fU);
	}
	return point >= least[len] && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) ? len : 0;
}

// Copies at most limit bytes without cutting a character in two; what is not UTF-8 becomes "?".
static void clip(char *to, const char *from, size_t limit)
{
	const unsigned char *at = (const unsigned char *)from;
	size_t used = 0;

	while (*at) {
		size_t len = sequence(at);
		size_t need = len ? len : 1;

		if (used + need > limit)
			break;
		if (len)
			memcpy(to + used, at, len);
		else
			to[used] = '?';
		used += need;
		at += need;
	}
	to[used] = '\0';
}

static bool add_text(cJSON *object, const char *key, const char *value, size_t limit)
{
	char text[MESSAGE_BYTES + 1];

	if (!value || !*value)
		return true;
	clip(text, value, limit);
	return cJSON_AddStringToObject(object, key, text);
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

static bool add_time(cJSON *object)
{
	struct timespec now;
	int year, month, mday, second;
	char text[64];

	clock_gettime(CLOCK_REALTIME, &now);
	date_of(now.tv_sec / 86400, &year, &month, &mday);
	second = (int)(now.tv_sec % 86400);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", year, month, mday, second / 3600,
		second / 60 % 60, second % 60, (int)(now.tv_nsec / 1000));
	return cJSON_AddStringToObject(object, "time", text);
}

static bool add_ignored(cJSON *object, const char *const *ignored, size_t room)
{
	char text[KEY_BYTES + 1];
	cJSON *list;

	if (!ignored || !*ignored)
		return true;
	list = cJSON_AddArrayToObject(object, "ignored");
	for (; list && *ignored; ignored++) {
		cJSON *item;

		clip(text, *ignored, KEY_BYTES);
		if (strlen(text) + 4 > room) {
			snprintf(text, sizeof(text), "...");
			room = 0;
		} else {
			room -= strlen(text) + 4;
		}
		item = cJSON_CreateString(text);
		if (!item || !cJSON_AddItemToArray(list, item)) {
			cJSON_Delete(item);
			return false;
		}
		if (!room)
			break;
	}
	return list;
}

static char *print(
	const struct mn_record *record, unsigned int repeated, size_t name, size_t message, size_t keys)
{
	cJSON *object = cJSON_CreateObject();
	char *text = NULL;

	if (object && cJSON_AddNumberToObject(object, "format", MN_RECORD_FORMAT) && add_time(object) &&
		add_text(object, "verb", record->verb, name) &&
		add_text(object, "policy", record->policy, name) &&
		add_text(object, "network", record->network, name) &&
		add_text(object, "pod", record->pod, name) &&
		add_text(object, "container", record->container, name) &&
		add_text(object, "ifname", record->ifname, name) &&
		add_text(object, "netns", record->netns, name) &&
		cJSON_AddNumberToObject(object, "duration", (double)record->duration_us) &&
		cJSON_AddNumberToObject(object, "code", record->code) &&
		(!repeated || cJSON_AddNumberToObject(object, "repeated", repeated)) &&
		add_text(object, "message", record->message, message) &&
		add_text(object, "trace", record->trace, name) && add_ignored(object, record->ignored, keys))
		text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}

int mn_record_format(const struct mn_record *record, unsigned int repeated, char json[MN_RECORD_TEXT + 1])
{
	static const struct {
		size_t name, message, keys;
	} tries[] = { { 256, 640, 256 }, { NAME_BYTES, 320, 128 }, { NAME_BYTES, 80, 32 }, { 24, 24, 8 },
		{ 8, 8, 0 } };

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		auto_free char *text =
			print(record, repeated, tries[i].name, tries[i].message, tries[i].keys);

		if (!text)
			return -ENOMEM;
		if (strlen(text) > MN_RECORD_TEXT)
			continue;
		strcpy(json, text); // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
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
