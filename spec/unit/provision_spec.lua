-- SPDX-License-Identifier: Apache-2.0
-- deploy/provision.sh without Azure: what it prints, and what it says when something is wrong. The az here is a script of
-- this spec, which answers as Azure's own would; it is the one part that cannot be real on a machine without an account.

local runner = require "spec.support.runner"

-- The calls of --dry-run, as they stand in the documentation.
local CREATE = [[
az group create --name mncni --location westeurope --tags made-by=mncni-provision
az aks create --resource-group mncni --name mncni --location westeurope --network-plugin none --node-count 3 ]]
  .. [[--node-vm-size Standard_D2s_v5 --generate-ssh-keys --tags made-by=mncni-provision
az aks get-credentials --resource-group mncni --name mncni
]]

describe("provision.sh", function()
  local dir

  before_each(function() dir = runner.directory() end)
  after_each(function() os.execute("rm -rf " .. dir) end)

  -- Runs it with an az that answers by the shell patterns of `answers` ({ pattern of its words, what it does }), in order;
  -- false: without any az. Returns standard output, error and status, and the calls that were made.
  local function provision(words, answers, environment)
    local path = "/usr/bin:/bin"
    if answers then
      local script = { "#!/bin/sh", ('echo "$*" >>%s/calls'):format(dir), 'case "$*" in' }
      for _, answer in ipairs(answers) do
        script[#script + 1] = ("%s) %s ;;"):format(answer[1], answer[2])
      end
      script[#script + 1] = "esac"
      runner.write(dir .. "/az", table.concat(script, "\n") .. "\n")
      os.execute(("chmod +x %s/az"):format(dir))
      path = dir .. ":" .. path
    end
    os.execute(("touch %s/calls"):format(dir))
    local out, err, status = runner.sh(("env -i PATH=%s HOME=%s %s sh deploy/provision.sh %s"):format(path, dir,
      environment or "", words))
    local file <close> = assert(io.open(dir .. "/calls"))
    return out, err, status, file:read "a"
  end

  -- What is on standard error, which has to be one line.
  local function complaint(words, answers)
    local out, err, status, calls = provision(words, answers)
    assert.equal(1, status, err)
    assert.equal("", out)
    local lines = select(2, err:gsub("\n", "\n"))
    assert.equal(1, lines - (err:find "^Making" and 1 or 0), err)
    return err:match "provision.sh: ([^\n]*)\n$", calls
  end

  local NONE = { "'group exists'*", "echo false" }
  local OURS = { "'group exists'*", "echo true" }
  local TAGGED = { "'group show'*", "echo mncni-provision" }

  it("prints the calls of --dry-run, needing neither az nor a login", function()
    local out, err, status = provision("--dry-run", false)
    assert.same({ CREATE, "", 0 }, { out, err, status })
    assert.equal("az group delete --name mncni --yes\n", (provision("--dry-run --delete", false)))
  end)

  it("takes settings from the environment and, before that, from its options, and prints them to be pasted", function()
    local out = provision("--dry-run --name=\"it's\" --nodes 2 --subscription 'my own'", false,
      "MNCNI_RESOURCE_GROUP=rg MNCNI_CLUSTER=c MNCNI_LOCATION=northeurope MNCNI_NODES=9 MNCNI_VM_SIZE=Standard_B2s "
      .. "MNCNI_KUBERNETES_VERSION=1.29.4")
    assert.equal([[
az group create --name rg --location northeurope --tags made-by=mncni-provision --subscription 'my own'
az aks create --resource-group rg --name 'it'\''s' --location northeurope --network-plugin none --node-count 2 ]]
      .. [[--node-vm-size Standard_B2s --generate-ssh-keys --tags made-by=mncni-provision --kubernetes-version 1.29.4 ]]
      .. [[--subscription 'my own'
az aks get-credentials --resource-group rg --name 'it'\''s' --subscription 'my own'
]], out)
    runner.write(dir .. "/paste", "az() { for w; do printf '<%s>' \"$w\"; done; }\n" .. out)
    assert.matches("<--name><it's>", (runner.sh("sh " .. dir .. "/paste")), 1, true)
  end)

  it("makes those very calls", function()
    local _, err, status, calls = provision("", { NONE })
    assert.equal(0, status, err)
    local made = {}
    for line in calls:gmatch "[^\n]+" do
      if not (line:find "^account" or line:find "^group exists") then
        made[#made + 1] = "az " .. line
      end
    end
    assert.equal(CREATE, table.concat(made, "\n") .. "\n")
    assert.matches("kubectl apply -k deploy/overlays/aks", err, 1, true)
  end)

  it("deletes what it made, and only that", function()
    local _, err, status, calls = provision("--delete", { OURS, TAGGED })
    assert.equal(0, status, err)
    assert.matches("group delete --name mncni --yes\n", calls, 1, true)
    os.remove(dir .. "/calls")
    _, err, status, calls = provision("--delete", { NONE })
    assert.same({ "There is no resource group mncni; nothing is left to delete.\n", 0 }, { err, status })
    assert.is_nil(calls:find "delete")
    os.remove(dir .. "/calls")
    local said
    said, calls = complaint("--delete", { OURS })
    assert.matches("not made by this script, and stays", said)
    assert.is_nil(calls:find "delete")
  end)

  for _, case in ipairs {
    { "there is no az", false, "there is no command az; install the Azure CLI" },
    { "nobody is logged in", { { "account*", "echo 'Please run az login' >&2; exit 1" } },
      "az is not logged in; run: az login" },
    { "the resource group is somebody else's", { OURS },
      "the resource group mncni is there and not made by this script; give another one: --resource-group NAME" },
    { "the cluster is there", { OURS, TAGGED, { "'aks list'*", "echo mncni" } },
      "the cluster mncni is there already; use it (az aks get-credentials --resource-group mncni --name mncni)" },
    { "there is no quota", { NONE, { "'aks create'*", "echo 'ERROR: (QuotaExceeded) Preflight validation failed:"
      .. " Insufficient regional vcpu quota left for location westeurope' >&2; exit 1" } },
      "westeurope has no quota for 3 nodes of Standard_D2s_v5: give a smaller --vm-size, fewer --nodes" },
    { "the cluster cannot be made", { NONE, { "'aks create'*",
      "echo 'WARNING: be patient' >&2; echo 'ERROR: (BadRequest) no such size' >&2; echo Code: x >&2; exit 1" } },
      "the cluster mncni cannot be made: (BadRequest) no such size (the resource group stays; remove it: " },
    { "Azure does not answer", { { "group*", "echo 'ERROR: connection timed out' >&2; exit 1" } },
      "az group exists failed: connection timed out" },
    { "the credentials cannot be written", { NONE, { "'aks get-credentials'*", "echo 'ERROR: a different object named"
      .. " mncni already exists' >&2; exit 1" } }, "--overwrite-existing" },
  } do
    it("says in one line what to do when " .. case[1], function()
      local said, calls = complaint("", case[2])
      assert.matches(case[3], said, 1, true)
      if not case[1]:find "cannot" and not case[1]:find "quota" then
        assert.is_nil(calls:find "create")
      end
    end)
  end

  for words, message in pairs {
    ["--nodes 0"] = '--nodes: expected a number from 1 on, got "0"', ["--nodes three"] = 'got "three"',
    ["--nodes"] = "--nodes needs a value", ["--name="] = "--name needs a value",
    ["--node-count 3"] = '"--node-count" is no option; see provision.sh --help', x = '"x" is no option',
  } do
    it("refuses " .. words, function()
      assert.matches(message, complaint(words, {}), 1, true)
    end)
  end

  it("explains itself", function()
    local out, _, status = provision("--help", false)
    assert.equal(0, status)
    assert.matches("--kubernetes-version X.Y.Z", out, 1, true)
  end)
end)
