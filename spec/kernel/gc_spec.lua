-- SPDX-License-Identifier: Apache-2.0
-- What removes attachments that nobody deletes: the GC verb, mncni gc, and an ADD that finds its range exhausted.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local SMALL = { type = "host-local", subnet = "10.244.1.0/29" } -- five addresses

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new()
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function add(...)
  for _, name in ipairs { ... } do
    node:must("ADD", { pod = name })
  end
end

-- What is left is what these pods have: an address, a link on the node and a journal each.
local function only(...)
  local links, journals = {}, {}
  for i, name in ipairs { ... } do
    links[i], journals[i] = nodes.port(name), ("testnet/%s@naivebridge@eth0"):format(name)
  end
  table.sort(links)
  table.sort(journals)
  assert.are.same({ addresses = #links, links = links, journals = journals },
    { addresses = #node:reserved(), links = node:links(), journals = node:journals() })
end

-- A GC for the attachments of these pods.
local function collect(valid, args)
  args = args or {}
  args.conf = args.conf or {}
  args.conf["cni.dev/valid-attachments"] = core.json.array {}
  for i, name in ipairs(valid) do
    args.conf["cni.dev/valid-attachments"][i] = { containerID = name, ifname = "eth0" }
  end
  return node:call("GC", args)
end

-- One that works: the network has no journal of another attachment afterwards.
local function collected(valid, args)
  local outcome, listed = collect(valid, args), {}
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  for _, name in ipairs(valid) do
    listed[name] = true
  end
  for _, path in ipairs(node:journals()) do
    local container, ifname = path:match "^testnet/([^@]+)@[^@]+@(.*)$"
    assert.is_true(not container or listed[container] and ifname == "eth0", path)
  end
  return outcome
end

-- The reasons of a report's list by container.
local function reasons(list)
  local found = {}
  for _, item in ipairs(list) do
    found[item.container or item.path or item.ifname] = item.reason
  end
  return found
end

-- mncni gc finds nothing to remove and keeps the pod for this reason.
local function keeps(name, pattern, ...)
  local before_it = { node:reserved(), node:links(), node:journals() }
  local report = node:gc("--grace", "0", ...)
  assert.are.same({}, reasons(report.removed))
  assert.are.same({}, reasons(report.failed))
  assert.truthy((reasons(report.kept)[name] or "not kept in doubt"):find(pattern, 1, true),
    core.json.encode(report))
  assert.are.same(before_it, { node:reserved(), node:links(), node:journals() })
end

-- mncni gc finds this one alive.
local function alive(count)
  local before_it = { node:reserved(), node:journals() }
  local report = node:gc("--grace", "0")
  assert.are.same({ {}, {}, {}, count }, { report.removed, report.kept, report.failed, report.alive })
  assert.are.same(before_it, { node:reserved(), node:journals() })
end

-- mncni gc removes these, with their journals and addresses.
local function removes(...)
  local wanted, found = { ... }, {}
  local report = node:gc("--grace", "0")
  for name in pairs(reasons(report.removed)) do
    found[#found + 1] = name
  end
  table.sort(found)
  assert.are.same(wanted, found, core.json.encode(report))
  assert.are.same({}, report.failed)
  local journals, addresses = table.concat(node:journals(), " "), table.concat(node:reserved(), " ") .. " "
  for _, item in ipairs(report.removed) do
    assert.falsy(journals:find(("/%s@"):format(item.container), 1, true), journals)
    assert.is_true(#item.addresses > 0)
    for _, address in ipairs(item.addresses) do
      assert.falsy(addresses:find(address .. " ", 1, true), addresses)
    end
  end
end

-- Deletes the node's end of a pod's link, and so both, as nobody but a person would.
local function unplug(name)
  node.space:must("ip link del %s", nodes.port(name))
end

-- Starts a process that stays in the pod's namespace; returns a function that ends it.
local function process_in(name)
  local pipe = assert(io.popen(("exec ip netns exec %s sh -c 'echo $$; exec sleep 60'"):format(name)))
  local pid = pipe:read "l"
  return function()
    os.execute("kill " .. pid)
    pipe:close()
  end
end

describe("the GC verb", function()
  it("removes address, link and journal of what is not listed, and leaves the others and other networks", function()
    add("web", "db", "old")
    local second = { name = "second", bridge = "cbr1", ipam = { type = "host-local", subnet = "10.9.0.0/24" } }
    node:must("ADD", { pod = "other", conf = second })
    local outcome = collected { "web", "db" }
    assert.are.same({ "10.244.1.2", "10.244.1.3" }, node:reserved())
    assert.are.same({ "10.9.0.2" }, node:reserved "second")
    assert.are.equal(3, #node:links())
    assert.are.same({ "second/other@naivebridge@eth0", "testnet/db@naivebridge@eth0", "testnet/web@naivebridge@eth0" },
      node:journals())
    local said = "removed attachment eth0 of old in testnet (10.244.1.4): the runtime does not list it"
    assert.truthy(outcome.stderr:find(said, 1, true), outcome.stderr)
  end)

  it("tells the interfaces of one container apart", function()
    add "web"
    node:must("ADD", { pod = "web", ifname = "eth1" })
    collected { "web" }
    assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals())
    assert.are.same({ "10.244.1.2" }, node:reserved())
  end)

  it("with an empty list removes all, and once more is fine", function()
    add("web", "db")
    collected {}
    only()
    collected {}
    only()
  end)

  it("says so when the journals cannot be listed, and is repeated", function()
    add("web", "db")
    local outcome = node:call("GC", {
      conf = { ["cni.dev/valid-attachments"] = core.json.array {} },
      prefix = { "strace", "-f", "-qq", "-o", "/dev/null", "-P", node.state .. "/attachments/testnet",
        "-e", "inject=getdents64:error=EIO" },
    })
    assert.are.equal(5, outcome.json.code, outcome.stdout)
    assert.are.equal(2, #node:journals())
    collected {}
    only()
  end)

  it("works when the namespaces are gone, and the policy is broken", function()
    add("web", "db")
    node:kill "db"
    node:policy("naivebridge", "return )")
    collected { "web" }
    assert.are.same({ "10.244.1.2" }, node:reserved())
    only "web"
  end)

  it("frees addresses and links without a state directory", function()
    add("web", "db", "old")
    spaces.must("rm -rf %s", node.state)
    collected { "web" }
    assert.are.same({ "10.244.1.2" }, node:reserved())
    assert.are.same({ nodes.port("web") }, node:links())
    assert.are.same({}, node:journals())
  end)

  it("is served by the IPAM policy as a plugin of its own, too", function()
    for _, name in ipairs { "web", "db" } do
      node:must("ADD", { pod = name, name = "host-local" })
    end
    collected({ "db" }, { name = "host-local" })
    assert.are.same({ "10.244.1.3" }, node:reserved())
    assert.are.same({ "testnet/db@host-local@eth0" }, node:journals())
  end)

  it("reaches an IPAM policy called by its own name, whose configuration needs no ipam section", function()
    node:policy("mine", [[
      return {
        lease = function() return { addresses = { { address = "10.8.0.2/24" } } } end,
        gc = function(valid) io.stderr:write("mine keeps ", valid[1].containerID, "\n") end,
      }]])
    for _, ipam in ipairs { false, { type = "mine" } } do
      local args = { policy = "mine", conf = { ipam = ipam } }
      node:must("ADD", args)
      local outcome = collected({ "web" }, args)
      assert.truthy(outcome.stderr:find("mine keeps web\n", 1, true), outcome.stderr)
      node:must("DEL", args)
      assert.are.same({}, node:journals())
    end
  end)

  it("goes on after an attachment that another call holds, and says so at the end", function()
    add("web", "db", "old")
    local path = node:journal "db"
    local held <close> = core.journal.open { path = path }
    local outcome = collect {}
    held:close()
    assert.are.equal(11, outcome.json.code, outcome.stdout)
    assert.are.same({ "testnet/db@naivebridge@eth0" }, node:journals())
    assert.are.same({}, node:links())
    collected {}
    only()
  end)

  it("has the plugins collect that gave addresses or were delegated to", function()
    local script = [[#!/bin/sh
      in=$(cat); echo "$(basename $0) $CNI_COMMAND $in" >>%s/asked
      if [ $CNI_COMMAND = ADD ]; then echo '{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.2/24"}]}'; fi]]
    for _, name in ipairs { "leaser", "helper" } do
      write(node.scratch .. "/bin/" .. name, script:format(node.scratch))
      spaces.must("chmod +x %s", node.scratch .. "/bin/" .. name)
    end
    node:policy("both", [[
      local policy = {}
      function policy.add(pod, conf)
        local lease = pod:lease(conf.ipam)
        pod:delegate("helper", { cniVersion = "1.1.0", name = "testnet", type = "helper", mine = true })
        return pod:result { lease }
      end
      function policy.gc(valid)
        io.stderr:write("collected but for ", #valid, "\n")
      end
      return policy]])
    local conf = { type = "mncni", policy = "both", ipam = { type = "leaser" } }
    node:must("ADD", { name = "mncni", conf = conf })
    local outcome = collected({ "web" }, { name = "mncni", conf = conf })
    assert.truthy(outcome.stderr:find("collected but for 1", 1, true), outcome.stderr)
    local asked = {}
    for name, json in read(node.scratch .. "/asked"):gmatch("(%S+) GC ([^\n]+)") do
      asked[name] = core.json.decode(json)
    end
    local listed = { { containerID = "web", ifname = "eth0" } }
    assert.are.same(listed, asked.leaser["cni.dev/valid-attachments"])
    assert.are.same(listed, asked.helper["cni.dev/valid-attachments"])
    assert.is_true(asked.helper.mine)
    node:must("DEL", { name = "mncni", conf = conf })
    assert.are.same({}, node:journals())
  end)

  describe("with a journal that is", function()
    local shapes = {
      ["full of rubbish"] = function(path) write(path, "rubbish\nmore rubbish\n") end,
      ["not a journal's JSON"] = function(path) write(path, "{}\n[1]\n") end,
      ["only {}"] = function(path) write(path, "{}\n") end,
      ["full of zeros"] = function(path) write(path, ("\0"):rep(4096)) end,
      ["spoiled in the middle"] = function(path)
        write(path, (read(path):gsub("\n", "\n\xff\xfe\n", 1)))
      end,
      ["larger than any"] = function(path) write(path, ("{}\n"):rep(400000)) end,
    }
    for shape, spoil in pairs(shapes) do
      it(shape .. ", reports it and does the rest", function()
        add("web", "db", "old")
        spoil(node:journal "db")
        local outcome = collect { "web" }
        assert.are.equal(5, outcome.json.code, outcome.stdout)
        assert.are.same({ "10.244.1.2" }, node:reserved())
        assert.are.equal(1, #node:links())
        assert.falsy(table.concat(node:journals(), " "):find("old@", 1, true))
        node:must("DEL", { pod = "db" }) -- takes it away
        only "web"
        collected { "web" }
        only "web"
      end)
    end

    it("empty, or cut short in its first line, removes it: its call had not begun", function()
      add "web"
      write(node:journal "one", "")
      write(node:journal "two", '{"format":1,"netw')
      collected { "web" }
      only "web"
    end)

    it("no file, or under a name that no attachment has, leaves it and reports it", function()
      add "web"
      local dir = node.state .. "/attachments/testnet/"
      spaces.must("cd %s && mkdir a@b@eth0 && ln -s /etc/passwd c@d@eth0 && mkfifo e@f@eth0 && echo hello >notes", dir)
      local outcome = collect { "web" }
      assert.are.equal(5, outcome.json.code)
      assert.are.equal(1, #node:links())
      assert.are.equal("a@b@eth0 c@d@eth0 e@f@eth0 notes web@naivebridge@eth0",
        (spaces.must("ls %s", dir):gsub("\n", " ")))
    end)
  end)

  describe("with many links", function()
    local count = 60

    it("deletes the dead as one group, with one request, and not the living", function()
      local names = {}
      for i = 1, count + 2 do
        names[i] = "p" .. i
        node:must("ADD", { pod = names[i], netns = node:pod("all").path, ifname = "eth" .. i })
      end
      local listed = core.json.array {}
      for i = count + 1, count + 2 do
        listed[#listed + 1] = { containerID = names[i], ifname = "eth" .. i }
      end
      local log = node.scratch .. "/trace"
      local conf = { ["cni.dev/valid-attachments"] = listed }
      local outcome = node:call("GC", {
        conf = conf, prefix = { "strace", "-v", "-s", "200000", "-e", "trace=sendto,sendmsg", "-o", log },
      })
      assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
      local sent = read(log)
      assert.are.equal(1, select(2, sent:gsub("RTM_DELLINK", "")))
      assert.are.equal(2, #node:links())
      assert.are.equal(2, #node:reserved())
      assert.are.same({ "testnet/p61@naivebridge@eth61", "testnet/p62@naivebridge@eth62" }, node:journals())
      assert.are.equal("", node.space:sh "ip -o link show group 79")
    end)

    it("deletes one by one when somebody else uses the group of the dead", function()
      add("web", "db", "old")
      node.space:must "ip link add stranger group 79 type veth peer name strange2"
      collected { "web" }
      assert.are.equal(2, #node:links()) -- web's, and the stranger
      node.space:must "ip link show stranger && ip link del stranger"
      only "web"
    end)
  end)
end)

describe("mncni gc", function()
  it("removes what is dead and keeps what is alive", function()
    add("web", "db")
    node:kill "db"
    local report = node:gc("--grace", "0")
    assert.are.same({ db = "its namespace /run/netns/db is gone, and no link of it is on the host" },
      reasons(report.removed))
    assert.are.same({ {}, {}, 1 }, { report.kept, report.failed, report.alive })
    assert.are.same({ "10.244.1.2" }, node:reserved())
    only "web"
  end)

  it("leaves alone for five minutes of the boot clock, whatever the file's times are", function()
    add "web"
    node:kill "web"
    spaces.must("touch -d 1999-01-01 %s", node:journal "web")
    assert.truthy(reasons(node:gc().kept).web:find("no more than %d s old"))
    node:age("web", 240)
    spaces.must("touch -d 1999-01-01 %s", node:journal "web")
    assert.are.same({}, node:gc().removed)
    assert.are.equal(1, #node:journals())
    node:age("web", 61)
    assert.truthy(reasons(node:gc().removed).web)
    only()
  end)

  it("changes nothing in a dry run, and tells what it would", function()
    add "web"
    node:kill "web"
    local report = node:gc("--grace", "0", "--dry-run")
    assert.truthy(reasons(report.removed).web)
    assert.are.same({ "10.244.1.2" }, node:reserved())
    assert.are.equal(1, #node:journals())
  end)

  it("looks at one network when asked to", function()
    add "web"
    node:must("ADD", { pod = "db", conf = { name = "second", bridge = "cbr1",
      ipam = { type = "host-local", subnet = "10.9.0.0/24" } } })
    node:kill("web", "db")
    assert.are.equal(1, #node:gc("--grace", "0", "--network", "second").removed)
    assert.are.same({ "10.244.1.2" }, node:reserved())
    assert.are.same({}, node:reserved "second")
    assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals())
    removes "web"
    only()
  end)

  it("prints a line for each removal, those in doubt on request, and keeps a record of the call", function()
    add("web", "db")
    node:kill "db"
    node.rewrite(node:journal "web", function(head) head.host = nil end)
    local function run(...)
      return node:exec { node.scratch .. "/bin/mncni", "gc", ... }
    end
    local outcome = run("--grace=0", "--verbose")
    assert.are.equal(0, outcome.status)
    assert.are.equal("removed attachment eth0 of db in testnet (10.244.1.3): its namespace /run/netns/db is gone, and "
      .. "no link of it is on the host\n"
      .. "kept attachment eth0 of web in testnet (10.244.1.2): where it was made was not recorded\n"
      .. "0 alive, 1 kept in doubt\n", outcome.stdout)
    assert.are.equal("mncni gc: 1 removed, 1 kept in doubt, 0 failed",
      core.json.decode(core.record.read(node.state)[1]).message)
    only "web"
    assert.are.equal("\n", run "--grace=0".stdout .. "\n") -- nothing to tell
    for _, words in ipairs { { "--grase", "1" }, { "now" }, { "--grace" }, { "--grace", "soon" }, { "--dry-run=1" },
      { "--network", "a/b" }, { "--data-dir", "/tmp" } } do
      local refused = run(table.unpack(words))
      assert.are.equal(2, refused.status, table.concat(words, " "))
      assert.truthy(refused.stderr:find("mncni gc: ", 1, true))
    end
    assert.truthy(run("--grase", "1").stderr:find("did you mean \"--grace\"?", 1, true))
  end)

  it("fails, after it has done the rest, when something cannot be undone", function()
    add("web", "db")
    node:kill("web", "db")
    local file <close> = assert(io.open(node:journal "web", "a"))
    file:write('{"undo":{"op":"levitate"}}\n')
    file:close()
    local report, outcome = node:gc("--grace", "0")
    assert.are.equal(1, outcome.status)
    assert.truthy(reasons(report.failed).web:find("levitate", 1, true))
    assert.truthy(reasons(report.removed).db)
    assert.are.same({}, node:reserved())
    assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals()) -- kept for another try
  end)

  it("fails when it cannot look", function()
    write(node.state, "a file")
    local ok, why = pcall(node.gc, node)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("ENOTDIR", 1, true), why)
  end)

  describe("judges alive what", function()
    it("has its link on the host, by whatever name, even when only a descriptor of ours holds its namespace", function()
      add "web"
      spaces.must "ip netns del web"
      alive(1)
      node.space:must("ip link set %s down && ip link set %s name renamed", nodes.port("web"),
        nodes.port("web"))
      alive(1)
    end)

    it("has its namespace at its path, though somebody took its link away", function()
      add "web"
      unplug "web"
      alive(1)
    end)

    it("has its namespace held by a process, or by a mount in another mount namespace", function()
      add "web"
      unplug "web"
      local stop = process_in "web"
      spaces.must "ip netns del web"
      alive(1)
      stop()
      removes "web"

      add "db"
      unplug "db"
      write(node.scratch .. "/elsewhere", "")
      local pipe = assert(io.popen(("exec unshare -m sh -c 'mount --bind /run/netns/db %s/elsewhere; echo $$; "
        .. "exec sleep 60'"):format(node.scratch)))
      local pid = pipe:read "l"
      spaces.must "umount -l /run/netns/db && rm /run/netns/db"
      node.pods.db.ns:close()
      alive(1)
      os.execute("kill " .. pid)
      pipe:close()
      removes "db"
    end)
  end)

  describe("keeps in doubt what", function()
    it("has a path that is no namespace as seen from here", function()
      add "web"
      node:kill "web"
      write("/run/netns/web", "")
      keeps("web", "/run/netns/web is there, but no namespace as seen from here, which proves nothing")
      os.remove "/run/netns/web"
      removes "web"
    end)

    it("had a namespace of the number that nothing but a covered mount holds", function()
      add "web"
      unplug "web"
      local directory = node.scratch .. "/covered"
      spaces.must("mkdir %s && touch %s/x && mount --bind /run/netns/web %s/x && mount -t tmpfs tmpfs %s",
        directory, directory, directory, directory)
      spaces.must "umount /run/netns/web && rm /run/netns/web"
      node.pods.web.ns:close()
      keeps("web", "a mount that is covered by another one holds a namespace of that number")
      spaces.must("umount %s && umount %s/x", directory, directory)
      removes "web"
    end)

    it("was made from another network namespace, whose links cannot be seen", function()
      add "web"
      node:kill "web"
      local other <close> = spaces.new "elsewhere"
      local here = node.space
      node.space = other
      keeps("web", "from another network namespace")
      node.space = here
      removes "web"
    end)

    it("was made from another process namespace, whose processes cannot be seen", function()
      add "web"
      node:kill "web"
      local outcome = node:exec {
        "/usr/bin/unshare", "--fork", "--pid", "--mount-proc", node.scratch .. "/bin/mncni", "gc", "--grace=0",
        "--verbose",
      }
      assert.truthy(outcome.stdout:find("from another process namespace", 1, true), outcome.stdout .. outcome.stderr)
      removes "web"
    end)

    it("was made where the kernel tells of no process namespace", function()
      -- An older kernel, which looks at /proc instead; then it fails there, too.
      local function with(...)
        node:must("ADD", { pod = "web", prefix = {
          "strace", "-o", node.scratch .. "/log", "-e", "trace=newfstatat,pidfd_open",
          "-e", "inject=pidfd_open:error=ENOSYS", ...,
        } })
        local count = 0
        for line in read(node.scratch .. "/log"):gmatch "newfstatat[^\n]*" do
          count = count + 1
          if line:find('"/proc/self/ns/pid"', 1, true) then
            return count, line
          end
        end
      end
      with()
      node:must("DEL", { pod = "web" })
      local at, line = with()
      assert.truthy(line:find " = 0$", line)
      node:must("DEL", { pod = "web" })
      local _, failed = with("-e", ("inject=newfstatat:error=ENOENT:when=%d"):format(at))
      assert.truthy(failed:find "ENOENT", failed)
      node:kill "web"
      keeps("web", "where it was made was not recorded")
      node:must("DEL", { pod = "web" })
      only()
    end)

    it("an older release recorded with less, or a newer one recorded", function()
      add "web"
      node:kill "web"
      local path = node:journal "web"
      local text = read(path)
      for key, pattern in pairs { host = "where it was made", time = "when it was made", boot = "when it was made",
        netns_id = "namespace was not recorded" } do
        node.rewrite(path, function(head) head[key] = nil end)
        keeps("web", pattern)
        write(path, text)
      end
      node.rewrite(path, function(head) head.format = 2 end)
      keeps("web", "newer release")
      write(path, text)
      removes "web"
    end)

    it("has a first line that cannot be read", function()
      add "web"
      node:kill "web"
      node.rewrite(node:journal "web", function() return "{]\n" end)
      keeps("web", "cannot be read")
      node:must("DEL", { pod = "web" })
      only()
    end)

    it("another call works on", function()
      add "web"
      node:kill "web"
      local held <close> = core.journal.open { path = node:journal "web" }
      keeps("web", "a call works on it")
      held:close()
      removes "web"
    end)
  end)

  it("does not take another namespace for the one that was attached: path and inode come back", function()
    add "web"
    local id = node.pods.web.ns:id()
    node:kill "web"
    local again = node:pod "web"
    -- The kernel gives numbers out again at once; where it did not, the journal is made to say so.
    if again.ns:id() ~= id then
      node.rewrite(node:journal "web", function(head) head.netns_id = again.ns:id() end)
    end
    local text = read(node:journal "web")
    removes "web"
    write(node:journal "web", text)
    add "web" -- is no repetition
    node:must("DEL", { pod = "web" })

    add "web"
    node:kill "web"
    local holder = node:pod "other"
    node.rewrite(node:journal "web", function(head) head.netns_id = holder.ns:id() end)
    removes "web"

    add "web"
    node:kill "web"
    node.rewrite(node:journal "web", function(head) head.netns_id, head.netns_cookie = holder.ns:id(), nil end)
    keeps("web", "is perhaps its namespace") -- as on a kernel without cookies
  end)

  it("undoes a journal only as it was judged", function()
    add "web"
    local collector = require "mncni.collect"
    local path = node:journal "web"
    local ok, why = collector.remove({ path = path, hash = core.journal.hash(read(path) .. "{}\n") }, 0)
    assert.is_false(ok)
    assert.are.equal("it changed while it was looked at", why)
    only "web"
    assert.is_false((collector.remove({ path = path .. "0", hash = 0 }, 0)))
  end)

  describe("after a reboot", function()
    local rebooted

    -- Runs what follows under another boot id.
    local function reboot()
      write(node.scratch .. "/boot_id", "11111111-aaaa-bbbb-cccc-000000000002\n")
      rebooted = { "/usr/bin/unshare", "-m", "/bin/sh", "-c",
        'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', node.scratch .. "/boot_id" }
    end

    local function gc(...)
      local argv = { table.unpack(rebooted) }
      table.move({ node.scratch .. "/bin/mncni", "gc", "--output=json", ... }, 1, select("#", ...) + 3, #argv + 1, argv)
      return core.json.decode(node:exec(argv).stdout)
    end

    it("everything of the boot before is void, at once, and nobody has to tidy up", function()
      add("web", "db")
      node:kill("web", "db")
      reboot()
      local report = gc()
      assert.are.equal("it is of an earlier boot", reasons(report.removed).web)
      assert.are.equal(2, #report.removed)
      assert.are.same({ {}, {} }, { node:reserved(), node:journals() })
    end)

    it("what the kernel has under the same names is not touched", function()
      add "web"
      reboot()
      assert.are.equal(1, #gc().removed)
      assert.are.same({ nodes.port("web") }, node:links())
      assert.are.same({ {}, {} }, { node:reserved(), node:journals() })
      node:must("DEL", { pod = "web" }) -- finds it by its name
      only()
    end)

    it("addresses without a journal are void, and those of this boot are in doubt", function()
      add "web"
      node:kill "web"
      spaces.must("rm -rf %s", node.state)
      keeps("web", "no journal has it, so nothing can be proven", "--network", "testnet", "--data-dir", node.networks)
      assert.are.same({ "10.244.1.2" }, node:reserved())
      reboot()
      local report = gc("--network", "testnet", "--data-dir", node.networks)
      assert.are.equal("it was reserved in an earlier boot", reasons(report.removed).web)
      only()
    end)

    it("the first ADD has the whole range, and its own name is no repetition", function()
      for i = 1, 5 do
        node:must("ADD", { pod = "p" .. i, conf = { ipam = SMALL } })
      end
      node:kill("p1", "p2", "p3", "p4", "p5")
      reboot()
      node:must("ADD", { pod = "p3", conf = { ipam = SMALL }, prefix = rebooted })
      assert.are.equal(1, #node:reserved())
      assert.are.equal(5, #node:journals())
      assert.are.equal(4, #gc().removed)
      only "p3"
    end)
  end)

  it("an ADD of a lease after a reboot is no repetition of one before it", function()
    node:must("ADD", { pod = "web", name = "host-local" })
    local path = node.state .. "/attachments/testnet/web@host-local@eth0"
    node.rewrite(path, function(head) head.boot = "another" end)
    node:must("ADD", { pod = "web", name = "host-local" })
    assert.are.equal(core.boot.id(), core.json.decode(read(path):match "[^\n]+").boot)
    assert.are.equal(1, #node:reserved())
  end)

  describe("of a lease whose interface another plugin made", function()
    local function lease(name, netns)
      node:must("ADD", { pod = name, name = "host-local", netns = netns })
    end

    it("goes by its namespace", function()
      lease "web"
      lease "db"
      node.pods.db:close()
      node.pods.db = nil
      removes "db"
      alive(1)
      assert.are.same({ "10.244.1.2" }, node:reserved())
      assert.are.same({ "testnet/web@host-local@eth0" }, node:journals())
    end)

    it("keeps it while there is a namespace that no process and no mount explains", function()
      lease "web"
      local hidden <close> = core.netns.create()
      node.space:run(function()
        local host <close> = require("mncni.net").open()
        host.nsid.add { netns = hidden, nsid = 7 }
      end)
      node.pods.web:close()
      node.pods.web = nil
      keeps("web", "the host knows of a namespace that no process and no mount explains")
      hidden:close()
      local deadline = os.time() + 10
      while node.space:sh "ip netns list-id" ~= "" and os.time() < deadline do
        os.execute "sleep 0.05"
      end
      removes "web"
    end)

    it("keeps it when the caller named no namespace that could be opened", function()
      lease("web", "/run/netns/nowhere")
      keeps("web", "its namespace was not recorded")
    end)

    it("answers the same request with the same address only while that is reserved", function()
      lease "web"
      lease "web"
      assert.are.same({ "10.244.1.2" }, node:reserved())
      spaces.must("rm -rf %s", node.networks)
      lease "web"
      assert.are.same({ "10.244.1.2" }, node:reserved())
    end)
  end)

  it("says which links it could not delete, and does the rest", function()
    add("web", "db", "old")
    node:kill "old"
    node.space:must("ip link set %s group 79", nodes.port("db"))
    local outcome = node:exec { "setpriv", "--inh-caps", "-net_admin", "--bounding-set", "-net_admin",
      node.scratch .. "/bin/mncni", "gc", "--output=json", "--grace", "0" }
    assert.are.equal(1, outcome.status)
    local report = core.json.decode(outcome.stdout)
    assert.matches("EPERM", reasons(report.failed)[nodes.port("db")])
    assert.are.equal("old", #report.removed == 1 and report.removed[1].container)
    assert.are.same({ "10.244.1.2", "10.244.1.3" }, node:reserved())
    only("web", "db")
  end)

  it("finishes what a collection before it had buried and not deleted, and lets strangers be", function()
    add("web", "db")
    node.space:must("ip link set %s group 79", nodes.port("db"))
    node.space:must "ip link add stranger group 79 type veth peer name strange2"
    assert.are.same({ [nodes.port("db")] = "a collection that did not end had found it dead" },
      reasons(node:gc().removed))
    node.space:must("ip link show %s && ip link show stranger", nodes.port("web"))
    assert.are.equal(2, #node:links())
  end)
end)

describe("an ADD into an exhausted range", function()
  local function fill()
    local names = {}
    for i = 1, 5 do
      names[i] = "p" .. i
      node:must("ADD", { pod = names[i], conf = { ipam = SMALL } })
    end
    return names
  end

  local function add_one_more(args)
    args = args or {}
    args.pod, args.conf = args.pod or "more", args.conf or { ipam = SMALL }
    return node:call("ADD", args)
  end

  it("succeeds when attachments are dead, young ones too, and removes only those", function()
    fill()
    node:kill("p2", "p4")
    local outcome = add_one_more()
    assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    assert.are.equal("10.244.1.3/29", outcome.json.ips[1].address)
    assert.truthy(outcome.stderr:find("gc: removed attachment eth0 of p2 in testnet (10.244.1.3)", 1, true))
    only("p1", "p3", "p5", "more")
  end)

  it("fails with code 104 when all are alive, and leaves them", function()
    fill()
    local outcome = add_one_more()
    assert.are.equal(104, outcome.json.code, outcome.stdout)
    only("p1", "p2", "p3", "p4", "p5")
  end)

  it("gives an address that was asked for and is a dead attachment's", function()
    fill()
    node:kill "p3"
    local conf = { ipam = SMALL, args = { cni = { ips = { "10.244.1.4" } } } }
    local outcome = add_one_more { conf = conf }
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.equal("10.244.1.4/29", outcome.json.ips[1].address)
    only("p1", "p2", "p4", "p5", "more")
    assert.are.equal(104, add_one_more({ pod = "third", conf = conf }).json.code)
    only("p1", "p2", "p4", "p5", "more")
  end)

  it("keeps for the time of grace what was cut short, since a plugin that it started may live on", function()
    fill()
    node:kill "p1"
    local path = node:journal "p1"
    write(path, (read(path):gsub("[^\n]*\n$", ""))) -- without its result
    assert.are.equal(104, add_one_more().json.code)
    assert.are.equal(5, #node:journals())
    node:age("p1", 301)
    assert.are.equal(0, add_one_more().status)
    only("p2", "p3", "p4", "p5", "more")
  end)

  it("many times at once gives each its own", function()
    local names = fill()
    node:kill(table.unpack(names))
    local conf = node.scratch .. "/conf"
    write(conf, core.json.encode(node:config { ipam = SMALL }))
    for i = 1, 5 do
      node:pod("n" .. i)
    end
    local script = ([[for i in 1 2 3 4 5; do
      CNI_COMMAND=ADD CNI_CONTAINERID=n$i CNI_NETNS=/run/netns/n$i CNI_IFNAME=eth0 CNI_PATH=/x MNCNI_STATE_DIR=%s \
        MNCNI_POLICY_PATH=/x %s/bin/naivebridge <%s >%s/out$i 2>&1 || cat %s/out$i &
    done; wait]]):format(node.state, node.scratch, conf, node.scratch, node.scratch)
    assert.are.equal("", (node.space:sh(script)))
    only("n1", "n2", "n3", "n4", "n5")
  end)
end)

describe("DEL without a journal", function()
  it("frees the address and the link by the attachment's name, and nobody else's", function()
    add("web", "db")
    spaces.must("rm -rf %s", node.state)
    node:must("DEL", { pod = "web" })
    assert.are.same({ "10.244.1.3" }, node:reserved())
    assert.are.same({ nodes.port("db") }, node:links())
    node:must("DEL", { pod = "web" })
    node:must("DEL", { pod = "db" })
    only()
  end)

  it("leaves a link of that name that is somebody else's", function()
    node.space:must("ip link add %s type veth peer name x1", nodes.port("web"))
    node:must("DEL", { pod = "web" })
    node.space:must("ip link show %s", nodes.port("web"))
    node.space:must("ip link set %s group 78 alias 'mncni testnet db eth0'", nodes.port("web"))
    node:must("DEL", { pod = "web" })
    node.space:must("ip link show %s", nodes.port("web"))
    node.space:must("ip link set %s alias ''", nodes.port("web")) -- as between its creation and its alias
    node:must("DEL", { pod = "web" })
    assert.are.same({}, node:links())
  end)
end)

describe("DEL after another namespace came to the path, and the inode, of the one that was attached", function()
  it("leaves that alone", function()
    local space = node:pod "web"
    space:must "ip link set lo down"
    node:must("ADD", { name = "loopback", ifname = "lo", conf = { ipam = false } })
    local path = node.state .. "/attachments/testnet/web@loopback@lo"
    local text, id = read(path), space.ns:id()
    assert.truthy(text:find(('"id":"%s"'):format(id), 1, true), text)
    space:close()
    node.pods.web = nil
    space = node:pod "web" -- whose lo is up
    write(path, (text:gsub('"' .. id .. '"', '"' .. space.ns:id() .. '"')))
    node:must("DEL", { name = "loopback", ifname = "lo", conf = { ipam = false } })
    assert.truthy(space:must("ip link show lo"):find("UP", 1, true))
    assert.are.same({}, node:journals())
  end)
end)
