-- A policy for `mncni-agent --controller`: nodes labelled example.com/pods=many get larger ranges, of a pool of their own.
local mncni = require "mncni"
local policy = {}

function policy.desired(world)
  local ranges = mncni.node_ranges.new(world, { rest = 60 })
  local few, many = ranges:pool("10.244.0.0/17", 24), ranges:pool("10.244.128.0/17", 22)
  for _, node in ipairs(ranges:waiting()) do
    ranges:give(node, { node.labels["example.com/pods"] == "many" and many or few })
  end
  return ranges:result()
end

return policy
