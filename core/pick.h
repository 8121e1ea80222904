// SPDX-License-Identifier: Apache-2.0
// A streaming pruner of JSON: text goes in in pieces of any size, documents come out with the wanted members
// alone, without white space. What is dropped is checked for its structure and costs little more than a look.
#ifndef MNCNI_PICK_H
#define MNCNI_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define MN_PICK_DEPTH 128	      // levels of nesting, whether kept or not
#define MN_PICK_MAX ((size_t)1 << 20) // bytes of one pruned document, unless told otherwise

static inline bool mn_is_digit(int c)
{
	return c >= '0' && c <= '9';
}

// The value of a hexadecimal digit, -1 for another byte.
static inline int mn_hex_digit(int c)
{
	if (mn_is_digit(c))
		return c - '0';
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

// Bytes that grow; not terminated.
struct mn_bytes {
	char *data;
	size_t len, room;
};

// Appends and returns 0, or -ENOMEM with nothing appended.
int mn_bytes_add(struct mn_bytes *bytes, const void *data, size_t len);

// Frees what is held and leaves an empty value.
void mn_bytes_free(struct mn_bytes *bytes);

// A member that is wanted, in a tree of them. For an array, what it says holds for each element; a scalar is
// kept whole.
struct mn_pick_node {
	struct mn_pick_node *children, *next;
	enum {
		MN_PICK_SOME, // the children
		MN_PICK_ALL,
		MN_PICK_EACH, // an array, whose elements are documents
		MN_PICK_ONE   // a document
	} what;
	bool quiet; // only on the way to the documents
	size_t len;
	char name[];
};

struct mn_pick_level {
	const struct mn_pick_node *node; // what is wanted of it, NULL for nothing
	bool array;
};

struct mn_pick {
	size_t max;		   // bytes of one document
	struct mn_pick_node *keep; // of a document
	struct mn_pick_node *root; // of the whole text when its documents are somewhere inside, else NULL
	struct mn_bytes doc, list; // what is kept so far: of the document, and of the text around
	struct mn_bytes *out;	   // one of the two
	const struct mn_pick_node *member; // what is wanted of the value behind the last key
	uint64_t offset;		   // of the byte that comes next
	size_t key_at;			   // where in *out the key begins
	unsigned int depth, doc_depth;
	uint8_t state, word_at;
	const char *word; // true, false or null
	bool is_key, emit, in_doc, seen, failed;
	bool busy; // somebody else's for now, who feeds it
	struct mn_pick_level levels[MN_PICK_DEPTH + 1];
};

// Appends a member to a node's children, or the root of a tree when parent is NULL. Returns NULL without
// memory.
struct mn_pick_node *mn_pick_node_new(struct mn_pick_node *parent, const char *name, size_t len);

// The child of that name, NULL when there is none.
struct mn_pick_node *mn_pick_node_find(const struct mn_pick_node *parent, const char *name, size_t len);

// Whether a key, as it is written between its quotes, spells the node's name.
bool mn_pick_node_spells(const struct mn_pick_node *node, const char *key, size_t key_len);

// Frees a whole tree; NULL is fine.
void mn_pick_node_free(struct mn_pick_node *node);

// Makes ready for the first byte of a text; keep, root and max are set.
void mn_pick_start(struct mn_pick *pick);

// Takes text up to the end of the next document, and moves *text and *len behind it. Returns 1 when there is
// one, which mn_pick_document() gives; 0 when the text is used up; -EINVAL with a place in err, -EMSGSIZE for
// a document larger than max, or -ENOMEM.
int mn_pick_feed(struct mn_pick *pick, const char **text, size_t *len, struct mn_error *err);

// Says that the text has ended. Returns 1 for a last document (a number at the very end), 0, or as above when
// something is missing.
int mn_pick_finish(struct mn_pick *pick, struct mn_error *err);

// The document that was completed last, valid until the next call.
const struct mn_bytes *mn_pick_document(const struct mn_pick *pick);

void mn_pick_free(struct mn_pick *pick);

#endif
