// SPDX-License-Identifier: Apache-2.0
// Fuzzes the ring of call records: a line with the next record's words, and what the ring's file holds.
// Whatever that is, a record can be added, and is the newest one then; a newer release's ring alone is left
// as it is.
#define _GNU_SOURCE
#include "fuzz.h"

#include "json.h"
#include "mncni.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_ring(const char *path, const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "%s cannot be written", path);
	close(fd);
}

static void check_newest(const char *line, const struct mn_record *record)
{
	struct mn_error err = { 0 };
	cJSON *object = NULL;
	int64_t code;

	fuzz_require(strlen(line) < MN_RECORD_SIZE, "a record longer than its slot");
	fuzz_require(mn_json_parse(line, strlen(line), &object, &err) == 0, "%s: %s", err.message, line);
	fuzz_require(mn_json_get_integer(object, "code", &code) && code == record->code, "another record: %s",
		line);
	cJSON_Delete(object);
}

// A repeated STATUS has none; any other record's begins with what was noted.
static void check_whole(const char *directory, uint64_t number, const char *words)
{
	struct mn_error err = { 0 };
	char *text;
	size_t size;

	fuzz_require(mn_record_read_whole(directory, number, &text, &size, &err) == 0, "%s", err.message);
	if (*words & 1)
		fuzz_require(size > 0 && memmem(text, size, "stdin ", 6), "the whole record is lost");
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *ignored[] = { NULL, NULL };
	const char *directory = fuzz_directory();
	char *words = fuzz_part(&data, &size, '\n'), path[512];
	struct mn_record_list list;
	struct mn_record record = {
		.verb = "ADD", .message = words, .container = words, .ignored = ignored, .code = 102
	};
	struct mn_error err = { 0 };
	int ret;

	if (!words)
		return 0;
	ignored[0] = words;
	record.verb = *words & 1 ? "ADD" : "STATUS";
	snprintf(path, sizeof(path), "%s/" MN_RECORD_FILE, directory);
	write_ring(path, data, size);
	fuzz_require(mn_record_read(directory, &list, &err) == 0, "%s", err.message);
	free(list.memory);
	mn_record_begin(mn_record_clock());
	mn_record_note("stdin", words, strlen(words));
	ret = mn_record_write(directory, &record, &err);
	fuzz_require(ret == 0 || ret == -ENOTSUP, "%s", strerror(-ret));
	fuzz_require(mn_record_read(directory, &list, &err) == 0, "%s", err.message);
	if (ret == 0) {
		fuzz_require(list.count > 0, "the record is lost");
		check_newest(list.found[0].json, &record);
		check_whole(directory, list.found[0].number, words);
	}
	free(list.memory);
	free(words);
	return 0;
}
