// SPDX-License-Identifier: Apache-2.0
// One call of the CNI protocol in a bounded state, as the plugin makes it, for the targets cni and arguments.
#ifndef MNCNI_FUZZ_CNI_CALL_H
#define MNCNI_FUZZ_CNI_CALL_H

#include <cJSON.h>
#include <stddef.h>

// Makes the state, the directories, the policies that do nothing, and a namespace that CNI_NETNS "@pod"
// stands for.
void fuzz_cni_open(void);

// Runs one call and checks what comes back: never a failure of the protocol code, exactly one JSON document,
// and an error with a code. An ADD that succeeds is undone by DEL and leaves nothing. env: an object of
// strings, whatever their bytes, which is taken over; stdin: size bytes.
void fuzz_cni_call(cJSON *env, const char *name, const char *input, size_t size);

#endif
