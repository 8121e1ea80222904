// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a trace reads of others: the environment, pipes and reports of calls, libcni's cache, and lines
// for --read; see trace.lua.
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_lua_open("spec/fuzz/trace.lua", true);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_lua_input(data, size);
}
