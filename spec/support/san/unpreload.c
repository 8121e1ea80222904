// SPDX-License-Identifier: Apache-2.0
// Preloaded together with the sanitizers' libraries, which the interpreter needs and the programs that specs run do
// not: procps deadlocks under them, and shells leak.
#include <stdlib.h>

__attribute__((constructor)) static void unpreload(void)
{
	unsetenv("LD_PRELOAD");
}
