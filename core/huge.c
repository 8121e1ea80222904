// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "huge.h"

#include "cleanup.h"
#include "file.h"
#include "io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1
#endif

#define PROGRAM "/proc/self/exe"
#define ARGUMENTS_MAX (1 << 20) // bytes
#define TRIES 5
#define PAUSE_NS 20000000
#define SIZE_FILE "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"

// The size of a huge page, 0 where there are none.
static size_t huge_size(void)
{
	FILE *file = fopen(SIZE_FILE, "re");
	size_t size = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%zu", &size) != 1)
		size = 0;
	fclose(file);
	return size;
}

// Whether a line of smaps begins a mapping, which *start is the address of.
static bool begins(const char *line, uintptr_t *start)
{
	uintptr_t end;

	return sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", start, &end) == 2;
}

// How many bytes of the mapping that begins there are mapped in huge pages, of a file or of a tmpfs.
static size_t mapped_huge(const char *map)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	uintptr_t start = 0, at;
	size_t size = 0, more;
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		if (begins(line, &at))
			start = at;
		else if (start == (uintptr_t)map &&
			(sscanf(line, "FilePmdMapped: %zu", &more) == 1 ||
				sscanf(line, "ShmemPmdMapped: %zu", &more) == 1))
			size += more;
	}
	if (file)
		fclose(file);
	return size * 1024;
}

// Maps so much of the file where huge pages can be, to see how much of it is in them; to have it read into
// them first where `make` is set.
static int map_and_count(int fd, size_t size, size_t huge, bool make, size_t *found)
{
	char *room = mmap(NULL, size + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map;
	int result = 0;

	if (room == MAP_FAILED)
		return -errno;
	map = room + (huge - (uintptr_t)room % huge) % huge;
	if (mmap(map, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED) {
		result = -errno;
	} else {
		if (make)
			(void)madvise(map, size, MADV_HUGEPAGE);
		(void)madvise(map, size, MADV_POPULATE_READ);
		if (make)
			(void)madvise(map, size, MADV_COLLAPSE);
		*found = mapped_huge(map);
	}
	munmap(room, size + huge);
	return result;
}

static bool is_this_program(const struct stat *st)
{
	struct stat self;

	return stat(PROGRAM, &self) == 0 && self.st_dev == st->st_dev && self.st_ino == st->st_ino;
}

static int read_huge(int fd, size_t *found, size_t *whole)
{
	size_t huge = huge_size(), size;
	struct stat st;
	int result;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*whole = size = huge > 0 ? (size_t)st.st_size / huge * huge : 0;
	if (size == 0)
		return 0;
	result = map_and_count(fd, size, huge, false, found);
	if (result < 0 || *found == size)
		return result;
	if (is_this_program(&st))
		return -ETXTBSY;
	// What is cached in small pages has to go, for which it has to be on the disk. The kernel leaves
	// there what it is about to move to another list.
	if (fdatasync(fd) < 0)
		return -errno;
	for (int i = 0; i < TRIES && result == 0 && *found < size; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		result = map_and_count(fd, size, huge, true, found);
	}
	return result;
}

int mn_huge_read(const char *path, size_t *size, size_t *whole, struct mn_error *err)
{
	auto_close int fd = mn_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	int result;

	*size = *whole = 0;
	result = fd < 0 ? -errno : read_huge(fd, size, whole);
	if (result < 0)
		mn_fail(err, -result, "read", path, "%s",
			result == -EINVAL	     ? "name a regular file"
				: result == -ETXTBSY ? "have another program do it"
						     : "");
	return result;
}

// The words of a text in which each ends with a NUL; the list is the caller's to free.
static char **split(char *text, size_t size)
{
	size_t count = 0;
	char **list;

	for (size_t i = 0; i < size; i++)
		count += text[i] == '\0';
	list = calloc(count + 1, sizeof(*list));
	for (size_t i = 0; list && i < count; i++) {
		list[i] = text;
		text += strlen(text) + 1;
	}
	return list;
}

static int begin_anew(void)
{
	auto_close int program = mn_openat(AT_FDCWD, PROGRAM, O_RDONLY | O_CLOEXEC, 0);
	auto_close int copy = memfd_create("mncni", MFD_CLOEXEC);
	auto_free char *words = NULL;
	auto_free char **argv = NULL;
	struct stat st;
	size_t size;

	if (program < 0 || copy < 0 || fstat(program, &st) < 0)
		return -errno;
	for (off_t at = 0; at < st.st_size;) {
		ssize_t n = sendfile(copy, program, &at, (size_t)(st.st_size - at));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	if (mn_file_read("/proc/self/cmdline", ARGUMENTS_MAX, &words, &size, NULL) < 0)
		return -EIO;
	argv = split(words, size);
	if (!argv)
		return -ENOMEM;
	fexecve(copy, argv, environ);
	return -errno;
}

int mn_huge_leave(struct mn_error *err)
{
	return mn_fail(err, -begin_anew(), "run", "a copy in memory", "%s",
		"run a copy of this program on a file system");
}
