-- SPDX-License-Identifier: Apache-2.0
-- What mncni.keeper_polled has to know of sysctls and files; of nftables, see mncni.keeper_nft.

local core = require "mncni.core"

local polls = {}

local EXECUTABLE = tonumber("111", 8)

-- What is no longer wanted stays as it is: nobody knows what it should be instead.
-- A value, or { value, after = list of keys }: one that may only be set when those are as wanted.
polls.sysctls = {
  object = "sysctl", verb = "set",
  after = function(want)
    return type(want) == "table" and want.after or nil
  end,
  look = function(host, key, want)
    local have, value = host.sysctl.get(key), type(want) == "table" and want.value or want
    return (have or ""):gsub("%s+$", "") ~= value and { key = key, value = value } or nil
  end,
  send = function(host, args)
    host.sysctl.set(args.key, args.value)
  end,
}

polls.nft = require "mncni.keeper_nft"

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function fail(op, path, message)
  error(core.error { op = op, object = path, message = message }, 0)
end

local function is_there(path)
  return core.file.mode(path) ~= nil or core.file.target(path) ~= nil or core.directory.list(path) ~= nil
end

-- Adds to items the file at path, unless it has the source's content and that mode. A program that has is kept in huge
-- pages, where the kernel can.
local function look_at_copy(items, path, source, mode)
  if core.file.mode(path) ~= mode or not core.file.same(path, source) then
    local content = read(source) or fail("read", source, "it cannot be read")
    items[#items + 1] = { path = path, content = content, mode = mode }
  elseif mode & EXECUTABLE ~= 0 then
    pcall(core.file.huge, path)
  end
end

-- Adds to items what is missing of a directory: what is below it, then its files, then its links. So a program comes
-- after what it loads, and a link after what it leads to. A link is made only where nothing is: there may be a plugin
-- of somebody else's under its name.
local function look_at_tree(items, path, tree)
  local names = core.directory.list(tree) or fail("read", tree, "there is no such directory")
  table.sort(names)
  local files, links = {}, {}
  for _, name in ipairs(names) do
    local from, to = tree .. "/" .. name, path .. "/" .. name
    local target, mode = core.file.target(from), core.file.mode(from)
    if target then
      links[#links + 1] = not is_there(to) and { path = to, link = target } or nil
    elseif mode then
      look_at_copy(files, to, from, mode)
    else
      look_at_tree(items, to, from)
    end
  end
  table.move(files, 1, #files, #items + 1, items)
  table.move(links, 1, #links, #items + 1, items)
end

-- Adds to items the policies of a directory that are to go: those with the mark as last line that are not in `only`.
local function look_at_surplus(items, directory, file)
  local ok, names = pcall(core.policy.list, directory)
  table.sort(ok and names or {})
  for _, name in ipairs(ok and names or {}) do
    local path = ("%s/%s.lua"):format(directory, name)
    if not file.only[path] and (read(path) or ""):sub(-#file.mark - 1) == "\n" .. file.mark then
      items[#items + 1] = { path = path, remove = true }
    end
  end
end

-- What is to be done: a list of { path, content, mode }, { path, link } and { path, remove }.
local function look_at_file(path, file)
  local items, mode = {}, file.mode or tonumber("644", 8)
  if file.only then
    look_at_surplus(items, path, file)
  elseif file.tree then
    look_at_tree(items, path, file.tree)
  elseif file.source then
    look_at_copy(items, path, file.source, mode)
  elseif file.link then
    if core.file.target(path) ~= file.link then
      items[1] = is_there(path) and fail("link", path, "something else stands in the way") or
        { path = path, link = file.link }
    end
  elseif core.file.mode(path) ~= mode or read(path) ~= file.content then
    items[1] = { path = path, content = file.content, mode = mode }
  end
  return items
end

-- { path, content | source | tree | link, mode }: source names a file whose content is taken, tree a directory whose
-- files and links are to be in path as well, link is where a symbolic link leads; or { path, mark, only = path -> true }
-- for a directory of policies, in which no other one whose last line is the mark is to be. In order, because the last one
-- may tell others to use those before it. A file that is no longer wanted stays: containers may still need it.
polls.files = {
  object = "file", verb = "replace", in_order = true,
  look = function(_, path, file)
    local items = look_at_file(path, file)
    return #items > 0 and items or nil
  end,
  send = function(_, items)
    for _, item in ipairs(items) do
      if item.remove then
        assert(os.remove(item.path))
      elseif item.link then
        core.file.link(item.path, item.link)
      else
        core.file.replace(item.path, item.content, item.mode)
      end
    end
  end,
}

return polls
