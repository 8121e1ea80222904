-- SPDX-License-Identifier: Apache-2.0
-- Limits of how much a pod may send and receive, as the bandwidth plugin takes them, in words of traffic control.

local core = require "mncni.core"
local mncni_net = require "mncni.net"

local shaping = {}

-- What waits longer than this is dropped: microseconds.
local LATENCY = 25000

-- The kernel counts a burst as the time that it takes at its rate: 32 bits of 64 ns.
local LONGEST = 274 -- seconds

local MOST = 0xffffffff -- bytes; struct tc_tbf_qopt has 32 bits for them

-- What the largest frame has besides the MTU: an Ethernet header with a VLAN tag.
local FRAME = 18

local function refuse(key, message, ...)
  error(core.error { code = 7, object = key, message = message:format(...) }, 0)
end

local function limit_of(conf, side)
  local rate_key, burst_key = side .. "Rate", side .. "Burst"
  local rate, burst = conf[rate_key] or 0, conf[burst_key] or 0
  for key, value in pairs { [rate_key] = rate, [burst_key] = burst } do
    if math.type(value) ~= "integer" or value < 0 then
      refuse(key, "expected a number of bits from 0, got %s", tostring(value))
    end
  end
  if rate > 0 and burst == 0 then
    refuse(burst_key, "if %s is set, %s must be set too (in bits)", rate_key, burst_key)
  elseif burst > 0 and rate == 0 then
    refuse(rate_key, "if %s is set, %s must be set too (in bits per second)", burst_key, rate_key)
  elseif rate == 0 then
    return nil
  elseif rate < 8 then
    refuse(rate_key, "%d bits per second are less than a byte per second", rate)
  elseif burst // 8 >= MOST then
    refuse(burst_key, "it is %d bits, and cannot be 4 GiB or more", burst)
  end
  return { rate = rate // 8, burst = burst // 8, key = burst_key }
end

-- limits(conf, runtime) returns { ingress, egress }, each { rate, burst } in bytes or nil for no limit. conf has
-- ingressRate, ingressBurst, egressRate and egressBurst in bits; where it has none of them, runtime (which may be nil)
-- is asked. Raises code 7 for what cannot be, naming the key.
function shaping.limits(conf, runtime)
  local given = conf
  if not (conf.ingressRate or conf.ingressBurst or conf.egressRate or conf.egressBurst) then
    given = type(runtime) == "table" and runtime or {}
  end
  return { ingress = limit_of(given, "ingress"), egress = limit_of(given, "egress") }
end

-- A handle that tells the disciplines of one attachment from those of others ("53c8:"), for proof of ownership. Those
-- from 8000: on are the kernel's to give out (linux/net/sched/sch_api.c, qdisc_alloc_handle).
function shaping.handle(pod)
  return ("%x:"):format(core.journal.hash(pod.container .. "\n" .. pod.ifname) & 0x7fff | 1)
end

-- The name of the device that the packets of a pod pass: the same for the same attachment, 14 bytes long.
function shaping.ifname(pod)
  local name = table.concat({ pod.network, pod.container, pod.ifname }, "\n")
  return ("bwp%011x"):format(core.journal.hash(name) & 0xfffffffffff)
end

-- A burst that the kernel can count and that lets a frame of the MTU pass: a smaller one would stop all large packets.
local function burst_of(pod, limit, mtu)
  local least = mtu + FRAME
  if limit.burst < least then
    pod:warn(("%s is less than a frame of %d bytes, which would never pass; it is raised to that (%d bits)")
      :format(limit.key, least, least * 8))
  end
  return math.min(math.max(limit.burst, least), limit.rate * LONGEST > least and limit.rate * LONGEST or least)
end

-- Four bytes at a time, as u32 compares: keys for an address at off that lies in the subnet.
local function keys_of(subnet, off)
  local keys, left = {}, subnet.prefix
  for at = 1, subnet.family == "inet" and 1 or 4 do
    local bits = math.max(0, math.min(32, left))
    local mask = bits == 0 and 0 or 0xffffffff << 32 - bits & 0xffffffff
    if mask ~= 0 or at == 1 then
      keys[#keys + 1] = { val = string.unpack(">I4", subnet.network.bytes, 4 * at - 3) & mask, mask = mask,
        off = off + 4 * (at - 1) }
    end
    left = left - 32
  end
  return keys
end

-- Where the far address stands in a header (RFC 791, RFC 8200): the source of what comes to the pod.
local far = { ingress = { inet = 12, inet6 = 8 }, egress = { inet = 16, inet6 = 24 } }

-- By the far address: a class with the limit, and one without. chosen go into one, all others into the other.
local function classes(pod, args, tbf, chosen, shaped)
  local host, dev, handle = pod.host, args.dev, shaping.handle(pod)
  local function class(minor, rate, burst)
    host.class.add { dev = dev, parent = handle, handle = handle .. minor, kind = "htb",
      htb = { rate = rate, ceil = rate, burst = burst, cburst = burst, quantum = args.mtu + FRAME } }
  end
  host.qdisc.add { dev = dev, parent = "root", handle = handle, kind = "htb", htb = { default = shaped and 1 or 0x30 } }
  class("1", MOST, math.max(tbf.burst, 1 << 20))
  class("30", tbf.rate, tbf.burst)
  for i, subnet in ipairs(chosen) do
    host.filter.add { dev = dev, parent = handle, prio = i, kind = "u32",
      protocol = subnet.family == "inet" and "ip" or "ipv6", u32 = {
        flowid = handle .. (shaped and "30" or "1"), sel = { keys = keys_of(subnet, far[args.side][subnet.family]) },
      } }
  end
end

-- Limits what leaves through a link of the node: a token bucket at its root. args: dev, mtu, side ("ingress" or "egress"
-- of the pod), limit (of shaping.limits), and, as lists of cidr values of what is far from the pod, shaped (nothing
-- else is limited) or unshaped (everything else is).
function shaping.limit(pod, args)
  local limit = args.limit
  local burst = burst_of(pod, limit, args.mtu)
  local tbf = { rate = limit.rate, burst = burst, limit = math.min(MOST, limit.rate * LATENCY // 1000000 + burst) }
  if args.shaped or args.unshaped then
    classes(pod, args, tbf, args.shaped or args.unshaped, args.shaped ~= nil)
  else
    pod.host.qdisc.add { dev = args.dev, parent = "root", handle = shaping.handle(pod), kind = "tbf", tbf = tbf }
  end
end

-- Sends all that comes in through one link of the node out through another; an ifb hands it back to where it came in.
function shaping.redirect(pod, from, to)
  pod.host.qdisc.add { dev = from, kind = "ingress" }
  pod.host.filter.add { dev = from, parent = "ffff:", prio = 1, protocol = "all", kind = "u32", u32 = {
    sel = { keys = { { val = 0, mask = 0, off = 0 } } },
    actions = { { kind = "mirred", eaction = "egress redirect", to_dev = to, action = "stolen" } },
  } }
end

-- Raises code 50 where the kernel lacks what limits are made of: they are made, in a namespace that nobody else sees.
function shaping.supported(shaped, unshaped)
  local function make()
    local space <close> = core.netns.create()
    local host <close> = mncni_net.of(space)
    local pod = { host = host, container = "", ifname = "" }
    host.link.add { ifname = "ifb0", kind = "ifb" }
    shaping.limit(pod, {
      dev = "ifb0", mtu = 1500, side = "egress", limit = { rate = 125000, burst = 125000 }, shaped = shaped,
      unshaped = unshaped,
    })
    shaping.redirect(pod, "ifb0", "ifb0")
  end
  local ok, err = pcall(make)
  if not ok then
    error(core.error {
      code = 50, object = "the kernel", details = core.is_error(err) and err.details or nil,
      message = ("it refuses what limits are made of (%s); it needs ifb, sch_tbf, sch_htb, sch_ingress, cls_u32 and "
        .. "act_mirred"):format(tostring(err)),
    }, 0)
  end
end

return shaping
