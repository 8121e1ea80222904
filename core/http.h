// SPDX-License-Identifier: Apache-2.0
// HTTP requests that run side by side on one libcurl multi handle, over connections that are reused. Nothing
// waits but mn_http_poll().
#ifndef MNCNI_HTTP_H
#define MNCNI_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "http_protobuf.h"
#include "pick.h"

#define MN_HTTP_MAX_BODY ((size_t)4 << 20)  // bytes of a body that is kept whole, unless told otherwise
#define MN_HTTP_MAX_QUEUE ((size_t)1 << 20) // bytes of picked documents that wait: from then on the peer does
#define MN_HTTP_MAX_HEADERS ((size_t)64 << 10)
#define MN_HTTP_IDLE_CONNECTIONS 8L   // kept for later
#define MN_HTTP_CONNECT_TIMEOUT 10000 // ms

struct mn_http_text {
	const char *data; // NULL: not given
	size_t len;
};

struct mn_http_options {
	const char *url;
	const char *method;
	const char *const *headers; // lines as curl_slist takes them, NULL-terminated
	struct mn_http_text body;
	struct mn_http_text ca, cert, key; // PEM
	const char *ca_file;
	const char *server_name;       // for SNI and verification, NULL: the URL's host
	const char *proxy;	       // NULL: what the environment says; "": none
	long connect_timeout, timeout; // ms; timeout 0: none
	size_t max_body;
	bool insecure;
	bool gzip;
	const struct mn_pb_schema *protobuf; // for an answer of its type; stays the caller's
	struct mn_pick
		*pick; // what reads the body of a 2xx answer; stays the caller's, and is busy meanwhile
};

struct mn_http {
	CURLM *curl; // NULL: closed
	struct mn_http_request *requests;
	uint64_t progress; // grows with every answer, piece of a body and end
	uint64_t told;	   // what it was when the last poll returned
};

// One request, all zero at first. Owned by the caller, who closes it.
struct mn_http_request {
	struct mn_http *http; // NULL unless it runs
	struct mn_http_request *next, **link;
	CURL *curl;
	struct curl_slist *headers, *connect_to;
	struct mn_pick *pick;
	const struct mn_pb_schema *protobuf;
	struct mn_pb *pb; // reads the body, NULL unless the answer is of the schema's type
	size_t max_body;
	struct mn_bytes received; // headers, a line each
	struct mn_bytes body;	  // kept whole; or picked documents, each behind its length (size_t)
	int status;		  // 0 until the headers are there
	int status_seen;
	bool done, paused;
	uint64_t bytes;	       // of the body, decoded
	int64_t started, last; // ms of CLOCK_MONOTONIC: when it began, when something came in last
	const char *failure;   // what kind of failure ended it (see http_error.c), NULL without
	struct mn_error err;
	char why[CURL_ERROR_SIZE];
	char target[160]; // the URL without what may be secret, for messages
};

int mn_http_open(struct mn_http *http, struct mn_error *err);

// Ends all requests and frees everything but those; idempotent.
void mn_http_close(struct mn_http *http);

// Starts a request; what it cannot be started with is refused with err. options are not used afterwards, but
// for pick.
int mn_http_start(struct mn_http *http, struct mn_http_request *request,
	const struct mn_http_options *options, struct mn_error *err);

// Sets what the options say, and request->target. Part of mn_http_start().
int mn_http_setup(
	struct mn_http_request *request, const struct mn_http_options *options, struct mn_error *err);

// Ends a request, if it runs, and frees what it holds; idempotent.
void mn_http_request_close(struct mn_http_request *request);

// Whether the body is read by the picker: that of a 2xx answer is, where there is a picker.
bool mn_http_is_picked(const struct mn_http_request *request);

// The next picked document behind *at, which begins as 0; false when there is no more.
bool mn_http_next_document(const struct mn_http_request *request, size_t *at, const char **text, size_t *len);

// Forgets the picked documents; more may come in at once.
void mn_http_taken(struct mn_http_request *request);

// Works on all requests, and waits until one has got further than when the last poll returned, a descriptor
// can be read, a signal comes or the time (ms) is over; returns early now and then. Returns 0, with revents
// filled in.
int mn_http_poll(
	struct mn_http *http, struct curl_waitfd *fds, unsigned int count, int timeout, struct mn_error *err);

// Says what a failure of libcurl is: fills in request->failure and request->err.
void mn_http_explain(struct mn_http_request *request, CURLcode code);

// The same for a failure that we found.
void mn_http_refuse(struct mn_http_request *request, const char *failure, int cni_code, const char *message,
	...) __attribute__((format(printf, 4, 5)));

#endif
