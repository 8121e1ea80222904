// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "nl.h"
#include "schema.h"

#define MESSAGE(type) (NFNL_SUBSYS_CTNETLINK << 8 | (type))
#define AT_ONCE 64	 // removals in one send: their answers fit the receive buffer
#define REMOVAL_MAX 1024 // bytes of one

// What of a tuple the kernel (since 5.8; an older one tells all entries) is to compare: the bits of
// CTA_FILTER, net/netfilter/nf_internals.h.
#define BY_PROTOCOL (1 << 3)
#define BY_PORT (1 << 5)

void mn_conntrack_add_port(struct mn_conntrack_filter *filter, uint16_t port)
{
	filter->ports[port / 8] |= (uint8_t)(1 << port % 8);
}

static bool has_port(const struct mn_conntrack_filter *filter, uint16_t port)
{
	return filter->ports[port / 8] & 1 << port % 8;
}

// The only port of the filter, in network order; 0 when there are more, or none.
static uint16_t only_port(const struct mn_conntrack_filter *filter)
{
	uint16_t found = 0;

	for (int port = 1; port <= UINT16_MAX; port++) {
		if (!has_port(filter, (uint16_t)port))
			continue;
		if (found)
			return 0;
		found = (uint16_t)port;
	}
	return htons(found);
}

static const struct nlattr *inside(const struct nlattr *nest, uint16_t attr)
{
	return nest ? mn_attr_find(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), attr) : NULL;
}

static const struct nlattr *of_entry(const struct nlmsghdr *nlh, uint16_t attr)
{
	return mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct nfgenmsg), attr);
}

// An address of a tuple; NULL when it has none of the family's length.
static const uint8_t *address_of(const struct nlattr *tuple, uint16_t attr, uint8_t family)
{
	const struct nlattr *address = inside(inside(tuple, CTA_TUPLE_IP), attr);
	size_t size = family == AF_INET ? 4 : 16;

	return address && mnl_attr_get_payload_len(address) == size ? mnl_attr_get_payload(address) : NULL;
}

static bool is_meant(const struct mn_conntrack_filter *filter, const struct nlmsghdr *nlh)
{
	bool v4 = filter->family == AF_INET;
	size_t size = v4 ? 4 : 16;
	const struct nlattr *original, *protocol, *port;
	const uint8_t *to, *answerer;
	bool good = filter->to_count == 0;

	if (nlh->nlmsg_type != MESSAGE(IPCTNL_MSG_CT_NEW) ||
		mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg) ||
		*(const uint8_t *)mnl_nlmsg_get_payload(nlh) != filter->family)
		return false;
	original = of_entry(nlh, CTA_TUPLE_ORIG);
	protocol = inside(inside(original, CTA_TUPLE_PROTO), CTA_PROTO_NUM);
	port = inside(inside(original, CTA_TUPLE_PROTO), CTA_PROTO_DST_PORT);
	to = address_of(original, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, filter->family);
	answerer = address_of(
		of_entry(nlh, CTA_TUPLE_REPLY), v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, filter->family);
	if (!protocol || mnl_attr_get_payload_len(protocol) < 1 || !port ||
		mnl_attr_get_payload_len(port) < 2 || !to || !answerer ||
		mnl_attr_get_u8(protocol) != filter->protocol ||
		!has_port(filter, ntohs(mnl_attr_get_u16(port))))
		return false;
	for (size_t i = 0; i < filter->to_count && !good; i++)
		good = memcmp(filter->to[i], to, size) == 0;
	return good && (!filter->has_answerer || memcmp(filter->answerer, answerer, size) == 0);
}

static struct nlmsghdr *put_header(char *at, uint16_t type, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);

	nlh->nlmsg_type = MESSAGE(type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	((struct nfgenmsg *)mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg)))->nfgen_family = family;
	return nlh;
}

static int list(struct mn_nl *nl, const struct mn_conntrack_filter *filter, const struct nlmsghdr **refusal,
	struct mn_error *err)
{
	_Alignas(struct nlmsghdr) char space[256] = { 0 };
	struct nlmsghdr *nlh = put_header(space, IPCTNL_MSG_CT_GET, NLM_F_DUMP, filter->family);
	uint16_t port = only_port(filter);
	struct nlattr *nest, *inner;

	nest = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG);
	inner = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, filter->protocol);
	if (port)
		mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, port);
	mnl_attr_nest_end(nlh, inner);
	mnl_attr_nest_end(nlh, nest);
	nest = mnl_attr_nest_start(nlh, CTA_FILTER);
	mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, BY_PROTOCOL | (port ? BY_PORT : 0));
	mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, 0);
	mnl_attr_nest_end(nlh, nest);
	return mn_nl_dump(nl, space, nlh->nlmsg_len, &nl->in, refusal, err);
}

// Appends the removal of exactly this entry.
static int put_removal(struct mn_nl *nl, const struct nlmsghdr *entry)
{
	static const uint16_t names[] = { CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID };
	struct nlmsghdr *nlh;

	if (mn_buffer_reserve(&nl->out, REMOVAL_MAX) < 0)
		return -ENOMEM;
	nlh = put_header(nl->out.data + nl->out.len, IPCTNL_MSG_CT_DELETE, NLM_F_ACK,
		*(const uint8_t *)mnl_nlmsg_get_payload(entry));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct nlattr *attr = of_entry(entry, names[i]);

		if (attr && nlh->nlmsg_len + MNL_ALIGN(attr->nla_len) <= REMOVAL_MAX)
			mnl_attr_put(nlh, attr->nla_type, mnl_attr_get_payload_len(attr),
				mnl_attr_get_payload(attr));
	}
	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	nl->out.len += nlh->nlmsg_len;
	return 0;
}

// Sends the removals. One that has ended meanwhile is gone as it should be.
static int send_removals(struct mn_nl *nl, uint32_t first, size_t *count, struct mn_error *err)
{
	const struct nlmsghdr *answer = NULL;
	uint32_t last = nl->seq;
	int ret = mn_nl_exchange(nl, &nl->out, last, &nl->names, err);

	while (ret == 0 && (answer = mn_nl_next(nl, &nl->names, answer, first, last))) {
		int errnum = mn_nl_errno(answer);

		if (errnum && errnum != ENOENT) {
			ret = mn_fail(err, errnum, "flush", "conntrack",
				"the kernel keeps an entry of a host port");
			err->code = 102;
		} else if (!errnum) {
			++*count;
		}
	}
	nl->out.len = 0;
	return ret;
}

static int remove_all(
	struct mn_nl *nl, const struct mn_conntrack_filter *filter, size_t *count, struct mn_error *err)
{
	const struct nlmsghdr *entry = NULL;
	uint32_t first = 0, listed = nl->seq;
	int pending = 0, ret = 0;

	nl->out.len = 0;
	while (ret == 0 && (entry = mn_nl_next(nl, &nl->in, entry, listed, listed))) {
		if (!is_meant(filter, entry))
			continue;
		if (put_removal(nl, entry) < 0)
			return mn_fail(err, ENOMEM, "flush", "conntrack", "no memory");
		if (pending++ == 0)
			first = nl->seq;
		if (pending == AT_ONCE) {
			ret = send_removals(nl, first, count, err);
			pending = 0;
		}
	}
	return ret == 0 && pending ? send_removals(nl, first, count, err) : ret;
}

// Whether the kernel says that it has no ctnetlink.
static bool is_missing(const struct nlmsghdr *refusal)
{
	int errnum = mn_nl_errno(refusal);

	return errnum == EINVAL || errnum == EOPNOTSUPP || errnum == EPROTONOSUPPORT;
}

int mn_conntrack_flush(
	int netns, const struct mn_conntrack_filter *filter, size_t *count, struct mn_error *err)
{
	const struct nlmsghdr *refusal = NULL;
	struct mn_nl nl = { 0 };
	int ret = mn_nl_open(&nl, NETLINK_NETFILTER, netns, err);

	*count = 0;
	if (ret == 0)
		ret = list(&nl, filter, &refusal, err);
	if (ret == 0 && refusal && !is_missing(refusal)) {
		ret = mn_fail(err, mn_nl_errno(refusal), "list", "conntrack", "the kernel refuses to");
		err->code = 102;
	}
	if (ret == 0 && !refusal)
		ret = remove_all(&nl, filter, count, err);
	mn_nl_close(&nl);
	return ret;
}
