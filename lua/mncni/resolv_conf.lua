-- SPDX-License-Identifier: Apache-2.0
-- What a resolv.conf says, as the dns part of a result. Source: resolv.conf(5).

local core = require "mncni.core"

local resolv_conf = {}

-- The dns part of a result from the text of a resolv.conf: { nameservers, domain, search, options }, each nil when the
-- text has none.
function resolv_conf.parse(text)
  local dns = {}
  local function add(key, values)
    dns[key] = dns[key] or core.json.array {}
    table.move(values, 1, #values, #dns[key] + 1, dns[key])
  end
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    local words = {}
    for word in line:gmatch("%S+") do
      words[#words + 1] = word
    end
    local keyword = words[1]
    if keyword and #words > 1 and not keyword:find("^[#;]") then
      table.remove(words, 1)
      if keyword == "nameserver" then
        add("nameservers", { words[1] })
      elseif keyword == "domain" then
        dns.domain = words[1]
      elseif keyword == "search" then
        add("search", words)
      elseif keyword == "options" then
        add("options", words)
      end
    end
  end
  return dns
end

-- The same of the file at path. Raises code 7 when it cannot be read.
function resolv_conf.read(path)
  local file <close>, why = io.open(path, "r")
  local text, wrong
  if file then
    text, wrong = file:read(1 << 20)
    why = wrong and ("%s: %s"):format(path, wrong)
  end
  if why then
    error(core.error { code = 7, object = "ipam.resolvConf", message = "cannot be read: " .. why }, 0)
  end
  return resolv_conf.parse(text or "")
end

return resolv_conf
