// SPDX-License-Identifier: Apache-2.0
// What a prompt's `require` says of a module in C, in a program that is linked statically: the linker puts
// these in the place of dlopen() and dlerror().
#include <stddef.h>

void *__wrap_dlopen(const char *file, int mode);
char *__wrap_dlerror(void);

void *__wrap_dlopen(const char *file, int mode)
{
	(void)file;
	(void)mode;
	return NULL;
}

char *__wrap_dlerror(void)
{
	static char text[] = "this program loads no modules in C; a stock lua5.4 does";

	return text;
}
