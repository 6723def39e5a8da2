"""Gives back what comes: echo.py udp/ADDRESS:PORT tcp/ADDRESS:PORT ...; a datagram or line "?peer" is answered with who asks."""
import selectors
import socket
import sys


def serve_udp(one):
    try:
        data, peer = one.recvfrom(65536)
        one.sendto(peer[0].encode() + b" %d" % peer[1] if data == b"?peer" else data, peer)
    except OSError:
        pass


def serve_tcp(selector, one):
    try:
        data = one.recv(1 << 20)
        if data == b"?peer\n":
            data = b"%s %d\n" % (one.getpeername()[0].encode(), one.getpeername()[1])
        if data:
            one.setblocking(True)
            one.sendall(data)
            one.setblocking(False)
            return
    except BlockingIOError:
        return
    except OSError:
        pass
    selector.unregister(one)
    one.close()


def main():
    selector = selectors.DefaultSelector()
    for what in sys.argv[1:]:
        transport, _, place = what.partition("/")
        host, _, port = place.rpartition(":")
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host.strip("[]"), int(port)))
        if transport == "tcp":
            one.listen(512)
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ, transport)
        print(what, flush=True)
    while True:
        for key, _ in selector.select():
            if key.data == "udp":
                serve_udp(key.fileobj)
            elif key.data == "tcp":
                connection, _ = key.fileobj.accept()
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, "connection")
            else:
                serve_tcp(selector, key.fileobj)


main()
