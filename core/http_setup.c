// SPDX-License-Identifier: Apache-2.0
// What a request asks of libcurl.
#define _GNU_SOURCE
#include "http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define KEEPALIVE 30L	       // seconds without traffic until the peer is asked whether it is there
#define KEEPALIVE_INTERVAL 10L // seconds between two questions
#define USER_TIMEOUT 30000     // ms that sent data may stay unacknowledged (RFC 5482)
#define BUFFER (128L << 10)    // bytes read at once

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	int timeout = USER_TIMEOUT;

	(void)data;
	(void)purpose;
	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int refuse(struct mn_error *err, const char *message, const char *detail)
{
	mn_fail(err, EINVAL, "request", NULL, "%s%s", message, detail);
	if (err)
		err->errnum = 0; // the sentence says it all
	return -EINVAL;
}

// One part of a URL, to be freed with curl_free(); NULL when it has none.
static char *part(CURLU *url, CURLUPart which)
{
	char *text = NULL;

	return curl_url_get(url, which, &text, which == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) == CURLUE_OK
		? text
		: NULL;
}

static int add_line(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (!longer)
		return -ENOMEM;
	*list = longer;
	return 0;
}

// Connects to the URL's host and calls it by another name; the Host header stays the URL's.
static int rename_server(struct mn_http_request *request, CURLU *url, const char *host, const char *port,
	const char *name, struct mn_error *err)
{
	char line[1024];
	bool has_port = false;
	char *given = NULL;

	if (curl_url_set(url, CURLUPART_HOST, name, 0) != CURLUE_OK || strpbrk(name, ":/@[]"))
		return refuse(err, "server_name is a host name or IPv4 address, not ", name);
	if (curl_url_get(url, CURLUPART_PORT, &given, CURLU_NO_DEFAULT_PORT) == CURLUE_OK)
		has_port = true;
	curl_free(given);
	snprintf(line, sizeof(line), "Host: %s%s%s", host, has_port ? ":" : "", has_port ? port : "");
	if (add_line(&request->headers, line) < 0)
		return -ENOMEM;
	snprintf(line, sizeof(line), "::%s:%s", host, port);
	return add_line(&request->connect_to, line);
}

static int set_target(struct mn_http_request *request, CURLU *url, const struct mn_http_options *options,
	struct mn_error *err)
{
	char *scheme = part(url, CURLUPART_SCHEME), *host = part(url, CURLUPART_HOST);
	char *port = part(url, CURLUPART_PORT), *path = part(url, CURLUPART_PATH);
	char *user = part(url, CURLUPART_USER);
	int ret = 0;

	if (scheme && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		ret = refuse(err, "a URL begins with http:// or https://, not with ", scheme);
	else if (!scheme || !host || !port || !path)
		ret = refuse(err, "not a URL that can be asked: ", options->url);
	else if (user)
		ret = refuse(
			err, "a URL carries no user and password here: give an Authorization header", "");
	else {
		snprintf(request->target, sizeof(request->target), "%s://%s:%s%s", scheme, host, port, path);
		if (options->server_name)
			ret = rename_server(request, url, host, port, options->server_name, err);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(user);
	return ret;
}

static int set_url(
	struct mn_http_request *request, const struct mn_http_options *options, struct mn_error *err)
{
	CURLU *url = curl_url();
	char *text = NULL;
	CURLUcode code;
	int ret;

	if (!url)
		return -ENOMEM;
	code = curl_url_set(url, CURLUPART_URL, options->url, CURLU_NON_SUPPORT_SCHEME);
	if (code != CURLUE_OK) {
		curl_url_cleanup(url);
		return refuse(err, "not a URL that can be asked: ", curl_url_strerror(code));
	}
	ret = set_target(request, url, options, err);
	if (ret == 0 && curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
		ret = -ENOMEM;
	if (ret == 0)
		curl_easy_setopt(request->curl, CURLOPT_URL, text);
	curl_free(text);
	curl_url_cleanup(url);
	return ret;
}

static bool has_header(const struct mn_http_options *options, const char *name)
{
	size_t len = strlen(name);

	for (const char *const *line = options->headers; *line; line++)
		if (strncasecmp(*line, name, len) == 0 && ((*line)[len] == ':' || (*line)[len] == ';'))
			return true;
	return false;
}

static int set_headers(struct mn_http_request *request, const struct mn_http_options *options)
{
	int ret = 0;

	for (const char *const *line = options->headers; *line && ret == 0; line++)
		ret = add_line(&request->headers, *line);
	// What libcurl adds to a body by itself: a type that nobody gave, and a question before larger ones.
	if (ret == 0 && !has_header(options, "Content-Type"))
		ret = add_line(&request->headers, "Content-Type:");
	if (ret == 0)
		ret = add_line(&request->headers, "Expect:");
	return ret;
}

static void set_method(CURL *curl, const struct mn_http_options *options)
{
	bool get = strcmp(options->method, "GET") == 0, delete = strcmp(options->method, "DELETE") == 0;
	bool body = options->body.data || !(get || delete);

	if (body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body.len);
		curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, options->body.data ? options->body.data : "");
	}
	if (strcmp(options->method, body ? "POST" : "GET") != 0)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, options->method);
}

static void set_blob(CURL *curl, CURLoption option, const struct mn_http_text *text)
{
	struct curl_blob blob = { .data = (void *)text->data, .len = text->len, .flags = CURL_BLOB_COPY };

	if (text->data)
		curl_easy_setopt(curl, option, &blob);
}

static void set_tls(CURL *curl, const struct mn_http_options *options)
{
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_SSL_ENABLE_ALPN, 1L);
	if (options->ca.data || options->ca_file) // and nothing else that the system trusts
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	if (options->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, options->ca_file);
	set_blob(curl, CURLOPT_CAINFO_BLOB, &options->ca);
	set_blob(curl, CURLOPT_SSLCERT_BLOB, &options->cert);
	set_blob(curl, CURLOPT_SSLKEY_BLOB, &options->key);
	if (options->insecure) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

int mn_http_setup(
	struct mn_http_request *request, const struct mn_http_options *options, struct mn_error *err)
{
	CURL *curl = request->curl;
	int ret = set_headers(request, options);

	if (ret == 0)
		ret = set_url(request, options, err);
	if (ret == -ENOMEM)
		mn_fail(err, ENOMEM, "request", NULL, NULL);
	if (ret < 0)
		return ret;
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, request->why);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(curl, CURLOPT_CONNECT_TO, request->connect_to);
	curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, BUFFER);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, options->connect_timeout);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, options->timeout);
	// A thread looks up names. One that waits for a name server is left behind when the request ends:
	// joining it would take as long as the resolver is patient, 20 s and more.
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
	if (options->proxy)
		curl_easy_setopt(curl, CURLOPT_PROXY, options->proxy);
	if (options->gzip)
		curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
	set_method(curl, options);
	set_tls(curl, options);
	return 0;
}
