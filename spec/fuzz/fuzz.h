// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(); what it checks beyond
// crashes it says with fuzz_require(), or in a Lua file of the same name.
#ifndef MNCNI_FUZZ_H
#define MNCNI_FUZZ_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Ends the run, as a crash does, with what was expected.
#define fuzz_require(condition, ...) ((condition) ? (void)0 : fuzz_fail(__VA_ARGS__))
void fuzz_fail(const char *message, ...) __attribute__((noreturn, format(printf, 1, 2)));

// Lets `require` load mncni's modules from their source files, and tells libFuzzer which lines run.
void fuzz_trace_lua(lua_State *L);

// Loads a Lua file that returns a function, to be called with each input by fuzz_lua_input(); what it raises
// ends the run. One state serves all inputs. traced: what it is about is written in Lua.
void fuzz_lua_open(const char *path, bool traced);
int fuzz_lua_input(const uint8_t *data, size_t size);

// A directory of this process's own, made at the first call. Nothing in it outlives the ring's namespaces.
const char *fuzz_directory(void);

// Removes everything in a directory.
void fuzz_empty(const char *directory);

// The next part of the input, up to a byte `end` or the end of the input: malloc'ed and terminated. NULL when
// nothing is left.
char *fuzz_part(const uint8_t **data, size_t *size, char end);

#endif
