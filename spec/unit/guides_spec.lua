-- SPDX-License-Identifier: Apache-2.0
-- examples/guides.md: its policies, each with the test below it.
local runner = require "spec.support.runner"
local testing = require "mncni.testing"

-- The guides that have something to run: { title, policy, test, line }.
local function read()
  local guides, block, kind, number, title, policy = {}, nil, nil, 0, nil, nil
  for line in io.lines "examples/guides.md" do
    number = number + 1
    title = line:match "^## (.*)$" or title
    policy = not line:find "^## " and policy or nil
    if line:find "^```lua " then
      block, kind = {}, line:match "^```lua (%w+)$"
    elseif line == "```" and block then
      local text = table.concat(block, "\n") .. "\n"
      if kind == "policy" then
        policy = text
      else
        guides[#guides + 1] = { title = title, policy = policy, test = ("\n"):rep(number - #block - 1) .. text }
      end
      block = nil
    elseif block then
      block[#block + 1] = line
    end
  end
  return guides
end

describe("the guide", function()
  local node, directory

  before_each(function()
    directory = runner.directory()
    node = testing.node()
  end)

  after_each(function()
    node:close()
    runner.sh("rm -r " .. directory)
  end)

  local guides = read()
  assert(#guides == 5, "examples/guides.md has other guides")
  for _, guide in ipairs(guides) do
    it("does what it says: " .. guide.title, function()
      local function write(name, text)
        runner.write(directory .. "/" .. name, text)
        return directory .. "/" .. name
      end
      local env = setmetatable({
        node = node, assert = assert, write = write, path = guide.policy and write("policy.lua", guide.policy),
      }, { __index = _G })
      assert(load(guide.test, "@examples/guides.md", "t", env))()
    end)
  end
end)
