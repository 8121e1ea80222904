-- SPDX-License-Identifier: Apache-2.0
-- A client of the Kubernetes API for a loop of one's own: nothing here waits, and no thread runs.
--
--   local multi <close> = http.multi()
--   local client <close> = kube.client({ kubeconfig = "/etc/kubernetes/kubelet.conf" }, multi)
--   local watch = client:watch { path = "/api/v1/nodes", keep = { spec = { podCIDRs = true } }, handler = {
--     synced = function(nodes) ... end, changed = function(node) ... end, deleted = function(node) ... end } }
--   while true do
--     multi:poll({}, client:step(clock()))
--   end
--
-- All handlers run from client:step(). One that raises is reported to the watch's `failed`, and the loop goes on.
--
-- watch: lists, then follows, and lists again where that is needed (mncni.kube_watch).
--   path, selector (labels), field_selector, keep (members of an object to keep, as core.picker takes it; names, uid,
--   resourceVersion come by themselves; nil keeps all), page (objects asked for at once, 500; 0: all),
--   protobuf (of mncni.kube_proto: list and events may come so),
--   ignore_version (with keep: an event that differs from the last in the resourceVersion alone is passed over unread),
--   resource_version (follow from there on without a list: what is known is complete as of then), and handler:
--     synced(list)      a complete, consistent list. Everything that is not in it is gone. An object that was deleted
--                       while nothing was heard is reported by this and nothing else. When it returns false and a reason,
--                       or raises, the list is not believed: it is read again, after a while
--     changed(object)   an object is new, or is other than it was
--     deleted(object)   its last state, as it came
--     failed(message, retry_ms)  for the log: what is wrong, and in how many ms it is tried again (nil: not at all)
--     well()            once after failed: a list was taken, or the stream of changes goes on
--     convert(object)   if given, what synced and changed get in an object's place, nil to leave it out. Objects of a list
--                       are read, converted and forgotten one by one, so that a list of thousands costs what convert
--                       keeps of them
--   The watch has synced (whether a list was believed), resource_version, and counts: lists, restarts, failures, events.
--
-- request: any other call. Answers come as on_done(status, body, err): body is decoded JSON, err an error object with
-- name (the API's reason, or the transport's), status and retry_after (ms) unless all is well; status is nil when there
-- was no answer. A request that is refused as unknown (401) is sent once more if the token has changed.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local kube_auth = require "mncni.kube_auth"
local kube_event = require "mncni.kube_event"
local kube_watch = require "mncni.kube_watch"
local kubeconfig = require "mncni.kubeconfig"
local raised = require "mncni.raised"
local sorted_keys = require "mncni.keys"
local json = core.json

local kube = {}

local IDLE, CONNECT, ANSWER = 60000, 5000, 30000 -- ms
local PROTOBUF = "application/vnd.kubernetes.protobuf,application/json;q=0.9"

local Client = {}
Client.__index = Client
Client.__name = "mncni.kube.client"

local function escape(text)
  return (tostring(text):gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- Starts a request of mncni.http with what every request has, and returns it and the credentials that it was sent with;
-- raises what that raises.
function Client:open(args)
  local query = {}
  for _, key in ipairs(sorted_keys(args.query or {})) do
    query[#query + 1] = escape(key) .. "=" .. escape(args.query[key])
  end
  local request = {
    url = self.endpoint.server .. args.path .. (#query > 0 and "?" .. table.concat(query, "&") or ""),
    method = args.method or "GET", body = args.body, pick = args.pick, protobuf = args.protobuf,
    headers = {
      Accept = args.protobuf and PROTOBUF or "application/json", ["Content-Type"] = args.content_type,
      ["User-Agent"] = self.user_agent,
    },
    connect_timeout = CONNECT, timeout = args.timeout or 0,
  }
  local sent
  sent, self.problem = self.credentials:apply(request)
  return self.multi:request(request), sent
end

-- What a refusal says: "HTTP 403: nodes is forbidden: ...". status_object is the API's Status, when it sent one.
function Client:refusal(status, status_object)
  local words = type(status_object) == "table" and status_object or {}
  local message = type(words.message) == "string" and words.message ~= "" and words.message or words.reason
  local text = ("HTTP %d%s"):format(status, type(message) == "string" and ": " .. message or "")
  if status == 401 then
    local source = self.endpoint.token or self.endpoint.cert
    text = ("%s; are the credentials in %s still good?"):format(text, source and source.file or self.endpoint.from)
  elseif status == 403 then
    text = text .. "; do the RBAC rules allow it?"
  end
  return self.problem and ("%s (%s)"):format(text, self.problem) or text
end

-- The milliseconds that an answer asks to wait (RFC 9110, section 10.2.3; not the form with a date), or nil.
function Client.retry_after(_, request)
  local seconds = math.tointeger(tonumber(request.headers and request.headers["retry-after"]))
  return seconds and seconds >= 0 and math.min(seconds, 300) * 1000 or nil
end

-- A request in progress. Closing it ends it without an answer.
local Call = {}
Call.__index = Call

function Call:close()
  self.http:close()
  self.state = "closed"
end

local function send(client, call)
  local args = call.args
  call.http, call.sent = client:open {
    path = args.path, method = args.method, query = args.query, timeout = args.timeout or ANSWER, body = call.body,
    content_type = call.body and (args.content_type or "application/json"),
  }
end

-- client:request{ method, path, query, body = table, content_type, timeout (ms, 30000), on_done } sends a request; see
-- above. Returns something to close, which ends it without an answer.
function Client:request(args)
  arguments.check("client:request", args, {
    "method", "path", "query", "body", "content_type", "timeout", "on_done",
  })
  local call = setmetatable({ args = args, body = args.body and json.encode(args.body) }, Call)
  send(self, call)
  self.calls[#self.calls + 1] = call
  return call
end

-- What came of a call, for its on_done.
local function outcome(client, call)
  local http, args = call.http, call.args
  local what = ("%s %s"):format(args.method or "GET", args.path)
  if http.error then
    return nil, nil, core.error {
      name = http.error.name, message = ("%s: %s"):format(what, http.error.message or tostring(http.error)),
    }
  end
  local ok, body = pcall(json.decode, http:body())
  if http.status < 200 or http.status >= 300 then
    return http.status, ok and body or nil, core.error {
      name = ok and type(body) == "table" and type(body.reason) == "string" and body.reason or nil,
      status = http.status, retry_after = client:retry_after(http),
      message = ("%s: %s"):format(what, client:refusal(http.status, ok and body)),
    }
  elseif not ok then
    return http.status, nil, core.error { name = "JSON", message = ("%s: %s"):format(what, tostring(body)) }
  end
  return http.status, body, nil
end

-- Looks whether a call is over, and ends it.
local function finish(client, call)
  if call.state == "closed" or not call.http.done then
    return
  elseif call.http.status == 401 and not call.again and client.credentials:refresh(call.sent) then
    call.again = true
    call.http:close()
    send(client, call)
    return
  end
  local status, body, err = outcome(client, call)
  call:close()
  if call.args.on_done then
    local ok, problem = raised.catch(call.args.on_done, status, body, err)
    if not ok then
      client:report(("on_done of %s: %s"):format(call.args.path, tostring(problem)))
    end
  end
end

local function open_ones(list)
  local open = {}
  for _, one in ipairs(list) do
    if one.state ~= "closed" then
      open[#open + 1] = one
    end
  end
  return open
end

-- Tells of a handler that failed and has nobody of its own to be told to.
function Client:report(message)
  if self.on_error then
    pcall(self.on_error, message)
  else
    io.stderr:write("mncni: ", message, "\n")
  end
end

-- client:watch{ path, ... } begins to follow objects; see above.
function Client:watch(args)
  local watch = kube_watch.new(self, args)
  self.watches[#self.watches + 1] = watch
  return watch
end

-- Does what there is to do at a time (ms of a clock that does not jump), to be called after each multi:poll. Returns
-- how many ms later it wants to be called at the latest.
function Client:step(now)
  self.now = now
  local due = math.min(IDLE, self.events:step(now))
  -- Handlers may add to these lists and close what is in them.
  for i = 1, #self.calls do
    finish(self, self.calls[i])
  end
  local count = #self.watches
  for i = 1, count do
    due = math.min(due, self.watches[i]:step(now))
  end
  due = #self.watches > count and 0 or due
  self.calls, self.watches = open_ones(self.calls), open_ones(self.watches)
  return math.max(0, math.ceil(due))
end

-- client:event{ regarding, type, reason, message, action }: see mncni.kube_event.
function Client:event(args)
  local ok, problem = raised.catch(self.events.add, self.events, args)
  if not ok then
    self:report(tostring(problem))
  end
end

-- client:patch_node_condition{ node, type, status, reason, message, transition, on_done }: see mncni.kube_event.
function Client:patch_node_condition(args)
  return kube_event.patch_node_condition(self, args)
end

-- client:patch_annotations{ path, annotations, on_done }: see mncni.kube_event.
function Client:patch_annotations(args)
  return kube_event.patch_annotations(self, args)
end

-- Ends all that is in progress, without a word to the handlers.
function Client:close()
  for _, list in ipairs { self.watches, self.calls } do
    for _, one in ipairs(list) do
      one:close()
    end
  end
  self.watches, self.calls = {}, {}
end
Client.__close = Client.close

-- kube.client(conf, multi): conf as mncni.kubeconfig.endpoint takes it, and besides
--   component, instance  who reports events: "mncni-agent" by default, and the node's name
--   on_error(message)    told of a handler that raised and belongs to no watch; standard error by default
--   random               function() -> 0 to 1, math.random by default; for specs
-- Raises what is wrong with files and configuration.
function kube.client(conf, multi)
  local where, own = {}, { component = true, instance = true, on_error = true, random = true }
  for key, value in pairs(conf) do
    if not own[key] then
      where[key] = value
    end
  end
  local endpoint = kubeconfig.endpoint(where)
  local client = setmetatable({
    endpoint = endpoint, credentials = kube_auth.new(endpoint), multi = multi, calls = {}, watches = {}, now = 0,
    random = conf.random or math.random, on_error = conf.on_error,
    user_agent = ("mncni-agent/%s"):format(core.version),
  }, Client)
  client.events = kube_event.new(client, conf.component or "mncni-agent", conf.instance)
  return client
end

return kube
