// SPDX-License-Identifier: Apache-2.0
// Short texts without printf, which takes some hundred instructions for each thing that it writes.
#ifndef MNCNI_TEXT_H
#define MNCNI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MN_DIGITS_MAX 20 // of a number in decimal

// Write a number, and no terminator; return where it ends. Those with a width have zeros in front, up to so
// many digits, at most MN_DIGITS_MAX.
char *mn_put_integer(char *to, int64_t value);
char *mn_put_decimal(char *to, uint64_t value);
char *mn_put_padded(char *to, uint64_t value, size_t width);
char *mn_put_hex(char *to, uint64_t value, size_t width);

// Reads a MAC address, "02:00:00:00:00:01" and nothing behind it; false when it is none.
bool mn_read_mac(const char *text, uint8_t mac[6]);

// Writes three texts, one behind the other; nothing, and false, when they do not fit with their terminator.
bool mn_join(char *to, size_t size, const char *first, const char *second, const char *third);

#endif
