"""Listens on TCP ports (says "hi" and hangs up) and UDP ports (echoes), as a user; prints "ready" once it does. listen.py '[tcp, udp, uid]'"""
import json
import os
import selectors
import socket
import sys

tcp, udp, uid = json.loads(sys.argv[1])
selector = selectors.DefaultSelector()
if uid:
    os.setgroups([])
    os.setresuid(uid, uid, uid)
for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
    for port in ports:
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            s = socket.socket(family, kind)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM:
                s.listen(64)
            selector.register(s, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if key.data == socket.SOCK_STREAM:
            connection, _ = key.fileobj.accept()
            connection.send(b"hi")
            connection.close()
        else:
            data, sender = key.fileobj.recvfrom(100)
            key.fileobj.sendto(data, sender)
