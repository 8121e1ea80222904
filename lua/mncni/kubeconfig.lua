-- SPDX-License-Identifier: Apache-2.0
-- Where the API server is and how to speak to it: from a kubeconfig file, or from what a pod finds in its container.
--
-- kubeconfig.endpoint(conf) returns
--   { server = "https://10.0.0.1:6443" (without a slash at the end), from = the file or directory, for messages,
--     ca, cert, key, token = each nil, { text = } or { file = path, what = its key }, insecure, server_name, proxy }
-- Files are named, not read: mncni.kube_auth does that again and again. Programs that fetch credentials (exec) are not
-- run, because they may take seconds in which nothing else would happen: a user that has one is refused.
-- Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ and "Accessing the API from within a pod".

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local base64 = require("mncni.text").base64
local json = core.json

local kubeconfig = {}

local MAX_BYTES = 1 << 20
local SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

local function fail(message, ...)
  error(core.error { code = 7, message = message:format(...) }, 0)
end

-- Reads a file whole. Raises when it cannot be read, naming what it was to hold.
function kubeconfig.read(path, what)
  local ok, text = pcall(core.file.read, path, MAX_BYTES)
  if not ok then
    fail("%s: %s", what, text)
  end
  return text
end

-- A file in progress: its path, and how to take values out of it with complaints that say where.
local File = {}
File.__index = File

function File:fail(where, message, ...)
  fail("%s: %s: %s", self.path, where, message:format(...))
end

-- A member of a table that is to have a type; nil when it is missing, null or empty.
function File:get(object, key, where, wanted)
  local value = object[key]
  if value == nil or value == json.null or value == "" then
    return nil
  elseif type(value) ~= wanted or wanted == "table" and json.is_array(value) then
    local what = { string = "a text (numbers need quotes)", boolean = "true or false", table = "a map" }
    self:fail(where .. "." .. key, "expected %s", what[wanted])
  end
  return value
end

-- The element of that name in a list of { name =, [member] = {} }, and how it is spoken of.
function File:named(list, member, name, wanted_by)
  local elements, names = self.config[list], {}
  if elements ~= nil and elements ~= json.null and not json.is_array(elements) then
    self:fail(list, "expected a list")
  end
  for i, element in ipairs(json.is_array(elements) and elements or {}) do
    if type(element) ~= "table" or type(element.name) ~= "string" then
      self:fail(("%s[%d]"):format(list, i), "expected a map with a name")
    elseif element.name == name then
      local where = ("%s \"%s\""):format(member, name)
      return self:get(element, member, where, "table") or {}, where
    end
    names[#names + 1] = element.name
  end
  self:fail(wanted_by, "there is no %s \"%s\" in %s; there %s", member, name, list,
    #names > 0 and "are " .. table.concat(names, ", ") or "are none")
end

-- Where a text of PEM comes from: the key that names a file, or the one with the text itself in base64, which wins.
function File:pem(object, key, where)
  local data, path = self:get(object, key .. "-data", where, "string"), self:get(object, key, where, "string")
  if data then
    local text = base64(data) or self:fail(where .. "." .. key .. "-data", "expected base64")
    if not text:find("-----BEGIN ", 1, true) then
      self:fail(where .. "." .. key .. "-data", "expected PEM in base64")
    end
    return { text = text }
  end
  return path and { file = self:relative(path), what = ("%s: %s.%s"):format(self.path, where, key) }
end

-- A path in a kubeconfig counts from the directory of the file.
function File:relative(path)
  return path:find "^/" and path or (self.path:match "^(.*/)" or "") .. path
end

-- What a user may say that is not understood here, and what to do.
local unsupported = {
  exec = "credential programs (exec) are not run by the agent", ["auth-provider"] = "auth-provider is not supported",
  username = "basic authentication is not supported, by API servers either", as = "impersonation is not supported",
}

function File:user(endpoint, name, wanted_by)
  local user, where = self:named("users", "user", name, wanted_by)
  for key, why in pairs(unsupported) do
    if user[key] ~= nil and user[key] ~= json.null then
      self:fail(where .. "." .. key, "%s; give it a token, a tokenFile or a client certificate, or run in the cluster",
        why)
    end
  end
  endpoint.cert, endpoint.key = self:pem(user, "client-certificate", where), self:pem(user, "client-key", where)
  if (endpoint.cert == nil) ~= (endpoint.key == nil) then
    self:fail(where, "client-certificate and client-key belong together; one of them is missing")
  end
  local token, path = self:get(user, "token", where, "string"), self:get(user, "tokenFile", where, "string")
  if path then -- as kubectl has it, a file wins
    endpoint.token = { file = self:relative(path), what = ("%s: %s.tokenFile"):format(self.path, where) }
  elseif token then
    endpoint.token = { text = token }
  end
end

-- Checks a server's URL and returns it without slashes at the end.
local function server_of(url, where)
  local host, rest = url:match "^https?://([^/]+)(.*)$"
  if not host or host:find "[@%s]" or rest:find "[?#%s]" then
    fail("%s: \"%s\" is no address of an API server; expected https://HOST:PORT", where, url)
  end
  return (url:gsub("/+$", ""))
end

-- The endpoint that a kubeconfig names.
function kubeconfig.load(path, context_name)
  local config = require("mncni.yaml").decode(kubeconfig.read(path, "kubeconfig"), path)
  if type(config) ~= "table" or json.is_array(config) then
    fail("%s: expected a kubeconfig, with clusters, users and contexts", path)
  end
  local file = setmetatable({ path = path, config = config }, File)
  local wanted_by = context_name and "context" or "current-context"
  local name = context_name or file:get(config, "current-context", "kubeconfig", "string")
    or file:fail("current-context", "missing; name a context")
  local context, where = file:named("contexts", "context", name, wanted_by)
  local endpoint = { from = path }

  local cluster, at = file:named("clusters", "cluster", file:get(context, "cluster", where, "string")
    or file:fail(where .. ".cluster", "missing"), where .. ".cluster")
  endpoint.server = server_of(file:get(cluster, "server", at, "string") or file:fail(at .. ".server", "missing"),
    ("%s: %s.server"):format(path, at))
  endpoint.ca = file:pem(cluster, "certificate-authority", at)
  endpoint.insecure = file:get(cluster, "insecure-skip-tls-verify", at, "boolean") or false
  endpoint.server_name = file:get(cluster, "tls-server-name", at, "string")
  endpoint.proxy = file:get(cluster, "proxy-url", at, "string")
  local user = file:get(context, "user", where, "string")
  if user then
    file:user(endpoint, user, where .. ".user")
  end
  return endpoint
end

-- The endpoint of a pod: its service account, and the Service of the API server from its environment.
function kubeconfig.in_cluster(getenv, directory)
  getenv, directory = getenv or os.getenv, directory or SERVICE_ACCOUNT
  local host, port = getenv "KUBERNETES_SERVICE_HOST", getenv "KUBERNETES_SERVICE_PORT"
  if (host or "") == "" or (port or "") == "" then
    fail "in_cluster: KUBERNETES_SERVICE_HOST and _PORT are not set, so this is no pod; give a kubeconfig"
  end
  local what = "the service account of the pod (automountServiceAccountToken?): "
  return {
    from = directory, server = server_of(("https://%s:%s"):format(host:find ":" and "[" .. host .. "]" or host, port),
      "KUBERNETES_SERVICE_HOST"),
    ca = { file = directory .. "/ca.crt", what = what .. "ca.crt" },
    token = { file = directory .. "/token", what = what .. "token" },
    insecure = false,
  }
end

local known = { "kubeconfig", "context", "server", "server_name", "in_cluster", "service_account", "getenv" }

-- conf: kubeconfig (path) and context, or in_cluster (the default where a pod's environment is there and no kubeconfig
-- is given); server and server_name override where the API server is and the name in its certificate. service_account
-- (directory) and getenv are for specs. Raises with code 7 what is wrong, where, and what to do.
function kubeconfig.endpoint(conf)
  arguments.check("kube", conf, known)
  local endpoint
  if conf.kubeconfig and conf.in_cluster then
    fail "kubeconfig and in_cluster exclude each other; leave one out"
  elseif conf.context and not conf.kubeconfig then
    fail "context: there is no kubeconfig that it could be in; give one"
  elseif conf.kubeconfig then
    endpoint = kubeconfig.load(conf.kubeconfig, conf.context)
  elseif conf.in_cluster == false then
    fail "kubeconfig: missing; give one, or do without in_cluster = false"
  else
    endpoint = kubeconfig.in_cluster(conf.getenv, conf.service_account)
  end
  if conf.server then
    endpoint.server = server_of(conf.server, "server")
  end
  endpoint.server_name = conf.server_name or endpoint.server_name
  if endpoint.server:find "^http:" and (endpoint.token or endpoint.cert) then
    fail("%s: credentials do not go over http; the server %s needs https", endpoint.from, endpoint.server)
  end
  return endpoint
end

return kubeconfig
