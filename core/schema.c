// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "schema.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

static const struct mn_object *const objects[] = {
	&mn_link_object,
	&mn_addr_object,
	&mn_route_object,
	&mn_rule_object,
	&mn_neigh_object,
	&mn_fdb_object,
	&mn_vlan_object,
	&mn_nsid_object,
	&mn_qdisc_object,
	&mn_class_object,
	&mn_filter_object,
	&mn_nft_table_object,
	&mn_nft_chain_object,
	&mn_nft_rule_object,
	&mn_nft_set_object,
	&mn_nft_element_object,
	&mn_nft_gen_object,
};

static const struct mn_row no_rows[1];
const struct mn_table mn_nothing_table = { .rows = no_rows };

static const char *const verbs[] = {
	[MN_ADD] = "add",
	[MN_REPLACE] = "replace",
	[MN_APPEND] = "append",
	[MN_INSERT] = "insert",
	[MN_SET] = "set",
	[MN_DEL] = "del",
	[MN_FLUSH] = "flush",
	[MN_GET] = "get",
	[MN_DUMP] = "dump",
	[MN_NEW] = "new",
};

const struct mn_object *mn_object_at(size_t index)
{
	return index < sizeof(objects) / sizeof(objects[0]) ? objects[index] : NULL;
}

const struct mn_object *mn_object_find(const char *name)
{
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		if (strcmp(objects[i]->name, name) == 0)
			return objects[i];
	}
	return NULL;
}

const struct mn_object *mn_object_of(int protocol, const struct nlmsghdr *nlh, bool *gone)
{
	const uint8_t *family = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_len < NLMSG_HDRLEN + sizeof(*family))
		return NULL;
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		const struct mn_object *object = objects[i];

		// Neighbours and forwarding entries share their message types and differ by family, and so do
		// links and the VLANs of a bridge's ports.
		if (object->protocol != protocol ||
			(object->type_new != nlh->nlmsg_type && object->type_del != nlh->nlmsg_type &&
				(!object->type_change || object->type_change != nlh->nlmsg_type)) ||
			(object->family && object->family != *family) ||
			(*family == AF_BRIDGE && (object == &mn_neigh_object || object == &mn_link_object)))
			continue;
		*gone = object->type_new != nlh->nlmsg_type && object->type_change != nlh->nlmsg_type;
		return object;
	}
	return NULL;
}

const char *mn_verb_name(enum mn_verb verb)
{
	return verbs[verb];
}

int mn_verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i], name) == 0)
			return (int)i;
	}
	return -1;
}

const struct mn_name *mn_name_find(const struct mn_name *names, const char *name)
{
	for (; names->name; names++) {
		if (strcmp(names->name, name) == 0)
			return names;
	}
	return NULL;
}

const char *mn_name_of(const struct mn_name *names, uint32_t value)
{
	for (; names->name; names++) {
		if (names->value == value)
			return names->name;
	}
	return NULL;
}

static const struct mn_row *row_between(const struct mn_row *row, const struct mn_row *end, uint16_t attr)
{
	while (row < end && (row->attr != attr || row->flags & MN_HEADER))
		row++;
	return row < end ? row : NULL;
}

const struct mn_row *mn_row_of_attr(const struct mn_table *table, uint16_t attr, const struct mn_row *from)
{
	const struct mn_row *start = from ? from : table->rows;
	const struct mn_row *row = row_between(start, table->rows + table->count, attr);

	return row ? row : row_between(table->rows, start, attr);
}

bool mn_each_key(const struct mn_table *table, const char *kind,
	bool (*tell)(void *arg, const struct mn_row *row, const char *key), void *arg)
{
	for (const struct mn_row *row = table->rows; row < table->rows + table->count; row++) {
		if (row->type == MN_INLINE) {
			if (mn_each_key(row->table, kind, tell, arg))
				return true;
		} else if (row->type == MN_VARIANT) {
			for (const struct mn_variant *v = row->variants; v->kind; v++) {
				if (v->key ? tell(arg, row, v->key)
					   : (!kind || strcmp(kind, v->kind) == 0) &&
							mn_each_key(v->table, NULL, tell, arg))
					return true;
			}
		} else if (row->key && tell(arg, row, row->key)) {
			return true;
		}
	}
	return false;
}

static bool same_key(void *arg, const struct mn_row *row, const char *key)
{
	const char *wanted = arg;

	(void)row;
	return *key == *wanted && strcmp(key, wanted) == 0;
}

bool mn_key_known(const struct mn_table *table, const char *kind, const char *key)
{
	return mn_each_key(table, kind, same_key, (void *)key);
}

bool mn_attr_fits(const struct nlattr *attr, size_t len)
{
	return len >= sizeof(*attr) && attr->nla_len >= sizeof(*attr) && attr->nla_len <= len;
}

const struct nlattr *mn_attr_find(const char *data, size_t len, uint16_t number)
{
	const struct nlattr *attr = (const struct nlattr *)data;

	while (mn_attr_fits(attr, len)) {
		size_t step = MNL_ALIGN((size_t)attr->nla_len);

		if (mnl_attr_get_type(attr) == number)
			return attr;
		if (step >= len)
			break;
		len -= step;
		attr = (const struct nlattr *)((const char *)attr + step);
	}
	return NULL;
}

const struct mn_variant *mn_variant_named(const struct mn_row *row, const char *kind, size_t len)
{
	for (const struct mn_variant *v = row->variants; v->kind; v++) {
		if (strlen(v->kind) == len && memcmp(v->kind, kind, len) == 0)
			return v;
	}
	return NULL;
}

const struct mn_variant *mn_variant_of(const struct mn_row *row, const char *data, size_t len)
{
	const struct nlattr *kind = mn_attr_find(data, len, row->aux);

	if (!kind)
		return NULL;
	return mn_variant_named(row, mnl_attr_get_payload(kind),
		strnlen(mnl_attr_get_payload(kind), mnl_attr_get_payload_len(kind)));
}
