// SPDX-License-Identifier: Apache-2.0
// Fuzzes the pruner of JSON; see pick.lua.
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_lua_open("spec/fuzz/pick.lua", false);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_lua_input(data, size);
}
