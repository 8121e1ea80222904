-- SPDX-License-Identifier: Apache-2.0
-- Nodes in protocol buffers, listed and watched, which an API server writes with a third of the work that JSON costs it,
-- and in a third of the bytes. Field numbers: k8s.io/api/core/v1/generated.proto and k8s.io/apimachinery (meta/v1, runtime); they
-- never change. A server that does not speak it answers in JSON.

local http = require "mncni.http"

local TYPE = { [1] = { "apiVersion", "string" }, [2] = { "kind", "string", is_kind = true } }

-- What is kept of a Node by those who follow nodes (mncni.nodes_kube, mncni.controller).
local NODE = {
  [1] = { "metadata", {
    [1] = { "name", "string" }, [3] = { "namespace", "string" }, [5] = { "uid", "string" },
    [6] = { "resourceVersion", "string" }, [9] = { "deletionTimestamp", "time" }, [11] = { "labels", "map" },
    [12] = { "annotations", "map" },
  } },
  [2] = { "spec", {
    [1] = { "podCIDR", "string" }, [3] = { "providerID", "string" }, [7] = { "podCIDRs", "string", each = true },
  } },
  [3] = { "status", {
    [5] = { "addresses", { [1] = { "type", "string" }, [2] = { "address", "string" } }, each = true },
  } },
}

-- runtime.Unknown: what a message is, and the message, or a Status in its place.
local function envelope(message, status)
  return { [1] = { inline = TYPE }, [2] = { inline = message, other = status and { "Status", status } } }
end

local STATUS = {
  [2] = { "status", "string" }, [3] = { "message", "string" }, [4] = { "reason", "string" },
  [6] = { "code", "integer" },
}

return {
  nodes = http.protobuf {
    type = "application/vnd.kubernetes.protobuf", prefix = "k8s\0",
    ok = envelope {
      [1] = { "metadata", { [2] = { "resourceVersion", "string" }, [3] = { "continue", "string" } } },
      [2] = { "items", NODE, each = true },
    },
    refused = envelope(STATUS),
    -- WatchEvent; its object is a runtime.RawExtension, an envelope in a field.
    stream = "application/vnd.kubernetes.protobuf;stream=watch",
    frame = {
      [1] = { "type", "string" },
      [2] = { inline = { [1] = { "object", envelope(NODE, STATUS), prefixed = true } } },
    },
  },
}
