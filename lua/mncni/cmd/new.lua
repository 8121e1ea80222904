-- SPDX-License-Identifier: Apache-2.0
-- mncni new: a policy, its spec and a configuration to start from.

local templates = require "mncni.templates"
local sorted_keys = require "mncni.keys"
local words = require "mncni.words"

local new = {}

local kinds = {}
for _, name in ipairs(sorted_keys(templates)) do
  kinds[#kinds + 1] = { name, templates[name][1] }
end

new.summary = "writes a policy, its spec and a configuration to start from"
new.arguments = "NAME"
new.about = [[
Writes NAME.lua, NAME_spec.lua (for busted, with mncni.testing) and NAME.conflist, or for the agent NAME.agent.lua.
A file that is there already is left as it is, and none is written. The policy is used once it lies in
/etc/mncni/policies, and there belongs to root.]]
new.options = {
  { "kind", value = "KIND", choices = kinds, doc = "agent, chained, interface (the default) or ipam" },
  { "directory", short = "d", value = "DIR", doc = "where to (default .)" },
}
new.exit = "0 when all is written, 1 when something could not be, 2 for a mistake in the words."

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

-- The files to write, as { path, text }, sorted by path.
local function files_of(name, kind, directory)
  local list = {}
  for _, file in ipairs(sorted_keys(templates[kind][2])) do
    list[#list + 1] = {
      directory .. "/" .. file:gsub("NAME", name), (templates[kind][2][file]:gsub("NAME", name)),
    }
  end
  return list
end

function new.run(given)
  local name, directory = given[1], given.directory or "."
  if not name:find "^%w[%w_-]*$" then
    return words.usage("new", "%q cannot be a policy's name: letters, digits, \"-\" and \"_\"", name)
  end
  local files, written = files_of(name, given.kind or "interface", directory), {}
  for _, file in ipairs(files) do
    if exists(file[1]) then
      return {
        status = 1, stderr = ("mncni new: %s is there already; choose another name or --directory"):format(file[1]),
      }
    end
  end
  for _, file in ipairs(files) do
    local out <close>, message = io.open(file[1], "w")
    if not out then
      return { status = 1, stderr = "mncni new: " .. message }
    end
    assert(out:write(file[2]))
    written[#written + 1] = file[1]
  end
  return { status = 0, stdout = table.concat(written, "\n") }
end

return new
