-- SPDX-License-Identifier: Apache-2.0
---@meta mncni.httpd

--- A small web server over libmicrohttpd, for health and metrics: `local httpd = require "mncni.httpd"`. GET and HEAD,
--- no threads; at most 32 connections, closed after 10 s without traffic, and 16 KiB of a request.
---@class mncni.httpd
local httpd = {}

--- Raises when it cannot listen there.
---@param arguments { address: string, port?: integer } an IPv4 or IPv6 address; without a port, or with 0, any is taken
---@return mncni.Httpd
function httpd.listen(arguments) end

---@class mncni.Httpd
local server = {}

--- The descriptor that can be read when run() has something to do.
---@return integer
function server:fd() end

---@return integer
function server:port() end

--- Serves what is there, without waiting. The handler gets method ("GET" or "HEAD") and path (without query, %XX
--- decoded), and returns status, content type (default text/plain; charset=utf-8) and body. When it raises, or returns
--- something else, the answer is 500.
---@param handler fun(method: string, path: string): integer, string?, string?
---@return integer requests that it was called for
---@return any error what it raised last; nil when all went well
function server:run(handler) end

--- Milliseconds until run() is wanted although nothing came in, to close what is idle; nil for never.
---@return integer?
function server:timeout() end

--- Closes it with all connections.
function server:close() end

return httpd
