// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE
#include "pick.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What comes next. From FIRST_KEY on, in order of `expected` below.
enum state {
	TOP, // a document or the end of the text
	VALUE,
	FIRST_VALUE, // or ]
	KEY,
	FIRST_KEY, // or }
	COLON,
	AFTER, // a value: a comma or the end of the container
	STRING,
	ESCAPE,
	HEX1,
	HEX2,
	HEX3,
	HEX4,
	WORD,
	MINUS, // numbers; the byte before was this
	ZERO,
	DIGIT,
	POINT,
	FRACTION,
	EXPONENT,
	SIGN,
	POWER,
	END, // of the text
};

static const char *const expected[] = {
	[TOP] = "a value",
	[VALUE] = "a value",
	[FIRST_VALUE] = "a value or ']'",
	[KEY] = "a key in quotes",
	[FIRST_KEY] = "a key in quotes or '}'",
	[COLON] = "':' behind a key",
	[STRING] = "the rest of a string",
	[ESCAPE] = "the rest of an escape sequence",
	[HEX1] = "a hexadecimal digit",
	[HEX2] = "a hexadecimal digit",
	[HEX3] = "a hexadecimal digit",
	[HEX4] = "a hexadecimal digit",
	[WORD] = "true, false or null",
	[MINUS] = "a digit",
	[ZERO] = "the end of a number",
	[POINT] = "a digit",
	[EXPONENT] = "a digit",
	[SIGN] = "a digit",
	[END] = "the end of the text",
};

void mn_pick_free(struct mn_pick *pick)
{
	mn_pick_node_free(pick->keep);
	mn_pick_node_free(pick->root);
	pick->keep = pick->root = NULL;
	mn_bytes_free(&pick->doc);
	mn_bytes_free(&pick->list);
}

void mn_pick_start(struct mn_pick *pick)
{
	pick->doc.len = pick->list.len = 0;
	pick->out = &pick->list;
	pick->member = NULL;
	pick->offset = 0;
	pick->depth = pick->doc_depth = 0;
	pick->state = pick->root ? VALUE : TOP;
	pick->is_key = pick->emit = pick->in_doc = pick->seen = pick->failed = false;
}

const struct mn_bytes *mn_pick_document(const struct mn_pick *pick)
{
	return pick->state == END ? &pick->list : &pick->doc;
}

static int fault(struct mn_pick *pick, int errnum, const char *message, uint64_t offset, struct mn_error *err)
{
	pick->failed = true;
	pick->offset = offset;
	mn_fail(err, errnum, "pick", "JSON", "%s at byte %llu", message, (unsigned long long)offset);
	if (err) {
		err->errnum = 0; // the sentence says it all
		err->code = 6;
	}
	return -errnum;
}

static const char *expected_now(const struct mn_pick *pick)
{
	if (pick->state != AFTER)
		return expected[pick->state];
	return pick->levels[pick->depth].array ? "',' or ']' in an array" : "',' or '}' in an object";
}

static int unexpected(struct mn_pick *pick, const char *what, int c, uint64_t offset, struct mn_error *err)
{
	char message[128];

	if (c < 0)
		snprintf(message, sizeof(message), "expected %s, found the end of the text", what);
	else if (c > ' ' && c < 0x7f)
		snprintf(message, sizeof(message), "expected %s, found %c%c%c", what, c == '\'' ? '"' : '\'',
			c, c == '\'' ? '"' : '\'');
	else
		snprintf(message, sizeof(message), "expected %s, found byte 0x%02x", what, (unsigned int)c);
	return fault(pick, EINVAL, message, offset, err);
}

// Appends to what is kept. Returns 0, or -errno as a fault without its place.
static int keep(struct mn_pick *pick, const void *data, size_t len)
{
	if (len > pick->max || pick->out->len > pick->max - len)
		return -EMSGSIZE;
	return mn_bytes_add(pick->out, data, len);
}

static int keep_byte(struct mn_pick *pick, char c)
{
	return keep(pick, &c, 1);
}

// A comma, unless the next value is the first of its container.
static int keep_comma(struct mn_pick *pick)
{
	char last = pick->out->len > 0 ? pick->out->data[pick->out->len - 1] : '[';

	return last == '{' || last == '[' ? 0 : keep_byte(pick, ',');
}

static const unsigned char *skip_space(const unsigned char *p, const unsigned char *end)
{
	while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

// The first byte from p on that ends a stretch of plain text in a string: a quote, a backslash or a control
// character. Eight at a time; the lowest byte that a subtraction marks is marked rightly.
static const unsigned char *skip_plain(const unsigned char *p, const unsigned char *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;

	for (; end - p >= 8; p += 8) {
		uint64_t word, quote, slash, found;

		memcpy(&word, p, sizeof(word));
		word = le64toh(word);
		quote = word ^ ones * '"';
		slash = word ^ ones * '\\';
		found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) |
				((word - ones * ' ') & ~word)) &
			tops;
		if (found)
			return p + __builtin_ctzll(found) / 8;
	}
	while (p < end && *p != '"' && *p != '\\' && *p >= ' ')
		p++;
	return p;
}

// The key that was just read has come to its end.
static int end_key(struct mn_pick *pick)
{
	const struct mn_pick_node *node = pick->levels[pick->depth].node, *child;
	const char *key;
	size_t len;

	pick->state = COLON;
	pick->member = node;
	if (!node)
		return 0;
	if (node->what == MN_PICK_ALL)
		return keep_byte(pick, ':');
	key = pick->out->data + pick->key_at;
	len = pick->out->len - pick->key_at;
	if (*key == ',') {
		key++;
		len--;
	}
	for (child = node->children; child; child = child->next)
		if (mn_pick_node_spells(child, key + 1, len - 2))
			break;
	pick->member = child;
	if (child && !child->quiet)
		return keep_byte(pick, ':');
	pick->out->len = pick->key_at;
	return 0;
}

// A value has come to its end. Returns 1 when a document has with it.
static int end_value(struct mn_pick *pick)
{
	pick->state = AFTER;
	if (pick->in_doc && pick->depth == pick->doc_depth) {
		pick->in_doc = false;
		pick->out = &pick->list;
		if (pick->depth > 0)
			return 1;
		pick->state = TOP;
		return 1;
	}
	if (pick->depth > 0)
		return 0;
	pick->state = END;
	if (pick->root->quiet)
		return 0;
	return mn_bytes_add(pick->out, "}", 1) < 0 ? -ENOMEM : 1;
}

static void begin_document(struct mn_pick *pick)
{
	pick->in_doc = true;
	pick->doc_depth = pick->depth;
	pick->doc.len = 0;
	pick->out = &pick->doc;
}

// What is wanted of the value that begins now, with c.
static int choose(struct mn_pick *pick, int c, const struct mn_pick_node **node)
{
	const struct mn_pick_level *level = &pick->levels[pick->depth];
	const struct mn_pick_node *wanted = pick->depth == 0 ? pick->root
		: level->array				     ? level->node
							     : pick->member;

	*node = wanted;
	if (pick->in_doc || (pick->depth > 0 && !wanted))
		return 0;
	if (!wanted || wanted->what == MN_PICK_ONE || (level->array && wanted->what == MN_PICK_EACH)) {
		pick->seen = true;
		begin_document(pick);
		*node = pick->keep;
		return 0;
	}
	if (wanted->what == MN_PICK_EACH) {
		if (pick->seen || (c != '[' && c != 'n'))
			return -EPROTO;
		pick->seen = true;
		*node = c == 'n' ? NULL : wanted;
	}
	return pick->depth == 0 && !wanted->quiet ? keep(pick, "{\"list\":", 8) : 0;
}

static int open_container(struct mn_pick *pick, const struct mn_pick_node *node, bool array)
{
	if (pick->depth == MN_PICK_DEPTH)
		return -EOVERFLOW;
	pick->depth++;
	pick->levels[pick->depth] = (struct mn_pick_level){ .node = node, .array = array };
	pick->state = array ? FIRST_VALUE : FIRST_KEY;
	return pick->emit ? keep_byte(pick, array ? '[' : '{') : 0;
}

static bool begins_value(int c)
{
	return c == '"' || c == '{' || c == '[' || mn_is_digit(c) || c == '-' || c == 't' || c == 'f' ||
		c == 'n';
}

static int begin_value(struct mn_pick *pick, int c)
{
	const struct mn_pick_node *node = NULL;
	int ret;

	if (!begins_value(c))
		return -EINVAL;
	if (pick->depth > 0 && !pick->levels[pick->depth].node) {
		pick->emit = false;
	} else {
		ret = choose(pick, c, &node);
		if (ret < 0)
			return ret;
		pick->emit = node && !node->quiet;
		if (pick->emit && pick->depth > 0 && pick->levels[pick->depth].array) {
			ret = keep_comma(pick);
			if (ret < 0)
				return ret;
		}
	}
	pick->is_key = false;
	switch (c) {
	case '{':
		return open_container(pick, node, false);
	case '[':
		return open_container(pick, node, true);
	case '"':
		pick->state = STRING;
		return 0;
	case 't':
	case 'f':
	case 'n':
		pick->word = c == 't' ? "true" : c == 'f' ? "false" : "null";
		pick->word_at = 1;
		pick->state = WORD;
		return 0;
	case '-':
		pick->state = MINUS;
		return 0;
	case '0':
		pick->state = ZERO;
		return 0;
	default:
		pick->state = DIGIT;
		return 0;
	}
}

// The key whose quote was just read.
static int begin_key(struct mn_pick *pick)
{
	const struct mn_pick_node *node = pick->levels[pick->depth].node;

	pick->is_key = true;
	pick->emit = node != NULL;
	pick->state = STRING;
	pick->key_at = pick->out->len;
	return node ? keep_comma(pick) : 0;
}

// The bracket c, if it is the one that is open. Returns 1 with a document, -EINVAL for another byte.
static int close_container(struct mn_pick *pick, int c)
{
	const struct mn_pick_level *level = &pick->levels[pick->depth];
	int ret = 0;

	if (c != (level->array ? ']' : '}'))
		return -EINVAL;
	if (level->node && !level->node->quiet)
		ret = keep_byte(pick, (char)c);
	pick->depth--;
	return ret < 0 ? ret : end_value(pick);
}

// The state of a number behind one more byte; END when the byte is not part of it, AFTER when it cannot be
// there.
static uint8_t number_step(uint8_t state, int c)
{
	bool digit = mn_is_digit(c), e = (c | 0x20) == 'e';

	switch (state) {
	case MINUS:
		return c == '0' ? ZERO : digit ? DIGIT : AFTER;
	case ZERO:
		return c == '.' ? POINT : e ? EXPONENT : digit ? AFTER : END;
	case DIGIT:
		return digit ? DIGIT : c == '.' ? POINT : e ? EXPONENT : END;
	case POINT:
		return digit ? FRACTION : AFTER;
	case FRACTION:
		return digit ? FRACTION : e ? EXPONENT : END;
	case EXPONENT:
		return digit ? POWER : c == '+' || c == '-' ? SIGN : AFTER;
	case SIGN:
		return digit ? POWER : AFTER;
	default:
		return digit ? POWER : END;
	}
}

static bool is_number_end(uint8_t state)
{
	return state == ZERO || state == DIGIT || state == FRACTION || state == POWER;
}

// The three kinds of tokens: each goes on where the last piece of text left it, and returns where it stopped.
// Its end is told by the state, which is AFTER then; -EINVAL in *ret for a byte that does not belong there.
static const unsigned char *string(
	struct mn_pick *pick, const unsigned char *p, const unsigned char *end, int *ret)
{
	while (p < end) {
		if (pick->state == STRING) {
			p = skip_plain(p, end);
			if (p == end)
				break;
			if (*p == '"') {
				pick->state = AFTER;
				return p + 1;
			}
			if (*p != '\\')
				break;
			pick->state = ESCAPE;
		} else if (pick->state == ESCAPE) {
			if (!strchr("\"\\/bfnrtu", *p) || !*p)
				break;
			pick->state = *p == 'u' ? HEX1 : STRING;
		} else {
			if (mn_hex_digit(*p) < 0)
				break;
			pick->state = pick->state == HEX4 ? STRING : pick->state + 1;
		}
		p++;
	}
	*ret = p < end ? -EINVAL : 0;
	return p;
}

static const unsigned char *number(
	struct mn_pick *pick, const unsigned char *p, const unsigned char *end, int *ret)
{
	for (; p < end; p++) {
		uint8_t next = number_step(pick->state, *p);

		if (next == AFTER) {
			*ret = -EINVAL;
			return p;
		}
		if (next == END) {
			pick->state = AFTER;
			return p;
		}
		pick->state = next;
	}
	return p;
}

static const unsigned char *word(
	struct mn_pick *pick, const unsigned char *p, const unsigned char *end, int *ret)
{
	for (; p < end; p++) {
		if (*p != (unsigned char)pick->word[pick->word_at]) {
			*ret = -EINVAL;
			return p;
		}
		if (!pick->word[++pick->word_at]) {
			pick->state = AFTER;
			return p + 1;
		}
	}
	return p;
}

// Goes on with a token, of which the piece from `from` on is to be kept if anything is.
static const unsigned char *token(struct mn_pick *pick, const unsigned char *from, const unsigned char *p,
	const unsigned char *end, int *ret)
{
	if (pick->state >= MINUS)
		p = number(pick, p, end, ret);
	else if (pick->state == WORD)
		p = word(pick, p, end, ret);
	else
		p = string(pick, p, end, ret);
	if (*ret == 0 && pick->emit)
		*ret = keep(pick, from, (size_t)(p - from));
	if (*ret == 0 && pick->state == AFTER)
		*ret = pick->is_key ? end_key(pick) : end_value(pick);
	return p;
}

// Takes the byte at p, which is no white space, between tokens. Returns 1 with a document; -EINVAL for a byte
// that cannot be there.
static int between(struct mn_pick *pick, int c)
{
	switch (pick->state) {
	case FIRST_VALUE:
		if (c == ']')
			return close_container(pick, c);
		return begin_value(pick, c);
	case TOP:
	case VALUE:
		return begin_value(pick, c);
	case FIRST_KEY:
		if (c == '}')
			return close_container(pick, c);
		return c == '"' ? begin_key(pick) : -EINVAL;
	case KEY:
		return c == '"' ? begin_key(pick) : -EINVAL;
	case COLON:
		if (c != ':')
			return -EINVAL;
		pick->state = VALUE;
		return 0;
	case AFTER:
		if (c != ',')
			return close_container(pick, c);
		pick->state = pick->levels[pick->depth].array ? VALUE : KEY;
		return 0;
	default:
		return -EINVAL;
	}
}

static int explain(struct mn_pick *pick, int ret, int c, uint64_t offset, struct mn_error *err)
{
	char message[128];

	switch (ret) {
	case -EINVAL:
		if (pick->state == STRING)
			return fault(pick, EINVAL, "control character in a string", offset, err);
		return unexpected(pick, expected_now(pick), c, offset, err);
	case -EPROTO:
		return fault(pick, EINVAL, pick->seen ? "a second list of items" : "the items are no array",
			offset, err);
	case -EOVERFLOW:
		snprintf(message, sizeof(message), "nesting deeper than %d levels", MN_PICK_DEPTH);
		return fault(pick, EINVAL, message, offset, err);
	case -EMSGSIZE:
		snprintf(message, sizeof(message),
			"more than %zu bytes are to be kept of one document (keep fewer members or raise "
			"max)",
			pick->max);
		return fault(pick, EMSGSIZE, message, offset, err);
	default:
		return fault(pick, -ret, "no memory", offset, err);
	}
}

static int refuse_failed(struct mn_pick *pick, struct mn_error *err)
{
	return fault(pick, EINVAL, "no more can be read, the text was wrong", pick->offset, err);
}

int mn_pick_feed(struct mn_pick *pick, const char **text, size_t *len, struct mn_error *err)
{
	const unsigned char *start = (const unsigned char *)*text, *end = start + *len, *p = start;
	int ret = 0;

	if (pick->failed)
		return refuse_failed(pick, err);
	while (p < end && ret == 0) {
		const unsigned char *from = p;

		if (pick->state < STRING || pick->state == END) {
			p = skip_space(p, end);
			if (p == end)
				break;
			from = p;
			ret = between(pick, *p);
			if (ret < 0)
				break;
			p++;
			if (ret > 0 || pick->state < STRING || pick->state == END)
				continue;
		}
		p = token(pick, from, p, end, &ret);
	}
	if (ret < 0)
		return explain(pick, ret, p < end ? *p : -1, pick->offset + (uint64_t)(p - start), err);
	pick->offset += (uint64_t)(p - start);
	*text = (const char *)p;
	*len = (size_t)(end - p);
	return ret;
}

int mn_pick_finish(struct mn_pick *pick, struct mn_error *err)
{
	int ret = 0;

	if (pick->failed)
		return refuse_failed(pick, err);
	if (pick->depth == 0 && is_number_end(pick->state))
		ret = end_value(pick);
	if (ret < 0)
		return explain(pick, ret, -1, pick->offset, err);
	if (pick->state != TOP && pick->state != END)
		return unexpected(pick, expected_now(pick), -1, pick->offset, err);
	if (pick->root && !pick->seen)
		return fault(pick, EINVAL, "the text ended without the items that were to be in it",
			pick->offset, err);
	return ret;
}
