// SPDX-License-Identifier: Apache-2.0
// Inside of a bounded Lua state, shared by state.c (limits), lua_state.c (libraries) and call.c (calls and
// errors).
#ifndef MNCNI_STATE_H
#define MNCNI_STATE_H

#include "heap.h"
#include "mncni.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>
#include <time.h>

#define MN_REPORT_MEMORY ((size_t)1 << 20) // what the report of an error may use beyond the limit

// What Lua told about the last error, beyond what struct mn_error holds. Strings are malloc'd or NULL.
struct mn_report {
	char *msg;	 // one line, untruncated
	char *details;	 // what the raiser put into the error object
	char *traceback; // call stack at the raise
	char file[256];	 // the nearest frame of a policy, else of anything
	int line;
	bool quiet; // raised on purpose by one of our modules: the stack is of no use to whoever reads the
		    // error
};

struct mn_state {
	lua_State *L;
	struct mn_heap heap;
	struct mn_limits limits; // as given, with the defaults filled in
	size_t used;		 // bytes
	size_t cap;		 // limits.memory, and a little more while an error is being reported
	bool refused;		 // an allocation failed since the call began
	uint64_t left;		 // instructions
	struct timespec began;	 // the period
	struct timespec deadline;
	atomic_bool stop;
	bool prompt;  // a person's code
	bool expired; // set once; from then on every instruction raises
	char why[320];
	timer_t timer;
	bool armed;
	int alarm_signal;
	unsigned int grace_ms;
	int closing; // depth of nested coroutine.close
	struct mn_report report;
};

// Returns the state that a thread of it belongs to.
static inline struct mn_state *mn_state_of(lua_State *L)
{
	return *(struct mn_state **)lua_getextraspace(L);
}

// Counts the instructions and looks at the clock; raises once the state has expired.
void mn_state_charge(lua_State *L, uint64_t instructions);

// Notes the Lua line being executed: the nearest one outside of mncni's own modules, else the nearest at all.
// Returns whether it is outside.
bool mn_state_locate(lua_State *L, struct mn_report *report);

// Opens the libraries in the form that policies get, or whole for a prompt (called protected).
void mn_state_open_libraries(lua_State *L, bool prompt);

// The allocator of every state, for lua_setallocf; data is the struct mn_state.
void *mn_state_allocate(void *data, void *pointer, size_t old_size, size_t new_size);

// Gives the state what is in options->image, if there is a snapshot, which can be had once. Its L stays NULL
// without.
void mn_snapshot_take(struct mn_state *state, const struct mn_options *options);

// Replaces what belonged to the process that made the snapshot (called protected).
void mn_snapshot_adopt(lua_State *L);

// What a state that is to be a snapshot does first, so that what every call writes lies together, and when
// all is loaded, so that no more is written (called protected).
int mn_snapshot_reserve(lua_State *L);
int mn_snapshot_warm(lua_State *L);

void mn_report_clear(struct mn_report *report);

// lua_pcall for a C function with one light userdata and no results; fills err and the report when it fails.
int mn_state_protect(struct mn_state *state, lua_CFunction function, void *data, const char *op,
	const char *object, struct mn_error *err);

#endif
