-- SPDX-License-Identifier: Apache-2.0
-- What mncni.keeper_polled has to know of sysctls and files; of nftables, see mncni.keeper_nft.

local core = require "mncni.core"

local polls = {}

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

-- { path, content | source, mode }, where source names a file whose content is taken. In order, because the last one may
-- tell others to use those before it. A file that is no longer wanted stays: containers may still need it.
polls.files = {
  object = "file", verb = "replace", in_order = true,
  look = function(_, path, file)
    local content, mode = file.content or read(file.source), file.mode or tonumber("644", 8)
    if not content then
      error(core.error { op = "read", object = file.source, message = "it cannot be read" }, 0)
    elseif core.file.mode(path) ~= mode or read(path) ~= content then
      return { path = path, content = content, mode = mode }
    end
  end,
  send = function(_, args)
    core.file.replace(args.path, args.content, args.mode)
  end,
}

return polls
