-- SPDX-License-Identifier: Apache-2.0
-- luarocks make: the Lua module, for a stock lua5.4. The Makefile says which files that are, and pkg-config
-- where libmnl, libcjson, libcurl and libmicrohttpd are.
rockspec_format = "3.0"
package = "mncni"
version = "0.1.0-1"
source = { url = "." }
description = {
  summary = "Network namespaces, links, addresses, routes and nftables of Linux, and policies of a CNI plugin",
  license = "Apache-2.0",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
build = {
  type = "make",
  build_target = "lua-module",
  install_target = "install-lua",
  install_variables = { LUA_LIBDIR = "$(LIBDIR)", LUA_SHAREDIR = "$(LUADIR)" },
}
