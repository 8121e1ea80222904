---@meta
-- SPDX-License-Identifier: Apache-2.0
-- require "mncni.kube", for editors (LuaCATS): a client of the Kubernetes API. Never loaded at run time.

---@class mncni.KubeModule
local kube = {}

---@class mncni.KubeConf
---@field kubeconfig? string path
---@field context? string of the kubeconfig, instead of its current-context
---@field in_cluster? boolean a pod's environment and service account; the default without a kubeconfig
---@field server? string https://HOST:PORT, instead of what is said there
---@field server_name? string the name in the server's certificate
---@field component? string who reports Events, "mncni-agent" by default
---@field instance? string the node's name, in Events
---@field on_error? fun(message: string) told of what belongs to no watch; standard error by default
---@field random? fun(): number for specs
---@field service_account? string directory, for specs
---@field getenv? fun(name: string): string? for specs

---Makes a client on a mncni.http multi. Raises (code 7) what is wrong with a file or the configuration, and where.
---@param conf mncni.KubeConf
---@param multi table
---@return mncni.KubeClient
function kube.client(conf, multi) end

---@class mncni.KubeClient
local client = {}

---@class mncni.KubeHandler
---@field synced fun(objects: table[]): boolean?, string? a complete list: what is not in it is gone; false: not believed
---@field changed fun(object: table) new, or other than it was
---@field deleted fun(object: table) its last state, as it came
---@field failed? fun(message: string, retry_ms: integer?) for the log
---@field well? fun() what failed has told of is over
---@field convert? fun(object: table): any what synced and changed get in its place; nil leaves it out

---@class mncni.KubeWatchArguments
---@field path string "/api/v1/nodes"
---@field selector? string of labels
---@field field_selector? string "metadata.name=x"
---@field keep? table members of an object to keep, as core.picker takes them; all by default
---@field page? integer objects asked for at once, 500 by default; 0: all
---@field protobuf? mncni.http.Protobuf what is wanted of list and events where the server writes them so
---@field ignore_version? boolean true, with keep: what differs from the last in its resourceVersion alone is no change
---@field resource_version? string follow from there, without a list
---@field handler mncni.KubeHandler

---@class mncni.KubeWatch
---@field path string
---@field state "wait"|"list"|"watch"|"closed"
---@field synced boolean whether a list was believed, or a resource_version given
---@field resource_version string? how far it has come
---@field lists integer begun
---@field restarts integer of the stream
---@field failures integer
---@field events integer

---Begins to follow objects; handlers are called from step. `:close()` ends it.
---@param args mncni.KubeWatchArguments
---@return mncni.KubeWatch
function client:watch(args) end

---@class mncni.KubeRequest
---@field method? string "GET" by default
---@field path string
---@field query? table<string, any>
---@field body? any sent as JSON
---@field content_type? string of the body, "application/json" by default
---@field timeout? integer ms, 30000 by default
---@field on_done? fun(status: integer?, body: any, err: mncni.Error?) err unless all is well; no status without an answer

---Sends a request.
---@param args mncni.KubeRequest
---@return table call `:close()` ends it without an answer
function client:request(args) end

---@class mncni.KubeEvent
---@field regarding { kind: string, name: string, namespace?: string, uid?: string, apiVersion?: string }
---@field type? "Normal"|"Warning"
---@field reason string in one word, RouteConflict
---@field message string for people, 1024 bytes at most
---@field action? string

---Reports an Event, at once the first time, and counts what is said again.
---@param args mncni.KubeEvent
function client:event(args) end

---@class mncni.KubeCondition
---@field node string
---@field type string "NetworkUnavailable"
---@field status "True"|"False"|"Unknown"
---@field reason? string in one word
---@field message? string
---@field transition? boolean false: keep the time of the last change of status
---@field on_done? function as of a request

---Sets one condition of a node and leaves the others.
---@param args mncni.KubeCondition
---@return table call
function client:patch_node_condition(args) end

---Sets annotations, and removes those that are json.null.
---@param args { path: string, annotations: table<string, any>, on_done?: function }
---@return table call
function client:patch_annotations(args) end

---Does what there is to do; to be called after each multi:poll, with the ms of a clock that does not jump.
---@param now integer
---@return integer milliseconds until it wants to be called again at the latest
function client:step(now) end

---Ends everything, without a word to handlers.
function client:close() end

return kube
