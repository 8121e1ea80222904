-- SPDX-License-Identifier: Apache-2.0
-- State on disk in every bad shape, another boot, and a namespace's path that leads elsewhere by now. Whatever the
-- shape: an ADD works or leaves nothing, and no DEL says 0 while an address is held or the pod's link is there.

local core = require "mncni.core"
local faults = require "spec.support.faults"
local lfs = require "lfs"
local record = require "mncni.record"
local spaces = require "spec.support.netns"

local JOURNAL = "%s/attachments/faults/victim@naivebridge@eth0"

describe("naivebridge with", function()
  local world

  setup(function() world = faults.world(faults.case { name = "state" }) end)
  teardown(function() world:close() end)
  before_each(function() world:begin() end)

  local function sh(command)
    return spaces.must((command:gsub("$STATE", world.state):gsub("$NET", world.networks .. "/faults")
      :gsub("$JOURNAL", JOURNAL:format(world.state)):gsub("$RING", world.state .. "/calls.ring")))
  end

  -- The names of the address files that name the victim.
  local function held()
    return (spaces.sh(("cd %s/faults 2>/dev/null && grep -D skip -d skip -lsI '^victim' *"):format(world.networks)))
  end

  local function linked()
    return world.victim:sh "ip -o link show eth0 2>/dev/null"
  end

  local function add()
    local outcome, wrong = world:call "ADD", {}
    if outcome.status == 0 then
      world:works(wrong, outcome)
    else
      assert.is_truthy(outcome.json and outcome.json.code, outcome.stdout .. outcome.stderr)
      assert.are.equal("", held())
      assert.are.equal("", linked())
    end
    assert.are.same({}, wrong)
    return outcome
  end

  -- DEL keeps its word.
  local function del()
    local outcome = world:call "DEL"
    if outcome.status == 0 then
      assert.are.equal("", held())
      assert.are.equal("", linked())
    else
      assert.is_truthy(outcome.json and outcome.json.code, outcome.stdout .. outcome.stderr)
    end
    return outcome
  end

  -- What is done to the state before an ADD, and the ADD's code (0: it works).
  local before_add = {
    { "no state directory", "rm -rf $STATE", 0 },
    { "a file as state directory", "rm -rf $STATE && touch $STATE", 5 },
    { "a read-only state directory", "mount -t tmpfs -o ro tmpfs $STATE", 5, after = "umount $STATE" },
    { "a full state directory", "mount -t tmpfs -o nr_inodes=1 tmpfs $STATE", 5, after = "umount $STATE" },
    { "a state directory of another user", "chown -R 1000 $STATE", 0 },
    { "a link as state directory", "mv $STATE $STATE.real && ln -s $STATE.real $STATE", 0,
      after = "rm -rf $STATE $STATE.real" },
    { "a link that leads nowhere as state directory", "rm -rf $STATE && ln -s /nowhere/at/all $STATE", 5,
      after = "rm $STATE" },
    { "100 000 files beside the journals", "cd $STATE/attachments/faults && seq 100000 | xargs touch", 0 },
    { "an empty journal", "touch $JOURNAL", 0 },
    { "a journal whose only line was cut short", "printf '{\"format\":1' > $JOURNAL", 0 },
    { "a journal of garbage", "head -c 4000 /dev/urandom > $JOURNAL", false },
    { "a journal of zeros", "head -c 4000 /dev/zero > $JOURNAL", false },
    { "a journal of a newer format", "printf '{\"format\":99}\\n{\"undo\":{\"op\":\"warp\"}}\\n' > $JOURNAL", 5 },
    { "a journal that is too large", "truncate -s 20M $JOURNAL", false },
    { "a directory as journal", "mkdir $JOURNAL", 5 },
    { "a link as journal", "ln -s /etc/passwd $JOURNAL", 5 },
    { "no address directory", "rm -rf $NET", 0 },
    { "a file as address directory", "rm -rf $NET && touch $NET", 5 },
    { "a read-only address directory", "mount -t tmpfs -o ro tmpfs $NET", 5, after = "umount $NET" },
    { "a full address directory", "mount -t tmpfs -o nr_inodes=1 tmpfs $NET", 5, after = "umount $NET" },
    { "an address directory that everybody may write to", "chmod 0777 $NET", 5, after = "chmod 0755 $NET" },
    { "a link as address directory", "mv $NET $NET.real && ln -s $NET.real $NET", 5, after = "rm -rf $NET $NET.real" },
    { "100 000 files beside the addresses", "cd $NET && seq -f x%.0f 100000 | xargs touch", 0 },
    { "empty address files", "cd $NET && for i in $(seq 3 254); do : > 10.88.0.$i; done", 0 },
    { "address files of garbage", "cd $NET && for i in $(seq 3 9); do head -c 99 /dev/urandom > 10.88.0.$i; done", 0 },
    { "address files of zeros", "cd $NET && for i in $(seq 3 9); do head -c 99 /dev/zero > 10.88.0.$i; done", 0 },
    { "directories as address files", "cd $NET && for i in $(seq 3 9); do mkdir 10.88.0.$i; done", 0 },
    { "links as address files", "cd $NET && for i in $(seq 3 9); do ln -s /etc/passwd 10.88.0.$i; done", 0 },
    { "pipes as address files", "cd $NET && for i in $(seq 3 9); do mkfifo 10.88.0.$i; done", 0 },
    { "an empty last address", "> $NET/last_reserved_ip.0", 0 },
    { "garbage as last address", "head -c 5000 /dev/urandom > $NET/last_reserved_ip.0", 0 },
    { "a directory as last address", "rm -f $NET/last_reserved_ip.0 && mkdir $NET/last_reserved_ip.0", 0 },
    { "a link as last address", "ln -sf /etc/passwd $NET/last_reserved_ip.0", 0 },
    { "a directory as lock", "rm -f $NET/lock && mkdir $NET/lock", false },
    { "a link as lock", "ln -sf /etc/passwd $NET/lock", 5 },
    { "garbage as stamp of the boot", "head -c 500 /dev/urandom > $NET/.mncni", 0 },
    { "a directory as stamp of the boot", "rm -f $NET/.mncni && mkdir $NET/.mncni", false },
  }

  for _, shape in ipairs(before_add) do
    it(shape[1] .. ": ADD and DEL keep their word", function()
      local words = spaces.must "stat -c '%s %Y' /etc/passwd"
      sh(shape[2])
      local outcome = add()
      del()
      if shape.after then sh(shape.after) end
      assert.are.equal(words, spaces.must "stat -c '%s %Y' /etc/passwd")
      if shape[3] then
        assert.are.equal(shape[3], outcome.status == 0 and 0 or outcome.json.code, outcome.stdout)
      end
    end)
  end

  local function all(slots) return slots end
  local function none() return {} end
  local function one(slots) return { slots[1] } end
  local function but_second(slots) return { slots[1], false, table.unpack(slots, 3) } end

  -- What is done to the record of calls, and which records that leaves.
  local spoiled = {
    { "nothing", "rm $RING", none },
    { "an empty file", "> $RING", none },
    { "garbage", "head -c 300000 /dev/urandom > $RING", none },
    { "zeros", "head -c 300000 /dev/zero > $RING", none },
    { "a ring cut short in its header", "truncate -s 30 $RING", none },
    { "a ring cut short behind its header", "truncate -s 1024 $RING", none },
    { "a ring cut short in its second record", "truncate -s 2500 $RING", one },
    { "a ring with a header of garbage", "head -c 1024 /dev/urandom | dd of=$RING conv=notrunc status=none", all },
    { "a ring with garbage in its second record",
      "head -c 1024 /dev/urandom | dd of=$RING bs=1024 seek=2 conv=notrunc status=none", but_second },
    { "a ring that goes nowhere", "sed -i '1s/next=[0-9]*/next=0/' $RING", all },
    { "a ring of another size", "sed -i '1s/slots=256/slots=128/' $RING", all },
    { "a ring of an older format", "sed -i '1s/format=1/format=0/' $RING", all },
    { "a ring that is too large", "truncate -s 20M $RING", all },
  }

  -- What stands in its place and is left as it is, without a record, until somebody takes it away.
  local obstacles = {
    { "a ring of a newer format", "sed -i '1s/format=1/format=2/' $RING" },
    { "a directory", "rm -rf $RING && mkdir -p $RING/calls.ring" },
    { "a link", "ln -sfn /etc/passwd $RING" },
    { "a link that leads nowhere", "ln -sfn /run/tmp/nowhere $RING" },
    { "a pipe", "rm -f $RING && mkfifo $RING" },
  }

  local function records()
    local list = {}
    for i, call in ipairs(record.list(world.state)) do
      list[i] = ("%s of %s: %d"):format(call.verb, call.container, call.code)
    end
    return list
  end

  local function newest_first(slots)
    local list = {}
    for i = #slots, 1, -1 do list[#list + 1] = slots[i] or nil end
    return list
  end

  local calls = { ADD = add, DEL = del }
  local RECORDED = { ADD = { "ADD of victim: 0", "CHECK of victim: 0" }, DEL = { "DEL of victim: 0" } }

  local function works(verb)
    assert.are.equal(0, calls[verb]().status)
    if verb == "DEL" then assert.are.same({}, world:left()) end
  end

  for _, shape in ipairs(spoiled) do
    it(shape[1] .. " as the record of calls: ADD and DEL work, and are recorded", function()
      local slots = { "ADD of neighbour: 0", "ADD of victim: 0", "DEL of victim: 0" }
      for _, verb in ipairs { "ADD", "DEL" } do
        assert.are.same(newest_first(slots), records())
        sh(shape[2])
        slots = shape[3](slots)
        works(verb)
        table.move(RECORDED[verb], 1, #RECORDED[verb], #slots + 1, slots)
      end
      assert.are.same(newest_first(slots), records())
      if shape[3] == none then -- what was there is gone, not only hidden
        assert.is_true(lfs.attributes(world.state .. "/calls.ring", "size") <= 266240 + 256 * 32768)
      end
    end)
  end

  for _, shape in ipairs(obstacles) do
    it(shape[1] .. " as the record of calls: ADD and DEL work, leave it, and are recorded once it is gone", function()
      local look = "find $RING -printf '%P %y %i %s %l\\n'; [ -f $RING ] && sha256sum $RING; "
        .. "sha256sum /etc/passwd; ls /run/tmp"
      for _, verb in ipairs { "ADD", "DEL" } do
        sh(shape[2])
        local before = sh(look)
        assert.are.equal(0, calls[verb]().status)
        assert.are.equal(before, sh(look))
      end
      sh "rm -r $RING"
      works "ADD"
      works "DEL"
      assert.are.same({ "DEL of victim: 0", "CHECK of victim: 0", "ADD of victim: 0" }, records())
    end)
  end

  -- What is done to the state of a pod that is there, and whether its DEL works (true, false, or nil: either).
  local before_del = {
    { "no state directory", "rm -rf $STATE" },
    { "no journal", "rm $JOURNAL" },
    { "an empty journal", "> $JOURNAL", true },
    { "a journal cut short in its last line", "truncate -s -10 $JOURNAL", true },
    { "a journal of garbage", "head -c 4000 /dev/urandom > $JOURNAL", true },
    { "a journal that is only {}", "echo '{}' > $JOURNAL", true },
    { "a journal that is only a list", "echo '[1]' > $JOURNAL", true },
    { "a journal that begins with its second line", "sed -i 1d $JOURNAL", true },
    { "a journal that ends with its first line", "sed -i '2,$d' $JOURNAL", true },
    { "a journal that ends with its second line", "sed -i '3,$d' $JOURNAL", true },
    { "a journal without its last line", "sed -i '$d' $JOURNAL", true },
    { "a journal that is only a result", "sed -i '$!d' $JOURNAL", true },
    { "a journal with garbage in the middle", "sed -i '2s/.*/{\"undo\":/' $JOURNAL", true },
    { "a journal of zeros", "head -c 4000 /dev/zero > $JOURNAL", true },
    { "a directory as journal", "rm $JOURNAL && mkdir $JOURNAL", false },
    { "a link as journal", "rm $JOURNAL && ln -s /etc/passwd $JOURNAL", false },
    { "a read-only state directory", "mount --bind $STATE $STATE && mount -o remount,bind,ro $STATE", false,
      after = "umount $STATE" },
    { "a read-only address directory", "mount --bind $NET $NET && mount -o remount,bind,ro $NET", false,
      after = "umount $NET" },
    { "no address directory", "rm -rf $NET", true },
    { "a file as address directory", "rm -rf $NET && touch $NET", false },
    { "an address file without an owner", "for f in $NET/10.*; do grep -q victim $f && : > $f; done; true", true },
    { "an address file of somebody else", "for f in $NET/10.*; do grep -q victim $f && echo other > $f; done; true",
      true },
    { "a directory as lock", "rm -f $NET/lock && mkdir $NET/lock" },
  }

  for _, shape in ipairs(before_del) do
    it(shape[1] .. ": DEL keeps its word", function()
      assert.are.equal(0, add().status)
      sh(shape[2])
      local outcome = world:call "DEL"
      if outcome.status == 0 then
        assert.are.equal("", held())
        assert.are.equal("", linked())
      end
      if shape.after then sh(shape.after) end
      if shape[3] ~= nil then assert.are.equal(shape[3], outcome.status == 0, outcome.stdout) end
      -- What an administrator may always do; the address comes free all the same.
      sh "rm -rf $STATE; [ -d $NET ] || rm -f $NET; [ ! -d $NET/lock ] || rmdir $NET/lock"
      assert.are.equal(0, world:call("DEL").status)
      assert.are.equal("", held())
    end)
  end

  if faults.full then
    it("a lock that somebody holds: ADD and DEL say so in time, and take nothing for granted", function()
      assert.are.equal(0, add().status)
      local holder = assert(io.popen(("exec flock %s/faults/lock sleep 40"):format(world.networks)))
      spaces.must "sleep 0.2"
      assert.are.equal(11, world:call("DEL").json.code)
      assert.are_not.equal("", held())
      spaces.must "kill $(pgrep -x sleep)"
      holder:close()
      assert.are.equal(0, del().status)
    end)
  end

  describe("another boot", function()
    local BOOT = "/proc/sys/kernel/random/boot_id"

    after_each(function() spaces.sh("umount " .. BOOT) end)

    it("frees the addresses of the one before, and attaches the same pod again", function()
      local first = add()
      assert.are.equal(0, first.status)
      -- The machine starts again: the namespaces are gone, the files are not.
      world.neighbour:close()
      world:new_victim()
      for _, link in ipairs(world:links()) do
        if link.group == 78 then world.host.link.absent { ifname = link.ifname } end
      end
      sh("echo 11111111-2222-3333-4444-555555555555 > $STATE/boot")
      spaces.must("mount --bind %s/boot " .. BOOT, world.state)
      local again = add()
      assert.are.equal(0, again.status, again.stdout)
      local names = spaces.must("cd %s/faults && ls", world.networks)
      assert.are.equal(1, select(2, names:gsub("10%.88%.", "")), names)
      assert.are.equal(0, del().status)
      spaces.must("rm %s/boot", world.state)
    end)
  end)

  it("a path that leads to another namespace by now: DEL leaves that one as it is", function()
    assert.are.equal(0, add().status)
    local name = world.victim.name
    world.victim:close()
    world.victim = spaces.new(name)
    world.victim:must "ip link add eth0 type veth peer name other && ip link set eth0 up"
    world.victim:must "ip addr add 10.88.0.99/24 dev eth0"
    local before = world.victim:must "ip -o addr show"
    local outcome = world:call "DEL"
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.equal("", held())
    assert.are.equal(before, (world.victim:must "ip -o addr show"))
    world:new_victim()
    assert.are.same({}, world:left())
  end)

  it("a path that leads to the node's own namespace by now: DEL leaves the node as it is", function()
    assert.are.equal(0, add().status)
    local own <close> = core.netns.current()
    local before = spaces.must "ip -o addr show | grep -v veth"
    local outcome = world:call("DEL", { netns = "/proc/1/ns/net" })
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.equal(before, (spaces.must "ip -o addr show | grep -v veth"))
    assert.is_truthy(own)
    assert.are.same({}, world:left())
  end)
end)
