-- SPDX-License-Identifier: Apache-2.0
-- The words of a command line, as a subcommand declares them. A subcommand is a module mncni.cmd.NAME:
--
--   summary    what it does, in a line, for the list of subcommands
--   arguments  "POLICY [CONF]": each a word in capitals; in brackets what may be left out, "..." behind the last repeats it
--   about      paragraphs for --help
--   options    a list of { "network", value = "NAME", doc = "only this network's", short = "n", choices = {...}, many = true };
--              without value it is a flag
--   exit       what the exit status says, for --help
--   run(given) -> { status, stdout, stderr }, where given has an option's value, true for a flag, a list where the option
--              may be given many times, and the arguments from 1 on
--   raw        true: run(words) gets the words as they came
--
-- Every subcommand has --help and --debug as well.

local core = require "mncni.core"

local words = {}

local COMMON = {
  { "debug", doc = "where an error was raised, with Lua's call stack" },
  { "help", short = "h", doc = "this text" },
}

-- The options that a subcommand has, the common ones included.
function words.options(subcommand)
  local list = table.move(subcommand.options or {}, 1, #(subcommand.options or {}), 1, {})
  return table.move(COMMON, 1, #COMMON, #list + 1, list)
end

-- "-n, --network NAME"
local function spelled(option)
  local said = "--" .. option[1] .. (option.value and " " .. option.value or "")
  return (option.short and ("-%s, "):format(option.short) or "    ") .. said
end

-- What --help prints.
function words.help(name, subcommand)
  local rows, width = {}, 0
  for i, option in ipairs(words.options(subcommand)) do
    rows[i] = { spelled(option), option.doc }
    width = math.max(width, #rows[i][1])
  end
  local lines = {
    ("mncni %s [OPTION...]%s: %s"):format(name, subcommand.arguments and " " .. subcommand.arguments or "",
      subcommand.summary),
    "",
  }
  if subcommand.about then
    lines[#lines + 1] = subcommand.about
    lines[#lines + 1] = ""
  end
  for _, row in ipairs(rows) do
    lines[#lines + 1] = ("  %s%s  %s"):format(row[1], (" "):rep(width - #row[1]), row[2])
  end
  if subcommand.exit then
    lines[#lines + 1] = ""
    lines[#lines + 1] = "Exit status: " .. subcommand.exit
  end
  return table.concat(lines, "\n")
end

-- What a mistake in the words is answered with.
function words.usage(name, message, ...)
  return { status = 2, stderr = ("mncni %s: %s; mncni %s --help"):format(name, message:format(...), name) }
end

-- Where the state of the plugin is: what --state-dir says, or its environment.
function words.state_dir(given)
  return given["state-dir"] or os.getenv "MNCNI_STATE_DIR" or "/run/mncni"
end

-- Returns fn(...), which reads the state of the plugin; where that is refused, the error says who may.
function words.as_root(fn, ...)
  local result = table.pack(pcall(fn, ...))
  local err = result[2]
  if not result[1] and core.is_error(err) and err.name == "EACCES" then
    error(core.error {
      op = err.op, object = err.object, errno = err.errno, code = err.code,
      message = "only root may read it, because configurations are in it; run this as root",
    }, 0)
  elseif not result[1] then
    error(err, 0)
  end
  return table.unpack(result, 2, result.n)
end

-- Whether a call, or an attachment, is of the pod that somebody means: by its name, its namespace and name, or the
-- beginning of its container's id.
function words.is_of(item, name)
  return item.pod == name or item.pod and item.pod:match "/(.*)$" == name
    or item.container and name ~= "" and item.container:sub(1, #name) == name
end

-- How many arguments there may be: at least, at most.
local function bounds(subcommand)
  local least, most = 0, 0
  for word in (subcommand.arguments or ""):gmatch "%S+" do
    least = word:find("[", 1, true) and least or least + 1
    most = word:find("...", 1, true) and math.huge or most + 1
  end
  return least, most
end

local function find(list, key, value)
  for _, option in ipairs(list) do
    if option[key] == value then
      return option
    end
  end
end

local function suggestion(name, list)
  local known = {}
  for i, option in ipairs(list) do
    known[i] = option[1]
  end
  local near = core.nearest(name, known)
  return near and (", did you mean \"--%s\"?"):format(near) or ""
end

-- Puts an option's value where it belongs, or returns what is wrong with it.
local function keep(given, option, value)
  if option.choices and not find(option.choices, 1, value) then
    local one_of = {}
    for i, choice in ipairs(option.choices) do
      one_of[i] = choice[1]
    end
    return ("\"--%s\" is one of %s, not %q"):format(option[1], table.concat(one_of, ", "), value)
  elseif option.many then
    given[option[1]] = given[option[1]] or {}
    table.insert(given[option[1]], value)
  else
    given[option[1]] = value
  end
end

-- The words as a table, or nil and the reply that says what is wrong. Options and arguments come in any order; behind "--"
-- there are arguments only.
function words.parse(name, subcommand, list)
  local options, given, i, only_arguments = words.options(subcommand), {}, 0, false
  while i < #list do
    i = i + 1
    local word = list[i]
    local long, equals, value = word:match "^%-%-([^=]+)(=?)(.*)$"
    local short, rest = word:match "^%-([^-])(.*)$"
    local option = long and find(options, 1, long) or short and find(options, "short", short)
    if only_arguments or not (long or short) and word ~= "--" then
      given[#given + 1] = word
    elseif word == "--" then
      only_arguments = true
    elseif not option then
      return nil, words.usage(name, "there is no option %q%s", long and "--" .. long or word,
        long and suggestion(long, options) or "")
    else
      local said = long and "--" .. long or "-" .. short
      if short and rest ~= "" then
        equals, value = "=", rest
      end
      if not option.value then
        if equals == "=" then
          return nil, words.usage(name, "\"%s\" takes no value", said)
        end
        value = true
      elseif equals ~= "=" then
        i = i + 1
        value = list[i]
        if not value then
          return nil, words.usage(name, "\"%s\" needs a value", said)
        end
      end
      local wrong = keep(given, option, value)
      if wrong then
        return nil, words.usage(name, "%s", wrong)
      end
    end
  end
  local least, most = bounds(subcommand)
  if not given.help and #given < least then
    return nil, words.usage(name, "it needs %s", subcommand.arguments)
  elseif not given.help and #given > most then
    return nil, words.usage(name, "%q is one argument too many", given[most + 1])
  end
  return given
end

return words
