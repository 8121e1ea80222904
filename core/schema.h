// SPDX-License-Identifier: Apache-2.0
// The tables that say how netlink messages look: which key is which attribute, of what type and range. One
// encoder and one decoder walk them; errors, help and the reference come from them too.
#ifndef MNCNI_SCHEMA_H
#define MNCNI_SCHEMA_H

#include "nl.h"

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mn_type {
	MN_UINT,      // integer of .size bytes
	MN_INT,	      // the same, signed
	MN_BOOL,      // 0 or 1 in .size bytes
	MN_FLAG,      // true is the attribute's presence
	MN_ENUM,      // a name of .names, or its number
	MN_BITS,      // list of names of .names, each a bit
	MN_ONEBIT,    // boolean: .bit of the header word, and of the mask word behind it
	MN_STRING,    // with its terminating zero; .max is the most characters
	MN_BYTES,     // raw
	MN_MAC,	      // "02:00:00:00:00:01"
	MN_ADDRESS,   // host address of the message's family
	MN_IP,	      // host address, the family told by its length
	MN_PREFIX,    // "10.0.0.0/8" or "default"; the length is in the header at .aux
	MN_DEV,	      // link by name or index
	MN_NETNS,     // namespace handle (attribute .attr) or pid (attribute .aux)
	MN_RANGE,     // 5 or "5-9": two numbers of .size bytes
	MN_VIA,	      // { family, host }
	MN_WEIGHT,    // of a next hop: one more than the number on the wire
	MN_BRIDGE_ID, // "8000.02:00:00:00:00:01"
	MN_DATA,      // nf_tables' register contents: bytes or a verdict
	MN_COMMENT,   // nf_tables' user data with a comment of type .aux in it
	MN_STRINGS,   // a nest of strings, attribute .aux each
	MN_NEST,      // table of its own under the key
	MN_INLINE,    // nest whose keys are the parent's
	MN_VARIANT,   // nest that depends on the string attribute .aux beside it; see .variants
	MN_LIST,      // nest of nests, attribute .aux each; 0: numbered by their order
	MN_HOPS,      // array of struct rtnexthop with attributes
	MN_ARRAY,  // last row of a table: behind the header follow structs, as many as the byte at .at says
	MN_HANDLE, // of traffic control: "1:", "1:10", "root" or "ingress"
	MN_BURST,  // bytes, on the wire the ticks in which a rate lets them pass; see MN_RATE_OF
	MN_SHARE,  // from 0 to 1, on the wire a part of 2^32 - 1
	MN_VLANS,  // list of struct mn_vlan_range, an attribute or two each
	MN_SKIP,   // padding and statistics: neither shown nor kept
};

enum {
	MN_HEADER = 1 << 0,  // not an attribute but a field of the fixed header, at .at
	MN_STRUCT = 1 << 1,  // a field at .at of an attribute that is a struct of .aux bytes
	MN_NET = 1 << 2,     // network byte order
	MN_READ = 1 << 3,    // only the kernel sets it
	MN_LATER = 1 << 4,   // ignored by the kernel while the object is created, so set by a second message
	MN_FILTER = 1 << 5,  // the kernel can filter a dump by it
	MN_LOW = 1 << 6,     // small copy of the attribute with the same key; larger values leave it at .bit
	MN_DEFAULT = 1 << 7, // prefix length 0 reads "default"
	MN_FULL = 1 << 8,    // the prefix length is always written
	MN_FOREIGN = 1 << 9, // the index is of another namespace when the attribute .aux is there
	MN_ONLY_NAME = 1 << 10, // left out when the name is not known (the index has a key of its own)
	MN_ONES = 1 << 11,	// the struct's other fields are all ones
	MN_NESTED = 1 << 12,	// set NLA_F_NESTED
	MN_REQUIRED = 1 << 13,
	MN_JOINED = 1 << 14, // of MN_ENUM: a list of names is one as well, MN_JOINED_BITS each, last lowest
	MN_PRESET = 1 << 15, // .bit is what changes say where the key is not given or there is none; of
			     // MN_SKIP: zeros
};

#define MN_JOINED_BITS 6
#define MN_JOINED_MASK ((1U << MN_JOINED_BITS) - 1)

// Of MN_BURST, as .bit: the field of the same struct that has the rate, and the attribute beside the struct
// that has it where it is too large for the field.
#define MN_RATE_OF(type_, member, attr64) \
	((uint32_t)offsetof(struct type_, member) | (uint32_t)(attr64) << 16)
#define MN_TICK_NS 64 // linux/include/net/pkt_sched.h, PSCHED_SHIFT; the second number in /proc/net/psched

struct mn_name {
	const char *name;
	uint32_t value;
};

struct mn_table;

struct mn_variant {
	const char *kind;
	const char *key; // where its keys are; NULL: among the parent's
	const struct mn_table *table;
};

struct mn_row {
	uint16_t attr;
	uint16_t flags;
	uint8_t type;
	uint8_t size;
	uint16_t at;
	uint16_t aux;
	uint32_t bit;
	const char *name;		   // in C
	const char *key;		   // in Lua
	int64_t min, max;		   // both 0: what fits
	const struct mn_name *names;	   // ends with a NULL name
	const struct mn_table *table;	   // of nests
	const struct mn_variant *variants; // ends with a NULL kind
};

struct mn_table {
	const struct mn_row *rows;
	uint16_t count;
	uint16_t header; // size of the fixed header before the attributes
};

#define MN_FINISH_ROOM 64 // bytes that an object's finish() may append

#define MN_TABLE(row_array, header_size) \
	{ \
		.rows = (row_array), .count = sizeof(row_array) / sizeof((row_array)[0]), \
		.header = (header_size) \
	}
#define MN_A(number) .attr = (number), .name = #number
#define MN_H(type_, member) \
	.name = #member, .at = offsetof(struct type_, member), .size = sizeof(((struct type_ *)0)->member)

enum mn_verb { MN_ADD, MN_REPLACE, MN_APPEND, MN_INSERT, MN_SET, MN_DEL, MN_FLUSH, MN_GET, MN_DUMP, MN_NEW };

// What an element of MN_VLANS is before it becomes one struct bridge_vlan_info, or two where there is an end.
struct mn_vlan_range {
	uint16_t flags, vid, end;
};

struct mn_object {
	const char *name;
	const struct mn_table *table;
	int protocol;
	uint16_t type_new, type_del, type_get;
	uint16_t type_change;	// of requests that make or change one, 0: as type_new
	uint8_t family;		// that all its messages carry, 0 when they differ
	const char *ident[4];	// keys that name one in a message
	const char *one_by;	// without this key there is no getting or deleting a single one
	const char *list_by;	// without this key (or ifindex) the kernel lists none
	const char *group;	// of monitors; NULL: its name
	bool dump_to_get;	// the kernel cannot get a single one
	uint16_t flags[MN_GET]; // of the changing verbs; 0: the verb does not exist
	// Fill what the caller leaves open: in the zeroed header before the keys are encoded, and in the
	// message after that. Either may be NULL; neither is called for MN_DUMP and MN_NEW.
	void (*prepare)(void *header, enum mn_verb verb);
	void (*finish)(struct nlmsghdr *nlh, enum mn_verb verb);
};

extern const struct mn_object mn_link_object, mn_addr_object, mn_route_object, mn_rule_object,
	mn_neigh_object, mn_fdb_object, mn_vlan_object, mn_nsid_object, mn_nft_table_object,
	mn_nft_chain_object, mn_nft_rule_object, mn_nft_set_object, mn_nft_element_object, mn_nft_gen_object,
	mn_qdisc_object, mn_class_object, mn_filter_object;
extern const struct mn_table mn_nothing_table; // of a nest whose attributes are not known
extern const struct mn_table mn_link_table, mn_nft_expr_table, mn_nft_elem_table;
extern const struct mn_name mn_families[], mn_route_protocols[], mn_route_tables[], mn_route_types[],
	mn_scopes[], mn_ip_protocols[];

// All of them, in the order of the documentation; NULL after the last.
const struct mn_object *mn_object_at(size_t index);
const struct mn_object *mn_object_find(const char *name);

// The object that a message from the kernel is about; *gone when it says that one was removed.
const struct mn_object *mn_object_of(int protocol, const struct nlmsghdr *nlh, bool *gone);

const char *mn_verb_name(enum mn_verb verb);
int mn_verb_find(const char *name);

const struct mn_name *mn_name_find(const struct mn_name *names, const char *name);
const char *mn_name_of(const struct mn_name *names, uint32_t value);

// The first row of a table with this attribute number; further ones follow it directly. It is looked for from
// a row on (NULL: the first) that does not follow one of its own number, and then before it.
const struct mn_row *mn_row_of_attr(const struct mn_table *table, uint16_t attr, const struct mn_row *from);

// Tells each row whose key may stand in a Lua table of this kind (NULL: of any), those of inline nests and
// variants included; a variant with a key of its own is told by its row and that key. Stops when told to.
bool mn_each_key(const struct mn_table *table, const char *kind,
	bool (*tell)(void *arg, const struct mn_row *row, const char *key), void *arg);

// Whether the key may stand there.
bool mn_key_known(const struct mn_table *table, const char *kind, const char *key);

// The variant for the kind that stands among the attributes at data.
const struct mn_variant *mn_variant_of(const struct mn_row *row, const char *data, size_t len);
const struct mn_variant *mn_variant_named(const struct mn_row *row, const char *kind, size_t len);

// The first attribute of this number among those at data, NULL when it is not there.
const struct nlattr *mn_attr_find(const char *data, size_t len, uint16_t attr);

// Whether the attribute at attr lies within len bytes.
bool mn_attr_fits(const struct nlattr *attr, size_t len);

// Turns the kernel's refusal of request into err: errno, its own words, the attribute by key and C name, and
// the range it allows. op, object and netns are left alone.
void mn_nl_refusal(const struct mn_object *object, const struct nlmsghdr *request,
	const struct nlmsghdr *answer, struct mn_error *err);

#endif
