// SPDX-License-Identifier: Apache-2.0
// What libcurl's failures are called here, and what a person can do about them.
#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define AGAIN 11 // CNI codes: it may work later, the other side talks nonsense, our configuration is wrong
#define IO 5
#define NONSENSE 6
#define CONFIG 7

static const struct {
	CURLcode curl;
	int code;
	const char *name, *remedy;
} failures[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, AGAIN, "RESOLVE",
		"is the name right, and does this machine's resolver know it?" },
	{ CURLE_COULDNT_RESOLVE_PROXY, AGAIN, "RESOLVE", "is the proxy's name right?" },
	{ CURLE_COULDNT_CONNECT, AGAIN, "CONNECT",
		"does the server run, is the address right, and is there a route to it?" },
	{ CURLE_PROXY, AGAIN, "CONNECT", "does the proxy allow this address?" },
	{ CURLE_OPERATION_TIMEDOUT, AGAIN, "TIMEOUT",
		"is the server alive and reachable, or the time given too short?" },
	{ CURLE_PEER_FAILED_VERIFICATION, CONFIG, "TLS",
		"is ca the authority that signed the server's certificate, and is that for this name "
		"(server_name)?" },
	{ CURLE_SSL_CERTPROBLEM, CONFIG, "TLS", "are cert and key PEM texts, and of one pair?" },
	{ CURLE_SSL_CACERT_BADFILE, CONFIG, "TLS", "are ca or ca_file PEM certificates, and readable?" },
	{ CURLE_SSL_CONNECT_ERROR, CONFIG, "TLS",
		"does the server speak TLS 1.2 or later there, and accept our certificate?" },
	{ CURLE_SSL_CIPHER, CONFIG, "TLS", "no cipher in common" },
	{ CURLE_SEND_ERROR, AGAIN, "CLOSED", "the connection broke: try again" },
	{ CURLE_RECV_ERROR, AGAIN, "CLOSED", "the connection broke: try again" },
	{ CURLE_GOT_NOTHING, AGAIN, "CLOSED", NULL },
	{ CURLE_PARTIAL_FILE, AGAIN, "CLOSED", "the answer is not complete: try again" },
	{ CURLE_UNSUPPORTED_PROTOCOL, NONSENSE, "HTTP", "is there an HTTP server at this port?" },
	{ CURLE_WEIRD_SERVER_REPLY, NONSENSE, "HTTP", "is there an HTTP server at this port?" },
	{ CURLE_HTTP2, NONSENSE, "HTTP", "is there an HTTP/1.1 server at this port?" },
	{ CURLE_BAD_CONTENT_ENCODING, NONSENSE, "ENCODING", "the body is not what the server says it is" },
	{ CURLE_WRITE_ERROR, NONSENSE, "ENCODING", "the body cannot be decoded" },
	{ CURLE_OUT_OF_MEMORY, AGAIN, "MEMORY", "no memory" },
};

// A peer that refuses our certificate in TLS 1.3 does so when we believe the handshake to be over.
static bool is_alert(const struct mn_http_request *request, CURLcode code)
{
	return (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR) && strstr(request->why, " alert ");
}

// Why a server may close a connection without a word.
static const char *silence(const struct mn_http_request *request)
{
	return strncmp(request->target, "https:", 6) == 0
		? "the server closed without an answer: does it want a client certificate, or another?"
		: "the server closed without an answer: is this its HTTP port, or does it want https?";
}

static void fill(struct mn_http_request *request, const char *name, int code)
{
	request->failure = name;
	request->err.errnum = 0;
	request->err.code = code;
}

void mn_http_explain(struct mn_http_request *request, CURLcode code)
{
	const char *why = *request->why ? request->why : curl_easy_strerror(code);
	const char *name = "IO", *remedy = NULL;
	int cni = IO;

	if (is_alert(request, code))
		code = CURLE_SSL_CONNECT_ERROR;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].curl == code) {
			name = failures[i].name;
			remedy = failures[i].remedy;
			cni = failures[i].code;
		}
	}
	if (strcmp(name, "CLOSED") == 0 && !request->status)
		remedy = silence(request);
	mn_fail(&request->err, 0, "request", request->target, "%s%s%s", why, remedy ? "; " : "",
		remedy ? remedy : "");
	fill(request, name, cni);
	for (char *c = request->err.message; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
}

void mn_http_refuse(
	struct mn_http_request *request, const char *failure, int cni_code, const char *message, ...)
{
	char text[sizeof(request->err.message)];
	va_list args;

	va_start(args, message);
	vsnprintf(text, sizeof(text), message, args);
	va_end(args);
	mn_fail(&request->err, 0, "request", request->target, "%s", text);
	fill(request, failure, cni_code);
}
