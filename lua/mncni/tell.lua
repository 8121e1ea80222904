-- SPDX-License-Identifier: Apache-2.0
-- What the plugin tells a trace that listens, when a call has ended: what it was given and has answered, and the requests
-- that the kernel refused, which no notification tells of.

local core = require "mncni.core"
local text = require "mncni.text"

local tell = {}

local MAX_CONFIG = 64 << 10

local function valid(value)
  return type(value) == "string" and text.valid(value) or nil
end

local function requests()
  local list = {}
  for i, err in ipairs(core.tell.refusals()) do
    list[i] = {
      op = valid(err.op), object = valid(err.object), netns = valid(err.netns), errno = err.errno, name = err.name,
      message = valid(err.message), extack = valid(err.extack), attribute = err.attribute, file = err.file,
      line = err.line,
    }
  end
  return #list > 0 and core.json.array(list) or nil
end

-- send(listener, call, err, answer, duration): err and answer as the runtime gets them, duration in microseconds.
function tell.send(listener, call, err, answer, duration)
  return core.tell.send(listener, core.json.encode {
    format = 1, verb = call.command, policy = call.policy, called = call.called, network = call.network,
    container = call.container, ifname = call.ifname, netns = call.netns, args = valid(call.args_text),
    ignored = #call.ignored > 0 and core.json.array(call.ignored) or nil,
    config = valid((call.text or ""):sub(1, MAX_CONFIG)), answer = answer, duration = duration,
    code = err and err.code or 0, message = err and err.msg,
    details = err and err.details, requests = requests(),
  })
end

return tell
