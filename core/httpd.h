// SPDX-License-Identifier: Apache-2.0
// A small web server for metrics and health: GET and HEAD, no threads, nothing waits.
#ifndef MNCNI_HTTPD_H
#define MNCNI_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define MN_HTTPD_CONNECTIONS 32U	// at a time; more wait
#define MN_HTTPD_TIMEOUT 10U		// seconds without traffic until a connection is closed
#define MN_HTTPD_MEMORY ((size_t)16384) // bytes for a connection: a request larger than that is refused

struct MHD_Daemon;
struct mn_httpd_request;

// Answers one request with mn_httpd_reply(), else the answer is 500. path has no query, and its %XX are
// decoded.
typedef void mn_httpd_answer(
	void *data, struct mn_httpd_request *request, const char *method, const char *path);

struct mn_httpd {
	struct MHD_Daemon *daemon; // NULL: closed
	uint16_t port;
	mn_httpd_answer *answer; // while it runs
	void *data;
	unsigned int served; // requests, since it began to run
};

// Listens on an IPv4 or IPv6 address; port 0 is any.
int mn_httpd_open(struct mn_httpd *httpd, const char *address, uint16_t port, struct mn_error *err);

// Closes it with all connections; idempotent. Not while it runs.
void mn_httpd_close(struct mn_httpd *httpd);

// The descriptor that can be read when there is something to do.
int mn_httpd_fd(const struct mn_httpd *httpd);

// Does what can be done without waiting.
int mn_httpd_run(struct mn_httpd *httpd, mn_httpd_answer *answer, void *data, struct mn_error *err);

// Milliseconds until it wants to run although nothing came in, -1 for never.
int64_t mn_httpd_timeout(const struct mn_httpd *httpd);

// Gives the answer; the strings are copied. Returns false without memory.
bool mn_httpd_reply(struct mn_httpd_request *request, unsigned int status, const char *content_type,
	const char *body, size_t len);

#endif
