-- SPDX-License-Identifier: Apache-2.0
-- condition: tells Kubernetes that pods may be scheduled to the node, as the cloud's route controller does. A policy of
-- the agent. NetworkUnavailable=False is said once all routes stand, and never taken back: True keeps every new pod off
-- the node, and one peer that cannot be routed would do that to all nodes at once. The condition is written only
-- where it differs, for each write is an event for every agent.

local policy = {}

function policy.desired(world)
  if #world.node.pod_cidrs == 0 or not world.ready.ok then
    return {}
  end
  return { node = { conditions = {
    { type = "NetworkUnavailable", status = "False", reason = "MncniIsUp", message = "mncni-agent keeps the routes" },
  } } }
end

return policy
