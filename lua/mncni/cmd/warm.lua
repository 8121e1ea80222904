-- SPDX-License-Identifier: Apache-2.0
-- mncni warm: has the kernel keep programs in huge pages.

local core = require "mncni.core"

local warm = {}

warm.summary = "has the kernel keep the plugin in huge pages: shorter calls"
warm.arguments = "FILE..."
warm.about = [[
Of each file, a program such as /opt/cni/bin/mncni, as much as fills huge pages is read into those of the page cache:
then a call has one page fault for all of its code. It lasts until the next boot, or until the kernel needs the memory,
so have it done when the node starts. The file system needs large folios (XFS since Linux 5.18, ext4 since 6.16), or it
is a tmpfs, or the kernel has CONFIG_READ_ONLY_THP_FOR_FS (since 6.1). A line for each file tells how much is there.]]
warm.exit = "0 when all are in huge pages, 1 when one is not, 2 for a mistake in the words."

-- How much of a file is in huge pages, or nil and why it is not.
local function read(path)
  local ok, size, whole = pcall(core.file.huge, path)
  if not ok and size.name == "ETXTBSY" then
    core.file.leave()
  elseif not ok then
    return nil, tostring(size)
  elseif size == 0 then
    return nil, path .. ": it is smaller than one, a process runs it, or the kernel cannot"
  elseif size < whole then
    return nil, ("%s: %d of %d kB in huge pages; try again"):format(path, size // 1024, whole // 1024)
  end
  return size
end

function warm.run(given)
  local reply, out, err = { status = 0 }, {}, {}
  for _, path in ipairs(given) do
    local size, why = read(path)
    if size then
      out[#out + 1] = ("%s: %d kB in huge pages"):format(path, size // 1024)
    else
      reply.status, err[#err + 1] = 1, "mncni warm: " .. why
    end
  end
  reply.stdout, reply.stderr = out[1] and table.concat(out, "\n"), err[1] and table.concat(err, "\n")
  return reply
end

return warm
