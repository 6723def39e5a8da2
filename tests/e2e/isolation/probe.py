"""Tries where this network namespace reaches: probe.py '[["tcp", ADDRESS, PORT], ["udp", ADDRESS, PORT], ...]' [SECONDS].

Prints, in that order, "open" (it connected, or an answer came), "refused" (somebody said no) or "silent"."""
import json
import selectors
import socket
import sys
import time


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def start(protocol, address, port):
    one = socket.socket(family_of(address), socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    one.setblocking(False)
    try:
        one.connect(socket.getaddrinfo(address, port, family_of(address), one.type)[0][4])  # with the zone of a link-local one
        if protocol == "udp":
            one.send(b"hello")
    except BlockingIOError:
        pass
    return one


def result_of(one, protocol):
    try:
        if protocol == "udp":
            one.recv(100)
            return "open"
        return "open" if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 else "refused"
    except OSError:
        return "refused"


def main():
    wanted, limit_s = json.loads(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    results, selector = ["silent"] * len(wanted), selectors.DefaultSelector()
    for i, (protocol, address, port) in enumerate(wanted):
        try:
            selector.register(start(protocol, address, port), selectors.EVENT_READ if protocol == "udp" else selectors.EVENT_WRITE, (i, protocol))
        except OSError:
            results[i] = "refused"
    deadline = time.monotonic() + limit_s
    while selector.get_map() and time.monotonic() < deadline:
        for key, _ in selector.select(max(0, deadline - time.monotonic())):
            i, protocol = key.data
            results[i] = result_of(key.fileobj, protocol)
            selector.unregister(key.fileobj)
    print(json.dumps(results))


main()
