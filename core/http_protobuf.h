// SPDX-License-Identifier: Apache-2.0
// Protocol buffers as JSON, while they come in: a server writes them with a fraction of the work, and most of
// them is passed over here at once. What is wanted of a message is told by a tree of its fields; all else is
// skipped. Source of the encoding: https://protobuf.dev/programming-guides/encoding/
#ifndef MNCNI_HTTP_PROTOBUF_H
#define MNCNI_HTTP_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "pick.h"

#define MN_PB_DEPTH 16 // levels of messages
#define MN_PB_KIND 32  // bytes of a kind, its end included

struct mn_pb_message;

struct mn_pb_field {
	uint32_t number;
	enum {
		MN_PB_STRING,
		MN_PB_INTEGER,
		MN_PB_BOOLEAN,
		MN_PB_TIME,    // message of seconds (1), as RFC 3339 has it
		MN_PB_MAP,     // entries of two strings (1, 2), as an object
		MN_PB_MESSAGE, // an object
		MN_PB_INLINE   // message whose fields are the parent's
	} type;
	bool each;     // it may come several times: a list
	bool prefixed; // the schema's prefix stands before the message
	bool is_kind;  // a string that says what the next message is
	const struct mn_pb_message *message;
	const char *other_kind; // where the last kind was this one, the message is another
	const struct mn_pb_message *other;
	const char *key;
};

struct mn_pb_message {
	const struct mn_pb_field *fields;
	size_t count;
};

struct mn_pb_level {
	const struct mn_pb_message *message;
	const struct mn_pb_field *open; // list or map that has begun and not ended
	uint64_t end;			// offset of the byte behind it
	enum { MN_PB_IN_OBJECT, MN_PB_IN_INLINE, MN_PB_IN_ENTRY, MN_PB_IN_TIME } kind;
	bool comma;	// something stands before what comes next
	uint8_t has;	// of an entry: 1 its key, 2 its value
	int64_t number; // of a time
};

// What a request says of answers in this form.
struct mn_pb_schema {
	char type[96];	 // of the content
	char stream[96]; // of content that is one frame after the other: a length in four bytes, and a
			 // message
	char prefix[16]; // bytes before a message that is no frame
	size_t prefix_len;
	const struct mn_pb_message *ok, *refused; // of a 2xx answer, of another
	const struct mn_pb_message *frame;	  // of a stream, NULL when none is read
};

// One text that is being read.
struct mn_pb {
	const struct mn_pb_schema *schema;
	struct mn_bytes out; // what has become of it since the last feed
	uint64_t offset;
	uint64_t varint;
	uint64_t wait; // bytes of the string, of what is skipped, of the prefix, that are still to come
	const struct mn_pb_field *field;
	unsigned int shift, depth;
	enum {
		MN_PB_AT_FRAME, // its length, four bytes
		MN_PB_AT_PREFIX,
		MN_PB_AT_TAG,
		MN_PB_AT_LENGTH,
		MN_PB_AT_VARINT,
		MN_PB_AT_STRING,
		MN_PB_AT_SKIP
	} state;
	bool begun;
	char kind[MN_PB_KIND]; // the last one; one that is longer is none
	size_t kind_len;
	struct mn_pb_level levels[MN_PB_DEPTH];
};

// Begins a text: frames of a stream, or one message, behind the prefix. The schema stays the caller's.
void mn_pb_start_frames(struct mn_pb *pb, const struct mn_pb_schema *schema);
void mn_pb_start(struct mn_pb *pb, const struct mn_pb_schema *schema, const struct mn_pb_message *message);

// Takes a piece; pb->out has the JSON that it makes, until the next call. -EINVAL with the reason in err, or
// -ENOMEM.
int mn_pb_feed(struct mn_pb *pb, const char *text, size_t len, struct mn_error *err);

// The text has ended: pb->out has the rest. -EINVAL when it was cut off.
int mn_pb_finish(struct mn_pb *pb, struct mn_error *err);

void mn_pb_free(struct mn_pb *pb);

#endif
