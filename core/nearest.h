// SPDX-License-Identifier: Apache-2.0
// The known name that a mistyped one most likely meant, for messages about unknown keys.
#ifndef MNCNI_NEAREST_H
#define MNCNI_NEAREST_H

struct mn_nearest {
	const char *wanted;
	const char *found; // the best candidate so far, NULL while none is near enough
	unsigned int distance;
};

// Begins a search for wanted; then offer every candidate and read found. Both strings are borrowed.
void mn_nearest_start(struct mn_nearest *search, const char *wanted);

// Considers one candidate. Of equally near ones the first offered stays.
void mn_nearest_offer(struct mn_nearest *search, const char *candidate);

// Returns the member of the NULL-terminated list that is nearest to wanted, NULL when none is near.
const char *mn_nearest(const char *wanted, const char *const *known);

#endif
