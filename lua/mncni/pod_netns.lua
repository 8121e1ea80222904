-- SPDX-License-Identifier: Apache-2.0
-- A pod of this node by what people call it: for mncni repl.

local core = require "mncni.core"
local mncni = require "mncni"

local pod_netns = {}

local function fail(name, message, ...)
  error(core.error { op = "open", object = ("pod %q"):format(name), code = 8, message = message:format(...) }, 0)
end

-- "default/web, container 0123456789ab"
local function describe(item)
  local pod = item.head and item.head.pod
  return (pod and pod .. ", container " or "container ") .. item.container:sub(1, 12)
end

local function is_meant(item, name)
  local pod = item.head and item.head.pod
  return pod == name or pod and pod:match "/(.*)$" == name or item.container:sub(1, #name) == name
end

-- open(name, state_dir): the net of the pod that is called so: by its Kubernetes name, NAMESPACE/NAME, or the first
-- characters of the container's id. Raises code 8 when there is none, or more than one.
function pod_netns.open(name, state_dir)
  if type(name) ~= "string" or name == "" then
    error(core.error {
      op = "open", object = "pod", code = 8, message = 'say which: pod "NAME", "NAMESPACE/NAME" or a container\'s id',
    }, 0)
  end
  local found, all, others = {}, {}, 0
  local look <close> = require("mncni.judge").look { state_dir = state_dir }
  for item in look:journals() do
    local path = item.container and item.head and item.head.netns
    if path and is_meant(item, name) then
      found[path] = item
    elseif path then
      others = others + 1
      all[#all + 1] = #all < 10 and describe(item) or nil
    end
  end
  local path, item = next(found)
  if not path and others == 0 then
    fail(name, "no pod of this node has a journal in %s (root may read it; MNCNI_STATE_DIR names another)", state_dir)
  elseif not path then
    table.sort(all)
    fail(name, "there is none; there are %s%s", table.concat(all, "; "), others > #all and "; and more" or "")
  elseif next(found, path) then
    fail(name, "there is more than one: %s; %s; say more of the name", describe(item),
      describe(select(2, next(found, path))))
  end
  return mncni.open(path)
end

return pod_netns
