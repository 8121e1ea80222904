// SPDX-License-Identifier: Apache-2.0
// One record of a call as a line of JSON.
#ifndef MNCNI_RECORD_TEXT_H
#define MNCNI_RECORD_TEXT_H

#include "record.h"

#define MN_RECORD_TEXT 989 // bytes of JSON that a slot holds

// Writes the record as JSON, cut so that it fits. repeated counts the earlier ones that it stands for.
int mn_record_format(const struct mn_record *record, unsigned int repeated, char json[MN_RECORD_TEXT + 1]);

// Returns how many calls the JSON stands for if it tells of the same verb, network and outcome, else 0.
unsigned int mn_record_same(const char *json, const struct mn_record *record);

#endif
