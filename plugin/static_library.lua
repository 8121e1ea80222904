-- SPDX-License-Identifier: Apache-2.0
-- static_library.lua LIBRARY ADDRESS OUTPUT: makes OUTPUT.s of a shared library, and OUTPUT.ld, options of the linker, for
-- a static program: the library's segments as they are, at ADDRESS, with its relocations left to the linker. Debian has
-- liblua5.4.a and libc.a, but neither libmnl.a nor libcjson.a, and a loader costs a short program more than anything else.
--
-- For ELF of 64 bits and the machines whose relocations stand below. Its constructors are not run: of a library in C they
-- are those of the compiler's, which do nothing.

local path, address, output = arg[1], math.tointeger(arg[2]), arg[3]

local file <close> = assert(io.open(path, "rb"))
local image = file:read "a"

local function fail(...)
  io.stderr:write("static_library: ", path, ": ", string.format(...), "\n")
  os.exit(1)
end

local function read(format, offset)
  return string.unpack("<" .. format, image, offset + 1)
end

local function text(offset)
  return (string.unpack("z", image, offset + 1))
end

-- What relocations put into a word: the address of a symbol, or one of the library's own.
local kinds = {
  [62] = { [1] = "symbol", [6] = "symbol", [7] = "symbol", [8] = "own" },
  [183] = { [257] = "symbol", [1025] = "symbol", [1026] = "symbol", [1027] = "own" },
}

if image:sub(1, 6) ~= "\x7fELF\2\1" then
  fail("it is no little-endian ELF of 64 bits")
end
local machine = kinds[read("I2", 18)] or fail("machine %d is not known here", (read("I2", 18)))

local segments, dynamic = {}, nil
do
  local at, size, count = read("I8", 32), read("I2", 54), read("I2", 56)
  for i = 0, count - 1 do
    local kind, flags, offset, vaddr, _, filesz, memsz = read("I4I4I8I8I8I8I8", at + i * size)
    if kind == 1 then
      segments[#segments + 1] = {
        flags = flags, offset = offset, vaddr = vaddr, filesz = filesz, memsz = memsz, words = {},
      }
    elseif kind == 2 then
      dynamic = offset
    elseif kind == 7 then
      fail("it has thread-local storage")
    end
  end
end

-- The segment of an address, and where in the file that is.
local function place(vaddr)
  for _, segment in ipairs(segments) do
    if vaddr >= segment.vaddr and vaddr < segment.vaddr + segment.memsz then
      return segment, segment.offset + vaddr - segment.vaddr
    end
  end
  fail("address %#x is in none of its segments", vaddr)
end

local function file_offset(vaddr)
  return (select(2, place(vaddr)))
end

local entries = {}
do
  local at = dynamic or fail "it is not linked dynamically"
  repeat
    local tag, value = read("i8I8", at)
    entries[tag], at = value, at + 16
  until tag == 0
end
local strings, symbols = file_offset(entries[5]), file_offset(entries[6])

local function symbol(index)
  local name, info, other, section, value, size = read("I4BBI2I8I8", symbols + index * 24)
  return {
    name = text(strings + name), kind = info & 15, weak = info >> 4 == 2, hidden = other & 3 ~= 0,
    defined = section ~= 0, value = value, size = size,
  }
end

local weak = {}

local function relocate(start, size)
  for at = file_offset(start), file_offset(start) + size - 24, 24 do
    local where, info, addend = read("I8I8i8", at)
    local how = machine[info & 0xffffffff] or fail("a relocation of kind %d", info & 0xffffffff)
    local value
    if how == "own" then
      value = ("%#x"):format(address + addend)
    else
      local target = symbol(info >> 32)
      value = ("%s + %d"):format(target.name, addend)
      weak[target.name] = target.weak and not target.defined or nil
    end
    place(where).words[where] = value
  end
end

if entries[7] then
  relocate(entries[7], entries[8])
end
if entries[23] then
  relocate(entries[23], entries[2])
end

-- The number of symbols: one more than the last of the last chain of the hash table.
local function symbol_count()
  local at = file_offset(entries[0x6ffffef5] or fail "it has no GNU hash table")
  local buckets, first, bloom = read("I4I4I4", at)
  local chains = at + 16 + bloom * 8 + buckets * 4
  local last = 0
  for i = 0, buckets - 1 do
    last = math.max(last, (read("I4", chains - buckets * 4 + i * 4)))
  end
  if last == 0 then
    return first
  end
  while read("I4", chains + (last - first) * 4) & 1 == 0 do
    last = last + 1
  end
  return last + 1
end

local name = path:match("([%w_]+)[^/]*$")
local assembly, layout = { "# Of " .. path:match("[^/]*$") .. "." }, {}

local function emit(...)
  assembly[#assembly + 1] = string.format(...)
end

-- The bytes from one address to another, with the words that are relocated left to the linker.
local function emit_range(segment, from, to)
  local at = from
  local ends = segment.vaddr + segment.filesz
  local function copy(upto)
    local stop = math.min(upto, ends)
    if at < stop then
      emit("\t.incbin %q, %d, %d", path, segment.offset + at - segment.vaddr, stop - at)
    end
    if upto > math.max(at, stop) then
      emit("\t.zero %d", upto - math.max(at, stop))
    end
    at = upto
  end
  local words = {}
  for where in pairs(segment.words) do
    if where >= from and where < to then words[#words + 1] = where end
  end
  table.sort(words)
  for _, where in ipairs(words) do
    copy(where)
    emit("\t.quad %s", segment.words[where])
    at = where + 8
  end
  copy(to)
end

-- The first has nothing but the headers, and what a loader reads.
for i = 2, #segments do
  local segment = segments[i]
  local section = ("lib.%s.%d"):format(name, i)
  emit("\t.section %s, \"a%s%s\", @progbits\n\t.balign 16", section, segment.flags & 1 ~= 0 and "x" or "",
    segment.flags & 2 ~= 0 and "w" or "")
  emit_range(segment, segment.vaddr, segment.vaddr + segment.memsz)
  layout[#layout + 1] = ("-Wl,--section-start=%s=%#x"):format(section, address + segment.vaddr)
end

for index = 1, symbol_count() - 1 do
  local it = symbol(index)
  if it.defined and not it.hidden and it.value > 0 then
    emit("\t.globl %s\n\t.type %s, @%s", it.name, it.name, it.kind == 2 and "function" or "object")
    emit("\t.set %s, %#x", it.name, address + it.value)
  end
end
for item in pairs(weak) do emit("\t.weak %s", item) end
emit "\t.section .note.GNU-stack, \"\", @progbits"

local function write(suffix, lines)
  local out = assert(io.open(output .. suffix, "w"))
  out:write(table.concat(lines, "\n"), "\n")
  assert(out:close())
end

write(".s", assembly)
write(".ld", layout)
