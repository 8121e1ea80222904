// SPDX-License-Identifier: Apache-2.0
// Fuzzes prevResult: every form of a result, converted to every cniVersion; see result.lua.
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_lua_open("spec/fuzz/result.lua", true);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_lua_input(data, size);
}
