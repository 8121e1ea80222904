// SPDX-License-Identifier: Apache-2.0
// The language of nft, by libnftables: for the module mncni.nft, and for nothing else.
#ifndef MNCNI_NFTABLES_H
#define MNCNI_NFTABLES_H

#include "error.h"

#include <stdbool.h>

struct nft_ctx;

// All zero is closed. line and column tell where in the text the first mistake is, 0 when nothing does.
struct mn_nftables {
	struct nft_ctx *ctx;
	int line;
	int column;
};

struct mn_nftables_options {
	bool dry_run;	// look at it, also with the kernel's eyes, and change nothing
	bool echo;	// tell what was added
	bool terse;	// list sets without their elements
	bool stateless; // list no counters
};

// Opens the library in the namespace that the thread is in, which it has to stay in until it is closed.
int mn_nftables_open(
	struct mn_nftables *nft, const struct mn_nftables_options *options, struct mn_error *err);

// Gives a variable of the text ($name) its value, as "name=value".
int mn_nftables_define(struct mn_nftables *nft, const char *definition, struct mn_error *err);

// Runs commands, or a file of them. *output is the JSON that they print, an empty string when there is none,
// and lives until nft is closed. On failure *output is all that the library has to say.
int mn_nftables_run(struct mn_nftables *nft, const char *text, const char *file, const char **output,
	struct mn_error *err);

// May be called twice, and on what was never opened.
void mn_nftables_close(struct mn_nftables *nft);

#endif
