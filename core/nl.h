// SPDX-License-Identifier: Apache-2.0
// Netlink sockets: one per namespace and protocol, synchronous, nothing cached.
#ifndef MNCNI_NL_H
#define MNCNI_NL_H

#include "error.h"

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MN_NL_BUFFER 65536  // what one receive can take; the kernel's dumps never send more at once
#define MN_NL_DUMP_TRIES 10 // dumps interrupted by changes are repeated this often
#define MN_NL_TIMEOUT \
	10000 // milliseconds: the kernel answers at once, so this guards against nothing but bugs

// Bytes that grow. All zero is a valid empty buffer.
struct mn_buffer {
	char *data;
	size_t len;
	size_t cap;
};

// A socket and the two buffers that belong to it. All zero is a closed one.
struct mn_nl {
	struct mnl_socket *socket;
	int protocol;
	uint32_t portid;
	uint32_t seq;		// of the request made last
	size_t sndbuf;		// what the kernel takes in one send
	struct mn_buffer out;	// requests, zeroed before they are built
	struct mn_buffer in;	// answers to them
	struct mn_buffer names; // answers to look-ups made while the other two are in use
};

// Makes room for `more` bytes after the end and zeroes them. Returns 0 or -ENOMEM.
int mn_buffer_reserve(struct mn_buffer *buffer, size_t more);
void mn_buffer_free(struct mn_buffer *buffer);

// Opens a socket of a protocol (NETLINK_ROUTE, ...) inside the namespace netns_fd (-1: the caller's own) with
// extended and capped acks and strict checking. The caller is back home when this returns.
int mn_nl_open(struct mn_nl *nl, int protocol, int netns_fd, struct mn_error *err);

// The same for a listener: a big receive buffer, and with all_netns also the events of the namespaces that
// have an nsid in this one.
int mn_nl_listen(struct mn_nl *nl, int protocol, int netns_fd, bool all_netns, struct mn_error *err);
int mn_nl_join(struct mn_nl *nl, unsigned int group, struct mn_error *err);

// May be called twice, and on what was never opened.
void mn_nl_close(struct mn_nl *nl);
int mn_nl_fd(const struct mn_nl *nl);

// The cookie of the socket's namespace: unlike an inode's number never used twice in one boot. -errno on
// kernels before 5.14.
int mn_nl_cookie(const struct mn_nl *nl, uint64_t *cookie);

// The sequence number for the next request.
uint32_t mn_nl_next_seq(struct mn_nl *nl);

// Sends the messages in request and receives into reply until the one numbered `last` is answered. What the
// kernel thinks of each request is in the reply; only failing to talk to it is an error here.
int mn_nl_exchange(struct mn_nl *nl, const struct mn_buffer *request, uint32_t last, struct mn_buffer *reply,
	struct mn_error *err);

// Sends the dump request at data and receives all of its answer. Repeats, a bounded number of times, what the
// kernel says was interrupted by changes, and fails with EINTR when it never was whole. *refusal is the
// message by which the kernel refused, NULL when it did not.
int mn_nl_dump(struct mn_nl *nl, char *data, size_t len, struct mn_buffer *reply,
	const struct nlmsghdr **refusal, struct mn_error *err);

// One datagram for a listener. Returns its length, 0 when nothing came within timeout milliseconds (-1:
// forever), or -ENOBUFS when events were lost. *nsid is -1 for the listener's own namespace.
ssize_t mn_nl_event(struct mn_nl *nl, struct mn_buffer *into, int timeout, int *nsid, struct mn_error *err);

// The next answer in a reply that carries a number from first to last and came to this socket, after `from`
// (NULL: from the start); NULL at the end.
const struct nlmsghdr *mn_nl_next(const struct mn_nl *nl, const struct mn_buffer *reply,
	const struct nlmsghdr *from, uint32_t first, uint32_t last);

// Whether a whole message is in the len bytes at nlh, whatever it says of its length: mnl_nlmsg_ok() takes
// one beyond INT_MAX for a negative one, which fits everywhere.
bool mn_nl_fits(const struct nlmsghdr *nlh, int len);

// The positive errno of an NLMSG_ERROR or NLMSG_DONE message, 0 for an ack and any other message.
int mn_nl_errno(const struct nlmsghdr *nlh);

// Asks for the index of a link by name, or for the name of an index (name has room for IFNAMSIZ). -ENODEV
// when there is none.
int mn_nl_link_index(struct mn_nl *nl, const char *name, int *index, struct mn_error *err);
int mn_nl_link_name(struct mn_nl *nl, int index, char *name, struct mn_error *err);

#endif
