// SPDX-License-Identifier: Apache-2.0
// The kernel as the fuzzer plays it; see kernel.c.
#ifndef MNCNI_FUZZ_KERNEL_H
#define MNCNI_FUZZ_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What is received from now on: datagrams, each behind its length. When they are over nothing comes, or, with
// when_over, the answer that there is no such thing.
void fuzz_kernel(const uint8_t *data, size_t size, bool when_over);

#endif
