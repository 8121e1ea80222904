-- SPDX-License-Identifier: Apache-2.0
-- Whether everything that a pod's traffic needs stands on a node, with the reasons if not: what policies see as
-- world.ready, /readyz answers and systemd shows.

local ready = {}

-- Reasons that are told.
local REASONS = 10

-- Kinds that concern the whole node: one that fails is enough. Of the rest something has to stand.
local node_wide = { links = true, addresses = true, nft = true, sysctls = true }

-- What is said before the first look; message as string.format takes it.
function ready.not_yet(message, ...)
  return { ok = false, reasons = { message:format(...) } }
end

-- judge(reconciler, unready) returns { ok, reasons }. unready: what the policies themselves say is missing.
function ready.judge(reconciler, unready)
  local reasons, failed = table.move(unready, 1, math.min(#unready, REASONS), 1, {}), {}
  local ok = #unready == 0
  for _, problem in ipairs(reconciler:problems()) do
    if problem.kind ~= "files" then
      failed[problem.kind] = (failed[problem.kind] or 0) + 1
      ok = ok and not node_wide[problem.kind]
      if #reasons < REASONS then
        reasons[#reasons + 1] = ("%s %s: %s"):format(problem.kind, problem.key, problem.message)
      end
    end
  end
  for kind, count in pairs(failed) do
    ok = ok and count < reconciler.keepers[kind]:wanted()
  end
  return { ok = ok, reasons = reasons }
end

return ready
