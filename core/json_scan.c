// SPDX-License-Identifier: Apache-2.0
#include "json_scan.h"

#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_LONGEST 63 // characters; cJSON cuts a longer one in two

static struct mn_json_place place_of(const char *text, size_t offset)
{
	struct mn_json_place place = { .offset = offset, .line = 1, .column = 1 };

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			place.line++;
			place.column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			place.column++;
		}
	}
	return place;
}

int mn_json_fault(struct mn_json_scan *scan, size_t offset, const char *message, ...)
{
	struct mn_json_place place = place_of(scan->text, offset);
	char what[256];
	va_list args;

	va_start(args, message);
	vsnprintf(what, sizeof(what), message, args);
	va_end(args);
	mn_fail(scan->err, EINVAL, "decode", "JSON", "%s at byte %zu (line %zu, column %zu)", what,
		place.offset, place.line, place.column);
	if (scan->err) {
		scan->err->errnum = 0; // the sentence says it all
		scan->err->code = 6;
	}
	if (scan->place)
		*scan->place = place;
	return -EINVAL;
}

size_t mn_utf8_sequence(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf; // bounds of the second byte
	size_t more;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		more = 1;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		more = 2;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		more = 3;
	else
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (len <= more || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i <= more; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return more + 1;
}

size_t mn_json_plain_span(const char *s, size_t len)
{
	static const bool plain[256] = {
		[' ' ... '"' - 1] = true,
		['"' + 1 ... '\\' - 1] = true,
		['\\' + 1 ... 0x7f] = true,
	};
	size_t at = 0;

	while (at < len && plain[(unsigned char)s[at]])
		at++;
	return at;
}

size_t mn_json_escape(char to[MN_JSON_ESCAPE], char c)
{
	static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	to[0] = '\\';
	for (const char *letter = letters; *letter; letter += 2) {
		if (*letter == c) {
			to[1] = letter[1];
			return 2;
		}
	}
	to[1] = 'u';
	return (size_t)(mn_put_hex(to + 2, (unsigned char)c, 4) - to);
}

size_t mn_utf8_span(const char *s, size_t len)
{
	size_t at = 0, step;

	while (at < len && (step = mn_utf8_sequence(s + at, len - at)) > 0)
		at += step;
	return at;
}

// The byte at the cursor, or -1 at the end.
static int peek(const struct mn_json_scan *scan)
{
	return scan->at < scan->len ? (unsigned char)scan->text[scan->at] : -1;
}

static bool digit(int c)
{
	return c >= '0' && c <= '9';
}

static void skip_space(struct mn_json_scan *scan)
{
	int c;

	while ((c = peek(scan)) == ' ' || c == '\t' || c == '\n' || c == '\r')
		scan->at++;
}

// "expected X, found Y" for the byte at the cursor.
static int unexpected(struct mn_json_scan *scan, const char *expected)
{
	int c = peek(scan);

	if (c < 0)
		return mn_json_fault(scan, scan->at, "expected %s, found the end of the text", expected);
	if (c > ' ' && c < 0x7f)
		return mn_json_fault(scan, scan->at, "expected %s, found %c%c%c", expected,
			c == '\'' ? '"' : '\'', c, c == '\'' ? '"' : '\'');
	return mn_json_fault(scan, scan->at, "expected %s, found byte 0x%02x", expected, (unsigned int)c);
}

static int mark(struct mn_json_scan *scan, struct mn_json_mark found)
{
	if (scan->count == scan->room) {
		size_t room = scan->room ? scan->room * 2 : 64;
		struct mn_json_mark *marks = realloc(scan->marks, room * sizeof(*marks));

		if (!marks)
			return mn_fail(scan->err, ENOMEM, "decode", "JSON", NULL);
		scan->marks = marks;
		scan->room = room;
	}
	scan->marks[scan->count++] = found;
	return 0;
}

// Reads the four digits of \uXXXX. Returns the code unit, or -1.
static long hex4(const struct mn_json_scan *scan, size_t at)
{
	long unit = 0;

	if (scan->len - at < 4)
		return -1;
	for (size_t i = at; i < at + 4; i++) {
		int c = (unsigned char)scan->text[i];

		if (digit(c))
			unit = unit * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			unit = unit * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return unit;
}

// The cursor stands behind the backslash.
static int scan_escape(struct mn_json_scan *scan)
{
	size_t start = scan->at - 1;
	int c = peek(scan);
	long unit;

	if (c < 0)
		return unexpected(scan, "the rest of an escape sequence");
	scan->at++;
	if (c != 'u')
		return strchr("\"\\/bfnrt", c) && c ? 0
						    : mn_json_fault(scan, start, "unknown escape sequence");
	unit = hex4(scan, scan->at);
	if (unit < 0)
		return mn_json_fault(scan, start, "\\u without four hexadecimal digits");
	if (unit == 0)
		return mn_json_fault(scan, start, "\\u0000 in a string");
	scan->at += 4;
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return mn_json_fault(scan, start, "second half of a surrogate pair without its first");
	if (unit >= 0xd800 && unit <= 0xdbff) {
		unit = -1;
		if (scan->len - scan->at >= 6 && scan->text[scan->at] == '\\' &&
			scan->text[scan->at + 1] == 'u')
			unit = hex4(scan, scan->at + 2);
		if (unit < 0xdc00 || unit > 0xdfff)
			return mn_json_fault(
				scan, start, "first half of a surrogate pair without its second");
		scan->at += 6;
	}
	return 0;
}

// The cursor stands at the opening quote.
static int scan_string(struct mn_json_scan *scan)
{
	size_t start = scan->at++;
	int c;

	for (;;) {
		size_t step;

		scan->at += mn_json_plain_span(scan->text + scan->at, scan->len - scan->at);
		c = peek(scan);
		if (c == '"')
			break;

		if (c < 0)
			return mn_json_fault(scan, start, "string without an end");
		if (c < 0x20)
			return mn_json_fault(
				scan, scan->at, "control character 0x%02x in a string", (unsigned int)c);
		if (c == '\\') {
			int ret;

			scan->at++;
			ret = scan_escape(scan);
			if (ret < 0)
				return ret;
			continue;
		}
		step = mn_utf8_sequence(scan->text + scan->at, scan->len - scan->at);
		if (step == 0)
			return mn_json_fault(scan, scan->at, "invalid UTF-8 (byte 0x%02x)", (unsigned int)c);
		scan->at += step;
	}
	scan->at++;
	return 0;
}

static int scan_digits(struct mn_json_scan *scan)
{
	if (!digit(peek(scan)))
		return unexpected(scan, "a digit");
	while (digit(peek(scan)))
		scan->at++;
	return 0;
}

static int scan_number(struct mn_json_scan *scan)
{
	struct mn_json_mark found = { .offset = scan->at, .kind = MN_JSON_MARK_INTEGER };
	int ret;

	if (peek(scan) == '-')
		scan->at++;
	if (peek(scan) == '0' && scan->at + 1 < scan->len && digit((unsigned char)scan->text[scan->at + 1]))
		return mn_json_fault(scan, found.offset, "number with a leading zero");
	ret = scan_digits(scan);
	if (ret == 0 && peek(scan) == '.') {
		found.kind = MN_JSON_MARK_FLOAT;
		scan->at++;
		ret = scan_digits(scan);
	}
	if (ret == 0 && (peek(scan) == 'e' || peek(scan) == 'E')) {
		found.kind = MN_JSON_MARK_FLOAT;
		scan->at++;
		if (peek(scan) == '+' || peek(scan) == '-')
			scan->at++;
		ret = scan_digits(scan);
	}
	if (ret < 0)
		return ret;
	if (found.kind == MN_JSON_MARK_INTEGER) {
		errno = 0;
		found.integer = strtoll(scan->text + found.offset, NULL, 10);
		if (errno == ERANGE)
			return mn_json_fault(
				scan, found.offset, "integer that does not fit in 64 bits with its sign");
	}
	if (scan->at - found.offset > NUMBER_LONGEST)
		return mn_json_fault(scan, found.offset, "number of more than %d characters", NUMBER_LONGEST);
	return mark(scan, found);
}

static int scan_word(struct mn_json_scan *scan, const char *word)
{
	size_t len = strlen(word);

	if (scan->len - scan->at < len || memcmp(scan->text + scan->at, word, len) != 0)
		return unexpected(scan, "a value");
	scan->at += len;
	return 0;
}

static int scan_value(struct mn_json_scan *scan);

// One member of an object, from its key on.
static int scan_member(struct mn_json_scan *scan)
{
	struct mn_json_mark key = { .offset = scan->at, .kind = MN_JSON_MARK_KEY };
	int ret;

	if (peek(scan) != '"')
		return unexpected(scan, "a key in quotes");
	ret = mark(scan, key);
	if (ret == 0)
		ret = scan_string(scan);
	if (ret < 0)
		return ret;
	skip_space(scan);
	if (peek(scan) != ':')
		return unexpected(scan, "':' behind a key");
	scan->at++;
	return scan_value(scan);
}

// An object or an array; the cursor stands at its bracket.
static int scan_container(struct mn_json_scan *scan)
{
	bool object = peek(scan) == '{';
	char close = object ? '}' : ']';

	if (scan->depth == scan->max_depth)
		return mn_json_fault(scan, scan->at, "nesting deeper than %u levels", scan->max_depth);
	scan->depth++;
	scan->at++;
	skip_space(scan);
	if (peek(scan) != close) {
		for (;;) {
			int ret = object ? scan_member(scan) : scan_value(scan);

			if (ret < 0)
				return ret;
			if (peek(scan) == close)
				break;
			if (peek(scan) != ',')
				return unexpected(
					scan, object ? "',' or '}' in an object" : "',' or ']' in an array");
			scan->at++;
			skip_space(scan);
		}
	}
	scan->at++;
	scan->depth--;
	return 0;
}

// A value of any type with the space around it.
static int scan_value(struct mn_json_scan *scan)
{
	int ret;

	skip_space(scan);
	switch (peek(scan)) {
	case '{':
	case '[':
		ret = scan_container(scan);
		break;
	case '"':
		ret = scan_string(scan);
		break;
	case 't':
		ret = scan_word(scan, "true");
		break;
	case 'f':
		ret = scan_word(scan, "false");
		break;
	case 'n':
		ret = scan_word(scan, "null");
		break;
	default:
		ret = digit(peek(scan)) || peek(scan) == '-' ? scan_number(scan)
							     : unexpected(scan, "a value");
	}
	skip_space(scan);
	return ret;
}

int mn_json_scan(struct mn_json_scan *scan)
{
	int ret;

	if (scan->len >= 3 && memcmp(scan->text, "\xef\xbb\xbf", 3) == 0)
		return mn_json_fault(scan, 0, "byte order mark, which JSON does not have,");
	ret = scan_value(scan);
	if (ret == 0 && scan->at < scan->len)
		ret = unexpected(scan, "the end of the text");
	return ret;
}
