-- SPDX-License-Identifier: Apache-2.0
-- Network namespaces for specs, gone when the spec ends, and the question whether anything was left behind.
--
--   local spaces = require "spec.support.netns"
--   describe("...", function()
--     local before
--     before_each(function() before = spaces.snapshot() end)
--     after_each(function() spaces.cleanup(); spaces.assert_nothing_left(before) end)
--     it("...", function()
--       local pod = spaces.new()              -- pod.ns is the handle, pod.path its path, pod.name its name
--       local output, status = pod:sh("ip link show %s", "eth0")
--     end)
--   end)

local core = require "mncni.core"
local lfs = require "lfs"

local spaces = {}

-- Specs of the kernel ring change whatever namespace they run in, so they must not run in the machine's own.
if not os.getenv "MNCNI_RING" then
  error("this spec changes the network: run it in a ring, with `make check-kernel ARGS=...`", 0)
end

local open = {}
local count = 0

-- Quotes a text for the shell.
function spaces.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

-- Runs a shell command; further arguments are quoted and put in by string.format (%s only). Returns stdout and stderr
-- together, without the last newline, and the exit status (128 + n when signal n ended it).
function spaces.sh(command, ...)
  local quoted = table.pack(...)
  for i = 1, quoted.n do quoted[i] = spaces.quote(quoted[i]) end
  if quoted.n > 0 then command = command:format(table.unpack(quoted, 1, quoted.n)) end
  local pipe = assert(io.popen("exec 2>&1\n" .. command))
  local output = pipe:read "a"
  local _, how, status = pipe:close()
  return (output:gsub("\n$", "")), how == "signal" and 128 + status or status
end

-- Like sh, but a command that fails is an error; returns the output.
function spaces.must(command, ...)
  local output, status = spaces.sh(command, ...)
  if status ~= 0 then error(("%s: exit status %d: %s"):format(command, status, output), 2) end
  return output
end

local methods = {}

-- Runs a function inside; returns its results.
function methods:run(fn, ...) return self.ns:run(fn, ...) end

-- The same as spaces.sh and spaces.must, inside.
function methods:sh(...) return self.ns:run(spaces.sh, ...) end
function methods:must(...) return self.ns:run(spaces.must, ...) end

-- Removes the namespace: its name, our handle, and thereby its links once no process is inside.
function methods:close()
  if not open[self] then return end
  open[self] = nil
  self.ns:close()
  pcall(core.netns.remove, self.name) -- a spec may have removed it
end

local meta = { __index = methods, __close = methods.close, __name = "namespace of a spec" }

-- Makes a namespace with lo up, pinned under a fresh name or the one given. It goes with cleanup(), :close() or
-- `local pod <close>`.
function spaces.new(name)
  count = count + 1
  name = name or ("spec%d"):format(count)
  local space = setmetatable({ name = name, path = "/run/netns/" .. name }, meta)
  space.ns = core.netns.create(name)
  open[space] = true
  space:must "exec ip link set lo up"
  return space
end

-- Removes every namespace made here that is still there.
function spaces.cleanup()
  for space in pairs(open) do space:close() end
  open = {}
end

-- Links with their flags, addresses, routes and rules as text: of the namespace that we are in, or of the one at path. What
-- comes and goes in the kernel's own time is not in it.
function spaces.text(path)
  local text = spaces.must("printf 'link\\naddr\\nroute show table all\\nrule\\n' | "
    .. (path and "nsenter --net=" .. spaces.quote(path) or "exec") .. " ip -o -batch -")
  local list = {}
  for line in text:gmatch "[^\n]+" do
    local link = line:match "^%d+: ([^:]+: <[^>]*>)"
    if link or not line:find " table local " then
      list[#list + 1] = link or line:gsub(" tentative", "")
    end
  end
  return table.concat(list, "\n")
end

-- What our descriptors are, looked at without a child, which would have descriptors of ours in passing.
local function descriptors()
  local list = {}
  for number in lfs.dir "/proc/self/fd" do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. number, "target")
    list[#list + 1] = target and target:gsub(":.*", "") or nil
  end
  table.sort(list)
  return list
end

local function words(path)
  local list = {}
  local file <close> = assert(io.open(path))
  for word in file:read("a"):gmatch "%S+" do list[#list + 1] = word end
  return list
end

-- What the kernel has in the namespace that we are in, by two processes: there is a snapshot before and after every spec.
local function in_kernel()
  local said = spaces.must [[
    printf 'link show\naddr show\nroute show table all\n' | ip -o -batch - && exec nft list tables]]
  local found = { links = {}, addresses = {}, routes = {}, tables = {} }
  for line in said:gmatch "[^\n]+" do
    local link, device, address = line:match "^%d+: ([^:@]+).*: <", line:match "^%d+: (%S+)%s+inet6? (%S+)"
    if link then
      table.insert(found.links, link)
    elseif device then
      table.insert(found.addresses, device .. " " .. address)
    elseif line:find "^table " then
      table.insert(found.tables, line)
    else
      table.insert(found.routes, (line:gsub(" pref .*", "")))
    end
  end
  for _, list in pairs(found) do table.sort(list) end
  return found
end

-- The paths of what is below a directory, from there on, sorted; without directories where `files` says so. None where
-- there is no directory.
function spaces.below(directory, files)
  local list = {}
  local function look(at)
    for name in lfs.dir(directory .. "/" .. at) do
      local is_directory = lfs.symlinkattributes(("%s/%s%s"):format(directory, at, name), "mode") == "directory"
      if name ~= "." and name ~= ".." then
        list[#list + 1] = not (files and is_directory) and at .. name or nil
        if is_directory then look(at .. name .. "/") end
      end
    end
  end
  if lfs.attributes(directory) then look "" end
  table.sort(list)
  return list
end

-- What a spec could leave behind, as sorted lists: links, addresses, routes and nft tables of the namespace we are
-- in, names of namespaces, files of state, and our own descriptors and children.
function spaces.snapshot()
  collectgarbage() -- handles that nobody closed
  collectgarbage()
  local found = in_kernel()
  found.names = spaces.below "/run/netns"
  found.state = spaces.below(assert(os.getenv "MNCNI_STATE_DIR"))
  found.descriptors = descriptors()
  found.children = words "/proc/thread-self/children"
  return found
end

-- What is there now and was not in the snapshot, as "kind: thing" lines.
function spaces.left(before)
  local left = {}
  for kind, now in pairs(spaces.snapshot()) do
    local known = {}
    for _, thing in ipairs(before[kind]) do known[thing] = (known[thing] or 0) + 1 end
    for _, thing in ipairs(now) do
      known[thing] = (known[thing] or 0) - 1
      if known[thing] < 0 then left[#left + 1] = kind .. ": " .. thing end
    end
  end
  table.sort(left)
  return left
end

-- Fails when something is there that was not in the snapshot.
function spaces.assert_nothing_left(before)
  local left = spaces.left(before)
  if #left > 0 then error("left behind:\n  " .. table.concat(left, "\n  "), 2) end
end

return spaces
