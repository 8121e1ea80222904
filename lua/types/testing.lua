---@meta
-- SPDX-License-Identifier: Apache-2.0
-- The kit for specs of policies: signatures for editors (LuaCATS). Never loaded at run time.

---@class mncni.TestingModule
local testing = {}

---The hooks of a policy: a path of a file, a name as a configuration has it, or a table of hooks. Raises what loading it
---raises for a user.
---@param policy string|table
---@return mncni.Policy|mncni.IpamPolicy
function testing.load(policy) end

---Makes a node of tables, with a link eth0 that has addresses and default routes of both families unless links are given.
---@param given? mncni.TestNodeArguments
---@return mncni.TestNode
function testing.node(given) end

---What desired sees of a cluster: this node n2 and its peers n3, n4, ... on its link. What else is given replaces what
---there would be.
---@param given? { node?: table, peers?: integer|table[], reach?: table<string, table>, [string]: any }
---@return mncni.AgentWorld
function testing.world(given) end

---What a policy of the agent desires, its options checked, once the agent would take it. Raises what that would refuse.
---@param policy string|table
---@param world mncni.AgentWorld
---@param conf? table
---@return mncni.Desired
function testing.desired(policy, world, conf) end

---@class mncni.TestNodeArguments All optional; the form of the lists is told in lua/mncni/recorded_fixture.lua.
---@field name? string
---@field subnets? string[] of which pods have addresses; 10.244.1.0/24 unless given
---@field links? table[]
---@field addresses? table[]
---@field routes? table[]
---@field rules? table[]
---@field neighbours? table[]
---@field sysctls? table<string, string|integer>
---@field nft? table[]

---@class mncni.TestNode
---@field name string
---@field subnets string[] of which pods have addresses
---@field host mncni.Net the node's network
---@field world mncni.World that it is made of
---@field pods table<string, mncni.TestPod>
---@field lines fun(): string[] what was changed, as command lines
---@field clear fun() forgets these lines
---@field run fun(fn: fun(...): ..., ...): ... calls fn in this node's network
local node = {}

---The pod of that name, made when first asked for: a namespace with nothing but lo in it.
---@param given string|mncni.TestPodArguments
---@return mncni.TestPod
function node:pod(given) end

---ADD: has a policy wire the pod. Without ipam, addresses are host-local's of the node's subnets; a chained policy goes on
---from what was added before. Raises what a runtime would be told.
---@param policy string|table as testing.load takes it
---@param pod mncni.TestPod
---@param conf? table a plugin's configuration
---@return table result in the form of cniVersion 1.1.0
function node:add(policy, pod, conf) end

---What an IPAM policy gives the pod.
---@param ipam table that section of a configuration
---@param pod mncni.TestPod
---@return mncni.IpamLease
function node:lease(ipam, pod) end

---Removes the files of its addresses.
function node:close() end

---@class mncni.TestPodArguments
---@field name string
---@field namespace? string of Kubernetes
---@field ifname? string eth0 unless given
---@field annotations? table<string, string>
---@field args? table<string, string> CNI_ARGS

---@class mncni.TestPod
---@field name string also the container's id
---@field namespace? string
---@field ifname string
---@field annotations table<string, string>
---@field args table<string, string> CNI_ARGS
---@field netns mncni.Netns
---@field net mncni.Net the pod's network
---@field host_ifname string what the node's end of its veth would be called
---@field result? table of its last node:add
---@field warnings? string[] of its last node:add
