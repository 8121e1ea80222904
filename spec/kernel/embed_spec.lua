-- SPDX-License-Identifier: Apache-2.0
-- What `make install` leaves in an empty root, used as strangers use it: C programs by pkg-config, Lua by luarocks.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

if os.getenv "RING_PRELOAD" then
  pending "what is installed is a build without SAN=1"
  return
end

local BUILD = os.getenv "MNCNI_BUILD" or "build"
local root = spaces.must "mktemp -d"
spaces.must("env -u MAKEFLAGS make -s BUILD=%s DESTDIR=%s PREFIX=/usr install", BUILD, root)

-- The names that a pattern finds in the output of a command, sorted.
local function names(pattern, command, ...)
  local list = {}
  for name in spaces.must(command, ...):gmatch(pattern) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

describe("the installed library", function()
  local before, node

  before_each(function()
    before = spaces.snapshot()
    node = nodes.new { pods = { "web" } }
    spaces.must("cp examples/embed/* %s", node.scratch)
  end)

  after_each(function()
    node:cleanup()
    spaces.assert_nothing_left(before)
  end)

  teardown(function() spaces.must("rm -rf %s", root) end)

  it("has the functions of its header, with a version, and no others", function()
    local header = names("%f[%w_](mn_[%w_]+)%(", "sed '/^\\/\\//d; /^\\t*\\/\\//d' %s/usr/include/mncni.h", root)
    assert.is_true(#header > 10)
    assert.are.same(header, names("(mn_[%w_]+)@@MNCNI_0\n", "nm -D --defined-only %s/usr/lib/libmncni.so; echo", root))
    assert.are.same({}, names("\n%x+ T ([^m][^\n]*)", "nm -D --defined-only %s/usr/lib/libmncni.so; echo", root))
  end)

  for how, static in pairs { ["with the shared library"] = "", ["with the static library"] = "1" } do
    it("lets a C program wire a namespace, " .. how, function()
      spaces.must("cd %s && PKG_CONFIG_PATH=%s/usr/lib/pkgconfig env -u MAKEFLAGS make -s STATIC=" .. static
        .. " PKG_CONFIG_FLAGS=--define-variable=prefix=%s/usr", node.scratch, root, root)
      local linked = spaces.must("ldd %s/wire", node.scratch):find("libmncni.so.0", 1, true)
      assert.are.equal(static == "", linked ~= nil)

      local conf = core.json.encode {
        cniVersion = "1.0.0", name = "pods", type = "mncni", policy = "naivebridge",
        ipam = { type = "host-local", ranges = node.ranges, dataDir = node.networks },
      }
      local function wire(verb)
        return node.space:sh("cd %s && printf %%s %s | LD_LIBRARY_PATH=%s/usr/lib MNCNI_STATE_DIR=%s ./wire " .. verb
          .. " web %s eth0", node.scratch, conf, root, node.state, node.pods.web.path)
      end
      local out, status = wire "ADD"
      assert.are.equal(0, status, out)
      assert.are.equal("10.244.1.2/24", core.json.decode(out).ips[1].address)
      node.pods.web:must "ping -c 1 -W 5 10.244.1.1"
      out, status = wire "ADD"
      assert.are.equal(1, status)
      assert.are.equal(103, core.json.decode(out).code, out)
      assert.are.equal(0, select(2, wire "DEL"))
      assert.are.equal("", (node.pods.web:must "ip -4 addr show dev eth0 2>/dev/null || true"))
      assert.are.equal("", (spaces.must("find %s -name '10.*'", node.networks)))

      out = spaces.must("cd %s && printf %%s %s >add_one.lua && LD_LIBRARY_PATH=%s/usr/lib MNCNI_POLICY_PATH=. "
        .. "./hook add_one desired '{\"n\": 1}'", node.scratch,
        "return { desired = function(given) return { n = given.n + 1 } end }\n", root)
      assert.are.equal('{"n":2}', out)
    end)
  end

  it("is one module of Lua, whether make or luarocks installs it", function()
    local rock = node.scratch .. "/rock"
    spaces.must("env -u MAKEFLAGS luarocks --lua-version=5.4 make --tree %s mncni-%s-1.rockspec BUILD=%s", rock,
      core.version, BUILD)
    for _, where in ipairs { "lib", "share" } do
      local list = "cd %s/" .. where .. "/lua/5.4 && find . -type f"
      assert.are.same(names("%S+", list, root .. "/usr"), names("%S+", list, rock))
    end
    local path = ("LUA_PATH='%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua' LUA_CPATH='%s/lib/lua/5.4/?.so'")
      :format(rock, rock, rock)
    assert.are.equal("up0 true", (node.space:must(path .. [[ lua5.4 -l mncni -e '
      local link = mncni.open().link.get { ifname = "up0" }
      print(link.ifname, link.up)' | tr '\t' ' ']])))
  end)
end)
