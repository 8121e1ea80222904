// SPDX-License-Identifier: Apache-2.0
// Takes rules out of a chain of nf_tables that others have rules in, too. A rule has no name but the number
// that the kernel gave it, which nobody knew when the journal was written; what tells ours is their comment.
#define _GNU_SOURCE
#include "undo_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "nl.h"

#define MESSAGE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))
#define ROUNDS 1000   // of looking and sending: each one that is lost was somebody else's gain
#define COMMENT 0     // the first type of user data
#define FRAME_ROOM 64 // bytes that the begin or the end of a transaction takes

static struct nlmsghdr *put_header(struct mn_buffer *to, uint16_t type, uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(to->data + to->len);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(nlh, sizeof(*header));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	header->nfgen_family = family;
	header->version = NFNETLINK_V0;
	header->res_id = htons(res_id);
	return nlh;
}

static const struct nlattr *find(const struct nlmsghdr *nlh, uint16_t type)
{
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return NULL;
	mnl_attr_for_each (attr, nlh, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
	}
	return NULL;
}

// The number of the ruleset: a transaction that carries it is refused when something has changed since.
static int generation(struct mn_nl *nl, uint32_t *id, struct mn_error *err)
{
	_Alignas(struct nlmsghdr) char space[FRAME_ROOM] = { 0 };
	struct mn_buffer request = { .data = space };
	struct nlmsghdr *nlh = put_header(&request, MESSAGE(NFT_MSG_GETGEN), AF_UNSPEC, 0);
	const struct nlmsghdr *answer;
	const struct nlattr *attr;
	int ret;

	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	request.len = nlh->nlmsg_len;
	ret = mn_nl_exchange(nl, &request, nlh->nlmsg_seq, &nl->in, err);
	if (ret < 0)
		return ret;
	answer = mn_nl_next(nl, &nl->in, NULL, nlh->nlmsg_seq, nlh->nlmsg_seq);
	if (answer && mn_nl_errno(answer))
		return mn_undo_refused(err, -mn_nl_errno(answer), "nftables rules");
	attr = answer ? find(answer, NFTA_GEN_ID) : NULL;
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
		return mn_fail(err, EPROTO, "undo", "netlink", "the kernel did not answer a request");
	*id = ntohl(mnl_attr_get_u32(attr));
	return 0;
}

static const struct nlattr *find_nested(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, nest) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
	}
	return NULL;
}

// Whether an attribute is the text, which may be followed by zeros alone.
static bool is_text(const struct nlattr *attr, const char *text)
{
	size_t size = strlen(text) + 1;

	return attr && mnl_attr_get_payload_len(attr) >= size &&
		memcmp(mnl_attr_get_payload(attr), text, size) == 0;
}

// Whether an expression is the comment as iptables-restore writes it: as a match.
static bool is_comment_match(const struct nlattr *expression, const char *comment)
{
	const struct nlattr *data = find_nested(expression, NFTA_EXPR_DATA);

	return is_text(find_nested(expression, NFTA_EXPR_NAME), "match") && data &&
		is_text(find_nested(data, NFTA_MATCH_NAME), "comment") &&
		is_text(find_nested(data, NFTA_MATCH_INFO), comment);
}

// Whether a rule has the comment. User data is a row of { type, length, bytes }.
static bool is_ours(const struct nlmsghdr *rule, const char *comment)
{
	const struct nlattr *attr = find(rule, NFTA_RULE_USERDATA), *list = find(rule, NFTA_RULE_EXPRESSIONS),
			    *expression;
	size_t len = attr ? mnl_attr_get_payload_len(attr) : 0, size = strlen(comment) + 1;
	const uint8_t *data = attr ? mnl_attr_get_payload(attr) : NULL;

	while (len >= 2 && data[1] <= len - 2) {
		if (data[0] == COMMENT && data[1] == size && memcmp(data + 2, comment, size) == 0)
			return true;
		len -= 2U + data[1];
		data += 2 + data[1];
	}
	if (!list)
		return false;
	mnl_attr_for_each_nested (expression, list) {
		if (is_comment_match(expression, comment))
			return true;
	}
	return false;
}

// Appends what deletes a rule, by the names and the number that the kernel told of it.
static int put_deletion(struct mn_nl *nl, const struct nlmsghdr *rule, struct mn_error *err)
{
	static const uint16_t attrs[] = { NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE };
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(rule);
	struct nlmsghdr *nlh;

	if (mn_buffer_reserve(&nl->out, rule->nlmsg_len + FRAME_ROOM) < 0)
		return mn_fail(err, ENOMEM, "undo", "nftables rules", "no memory");
	nlh = put_header(&nl->out, MESSAGE(NFT_MSG_DELRULE), header->nfgen_family, 0);
	nlh->nlmsg_flags |= NLM_F_ACK;
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		const struct nlattr *attr = find(rule, attrs[i]);

		if (attr)
			mnl_attr_put(
				nlh, attrs[i], mnl_attr_get_payload_len(attr), mnl_attr_get_payload(attr));
	}
	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	nl->out.len += nlh->nlmsg_len;
	return 1;
}

static int put_frame(struct mn_nl *nl, uint16_t type, uint32_t id, struct mn_error *err)
{
	struct nlmsghdr *nlh;

	if (mn_buffer_reserve(&nl->out, FRAME_ROOM) < 0)
		return mn_fail(err, ENOMEM, "undo", "nftables rules", "no memory");
	nlh = put_header(&nl->out, type, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (type == NFNL_MSG_BATCH_BEGIN)
		mnl_attr_put_u32(nlh, NFNL_BATCH_GENID, htonl(id));
	nlh->nlmsg_seq = mn_nl_next_seq(nl);
	nl->out.len += nlh->nlmsg_len;
	return 0;
}

// Builds the transaction that deletes what is ours in the chain. 1, or 0 when there is nothing.
static int build(
	struct mn_nl *nl, char *list, size_t len, uint32_t id, const char *comment, struct mn_error *err)
{
	const struct nlmsghdr *refusal = NULL, *nlh = NULL;
	int ret, count = 0;

	ret = mn_nl_dump(nl, list, len, &nl->in, &refusal, err);
	if (ret < 0)
		return ret;
	if (refusal)
		return mn_undo_absent(-mn_nl_errno(refusal))
			? 0
			: mn_undo_refused(err, -mn_nl_errno(refusal), "nftables rules");
	nl->out.len = 0;
	ret = put_frame(nl, NFNL_MSG_BATCH_BEGIN, id, err);
	while (ret >= 0 && (nlh = mn_nl_next(nl, &nl->in, nlh, 0, UINT32_MAX))) {
		if (nlh->nlmsg_type != MESSAGE(NFT_MSG_NEWRULE) || !is_ours(nlh, comment))
			continue;
		ret = put_deletion(nl, nlh, err);
		count++;
	}
	if (ret >= 0)
		ret = put_frame(nl, NFNL_MSG_BATCH_END, id, err);
	return ret < 0 ? ret : count > 0;
}

// Sends the transaction. 1 when it came too late: something has changed since the rules were looked at.
static int send_built(struct mn_nl *nl, struct mn_error *err)
{
	uint32_t last = nl->seq - 1, first = ((const struct nlmsghdr *)nl->out.data)->nlmsg_seq;
	const struct nlmsghdr *answer = NULL;
	int ret = mn_nl_exchange(nl, &nl->out, last, &nl->in, err);

	while (ret == 0 && (answer = mn_nl_next(nl, &nl->in, answer, first, last + 1))) {
		int errnum = mn_nl_errno(answer);

		if (errnum == ERESTART || mn_undo_absent(-errnum))
			return 1;
		if (errnum)
			ret = mn_undo_refused(err, -errnum, "nftables rules");
	}
	return ret;
}

// Deletes the rules with a comment of a chain; "list" is the request that lists the chain.
int mn_undo_rules(const cJSON *entry, int netns, struct mn_error *err)
{
	const char *hex = mn_undo_string(entry, "list"), *comment = mn_undo_string(entry, "comment");
	auto_free char *list = NULL;
	struct mn_nl nl = { 0 };
	int ret, left = ROUNDS;
	uint32_t id = 0;
	size_t len;

	if (!comment || !*comment)
		return mn_undo_bad_entry(err, "rules", "comment");
	if (!hex || mn_undo_unhex(hex, &list, &len) < 0 || !mn_undo_is_whole(list, len, false) ||
		((const struct nlmsghdr *)list)->nlmsg_type != MESSAGE(NFT_MSG_GETRULE))
		return mn_undo_bad_entry(err, "rules", "list");
	ret = mn_nl_open(&nl, NETLINK_NETFILTER, netns, err);
	do {
		if (ret >= 0)
			ret = generation(&nl, &id, err);
		if (ret >= 0)
			ret = build(&nl, list, len, id, comment, err);
		if (ret > 0)
			ret = send_built(&nl, err);
	} while (ret > 0 && --left);
	mn_nl_close(&nl);
	if (ret > 0)
		return mn_fail(err, EAGAIN, "undo", "nftables rules", "others changed nftables all the time");
	return ret;
}
