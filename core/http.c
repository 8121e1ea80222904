// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "http.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static int64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_good(int status)
{
	return status >= 200 && status < 300;
}

bool mn_http_is_picked(const struct mn_http_request *request)
{
	return request->pick && is_good(request->status);
}

static void note_progress(struct mn_http_request *request)
{
	request->last = now();
	request->http->progress++;
}

// The status of a status line, 0 for any other.
static int status_of(const char *line, size_t len)
{
	const char *code;

	if (len < 9 || memcmp(line, "HTTP/", 5) != 0)
		return 0;
	code = memchr(line, ' ', len);
	if (!code || line + len - code < 4)
		return 0;
	return (code[1] - '0') * 100 + (code[2] - '0') * 10 + (code[3] - '0');
}

// Whether the answer is of a type, by its Content-Type.
static bool is_of_type(const struct mn_http_request *request, const char *type)
{
	static const char name[] = "content-type:";
	const char *at = request->received.data, *end = at + request->received.len;

	while (at && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at);

		if (len > sizeof(name) && strncasecmp(at, name, sizeof(name) - 1) == 0) {
			at += sizeof(name) - 1;
			len -= sizeof(name) - 1;
			for (; len > 0 && *at == ' '; len--)
				at++;
			return len >= strlen(type) && strncasecmp(at, type, strlen(type)) == 0;
		}
		at = stop ? stop + 1 : end;
	}
	return false;
}

// At the head's end: whether the body is to be read as protocol buffers.
static int choose_reader(struct mn_http_request *request)
{
	const struct mn_pb_schema *schema = request->protobuf;

	if (!schema || !is_of_type(request, schema->type))
		return 0;
	request->pb = calloc(1, sizeof(*request->pb));
	if (!request->pb)
		return -ENOMEM;
	if (schema->frame && is_of_type(request, schema->stream))
		mn_pb_start_frames(request->pb, schema);
	else
		mn_pb_start(request->pb, schema, is_good(request->status) ? schema->ok : schema->refused);
	return 0;
}

// A line of the headers, or of trailers behind the body.
static size_t on_header(char *line, size_t size, size_t count, void *data)
{
	struct mn_http_request *request = data;
	size_t len = size * count;
	int status = status_of(line, len);

	if (request->status)
		return len;
	if (status) {
		request->status_seen = status;
		request->received.len = 0;
	} else if (len <= 2 && request->status_seen >= 200) { // the empty line behind the last of them
		request->status = request->status_seen;
		if (choose_reader(request) < 0) {
			mn_http_explain(request, CURLE_OUT_OF_MEMORY);
			return 0;
		}
		note_progress(request);
	} else if (request->received.len + len > MN_HTTP_MAX_HEADERS) {
		mn_http_refuse(request, "HTTP", 6,
			"the headers of the answer are larger than %zu bytes: is there an HTTP server at this "
			"port?",
			MN_HTTP_MAX_HEADERS);
		return 0;
	} else if (mn_bytes_add(&request->received, line, len) < 0) {
		mn_http_explain(request, CURLE_OUT_OF_MEMORY);
		return 0;
	}
	return len;
}

static int keep_document(struct mn_http_request *request)
{
	const struct mn_bytes *document = mn_pick_document(request->pick);

	if (mn_bytes_add(&request->body, &document->len, sizeof(document->len)) == 0 &&
		mn_bytes_add(&request->body, document->data, document->len) == 0)
		return 0;
	mn_http_explain(request, CURLE_OUT_OF_MEMORY);
	return -ENOMEM;
}

static void refuse_json(struct mn_http_request *request, const struct mn_error *err)
{
	mn_http_refuse(request, "JSON", 6, "the answer is not what was to be picked from: %s", err->message);
}

static int pick_piece(struct mn_http_request *request, const char *text, size_t len)
{
	struct mn_error err;
	int ret;

	while ((ret = mn_pick_feed(request->pick, &text, &len, &err)) > 0) {
		ret = keep_document(request);
		if (ret < 0)
			return ret;
	}
	if (ret < 0)
		refuse_json(request, &err);
	return ret;
}

// Turns a piece of the body into JSON where it is none.
static int read_piece(struct mn_http_request *request, const char **text, size_t *len)
{
	struct mn_error err;
	int ret;

	if (!request->pb)
		return 0;
	ret = mn_pb_feed(request->pb, *text, *len, &err);
	*text = request->pb->out.data;
	*len = request->pb->out.len;
	if (ret < 0)
		refuse_json(request, &err);
	return ret;
}

// A piece of the body. More documents than may wait hold up the peer until they are taken.
static size_t on_body(char *data, size_t size, size_t count, void *user)
{
	struct mn_http_request *request = user;
	size_t came = size * count, len = came;
	const char *text = data;
	int ret;

	if (mn_http_is_picked(request) && request->body.len > MN_HTTP_MAX_QUEUE) {
		request->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (read_piece(request, &text, &len) < 0)
		return 0;
	if (mn_http_is_picked(request)) {
		ret = pick_piece(request, text, len);
	} else if (len > request->max_body || request->body.len > request->max_body - len) {
		mn_http_refuse(request, "SIZE", 5,
			"the body of the answer is larger than %zu bytes: raise max_body, or ask for less",
			request->max_body);
		ret = -EMSGSIZE;
	} else {
		ret = mn_bytes_add(&request->body, text, len);
		if (ret < 0)
			mn_http_explain(request, CURLE_OUT_OF_MEMORY);
	}
	if (ret < 0)
		return 0;
	request->bytes += came;
	note_progress(request);
	return came;
}

// Gives everything back but what has been received.
static void release(struct mn_http_request *request)
{
	if (request->curl) {
		if (request->http)
			curl_multi_remove_handle(request->http->curl, request->curl);
		curl_easy_cleanup(request->curl);
	}
	curl_slist_free_all(request->headers);
	curl_slist_free_all(request->connect_to);
	request->curl = NULL;
	request->headers = request->connect_to = NULL;
	if (request->pb)
		mn_pb_free(request->pb);
	free(request->pb);
	request->pb = NULL;
	if (request->pick)
		request->pick->busy = false;
	if (request->http) {
		*request->link = request->next;
		if (request->next)
			request->next->link = request->link;
		request->http = NULL;
	}
	request->done = true;
}

// The end of a body that is no JSON, which is the end of the JSON that was made of it.
static void finish_reading(struct mn_http_request *request)
{
	struct mn_error err;

	if (mn_pb_finish(request->pb, &err) < 0)
		refuse_json(request, &err);
	else if (mn_http_is_picked(request))
		pick_piece(request, request->pb->out.data, request->pb->out.len);
	else if (mn_bytes_add(&request->body, request->pb->out.data, request->pb->out.len) < 0)
		mn_http_explain(request, CURLE_OUT_OF_MEMORY);
}

// The transfer is over, one way or the other.
static void end(struct mn_http_request *request, CURLcode code)
{
	struct mn_error err;
	int ret;

	request->http->progress++;
	if (code != CURLE_OK && !request->failure)
		mn_http_explain(request, code);
	if (!request->failure && request->pb)
		finish_reading(request);
	if (!request->failure && mn_http_is_picked(request)) {
		ret = mn_pick_finish(request->pick, &err);
		if (ret > 0)
			keep_document(request);
		else if (ret < 0)
			refuse_json(request, &err);
	}
	release(request);
}

static void cancel(struct mn_http_request *request)
{
	if (!request->done && !request->failure)
		mn_http_refuse(request, "CANCELLED", 5, "the request was closed before it was answered");
	release(request);
}

int mn_http_open(struct mn_http *http, struct mn_error *err)
{
	memset(http, 0, sizeof(*http));
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return mn_fail(err, ENOMEM, "open", "HTTP", "libcurl cannot be made ready");
	http->curl = curl_multi_init();
	if (!http->curl) {
		curl_global_cleanup();
		return mn_fail(err, ENOMEM, "open", "HTTP", NULL);
	}
	curl_multi_setopt(http->curl, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	curl_multi_setopt(http->curl, CURLMOPT_MAXCONNECTS, MN_HTTP_IDLE_CONNECTIONS);
	return 0;
}

void mn_http_close(struct mn_http *http)
{
	if (!http->curl)
		return;
	while (http->requests)
		cancel(http->requests);
	curl_multi_cleanup(http->curl);
	curl_global_cleanup();
	http->curl = NULL;
}

int mn_http_start(struct mn_http *http, struct mn_http_request *request,
	const struct mn_http_options *options, struct mn_error *err)
{
	CURLMcode code;
	int ret;

	request->started = request->last = now();
	request->max_body = options->max_body;
	request->curl = curl_easy_init();
	if (!request->curl)
		ret = mn_fail(err, ENOMEM, "request", NULL, NULL);
	else
		ret = mn_http_setup(request, options, err);
	if (ret < 0) {
		release(request);
		return ret;
	}
	curl_easy_setopt(request->curl, CURLOPT_PRIVATE, request);
	curl_easy_setopt(request->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(request->curl, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(request->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(request->curl, CURLOPT_WRITEDATA, request);
	code = curl_multi_add_handle(http->curl, request->curl);
	if (code != CURLM_OK) {
		release(request);
		return mn_fail(err, ENOMEM, "request", NULL, "%s", curl_multi_strerror(code));
	}
	request->http = http;
	request->next = http->requests;
	request->link = &http->requests;
	if (request->next)
		request->next->link = &request->next;
	http->requests = request;
	request->protobuf = options->protobuf;
	request->pick = options->pick;
	if (request->pick) {
		mn_pick_start(request->pick);
		request->pick->busy = true;
	}
	return 0;
}

void mn_http_request_close(struct mn_http_request *request)
{
	cancel(request);
	mn_bytes_free(&request->received);
	mn_bytes_free(&request->body);
}

bool mn_http_next_document(const struct mn_http_request *request, size_t *at, const char **text, size_t *len)
{
	if (*at == request->body.len)
		return false;
	memcpy(len, request->body.data + *at, sizeof(*len));
	*text = request->body.data + *at + sizeof(*len);
	*at += sizeof(*len) + *len;
	return true;
}

void mn_http_taken(struct mn_http_request *request)
{
	CURLcode code;

	if (request->body.room > MN_HTTP_MAX_QUEUE / 4)
		mn_bytes_free(&request->body);
	request->body.len = 0;
	if (!request->paused || !request->curl)
		return;
	request->paused = false;
	code = curl_easy_pause(request->curl, CURLPAUSE_CONT); // hands over at once what it holds
	if (code != CURLE_OK)
		end(request, code);
}

static int perform(struct mn_http *http, struct mn_error *err)
{
	CURLMsg *message;
	CURLMcode code;
	int count;

	code = curl_multi_perform(http->curl, &count);
	while ((message = curl_multi_info_read(http->curl, &count))) {
		CURLcode result = message->data.result;
		char *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		end((struct mn_http_request *)(void *)request, result);
	}
	return code == CURLM_OK ? 0 : mn_fail(err, EIO, "poll", "HTTP", "%s", curl_multi_strerror(code));
}

// Which descriptors can be read, or have come to an end or an error, which libcurl does not tell.
static int look(struct curl_waitfd *fds, unsigned int count, struct mn_error *err)
{
	struct pollfd some[16];
	unsigned int n;

	for (unsigned int at = 0; at < count; at += n) {
		for (n = 0; at + n < count && n < sizeof(some) / sizeof(some[0]); n++)
			some[n] = (struct pollfd){ .fd = fds[at + n].fd, .events = POLLIN };
		if (poll(some, n, 0) < 0 && errno != EINTR)
			return mn_fail(err, errno, "poll", "HTTP", NULL);
		for (unsigned int i = 0; i < n; i++) {
			if (some[i].revents & POLLNVAL)
				return mn_fail(
					err, EBADF, "poll", "HTTP", "descriptor %d is not open", some[i].fd);
			fds[at + i].revents = some[i].revents;
		}
	}
	return 0;
}

int mn_http_poll(
	struct mn_http *http, struct curl_waitfd *fds, unsigned int count, int timeout, struct mn_error *err)
{
	CURLMcode code = CURLM_OK;
	int ret = perform(http, err);

	// What came in between two polls, when a pause ended, nobody has looked at.
	if (ret == 0 && http->progress == http->told) {
		code = curl_multi_poll(http->curl, fds, count, timeout, NULL);
		if (code != CURLM_OK && !(code == CURLM_UNRECOVERABLE_POLL && errno == EINTR))
			return mn_fail(err, EIO, "poll", "HTTP", "%s", curl_multi_strerror(code));
		ret = perform(http, err);
	}
	http->told = http->progress;
	return ret < 0 ? ret : look(fds, count, err);
}
