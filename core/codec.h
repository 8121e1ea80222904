// SPDX-License-Identifier: Apache-2.0
// The two walkers over the tables of schema.h: Lua values to message bytes and back.
#ifndef MNCNI_CODEC_H
#define MNCNI_CODEC_H

#include "schema.h"

#include <lua.h>

#define MN_CODEC_DEPTH 10

struct mn_decoder;

struct mn_encoder {
	lua_State *L;
	struct mn_nl *nl;      // resolves names of links; NULL: only indexes will do
	struct mn_buffer *out; // messages are appended here
	const struct mn_object *object;
	enum mn_verb verb;
	const char *netns; // for errors, may be NULL
	int args;	   // stack index of the table being encoded
	int known;	   // stack index of a table from names of links to their indexes, or 0
	bool filter;	   // leave out what the kernel cannot filter a dump by
	bool later;	   // only what has to follow the creation, and what names the object
	bool has_later;	   // set when there is such a thing
	bool may_miss;	   // a link that is not there is no error but sets missing
	bool missing;
	bool (*unknown_link)(struct mn_encoder *e);
	void *arg;
	int interval; // of a set's elements: 1, 0, -1 not known yet
	// Private to the encoder.
	size_t message;
	uint64_t keys; // which keys the table may have that is being encoded, by mn_key_bit()
	uint8_t family;
	int depth;
	const char *path[MN_CODEC_DEPTH];
};

// Appends the message for the table at e->args to e->out and returns its offset there. Raises, naming the
// key, what is given and what can be, with nothing held; e->out may then end in half a message.
size_t mn_encode(struct mn_encoder *e);

// Raises the error object of a wrong argument: about row (may be NULL) on e's present path.
int mn_encode_refuse(struct mn_encoder *e, const struct mn_row *row, const char *message, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

// Building blocks for lua_encode.c and lua_encode_value.c. The pointer is good until the next of these calls.
void *mn_encode_put(struct mn_encoder *e, uint16_t attr, size_t len);

size_t mn_encode_nest(struct mn_encoder *e, uint16_t attr);
void mn_encode_nest_end(struct mn_encoder *e, const struct mn_row *row, size_t nest);

// What the table on top of the stack says, by row->table: the header, and the attributes behind it.
void mn_encode_record(struct mn_encoder *e, const struct mn_row *row);

// The list on top of the stack; base is where the header of its parent begins.
void mn_encode_list(struct mn_encoder *e, const struct mn_row *row, size_t base);

// The type on the wire of a nest.
static inline uint16_t mn_nest_type(const struct mn_row *row)
{
	return row->attr | (row->flags & MN_NESTED ? NLA_F_NESTED : 0);
}

// Encodes the value on top of the stack, which is no nest. base is where the fixed header is, container where
// the attributes beside it begin.
void mn_encode_value(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container);

// The same of one address, by the row's type.
void mn_encode_prefix(struct mn_encoder *e, const struct mn_row *row, size_t base);
void mn_encode_ip(struct mn_encoder *e, const struct mn_row *row);
void mn_encode_address(struct mn_encoder *e, const struct mn_row *row);
void mn_encode_via(struct mn_encoder *e, const struct mn_row *row);
void mn_encode_mac(struct mn_encoder *e, const struct mn_row *row);
void mn_encode_bridge_id(struct mn_encoder *e, const struct mn_row *row);

// Raises that the value on top of the stack is not `what` the row wants.
void mn_encode_expected(struct mn_encoder *e, const struct mn_row *row, const char *what)
	__attribute__((noreturn));

// That value for messages: text in quotes, a number, or the type of anything else.
const char *mn_encode_given(lua_State *L, char *text, size_t size);

// The name of an address family, for messages.
const char *mn_family_name(int family);

// Writes what the row says where its key is not given (MN_PRESET).
void mn_encode_preset(struct mn_encoder *e, const struct mn_row *row, size_t base, size_t container);

// What only traffic control has, handles, bursts and shares: the number that goes on the wire, and back.
uint32_t mn_encode_tc(struct mn_encoder *e, const struct mn_row *row, size_t container);
bool mn_decode_tc(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len,
	const char *container, size_t container_len);

// The same for what only nf_tables has: register contents, comments, and what stands for elements in a list.
void mn_encode_data(struct mn_encoder *e, const struct mn_row *row);
void mn_encode_comment(struct mn_encoder *e, const struct mn_row *row);
bool mn_encode_elem(struct mn_encoder *e, const struct mn_row *row);
bool mn_decode_data(struct mn_decoder *d, const char *data, size_t len);
bool mn_decode_comment(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len);

// Writes what the arguments are about: `link "cbr0"`, `addr "10.0.0.1/24" dev eth0`.
void mn_describe(lua_State *L, const struct mn_object *object, int args, char *text, size_t size);

// Text and value of the address in the string or mncni.cidr at index: family, bytes, prefix length (-1
// without). Returns false when it is none.
bool mn_address_at(lua_State *L, int index, int *family, uint8_t bytes[16], int *prefix);

// A bit for a key, the same for some others: tells most that are not in a set without a look at it.
static inline uint64_t mn_key_bit(const char *key)
{
	return UINT64_C(1) << ((*key ? (unsigned char)key[0] * 7u + (unsigned char)key[1] : 0) % 64);
}

struct mn_decoder {
	lua_State *L;
	struct mn_nl *nl; // tells the names of links; NULL: indexes are all there is
	int names;	  // stack index of a table index -> name (false: there is none), 0 without nl
	bool some;	  // of the object itself decode some keys only: those
	uint64_t keys;	  // whose bits are set,
	uint64_t partly;  // and of the tables at these keys
	uint64_t inner;	  // only those
	// Private to the decoder.
	uint8_t family;
	int depth;
	bool whole;			  // all of the nested table is wanted
	int top;			  // stack index of the value whose raw table is being filled
	const char *path[MN_CODEC_DEPTH]; // inline nests between that value and here
	int path_len;
};

// Pushes a table with what the message says. Never reads beyond it, whatever it holds.
void mn_decode(struct mn_decoder *d, const struct mn_object *object, const struct nlmsghdr *nlh);

// Pushes the value of an attribute or header field that is no nest, and returns true; pushes nothing and
// returns false when the bytes do not fit the row. container is where the attributes beside it are.
bool mn_decode_value(struct mn_decoder *d, const struct mn_row *row, const char *data, size_t len,
	const char *base, const char *container, size_t container_len);

// core.schema(): the tables as Lua data.
int mn_lua_schema(lua_State *L);

#endif
