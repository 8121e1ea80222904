-- SPDX-License-Identifier: Apache-2.0
-- cniconfig: the node's CNI configuration, with the plugin and the user's policies that it needs. A policy of the agent.
-- The configuration makes the node Ready: it comes last, once the node has a range for pods and its routes stand. It
-- is rewritten when they change, and stays when the agent stops. Other configurations in its directory are left alone;
-- the runtime takes the first by name.

local mncni = require "mncni"
local conflist = mncni.conflist

local policy = {}

local VERSIONS = { "0.4.0", "1.0.0", "1.1.0" }

policy.options = {
  path = { type = "string", default = "/etc/cni/net.d/10-mncni.conflist", doc = "the configuration list" },
  name = { type = "string", default = "kubenet", doc = "the network's name: kubenet's, to keep its pods' addresses" },
  cni_version = { type = "string", choices = VERSIONS, default = "1.0.0", doc = "what every runtime is told" },
  cni_versions = {
    type = "list", of = { type = "string", choices = VERSIONS },
    auto = function(conf) return (conf.portmap or conf.bandwidth) and {} or VERSIONS end,
    doc = "what runtimes of CNI 1.1 may choose from; none unless all plugins of the list are mncni's",
  },
  type = { type = "string", default = "mncni", doc = "name of the plugin's binary" },
  policy = { type = "string", default = "naivebridge", doc = "which policy wires pods, where type is mncni" },
  plugin = { type = "table", default = {}, doc = "more keys for the plugin, such as hairpinMode" },
  mtu = { type = "integer", min = 576, max = 65535, doc = "of pods; computed from the ways between nodes unless set" },
  ip_masq = { type = "boolean", doc = "the plugin masquerades; unless set, it does where no policy of the agent does" },
  portmap = { type = "boolean", default = true, doc = "host ports, by the plugin portmap" },
  bandwidth = { type = "boolean", default = false, doc = "traffic shaping, by the plugin bandwidth" },
  install = { type = "string", doc = "a directory of plugins (make portable), to be installed; none unless set" },
  bin_dir = { type = "string", default = "/opt/cni/bin", doc = "where to" },
  policy_dir = { type = "string", default = "/etc/mncni/policies", doc = "where the user's policies are installed" },
}

-- The last line of the policies that are installed: only what has it is ever removed.
local MARK = "-- from the cluster, by mncni-agent, which replaces and removes it\n"

local function mode(digits)
  return tonumber(digits, 8)
end

function policy.desired(world, conf)
  local files = {}
  if conf.install then
    table.insert(files, { path = conf.bin_dir, tree = conf.install })
    if conf.type ~= "mncni" then
      table.insert(files, { path = conf.bin_dir .. "/" .. conf.type, link = "mncni" })
    end
  end
  local installed = {}
  for name, text in pairs(world.policies or {}) do
    local path = ("%s/%s.lua"):format(conf.policy_dir, name)
    table.insert(files, { path = path, content = text .. "\n" .. MARK, mode = mode "644" })
    installed[path] = true
  end
  table.sort(files, function(a, b) return a.path < b.path end)
  if world.policies then
    table.insert(files, { path = conf.policy_dir, mark = MARK, only = installed })
  end
  if #world.node.pod_cidrs == 0 or not (world.ready or {}).ok then
    return { files = files }
  end

  local plugin = {
    type = conf.type, policy = conf.type == "mncni" and conf.policy or nil, mtu = conf.mtu or conflist.mtu(world),
    ipMasq = conf.ip_masq, ipam = conflist.ipam(world.node.pod_cidrs),
  }
  if plugin.ipMasq == nil then
    plugin.ipMasq = not conflist.is_masqueraded(world)
  end
  for key, value in pairs(conf.plugin) do
    plugin[key] = value
  end
  table.insert(files, { path = conf.path, mode = mode "644", content = conflist.text {
    version = conf.cni_version, versions = conf.cni_versions, name = conf.name, plugin = plugin,
    portmap = conf.portmap, bandwidth = conf.bandwidth,
  } })
  return { files = files }
end

return policy
