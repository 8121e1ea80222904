// SPDX-License-Identifier: Apache-2.0
// The limits of a Lua state: a counting allocator, a hook that cannot be swallowed, a timer for what hooks
// cannot see.
#define _GNU_SOURCE
#include "state.h"

#include "error.h"
#include "lua_core.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INTERVAL 1000	      // instructions between two looks
#define MAX_WALL_MS 86400000U // keeps sums of times in range

// Kibibytes that Lua may allocate before it collects garbage for the first time: most calls of a plugin end
// before that.
#define COLLECT_AFTER 2048

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

// Notes that memory ran out, and where: Lua calls no message handler for that error, so this is the last
// moment at which anybody knows. Looks at frames, in a coroutine at those of who resumed it. That is safe as
// long as they are whole whenever Lua allocates; after 5.4.4 they are not while a stack grows, and the place
// stays unknown.
static void refuse(struct mn_state *state)
{
	state->refused = true;
#if LUA_VERSION_RELEASE_NUM <= 50404
	struct mn_report seen = { 0 };

	// What is ours and needs memory afterwards, to tell of it, does not hide the place.
	if (state->L && !state->expired && mn_state_locate(state->L, &seen)) {
		memcpy(state->report.file, seen.file, sizeof(seen.file));
		state->report.line = seen.line;
	}
#endif
}

void *mn_state_allocate(void *data, void *pointer, size_t old_size, size_t new_size)
{
	struct mn_state *state = data;
	size_t used;
	void *moved;

	if (!pointer)
		old_size = 0; // Lua passes the type of the object here
	// Lua asks for no more than half of what a size_t holds.
	used = state->used - old_size + new_size;
	if (new_size > old_size && used > state->cap) {
		refuse(state);
		return NULL;
	}
	moved = mn_heap_realloc(&state->heap, pointer, old_size, new_size);
	if (moved || new_size == 0)
		state->used = used;
	else
		refuse(state);
	return moved;
}

bool mn_state_locate(lua_State *L, struct mn_report *report)
{
	lua_Debug ar;
	bool found = mn_place(L, 0, &ar);

	report->line = ar.currentline;
	if (report->line)
		snprintf(report->file, sizeof(report->file), "%s", mn_place_file(&ar));
	return found;
}

static bool is_over(const struct timespec *deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
		(now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

// Says whether the state has come to its end, and why.
static bool is_finished(const struct mn_state *state, char *reason, size_t size)
{
	if (atomic_load_explicit(&state->stop, memory_order_relaxed))
		snprintf(reason, size, "it was told to stop");
	else if (state->left == 0)
		snprintf(reason, size, "it ran more than %llu instructions",
			(unsigned long long)state->limits.instructions);
	else if (is_over(&state->deadline))
		snprintf(reason, size, "it ran longer than %u ms", state->limits.wall_ms);
	else
		return false;
	return true;
}

static void expire(lua_State *L, struct mn_state *state, const char *reason)
{
	struct mn_report *report = &state->report;

	state->expired = true;
	mn_report_clear(report);
	mn_state_locate(L, report);
	if (report->line)
		snprintf(state->why, sizeof(state->why), "stopped at %.200s:%d: %s", report->file,
			report->line, reason);
	else
		snprintf(state->why, sizeof(state->why), "stopped: %s", reason);
	state->cap = state->limits.memory + MN_REPORT_MEMORY;
	luaL_traceback(L, L, NULL, 0);
	report->traceback = strdup(lua_tostring(L, -1));
	lua_pop(L, 1);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	mn_state_charge(L, INTERVAL);
}

void mn_state_charge(lua_State *L, uint64_t instructions)
{
	struct mn_state *state = mn_state_of(L);
	char reason[80];

	if (!state->expired) {
		state->left -= instructions < state->left ? instructions : state->left;
		if (!is_finished(state, reason, sizeof(reason)))
			return;
		expire(L, state, reason);
	}
	// From now on at every instruction, in this coroutine and in each that gets here: whoever catches the
	// error (pcall, a __close, a coroutine's resumer) is stopped again at its next instruction.
	lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
	luaL_error(L, "%s", state->why);
}

static struct timespec after_ms(struct timespec time, unsigned int ms)
{
	time.tv_sec += ms / 1000;
	time.tv_nsec += (long)(ms % 1000) * 1000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_sec++;
		time.tv_nsec -= 1000000000;
	}
	return time;
}

static int set_deadline(struct mn_state *state)
{
	unsigned int alarm_ms = state->limits.wall_ms + state->grace_ms;
	struct itimerspec alarm = { .it_value = after_ms(state->began, alarm_ms) };

	state->deadline = after_ms(state->began, state->limits.wall_ms);
	if (state->armed && timer_settime(state->timer, TIMER_ABSTIME, &alarm, NULL) < 0)
		return -errno;
	return 0;
}

static int start_period(struct mn_state *state)
{
	state->left = state->limits.instructions;
	clock_gettime(CLOCK_MONOTONIC, &state->began);
	return set_deadline(state);
}

static int arm(struct mn_state *state, const struct mn_options *options)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = options->alarm_signal,
		.sigev_value.sival_ptr = options->alarm_data,
	};

	if (options->alarm_signal) {
		event.sigev_notify_thread_id = gettid();
		if (timer_create(CLOCK_MONOTONIC, &event, &state->timer) < 0)
			return -errno;
		state->armed = true;
		state->alarm_signal = options->alarm_signal;
	}
	return start_period(state);
}

static unsigned int at_most(unsigned int value, unsigned int most)
{
	return value < most ? value : most;
}

static void set_limits(struct mn_state *state, const struct mn_options *options)
{
	struct mn_limits *limits = &state->limits;

	*limits = options->limits;
	if (!limits->memory)
		limits->memory = MN_DEFAULT_MEMORY;
	if (!limits->instructions)
		limits->instructions = MN_DEFAULT_INSTRUCTIONS;
	limits->wall_ms = at_most(limits->wall_ms ? limits->wall_ms : MN_DEFAULT_WALL_MS, MAX_WALL_MS);
	state->grace_ms = at_most(options->grace_ms ? options->grace_ms : MN_DEFAULT_GRACE_MS, MAX_WALL_MS);
	state->prompt = options->prompt;
	if (options->prompt)
		limits->memory = SIZE_MAX - MN_REPORT_MEMORY;
	state->cap = limits->memory;
}

// Begins to count instructions.
static int guard(lua_State *L)
{
	lua_sethook(L, on_count, LUA_MASKCOUNT, INTERVAL);
	return 0;
}

// What a new state and its options come with.
struct beginning {
	const struct mn_options *options;
	bool snapshot;
};

// Counting costs a call for every instruction. Where an alarm watches over what is built in, it begins with
// the first code that is not.
static int begin(lua_State *L)
{
	const struct beginning *beginning = lua_touserdata(L, 1);
	const struct mn_options *options = beginning->options;

	if (beginning->snapshot)
		mn_snapshot_adopt(L);
	else
		mn_state_open_libraries(L, options->prompt);
	if (options->policy_path) {
		lua_pushstring(L, options->policy_path);
		lua_setfield(L, LUA_REGISTRYINDEX, MN_POLICY_PATH_KEY);
	}
	if (options->prompt)
		return 0;
	if (!options->alarm_signal)
		return guard(L);
	lua_pushcfunction(L, guard);
	lua_setfield(L, LUA_REGISTRYINDEX, MN_GUARD_KEY);
	return 0;
}

static void warn(void *data, const char *message, int to_be_continued)
{
	bool *inside = data;

	if (!*inside && *message == '@')
		return; // "@on" and "@off": warnings are always on
	fprintf(stderr, "%s%s%s", *inside ? "" : "mncni: warning: ", message, to_be_continued ? "" : "\n");
	*inside = to_be_continued;
}

int mn_state_new(struct mn_state **result, const struct mn_options *options, struct mn_error *err)
{
	static const struct mn_options defaults;
	static _Thread_local bool inside_warning;
	struct mn_state *state = calloc(1, sizeof(*state));
	struct beginning beginning;
	int ret;

	*result = NULL;
	if (!options)
		options = &defaults;
	if (!state) {
		mn_fail(err, ENOMEM, "state", NULL, "no memory for a Lua state");
		if (err)
			err->code = 11; // the machine's fault and not the policy's: try again later
		return -ENOMEM;
	}
	set_limits(state, options);
	mn_snapshot_take(state, options);
	beginning = (struct beginning){ options, state->L };
	if (!state->L)
		state->L = lua_newstate(mn_state_allocate, state);
	if (!state->L) {
		mn_fail(err, ENOMEM, "state", NULL, "a Lua state does not fit into %zu bytes",
			state->limits.memory);
		if (err)
			err->code = MN_CODE_BUDGET;
		mn_state_free(state);
		return -ENOMEM;
	}
	*(struct mn_state **)lua_getextraspace(state->L) = state;
	lua_setwarnf(state->L, warn, &inside_warning);
	lua_gc(state->L, LUA_GCSTEP, -COLLECT_AFTER); // as if so much had been freed
	ret = arm(state, options);
	if (ret < 0)
		mn_fail(err, -ret, "state", NULL, "no timer for signal %d", options->alarm_signal);
	else
		ret = mn_state_protect(state, begin, &beginning, "state", NULL, err);
	if (ret < 0) {
		mn_state_free(state);
		return ret;
	}
	*result = state;
	return 0;
}

// Ends the timer. An alarm that went off but was not delivered yet is thrown away: its alarm_data may be
// freed next.
static void disarm(struct mn_state *state)
{
	static const struct timespec now;
	sigset_t signal, before;
	siginfo_t info;

	sigemptyset(&signal);
	sigaddset(&signal, state->alarm_signal);
	pthread_sigmask(SIG_BLOCK, &signal, &before);
	timer_delete(state->timer);
	if (sigtimedwait(&signal, &info, &now) > 0 && info.si_code != SI_TIMER)
		raise(state->alarm_signal); // somebody else's
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	state->armed = false;
}

void mn_state_free(struct mn_state *state)
{
	if (!state)
		return;
	if (state->L)
		lua_close(state->L);
	if (state->armed)
		disarm(state);
	mn_heap_clear(&state->heap);
	mn_report_clear(&state->report);
	free(state);
}

int mn_state_renew(struct mn_state *state)
{
	return state->expired ? -ECANCELED : start_period(state);
}

int mn_state_limit(struct mn_state *state, const struct mn_limits *limits)
{
	uint64_t done = state->limits.instructions - state->left;

	if (state->expired)
		return -ECANCELED;
	if (limits->memory)
		state->limits.memory = state->cap = limits->memory;
	if (limits->instructions) {
		state->limits.instructions = limits->instructions;
		state->left = limits->instructions > done ? limits->instructions - done : 0;
	}
	if (!limits->wall_ms)
		return 0;
	state->limits.wall_ms = at_most(limits->wall_ms, MAX_WALL_MS);
	return set_deadline(state);
}

void mn_state_stop(struct mn_state *state)
{
	atomic_store_explicit(&state->stop, true, memory_order_relaxed);
}
