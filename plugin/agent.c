// SPDX-License-Identifier: Apache-2.0
// mncni-agent: the node agent. What it does is Lua (mncni.agent); this host gives it a bounded state, wakes
// it for signals, and replaces the state: by one that reads everything anew, when asked to, and by a fresh
// one when it died. The kernel's state is the agent's only memory, so a replaced state costs no packet.
#define _GNU_SOURCE
#include <cJSON.h>
#include <errno.h>
#include <mncni.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MODULE "mncni.agent"
#define LONGEST_PAUSE 30 // seconds between two tries to start a state anew
#define RELOADS 3	 // at once, when files change while they are read
#define SETTLED 120	 // seconds after which a state that died is not taken for one that always will
#define PATIENCE 90	 // seconds after which a call that no limit has stopped is stuck in a C function

// A state and the module in it that runs the agent.
struct agent {
	struct mn_state *state;
	int module;
};

static cJSON *words; // the command line
static char **arguments;
static int signals = -1;
static int alone = -1; // nobody else has this while it is open

static void say(const char *what, const char *message)
{
	fprintf(stderr, "mncni-agent: %s%s%s\n", what, *what ? ": " : "", message);
}

// Two agents in one network namespace would undo each other's work for ever. An abstract name belongs to a
// network namespace, as routes do, and is free again when its holder ends, however that ends (unix(7)).
static void claim(void)
{
	static const char name[] = "\0mncni-agent";
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	memcpy(at.sun_path, name, sizeof(name) - 1);
	alone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (alone >= 0 &&
		(bind(alone, (struct sockaddr *)&at,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1)) < 0 ||
			listen(alone, 1) < 0)) {
		close(alone);
		alone = -1;
	}
}

// Tells systemd, where it is asked for (sd_notify(3)'s protocol).
static void notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len == 0 || len >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, len);
	if (*path == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static void notify_reloading(void)
{
	char text[80];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	notify(text);
}

static void drop(struct agent *agent)
{
	mn_state_free(agent->state);
	*agent = (struct agent){ 0 };
}

// The line that says what went wrong; malloc'ed.
static char *describe(const struct agent *agent, const struct mn_error *err)
{
	char *json = mn_error_json(agent->state, err);
	cJSON *parts = json ? cJSON_Parse(json) : NULL;
	const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parts, "msg"));
	char *line = strdup(message ? message : err->message);

	cJSON_Delete(parts);
	free(json);
	return line;
}

// A policy is stuck where no limit reaches it (a pattern that backtracks for ever): begin anew. Does only
// what signal-safety(7) allows.
static void stuck(int signum)
{
	static const char message[] =
		"mncni-agent: a policy does not come back from a C function; starting again\n";
	sigset_t none;

	(void)signum;
	(void)!write(STDERR_FILENO, message, sizeof(message) - 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve("/proc/self/exe", arguments, environ);
	_exit(1);
}

// mn_call() with an alarm.
static int call(const struct agent *agent, const char *function, const char *json, char **result,
	struct mn_error *err)
{
	int outcome;

	alarm(PATIENCE);
	outcome = mn_call(agent->state, agent->module, function, json, result, err);
	alarm(0);
	return outcome;
}

// Whether the command line is for an agent that keeps this network namespace. One that has something wrong
// with it is not; start says what.
static bool keeps_node(const struct agent *agent, const cJSON *request)
{
	struct mn_error err = { 0 };
	char *text = cJSON_PrintUnformatted(request), *reply = NULL;
	bool keeps = text && call(agent, "keeps_node", text, &reply, &err) == 0 && reply &&
		strcmp(reply, "true") == 0;

	free(text);
	free(reply);
	return keeps;
}

// Makes a state and starts the agent in it. Returns what it said, or NULL with *why (malloc'ed).
static cJSON *start(struct agent *agent, const char *handover, char **why)
{
	// For a start and for each turn: several times of what 5 000 nodes take. Nothing else is done
	// meanwhile, so a policy that loops is not to have long.
	struct mn_options options = {
		.limits.memory = (size_t)384 << 20,
		.limits.instructions = UINT64_C(1000000000),
		.limits.wall_ms = 60000,
	};
	cJSON *request = cJSON_CreateObject(), *answer = NULL;
	struct mn_error err = { 0 };
	char *text = NULL, *reply = NULL;

	cJSON_AddItemReferenceToObject(request, "words", words);
	*agent = (struct agent){ 0 };
	if (mn_state_new(&agent->state, &options, &err) == 0)
		agent->module = mn_require(agent->state, MODULE, &err);
	if (agent->module > 0) {
		if (alone < 0 && keeps_node(agent, request))
			claim();
		cJSON_AddBoolToObject(request, "rival", alone < 0);
		if (handover)
			cJSON_AddRawToObject(request, "handover", handover);
		text = cJSON_PrintUnformatted(request);
		if (text && call(agent, "start", text, &reply, &err) == 0)
			answer = cJSON_Parse(reply);
	}
	cJSON_Delete(request);
	if (!answer) {
		*why = describe(agent, &err);
		drop(agent);
	}
	free(text);
	free(reply);
	return answer;
}

// Lets another state take over from a running one. That goes on when the other cannot start. Returns true
// when what is read in a reload has changed meanwhile: the old state followed it until its end, and the new
// one since after it had read it.
static bool reload(struct agent *agent)
{
	struct agent next = { 0 };
	struct mn_error err = { 0 };
	char *handover = NULL, *why = NULL, *reply = NULL;
	cJSON *answer = NULL, *last;
	bool again = false;

	notify_reloading();
	if (call(agent, "handover", NULL, &handover, &err) == 0)
		answer = start(&next, handover, &why);
	else
		why = describe(agent, &err);
	if (answer) {
		(void)mn_call(agent->state, agent->module, "close", NULL, &reply, &err);
		last = cJSON_Parse(reply);
		again = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(last, "changed"));
		cJSON_Delete(last);
		free(reply);
		drop(agent);
		*agent = next;
		say("", "reloaded");
	} else {
		cJSON *refused = cJSON_CreateObject();
		char *text;

		cJSON_AddStringToObject(refused, "message", why ? why : "no memory");
		text = cJSON_PrintUnformatted(refused);
		(void)mn_call(agent->state, agent->module, "refused", text, NULL, &err);
		cJSON_Delete(refused);
		free(text);
	}
	cJSON_Delete(answer);
	free(handover);
	free(why);
	notify("READY=1");
	return again;
}

// Which signal came, 0 when none did.
static int next_signal(void)
{
	struct signalfd_siginfo info;

	return read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

// Starts the agent again after its state has died, for as long as it takes. Returns false when told to end.
// One that dies again and again waits longer and longer: it reads all nodes each time.
static bool revive(struct agent *agent)
{
	static unsigned int pause = 1;
	static time_t last;

	if (time(NULL) - last > SETTLED)
		pause = 1;
	for (;;) {
		sigset_t set;
		siginfo_t info;
		char *why = NULL;
		cJSON *answer;
		int signum;

		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGINT);
		signum = sigtimedwait(&set, &info, &(struct timespec){ .tv_sec = pause });
		if (signum > 0)
			return false;
		pause = pause * 2 > LONGEST_PAUSE ? LONGEST_PAUSE : pause * 2;
		answer = start(agent, NULL, &why);
		if (answer) {
			cJSON_Delete(answer);
			last = time(NULL);
			return true;
		}
		say("cannot start again", why ? why : "no memory");
		free(why);
	}
}

// Says to systemd that the agent runs, and how things stand, when that has changed.
static void notify_status(const char *status)
{
	static char told[512];
	char text[sizeof(told)];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=%.*s", (int)strcspn(status, "\n"), status);
	if (strcmp(text, told) != 0) {
		notify(text);
		memcpy(told, text, strlen(text) + 1);
	}
	notify("WATCHDOG=1");
}

// One turn of the agent. Returns false when its state died.
static bool turn(struct agent *agent, bool *wants_reload)
{
	struct mn_error err = { 0 };
	char request[40], *reply = NULL, *why;
	const char *status;
	cJSON *answer;

	snprintf(request, sizeof(request), "{\"fds\":[%d]}", signals);
	(void)mn_state_renew(agent->state);
	if (call(agent, "turn", request, &reply, &err) < 0) {
		why = describe(agent, &err);
		say("starting again after", why ? why : err.message);
		free(why);
		drop(agent);
		return false;
	}
	answer = cJSON_Parse(reply);
	*wants_reload = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "reload"));
	status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "status"));
	notify_status(status ? status : "");
	cJSON_Delete(answer);
	free(reply);
	return true;
}

static int run(struct agent *agent)
{
	for (;;) {
		bool wants_reload = false;
		int signum;

		if (!turn(agent, &wants_reload) && !revive(agent))
			break;
		signum = next_signal();
		if (signum == SIGTERM || signum == SIGINT)
			break;
		wants_reload = wants_reload || signum == SIGHUP;
		for (int tries = 0; wants_reload && tries < RELOADS; tries++)
			wants_reload = reload(agent);
	}
	notify("STOPPING=1");
	if (agent->state) {
		struct mn_error err = { 0 };

		(void)mn_state_renew(agent->state);
		(void)call(agent, "stop", NULL, NULL, &err);
	}
	return 0;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return signals < 0 ? -errno : 0;
}

// Prints what is to be printed of an answer that ends the program, and returns its status.
static int finish(const cJSON *answer)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "stdout"));
	const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "stderr"));
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(answer, "status");

	if (text)
		printf("%s\n", text);
	if (message)
		fprintf(stderr, "%s\n", message);
	return cJSON_IsNumber(status) ? status->valueint : 1;
}

int main(int argc, char **argv)
{
	struct agent agent = { 0 };
	char *why = NULL;
	cJSON *answer;
	int status;

	umask(022);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, stuck);
	arguments = argv;
	words = cJSON_CreateStringArray((const char *const *)argv + 1, argc > 1 ? argc - 1 : 0);
	if (open_signals() < 0) {
		say("signals", strerror(errno));
		return 1;
	}
	answer = start(&agent, NULL, &why);
	if (!answer) {
		say("", why ? why : "no memory");
		free(why);
		cJSON_Delete(words);
		return 1;
	}
	status = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "running")) ? run(&agent)
										   : finish(answer);
	cJSON_Delete(answer);
	cJSON_Delete(words);
	drop(&agent);
	return status;
}
