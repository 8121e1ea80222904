-- SPDX-License-Identifier: Apache-2.0
-- What an agent answers on its port: /healthz, /readyz, /metrics.

local core = require "mncni.core"
local store = require "mncni.store"

local agent_health = {}

local TEXT, METRICS = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

-- Where the plugin keeps addresses unless it is told otherwise.
local DATA_DIR = "/var/lib/cni/networks"

-- How many addresses of this node's ranges are reserved, in the networks that the record of calls knows.
local function addresses(self)
  local own = self.nodes.known and self.nodes.known[self.conf.node]
  local list = {}
  for _, cidr in ipairs(own and own.pod_cidrs or {}) do
    local first, last = cidr:nth(1).address, cidr:last().address
    local reserved, size = 0, nil
    for network in pairs(self.metrics.networks) do
      local ok, taken, all = pcall(function()
        local handle <close> = store.open { dataDir = DATA_DIR, network = network }
        if handle then
          return handle:count { ranges = { { first = first, last = last } } }
        end
      end)
      if ok and taken then
        reserved, size = reserved + taken, all
      end
    end
    if size then
      list[#list + 1] = { cidr = tostring(cidr), reserved = reserved, free = size - reserved }
    end
  end
  return list
end

local function facts(self)
  local known, malformed = 0, 0
  for _ in pairs(self.nodes.known or {}) do
    known = known + 1
  end
  for _ in pairs(self.nodes.malformed) do
    malformed = malformed + 1
  end
  return {
    counts = self.reconciler:counts(), nodes = known, malformed = malformed, policy_version = self.version,
    policy_errors = self.refusals, ready = self.ready.ok, watch = self.source.watch,
    addresses = addresses(self),
  }
end

-- answer(agent, path) returns status, content type and body.
function agent_health.answer(self, path)
  if path == "/healthz" then
    return 200, TEXT, "ok\n"
  elseif path == "/readyz" then
    if self.ready.ok then
      return 200, TEXT, "ok\n"
    end
    return 503, TEXT, table.concat(self.ready.reasons, "\n") .. "\n"
  elseif path == "/metrics" then
    self.metrics:read_calls()
    return 200, METRICS, self.metrics:text(facts(self))
  end
  return 404, TEXT, ("%s: there are /healthz, /readyz and /metrics (mncni-agent %s)\n"):format(path, core.version)
end

return agent_health
