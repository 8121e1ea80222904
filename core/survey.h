// SPDX-License-Identifier: Apache-2.0
// The network namespaces that are there: those of every thread that /proc shows, and those that are mounted
// in the mount namespace of any of them. What only an open descriptor or socket holds is not seen.
#ifndef MNCNI_SURVEY_H
#define MNCNI_SURVEY_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct mn_seen {
	uint64_t dev, ino;
	char *path; // opens it for as long as what holds it lives; NULL: only covered mounts do
};

struct mn_survey {
	struct mn_seen *seen; // each namespace once
	size_t n, room;
};

// Looks through /proc. Fails rather than leave out a process that it may not look at; one that ends meanwhile
// is no failure. The result, to be freed with mn_survey_free() in any case, is only as wide as the process
// namespace that /proc shows: compare mn_survey_view().
int mn_survey(struct mn_survey *survey, struct mn_error *err);
void mn_survey_free(struct mn_survey *survey);

// Identifies the process namespace that the caller is in: surveys from the same one see the same processes.
int mn_survey_view(uint64_t *dev, uint64_t *ino, struct mn_error *err);

#endif
