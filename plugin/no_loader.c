// SPDX-License-Identifier: Apache-2.0
// What a program that is linked statically has in the place of functions that load a library: the linker puts
// these there. A prompt's `require` of a module in C asks for dlopen(); libedit asks for users' home
// directories, which no completion of ours is about.
#define _GNU_SOURCE
#include <errno.h>
#include <pwd.h>
#include <stddef.h>

const char *__wrap__dl_get_origin(void);
void *__wrap_dlopen(const char *file, int mode);
char *__wrap_dlerror(void);
void __wrap_setpwent(void);
void __wrap_endpwent(void);
struct passwd *__wrap_getpwent(void);
struct passwd *__wrap_getpwuid(uid_t uid);
int __wrap_getpwnam_r(const char *name, struct passwd *into, char *buf, size_t size, struct passwd **found);
int __wrap_getpwuid_r(uid_t uid, struct passwd *into, char *buf, size_t size, struct passwd **found);

// Where the program lies, for libraries beside it, which it has none of: unknown. libc asks for it at every
// start, and reads it below /proc, where the kernel first makes what is there of the process.
const char *__wrap__dl_get_origin(void)
{
	return (const char *)-1;
}

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

void __wrap_setpwent(void)
{
}

void __wrap_endpwent(void)
{
}

struct passwd *__wrap_getpwent(void)
{
	return NULL;
}

struct passwd *__wrap_getpwuid(uid_t uid)
{
	(void)uid;
	return NULL;
}

int __wrap_getpwnam_r(const char *name, struct passwd *into, char *buf, size_t size, struct passwd **found)
{
	(void)name;
	(void)into;
	(void)buf;
	(void)size;
	*found = NULL;
	return ENOENT;
}

int __wrap_getpwuid_r(uid_t uid, struct passwd *into, char *buf, size_t size, struct passwd **found)
{
	(void)uid;
	return __wrap_getpwnam_r("", into, buf, size, found);
}
