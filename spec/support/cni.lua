-- SPDX-License-Identifier: Apache-2.0
-- Runs a CNI plugin as a container runtime does: environment, stdin, exit status, and what is on stdout.

local core = require "mncni.core"
local lfs = require "lfs"

local cni = {}

local known = {
  bin = true, command = true, container = true, netns = true, ifname = true, args = true, path = true, stdin = true,
  env = true, unset = true, close_stdin = true, timeout = true,
}

-- The variables that exec sets, by the argument that tells them.
local variables = {
  command = "CNI_COMMAND", container = "CNI_CONTAINERID", netns = "CNI_NETNS", ifname = "CNI_IFNAME",
  args = "CNI_ARGS", path = "CNI_PATH",
}

-- exec{ bin = path, command =, container =, netns =, ifname =, args =, path =, stdin = text or table (a table is
-- encoded), env = { more variables }, unset = { names of variables to leave out }, close_stdin = true (there is no
-- descriptor 0), timeout = milliseconds }.
-- Returns { status = exit code or nil, signal =, timed_out =, stdout =, stderr =, json = stdout decoded, nil when it
-- is not exactly one JSON document }.
function cni.exec(args)
  for key in pairs(args) do
    assert(known[key], "cni.exec has no argument " .. key)
  end
  local env = { PATH = os.getenv "PATH" or "/usr/sbin:/usr/bin:/sbin:/bin" }
  for key, name in pairs(variables) do
    env[name] = args[key]
  end
  for name, value in pairs(args.env or {}) do
    env[name] = value
  end
  for _, name in ipairs(args.unset or {}) do
    env[name] = nil
  end
  local stdin = args.stdin
  if type(stdin) == "table" then
    stdin = core.json.encode(stdin)
  end
  local stderr = os.tmpname()
  local outcome = core.exec {
    argv = { "/bin/sh", "-c", args.close_stdin and 'exec "$0" 2>"$1" <&-' or 'exec "$0" 2>"$1"', args.bin, stderr },
    env = env, stdin = stdin or "", timeout = args.timeout or 60000, max_output = 1 << 24,
  }
  do
    local file <close> = assert(io.open(stderr, "rb"))
    outcome.stderr = file:read "a"
  end
  os.remove(stderr)
  local ok, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = ok and document or nil
  return outcome
end

-- Returns a function that is exec with these arguments wherever it is not given others; env is merged, and false
-- takes an argument away.
function cni.runner(defaults)
  return function(args)
    local merged = { env = {} }
    for key, value in pairs(defaults) do
      merged[key] = value
    end
    merged.env = {}
    for _, env in ipairs { defaults.env or {}, args.env or {} } do
      for name, value in pairs(env) do
        merged.env[name] = value or nil
      end
    end
    for key, value in pairs(args) do
      if key ~= "env" then
        merged[key] = value or nil
      end
    end
    return cni.exec(merged)
  end
end

-- The names that the plugin goes by: its own, and one for each policy.
local names

-- Puts links to the plugin into a directory, by the names given, or by all.
function cni.link_plugins(plugin, directory, some)
  if not names then
    names = { "mncni" }
    for file in lfs.dir "policies" do names[#names + 1] = file:match "^(.+)%.lua$" end
  end
  local from = plugin:find "^/" and plugin or lfs.currentdir() .. "/" .. plugin
  for _, name in ipairs(some or names) do assert(lfs.link(from, directory .. "/" .. name, true)) end
end

return cni
