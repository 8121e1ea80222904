-- SPDX-License-Identifier: Apache-2.0
-- Lists objects of the API and follows them: what client-go calls a reflector, as a state machine that client:step()
-- drives. Handlers and arguments: mncni.kube. Source of the rules: "Efficient detection of changes" in
-- https://kubernetes.io/docs/reference/using-api/api-concepts/
--
-- States: "wait" (until `at`; then a list if `next` says which, else a watch), "list", "watch", "closed".
-- Lists (`next`): "consistent", page by page, is the first; "unpaged" the same in one piece, when a page came too late;
-- "last" is not older than what is known, and serves a watch that fell behind: the server answers it from memory.
--
-- Failures are of two sorts, each with its own back-off from 0.8 s on. Those that cost a server next to nothing (it is not
-- there, is silent, has nothing in its list, or a proxy says so) double up to 4 s, so that one that returns is found soon;
-- "dear" ones, where it answers at length or in vain, up to 30 s. A wait is a random part, at least half, of that. Both
-- start anew with the other sort and with a watch that has lasted 10 s.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local raised = require "mncni.raised"
local json = core.json

local kube_watch = {}

local FIRST, MOST = 800, { cheap = 4000, dear = 30000 } -- ms of back-off
local WELL = 1000 -- ms after which a watch that goes on has begun, if no event says so before
local SETTLED = 10000 -- ms after which a watch is a good one, and a list an old one
-- A server that has just come back refuses everybody (403) until it knows its rules.
local cheap = { [403] = true, [502] = true, [503] = true }
local SILENCE = 60000 -- ms without a byte: of a list, of the head of an answer; of a watch beyond its own end
local BOOKMARKS = 180000 -- ms of silence of a watch whose server sends bookmarks, about one a minute
local CREDENTIALS = 1000 -- ms between looks for new credentials, while the old ones are refused
local DOCUMENT = 4 << 20 -- bytes of one object
-- What a request's error is called when an answer came that is none.
local CONTENT = { JSON = true, SIZE = true, ENCODING = true, HTTP = true }

-- What is needed here of an object, of a Status in its place, and of the head of a list.
local OBJECT = { name = true, namespace = true, uid = true, resourceVersion = true }
local STATUS = { code = true, reason = true, message = true }
local HEAD = { kind = true, metadata = { resourceVersion = true, continue = true } }

local Watch = {}
Watch.__index = Watch
Watch.__name = "mncni.kube.watch"

-- A copy of what to keep, with more kept.
local function with(keep, more)
  local all = {}
  for _, from in ipairs { keep, more } do
    for key, value in pairs(from) do
      all[key] = type(all[key]) == "table" and type(value) == "table" and with(all[key], value) or all[key] or value
    end
  end
  return all
end

local known = {
  "path", "selector", "field_selector", "keep", "page", "protobuf", "resource_version", "ignore_version", "handler",
}
local handlers = { "synced", "changed", "deleted", "failed", "well", "convert" }

function kube_watch.new(client, args)
  arguments.check("client:watch", args, known)
  arguments.check("handler of client:watch", args.handler, handlers)
  for _, name in ipairs { "synced", "changed", "deleted" } do
    if type(args.handler[name]) ~= "function" then
      error(core.error { op = "client:watch", message = ("handler.%s: expected a function"):format(name) }, 0)
    end
  end
  local keep = args.keep and with(args.keep, { metadata = OBJECT })
  return setmetatable({
    client = client, path = args.path, handler = args.handler, keep = keep, page = args.page or 500,
    protobuf = args.protobuf,
    keep_event = keep and { type = true, object = with(keep, STATUS) },
    selectors = { labelSelector = args.selector, fieldSelector = args.field_selector },
    ignore_version = keep and args.ignore_version,
    hashes = {}, uids = {}, -- uid -> hash of what is kept of the object, but for its resourceVersion; and the other way
    resource_version = args.resource_version, synced = args.resource_version ~= nil,
    next = args.resource_version == nil and "consistent" or nil,
    state = "wait", at = -math.huge, attempts = 0, lists = 0, restarts = 0, failures = 0, events = 0, streams = 0,
  }, Watch)
end

-- A failure: sort, message, and what else is known. What is done about it stands in retry.
local function failure(sort, message, fields)
  fields = fields or {}
  fields.sort, fields.message = sort, message
  return fields
end

function Watch:report(message, milliseconds)
  self.ill = self.request or true -- the request with which something is wrong
  if self.handler.failed then
    local ok, problem = raised.catch(self.handler.failed, message, milliseconds)
    if not ok then
      self.client:report(("failed of %s: %s"):format(self.path, tostring(problem)))
    end
  end
end

-- Says that what was reported is over: a list was taken, or a watch is under way.
function Watch:recover()
  self.ill = false
  if self.handler.well then
    self:handle "well"
  end
end

-- When a watch is under way after one that was reported to have failed; never, when all is well.
function Watch:recovered()
  local status = self.request.status
  local another = self.ill and self.ill ~= self.request and self.state == "watch"
  return another and status and status >= 200 and status < 300
    and (self.documents > 0 and self.began or self.began + WELL) or math.huge
end

-- Calls a handler; returns whether it did not raise, and what it returned.
function Watch:handle(name, ...)
  local ok, result, why = raised.catch(self.handler[name], ...)
  if not ok then
    self:report(("%s of %s: %s"):format(name, self.path, tostring(result)))
  end
  return ok, result, why
end

-- Returns whether an object could be converted, and what is kept in its place, nil to leave it out.
function Watch:convert(object)
  if not self.handler.convert then
    return true, object
  end
  return self:handle("convert", object)
end

-- A document as a table. JSON may have zero characters in texts (an annotation, say), which Lua's decoder refuses.
local function decode(text)
  local ok, value = pcall(json.decode, text)
  if not ok then
    ok, value = pcall(json.decode, (text:gsub("\\u0000", "\\ufffd")))
  end
  if ok and type(value) == "table" then
    return value
  end
  return nil, ok and "it is no object" or tostring(value)
end

-- A member of a member of a table, nil when there is no such table.
local function member(object, outer, inner)
  local value = object[outer]
  return type(value) == "table" and value[inner] or nil
end

local function version_of(object)
  local version = member(object, "metadata", "resourceVersion")
  return type(version) == "string" and version ~= "" and version or nil
end

function Watch:open(now, state, query, pick)
  for key, value in pairs(self.selectors) do
    query[key] = value
  end
  self.state, self.began, self.heard, self.bytes, self.head = state, now, now, 0, nil
  self.documents, self.bookmarks = 0, false
  self.request = nil
  local ok, request, sent = pcall(self.client.open, self.client, {
    path = self.path, query = query, pick = core.picker(pick), protobuf = self.protobuf,
  })
  if not ok then
    return failure("dear", tostring(request))
  end
  self.request, self.sent = request, sent
end

function Watch:list_page(now, continue)
  local query = { continue = continue }
  if self.next == "last" then
    query.resourceVersion = self.resource_version
  elseif self.next == "consistent" and self.page > 0 then
    query.limit = self.page
  end
  self.continued = continue ~= nil
  return self:open(now, "list", query, {
    items = { "items", each = true }, keep = self.keep, also = HEAD, max = DOCUMENT,
  })
end

function Watch:follow(now)
  self.streams = self.streams + 1
  self.restarts = self.streams - 1
  self.seconds = 300 + math.floor(self.client.random() * 300)
  return self:open(now, "watch", {
    watch = "1", resourceVersion = self.resource_version, allowWatchBookmarks = "true", timeoutSeconds = self.seconds,
  }, { keep = self.keep_event, max = DOCUMENT })
end

function Watch:start(now)
  if not self.next then
    return self:follow(now)
  end
  self.lists = self.lists + 1
  self.objects, self.version, self.list_began = {}, nil, now
  self.hashes, self.uids = {}, {}
  return self:list_page(now)
end

-- What a watch or list is too old for. Which list comes next, and a failure if one has just been.
function Watch:expired(now)
  local again = self.attempts > 0
  if self.state == "watch" then
    again = again or now - (self.list_began or -math.huge) < SETTLED
    self.next = "last"
  else
    again = again or self.next ~= "last" and not self.continued
    self.next = self.continued and "unpaged" or "consistent"
  end
  local message = "its resourceVersion has expired (410); listing again"
  if again then
    return failure("dear", message)
  end
  self:report(("%s: %s"):format(self:where(), message), 0)
  self.request:close()
  return self:start(now)
end

-- A refusal, by the HTTP status or in the stream, with the Status that says why.
function Watch:refused(now, status, status_object)
  if status == 410 then
    return self:expired(now)
  elseif self.next ~= "unpaged" and (status == 504 and self.next == "last" or status == 400 or status == 422) then
    self.next = "consistent" -- a server that has not come as far, or never will: it was restored from a backup
  end
  local retry = self.client:retry_after(self.request)
  return failure(not retry and cheap[status] and "cheap" or "dear", self.client:refusal(status, status_object), {
    credentials = status == 401 or status == 403, retry = retry,
  })
end

-- The hash of an object's text without its resourceVersion, and that version. The text is that of an object of a list, or
-- of an event with one in it. In its place another text may be left out that looks like it (a label of that name); then the
-- version itself is in the hash, which no other text has again.
local function hash_of(text)
  local from, to = text:match '^{"type":"%u+","object":(){.*()}}$'
  local first, last, version = text:find('"resourceVersion":"(%d+)"', from or 1)
  if first then
    return core.journal.hash(text:sub(from or 1, first - 1)) .. core.journal.hash(text:sub(last + 1, to or -1)), version
  end
end

-- Notes what an object is like, to know it again.
function Watch:remember(object, text)
  local uid = self.ignore_version and text and member(object, "metadata", "uid")
  local hash = uid and hash_of(text)
  if uid and self.hashes[uid] ~= hash then
    self:forget(object)
    self.hashes[uid], self.uids[hash] = hash, uid
  end
end

function Watch:forget(object)
  local uid = member(object, "metadata", "uid")
  local hash = uid and self.hashes[uid]
  if hash then
    self.hashes[uid], self.uids[hash] = nil, nil
  end
end

-- Whether an event says of an object what is known already, and is over and done with: most of those of Nodes do.
function Watch:knows(text)
  if not self.ignore_version or self.state ~= "watch" or not text:find '^{"type":"MODIFIED"' then
    return false
  end
  local hash, version = hash_of(text)
  if not hash or not self.uids[hash] then
    return false
  end
  self.documents, self.events, self.resource_version = self.documents + 1, self.events + 1, version
  return true
end

-- A document of a list: an object, or the head, which comes last.
function Watch:listed(value, text)
  if value.list and not value.metadata then
    self.head = value.list
  elseif not member(value, "metadata", "name") then
    return failure("dear", "an object of the list has no name")
  else
    local ok, kept = self:convert(value)
    if not ok then -- without it the list is not complete
      return failure("dear", "an object of the list was not taken")
    end
    self.objects[#self.objects + 1] = kept
    self:remember(value, text)
  end
end

-- A document of a watch.
function Watch:event(now, value, text)
  local object = value.object
  if type(object) ~= "table" or type(value.type) ~= "string" then
    return failure("dear", "what came is no event of a watch")
  elseif value.type == "ERROR" then
    local code = math.tointeger(object.code) or 500
    local wrong = self:refused(now, code, object)
    self.next = self.next or "last"
    return wrong
  end
  local version = version_of(object)
  if not version then
    return failure("dear", "an event has no resourceVersion")
  end
  self.documents = self.documents + 1
  if value.type == "BOOKMARK" then
    self.bookmarks = true
  elseif value.type == "ADDED" or value.type == "MODIFIED" or value.type == "DELETED" then
    self.events = self.events + 1
    self:forget(object)
    if value.type == "DELETED" then
      self:handle("deleted", object)
    else
      local ok, kept = self:convert(object)
      if ok and kept ~= nil then
        ok = self:handle("changed", kept)
      end
      self:remember(object, ok and text)
    end
  end
  self.resource_version = version
end

-- Takes what came. Returns a failure, or nil.
function Watch:read(now)
  local request = self.request
  if request.bytes ~= self.bytes then
    self.bytes, self.heard = request.bytes, now
  end
  for _, text in ipairs((request:take())) do
    local value, problem, wrong
    if not self:knows(text) then
      value, problem = decode(text)
      if not value then
        wrong = failure("dear", "what came is not understood: " .. problem)
      elseif self.state == "list" then
        wrong = self:listed(value, text)
      else
        wrong = self:event(now, value, text)
      end
    end
    if wrong or self.request ~= request or self.state == "closed" then
      return wrong
    end
  end
end

-- The list or page is here.
function Watch:list_ended(now)
  local head = self.head
  local version = head and version_of(head)
  if not version or type(head.kind) ~= "string" or not head.kind:find "List$" then
    return failure("dear", "what came is no list of the API")
  elseif self.version and self.version ~= version then
    self.next = "unpaged"
    return failure("dear", "the pages of the list are of different times")
  end
  self.version = version
  local continue = member(head, "metadata", "continue")
  if type(continue) == "string" and continue ~= "" then
    self.request:close()
    return self:list_page(now, continue)
  end
  local objects, count = self.objects, #self.objects
  self.objects = nil
  local ok, believed, why = self:handle("synced", objects)
  if self.state == "closed" then
    return nil
  elseif not ok or believed == false then
    self.next = "consistent"
    return failure(count == 0 and "cheap" or "dear", not ok and "the list was not taken"
      or ("the list is not believed: %s"):format(why or "no reason given"))
  end
  self.resource_version, self.synced, self.next = version, true, nil
  if self.ill then
    self:recover()
  end
  self.request:close()
  return self:follow(now)
end

-- The stream of a watch is over, which is nothing out of the ordinary.
function Watch:watch_ended(now, err)
  local lasted = now - self.began
  if err and lasted < SETTLED or lasted < 1000 and self.documents == 0 then
    return failure("cheap", err and err.message
      or ("the watch ended after %.1f s without an event"):format(lasted / 1000))
  elseif lasted < SETTLED then
    return failure("cheap", ("the watch ended after %.1f s"):format(lasted / 1000))
  elseif not err and self.documents == 0 and lasted >= self.seconds * 500 then
    -- Not even a bookmark: the server may count from somewhere else than this does.
    self.next = "last"
  end
  -- Not all at once, where many have lost the same server.
  self.request:close()
  self.state, self.at = "wait", now + (err and self.client.random() * 500 or 0)
end

-- The request is over.
function Watch:ended(now)
  local request = self.request
  local err, status = request.error, request.status
  if status and (status < 200 or status >= 300) then
    return self:refused(now, status, (decode(request:body())))
  elseif err and CONTENT[err.name] then
    return failure("dear", err.message or tostring(err))
  elseif self.state == "watch" and status then
    return self:watch_ended(now, err)
  elseif err then
    return failure("cheap", err.message or tostring(err), { credentials = err.name == "TLS" })
  end
  return self:list_ended(now)
end

-- When the request will have been silent for too long.
function Watch:patience()
  if self.state == "list" or not self.request.status then
    return self.heard + SILENCE
  elseif self.bookmarks then
    return math.min(self.heard + BOOKMARKS, self.began + self.seconds * 1000 + SILENCE)
  end
  return self.began + self.seconds * 1000 + SILENCE
end

function Watch:where()
  return ("%s of %s%s"):format(self.state, self.client.endpoint.server, self.path)
end

function Watch:retry(now, wrong)
  if self.request then
    self.request:close()
  end
  self.objects = nil
  if wrong.sort ~= self.sort then
    self.attempts = 0
  end
  self.sort, self.failures = wrong.sort, self.failures + 1
  local most = math.min(MOST[wrong.sort], FIRST * 2.0 ^ math.min(self.attempts, 16))
  self.attempts = self.attempts + 1
  local wait = most * (0.5 + 0.5 * self.client.random())
  if wrong.retry and wrong.retry > wait then
    wait = wrong.retry * (1 + 0.2 * self.client.random())
  end
  wait = math.ceil(wait)
  local where = self:where()
  self.state, self.at = "wait", now + wait
  self.looking = wrong.credentials and now - CREDENTIALS or nil
  self:report(("%s: %s"):format(where, wrong.message), wait)
end

-- Whether the wait is over. While credentials are refused, new ones are a reason not to wait any longer.
function Watch:rested(now)
  if self.looking and now >= self.looking + CREDENTIALS then
    self.looking = now
    if self.client.credentials:refresh(self.sent) then
      self.at = now
    end
  end
  return now >= self.at
end

-- When there is something to do, whatever comes.
function Watch:due()
  if self.state ~= "wait" then
    return math.min(self:patience(), self:recovered())
  end
  return math.min(self.at, self.looking and self.looking + CREDENTIALS or math.huge)
end

-- Does what there is to do; returns the ms until there is more.
function Watch:step(now)
  local wrong
  if self.state == "wait" then
    if not self:rested(now) then
      return self:due() - now
    end
    wrong = self:start(now)
  end
  if not wrong and self.state ~= "closed" then
    local request = self.request
    wrong = self:read(now)
    if self.state == "watch" and now - self.began >= SETTLED then
      self.attempts = 0
    end
    if not wrong and self.request == request and self.state ~= "closed" then
      if request.done then
        wrong = self:ended(now)
      elseif now >= self:patience() then
        wrong = failure("cheap", ("nothing was heard for %d s"):format((now - self.heard) // 1000))
      elseif now >= self:recovered() then
        self:recover()
      end
    end
  end
  if self.state == "closed" then
    return math.huge
  elseif wrong then
    self:retry(now, wrong)
  end
  return math.max(0, self:due() - now)
end

-- Ends it without a word to the handlers.
function Watch:close()
  self.state = "closed"
  if self.request then
    self.request:close()
  end
end
Watch.__close = Watch.close

return kube_watch
