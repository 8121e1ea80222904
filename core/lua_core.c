// SPDX-License-Identifier: Apache-2.0
// mncni.core: the table that the faces below fill. Loads in a stock lua5.4 and inside the hosts alike.
#include "lua_core.h"
#include "lua_nl.h"

#include "lua_args.h"
#include "lua_cidr.h"
#include "lua_json.h"
#include "lua_pick.h"

static const struct {
	const char *name;
	lua_CFunction open; // called with the module table on top; pushes one value
} faces[] = {
	{ "error", mn_open_error },
	{ "socket", mn_open_socket },
	{ "encode", mn_open_encode },
	{ "decode", mn_open_decode },
	{ "schema", mn_open_schema },
	{ "monitor", mn_open_monitor },
	{ "nearest", mn_open_nearest },
	{ "contains", mn_open_contains },
	{ "has_others", mn_open_has_others },
	{ "keys", mn_open_keys },
	{ "netns", mn_open_netns },
	{ "sysctl", mn_open_sysctl },
	{ "conntrack", mn_open_conntrack },
	{ "tun", mn_open_tun },
	{ "exec", mn_open_exec },
	{ "find_program", mn_open_find_program },
	{ "journal", mn_open_journal },
	{ "cidr", mn_open_cidr },
	{ "store", mn_open_store },
	{ "json", mn_open_json },
	{ "picker", mn_open_picker },
	{ "policy", mn_open_policy },
	{ "place", mn_open_place },
	{ "current", mn_open_current },
	{ "regex", mn_open_regex },
	{ "record", mn_open_record },
	{ "boot", mn_open_boot },
	{ "directory", mn_open_directory },
	{ "file", mn_open_file },
	{ "inotify", mn_open_inotify },
	{ "tell", mn_open_tell },
};

int luaopen_mncni_core(lua_State *L)
{
	lua_newtable(L);
	for (size_t i = 0; i < sizeof(faces) / sizeof(faces[0]); i++) {
		faces[i].open(L);
		lua_setfield(L, -2, faces[i].name);
	}
	lua_pushliteral(L, MNCNI_VERSION);
	lua_setfield(L, -2, "version");
	return 1;
}
