-- SPDX-License-Identifier: Apache-2.0
-- The port of an agent, for /healthz, /readyz and /metrics. open(agent, before) opens agent.conf.metrics as agent.server,
-- unless that is done, or before, which the state before this one listens on, is the same: that port is free once that
-- state is closed. So it is called at the start and, without before, in every turn. Raises that another program has it.

return {
  open = function(agent, before)
    local conf = agent.conf
    if conf.metrics and not agent.server and not (conf.once or conf.dry_run)
        and not require("mncni.same")(conf.metrics, before) then
      agent.server = require("mncni.httpd").listen(conf.metrics)
    end
  end,
}
