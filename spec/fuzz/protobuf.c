// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of protocol buffers: whatever comes, in whatever pieces, it is refused, or it is the same
// JSON.
#include "fuzz.h"
#include "http_protobuf.h"
#include "json.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

static const struct mn_pb_field pair[] = { { .number = 1, .key = "type" },
	{ .number = 2, .key = "address" } };
static const struct mn_pb_message pair_message = { pair, 2 };
static const struct mn_pb_field inner[] = {
	{ .number = 1, .key = "name" },
	{ .number = 2, .key = "cidrs", .each = true },
	{ .number = 3, .type = MN_PB_INTEGER, .key = "count" },
	{ .number = 4, .type = MN_PB_BOOLEAN, .key = "good" },
	{ .number = 5, .type = MN_PB_MESSAGE, .key = "addresses", .each = true, .message = &pair_message },
	{ .number = 9, .type = MN_PB_TIME, .key = "deleted" },
	{ .number = 11, .type = MN_PB_MAP, .key = "labels" },
};
static const struct mn_pb_message inner_message = { inner, sizeof(inner) / sizeof(inner[0]) };
static const struct mn_pb_field outer[] = {
	{ .number = 1, .type = MN_PB_INLINE, .message = &pair_message },
	{ .number = 2, .type = MN_PB_MESSAGE, .key = "items", .each = true, .message = &inner_message },
	{ .number = 3, .type = MN_PB_INLINE, .message = &inner_message },
	{ .number = 4, .key = "kind", .is_kind = true },
	{ .number = 5,
		.type = MN_PB_MESSAGE,
		.key = "object",
		.prefixed = true,
		.message = &inner_message,
		.other_kind = "pair",
		.other = &pair_message },
};
static const struct mn_pb_message message = { outer, sizeof(outer) / sizeof(outer[0]) };
static const struct mn_pb_schema schema = { .prefix = "k8s", .prefix_len = 4, .frame = &message };

// Reads a message, or frames of them, in pieces of a size; returns the JSON, malloc'd and terminated, NULL
// when it is refused.
static char *read_in(const uint8_t *data, size_t size, size_t piece, bool frames)
{
	struct mn_bytes all = { 0 };
	struct mn_pb pb = { 0 };
	struct mn_error err;
	int ret = 0;

	if (frames)
		mn_pb_start_frames(&pb, &schema);
	else
		mn_pb_start(&pb, &schema, &message);
	for (size_t at = 0; at < size && ret == 0; at += piece) {
		ret = mn_pb_feed(&pb, (const char *)data + at, size - at < piece ? size - at : piece, &err);
		if (ret == 0 && mn_bytes_add(&all, pb.out.data, pb.out.len) < 0)
			abort();
	}
	if (ret == 0)
		ret = mn_pb_finish(&pb, &err);
	if (ret == 0 && (mn_bytes_add(&all, pb.out.data, pb.out.len) < 0 || mn_bytes_add(&all, "", 1) < 0))
		abort();
	mn_pb_free(&pb);
	if (ret == 0)
		return all.data;
	mn_bytes_free(&all);
	return NULL;
}

// Whether a text is one JSON document after the other.
static bool is_json(const char *text)
{
	while (*text) {
		cJSON *json = cJSON_ParseWithOpts(text, &text, false);

		if (!json)
			return false;
		cJSON_Delete(json);
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int frames = 0; frames < 2; frames++) {
		char *whole = read_in(data, size, size ? size : 1, frames),
		     *bytes = read_in(data, size, 1, frames);

		if (!whole != !bytes || (whole && strcmp(whole, bytes) != 0))
			abort();
		if (whole && !is_json(whole))
			abort();
		free(whole);
		free(bytes);
	}
	return 0;
}
