// SPDX-License-Identifier: Apache-2.0
// Fuzzes declarations of options, configurations checked against them, and NAME=VALUE from a command line;
// see options.lua.
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_lua_open("spec/fuzz/options.lua", true);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_lua_input(data, size);
}
