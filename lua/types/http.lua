-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.http

--- HTTP/1.1 over libcurl: `local http = require "mncni.http"`. In the agent and in a stock lua5.4; the plugin does
--- without.
---@class mncni.http
local http = {}

--- A handle for requests that run side by side. They share connections, which are used again.
---@return mncni.Http
function http.multi() end

---@class mncni.Http
local multi = {}

---@class mncni.HttpArguments
---@field url string http:// or https://
---@field method? "GET"|"POST"|"PUT"|"PATCH"|"DELETE" default GET
---@field headers? table<string, string>
---@field body? string
---@field ca? string PEM of the authorities to believe instead of the system's
---@field ca_file? string the same as a path
---@field cert? string PEM of our certificate, with those between it and the authority
---@field key? string PEM of its key
---@field insecure? boolean true: any certificate will do
---@field server_name? string what the server's certificate is for, instead of the URL's host; also sent as SNI
---@field proxy? string URL; without it what https_proxy, http_proxy and no_proxy of the environment say, "" for none
---@field connect_timeout? integer ms until a connection stands, TLS included; default 10000
---@field timeout? integer ms until all is over; 0, the default, for none
---@field max_body? integer bytes of a body that is kept whole, default 4 MiB; more is an error (SIZE)
---@field gzip? boolean true: ask for a compressed body, and decode it
---@field pick? mncni.Picker reads the body of a 2xx answer, which then is not kept; its own again when the request is done.
---When documents of 1 MiB wait to be taken, the server has to wait

--- Starts a request. Redirects are not followed. Raises what is wrong with the arguments; what goes wrong later is
--- request.error.
---@param arguments mncni.HttpArguments
---@return mncni.HttpRequest
function multi:request(arguments) end

--- Waits until one of the descriptors can be read (or has come to its end), a request has got further, a signal comes, or
--- the time is over; may return early. Requests get further in here alone.
---@param descriptors? integer[]
---@param milliseconds? number without it: no limit
---@return integer[] those that can be read
function multi:poll(descriptors, milliseconds) end

--- Cancels all requests, and closes the connections.
function multi:close() end

--- Closing it, letting it go out of scope or losing it cancels it. A name it does not have is an error, not nil.
---@class mncni.HttpRequest
---@field status? integer nil until the headers are there
---@field headers? table<string, string> names in small letters; a header that comes twice is joined with ", "
---@field done boolean over, for better or worse
---@field error? mncni.HttpError
---@field bytes integer of the body so far, decoded
---@field started integer ms of CLOCK_MONOTONIC
---@field last integer ms of CLOCK_MONOTONIC: when something came in last
local request = {}

--- What has come of the body; all of it when the request is done without an error.
---@return string
function request:body() end

--- What the picker has found since the last time, and request.bytes.
---@return string[] documents
---@return integer bytes
function request:take() end

--- Cancels it, if it is not done, and frees its body.
function request:close() end

--- tostring gives one line: what failed, where, and what to do about it.
---@class mncni.HttpError : mncni.Error
---@field name "RESOLVE"|"CONNECT"|"TIMEOUT"|"TLS"|"CLOSED"|"HTTP"|"ENCODING"|"SIZE"|"JSON"|"CANCELLED"|"MEMORY"|"IO"
---@field code integer 11 where trying again may help, 7 for our configuration, 6 for what the server says, 5 else

return http
