// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "policy.h"

#include "cleanup.h"
#include "trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_LIMIT 200

void mn_policy_file_clear(struct mn_policy_file *file)
{
	free(file->text);
	free(file->path);
	*file = (struct mn_policy_file){ 0 };
}

const char *mn_policy_path(void)
{
	const char *path = getenv("MNCNI_POLICY_PATH");

	return path ? path : MN_POLICY_DIRECTORY;
}

static bool is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool mn_policy_name_ok(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > NAME_LIMIT || !is_alphanumeric(name[0]))
		return false;
	for (size_t i = 1; i < length; i++)
		if (!is_alphanumeric(name[i]) && !strchr("_.-", name[i]))
			return false;
	return true;
}

int mn_policy_each_directory(const char *path, int (*visit)(const char *directory, void *data), void *data)
{
	while (*path) {
		size_t length = strcspn(path, ":");

		if (length > 0) {
			char *directory = strndup(path, length);
			int ret = directory ? visit(directory, data) : -ENOMEM;

			free(directory);
			if (ret)
				return ret;
		}
		path += length + (path[length] == ':');
	}
	return 0;
}

struct search {
	const char *name;
	struct mn_policy_file *file;
	struct mn_error *err;
};

static int refuse(struct mn_error *err, int errnum, const char *path, const char *message)
{
	mn_fail(err, errnum, "load", path, "%s", message);
	if (err)
		err->code = MN_CODE_CONFIG;
	return -errnum;
}

// Tells at once that a directory is not there, as it is on a node without policies of its own. A path with
// symbolic links is left to the walk that checks each of them, and so is all when the kernel (before 5.6)
// does not know how.
static bool is_absent(const char *directory)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	auto_close int fd = (int)syscall(SYS_openat2, AT_FDCWD, directory, &how, sizeof(how));

	return fd < 0 && errno == ENOENT;
}

// Returns 1 when the file was read, 0 when this directory has none.
static int look_in(const char *directory, void *data)
{
	struct search *search = data;
	char path[PATH_MAX];
	struct mn_error err;
	int ret;

	if (is_absent(directory))
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s.lua", directory, search->name) >= (int)sizeof(path))
		return refuse(search->err, ENAMETOOLONG, directory, "the path of a policy in it is too long");
	ret = mn_trust_read(path, MN_POLICY_MAX, &search->file->text, &search->file->size, &err);
	if (ret == -ENOENT)
		return 0;
	if (ret < 0) {
		if (search->err)
			*search->err = err;
		return ret;
	}
	search->file->path = strdup(path);
	return search->file->path ? 1 : -ENOMEM;
}

int mn_policy_read(const char *path, const char *name, struct mn_policy_file *file, struct mn_error *err)
{
	struct search search = { .name = name, .file = file, .err = err };
	int ret;

	*file = (struct mn_policy_file){ 0 };
	ret = mn_policy_each_directory(path, look_in, &search);
	if (ret == -ENOMEM)
		refuse(err, ENOMEM, name, "cannot be read");
	if (ret == 1 && file->text[0] == '\x1b') {
		ret = refuse(err, EINVAL, file->path, "compiled Lua; only source text is run");
	} else if (ret == 1) {
		return 0;
	}
	mn_policy_file_clear(file);
	return ret ? ret : -ENOENT;
}

static int visit_file(const char *file, int (*visit)(const char *name, void *data), void *data)
{
	char name[NAME_MAX + 1];
	size_t length = strlen(file);

	if (length <= 4 || length > NAME_MAX || strcmp(file + length - 4, ".lua") != 0)
		return 0;
	memcpy(name, file, length - 4);
	name[length - 4] = '\0';
	return mn_policy_name_ok(name) ? visit(name, data) : 0;
}

int mn_policy_list(
	const char *directory, int (*visit)(const char *name, void *data), void *data, struct mn_error *err)
{
	struct mn_error ignored;
	int fd = mn_trust_open(directory, true, err ? err : &ignored);
	DIR *dir;
	int ret = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	dir = fdopendir(fd);
	if (!dir) {
		ret = refuse(err, errno, directory, "cannot be listed");
		close(fd);
		return ret;
	}
	for (struct dirent *entry = readdir(dir); entry && ret == 0; entry = readdir(dir))
		ret = visit_file(entry->d_name, visit, data);
	closedir(dir);
	return ret;
}
