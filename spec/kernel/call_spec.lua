-- SPDX-License-Identifier: Apache-2.0
-- What a call hands on: to the plugins that it runs, and to its record.

local nodes = require "spec.support.node"
local record = require "mncni.record"
local spaces = require "spec.support.netns"

local TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

describe("a call", function()
  local node

  before_each(function()
    node = nodes.new { pods = { "web" } }
  end)

  after_each(function()
    node:cleanup()
  end)

  it("gives a delegate the runtime's arguments as they are, and its own trace", function()
    local helper = node.scratch .. "/bin/helper"
    do
      local file <close> = assert(io.open(helper, "w"))
      file:write [[#!/bin/sh
        echo "$CNI_COMMAND $CNI_ARGS $TRACEPARENT" >>"${0%/*}/../asked"
        [ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.1.0"}']]
    end
    spaces.must("chmod +x %s", helper)
    node:policy("both", [[
      return { add = function(pod)
        pod:delegate "helper"
        return pod:result {}
      end }]])
    local args = "IgnoreUnknown=1;K8S_POD_NAME=web;ANY=thing"
    node.env.CNI_ARGS, node.env.TRACEPARENT = args, TRACE
    node:must("ADD", { policy = "both", conf = { ipam = false } })
    node.env.CNI_ARGS, node.env.TRACEPARENT = "IgnoreUnknown=1", nil
    node:must("DEL", { policy = "both", conf = { ipam = false } })
    local asked <close> = assert(io.open(node.scratch .. "/asked"))
    assert.are.equal(("ADD %s %s\nDEL %s \n"):format(args, TRACE, args), asked:read "a")
  end)

  it("records the warnings of its policy", function()
    node:policy("careful", [[
      return { add = function(pod)
        pod:warn "the moon is full"
        pod:warn(("z"):rep(10000))
        return pod:result {}
      end }]])
    local outcome = node:call("ADD", { policy = "careful", conf = { ipam = false } })
    assert.truthy(outcome.stderr:find("mncni: the moon is full\n", 1, true), outcome.stderr)
    local call = record.list(node.state)[1]
    assert.are.equal(0, call.code)
    assert.matches("^the moon is full; zzzz", call.message)
  end)
end)
