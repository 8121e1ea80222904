-- SPDX-License-Identifier: Apache-2.0
-- Figures of an agent in Prometheus' text format (exposition format 0.0.4), and whether it is well.

local core = require "mncni.core"

local metrics = {}

local Metrics = {}
Metrics.__index = Metrics

-- Upper bounds in seconds of the histograms.
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

local function histogram()
  local buckets = core.json.array {}
  for i = 1, #BUCKETS do
    buckets[i] = 0
  end
  return { count = 0, sum = 0, buckets = buckets }
end

local function observe(self, seconds)
  self.count, self.sum = self.count + 1, self.sum + seconds
  for i, bound in ipairs(BUCKETS) do
    self.buckets[i] = self.buckets[i] + (seconds <= bound and 1 or 0)
  end
end

-- new(state_dir, before): before is what hand_over of another state's has returned, if there is one.
function metrics.new(state_dir, before)
  before = before or {}
  return setmetatable({
    state_dir = state_dir, latency = before.latency or histogram(), calls = before.calls or {},
    seen = before.seen or {}, networks = before.networks or {},
  }, Metrics)
end

function Metrics:hand_over()
  return { latency = self.latency, calls = self.calls, seen = self.seen, networks = self.networks }
end

-- Notes that what was known after `seconds` of work is in the kernel.
function Metrics:applied(seconds)
  observe(self.latency, seconds)
end

-- Adds what the plugin did since the last look. The record holds 256 calls: more between two looks are not seen.
function Metrics:read_calls()
  local ok, list = pcall(require("mncni.record").list, self.state_dir)
  local seen = {}
  for _, call in ipairs(ok and list or {}) do
    local id = table.concat({ call.time, call.verb, call.container or "", call.ifname or "", call.duration or 0 }, " ")
    seen[id] = true
    if call.network then
      self.networks[call.network] = true
    end
    if not self.seen[id] then
      local entry = self.calls[call.verb] or { errors = 0, duration = histogram() }
      self.calls[call.verb] = entry
      entry.errors = entry.errors + ((call.code or 0) ~= 0 and 1 or 0)
      observe(entry.duration, (call.duration or 0) / 1e6)
    end
  end
  self.seen = seen
end

local function escape(value)
  return (tostring(value):gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

-- A text being written.
local Text = {}
Text.__index = Text

function Text:family(name, kind, help)
  self[#self + 1] = ("# HELP %s %s"):format(name, help)
  self[#self + 1] = ("# TYPE %s %s"):format(name, kind)
end

function Text:sample(name, labels, value)
  local parts = {}
  for i = 1, #labels, 2 do
    parts[#parts + 1] = ('%s="%s"'):format(labels[i], escape(labels[i + 1]))
  end
  local text = math.type(value) == "float" and ("%.6f"):format(value) or tostring(value)
  self[#self + 1] = ("%s%s %s"):format(name, #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or "", text)
end

function Text:histogram(name, labels, values)
  local function with(key, value)
    local all = table.move(labels, 1, #labels, 1, {})
    all[#all + 1], all[#all + 2] = key, value
    return all
  end
  for i, bound in ipairs(BUCKETS) do
    self:sample(name .. "_bucket", with("le", bound), values.buckets[i])
  end
  self:sample(name .. "_bucket", with("le", "+Inf"), values.count)
  self:sample(name .. "_sum", labels, values.sum + 0.0)
  self:sample(name .. "_count", labels, values.count)
end

-- A text to be written: family(name, kind, help), sample(name, labels, value), histogram(name, labels, values).
function metrics.text()
  return setmetatable({}, Text)
end

-- What is told of the policies that run.
function metrics.add_policies(text, version, refusals)
  text:family("mncni_policy_info", "gauge", "The policies that run: a hash of their text and options.")
  text:sample("mncni_policy_info", { "version", version }, 1)
  text:family("mncni_policy_refused_total", "counter", "Reloads that were refused.")
  text:sample("mncni_policy_refused_total", {}, refusals)
end

-- What is told of a watch: see mncni.kube.
function metrics.add_watch(text, watch)
  text:family("mncni_watch_restarts_total", "counter", "Watches that were begun anew.")
  text:sample("mncni_watch_restarts_total", {}, watch.restarts)
  text:family("mncni_watch_failures_total", "counter", "Lists and watches that failed.")
  text:sample("mncni_watch_failures_total", {}, watch.failures)
  text:family("mncni_watch_lists_total", "counter", "Complete lists that were read.")
  text:sample("mncni_watch_lists_total", {}, watch.lists)
end

-- The text of /metrics. facts: counts (mncni.reconcile's counts()), nodes, malformed, policy_version, policy_errors,
-- ready, watch (with restarts, failures, lists) or nil, addresses (list of { cidr, reserved, free }).
function Metrics:text(facts)
  local text = metrics.text()
  text:family("mncni_build_info", "gauge", "The version that runs.")
  text:sample("mncni_build_info", { "version", core.version }, 1)
  text:family("mncni_nodes", "gauge", "Nodes of the cluster that are known, this one included.")
  text:sample("mncni_nodes", {}, facts.nodes)
  text:family("mncni_nodes_malformed", "gauge", "Nodes left out because they cannot be understood.")
  text:sample("mncni_nodes_malformed", {}, facts.malformed)
  text:family("mncni_ready", "gauge", "Whether all that pods need stands.")
  text:sample("mncni_ready", {}, facts.ready and 1 or 0)
  local families = {
    { "wanted", "mncni_objects_desired", "gauge", "Objects that policies want." },
    { "present", "mncni_objects_present", "gauge", "Of them, those that are there." },
    { "changed", "mncni_changes_total", "counter", "Changes applied." },
    { "failed", "mncni_failures_total", "counter", "Changes that were refused, and objects that are blocked." },
  }
  local kinds = require("mncni.keys")(facts.counts)
  for _, family in ipairs(families) do
    text:family(family[2], family[3], family[4])
    for _, kind in ipairs(kinds) do
      text:sample(family[2], { "kind", kind }, facts.counts[kind][family[1]])
    end
  end
  text:family("mncni_event_to_kernel_seconds", "histogram", "From when an event was received to when it was applied.")
  text:histogram("mncni_event_to_kernel_seconds", {}, self.latency)
  metrics.add_policies(text, facts.policy_version, facts.policy_errors)
  if facts.watch then
    metrics.add_watch(text, facts.watch)
  end
  text:family("mncni_cni_errors_total", "counter", "Calls of the plugin on this node that failed.")
  local verbs = require("mncni.keys")(self.calls)
  for _, verb in ipairs(verbs) do
    text:sample("mncni_cni_errors_total", { "verb", verb }, self.calls[verb].errors)
  end
  text:family("mncni_cni_duration_seconds", "histogram", "Calls of the plugin on this node.")
  for _, verb in ipairs(verbs) do
    text:histogram("mncni_cni_duration_seconds", { "verb", verb }, self.calls[verb].duration)
  end
  text:family("mncni_addresses", "gauge", "Addresses of this node's ranges.")
  for _, range in ipairs(facts.addresses) do
    text:sample("mncni_addresses", { "cidr", range.cidr, "state", "reserved" }, range.reserved)
    text:sample("mncni_addresses", { "cidr", range.cidr, "state", "free" }, range.free)
  end
  text[#text + 1] = ""
  return table.concat(text, "\n")
end

return metrics
