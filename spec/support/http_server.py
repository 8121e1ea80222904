#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A web server that behaves, or misbehaves, as the path asks: what the specs of mncni.http talk to.

http_server.py [--cert FILE --key FILE [--client-ca FILE]] [--file FILE] [--proxy]
Listens on a port of its own on every address, and prints "PID PORT" when it does.
"""
import argparse
import gzip
import json
import os
import socket
import ssl
import struct
import threading
import time

options = argparse.ArgumentParser()
for name in ("--cert", "--key", "--client-ca", "--file"):
    options.add_argument(name)
options.add_argument("--proxy", action="store_true")
options = options.parse_args()

connections = 0


def head(status, *lines):
    return ("HTTP/1.1 %s\r\n" % status + "".join(line + "\r\n" for line in lines) + "\r\n").encode()


def whole(status, body, *lines):
    return head(status, "Content-Length: %d" % len(body), *lines) + body


def chunk(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


def send_file(conn, headers):
    with open(options.file, "rb") as file:
        data = file.read()
    if "gzip" in headers.get("accept-encoding", ""):
        data = gzip.compress(data, 1)
        conn.sendall(head("200 OK", "Content-Length: %d" % len(data), "Content-Encoding: gzip"))
    else:
        conn.sendall(head("200 OK", "Content-Length: %d" % len(data)))
    conn.sendall(data)


def endless(conn, first, piece):
    conn.sendall(first)
    while True:
        conn.sendall(piece)


# Answers one request; what returns True ends the connection.
def answer(conn, number, method, target, headers, body):
    path, _, query = target.partition("?")
    query = dict(item.split("=", 1) for item in query.split("&") if "=" in item)
    if path == "/hello":
        conn.sendall(whole("200 OK", b"hello", "X-Connection: %d" % number, "X-Twice: a", "x-twice:b "))
    elif path == "/echo":
        seen = {"method": method, "target": target, "headers": headers, "body": body.hex() if len(body) < 1000 else len(body)}
        conn.sendall(whole("200 OK", json.dumps(seen).encode(), "Content-Type: application/json"))
    elif path == "/chunks":
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + head("200 OK", "Transfer-Encoding: chunked"))
        for i in range(int(query["count"])):
            conn.sendall(chunk(b'{"type":"ADDED","object":{"n":%d,"dropped":"xxxx"}}\n' % i))
            time.sleep(float(query.get("pause", 0)))
        conn.sendall(b"0\r\nX-Trailer: 1\r\n\r\n")
    elif path == "/items":
        count = int(query["count"])
        items = ",".join('{"n":%d,"x":"%s"}' % (i, "y" * int(query.get("size", 10))) for i in range(count))
        text = '{"metadata":{"resourceVersion":"5"},"items":[%s]}' % items
        if "cut" in query:
            text = text[: int(query["cut"])]
        conn.sendall(whole("200 OK", text.encode()))
    elif path == "/file":
        send_file(conn, headers)
    elif path == "/gzip":
        conn.sendall(whole("200 OK", gzip.compress(b"z" * int(query["size"])), "Content-Encoding: gzip"))
    elif path == "/badgzip":
        conn.sendall(whole("200 OK", b"this is not gzip", "Content-Encoding: gzip"))
    elif path == "/redirect":
        conn.sendall(whole("302 Found", b"", "Location: http://127.0.0.1:%d/hello" % port))
    elif path == "/status":
        body = b'{"kind":"Status","code":%d}' % int(query["code"])
        conn.sendall(whole(query["code"] + " Some Words", body, "Retry-After: 7"))
    elif path == "/silent":
        time.sleep(1000)
    elif path == "/stuck":
        conn.sendall(head("200 OK", "Transfer-Encoding: chunked") + chunk(b"12"))
        time.sleep(1000)
    elif path == "/late":  # a document of 1 MiB, a little later a small one, and no more
        conn.sendall(head("200 OK", "Transfer-Encoding: chunked") + chunk(b'{"n":"%s"}' % (b"x" * (1 << 20))))
        time.sleep(0.2)
        conn.sendall(chunk(b'{"n":"late"}'))
        time.sleep(1000)
    elif path == "/huge":
        endless(conn, head("200 OK", "Transfer-Encoding: chunked"), chunk(b"x" * 65536))
    elif path == "/headers":
        endless(conn, b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 1000 + b"\r\n")
    elif path == "/short":
        conn.sendall(head("200 OK", "Content-Length: 100") + b"too short")
        return True
    elif path == "/half":
        conn.sendall(head("200 OK", "Transfer-Encoding: chunked") + chunk(b"half"))
        return True
    elif path == "/reset":
        conn.sendall(head("200 OK", "Content-Length: 100") + b"before it broke")
        time.sleep(0.05)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True
    elif path == "/nothing":
        return True
    elif path == "/garbage":
        conn.sendall(b"\x15\x03\x01 this is not HTTP\r\n\r\n")
        return True
    elif path == "/leave":  # says that it stays, and goes
        conn.sendall(whole("200 OK", b"bye", "X-Connection: %d" % number))
        return True
    else:
        conn.sendall(whole("404 Not Found", b"no such page"))
    return False


# A proxy: connects the two sides and notes that it did.
def tunnel(conn, target):
    host, _, to = target.rpartition(":")
    other = socket.create_connection((host.strip("[]"), int(to)))
    conn.sendall(b"HTTP/1.1 200 Connected\r\nX-Proxy: yes\r\n\r\n")

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threading.Thread(target=pump, args=(other, conn), daemon=True).start()
    pump(conn, other)


def read_request(reader):
    line = reader.readline().decode("latin-1").split()
    if len(line) < 3:
        return None
    headers = {}
    while (field := reader.readline().decode("latin-1").strip()):
        key, _, value = field.partition(":")
        headers[key.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    return line[0], line[1], headers, body


# What was sent before is not lost by a reset: the rest of what comes is read.
def shake_hands(conn):
    conn = context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)
    try:
        conn.do_handshake()
    except OSError:
        conn.settimeout(2)
        socket.socket.shutdown(conn, socket.SHUT_WR)
        while socket.socket.recv(conn, 65536):
            pass
        raise
    return conn


def serve(conn, number):
    try:
        if context:
            conn = shake_hands(conn)
        reader = conn.makefile("rb")
        while (request := read_request(reader)):
            if request[0] == "CONNECT" and options.proxy:
                tunnel(conn, request[1])
                break
            if answer(conn, number, *request):
                break
        reader.close()
    except OSError:
        pass
    finally:
        conn.close()


context = None
if options.cert:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    context.sni_callback = lambda sock, name, ctx: print("sni", name, flush=True)
    if options.client_ca:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED

listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
port = listener.getsockname()[1]
print(os.getpid(), port, flush=True)
while True:
    client, _ = listener.accept()
    connections += 1
    threading.Thread(target=serve, args=(client, connections), daemon=True).start()
