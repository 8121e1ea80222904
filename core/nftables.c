// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "nftables.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"

#define OP "nft"
#define LAST_ERRNO 133 // EHWPOISON, the last one of Linux

int mn_nftables_open(struct mn_nftables *nft, const struct mn_nftables_options *options, struct mn_error *err)
{
	memset(nft, 0, sizeof(*nft));
	nft->ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft->ctx || nft_ctx_buffer_output(nft->ctx) != 0 || nft_ctx_buffer_error(nft->ctx) != 0)
		return mn_fail(err, ENOMEM, OP, NULL, "libnftables does not start");
	nft_ctx_output_set_flags(nft->ctx,
		NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_HANDLE | (options->echo ? NFT_CTX_OUTPUT_ECHO : 0) |
			(options->terse ? NFT_CTX_OUTPUT_TERSE : 0) |
			(options->stateless ? NFT_CTX_OUTPUT_STATELESS : 0));
	nft_ctx_set_dry_run(nft->ctx, options->dry_run);
	return 0;
}

int mn_nftables_define(struct mn_nftables *nft, const char *definition, struct mn_error *err)
{
	if (nft_ctx_add_var(nft->ctx, definition) != 0)
		return mn_fail(err, EINVAL, OP, NULL, "no variable can be defined as \"%.64s\"", definition);
	return 0;
}

// The errno that a text is, or ends with after a colon, in libc's words; 0 for any other text.
static int errno_of(const char *text, size_t len)
{
	for (int errnum = 1; errnum <= LAST_ERRNO; errnum++) {
		const char *words = strerror(errnum), *at;
		size_t size = strlen(words);

		if (size > len)
			continue;
		at = text + len - size;
		if (strncmp(at, words, size) == 0 &&
			(size == len || (len > size + 1 && strncmp(at - 2, ": ", 2) == 0)))
			return errnum;
	}
	return 0;
}

// Reads "FILE:LINE:COLUMN-COLUMN: Error: MESSAGE", the first line of what the library says.
static int explain(struct mn_nftables *nft, const char *said, struct mn_error *err)
{
	const char *message = strstr(said, "Error: "), *place;
	char where[64] = "";
	size_t len;
	int errnum;

	message = message ? message + strlen("Error: ") : said;
	len = strcspn(message, "\n");
	place = memchr(said, ':', (size_t)(message - said));
	if (!place || sscanf(place, ":%d:%d-", &nft->line, &nft->column) != 2)
		nft->line = nft->column = 0;
	if (nft->line)
		snprintf(where, sizeof(where), "line %d, column %d", nft->line, nft->column);
	errnum = errno_of(message, len);
	mn_fail(err, errnum, OP, where, "%.*s%s", (int)len, message,
		len ? "" : "it failed, and does not say why");
	return errnum ? -errnum : -EINVAL;
}

// A file in memory with the text. As a file it has lines that errors tell of, and variables.
static int file_of(const char *text, char *path, size_t size, struct mn_error *err)
{
	int fd = memfd_create("nft", MFD_CLOEXEC);
	size_t left = strlen(text);

	while (fd >= 0 && left) {
		ssize_t written = write(fd, text, left);

		if (written < 0) {
			close(fd);
			fd = -1;
		} else {
			text += written;
			left -= (size_t)written;
		}
	}
	if (fd < 0)
		return mn_fail(err, errno, OP, NULL, "the commands do not fit into memory");
	snprintf(path, size, "/proc/self/fd/%d", fd);
	return fd;
}

int mn_nftables_run(struct mn_nftables *nft, const char *text, const char *file, const char **output,
	struct mn_error *err)
{
	auto_close int fd = -1;
	char path[64];
	int result;

	*output = "";
	if (!file) {
		fd = file_of(text, path, sizeof(path), err);
		if (fd < 0)
			return fd;
	}
	result = nft_run_cmd_from_filename(nft->ctx, file ? file : path);
	*output = result ? nft_ctx_get_error_buffer(nft->ctx) : nft_ctx_get_output_buffer(nft->ctx);
	if (!*output)
		*output = "";
	return result ? explain(nft, *output, err) : 0;
}

void mn_nftables_close(struct mn_nftables *nft)
{
	if (nft->ctx)
		nft_ctx_free(nft->ctx);
	nft->ctx = NULL;
}
