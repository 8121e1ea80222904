// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "http_protobuf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; // types on the wire

static int wrong(const struct mn_pb *pb, struct mn_error *err, const char *what)
{
	return mn_fail(err, EINVAL, "read", "protocol buffer", "%s, at byte %" PRIu64, what, pb->offset);
}

static struct mn_pb_level *top(struct mn_pb *pb)
{
	return &pb->levels[pb->depth];
}

// The level whose braces stand around what is written now.
static struct mn_pb_level *around(struct mn_pb *pb)
{
	unsigned int i = pb->depth;

	while (i > 0 && pb->levels[i].kind == MN_PB_IN_INLINE)
		i--;
	return &pb->levels[i];
}

static int put(struct mn_pb *pb, const char *text, size_t len)
{
	return mn_bytes_add(&pb->out, text, len);
}

static int put_text(struct mn_pb *pb, const char *text)
{
	return put(pb, text, strlen(text));
}

// A part of a string, escaped (RFC 8259, section 7).
static int put_escaped(struct mn_pb *pb, const char *text, size_t len)
{
	size_t from = 0;
	int ret = 0;

	for (size_t i = 0; i < len && ret == 0; i++) {
		unsigned char c = (unsigned char)text[i];
		char escape[8];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		snprintf(escape, sizeof(escape), "\\u%04x", c);
		ret = put(pb, text + from, i - from);
		if (ret == 0)
			ret = put_text(pb, escape);
		from = i + 1;
	}
	return ret < 0 ? ret : put(pb, text + from, len - from);
}

static int put_key(struct mn_pb *pb, const char *key)
{
	struct mn_pb_level *level = around(pb);
	int ret = level->comma ? put(pb, ",", 1) : 0;

	level->comma = true;
	if (ret == 0)
		ret = put(pb, "\"", 1);
	if (ret == 0)
		ret = put_text(pb, key);
	return ret < 0 ? ret : put(pb, "\":", 2);
}

// Ends the list or map that has begun, because another field comes or the message ends.
static int close_open(struct mn_pb *pb)
{
	struct mn_pb_level *level = top(pb);
	const struct mn_pb_field *open = level->open;

	level->open = NULL;
	return open ? put(pb, open->type == MN_PB_MAP ? "}" : "]", 1) : 0;
}

// What stands before a field's value: its key, or a comma of its list or map.
static int open_field(struct mn_pb *pb, const struct mn_pb_field *field)
{
	struct mn_pb_level *level = top(pb);
	bool many = field->each || field->type == MN_PB_MAP;
	int ret;

	if (field->type == MN_PB_INLINE)
		return close_open(pb);
	if (many && level->open == field)
		return put(pb, ",", 1);
	ret = close_open(pb);
	if (ret == 0)
		ret = put_key(pb, field->key);
	if (ret < 0 || !many)
		return ret;
	level->open = field;
	return put(pb, field->type == MN_PB_MAP ? "{" : "[", 1);
}

// From here on the schema's prefix comes, if it has one, then a message.
static void await_message(struct mn_pb *pb, bool prefixed)
{
	pb->wait = prefixed ? pb->schema->prefix_len : 0;
	pb->state = pb->wait > 0 ? MN_PB_AT_PREFIX : MN_PB_AT_TAG;
}

static int enter(struct mn_pb *pb, const struct mn_pb_field *field, uint64_t len, struct mn_error *err)
{
	static const struct mn_pb_message none;
	bool other = field->other_kind && strcmp(pb->kind, field->other_kind) == 0;
	struct mn_pb_level level = { .message = other ? field->other : field->message,
		.end = pb->offset + len };

	if (pb->depth + 1 == MN_PB_DEPTH)
		return wrong(pb, err, "messages are nested too deeply");
	if (!level.message)
		level.message = &none;
	await_message(pb, field->prefixed);
	level.kind = field->type == MN_PB_INLINE ? MN_PB_IN_INLINE
		: field->type == MN_PB_MAP	 ? MN_PB_IN_ENTRY
		: field->type == MN_PB_TIME	 ? MN_PB_IN_TIME
						 : MN_PB_IN_OBJECT;
	pb->levels[++pb->depth] = level;
	return level.kind == MN_PB_IN_OBJECT ? put(pb, "{", 1) : 0;
}

static int put_time(struct mn_pb *pb, int64_t seconds)
{
	time_t when = (time_t)seconds;
	char text[64];
	struct tm tm;

	if (!gmtime_r(&when, &tm) || strftime(text, sizeof(text), "\"%Y-%m-%dT%H:%M:%SZ\"", &tm) == 0)
		return put(pb, "null", 4);
	return put_text(pb, text);
}

static int leave(struct mn_pb *pb, struct mn_error *err)
{
	struct mn_pb_level *level = top(pb);
	int ret = close_open(pb);

	if (ret == 0 && level->kind == MN_PB_IN_OBJECT)
		ret = put(pb, "}", 1);
	else if (ret == 0 && level->kind == MN_PB_IN_TIME)
		ret = put_time(pb, level->number);
	else if (ret == 0 && level->kind == MN_PB_IN_ENTRY && !(level->has & 1))
		return wrong(pb, err, "an entry of a map has no key");
	else if (ret == 0 && level->kind == MN_PB_IN_ENTRY && !(level->has & 2))
		ret = put(pb, "\"\"", 2);
	if (pb->depth > 0)
		pb->depth--;
	return ret;
}

static const struct mn_pb_field *field_of(const struct mn_pb_message *message, uint64_t number)
{
	for (size_t i = 0; i < message->count; i++) {
		if (message->fields[i].number == number)
			return &message->fields[i];
	}
	return NULL;
}

// What a map's entry and a time have instead of fields that are told.
static const struct mn_pb_field *implied(const struct mn_pb_level *level, uint64_t number)
{
	static const struct mn_pb_field entry[] = { { .number = 1 }, { .number = 2 } };
	static const struct mn_pb_field seconds = { .number = 1, .type = MN_PB_INTEGER };

	if (level->kind == MN_PB_IN_ENTRY)
		return number == 1 || number == 2 ? &entry[number - 1] : NULL;
	return level->kind == MN_PB_IN_TIME && number == 1 ? &seconds : NULL;
}

static bool fits(const struct mn_pb_field *field, unsigned int wire)
{
	return field->type == MN_PB_INTEGER || field->type == MN_PB_BOOLEAN ? wire == VARINT : wire == BYTES;
}

static int on_tag(struct mn_pb *pb, uint64_t tag, struct mn_error *err)
{
	struct mn_pb_level *level = top(pb);
	unsigned int wire = tag & 7;
	uint64_t number = tag >> 3;

	pb->field = level->kind == MN_PB_IN_OBJECT || level->kind == MN_PB_IN_INLINE
		? field_of(level->message, number)
		: implied(level, number);
	if (pb->field && !fits(pb->field, wire))
		return wrong(pb, err, "a field is of another type than expected");
	if (wire == VARINT) {
		pb->state = MN_PB_AT_VARINT;
	} else if (wire == BYTES) {
		pb->state = MN_PB_AT_LENGTH;
	} else if (wire == FIXED64 || wire == FIXED32) {
		pb->state = MN_PB_AT_SKIP;
		pb->wait = wire == FIXED64 ? 8 : 4;
	} else {
		return wrong(pb, err, "there is no such type of field");
	}
	return 0;
}

static int on_varint(struct mn_pb *pb, uint64_t value)
{
	const struct mn_pb_field *field = pb->field;
	char text[32];
	int ret;

	pb->state = MN_PB_AT_TAG;
	if (!field)
		return 0;
	if (top(pb)->kind == MN_PB_IN_TIME) {
		top(pb)->number = (int64_t)value;
		return 0;
	}
	ret = open_field(pb, field);
	if (field->type == MN_PB_BOOLEAN)
		snprintf(text, sizeof(text), "%s", value ? "true" : "false");
	else
		snprintf(text, sizeof(text), "%" PRId64, (int64_t)value);
	return ret < 0 ? ret : put_text(pb, text);
}

static int begin_string(struct mn_pb *pb)
{
	struct mn_pb_level *level = top(pb);
	int ret = 0;

	if (level->kind != MN_PB_IN_ENTRY)
		ret = open_field(pb, pb->field);
	else
		level->has |= (uint8_t)pb->field->number;
	if (pb->field->is_kind)
		pb->kind_len = 0;
	return ret < 0 ? ret : put(pb, "\"", 1);
}

static int end_string(struct mn_pb *pb)
{
	bool is_key = top(pb)->kind == MN_PB_IN_ENTRY && pb->field->number == 1;

	pb->state = MN_PB_AT_TAG;
	if (pb->field->is_kind)
		pb->kind[pb->kind_len < MN_PB_KIND ? pb->kind_len : 0] = '\0';
	return put_text(pb, is_key ? "\":" : "\"");
}

static void note_kind(struct mn_pb *pb, const char *text, size_t len)
{
	if (len < MN_PB_KIND - pb->kind_len) {
		memcpy(pb->kind + pb->kind_len, text, len);
		pb->kind_len += len;
	} else {
		pb->kind_len = MN_PB_KIND;
	}
}

static int on_length(struct mn_pb *pb, uint64_t len, struct mn_error *err)
{
	const struct mn_pb_field *field = pb->field;
	struct mn_pb_level *level = top(pb);
	int ret;

	if (len > level->end - pb->offset)
		return wrong(pb, err, "a field is longer than the message that it is in");
	pb->wait = len;
	pb->state = MN_PB_AT_SKIP;
	if (!field)
		return 0;
	if (field->type != MN_PB_STRING) {
		ret = open_field(pb, field);
		return ret < 0 ? ret : enter(pb, field, len, err);
	}
	if (level->kind == MN_PB_IN_ENTRY && (level->has & field->number || level->has != field->number - 1))
		return wrong(pb, err, "an entry of a map is not a key and a value");
	if (len == 0 && level->kind != MN_PB_IN_ENTRY && !field->each)
		return 0; // JSON leaves it out
	pb->state = MN_PB_AT_STRING;
	ret = begin_string(pb);
	return ret == 0 && len == 0 ? end_string(pb) : ret;
}

static int on_number(struct mn_pb *pb, unsigned char byte, struct mn_error *err)
{
	uint64_t value;

	if (pb->shift > 63)
		return wrong(pb, err, "a number has more than 64 bits");
	pb->varint |= (uint64_t)(byte & 0x7f) << pb->shift;
	pb->shift += 7;
	if (byte & 0x80)
		return 0;
	value = pb->varint;
	pb->varint = 0;
	pb->shift = 0;
	if (pb->state == MN_PB_AT_TAG)
		return on_tag(pb, value, err);
	return pb->state == MN_PB_AT_VARINT ? on_varint(pb, value) : on_length(pb, value, err);
}

// What ends where the text has come to, innermost first.
static int leave_ended(struct mn_pb *pb, struct mn_error *err)
{
	int ret = 0;

	while (ret == 0 && pb->depth > 0 && pb->offset == top(pb)->end) {
		if (pb->state == MN_PB_AT_SKIP && pb->wait == 0)
			pb->state = MN_PB_AT_TAG;
		if (pb->state != MN_PB_AT_TAG || pb->shift > 0)
			return wrong(pb, err, "a message ends in the middle of a field");
		ret = leave(pb, err);
	}
	return ret;
}

// Takes the bytes of a string, or of what is skipped, as far as they are there. Returns how many.
static size_t take(struct mn_pb *pb, const char *text, size_t len, int *ret)
{
	size_t part = pb->wait < len ? (size_t)pb->wait : len;

	pb->wait -= part;
	pb->offset += part;
	if (pb->state == MN_PB_AT_STRING) {
		*ret = put_escaped(pb, text, part);
		if (pb->field->is_kind)
			note_kind(pb, text, part);
		if (*ret == 0 && pb->wait == 0)
			*ret = end_string(pb);
	} else if (pb->wait == 0) {
		pb->state = MN_PB_AT_TAG;
	}
	return part;
}

static void start(struct mn_pb *pb, const struct mn_pb_schema *schema)
{
	struct mn_bytes out = pb->out;

	out.len = 0;
	*pb = (struct mn_pb){ .schema = schema, .out = out };
}

void mn_pb_start(struct mn_pb *pb, const struct mn_pb_schema *schema, const struct mn_pb_message *message)
{
	start(pb, schema);
	pb->levels[0] = (struct mn_pb_level){ .message = message, .end = UINT64_MAX };
	await_message(pb, true);
}

void mn_pb_start_frames(struct mn_pb *pb, const struct mn_pb_schema *schema)
{
	start(pb, schema);
	pb->state = MN_PB_AT_FRAME;
}

// A byte of a frame's length, which comes in four, the highest first.
static int on_frame(struct mn_pb *pb, unsigned char byte, struct mn_error *err)
{
	pb->varint = pb->varint << 8 | byte;
	pb->shift += 8;
	if (pb->shift < 32)
		return 0;
	if (pb->varint == 0)
		return wrong(pb, err, "a frame is empty");
	pb->levels[0] = (struct mn_pb_level){ .message = pb->schema->frame, .end = pb->offset + pb->varint };
	pb->varint = 0;
	pb->shift = 0;
	pb->begun = false;
	pb->state = MN_PB_AT_TAG;
	return 0;
}

static int on_prefix(struct mn_pb *pb, char byte, struct mn_error *err)
{
	if (byte != pb->schema->prefix[pb->schema->prefix_len - pb->wait])
		return wrong(pb, err, "it does not begin as it should");
	pb->wait--;
	pb->state = pb->wait > 0 ? MN_PB_AT_PREFIX : MN_PB_AT_TAG;
	return 0;
}

static int on_byte(struct mn_pb *pb, char byte, struct mn_error *err)
{
	int ret = 0;

	pb->offset++;
	if (pb->state == MN_PB_AT_FRAME)
		return on_frame(pb, (unsigned char)byte, err);
	if (pb->state == MN_PB_AT_PREFIX)
		return on_prefix(pb, byte, err);
	if (pb->offset > top(pb)->end)
		return wrong(pb, err, "a message ends in the middle of a field");
	if (!pb->begun)
		ret = put(pb, "{", 1);
	pb->begun = true;
	return ret < 0 ? ret : on_number(pb, (unsigned char)byte, err);
}

// A frame that has come to its end is a message that has.
static int end_frame(struct mn_pb *pb, struct mn_error *err)
{
	if (!pb->schema->frame || pb->depth > 0 || pb->state == MN_PB_AT_FRAME || pb->offset != top(pb)->end)
		return 0;
	if (pb->state == MN_PB_AT_SKIP && pb->wait == 0)
		pb->state = MN_PB_AT_TAG;
	if (pb->state != MN_PB_AT_TAG || pb->shift > 0)
		return wrong(pb, err, "a frame ends in the middle of a field");
	pb->state = MN_PB_AT_FRAME;
	return leave(pb, err);
}

int mn_pb_feed(struct mn_pb *pb, const char *text, size_t len, struct mn_error *err)
{
	int ret = 0;

	pb->out.len = 0;
	while (ret == 0 && len > 0) {
		size_t part = 1;

		if (pb->state == MN_PB_AT_STRING || pb->state == MN_PB_AT_SKIP)
			part = take(pb, text, len, &ret);
		else
			ret = on_byte(pb, *text, err);
		text += part;
		len -= part;
		if (ret == 0)
			ret = leave_ended(pb, err);
		if (ret == 0)
			ret = end_frame(pb, err);
	}
	return ret == -ENOMEM ? mn_fail(err, ENOMEM, "read", "protocol buffer", NULL) : ret;
}

int mn_pb_finish(struct mn_pb *pb, struct mn_error *err)
{
	int ret;

	pb->out.len = 0;
	if (pb->state == MN_PB_AT_FRAME && pb->shift == 0)
		return 0;
	if (pb->state == MN_PB_AT_SKIP && pb->wait == 0)
		pb->state = MN_PB_AT_TAG;
	if (!pb->begun || pb->levels[0].end != UINT64_MAX || pb->depth > 0 || pb->state != MN_PB_AT_TAG ||
		pb->shift > 0)
		return wrong(pb, err, "it was cut off");
	ret = leave(pb, err);
	return ret == -ENOMEM ? mn_fail(err, ENOMEM, "read", "protocol buffer", NULL) : ret;
}

void mn_pb_free(struct mn_pb *pb)
{
	mn_bytes_free(&pb->out);
}
