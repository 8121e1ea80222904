-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local spaces = require "spec.support.netns"

local sysctl = core.sysctl

local function failure(...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), "not an error object: " .. tostring(err))
  return err
end

describe("sysctl", function()
  local before, pod, ns

  before_each(function()
    before = spaces.snapshot()
    pod = spaces.new()
    ns = pod.ns
  end)

  after_each(function()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  describe("reads", function()
    it("a setting of the namespace, not ours", function()
      spaces.must "echo 0 >/proc/sys/net/ipv4/ip_forward"
      pod:must "echo 1 >/proc/sys/net/ipv4/ip_forward"
      assert.are.equal("1", sysctl.get(ns, "net/ipv4/ip_forward"))
      assert.are.equal("0", sysctl.get(nil, "net/ipv4/ip_forward"))
    end)

    it("keys with dots as sysctl(8) does", function()
      assert.are.equal(sysctl.get(ns, "net/ipv4/conf/lo/mtu"), sysctl.get(ns, "net.ipv4.conf.lo.mtu"))
      pod:must "ip link add br0.7 type bridge"
      pod:must "echo 1 >/proc/sys/net/ipv4/conf/br0.7/accept_local"
      assert.are.equal("1", sysctl.get(ns, "net/ipv4/conf/br0.7/accept_local"))
      assert.are.equal("1", sysctl.get(ns, "net.ipv4.conf.br0/7.accept_local"))
      assert.are.equal(pod:must "sysctl -n net.ipv4.conf.br0/7.accept_local", "1")
    end)

    it("nil where the kernel has no such setting", function()
      assert.is_nil(sysctl.get(ns, "net/ipv4/nonesuch"))
      assert.is_nil(sysctl.get(ns, "net/ipv4/conf/nonesuch/forwarding"))
      assert.is_nil(sysctl.get(ns, "net/ipv4/ip_forward/deeper"))
    end)

    it("several settings, of one directory and of others", function()
      pod:must "echo 1 >/proc/sys/net/ipv4/conf/lo/accept_local; echo 2 >/proc/sys/net/ipv4/conf/lo/rp_filter"
      pod:must "echo 1 >/proc/sys/net/ipv4/conf/all/accept_local"
      local got = table.pack(sysctl.get(ns, "net/ipv4/conf/lo/accept_local", "net/ipv4/conf/lo/nonesuch",
        "net.ipv4.conf.lo.rp_filter", "net/ipv4/conf/all/accept_local", "net/ipv4/conf/nonesuch/a",
        "net/ipv4/conf/nonesuch/b", "net/ipv4/conf/lo/rp_filter", "net/ipv4/conf/lo/accept_local"))
      assert.same({ "1", nil, "2", "1", nil, nil, "2", "1", n = 8 }, got)
      assert.is_false(pcall(sysctl.get, ns, "net/ipv4/ip_forward", "net/../kernel"))
      assert.is_false(pcall(sysctl.get, ns))
    end)

    it("values of several words and of no words", function()
      assert.truthy(sysctl.get(ns, "net/ipv4/tcp_rmem"):match "^%d+%s+%d+%s+%d+$")
      assert.are.equal("", sysctl.get(ns, "net/ipv4/ip_local_reserved_ports"))
    end)
  end)

  describe("sets", function()
    it("settings of one interface after the other", function()
      pod:must "ip link add br0 type bridge; ip link add br1 type bridge"
      local list, want = {}, {}
      for _, name in ipairs { "br0", "br1" } do
        for _, key in ipairs { "accept_local", "arp_notify", "log_martians" } do
          list[#list + 1] = { ("net/ipv4/conf/%s/%s"):format(name, key), name == "br0" and "1" or "0" }
          want[#want + 1] = list[#list][2]
        end
      end
      list[#list + 1], want[#want + 1] = { "net/ipv4/conf/br0/rp_filter", "2" }, "2"
      assert.is_nil(sysctl.batch(ns, list, true))
      for i, item in ipairs(list) do
        assert.are.equal(want[i], pod:must("cat /proc/sys/" .. item[1]), item[1])
      end
    end)

    it("what is different, and returns what was", function()
      local previous, changed = sysctl.set(ns, "net/ipv4/ip_forward", "1")
      assert.are.equal("0", previous)
      assert.is_true(changed)
      assert.are.equal("1", pod:must "cat /proc/sys/net/ipv4/ip_forward")
    end)

    it("nothing where it is so already", function()
      sysctl.set(ns, "net/ipv4/ip_forward", 1)
      local previous, changed = sysctl.set(ns, "net.ipv4.ip_forward", true)
      assert.are.equal("1", previous)
      assert.is_false(changed)
    end)

    it("nothing where only the white space differs", function()
      local is = sysctl.get(ns, "net/ipv4/tcp_rmem")
      local _, changed = sysctl.set(ns, "net/ipv4/tcp_rmem", (is:gsub("%s+", "  ")) .. "\n")
      assert.is_false(changed)
      _, changed = sysctl.set(ns, "net/ipv4/tcp_rmem", (is:gsub("%d+$", "%0" .. "0")))
      assert.is_true(changed)
    end)

    it("strings, integers and booleans", function()
      for _, pair in ipairs { { "2", "2" }, { 0, "0" }, { true, "1" }, { false, "0" } } do
        sysctl.set(ns, "net/ipv4/conf/lo/rp_filter", pair[1])
        assert.are.equal(pair[2], sysctl.get(ns, "net/ipv4/conf/lo/rp_filter"))
      end
    end)

    it("what can only be written", function()
      local previous, changed = sysctl.set(ns, "net/ipv4/route/flush", 1)
      assert.is_nil(previous)
      assert.is_true(changed)
    end)

    it("through another mount, where /proc/sys is read-only as in a container", function()
      local scratch = spaces.must "mktemp -d"
      local script = [[
        mkdir -p "$1/net" && mount --bind /proc/sys/net "$1/net" && mount --bind /proc/sys /proc/sys &&
        mount -o remount,bind,ro /proc/sys || exit 9
        $RING_LUA -e 'local sysctl = require("mncni.core").sysctl
          local ok, err = pcall(sysctl.set, nil, "net.ipv4.ip_forward", 1)
          print((ok and "set" or err.name) .. " " .. sysctl.get(nil, "net.ipv4.ip_forward"))']]
      script = script:gsub("%$RING_LUA", function() return (os.getenv "RING_LUA") end)
      local function run(directory)
        return (pod:must("MNCNI_PROC_SYS=%s unshare -m sh -c %s sh %s", directory, script, scratch))
      end
      assert.are.equal("EROFS 0", run "")
      assert.are.equal("EROFS 0", run "/nonesuch")
      assert.are.equal("set 1", run(scratch))
      spaces.must("rm -r %s", scratch)
    end)

    it("nothing in our own namespace when it is given another", function()
      local is = sysctl.get(nil, "net/ipv4/conf/lo/accept_local")
      sysctl.set(ns, "net/ipv4/conf/lo/accept_local", 1)
      assert.are.equal(is, sysctl.get(nil, "net/ipv4/conf/lo/accept_local"))
      assert.are.equal("0", is)
    end)
  end)

  describe("refuses", function()
    local function message(key, value)
      local err = failure(sysctl.set, ns, key, value == nil and 1 or value)
      return err.message or "", err
    end

    it("to set what the kernel does not have, and says what may be missing", function()
      local text, err = message "net/ipv4/conf/eth7/forwarding"
      assert.are.equal("ENOENT", err.name)
      assert.are.equal("sysctl net/ipv4/conf/eth7/forwarding", err.object)
      assert.are.equal(pod.path, err.netns)
      assert.are.equal('there is no interface "eth7" in the namespace', text)
      assert.truthy(message("net/ipv4/conf/lo/nonesuch"):find("check the spelling", 1, true))
      assert.truthy(message("net/bridge/bridge-nf-call-nonesuch"):find("br_netfilter", 1, true))
      assert.truthy(message("net/netfilter/nf_conntrack_nonesuch"):find("nf_conntrack", 1, true))
    end)

    it("a value that the kernel refuses, naming it", function()
      local text, err = message("net/ipv4/conf/lo/forwarding", "nonsense")
      assert.are.equal("EINVAL", err.name)
      assert.are.equal('"nonsense" is not accepted', text)
    end)

    it("a group of settings", function()
      local text, err = message "net/ipv4"
      assert.are.equal("EISDIR", err.name)
      assert.truthy(text:find("a group", 1, true))
      assert.are.equal("EISDIR", failure(sysctl.get, ns, "net/ipv4/conf").name)
    end)

    it("to read what can only be written", function()
      assert.are.equal("EACCES", failure(sysctl.get, ns, "net/ipv4/route/flush").name)
    end)

    it("whatever is not below net", function()
      for _, key in ipairs {
        "kernel/hostname", "kernel.hostname", "/net/ipv4/ip_forward", "net", "net/", "net/../kernel/hostname",
        "net/./ipv4/ip_forward", "net//ipv4/ip_forward", "net/ipv4/ip_forward/", "net.ipv4..ip_forward", "",
        "net/ipv4/../../kernel/hostname", "../etc/passwd", "net.//.//.kernel", ("net/"):rep(3000),
      } do
        assert.are.equal("EINVAL", failure(sysctl.get, ns, key).name, key)
        assert.are.equal("EINVAL", failure(sysctl.set, ns, key, "x").name, key)
      end
    end)

    it("keys and values that are no text", function()
      assert.truthy(failure(sysctl.get, ns, "net/ipv4\0/x").message:find("zero byte", 1, true))
      assert.truthy(failure(sysctl.get, ns, nil).message:find("key", 1, true))
      assert.truthy(message("net/ipv4/ip_forward", 1.5):find("a float", 1, true))
      assert.truthy(message("net/ipv4/ip_forward", {}):find("got table", 1, true))
      assert.truthy(message("net/ipv4/ip_forward", "1\0"):find("zero byte", 1, true))
    end)

    it("a closed handle", function()
      pod:close()
      assert.are.equal(8, failure(sysctl.get, ns, "net/ipv4/ip_forward").code)
    end)
  end)

  describe("sets several at once", function()
    it("and returns what each was", function()
      local done = sysctl.batch(ns, {
        { "net/ipv4/ip_forward", 1 },
        { "net.ipv4.conf.lo.accept_local", true },
        { "net/ipv4/conf/lo/rp_filter", sysctl.get(ns, "net/ipv4/conf/lo/rp_filter") },
      })
      assert.are.equal(3, #done)
      assert.are.same({ key = "net/ipv4/ip_forward", previous = "0", changed = true }, done[1])
      assert.are.same({ key = "net.ipv4.conf.lo.accept_local", previous = "0", changed = true }, done[2])
      assert.is_false(done[3].changed)
    end)

    it("and puts everything back when one fails, and says which", function()
      local err = failure(sysctl.batch, ns, {
        { "net/ipv4/conf/lo/accept_local", 1 },
        { "net/ipv4/conf/lo/rp_filter", 2 },
        { "net/ipv4/conf/lo/forwarding", "nonsense" },
        { "net/ipv4/conf/lo/arp_filter", 1 },
      })
      assert.are.equal(3, err.index)
      assert.are.equal("EINVAL", err.name)
      assert.are.equal("0", sysctl.get(ns, "net/ipv4/conf/lo/accept_local"))
      assert.are.equal("0", sysctl.get(ns, "net/ipv4/conf/lo/rp_filter"))
      assert.are.equal("0", sysctl.get(ns, "net/ipv4/conf/lo/arp_filter"))
    end)

    it("of a link that was made just now, without a look at what they are", function()
      local done = sysctl.batch(ns, { { "net/ipv4/conf/lo/accept_local", 1, fresh = true } })
      assert.are.same({ { key = "net/ipv4/conf/lo/accept_local", changed = true } }, done)
      assert.are.equal("1", sysctl.get(ns, "net/ipv4/conf/lo/accept_local"))
      assert.are.equal("EINVAL", failure(sysctl.batch, ns, {
        { "net/ipv4/conf/lo/accept_local", "nonsense", fresh = true },
      }).name)
    end)

    it("of such a link where /proc/sys is read-only, if they are so already", function()
      local code = [[
        local core = require "mncni.core"
        for _, value in ipairs { 0, 1 } do
          local ok, err = pcall(core.sysctl.batch, nil, { { "net/ipv4/conf/lo/arp_filter", value, fresh = true } })
          io.write(ok and "ok " or err.name .. " ")
        end
      ]]
      local script = ('mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && %s -e "$0"')
        :format(os.getenv "RING_LUA")
      assert.are.equal("ok EROFS ", (pod:must("unshare -m sh -c %s %s", script, code)))
    end)

    it("or none at all", function()
      assert.are.same({}, sysctl.batch(ns, {}))
    end)

    it("unless an entry is malformed, and then none", function()
      for _, bad in ipairs { "x", {}, { "net/ipv4/conf/lo/arp_filter" }, { 1, 2 } } do
        failure(sysctl.batch, ns, { { "net/ipv4/conf/lo/accept_local", 1 }, bad })
        assert.are.equal("0", sysctl.get(ns, "net/ipv4/conf/lo/accept_local"))
      end
    end)

    it("in our own namespace when none is given", function()
      local is = sysctl.get(nil, "net/ipv4/conf/lo/arp_filter")
      sysctl.batch(nil, { { "net/ipv4/conf/lo/arp_filter", 1 } })
      assert.are.equal("1", sysctl.get(nil, "net/ipv4/conf/lo/arp_filter"))
      sysctl.set(nil, "net/ipv4/conf/lo/arp_filter", is)
    end)
  end)
end)
