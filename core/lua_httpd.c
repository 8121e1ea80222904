// SPDX-License-Identifier: Apache-2.0
#include "lua_http.h"

int luaopen_mncni_httpd(lua_State *L)
{
	lua_newtable(L);
	return 1;
}
