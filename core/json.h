// SPDX-License-Identifier: Apache-2.0
// Strict JSON (RFC 8259) on top of cJSON: what cJSON lets pass is refused first, with its place, and integers
// stay exact over 64 bits, which cJSON's doubles cannot hold.
#ifndef MNCNI_JSON_H
#define MNCNI_JSON_H

#include <cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define MN_JSON_DEPTH 64      // nesting allowed unless the caller says otherwise
#define MN_JSON_DEPTH_MAX 500 // the most a caller may ask for; cJSON itself stops at 1000

// Where a text is wrong: byte offset from 0, line and column (in characters) from 1.
struct mn_json_place {
	size_t offset, line, column;
};

// Parses len bytes of text into a tree that the caller frees with cJSON_Delete. Refused, with code 6 and the
// place in the message: anything RFC 8259 forbids, invalid UTF-8, \u0000, unpaired surrogates, duplicate
// keys, nesting beyond MN_JSON_DEPTH, integers beyond 64 bits and other numbers beyond a double.
int mn_json_parse(const char *text, size_t len, cJSON **out, struct mn_error *err);

// The same with another depth, and with the place of the error for those who want it (NULL otherwise).
int mn_json_parse_at(const char *text, size_t len, unsigned int max_depth, cJSON **out,
	struct mn_json_place *place, struct mn_error *err);

// Looks at a text without making anything of it: 0 where it is one object, or -errno, as mn_json_parse would
// refuse it but for duplicate keys. The text is terminated.
int mn_json_check_object(const char *text, size_t len, struct mn_error *err);

// Tells whether a parsed item was written as an integer, and gives its exact value.
bool mn_json_integer(const cJSON *item, int64_t *value);

// Returns the text of an object's member, NULL when there is none or it is no string.
const char *mn_json_get_string(const cJSON *object, const char *key);

// Tells whether an object has an integer member of that name, and gives its exact value.
bool mn_json_get_integer(const cJSON *object, const char *key, int64_t *value);

// Returns how many bytes at the start of s are ASCII that stands in a JSON string as it is.
size_t mn_json_plain_span(const char *s, size_t len);

#define MN_JSON_ESCAPE 6 // the most bytes that one takes

// Writes an ASCII character that does not, as cJSON would; returns how many bytes that takes.
size_t mn_json_escape(char to[MN_JSON_ESCAPE], char c);

// Returns the length of the UTF-8 sequence at s, 0 when it is not a valid one (RFC 3629 section 4).
size_t mn_utf8_sequence(const char *s, size_t len);

// Returns how many bytes at the start of s are valid UTF-8 (RFC 3629: nothing overlong, no surrogates): len
// when all.
size_t mn_utf8_span(const char *s, size_t len);

#endif
