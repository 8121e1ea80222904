// SPDX-License-Identifier: Apache-2.0
// What the kernel says about a request it refused: its words, and which attribute it means.
#define _GNU_SOURCE
#include "schema.h"

#include <inttypes.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

struct walk {
	const char *request;	      // start of the message
	size_t wanted;		      // offset of the attribute looked for
	char path[96];		      // its keys, joined by dots
	const struct mn_row *row;     // its row, NULL for one without
	const struct mn_table *inner; // its table when it is a nest
	uint16_t number;
	bool found;
};

static void add_key(struct walk *walk, const char *key)
{
	size_t len = strlen(walk->path);

	if (key)
		snprintf(walk->path + len, sizeof(walk->path) - len, "%s%s", len ? "." : "", key);
}

static void walk_attrs(struct walk *walk, const struct mn_table *table, const char *data, size_t len);

static void walk_table(struct walk *walk, const struct mn_table *table, const char *data, size_t len)
{
	size_t header = NLMSG_ALIGN(table->header);

	if (header <= len)
		walk_attrs(walk, table, data + header, len - header);
}

// The attribute whose bytes include the offset; sets what is known of it and goes on into it.
static void walk_into(struct walk *walk, const struct mn_table *table, const struct nlattr *attr,
	const char *data, size_t len)
{
	const char *payload = mnl_attr_get_payload(attr);
	size_t size = mnl_attr_get_payload_len(attr);
	const struct mn_row *row = table ? mn_row_of_attr(table, mnl_attr_get_type(attr), NULL) : NULL;
	const struct mn_variant *variant;

	walk->row = row;
	walk->number = mnl_attr_get_type(attr);
	walk->inner = NULL;
	walk->found = true;
	if (!row)
		return;
	add_key(walk, row->key);
	switch (row->type) {
	case MN_VARIANT:
		variant = mn_variant_of(row, data, len);
		if (!variant)
			break;
		add_key(walk, variant->key);
		walk->inner = variant->table;
		break;
	case MN_NEST:
	case MN_INLINE:
	case MN_LIST:
		walk->inner = row->table;
		break;
	default:
		break;
	}
	if ((size_t)((const char *)attr - walk->request) == walk->wanted || !walk->inner)
		return;
	if (row->type != MN_LIST) {
		walk_table(walk, walk->inner, payload, size);
		return;
	}
	for (const struct nlattr *item = (const struct nlattr *)payload; mn_attr_fits(item, size);) {
		size_t step = MNL_ALIGN((size_t)item->nla_len),
		       at = (size_t)((const char *)item - walk->request);

		if (walk->wanted >= at && walk->wanted < at + item->nla_len) {
			walk_table(
				walk, row->table, mnl_attr_get_payload(item), mnl_attr_get_payload_len(item));
			return;
		}
		if (step >= size)
			return;
		size -= step;
		item = (const struct nlattr *)((const char *)item + step);
	}
}

static void walk_attrs(struct walk *walk, const struct mn_table *table, const char *data, size_t len)
{
	const struct nlattr *attr = (const struct nlattr *)data;
	size_t left = len;

	while (mn_attr_fits(attr, left)) {
		size_t step = MNL_ALIGN((size_t)attr->nla_len),
		       at = (size_t)((const char *)attr - walk->request);

		if (walk->wanted >= at && walk->wanted < at + attr->nla_len) {
			walk_into(walk, table, attr, data, len);
			return;
		}
		if (step >= left)
			return;
		left -= step;
		attr = (const struct nlattr *)((const char *)attr + step);
	}
}

static void find(
	struct walk *walk, const struct mn_object *object, const struct nlmsghdr *request, size_t offset)
{
	memset(walk, 0, sizeof(*walk));
	walk->request = (const char *)request;
	walk->wanted = offset;
	walk->inner = object->table;
	if (offset >= NLMSG_HDRLEN && offset < request->nlmsg_len)
		walk_table(walk, object->table, mnl_nlmsg_get_payload(request),
			mnl_nlmsg_get_payload_len(request));
}

static void name_attribute(const struct walk *walk, const char *path, const struct mn_row *row,
	uint16_t number, struct mn_error *err)
{
	if (row && *path)
		snprintf(err->attribute, sizeof(err->attribute), "%s (%s)", path, row->name);
	else if (row)
		snprintf(err->attribute, sizeof(err->attribute), "%s", row->name);
	else
		snprintf(err->attribute, sizeof(err->attribute), "%s%sattribute %u", walk->path,
			*walk->path ? "." : "", number);
}

// The range that the kernel's policy has for the attribute.
static void add_policy(const struct nlattr *policy, struct mn_error *err)
{
	const struct nlattr *attr;
	uint64_t min = 0, max = 0;
	bool is_signed = false, has_min = false, has_max = false, is_length = false;

	mnl_attr_for_each_nested (attr, policy) {
		switch (mnl_attr_get_type(attr)) {
		case NL_POLICY_TYPE_ATTR_MIN_VALUE_S:
			is_signed = true;
			// fall through
		case NL_POLICY_TYPE_ATTR_MIN_VALUE_U:
			if (mnl_attr_get_payload_len(attr) >= 8)
				min = mnl_attr_get_u64(attr);
			has_min = true;
			break;
		case NL_POLICY_TYPE_ATTR_MAX_VALUE_S:
			is_signed = true;
			// fall through
		case NL_POLICY_TYPE_ATTR_MAX_VALUE_U:
			if (mnl_attr_get_payload_len(attr) >= 8)
				max = mnl_attr_get_u64(attr);
			has_max = true;
			break;
		case NL_POLICY_TYPE_ATTR_MIN_LENGTH:
		case NL_POLICY_TYPE_ATTR_MAX_LENGTH:
			if (mnl_attr_get_payload_len(attr) < 4)
				break;
			is_length = true;
			if (mnl_attr_get_type(attr) == NL_POLICY_TYPE_ATTR_MIN_LENGTH) {
				min = mnl_attr_get_u32(attr);
				has_min = true;
			} else {
				max = mnl_attr_get_u32(attr);
				has_max = true;
			}
			break;
		default:
			break;
		}
	}
	if (has_min && has_max && is_signed)
		snprintf(err->message, sizeof(err->message), "allowed is %" PRId64 " to %" PRId64,
			(int64_t)min, (int64_t)max);
	else if (has_min && has_max)
		snprintf(err->message, sizeof(err->message), "allowed is %s%" PRIu64 " to %" PRIu64 "%s",
			is_length ? "a length of " : "", min, max, is_length ? " bytes" : "");
	else if (has_max && is_length)
		snprintf(err->message, sizeof(err->message), "allowed are at most %" PRIu64 " bytes", max);
}

static const char *extack_start(const struct nlmsghdr *answer, size_t *len)
{
	const char *payload = mnl_nlmsg_get_payload(answer);
	size_t size = mnl_nlmsg_get_payload_len(answer), skip = NLMSG_ALIGN(sizeof(int));

	if (!(answer->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (answer->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = (const struct nlmsgerr *)payload;

		if (size < sizeof(*error))
			return NULL;
		skip = sizeof(*error);
		if (!(answer->nlmsg_flags & NLM_F_CAPPED) && error->error)
			skip += NLMSG_ALIGN(error->msg.nlmsg_len) - NLMSG_HDRLEN;
	}
	if (skip >= size)
		return NULL;
	*len = size - skip;
	return payload + skip;
}

static const struct nlattr *extack_get(const char *data, size_t len, uint16_t type, size_t least)
{
	const struct nlattr *attr = mn_attr_find(data, len, type);

	return attr && mnl_attr_get_payload_len(attr) >= least ? attr : NULL;
}

// "missing: gateway (RTA_GATEWAY)"
static void add_missing(const struct mn_object *object, const struct nlmsghdr *request, const char *data,
	size_t len, uint16_t number, struct mn_error *err)
{
	const struct nlattr *nest = extack_get(data, len, NLMSGERR_ATTR_MISS_NEST, 4);
	const struct mn_row *row;
	struct walk walk;

	find(&walk, object, request, nest ? mnl_attr_get_u32(nest) : 0);
	row = walk.inner ? mn_row_of_attr(walk.inner, number, NULL) : NULL;
	if (row && row->key)
		add_key(&walk, row->key);
	name_attribute(&walk, walk.path, row, number, err);
	snprintf(err->message, sizeof(err->message), "a required key is missing");
}

void mn_nl_refusal(const struct mn_object *object, const struct nlmsghdr *request,
	const struct nlmsghdr *answer, struct mn_error *err)
{
	const struct nlattr *attr;
	struct walk walk;
	const char *data;
	size_t len;

	err->errnum = mn_nl_errno(answer);
	err->code = 102;
	data = extack_start(answer, &len);
	if (!data)
		return;
	attr = extack_get(data, len, NLMSGERR_ATTR_MSG, 1);
	if (attr)
		snprintf(err->extack, sizeof(err->extack), "%.*s", (int)mnl_attr_get_payload_len(attr),
			(const char *)mnl_attr_get_payload(attr));
	attr = extack_get(data, len, NLMSGERR_ATTR_POLICY, 0);
	if (attr)
		add_policy(attr, err);
	attr = extack_get(data, len, NLMSGERR_ATTR_OFFS, 4);
	if (attr && object) {
		find(&walk, object, request, mnl_attr_get_u32(attr));
		if (walk.found)
			name_attribute(&walk, walk.path, walk.row, walk.number, err);
	}
	attr = extack_get(data, len, NLMSGERR_ATTR_MISS_TYPE, 4);
	if (attr && object)
		add_missing(object, request, data, len, (uint16_t)mnl_attr_get_u32(attr), err);
}
