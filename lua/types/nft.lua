-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.nft

--- nft's own language, by libnftables: `local nft = require "mncni.nft"`. In a stock lua5.4, where the library is; neither
--- the plugin nor the agent has it, and policies use `host.nft`. Errors have the library's words: op "nft", message,
--- errno and name where the kernel refused, text_line and text_column of the first mistake, and all of it in details.
---@class mncni.nft
local nft = {}

---@class mncni.NftArguments
---@field [1]? string|table commands: text, or as nft's JSON has them, { nftables = list }, the list, or one of it
---@field file? string path of commands, in place of them
---@field netns? mncni.Netns
---@field dry_run? boolean true: look at it, and change nothing
---@field echo? boolean true: return what was added
---@field terse? boolean true: list sets without their elements
---@field stateless? boolean true: list no counters
---@field define? table<string, string|integer> values of $names in the text

--- Runs commands, all or nothing as `nft -f` does. "monitor" does not return.
---@param commands string|mncni.NftArguments
---@return table[] objects what the commands list, as `nft -j` prints it: { { table = { ... } }, { chain = { ... } }, ... }
function nft.run(commands) end

--- `nft list` of what it is given, "ruleset" by itself: "table inet x", "set ip x s".
---@param what? string|mncni.NftArguments
---@return table[] objects
function nft.list(what) end

return nft
