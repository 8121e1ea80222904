// SPDX-License-Identifier: Apache-2.0
#include "pick.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mn_bytes_add(struct mn_bytes *bytes, const void *data, size_t len)
{
	if (len > bytes->room - bytes->len) {
		size_t room = bytes->room ? bytes->room : 256;
		char *moved;

		while (room - bytes->len < len)
			room *= 2;
		moved = realloc(bytes->data, room);
		if (!moved)
			return -ENOMEM;
		bytes->data = moved;
		bytes->room = room;
	}
	if (len > 0)
		memcpy(bytes->data + bytes->len, data, len);
	bytes->len += len;
	return 0;
}

void mn_bytes_free(struct mn_bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct mn_bytes){ 0 };
}

struct mn_pick_node *mn_pick_node_new(struct mn_pick_node *parent, const char *name, size_t len)
{
	struct mn_pick_node *node = calloc(1, sizeof(*node) + len + 1);

	if (!node)
		return NULL;
	memcpy(node->name, name, len);
	node->len = len;
	if (parent) {
		node->next = parent->children;
		parent->children = node;
	}
	return node;
}

struct mn_pick_node *mn_pick_node_find(const struct mn_pick_node *parent, const char *name, size_t len)
{
	struct mn_pick_node *child = parent->children;

	while (child && (child->len != len || memcmp(child->name, name, len) != 0))
		child = child->next;
	return child;
}

// Children are put in front of what is still to be freed.
void mn_pick_node_free(struct mn_pick_node *node)
{
	while (node) {
		struct mn_pick_node *next = node->next, *child = node->children;

		if (child) {
			struct mn_pick_node *last = child;

			while (last->next)
				last = last->next;
			last->next = next;
			next = child;
		}
		free(node);
		node = next;
	}
}

// Reads the four digits behind \u, which were looked at before.
static unsigned int unit_at(const char *s)
{
	unsigned int unit = 0;

	for (int i = 0; i < 4; i++)
		unit = unit * 16 + (unsigned int)mn_hex_digit(s[i]);
	return unit;
}

static size_t put_utf8(char *to, unsigned int point)
{
	if (point < 0x80) {
		to[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		to[0] = (char)(0xc0 | point >> 6);
		to[1] = (char)(0x80 | (point & 0x3f));
		return 2;
	}
	if (point < 0x10000) {
		to[0] = (char)(0xe0 | point >> 12);
		to[1] = (char)(0x80 | (point >> 6 & 0x3f));
		to[2] = (char)(0x80 | (point & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | point >> 18);
	to[1] = (char)(0x80 | (point >> 12 & 0x3f));
	to[2] = (char)(0x80 | (point >> 6 & 0x3f));
	to[3] = (char)(0x80 | (point & 0x3f));
	return 4;
}

// Reads one escape sequence at *s, moves *s behind it and writes what it stands for.
static size_t unescape(const char **s, const char *end, char *to)
{
	static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
	const char *c = *s + 1, *known = strchr(from, *c);
	unsigned int point, second;

	if (*c != 'u') {
		*s += 2;
		*to = known ? meant[known - from] : *c;
		return 1;
	}
	point = unit_at(c + 1);
	*s += 6;
	if (point >= 0xd800 && point < 0xdc00 && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u') {
		second = unit_at(*s + 2);
		if (second >= 0xdc00 && second < 0xe000) {
			point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
			*s += 6;
		}
	}
	return put_utf8(to, point);
}

bool mn_pick_node_spells(const struct mn_pick_node *node, const char *key, size_t key_len)
{
	const char *end = key + key_len;
	size_t at = 0;

	if (!memchr(key, '\\', key_len))
		return key_len == node->len && memcmp(key, node->name, key_len) == 0;
	while (key < end) {
		char piece[4] = { *key };
		size_t len = *key == '\\' ? unescape(&key, end, piece) : (key++, 1);

		if (len > node->len - at || memcmp(piece, node->name + at, len) != 0)
			return false;
		at += len;
	}
	return at == node->len;
}
