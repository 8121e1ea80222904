// SPDX-License-Identifier: Apache-2.0
// mncni: the CNI plugin, and the command line. Protocol and policies are Lua (mncni.cni); this host gives
// them the environment and standard input, keeps standard output for the one JSON document, and undoes what a
// call that dies half way has done.
#define _GNU_SOURCE
#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <mncni.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STDIN_MAX ((size_t)1 << 20)   // bytes of configuration; what is larger is refused by name
#define STDIN_FIRST ((size_t)2 << 10) // what nearly all of them fit into
#define WALL_MS 60000U		      // for the whole call: containerd gives a clean-up one minute
#define CODE_IO 5
#define CNI_VERSION "1.1.0" // of an error document that was made before the configuration's was known
#define STATE_DIR "/run/mncni"

// What the calls that a runtime makes for every pod need, loaded when the program is built.
static const char *const modules[] = { "mncni.cni", "mncni.netconf", "mncni.record", "mncni.result",
	"mncni.verb.add", "mncni.verb.del", "mncni.verb.check", "mncni.verb.status", "mncni.attachment",
	"mncni.policy", "mncni.steps", "mncni", "mncni.options", "mncni.net", "mncni.pod", "mncni.route",
	"mncni.lease", "mncni.ipam", "mncni.store", "mncni.bridge", "mncni.ruleset", "mncni.masquerade",
	"mncni.guard", "mncni.localnet", "mncni.chain", "mncni.check", "mncni.forwarding", "mncni.hostport",
	"mncni.hostport_rules", "mncni.shaping", "mncni.parallel", "mncni.net_nft", "mncni.ensure",
	"mncni.ready", "policy naivebridge", "policy bridge", "policy host-local", "policy portmap",
	"policy bandwidth", "policy firewall", "policy loopback", NULL };
static char image[704 << 10] __attribute__((section(".mncni_image"), aligned(4096)));

static int out = -1; // where the document goes; descriptor 1 itself is standard error
static const char *command;
static cJSON *header;	// of the journal that is being undone, if any
static int64_t started; // mn_record_clock() when the call began

// What the signal handler needs, made beforehand.
static char out_text[16], started_text[24];
static char *undo_argv[] = { "mncni", "--undo", NULL, out_text, started_text, NULL, NULL };

// Writes the whole text to the runtime.
static int write_out(const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(out, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static const char *header_field(const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(header, key));
}

// Reads what the first line of a journal says of its attachment.
static void read_header(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096];

	if (file && fgets(line, sizeof(line), file))
		header = cJSON_Parse(line);
	if (file)
		(void)fclose(file);
}

// Records a call that Lua could not record, as far as the environment tells about it.
static void record_failure(int code, const char *message, const char *document)
{
	const char *state_dir = getenv("MNCNI_STATE_DIR");
	struct mn_record record = {
		.verb = command,
		.policy = header_field("policy"),
		.network = header_field("network"),
		.container = getenv("CNI_CONTAINERID"),
		.ifname = getenv("CNI_IFNAME"),
		.netns = getenv("CNI_NETNS"),
		.trace = getenv("TRACEPARENT"),
		.message = message,
		.document = document,
		.duration_us = mn_record_clock() - started,
		.code = code,
	};

	(void)mn_record_write(state_dir && *state_dir ? state_dir : STATE_DIR, &record, NULL);
}

// Prints the CNI error document, records the call and returns the exit status. Who stops the call from here
// on comes too late: there is one document.
static int print_error(int code, const char *message, const char *details)
{
	cJSON *document = cJSON_CreateObject();
	char *text = NULL;
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	if (cJSON_AddStringToObject(document, "cniVersion", CNI_VERSION) &&
		cJSON_AddNumberToObject(document, "code", code) &&
		cJSON_AddStringToObject(document, "msg", message) &&
		(!details || !*details || cJSON_AddStringToObject(document, "details", details)))
		text = cJSON_Print(document);
	cJSON_Delete(document);
	record_failure(code, message, text);
	(void)write_out(text ? text : "{\"code\": 5, \"msg\": \"no memory for the error message\"}");
	(void)write_out("\n");
	free(text);
	return 1;
}

static int print_state_error(const struct mn_state *state, const struct mn_error *err)
{
	char *json = mn_error_json(state, err);
	cJSON *parts = json ? cJSON_Parse(json) : NULL;
	const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parts, "msg"));
	const char *details = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parts, "details"));
	int status = print_error(
		err->code ? err->code : MN_CODE_POLICY, message ? message : err->message, details);

	cJSON_Delete(parts);
	free(json);
	return status;
}

// The runtime stops the call (SIGTERM), or time is up for code that no hook reaches: this process becomes one
// that undoes the journal. Does only what signal-safety(7) allows.
static void stopped(int signum)
{
	mn_leave();
	mn_record_save(STDIN_FILENO);
	undo_argv[2] = signum == SIGALRM ? "time" : "signal";
	undo_argv[5] = (char *)mn_undo_path();
	if (out >= 0)
		(void)fcntl(out, F_SETFD, 0);
	execve("/proc/self/exe", undo_argv, environ);
	_exit(1);
}

// The process that `stopped` becomes: mncni --undo REASON OUT STARTED [JOURNAL].
static int undo_main(int argc, char **argv)
{
	bool rollback = command && strcmp(command, "ADD") == 0;
	struct mn_error err = { 0 };
	const char *policy;
	char message[512];

	if (argc < 5)
		return 1;
	out = (int)strtol(argv[3], NULL, 10);
	started = strtoll(argv[4], NULL, 10);
	mn_record_resume(STDIN_FILENO, started);
	if (argc > 5)
		read_header(argv[5]);
	policy = header_field("policy");
	if (argc > 5 && mn_undo_file(argv[5], rollback, &err) < 0)
		return print_state_error(NULL, &err);
	snprintf(message, sizeof(message), "%s%.255s%s%s; %s", policy ? "policy \"" : "",
		policy ? policy : "", policy ? "\": " : "",
		strcmp(argv[2], "time") == 0 ? "it did not come to an end in its time and was stopped"
					     : "the call was told to stop before it was finished",
		argc > 5 ? "what it had done was undone" : "there was nothing to undo");
	return print_error(MN_CODE_BUDGET, message, NULL);
}

// Milliseconds for the whole call; MNCNI_WALL_MS sets another number.
static unsigned int wall_ms(void)
{
	const char *text = getenv("MNCNI_WALL_MS");
	long value = text ? strtol(text, NULL, 10) : 0;

	return value > 0 && value <= 600000 ? (unsigned int)value : WALL_MS;
}

// Reads standard input whole: malloc'ed and terminated, or NULL with errno set. *truncated: there was more.
static char *read_stdin(size_t *len, bool *truncated)
{
	size_t room = STDIN_FIRST;
	char *buf = malloc(room + 1);
	ssize_t n = 1;

	*len = 0;
	while (buf && n != 0 && *len <= STDIN_MAX) {
		n = read(STDIN_FILENO, buf + *len, room - *len);
		if (n < 0 && errno != EINTR) {
			int errnum = errno;

			free(buf);
			errno = errnum;
			return NULL;
		}
		if (n > 0)
			*len += (size_t)n;
		if (*len == room && *len <= STDIN_MAX) {
			char *more;

			room = 2 * room < STDIN_MAX ? 2 * room : STDIN_MAX + 1;
			more = realloc(buf, room + 1);
			if (!more)
				free(buf);
			buf = more;
		}
	}
	if (!buf)
		return NULL;
	*truncated = *len > STDIN_MAX;
	buf[*len] = '\0';
	return buf;
}

// Whether a variable of the environment means something to a CNI plugin.
static bool is_passed(const char *entry)
{
	static const char *const passed[] = { "CNI_", "MNCNI_", "TRACEPARENT=", "TRACESTATE=", "BAGGAGE=" };
	bool found = false;

	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]) && !found; i++)
		found = strncmp(entry, passed[i], strlen(passed[i])) == 0;
	return found && strchr(entry, '=');
}

// What mncni.cni is given besides the environment.
struct request {
	struct mn_text *texts; // malloced, with room for the names of the variables behind
	size_t count;
};

static void add(struct request *request, const char *name, const char *bytes, size_t size)
{
	request->texts[request->count++] = (struct mn_text){ name, bytes, size };
}

// Adds the variables that mean something to a CNI plugin, and records them.
static bool make_request(struct request *request, size_t others)
{
	static const char prefix[] = "env.";
	size_t count = others, room = 0;
	char *name;

	for (char **entry = environ; *entry; entry++)
		if (is_passed(*entry)) {
			count++;
			room += sizeof(prefix) + (size_t)(strchr(*entry, '=') - *entry);
		}
	request->texts = malloc(count * sizeof(*request->texts) + room);
	if (!request->texts)
		return false;
	name = (char *)(request->texts + count);
	for (char **entry = environ; *entry; entry++) {
		const char *equals = strchr(*entry, '=');

		if (!is_passed(*entry))
			continue;
		mn_record_note("env", *entry, strlen(*entry));
		add(request, name, equals + 1, strlen(equals + 1));
		name = mempcpy(stpcpy(name, prefix), *entry, (size_t)(equals - *entry));
		*name++ = '\0';
	}
	return true;
}

// Prints what the Lua side decided and returns the exit status.
static int print_texts(const char *status, const char *document, const char *message)
{
	int result = status ? (int)strtol(status, NULL, 10) : 1;

	if (message)
		fprintf(stderr, "%s\n", message);
	if (document && (write_out(document) < 0 || write_out("\n") < 0))
		result = 1;
	return result;
}

// The same for what it gave back as JSON.
static int print_reply(const char *json)
{
	cJSON *reply = cJSON_Parse(json);
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(reply, "status");
	char status[16];
	int result;

	if (!reply)
		return print_error(CODE_IO, "no memory for the answer", NULL);
	snprintf(status, sizeof(status), "%d", cJSON_IsNumber(number) ? number->valueint : 1);
	result = print_texts(status, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "stdout")),
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "stderr")));
	cJSON_Delete(reply);
	return result;
}

// Undoes what the call has done, unless Lua has seen to it.
static void undo_rest(void)
{
	const char *journal = mn_undo_path();
	struct mn_error err = { 0 };

	if (journal && mn_undo_file(journal, strcmp(command, "ADD") == 0, &err) < 0)
		fprintf(stderr, "mncni: rollback: %s\n", err.message);
}

// Has Lua serve the call, prints what it says, and returns the exit status.
static int serve(const struct request *request, const sigset_t *all)
{
	static struct mn_state *state; // never freed, and for LeakSanitizer never lost
	struct mn_options options = { .limits.wall_ms = wall_ms(),
		.alarm_signal = SIGALRM,
		.image = image,
		.image_size = sizeof(image) };
	struct mn_text reply[] = { { .name = "status" }, { .name = "stdout" }, { .name = "stderr" } };
	struct mn_error err = { 0 };
	int module, status;

	if (mn_state_new(&state, &options, &err) < 0)
		return print_state_error(NULL, &err);
	module = mn_require(state, "mncni.cni", &err);
	if (module > 0 &&
		mn_call_texts(state, module, "run", request->texts, request->count, reply,
			sizeof(reply) / sizeof(reply[0]), &err) == 0) {
		// What the runtime is told holds: too late to stop. What it could not be told must not stay.
		sigprocmask(SIG_BLOCK, all, NULL);
		status = print_texts(reply[0].bytes, reply[1].bytes, reply[2].bytes);
		if (status != 0)
			undo_rest();
	} else { // Lua could not even report (memory, budget)
		undo_rest();
		status = print_state_error(state, &err);
	}
	// The process ends here: the kernel takes everything back faster than Lua does, a piece at a time.
	return status;
}

static int cni_main(const char *program, const char *name)
{
	struct sigaction action = { .sa_handler = stopped };
	struct request request = { 0 };
	bool truncated = false;
	size_t len = 0;
	char *input;
	int status;

	// Grown at once and never shrunk: a call is short.
	mallopt(M_TOP_PAD, 512 << 10);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	sigfillset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);

	// VERSION answers whatever standard input is, or is not.
	input = strcmp(command, "VERSION") == 0 ? strdup("") : read_stdin(&len, &truncated);
	if (!input)
		return print_error(CODE_IO, "standard input, which holds the configuration, cannot be read",
			strerror(errno));
	mn_record_begin(started);
	mn_record_note("program", program, strlen(program));
	mn_record_note("stdin", input, len);
	if (make_request(&request, 4)) {
		add(&request, "name", name, strlen(name));
		add(&request, "started", started_text, strlen(started_text));
		add(&request, "stdin", truncated ? NULL : input, len);
		add(&request, "stdin_truncated", truncated ? "1" : NULL, 1);
		status = serve(&request, &action.sa_mask);
	} else {
		status = print_error(CODE_IO, "no memory for the request", NULL);
	}
	free(request.texts);
	free(input);
	return status;
}

// Tells whoever runs this program for its answer why there is none.
static int write_error(const struct mn_state *state, const struct mn_error *err)
{
	char *json = mn_error_json(state, err);
	int status = json && write_out(json) == 0 ? 1 : 2;

	free(json);
	return status;
}

// Runs a module of Lua with the words of the command line; an error is told to a person, or as JSON.
static int run_module(const char *name, char **argv, int argc, const struct mn_options *options, bool as_json)
{
	cJSON *words = cJSON_CreateStringArray((const char *const *)argv, argc);
	char *request = cJSON_PrintUnformatted(words), *reply = NULL;
	struct mn_state *state = NULL;
	struct mn_error err = { 0 };
	int module = 0, status = 1;

	cJSON_Delete(words);
	if (request && mn_state_new(&state, options, &err) == 0)
		module = mn_require(state, name, &err);
	if (module > 0 && mn_call(state, module, "run", request, &reply, &err) == 0)
		status = print_reply(reply);
	else if (as_json)
		status = write_error(state, &err);
	else
		fprintf(stderr, "mncni: %s\n", err.message);
	free(request);
	free(reply);
	mn_state_free(state);
	return status;
}

// mncni SUBCOMMAND ...: mncni.command finds the subcommand's file; without one it prints what the program is.
static int command_main(int argc, char **argv)
{
	// A subcommand looks at the whole node, and a person waits for it.
	static const struct mn_options options = {
		.limits.memory = (size_t)512 << 20,
		.limits.instructions = UINT64_C(100000000000),
		.limits.wall_ms = 3600000,
	};

	return run_module("mncni.command", argv + 1, argc > 1 ? argc - 1 : 0, &options, false);
}

// mncni --bounded MODULE ...: runs what loads a policy for a subcommand, with what a pod's call may use.
static int bounded_main(int argc, char **argv)
{
	// The signal ends what no limit reaches; who waits for it sees that.
	static const struct mn_options options = { .limits.wall_ms = 10000, .alarm_signal = SIGALRM };

	return run_module(argv[2], argv + 3, argc - 3, &options, true);
}

static bool timeless; // while the snapshot is made

// Lua seeds its hashes and random numbers by this and by addresses; the linker puts it in the place of
// time().
time_t __real_time(time_t *at);
time_t __wrap_time(time_t *at);

time_t __wrap_time(time_t *at)
{
	return timeless ? 0 : __real_time(at);
}

// mncni --snapshot FILE: for the build of this program. The same program makes the same bytes.
static int snapshot_main(char **argv)
{
	struct mn_options options = { .image = image, .image_size = sizeof(image) };
	const char *path = argv[2];
	struct mn_error err = { 0 };
	int persona = personality(0xffffffff);

	if (persona >= 0 && !(persona & ADDR_NO_RANDOMIZE) &&
		personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0)
		execv("/proc/self/exe", argv);
	timeless = true;
	if (mn_snapshot(&options, modules, path, &err) == 0)
		return 0;
	fprintf(stderr, "mncni: snapshot %s: %s\n", path, err.message);
	return 1;
}

// Whether a subcommand writes as it goes: without limits, with standard output as it is, and signals as a
// shell expects them.
static bool is_interactive(const char *subcommand)
{
	static const char *const names[] = { "calls", "list", "repl", "trace", "try" };
	bool found = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		found = found || strcmp(subcommand, names[i]) == 0;
	return found;
}

static int interactive_main(int argc, char **argv)
{
	out = STDOUT_FILENO;
	return run_module("mncni.command", argv + 1, argc - 1, &(struct mn_options){ .prompt = true }, false);
}

// Descriptors 0 to 2 exist, whatever the caller closed; and what a policy or a program it runs prints goes to
// standard error, because standard output carries the document alone.
static int prepare_descriptors(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0)
			return -errno;
	}
	out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (out < 0)
		return -errno;
	do
		fd = dup2(STDERR_FILENO, STDOUT_FILENO);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	snprintf(out_text, sizeof(out_text), "%d", out);
	snprintf(started_text, sizeof(started_text), "%lld", (long long)started);
	return 0;
}

// Whether the heap ends at the end of a page. In a static program the C library aligns it before main();
// where memory is short just then it goes on without, and abort()s when the heap grows, in the middle of a
// call.
static bool is_heap_aligned(void)
{
	return (uintptr_t)sbrk(0) % (uintptr_t)getpagesize() == 0;
}

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "mncni";
	sigset_t none;

	if (argc > 1 && is_interactive(argv[1]))
		return interactive_main(argc, argv);
	if (argc == 3 && strcmp(argv[1], "--snapshot") == 0)
		return snapshot_main(argv);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	started = mn_record_clock();
	command = getenv("CNI_COMMAND");
	if (argc > 1 && strcmp(argv[1], "--undo") == 0)
		return undo_main(argc, argv);
	if (prepare_descriptors() < 0) {
		out = out < 0 ? STDOUT_FILENO : out;
		return print_error(CODE_IO, "no descriptors for input and output", strerror(errno));
	}
	if (!is_heap_aligned())
		return print_error(CODE_IO, "no memory to begin with", NULL);
	if (argc > 2 && strcmp(argv[1], "--bounded") == 0)
		return bounded_main(argc, argv);
	if (argc > 1 || !command || !*command)
		return command_main(argc, argv);
	return cni_main(argc > 0 ? argv[0] : name, name);
}
