// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "httpd.h"

#include "cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 64
#define MAX_ROUNDS 64 // of work in one run, so that a busy client does not hold up everything else

struct mn_httpd_request {
	struct MHD_Connection *connection;
	bool close; // do not keep the connection: others may want it
	bool answered;
};

bool mn_httpd_reply(struct mn_httpd_request *request, unsigned int status, const char *content_type,
	const char *body, size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, (void *)body, MHD_RESPMEM_MUST_COPY);

	if (!response)
		return false;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	if (request->close)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	request->answered = MHD_queue_response(request->connection, status, response) == MHD_YES;
	MHD_destroy_response(response);
	return request->answered;
}

static enum MHD_Result reply_text(struct mn_httpd_request *request, unsigned int status, const char *text)
{
	return mn_httpd_reply(request, status, "text/plain; charset=utf-8", text, strlen(text)) ? MHD_YES
												: MHD_NO;
}

static bool has_body(struct MHD_Connection *connection)
{
	const char *length =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (length && strcmp(length, "0") != 0) ||
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static unsigned int connections(const struct mn_httpd *httpd)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info ? info->num_connections : 0;
}

// Called when the headers of a request are there, and again when all of it is.
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *upload, size_t *upload_size, void **memory)
{
	struct mn_httpd *httpd = data;
	struct mn_httpd_request request = {
		.connection = connection,
		.close = connections(httpd) > MN_HTTPD_CONNECTIONS / 2,
	};

	(void)version;
	(void)upload;
	if (!*memory) {
		*memory = httpd;
		if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
			return reply_text(&request, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
		if (has_body(connection))
			return reply_text(&request, MHD_HTTP_CONTENT_TOO_LARGE, "no body is taken\n");
		return MHD_YES;
	}
	*upload_size = 0;
	httpd->served++;
	if (httpd->answer)
		httpd->answer(httpd->data, &request, method, url);
	if (request.answered)
		return MHD_YES;
	return reply_text(&request, MHD_HTTP_INTERNAL_SERVER_ERROR, "internal error\n");
}

static bool parse_address(const char *address, uint16_t port, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
	struct sockaddr_in *four = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		*len = sizeof(*four);
		return true;
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	*len = sizeof(*six);
	return inet_pton(AF_INET6, address, &six->sin6_addr) == 1;
}

// Opens the listening socket; *port becomes the port that it has.
static int open_listener(const char *address, uint16_t *port, int *result, struct mn_error *err)
{
	struct sockaddr_storage at;
	socklen_t len;
	auto_close int fd = -1;
	int on = 1;

	if (!parse_address(address, *port, &at, &len)) {
		mn_fail(err, EINVAL, "listen", NULL,
			"address is an IPv4 or IPv6 address, like 127.0.0.1 or ::1, not \"%.64s\"", address);
		if (err)
			err->errnum = 0; // the sentence says it all
		return -EINVAL;
	}
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
		int errnum = errno;

		return mn_fail(err, errnum, "listen", NULL, "address %.64s, port %u%s", address, *port,
			errnum == EADDRINUSE		  ? ": another program has it, choose another"
				: errnum == EADDRNOTAVAIL ? ": no interface has this address"
							  : "");
	}
	*port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
					      : ((struct sockaddr_in6 *)&at)->sin6_port);
	*result = steal_fd(&fd);
	return 0;
}

int mn_httpd_open(struct mn_httpd *httpd, const char *address, uint16_t port, struct mn_error *err)
{
	int fd = -1, ret;

	memset(httpd, 0, sizeof(*httpd));
	ret = open_listener(address, &port, &fd, err);
	if (ret < 0)
		return ret;
	httpd->port = port;
	httpd->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, httpd,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MN_HTTPD_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, MN_HTTPD_TIMEOUT, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		MN_HTTPD_MEMORY, MHD_OPTION_END);
	if (httpd->daemon)
		return 0;
	close(fd);
	return mn_fail(err, ENOMEM, "listen", NULL, "the server cannot be started");
}

void mn_httpd_close(struct mn_httpd *httpd)
{
	if (httpd->daemon)
		MHD_stop_daemon(httpd->daemon);
	httpd->daemon = NULL;
}

int mn_httpd_fd(const struct mn_httpd *httpd)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	return info ? info->epoll_fd : -1;
}

int64_t mn_httpd_timeout(const struct mn_httpd *httpd)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	return MHD_get_timeout(httpd->daemon, &timeout) == MHD_YES ? (int64_t)timeout : -1;
}

int mn_httpd_run(struct mn_httpd *httpd, mn_httpd_answer *answer, void *data, struct mn_error *err)
{
	enum MHD_Result good;
	unsigned int before;
	int rounds = 0;

	httpd->answer = answer;
	httpd->data = data;
	httpd->served = 0;
	do {
		before = connections(httpd);
		good = MHD_run(httpd->daemon);
		// When one goes, the next that waits is heard in another round.
	} while (good == MHD_YES && ++rounds < MAX_ROUNDS &&
		(mn_httpd_timeout(httpd) == 0 || connections(httpd) < before));
	httpd->answer = NULL;
	return good == MHD_YES ? 0 : mn_fail(err, EIO, "run", "HTTP server", NULL);
}
