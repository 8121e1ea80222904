-- SPDX-License-Identifier: Apache-2.0
-- mncni completion: what bash needs to complete the words of mncni, from the declarations of its subcommands.

local core = require "mncni.core"
local words = require "mncni.words"

local completion = {}

completion.summary = "prints the completion for bash"
completion.arguments = "[NAMES]"
completion.about = [[
source <(mncni completion) makes it work in a shell; make install puts it where bash looks by itself.
With NAMES (calls, networks, pods or policies) it prints those that there are, one a line.]]
completion.exit = "0, 2 for a mistake in the words."

local function attachments()
  return require("mncni.attachments").list { state_dir = words.state_dir {} }
end

-- What is asked for while somebody types.
local names = {}

function names.calls(add)
  for _, call in ipairs(require("mncni.record").list(words.state_dir {})) do
    add(tostring(call.number))
  end
end

function names.networks(add)
  for _, one in ipairs(attachments()) do
    add(one.network)
  end
end

function names.pods(add)
  for _, one in ipairs(attachments()) do
    add(one.pod or one.container)
  end
end

function names.policies(add)
  for _, policy in ipairs(require("mncni.policy").names()) do
    add(policy.name)
  end
end

local function list_of(kind)
  local list, known = {}, {}
  -- Who types is not told that the state cannot be read: the command will tell.
  pcall(names[kind], function(name)
    if name and not known[name] and not name:find "[%c%s]" then
      known[name], list[#list + 1] = true, name
    end
  end)
  return table.concat(list, "\n")
end

-- What completes a value or an argument, by the word that stands for it.
local KINDS = {
  ID = "names calls", NETWORK = "names networks", POD = "names pods", POLICY = "names policies", DIR = "dirs",
  FILE = "files", CONF = "files", SCRIPT = "files", NAMES = "words calls networks pods policies",
}

local function action(word, choices)
  local list = {}
  for i, choice in ipairs(choices or {}) do
    list[i] = choice[1]
  end
  return choices and "words " .. table.concat(list, " ") or KINDS[word] or "nothing"
end

-- The cases of one subcommand: behind which word what follows.
local function add_cases(lines, name, subcommand)
  local flags = {}
  for _, option in ipairs(words.options(subcommand)) do
    flags[#flags + 1] = "--" .. option[1]
    if option.value then
      local short = option.short and ("|%s/-%s"):format(name, option.short) or ""
      lines[#lines + 1] = ("    %s/--%s%s) _mncni_%s ;;"):format(name, option[1], short,
        action(option.value, option.choices))
    end
  end
  local argument = (subcommand.arguments or ""):match "%u+"
  lines[#lines + 1] = ("    %s/*) _mncni_flags %q || _mncni_%s ;;"):format(name, table.concat(flags, " "),
    action(argument))
end

local FRONT = [==[
# bash completion of mncni, as "mncni completion" prints it
_mncni_words() { mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur"); }
_mncni_names() { _mncni_words "$("${COMP_WORDS[0]}" completion "$1" 2>/dev/null)"; }
_mncni_files() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); }
_mncni_dirs() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); }
_mncni_nothing() { :; }
_mncni_flags() { [[ $cur == -* ]] && _mncni_words "$1"; }
_mncni() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    # bash makes words of "--option=value" at "=".
    [[ $cur == = ]] && cur=
    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
    if ((COMP_CWORD == 1)); then
        _mncni_words %s
        return
    fi
    case ${COMP_WORDS[1]}/$prev in]==]

local BACK = [[
    esac
}
complete -F _mncni mncni]]

-- The script for bash.
function completion.bash()
  local command = require "mncni.command"
  local lines = { (FRONT:gsub("%%s", table.concat(command.names, " ") .. " help version")) }
  for _, name in ipairs(command.names) do
    local subcommand = require("mncni.cmd." .. name)
    if subcommand.raw then
      lines[#lines + 1] = ("    %s/*) _mncni_files ;;"):format(name)
    else
      add_cases(lines, name, subcommand)
    end
  end
  lines[#lines + 1] = BACK
  return table.concat(lines, "\n")
end

function completion.run(given)
  local kind = given[1]
  if kind and not names[kind] then
    local near = core.nearest(kind, require("mncni.keys")(names))
    return words.usage("completion", "it knows no names %q%s", kind, near and (", did you mean %q?"):format(near) or "")
  end
  return { status = 0, stdout = kind and list_of(kind) or completion.bash() }
end

return completion
