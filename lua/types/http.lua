-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.http

--- HTTP/1.1 over libcurl: `local http = require "mncni.http"`. In the agent and in a stock lua5.4; the plugin does
--- without.
---@class mncni.http
local http = {}

--- A handle for requests that run side by side. They share connections, which are used again.
---@return mncni.Http
function http.multi() end

---@alias mncni.http.FieldType "string"|"integer"|"boolean"|"time"|"map"|mncni.http.Message
---@class mncni.http.Field
---@field [1]? string its key; without one the fields of `inline` stand in its place
---@field [2]? mncni.http.FieldType
---@field inline? mncni.http.Message
---@field each? boolean it may come several times: a list
---@field prefixed? boolean the prefix stands before the message that it is
---@field is_kind? boolean a string that says what the next message is
---@field other? table { kind, message }: the message where the last kind was that one

---@alias mncni.http.Message table<integer, mncni.http.Field> by the field's number

---@class mncni.http.ProtobufArguments
---@field type string of the content
---@field prefix string bytes before the message
---@field ok mncni.http.Message that of a 2xx answer
---@field refused mncni.http.Message that of another
---@field stream? string type of content that is frames: each a length in four bytes, the highest first, and a message
---@field frame? mncni.http.Message that of a frame; without the prefix

--- What is wanted of answers in protocol buffers, by the numbers of fields: { [2] = { "items", { [1] = { "name", "string" }
--- }, each = true } }. A request that has it reads answers of this type as the JSON that they would be otherwise.
---@param arguments mncni.http.ProtobufArguments
---@return mncni.http.Protobuf
function http.protobuf(arguments) end

---@class mncni.http.Protobuf
local protobuf = {}

--- What a request makes of such an answer.
---@param text string
---@param what? "ok"|"refused"|"frames" of which sort it is; "ok" without it
---@return string json
function protobuf:decode(text, what) end

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
---@field protobuf? mncni.http.Protobuf reads the body of an answer of its type as JSON
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
