-- SPDX-License-Identifier: Apache-2.0
-- Input: a result as JSON. Read as of each cniVersion, it is refused with a code or has a canonical form; that form is
-- what comes back from 1.1.0, and each older form, once converted, stays as it is.

local core = require "mncni.core"
local results = require "mncni.result"
local check = dofile "spec/fuzz/check.lua"
local json = core.json

local function convert(canonical, version)
  local ok, document = check.raises_well({ 1 }, results.convert, canonical, version)
  return ok and json.encode(document) or nil
end

local function check_version(canonical, version)
  local text = convert(canonical, version)
  if not text then
    assert(#canonical.ips == 0, "refused in spite of its addresses")
    return
  end
  local again = results.canonical(json.decode(text), version)
  assert(convert(again, version) == text, "not stable in " .. version)
  if version == "1.1.0" then
    check.equal(canonical, again, "1.1.0 loses something")
  end
end

return function(text)
  local ok, document = pcall(json.decode, text)
  if not ok then
    return
  end
  for _, version in ipairs(results.versions) do
    local good, canonical = check.raises_well({ 7 }, results.canonical, document, version, { code = 7 })
    if good then
      for _, target in ipairs(results.versions) do
        check_version(canonical, target)
      end
      check.equal(canonical, results.check(canonical), "a canonical result is not one for a policy")
    end
  end
  check.raises_well({ 100 }, results.check, document)
end
