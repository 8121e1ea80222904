// SPDX-License-Identifier: Apache-2.0
// Changes: one message or many in one send, with what the kernel says about each.
#include "lua_nl.h"

#include "lua_args.h"
#include "lua_core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define ELEMENTS 500 // in one message
#define AT_ONCE 100 // messages in one send when all refusals are wanted: their answers fit the receive buffer

// One message that was encoded, and the item of the batch that it belongs to.
struct entry {
	size_t offset; // in nl.out
	uint32_t seq;
	int item; // from 1
	enum mn_verb verb;
	const struct mn_object *object;
};

struct batch {
	lua_State *L;
	struct mn_socket *sock;
	struct entry *entries; // in a userdata at `slot` of the stack
	int slot;
	int room;
	int count;     // encoded
	int sent;      // of them sent and accepted
	int list;      // stack index of the list, 0 for a single request
	int args;      // stack index of the arguments of the item being encoded
	int known;     // stack index of the indexes of links that need not be looked up, or 0
	int errors;    // stack index of the table that refusals are collected in, 0 when the first is raised
	bool answered; // the kernel answered what was sent last
};

// Pushes the arguments of an item.
static void push_args(struct batch *b, int item)
{
	if (!b->list) {
		lua_pushvalue(b->L, b->args);
		return;
	}
	lua_geti(b->L, b->list, item);
	lua_geti(b->L, -1, 3);
	lua_remove(b->L, -2);
}

static _Noreturn void raise_for(struct batch *b, const struct entry *entry, struct mn_error *err)
{
	bool frame = entry->item == 0;

	if (frame) // not one message but the transaction was refused, for lack of privilege or memory
		entry++;
	push_args(b, entry->item);
	mn_socket_raise(b->L, b->sock, entry->object, entry->verb, lua_gettop(b->L),
		b->list && !frame ? entry->item : 0, err);
}

// Whether the kernel's refusal is what the verb wants: a rule that is there already needs no replacing.
static bool tolerated(const struct entry *entry, int errnum)
{
	return errnum == EEXIST && entry->object == &mn_rule_object && entry->verb == MN_REPLACE;
}

static const struct entry *entry_of(const struct batch *b, uint32_t seq)
{
	for (int i = b->sent; i < b->count; i++) {
		if (b->entries[i].seq == seq)
			return &b->entries[i];
	}
	return NULL;
}

// The first refusal among the answers, in the order of the batch.
static const struct entry *first_refused(
	const struct batch *b, uint32_t first, uint32_t last, const struct nlmsghdr **answer)
{
	const struct mn_nl *nl = &b->sock->nl;
	const struct entry *worst = NULL;

	for (const struct nlmsghdr *nlh = NULL; (nlh = mn_nl_next(nl, &nl->in, nlh, first, last));) {
		const struct entry *entry = entry_of(b, nlh->nlmsg_seq);
		int errnum = mn_nl_errno(nlh);

		if (!errnum || (entry && tolerated(entry, errnum)))
			continue;
		if (!entry)
			continue;
		if (!worst || entry < worst) {
			worst = entry;
			*answer = nlh;
		}
	}
	return worst;
}

// Adds an entry for the message at its offset, and numbers that.
static void note(struct batch *b, const struct entry *entry)
{
	struct mn_nl *nl = &b->sock->nl;

	if (b->count == b->room) {
		struct entry *more = lua_newuserdatauv(b->L, 2 * (size_t)b->room * sizeof(*more), 0);

		memcpy(more, b->entries, (size_t)b->count * sizeof(*more));
		lua_replace(b->L, b->slot);
		b->entries = more;
		b->room *= 2;
	}
	b->entries[b->count] = *entry;
	b->entries[b->count].seq = mn_nl_next_seq(nl);
	((struct nlmsghdr *)(nl->out.data + entry->offset))->nlmsg_seq = b->entries[b->count].seq;
	b->count++;
}

// Appends the message that begins or ends a transaction and returns where the buffer ends then.
static size_t put_frame(struct batch *b, uint16_t type)
{
	struct mn_buffer *out = &b->sock->nl.out;
	size_t offset = out->len, len = NLMSG_HDRLEN + sizeof(struct nfgenmsg);
	struct nlmsghdr *nlh;

	if (mn_buffer_reserve(out, len) < 0)
		luaL_error(b->L, "not enough memory");
	nlh = (struct nlmsghdr *)(out->data + offset);
	nlh->nlmsg_len = (uint32_t)len;
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->res_id = htons(NFNL_SUBSYS_NFTABLES);
	out->len += len;
	if (type == NFNL_MSG_BATCH_BEGIN)
		note(b, &(struct entry){ .offset = offset });
	else
		nlh->nlmsg_seq = mn_nl_next_seq(&b->sock->nl);
	return out->len;
}

// Sends what is encoded and not sent, up to `end` in the buffer. Returns the refused entry, NULL when all
// went well.
static const struct entry *send_pending(struct batch *b, size_t end, struct mn_error *err)
{
	struct mn_nl *nl = &b->sock->nl;
	struct mn_buffer view;
	const struct entry *refused;
	const struct nlmsghdr *answer = NULL;
	uint32_t first, last;
	size_t start;

	if (b->sent == b->count || (b->count == 1 && b->entries[0].item == 0))
		return NULL;
	if (nl->protocol == NETLINK_NETFILTER)
		end = put_frame(b, NFNL_MSG_BATCH_END);
	start = b->entries[b->sent].offset;
	first = b->entries[b->sent].seq;
	last = b->entries[b->count - 1].seq;
	((struct nlmsghdr *)(nl->out.data + b->entries[b->count - 1].offset))->nlmsg_flags |= NLM_F_ACK;
	view = (struct mn_buffer){ .data = nl->out.data + start, .len = end - start };
	b->answered = mn_nl_exchange(nl, &view, last, &nl->in, err) == 0;
	if (!b->answered)
		return &b->entries[b->sent];
	refused = first_refused(b, first, last, &answer);
	if (refused)
		mn_nl_refusal(refused->object, (const struct nlmsghdr *)(nl->out.data + refused->offset),
			answer, err);
	else
		b->sent = b->count;
	return refused;
}

// Puts an error object for each refusal among the answers to what was sent last into the table of errors.
static void collect_refusals(struct batch *b, uint32_t first, uint32_t last)
{
	struct mn_nl *nl = &b->sock->nl;

	luaL_checkstack(b->L, 8, NULL);
	for (const struct nlmsghdr *nlh = NULL; (nlh = mn_nl_next(nl, &nl->in, nlh, first, last));) {
		const struct entry *entry = entry_of(b, nlh->nlmsg_seq);
		int errnum = mn_nl_errno(nlh);
		struct mn_error err = { 0 };

		if (!errnum || !entry || tolerated(entry, errnum))
			continue;
		mn_nl_refusal(
			entry->object, (const struct nlmsghdr *)(nl->out.data + entry->offset), nlh, &err);
		push_args(b, entry->item);
		mn_socket_push_error(
			b->L, b->sock, entry->object, entry->verb, lua_gettop(b->L), entry->item, &err);
		lua_rawseti(b->L, b->errors, entry->item);
		lua_pop(b->L, 1);
	}
}

static void must_send(struct batch *b, size_t end)
{
	uint32_t first = b->sent < b->count ? b->entries[b->sent].seq : 0;
	struct mn_error err = { 0 };
	const struct entry *refused = send_pending(b, end, &err);

	if (!refused)
		return;
	if (!b->errors || !b->answered)
		raise_for(b, refused, &err);
	collect_refusals(b, first, b->entries[b->count - 1].seq);
	b->sent = b->count;
}

// A name that is not known yet may be that of a link made earlier in this batch.
static bool send_creations(struct mn_encoder *e)
{
	struct batch *b = e->arg;
	bool creates = false;

	for (int i = b->sent; i < b->count; i++)
		creates = creates || b->entries[i].object == &mn_link_object;
	if (creates)
		must_send(b, e->message);
	return creates;
}

static void add_entry(struct batch *b, struct mn_encoder *e, int item)
{
	size_t offset = mn_encode(e);

	note(b, &(struct entry){ .offset = offset, .item = item, .verb = e->verb, .object = e->object });
}

// Removes the link that the message at offset created.
static void remove_again(struct batch *b, const struct entry *created)
{
	struct mn_nl *nl = &b->sock->nl;
	struct nlmsghdr *nlh = (struct nlmsghdr *)(nl->out.data + created->offset);
	struct mn_buffer view = { .data = (char *)nlh };
	struct mn_error ignored;

	nlh->nlmsg_type = RTM_DELLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	view.len = nlh->nlmsg_len;
	(void)mn_nl_exchange(nl, &view, nlh->nlmsg_seq, &nl->in, &ignored);
}

// What the kernel ignores while it creates an object is set by a second message, after the creation has been
// acknowledged: otherwise it would change an object that was there before.
static void add_later(struct batch *b, struct mn_encoder *e, int item)
{
	struct mn_error err = { 0 };
	const struct entry *refused;
	int created = b->count - 1;

	must_send(b, b->sock->nl.out.len);
	e->later = true;
	add_entry(b, e, item);
	refused = send_pending(b, b->sock->nl.out.len, &err);
	if (!refused)
		return;
	if (e->verb == MN_ADD && created >= 0)
		remove_again(b, &b->entries[created]);
	raise_for(b, refused, &err);
}

// The elements of one message have to fit one attribute, so a long list takes several messages.
static void add_elements(struct batch *b, struct mn_encoder *e, int item)
{
	lua_State *L = b->L;
	int top = lua_gettop(L), whole = e->args;
	lua_Integer n;

	luaL_checkstack(L, 8, NULL);
	if (lua_getfield(L, whole, "elem") != LUA_TTABLE || lua_rawlen(L, -1) <= ELEMENTS) {
		lua_settop(L, top);
		add_entry(b, e, item);
		return;
	}
	n = (lua_Integer)lua_rawlen(L, -1);
	for (lua_Integer from = 1; from <= n; from += ELEMENTS) {
		lua_settop(L, top + 1);
		lua_newtable(L);
		lua_pushnil(L);
		while (lua_next(L, whole)) { // all but the list, for messages about wrong keys
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_settable(L, top + 2);
		}
		lua_createtable(L, ELEMENTS, 0);
		for (lua_Integer i = from; i < from + ELEMENTS && i <= n; i++) {
			lua_rawgeti(L, top + 1, i);
			lua_rawseti(L, -2, i - from + 1);
		}
		lua_setfield(L, top + 2, "elem");
		e->args = top + 2;
		add_entry(b, e, item);
	}
	lua_settop(L, top);
}

static void add_item(struct batch *b, int item, enum mn_verb verb, const struct mn_object *object)
{
	struct mn_socket *sock = b->sock;
	struct mn_encoder e = { .L = b->L,
		.nl = &sock->nl,
		.out = &sock->nl.out,
		.object = object,
		.verb = verb,
		.netns = sock->netns,
		.args = b->args,
		.known = b->known,
		.unknown_link = send_creations,
		.arg = b };

	if (object == &mn_nft_element_object) {
		add_elements(b, &e, item);
		return;
	}
	add_entry(b, &e, item);
	if (e.has_later)
		add_later(b, &e, item);
}

// Leaves the room for the entries on the stack.
static void start(struct batch *b)
{
	b->room = 16;
	b->entries = lua_newuserdatauv(b->L, (size_t)b->room * sizeof(struct entry), 0);
	b->slot = lua_gettop(b->L);
	b->sock->nl.out.len = 0;
	if (b->sock->nl.protocol == NETLINK_NETFILTER)
		put_frame(b, NFNL_MSG_BATCH_BEGIN);
}

int mn_socket_change(
	lua_State *L, struct mn_socket *sock, enum mn_verb verb, const struct mn_object *object, int args)
{
	struct batch b = { .L = L, .sock = sock, .args = args };

	start(&b);
	add_item(&b, 1, verb, object);
	must_send(&b, sock->nl.out.len);
	lua_pushboolean(L, 1);
	return 1;
}

// Raises for an item that is no { verb, object, args }.
static enum mn_verb check_item(lua_State *L, lua_Integer item)
{
	int verb;

	if (!lua_istable(L, -1))
		mn_lua_bad_argument(L, "batch", "item %lld is a %s, not { verb, object, args }",
			(long long)item, luaL_typename(L, -1));
	if (lua_geti(L, -1, 1) != LUA_TSTRING)
		mn_lua_bad_argument(L, "batch", "item %lld has no verb", (long long)item);
	verb = mn_verb_find(lua_tostring(L, -1));
	if (verb < 0 || verb >= MN_GET)
		mn_lua_bad_argument(L, "batch", "item %lld: \"%s\" is no verb that changes something",
			(long long)item, lua_tostring(L, -1));
	lua_pop(L, 1);
	return (enum mn_verb)verb;
}

// sock:batch({ { verb, object, args }, ... }, collect, known) sends all in one go. What is refused first is
// raised, with its position as `index`. Without a transaction (route), what comes after it may have been
// applied. With collect true (route, and no links) all are tried, and a table from position to error is
// returned, which is empty when all went well. Links whose names are in `known` (a table from name to index,
// or nil) are not looked up.
int mn_socket_batch(lua_State *L)
{
	struct mn_socket *sock = mn_lua_check_socket(L, 1);
	struct batch b = { .L = L, .sock = sock, .list = 2, .args = 6 };
	bool collect = lua_toboolean(L, 3);
	lua_Integer n;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 4);
	if (lua_istable(L, 4))
		b.known = 4;
	n = luaL_len(L, 2);
	luaL_argcheck(
		L, !collect || sock->nl.protocol == NETLINK_ROUTE, 3, "a transaction is refused as a whole");
	start(&b);
	if (collect) {
		lua_newtable(L);
		b.errors = lua_gettop(L);
		b.args = b.errors + 1;
	}
	for (lua_Integer i = 1; i <= n; i++) {
		const struct mn_object *object;
		enum mn_verb verb;

		lua_settop(L, b.args - 1);
		lua_geti(L, 2, i);
		verb = check_item(L, i);
		lua_geti(L, b.args, 2);
		object = mn_lua_check_object(L, -1, sock->nl.protocol);
		if (collect && object == &mn_link_object)
			mn_lua_bad_argument(L, "batch",
				"item %lld is a link, whose refusal cannot be collected", (long long)i);
		lua_pop(L, 1);
		lua_geti(L, b.args, 3);
		lua_replace(L, b.args);
		luaL_checktype(L, b.args, LUA_TTABLE);
		add_item(&b, (int)i, verb, object);
		if (collect && b.count - b.sent >= AT_ONCE)
			must_send(&b, sock->nl.out.len);
	}
	lua_settop(L, b.args - 1);
	must_send(&b, sock->nl.out.len);
	if (!collect)
		lua_pushboolean(L, 1);
	return 1;
}
