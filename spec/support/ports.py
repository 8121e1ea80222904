# SPDX-License-Identifier: Apache-2.0
# ports.py serve NAME tcp:PORT ... udp:PORT ... sctp:PORT ...
#   answers each question with "NAME ADDRESS-OF-WHO-ASKS", in both families; prints "ready" once it can be asked.
# ports.py ask SOURCE-PORT SECONDS tcp|udp ADDRESS PORT ...
#   prints, for each question, the answer, or refused, timeout or another reason why there is none.
# ports.py sctp ADDRESS PORT
#   sends the first chunk of an SCTP association; who serves it prints "sctp PORT ADDRESS-OF-WHO-ASKS".
import select
import socket
import struct
import sys


def plain(address):
    return address[7:] if address.startswith("::ffff:") else address


def serve(name, ports):
    listening, sctp = {}, []
    for port in ports:
        kind, number = port.split(":")
        if kind == "sctp":  # no kernel needs to know how: the pod looks at packets
            sctp.append(int(number))
            continue
        one = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(("::", int(number)))
        if kind == "tcp":
            one.listen(64)
        listening[one] = kind
    if sctp:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
        listening[raw] = "sctp"
    print("ready", flush=True)
    while True:
        for one in select.select(list(listening), [], [])[0]:
            if listening[one] == "tcp":
                asked, peer = one.accept()
                try:
                    asked.sendall(("%s %s\n" % (name, plain(peer[0]))).encode())
                except OSError:
                    pass
                asked.close()
            elif listening[one] == "udp":
                _, peer = one.recvfrom(2000)
                one.sendto(("%s %s\n" % (name, plain(peer[0]))).encode(), peer)
            else:
                packet, peer = one.recvfrom(2000)
                port = struct.unpack(">H", packet[22:24])[0]
                if port in sctp:
                    print("sctp", port, peer[0], flush=True)


def ask(source, seconds, kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.settimeout(float(seconds))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if int(source):
        one.bind(("", int(source)))
    try:
        one.connect((address, int(port)))
        if kind == "udp":
            one.send(b"?")
        print(one.recv(2000).decode().strip() or "nothing")
    except ConnectionRefusedError:
        print("refused")
    except socket.timeout:
        print("timeout")
    except OSError as error:
        print(error.strerror)


def crc32c(data):  # RFC 9260, appendix A
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(address, port):
    init = struct.pack(">BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    header = struct.pack(">HHI", 40000, int(port), 0)
    header += struct.pack("<I", crc32c(header + b"\0\0\0\0" + init))
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 132).sendto(header + init, (address, 0))


if sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3:])
elif sys.argv[1] == "ask":
    for i in range(4, len(sys.argv), 3):
        ask(sys.argv[2], sys.argv[3], *sys.argv[i : i + 3])
else:
    sctp(*sys.argv[2:])
