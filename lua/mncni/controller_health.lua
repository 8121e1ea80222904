-- SPDX-License-Identifier: Apache-2.0
-- What a controller answers on its port: /healthz, /readyz, /metrics. One that waits for its turn to lead is ready, too.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local controller_health = {}

local TEXT, METRICS = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

local function count(map)
  local number = 0
  for _ in pairs(map or {}) do
    number = number + 1
  end
  return number
end

-- What only the leader knows.
local function add_leader(self, text)
  local counts = self.writer.counts
  text:family("mncni_nodes", "gauge", "Nodes of the cluster that are known.")
  text:sample("mncni_nodes", {}, count(self.nodes.known))
  text:family("mncni_nodes_malformed", "gauge", "Nodes left out because they cannot be understood.")
  text:sample("mncni_nodes_malformed", {}, count(self.nodes.malformed))
  text:family("mncni_node_ranges", "gauge", "Ranges that nodes can have, of each range of the cluster.")
  for _, range in ipairs(self.wanted and self.wanted.ranges or {}) do
    for _, state in ipairs { "used", "resting", "free" } do
      text:sample("mncni_node_ranges", { "cidr", range.cidr, "family", range.family, "state", state }, range[state])
    end
  end
  text:family("mncni_node_range_problems", "gauge", "Nodes whose range something is wrong with, by the Event's reason.")
  local problems = self.writer:figures()
  for _, reason in ipairs(sorted_keys(problems)) do
    text:sample("mncni_node_range_problems", { "reason", reason }, problems[reason])
  end
  text:family("mncni_node_assignments_total", "counter", "Ranges of nodes that were written.")
  text:sample("mncni_node_assignments_total", {}, counts.assigned)
  text:family("mncni_node_assignment_failures_total", "counter", "Writes that were refused or had no answer.")
  for _, reason in ipairs(sorted_keys(counts.failed)) do
    text:sample("mncni_node_assignment_failures_total", { "reason", reason }, counts.failed[reason])
  end
  require("mncni.agent_metrics").add_watch(text, self.watch)
end

local function metrics(self)
  local text = require("mncni.agent_metrics").text()
  local ready = self:readiness()
  text:family("mncni_build_info", "gauge", "The version that runs.")
  text:sample("mncni_build_info", { "version", core.version }, 1)
  text:family("mncni_leader", "gauge", "Whether this one leads.")
  local lease = self.lease.namespace .. "/" .. self.lease.name
  text:sample("mncni_leader", { "lease", lease }, self.election and self.election.leads and 1 or 0)
  text:family("mncni_ready", "gauge", "Whether this one leads and knows the nodes, or could lead.")
  text:sample("mncni_ready", {}, ready and 1 or 0)
  require("mncni.agent_metrics").add_policies(text, self.version, self.refusals)
  if self.writer then
    add_leader(self, text)
  end
  text[#text + 1] = ""
  return table.concat(text, "\n")
end

-- answer(controller, path) returns status, content type and body.
function controller_health.answer(self, path)
  if path == "/healthz" then
    return 200, TEXT, "ok\n"
  elseif path == "/readyz" then
    local ok, why = self:readiness()
    return ok and 200 or 503, TEXT, (ok and "ok" or why) .. "\n"
  elseif path == "/metrics" then
    return 200, METRICS, metrics(self)
  end
  return 404, TEXT, ("%s: there are /healthz, /readyz and /metrics (mncni-agent %s)\n"):format(path, core.version)
end

return controller_health
