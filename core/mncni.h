// SPDX-License-Identifier: Apache-2.0
// libmncni: a bounded Lua state with the mncni module in it, for C programs that run network policies.
//
//	struct mn_state *state;
//	struct mn_error err;
//	char *result;
//	int policy;
//
//	if (mn_state_new(&state, &(struct mn_options){ .limits.wall_ms = 2000 }, &err) < 0)
//		...
//	policy = mn_policy(state, "routes", &err);
//	if (policy < 0 || mn_call(state, policy, "desired", "{\"peers\":[]}", &result, &err) < 0)
//		...
//	free(result);
//	mn_state_free(state);
//
// Whole programs are in examples/embed; pkg-config knows how to compile and link them as "mncni".
//
// Errors. Functions return 0, a handle (which is positive) or -errno, and on failure fill err, which may be
// NULL and is left alone otherwise. What Lua raises comes back as -errno, too (-EINVAL where it had none),
// never as a longjmp. The numbers that matter to a caller are named at the functions; messages are for
// people.
//
// Lifetime. A state lives from mn_state_new() to mn_state_free(). Handles are the state's, are never given
// back, and mean nothing to another state. A state that a limit or mn_state_stop() has ended answers
// -ECANCELED from then on: free it. What a policy opened (sockets, namespaces) is closed by then at the
// latest.
//
// Ownership. Strings and structures that go in are the caller's and are read before the function returns. A
// char * that comes out is the caller's, to be freed by free(3). A const char * that comes out is the
// library's, and is good until its next call.
//
// Threads. A state belongs to the thread that made it: limits count that thread's alarm, and a namespace is
// entered by that thread (setns(2)), which is back in its own whenever a function returns. Several threads
// may have a state each. Of a process, one at a time may carry out a CNI verb or run another program: the
// journal that mn_undo_path() tells, and the program that mn_leave() ends, are the process's. From other
// threads and from signal handlers only what says so may be called.
//
// Units. Memory is bytes, time is in the unit that the name ends with (ms, us), instructions are those of
// Lua's virtual machine. Strings are UTF-8 and JSON is RFC 8259's; integers keep their 64 bits.
//
// Versions. The shared library has these functions and no others, at the version MNCNI_0 of its symbols.
// Structures of options may grow at their end under a new version: fill them by name, the rest with zeroes.
//
// Trust. The limits stop a policy that runs away by mistake; a policy is administrator's code, it may run
// programs and write files, and nothing here is a sandbox against it.
#ifndef MNCNI_H
#define MNCNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

// What went wrong, in parts. Every field is terminated; an empty string means that part does not apply.
struct mn_error {
	int errnum;	     // positive errno, 0 when the failure has none
	int code;	     // CNI error code when the place of failure knows it, else 0
	char op[32];	     // "add", "open", ...
	char object[160];    // "link \"cbr0\"", a path, ...
	char netns[96];	     // the namespace it happened in
	char message[512];   // what is wrong and what to do
	char extack[256];    // the kernel's own words
	char attribute[128]; // "mtu (IFLA_MTU)"
};

// Error codes of what a policy did, beside those of the CNI specification.
#define MN_CODE_CONFIG 7   // the policy is missing, or not to be trusted
#define MN_CODE_POLICY 100 // it does not load, raised an error or returned rubbish
#define MN_CODE_BUDGET 101 // it exceeded a limit, or was told to stop

#define MN_DEFAULT_MEMORY ((size_t)32 << 20)
#define MN_DEFAULT_INSTRUCTIONS UINT64_C(200000000)
#define MN_DEFAULT_WALL_MS 30000U
#define MN_DEFAULT_GRACE_MS 500U

// What one state may use, from mn_state_new() or the last mn_state_renew() on. 0 means the default.
struct mn_limits {
	size_t memory;	       // bytes that Lua holds at any time, libraries included
	uint64_t instructions; // of Lua's virtual machine, counted to the nearest thousand
	unsigned int wall_ms;  // by CLOCK_MONOTONIC
};

// How to make a state. All zero is a good start.
struct mn_options {
	struct mn_limits limits;

	// Memory, instructions and time are checked while Lua's virtual machine runs. It does not run in a C
	// function that does not return (a pattern that backtracks for ever, a blocked system call) nor do
	// the checks in a finalizer (__gc). For these, alarm_signal (SIGALRM, say) is sent to the thread that
	// made the state when wall_ms and grace_ms have passed: a POSIX timer, si_code SI_TIMER, alarm_data
	// in si_value.sival_ptr. 0 arms no timer. The program installs the handler; without one the signal's
	// default ends the process. With an alarm, what is built in runs unchecked, and faster, until the
	// first file of a policy is read.
	//
	// In the handler the state is in the middle of something: of this library only mn_state_stop() may be
	// called, of libc only what signal-safety(7) lists, and Lua not at all. It may
	//   - write(2) a message made beforehand and _exit(2);
	//   - execve(2) with arguments made beforehand (the signal stays blocked across exec: sigprocmask(2)
	//   first);
	//   - return: the script goes on, and is stopped if it ever comes back to the virtual machine.
	// It must not call exit(3), longjmp(3) or mn_state_free().
	int alarm_signal;
	unsigned int grace_ms; // 0 means MN_DEFAULT_GRACE_MS
	void *alarm_data;

	// Directories, separated by colons, in which policies are looked for before the built-in ones.
	// NULL means $MNCNI_POLICY_PATH or, where that is unset, /etc/mncni/policies. Copied.
	const char *policy_path;

	// Memory that mn_snapshot() has filled, and the linker has made a part of the program: the first
	// state of a process begins there, with its modules loaded, which saves most of the time that a short
	// call takes. It is passed by every run at the same address, so the program is linked with -no-pie.
	// NULL, or nothing in it, is fine: the state is made anew.
	void *image;
	size_t image_size;

	// For a person's own code, as a stock lua5.4 runs it: Lua's libraries whole, standard output
	// included, and no limits.
	bool prompt;
};

struct mn_state;

// Makes a state with Lua's libraries and `require "mncni"` in it. options may be NULL.
int mn_state_new(struct mn_state **state, const struct mn_options *options, struct mn_error *err);

// Ends the state, running its finalizers; NULL is fine. A process about to end may leave it out.
void mn_state_free(struct mn_state *state);

// Writes a file of options->image_size bytes, with which `objcopy --update-section` replaces the section that
// holds options->image, zeroes until then, in the program that calls this: a state with these modules
// (NULL-terminated) loaded; "policy NAME" is a built-in policy, which is compiled and not run. No module may
// keep what belongs to this process (descriptors, addresses of libc's objects, the environment). -ENOTSUP
// under AddressSanitizer, -ENOMEM when the image is too small.
int mn_snapshot(
	const struct mn_options *options, const char *const *modules, const char *path, struct mn_error *err);

// Starts a new period of instructions and time, for a program that calls one state again and again.
// -ECANCELED when the state has been stopped: what its Lua code left half done is not known, so make a new
// one.
int mn_state_renew(struct mn_state *state);

// Changes what a state may use, from when its period began: limits that are 0 stay as they are. For trusted
// code: a policy that exceeds the new limits already is stopped at once. -ECANCELED when the state has been
// stopped.
int mn_state_limit(struct mn_state *state, const struct mn_limits *limits);

// Stops the script at its next thousandth instruction: the call under way, and each later one, fails with
// code 101. May be called in a signal handler and from any thread. What is built in goes on where an alarm
// watches over it (see alarm_signal).
void mn_state_stop(struct mn_state *state);

// Loads a built-in module ("mncni.cni"), or a Lua file beside the user's policies. Returns a handle for
// mn_call().
int mn_require(struct mn_state *state, const char *module, struct mn_error *err);

// Finds, checks and loads a policy. Returns a handle for mn_call(). Code 7 when the policy is missing or its
// file may not be trusted, 100 when it does not load.
int mn_policy(struct mn_state *state, const char *name, struct mn_error *err);

// Says whether the module or policy has a function of that name.
bool mn_has(struct mn_state *state, int handle, const char *function);

// Calls a function with one argument, the JSON document, or with none when json is NULL. The result is JSON
// too ("null" when nothing is returned), to be freed by the caller; on failure it is NULL. result may be
// NULL itself.
int mn_call(struct mn_state *state, int handle, const char *function, const char *json, char **result,
	struct mn_error *err);

// The same with several arguments: the elements of a JSON array.
int mn_apply(struct mn_state *state, int handle, const char *function, const char *json_array, char **result,
	struct mn_error *err);

// Bytes under a name.
struct mn_text {
	const char *name;
	const char *bytes; // NULL: there are none
	size_t size;
};

// Calls a function with one argument, a table that has these texts under their names, as they are: JSON
// cannot hold every byte. "env.PATH" is PATH in a table env; of several under one name the first counts. What
// the table that it returns has under the names of results, strings or numbers, is theirs afterwards:
// terminated, and the state's until its next call.
int mn_call_texts(struct mn_state *state, int handle, const char *function, const struct mn_text *texts,
	size_t count, struct mn_text *results, size_t wanted, struct mn_error *err);

// Returns an error as a JSON object, to be freed by the caller: code, msg (one line), details (the kernel's
// words, the Lua file and line, the call stack), and the parts: op, object, netns, errno, name, message,
// extack, attribute, file, line, traceback. state is the one whose function filled err last, and may be NULL:
// then what only Lua knew (file, line, traceback, a message longer than err holds) is left out. NULL only
// when memory is short.
char *mn_error_json(const struct mn_state *state, const struct mn_error *err);

// The journal that a call has begun and neither finished nor undone, NULL when there is none: what a program
// undoes when the call dies. May be called in a signal handler.
const char *mn_undo_path(void);

// Undoes what a journal lists, last first, and removes it: with rollback also what the failed call added to
// objects that others share. Needs no state. A journal that is gone is fine.
int mn_undo_file(const char *path, bool rollback, struct mn_error *err);

// For a signal handler that is about to exec: leaves a namespace that the thread is visiting, and ends a
// program that is run on behalf of the call.
void mn_leave(void);

// One call, as the record of calls keeps it. NULL strings and an empty list are left out; text that does not
// fit is cut, the message first.
struct mn_record {
	const char *verb;
	const char *policy;
	const char *network;
	const char *container;
	const char *ifname;
	const char *netns;
	const char *message;
	const char *trace;	    // the runtime's TRACEPARENT
	const char *const *ignored; // keys of the configuration that nobody reads, NULL-terminated
	int64_t duration_us;
	int code;	      // 0: it succeeded
	const char *pod;      // as Kubernetes names it: "default/web"
	const char *document; // what the runtime is told, for the whole record
};

// Adds a record to the ring of the last 256 calls in state_dir. A STATUS or VERSION that repeats the newest
// record only counts it up, and makes no directory. Only root can read the ring: whole records have
// configurations in them, and these may have secrets. Waits at most 10 ms for another writer, then gives up
// with -EAGAIN.
int mn_record_write(const char *state_dir, const struct mn_record *record, struct mn_error *err);

// Microseconds of CLOCK_MONOTONIC, for durations.
int64_t mn_record_clock(void);

// Begins the whole record of this process's call, which started at that time of mn_record_clock(): from now
// on it has what is noted, what is journalled and what is undone. mn_record_write() ends it, and writes it
// beside the record; a process that does not begin one writes records without.
void mn_record_begin(int64_t started);

// Notes something for the whole record, with the time: kind is a word of at most 16 bytes ("env", "stdin").
// What is too long is cut.
void mn_record_note(const char *kind, const char *bytes, size_t len);

// For a signal handler that is about to exec: puts the whole record so far behind descriptor fd, where
// mn_record_resume() in the new program goes on with it, or begins one where there is none.
void mn_record_save(int fd);
void mn_record_resume(int fd, int64_t started);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
