-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.core

--- The C core as Lua sees it. For editors; never loaded at run time.
---@class mncni.core
---@field json mncni.core.json
---@field cidr mncni.core.cidr
local core = {}

--- What is raised when something fails. tostring gives the one line a person can act on.
---@class mncni.Error
---@field op? string what was being done: "add", "decode", ...
---@field object? string what it was done to
---@field netns? string the network namespace it was done in
---@field errno? integer
---@field name? string "EEXIST", ...
---@field message? string what is wrong and what to do about it
---@field extack? string the kernel's own words
---@field attribute? string the netlink attribute the kernel points at
---@field code? integer CNI error code, where the place of failure knows it
---@field details? string what a runtime is told beside the message
---@field offset? integer of JSON that does not decode: byte from 0
---@field line? integer from 1
---@field column? integer in characters, from 1
---@field index? integer of a batch: which step was refused, from 1
---@field field? string of ensure: which field cannot be made so
---@field have? any of ensure
---@field want? any of ensure

--- Turns the table it is given into an error object, for error() to raise.
---@param fields mncni.Error
---@return mncni.Error
function core.error(fields) end

---@param value any
---@return boolean
function core.is_error(value) end

--- The name in the list that `name` most likely meant; nil when none is near.
---@param name string
---@param names string[]
---@return string?
function core.nearest(name, names) end

--- JSON as RFC 8259 has it. Objects are plain tables, arrays are marked tables, integers are Lua integers over their
--- whole range (1.0 and 1e3 are floats), null is json.null.
---@class mncni.core.json
---@field null lightuserdata
local json = {}

--- Raises (code 6, with offset, line and column): what RFC 8259 forbids, invalid UTF-8, \u0000, unpaired surrogates,
--- duplicate keys, nesting beyond max_depth, integers beyond 64 bits, numbers beyond a double, anything behind the
--- value.
---@param text string
---@param options? { max_depth?: integer } 1 to 500 levels, default 64
---@return any
function json.decode(text, options) end

--- Keys come in byte order. An empty table is {} unless it is marked as an array; a cidr is its text.
--- Raises, with the path of the culprit as `object`: functions and the like, infinite and not-a-number, mixed or sparse
--- tables, cycles, more than 64 levels, a million values, strings that are not UTF-8 or hold a zero byte.
---@param value any
---@param options? { pretty?: boolean }
---@return string
function json.encode(value, options) end

--- Marks a table (a new one by default) as an array and returns it. Raises when it has another metatable.
---@generic T
---@param list? T[]
---@return T[]
function json.array(list) end

---@param value any
---@return boolean
function json.is_array(value) end

--- Which members are wanted: { spec = { podCIDR = true } }. What it says of an array holds for each element.
---@alias mncni.Keep true|table<string, mncni.Keep>

---@class mncni.PickerArguments
---@field items? (string|boolean)[] the names on the way to the documents, with each = true for the elements of an array
---there; without it every document of the text is one ({}{}, as a watch sends them)
---@field keep? mncni.Keep of a document; all when missing
---@field also? mncni.Keep of the text around items: given as a last document { "list": {...} }
---@field max? integer bytes of one document as it is kept, default 1 MiB

--- Prunes JSON while it comes in: memory follows what is kept of one document. Documents are given as texts without
--- white space. What is dropped is checked for structure alone: core.json.decode checks the rest of what is kept.
---@param arguments mncni.PickerArguments
---@return mncni.Picker
function core.picker(arguments) end

---@class mncni.Picker
local picker = {}

--- The documents that a further piece of the text completes. Raises (code 6, with offset) at what is no JSON; then it
--- reads no more before reset().
---@param text string
---@return string[]
function picker:feed(text) end

--- The documents that the end of the text completes. Raises when something is missing: an end, or the items. Then it is
--- ready for another text.
---@return string[]
function picker:finish() end

--- Forgets what it has read.
function picker:reset() end

--- Makes addresses: core.cidr "10.244.1.7/24". An IPv4-mapped IPv6 address becomes IPv4.
--- Raises: what is no address, leading zeros, zones, prefixes out of range.
---@class mncni.core.cidr
---@overload fun(text: string|mncni.Cidr): mncni.Cidr
local cidr = {}

--- The same without a raise: nil and a message when the value is no address.
---@param text any
---@return mncni.Cidr?
---@return string? message
function cidr.parse(text) end

--- Whether the value is a cidr already.
---@param value any
---@return boolean
function cidr.is(value) end

--- An address with a prefix length. Immutable; compares with ==, < and <= (IPv4 first, then by address, then by
--- prefix; an address without a prefix equals the same with the full one); tostring gives its canonical text. A name it
--- does not have is an error, not nil. As a table key use its text.
---@class mncni.Cidr
---@field family "inet"|"inet6"
---@field prefix integer bits; the full length when the text gave none
---@field address string without the prefix
---@field network mncni.Cidr with the host bits cleared, always printed with its prefix
---@field bytes string 4 or 16 bytes in network order
---@operator lt(mncni.Cidr|string): boolean
local value = {}

--- Whether its network holds the other: the whole network, or just the address when that has host bits set.
---@param other mncni.Cidr|string
---@return boolean
function value:contains(other) end

--- Whether the two networks have an address in common.
---@param other mncni.Cidr|string
---@return boolean
function value:overlaps(other) end

--- Address number n of the network with the same prefix: 0 is the network's own, -1 the last. Raises when out of range.
---@param n integer
---@return mncni.Cidr
function value:nth(n) end

--- The following address with the same prefix, also beyond the network; nil behind the family's last.
---@return mncni.Cidr?
function value:next() end

--- The last address of the network, with the same prefix.
---@return mncni.Cidr
function value:last() end

--- Iterates over the addresses that a host may have: not the network's and the broadcast address of IPv4 (but both of a
--- /31, RFC 3021), not the subnet-router anycast address of IPv6 (but both of a /127, RFC 6164).
---@return fun(): mncni.Cidr?
function value:hosts() end

--- How many addresses the network has; a float from 2^63 on.
---@return number
function value:size() end

--- Whether it has host bits set, or no host bits at all.
---@return boolean
function value:is_host() end

--- The same address with another prefix length, without one when none is given. Raises when out of range.
---@param prefix? integer
---@return mncni.Cidr
function value:with_prefix(prefix) end

return core
