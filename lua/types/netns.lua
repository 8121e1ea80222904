-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.core

--- Namespaces, settings and programs. For editors; never loaded at run time.
---@class mncni.core
---@field netns mncni.core.netns
---@field sysctl mncni.core.sysctl
---@field boot mncni.core.boot
---@field directory mncni.core.directory
local core = {}

--- A handle of a network namespace. Two open handles are equal when they hold the same namespace. `<close>` closes it.
--- One of mncni.netns answers to the verbs of a net as well.
---@class mncni.Netns: mncni.Net
local ns = {}

--- Calls fn(...) inside the namespace and returns its results; what it raises is raised after the way back. fn cannot
--- yield out of it. The process aborts when it cannot come home.
---@generic T
---@param fn fun(...): T
---@return T ...
function ns:run(fn, ...) end

--- The descriptor, which stays the handle's.
---@return integer
function ns:fd() end

--- "dev:inode", which tells one living namespace from another.
---@return string
function ns:id() end

--- The path it was opened by; nil for one that has none.
---@return string?
function ns:path() end

--- Closes the handle; again is fine. A namespace without a name or a process is gone with its last handle.
function ns:close() end

---@class mncni.core.netns
local netns = {}

--- Opens by path (a string with "/"), by name in /run/netns, by process id, or by the table form. Raises code 8, saying
--- what is there instead: nothing, a plain file, a directory, another kind of namespace.
---@param what string|integer|{ path?: string, name?: string, pid?: integer, fd?: integer } exactly one key
---@return mncni.Netns
function netns.open(what) end

--- The namespace that the caller is in.
---@return mncni.Netns
function netns.current() end

--- Makes a namespace; the caller stays where it is. With a name it is pinned in /run/netns, as `ip netns add` does.
--- Raises code 8: EEXIST when the name is taken, EPERM without CAP_SYS_ADMIN.
---@param name? string
---@return mncni.Netns
function netns.create(name) end

--- Keeps a namespace alive under a name in /run/netns, or at a path, which must not exist yet.
---@param handle mncni.Netns
---@param path string
function netns.pin(handle, path) end

--- Unpins it, as `ip netns del` does. Raises code 8 when nothing is there (ENOENT) or it is no network namespace.
---@param name_or_path string
function netns.remove(name_or_path) end

--- The names in /run/netns that are network namespaces, sorted.
---@return string[]
function netns.list() end

--- Every network namespace that a thread of /proc or a mount of one's mount namespace holds: its id, as handle:id()
--- tells it, and a path that opens it. What only a descriptor or a socket holds is not seen. Raises rather than leave
--- out a process that it may not look at.
---@return table<string, string>
function netns.survey() end

--- The id of the process namespace that the caller is in, whose processes survey() sees.
---@return string
function netns.view() end

--- Settings below /proc/sys/net inside a namespace; nil stands for the caller's own. Keys are written as sysctl(8)
--- takes them: "net/ipv4/ip_forward" or "net.ipv4.ip_forward"; where the first separator is a dot, dots and slashes
--- change places (an interface eth0.100 is net/ipv4/conf/eth0.100/... or net.ipv4.conf.eth0/100....). What is not
--- below net, and "", "." and ".." between separators, is refused (EINVAL).
---@class mncni.core.sysctl
local sysctl = {}

--- The value of each key without its newline; nil when the kernel has no such setting.
---@param handle mncni.Netns?
---@param key string
---@param ... string more keys, looked up in the same visit to the namespace
---@return string? ...
function sysctl.get(handle, key, ...) end

--- Makes the setting so; writes only what is different (white space does not count). Raises ENOENT when the kernel has
--- no such setting, saying which module may be missing; EINVAL when it refuses the value.
---@param handle mncni.Netns?
---@param key string
---@param value string|integer|boolean
---@return string? previous nil for a setting that can only be written
---@return boolean changed
function sysctl.set(handle, key, value) end

--- Makes several settings so in one visit to the namespace. An optional one that the kernel does not have is passed
--- over. When one fails, those before it are put back and the error has its position as `index`.
---@param handle mncni.Netns?
---@param settings { [1]: string, [2]: string|integer|boolean, optional?: boolean }[]
---@param quiet? boolean returns nothing
---@return { key: string, previous?: string, changed: boolean }[]?
function sysctl.batch(handle, settings, quiet) end

---@class mncni.ConntrackFilter
---@field family "inet"|"inet6"
---@field protocol integer
---@field ports integer[] what was asked for, in the original direction, which is that of the first packet
---@field to? string[] addresses that were asked for; any unless given
---@field answerer? string who answers, behind all translation; anybody unless given

---@class mncni.core.conntrack
local conntrack = {}

--- Forgets the connections for which all of the filter is so. A kernel without ctnetlink has none that it could forget.
--- Raises what it refuses.
---@param handle mncni.Netns? nil stands for the caller's own namespace
---@param args mncni.ConntrackFilter
---@return integer count
function conntrack.flush(handle, args) end

---@class mncni.core.boot
local boot = {}

--- The kernel's boot id; nil when it cannot be told.
---@return string?
function boot.id() end

--- Whole seconds since the boot, time asleep included, whatever the wall clock was set to.
---@return integer
function boot.clock() end

---@class mncni.core.directory
local directory = {}

--- Raises code 5 with what would stop files from being made in a directory, or, while that is not there, in the
--- nearest one above it. Changes nothing.
---@param path string
function directory.usable(path) end

--- The names of what is in a directory, in no order, without those that begin with a dot; nil when there is no such
--- directory. Raises code 5.
---@param path string
---@return string[]?
function directory.list(path) end

---@class mncni.ExecArguments
---@field argv string[] complete; the program first, looked for in PATH of its environment when it has no "/"
---@field env? table<string, string> complete; the caller's when not given
---@field stdin? string
---@field timeout? integer milliseconds, default 60000
---@field max_output? integer bytes of stdout, default 1 MiB

---@class mncni.ExecResult
---@field status? integer exit code; nil when it did not exit by itself
---@field signal? integer what ended it
---@field stdout string
---@field stderr string the first 64 KiB; as much is forwarded to our own stderr
---@field timed_out boolean
---@field overflow boolean it wrote more than max_output and was ended

--- Runs a program to its end, in the namespaces of the caller, with nothing but what is given here. At the deadline, or
--- when it writes too much, its process group gets SIGTERM and 200 ms later SIGKILL. Raises only when it cannot be
--- started: ENOENT, EACCES, ENOEXEC, ETXTBSY after 500 ms, E2BIG.
---@param arguments mncni.ExecArguments
---@return mncni.ExecResult
function core.exec(arguments) end

return core
