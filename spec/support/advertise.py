# SPDX-License-Identifier: Apache-2.0
# advertise.py LINK PREFIX: sends one router advertisement (RFC 4861) over a link, which names the sender as default
# router for half an hour and has a /64 prefix to make addresses of.
import socket
import struct
import sys

link, prefix = socket.if_nametoindex(sys.argv[1]), socket.inet_pton(socket.AF_INET6, sys.argv[2])
router = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link)
information = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + prefix
router.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + information, ("ff02::1", 0, 0, link))
