// SPDX-License-Identifier: Apache-2.0
// The pass over a JSON text that comes before cJSON's.
#ifndef MNCNI_JSON_SCAN_H
#define MNCNI_JSON_SCAN_H

#include "json.h"

// A key or a number, in the order of the text.
struct mn_json_mark {
	size_t offset;
	int64_t integer;
	enum { MN_JSON_MARK_KEY, MN_JSON_MARK_INTEGER, MN_JSON_MARK_FLOAT } kind;
};

struct mn_json_scan {
	const char *text; // terminated
	size_t len, at;
	unsigned int depth, max_depth;
	struct mn_json_mark *marks; // freed by the caller, also after a failure
	size_t count, room;
	struct mn_json_place *place;
	struct mn_error *err;
};

// Checks the whole text and collects its marks. Returns 0 or -errno with err and place filled in.
int mn_json_scan(struct mn_json_scan *scan);

// Fills in err and place for a fault at offset and returns -EINVAL.
int mn_json_fault(struct mn_json_scan *scan, size_t offset, const char *message, ...)
	__attribute__((format(printf, 3, 4)));

#endif
