// SPDX-License-Identifier: Apache-2.0
// Numbers as digits. printf takes some hundred instructions for each, in calls that write hundreds of them.
#ifndef MNCNI_DIGITS_H
#define MNCNI_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define MN_DIGITS_MAX 20 // of a decimal number

// Writes a number of at least `width` digits, at most MN_DIGITS_MAX, without a
// terminator; returns where it ends.
static inline char *mn_put_digits(char *to, uint64_t value, unsigned int base, size_t width)
{
	char digits[MN_DIGITS_MAX];
	size_t n = 0;

	do
		digits[n++] = "0123456789abcdef"[value % base];
	while ((value /= base) || n < width);
	while (n > 0)
		*to++ = digits[--n];
	return to;
}

static inline char *mn_put_decimal(char *to, uint64_t value)
{
	return mn_put_digits(to, value, 10, 1);
}

static inline char *mn_put_hex(char *to, uint64_t value, size_t width)
{
	return mn_put_digits(to, value, 16, width);
}

#endif
