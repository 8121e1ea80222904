# SPDX-License-Identifier: Apache-2.0
"""A TCP flow, measured where it arrives.

flow.py receive ADDRESS PORT SKIP SECONDS  waits for a connection and prints the bytes per second that came in the
                                           SECONDS after the first SKIP ones
flow.py send ADDRESS PORT                  sends until the other side goes
"""
import socket
import sys
import time

command, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET

if command == "receive":
    skip, seconds = float(sys.argv[4]), float(sys.argv[5])
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(1)
    print("ready", flush=True)
    server.settimeout(60)
    peer, _ = server.accept()
    peer.settimeout(60)
    begin = time.monotonic()
    first = last = None
    count = 0
    while True:
        size = len(peer.recv(1 << 20))
        now = time.monotonic()
        if size == 0:
            sys.exit("the sender went")
        if now - begin < skip:
            continue
        if first is None:
            first = now
            continue
        count, last = count + size, now
        if now - first >= seconds:
            break
    print(count / (last - first), flush=True)
else:
    peer = socket.socket(family)
    peer.settimeout(60)
    for attempt in range(100):
        try:
            peer.connect((address, port))
            break
        except OSError:
            peer.close()
            time.sleep(0.1)
            peer = socket.socket(family)
            peer.settimeout(60)
    data = bytes(1 << 16)
    try:
        while True:
            peer.sendall(data)
    except OSError:
        pass
