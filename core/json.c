// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_scan.h"

// cJSON looks at the low byte of an item's type (and at 256 and 512); this bit is ours: written as an
// integer. An integer that a double cannot hold has its digits in valuestring, which cJSON frees with the
// item.
#define WRITTEN_AS_INTEGER (1 << 12)
#define DOUBLE_EXACT (INT64_C(1) << 53)

struct key {
	const char *name;
	size_t offset;
};

// The second pass: goes through cJSON's tree and the scanner's marks, which are in the same order.
struct walk {
	struct mn_json_scan *scan;
	size_t next;	  // mark
	struct key *keys; // of the objects that the walk is in; as many as there are marks is enough
	size_t keys_used;
};

static int by_name_then_offset(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

static int refuse_duplicates(struct walk *walk, struct key *keys, size_t count)
{
	const struct key *first = NULL;

	if (count > 1)
		qsort(keys, count, sizeof(*keys), by_name_then_offset);
	for (size_t i = 1; i < count; i++)
		if (strcmp(keys[i - 1].name, keys[i].name) == 0 && (!first || keys[i].offset < first->offset))
			first = &keys[i];
	if (!first)
		return 0;
	return mn_json_fault(walk->scan, first->offset, "key \"%.*s\" for the second time",
		(int)mn_utf8_span(first->name, strnlen(first->name, 64)), first->name);
}

static int annotate_number(struct walk *walk, cJSON *item)
{
	const struct mn_json_mark *mark = &walk->scan->marks[walk->next++];
	char digits[24];

	if (mark->kind == MN_JSON_MARK_FLOAT)
		return isfinite(item->valuedouble)
			? 0
			: mn_json_fault(walk->scan, mark->offset, "number too big for a double");
	item->type |= WRITTEN_AS_INTEGER;
	if (mark->integer >= -DOUBLE_EXACT && mark->integer <= DOUBLE_EXACT)
		return 0;
	snprintf(digits, sizeof(digits), "%lld", (long long)mark->integer);
	item->valuestring = strdup(digits);
	return item->valuestring ? 0 : mn_fail(walk->scan->err, ENOMEM, "decode", "JSON", NULL);
}

static int annotate(struct walk *walk, cJSON *item)
{
	struct key *keys = walk->keys + walk->keys_used;
	size_t count = 0;
	cJSON *child;
	int ret;

	if (cJSON_IsNumber(item))
		return annotate_number(walk, item);
	if (cJSON_IsObject(item))
		walk->keys_used += (size_t)cJSON_GetArraySize(item);
	cJSON_ArrayForEach (child, item) {
		if (cJSON_IsObject(item))
			keys[count++] = (struct key){ child->string, walk->scan->marks[walk->next++].offset };
		ret = annotate(walk, child);
		if (ret < 0)
			return ret;
	}
	walk->keys_used -= count;
	return refuse_duplicates(walk, keys, count);
}

// Has cJSON build the tree of a text that the scanner has passed.
static int build(struct mn_json_scan *scan, cJSON **out)
{
	struct walk walk = { .scan = scan, .keys = calloc(scan->count + 1, sizeof(*walk.keys)) };
	cJSON *tree = cJSON_ParseWithOpts(scan->text, NULL, 1);
	int ret;

	if (!walk.keys || !tree) // the text is valid: only memory can be the reason
		ret = mn_fail(scan->err, ENOMEM, "decode", "JSON", NULL);
	else
		ret = annotate(&walk, tree);
	free(walk.keys);
	if (ret < 0)
		cJSON_Delete(tree);
	else
		*out = tree;
	return ret;
}

int mn_json_parse_at(const char *text, size_t len, unsigned int max_depth, cJSON **out,
	struct mn_json_place *place, struct mn_error *err)
{
	struct mn_json_scan scan = { .len = len, .max_depth = max_depth, .place = place, .err = err };
	char *copy = malloc(len + 1);
	int ret;

	if (place)
		*place = (struct mn_json_place){ 0, 1, 1 };
	if (!copy)
		return mn_fail(err, ENOMEM, "decode", "JSON", NULL);
	memcpy(copy, text, len);
	copy[len] = '\0';
	scan.text = copy;
	ret = mn_json_scan(&scan);
	if (ret == 0)
		ret = build(&scan, out);
	free(scan.marks);
	free(copy);
	return ret;
}

int mn_json_parse(const char *text, size_t len, cJSON **out, struct mn_error *err)
{
	return mn_json_parse_at(text, len, MN_JSON_DEPTH, out, NULL, err);
}

int mn_json_check_object(const char *text, size_t len, struct mn_error *err)
{
	struct mn_json_scan scan = { .text = text, .len = len, .max_depth = MN_JSON_DEPTH, .err = err };
	int ret = mn_json_scan(&scan);

	free(scan.marks);
	if (ret < 0)
		return ret;
	return text[strspn(text, " \t\r\n")] == '{'
		? 0
		: mn_fail(err, EINVAL, "decode", "JSON", "expected an object");
}

bool mn_json_integer(const cJSON *item, int64_t *value)
{
	if (!cJSON_IsNumber(item) || !(item->type & WRITTEN_AS_INTEGER))
		return false;
	*value = item->valuestring ? strtoll(item->valuestring, NULL, 10) : (int64_t)item->valuedouble;
	return true;
}

const char *mn_json_get_string(const cJSON *object, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

bool mn_json_get_integer(const cJSON *object, const char *key, int64_t *value)
{
	return mn_json_integer(cJSON_GetObjectItemCaseSensitive(object, key), value);
}
