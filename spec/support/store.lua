-- SPDX-License-Identifier: Apache-2.0
-- Directories, files and processes for the specs of the address store.

local support = {}

support.HOST_LOCAL = "/usr/lib/cni/host-local"

function support.run(command, ...)
  local pipe = assert(io.popen(command:format(...), "r"))
  local text = pipe:read("a")
  return text, select(3, pipe:close())
end

-- A new empty directory. On tmpfs where there is one: these specs make many files.
function support.directory()
  local parent = "$(test -w /dev/shm && echo /dev/shm || echo /tmp)"
  return (support.run("mktemp -d -p " .. parent .. " mncni-store.XXXXXX"):gsub("\n", ""))
end

function support.remove(dir)
  assert(dir:find("/mncni-store.", 1, true))
  os.execute(("rm -rf '%s'"):format(dir))
end

function support.read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

function support.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- The names in a directory, sorted; with addresses_only, those that are addresses.
function support.names(dir, addresses_only)
  local names = {}
  for name in support.run("ls -A '%s' 2>/dev/null", dir):gmatch("[^\n]+") do
    if not addresses_only or name:find("^[%x:]+[.:]") and not name:find("^last") then
      names[#names + 1] = name
    end
  end
  return names
end

-- How an interpreter that loads the module is started; under strace nothing can look for leaks.
local interpreter = (os.getenv "RING_LUA" or "lua5.4"):gsub("LD_PRELOAD=", "ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=")

-- Starts Lua code in a process of its own, with arguments; returns a shell fragment.
function support.lua(code, ...)
  local arguments = {}
  for i, argument in ipairs { ... } do
    arguments[i] = ("'%s'"):format(argument)
  end
  return ("%s -e '%s' - %s </dev/null"):format(interpreter, code:gsub("'", "'\\''"), table.concat(arguments, " "))
end

-- Runs the reference plugin with a configuration; its answer and its exit status.
function support.host_local(args)
  local conf = os.tmpname()
  support.write(conf, args.config)
  local text, status = support.run(
    "env -i CNI_COMMAND=%s CNI_CONTAINERID=%s CNI_IFNAME=%s CNI_NETNS=/run/netns/none CNI_PATH=/x %s <%s 2>&1",
    args.command, args.container, args.ifname or "eth0", support.HOST_LOCAL, conf)
  os.remove(conf)
  return text, status
end

return support
