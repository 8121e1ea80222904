-- SPDX-License-Identifier: Apache-2.0
-- Credentials of an endpoint (mncni.kubeconfig). Tokens and certificates on a node and in a pod are replaced while
-- programs run, so that the files are read again for every request, of which there are few. A file that is gone or
-- half written leaves the last good text in use. Connections follow: libcurl reuses none made with other certificates.

local core = require "mncni.core"
local kubeconfig = require "mncni.kubeconfig"

local kube_auth = {}

local Credentials = {}
Credentials.__index = Credentials

local function fail(message, ...)
  error(core.error { code = 7, message = message:format(...) }, 0)
end

local function check_pem(text, source)
  -- The end matters: a file in the middle of being written has none.
  if not text:find "%-%-%-%-%-BEGIN [^\n]+%-%-%-%-%-.*%-%-%-%-%-END [^\n]+%-%-%-%-%-" then
    fail("%s: %s is not PEM", source.what, source.file)
  end
  return text
end

local checks = { ca = check_pem, cert = check_pem, key = check_pem }

function checks.token(text, source)
  local token = text:match "^%s*([\x21-\x7E]+)%s*$"
  if not token then
    fail("%s: %s holds no token", source.what or "token", source.file or "it")
  end
  return token
end

local NAMES = { "ca", "cert", "key", "token" }

-- Makes the credentials and reads them for the first time; raises when a file cannot be read or holds something else.
function kube_auth.new(endpoint)
  local self = setmetatable({ endpoint = endpoint, now = {} }, Credentials)
  for _, name in ipairs(NAMES) do
    local source = endpoint[name]
    if source then
      self.now[name] = source.text and (name ~= "token" and source.text or checks.token(source.text, source))
        or checks[name](kubeconfig.read(source.file, source.what), source)
    end
  end
  return self
end

-- Reads the files again. Returns whether something is other than what a request went with (sent: what apply returned for
-- it; without it, no), and what is wrong with the files, nil when they are good. A certificate and its key are taken
-- together or not at all.
function Credentials:refresh(sent)
  local read, problem = {}, nil
  for _, name in ipairs(NAMES) do
    local source = self.endpoint[name]
    if source and source.file then
      local ok, text = pcall(kubeconfig.read, source.file, source.what)
      if ok then
        ok, text = pcall(checks[name], text, source)
      end
      if ok then
        read[name] = text
      else
        problem = tostring(text)
      end
    end
  end
  if self.endpoint.cert and self.endpoint.cert.file and not (read.cert and read.key) then
    read.cert, read.key = nil, nil
  end
  local changed = false
  for _, name in ipairs(NAMES) do
    self.now[name] = read[name] or self.now[name]
    changed = changed or sent ~= nil and self.now[name] ~= sent[name]
  end
  return changed, problem
end

-- Puts what is good now into the arguments of a request. Returns what that is, by name, and what is wrong with the files,
-- or nil.
function Credentials:apply(request)
  local _, problem = self:refresh()
  local now, endpoint, sent = self.now, self.endpoint, {}
  for _, name in ipairs(NAMES) do
    sent[name] = now[name]
  end
  if now.token then
    request.headers.Authorization = "Bearer " .. now.token
  end
  if endpoint.server:find "^https:" then
    request.ca, request.cert, request.key = now.ca, now.cert, now.key
    request.insecure = endpoint.insecure or nil
    request.server_name = endpoint.server_name
  end
  request.proxy = endpoint.proxy
  return sent, problem
end

return kube_auth
