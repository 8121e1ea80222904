-- A policy of the node agent: nodes labelled example.com/storage=fast reach the storage network by routing table 100.
local policy = {}

function policy.desired(world)
  local fast = world.node.labels["example.com/storage"] == "fast"
  return { rules = { fast and { dst = "198.51.100.0/24", table = 100, priority = 1000 } or nil } }
end

return policy
