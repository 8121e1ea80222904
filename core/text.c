// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "text.h"

#include <string.h>

static char *put_digits(char *to, uint64_t value, unsigned int base, size_t width)
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

char *mn_put_integer(char *to, int64_t value)
{
	if (value < 0)
		*to++ = '-';
	return mn_put_decimal(to, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

char *mn_put_decimal(char *to, uint64_t value)
{
	return put_digits(to, value, 10, 1);
}

char *mn_put_padded(char *to, uint64_t value, size_t width)
{
	return put_digits(to, value, 10, width);
}

char *mn_put_hex(char *to, uint64_t value, size_t width)
{
	return put_digits(to, value, 16, width);
}

static int value_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

bool mn_read_mac(const char *text, uint8_t mac[6])
{
	for (size_t i = 0; i < 6; i++, text += 3) {
		int high = value_of(text[0]), low = high < 0 ? -1 : value_of(text[1]);

		if (low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool mn_join(char *to, size_t size, const char *first, const char *second, const char *third)
{
	size_t len[] = { strlen(first), strlen(second), strlen(third) };

	if (len[0] + len[1] + len[2] >= size)
		return false;
	to = mempcpy(to, first, len[0]);
	to = mempcpy(to, second, len[1]);
	memcpy(to, third, len[2] + 1);
	return true;
}
