"""Echoes on TCP and UDP ports, of all addresses, until it is killed: echo.py PORT...  Says "ready" once it listens."""
import selectors
import socket
import sys


def bound(kind, port):
    one = socket.socket(socket.AF_INET6, kind)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    one.bind(("::", port))
    return one


def main():
    selector = selectors.DefaultSelector()
    for port in map(int, sys.argv[1:]):
        tcp = bound(socket.SOCK_STREAM, port)
        tcp.listen(64)
        selector.register(tcp, selectors.EVENT_READ, "listener")
        selector.register(bound(socket.SOCK_DGRAM, port), selectors.EVENT_READ, "udp")
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            one = key.fileobj
            try:
                if key.data == "listener":
                    selector.register(one.accept()[0], selectors.EVENT_READ, "stream")
                elif key.data == "udp":
                    data, asked, _, sender = one.recvmsg(2048, 256)
                    one.sendmsg([data], asked, 0, sender)  # from the address that was asked
                else:
                    data = one.recv(65536)
                    if data:
                        one.sendall(data)
                    else:
                        selector.unregister(one)
                        one.close()
            except OSError:
                if key.data == "stream":
                    selector.unregister(one)
                    one.close()


main()
