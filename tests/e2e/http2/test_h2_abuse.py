"""What a hostile client can do where HTTP/2 meets HTTP/1 or a slow instance: nothing to the instance, to the others, to its own other streams."""
import os
import socket
import struct
import threading

import pytest

from lib import h2 as lib_h2
from lib.process import wait_until


class RawInstance:
    """A server on 127.0.0.1, or on a unix socket: what each connection receives is kept; talk(socket, received so far, connection's number) answers."""

    def __init__(self, port, talk, receive_buffer=None, unix=None):
        self.port, self.unix, self.talk, self.received = port, unix, talk, []
        self.go_on, self.reads_to = threading.Event(), 0
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(unix or ("127.0.0.1", port))
        if unix:
            os.chmod(unix, 0o777)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.received.append(bytearray())
            threading.Thread(target=self.serve, args=(sock, len(self.received) - 1), daemon=True).start()

    def serve(self, sock, number):
        try:
            self.talk(self, sock, number)
            while piece := sock.recv(65536):
                self.received[number] += piece
        except OSError:
            pass
        sock.close()

    def read_until(self, sock, number, mark):
        while mark not in self.received[number]:
            piece = sock.recv(65536)
            if not piece:
                raise OSError
            self.received[number] += piece

    def declaration(self, **more):
        return {"host": "gw", **({"unix": self.unix} if self.unix else {"port": self.port}), **more}

    def close(self):
        self.go_on.set()
        self.listener.close()


@pytest.fixture
def raw_instance(free_port):
    made = []

    def make(talk, **arguments):
        made.append(RawInstance(free_port(), talk, **arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_data_after_a_websocket_was_denied_prevents_request_smuggling(raw_instance, gateway):
    """The instance answers without switching and goes on answering; what the client sends on is not HTTP/1 to it."""
    def deny(instance, sock, number):
        instance.read_until(sock, number, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        instance.go_on.wait(10)
        sock.setblocking(False)
        try:
            instance.received[number] += sock.recv(65536)
        except BlockingIOError:
            pass
        sock.setblocking(True)
        sock.sendall(b"4\r\nlast\r\n0\r\n\r\n")

    instance = raw_instance(deny)
    gw = gateway({"grafana": instance.declaration()})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        number = client.request(pseudo=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws"),
                                        (":authority", client.authority)], end=False)
        client.until(lambda: client.streams[number].body == b"first")
        client.send(number, b"GET /smuggled HTTP/1.1\r\nHost: admin\r\nPostern-Host: root\r\n\r\n", end=True)
        client.get("/nowhere", authority="unknown.home.example")  # the data before it has been dealt with
        instance.go_on.set()
        client.until(lambda: client.streams[number].over)
        assert client.streams[number].status == 403
        assert b"smuggled" not in b"".join(instance.received)


def h2c_that_reads(n, windows=2**30):
    """Opens its windows wide, then reads n bytes at each go_on, and to the end after the last (None)."""
    def talk(instance, sock, number):
        instance.read_until(sock, number, lib_h2.PREFACE)
        settings = b"\0\4" + (2**31 - 1).to_bytes(4, "big") + b"\0\3" + (100).to_bytes(4, "big")
        sock.sendall(lib_h2.frame(lib_h2.SETTINGS, payload=settings) + lib_h2.frame(lib_h2.SETTINGS, lib_h2.ACK) +
                     lib_h2.frame(lib_h2.WINDOW_UPDATE, payload=windows.to_bytes(4, "big")))
        for _ in range(n):
            instance.go_on.wait(20)
            instance.go_on.clear()
            while len(instance.received[number]) < instance.reads_to:
                piece = sock.recv(16384)
                if not piece:
                    return
                instance.received[number] += piece
    return talk


def answered_elsewhere(client):
    """The gateway has read everything that the client sent before."""
    assert client.get("/", authority="unknown.home.example").status == 404


def fill(client, numbers):
    """Sends on each stream until no window opens any more."""
    def rooms():
        return [min(client.conn.local_flow_control_window(number), client.conn.max_outbound_frame_size) for number in numbers]

    quiet = 0
    while quiet < 2:
        quiet = 0 if any(rooms()) else quiet + 1
        while any(rooms()):
            for number, room in zip(numbers, rooms()):
                if room := min(room, client.conn.outbound_flow_control_window):
                    client.conn.send_data(number, bytes(room))
            client.flush()
        answered_elsewhere(client)


def test_streams_given_up_while_the_instance_does_not_read_leave_nothing_behind_that_is_sent(raw_instance, gateway, directory):
    """A DATA frame that the instance's socket did not take belongs to a stream whose client has given it up meanwhile."""
    instance = raw_instance(h2c_that_reads(4), unix=os.path.join(directory, "h2c.sock"))
    gw = gateway({"grafana": instance.declaration(protocol="h2c")})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        numbers = [client.request("/x", "POST", end=False) for _ in range(14)]
        fill(client, numbers)
        wait_until(lambda: instance.received and len(instance.received[0]) > 0, what="the instance was reached")
        for _ in range(3):
            instance.reads_to = len(instance.received[0]) + 200_000
            instance.go_on.set()
            wait_until(lambda: len(instance.received[0]) >= instance.reads_to, what="some of it")
            fill(client, numbers)
        for number in numbers:
            client.conn.reset_stream(number, 8)
        client.flush()
        answered_elsewhere(client)
        instance.reads_to = 2**31
        instance.go_on.set()
        wait_until(lambda: instance.received[0].count(b"\0\0\4\3\0") >= len(numbers), what="the resets")
        answered_elsewhere(client)


def test_streams_given_up_prevent_no_other_stream_from_sending(raw_instance, standin, gateway):
    """What was sent and will never be taken gives the connection's window back."""
    instance = raw_instance(lambda instance, sock, number: instance.go_on.wait(20), receive_buffer=4096)
    gw = gateway({"grafana": standin("grafana"), "slow": instance.declaration()})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        for _ in range(24):
            number = client.request("/x", "POST", end=False, authority=f"slow.home.example:{gw.port['main']}",
                                    headers=[("content-length", "90000000")])
            fill(client, [number])
            client.conn.reset_stream(number, 8)
            answered_elsewhere(client)
        body = bytes(3_000_000)
        assert client.wait(client.request("/echo", "POST", body=body)).body == body


def test_a_client_that_resets_its_connection_is_noticed_while_the_instance_does_not_read(raw_instance, gateway):
    instance = raw_instance(lambda instance, sock, number: instance.go_on.wait(30), receive_buffer=4096)
    gw = gateway({"grafana": instance.declaration()})
    tls = gw.tls("macbook", "grafana")
    tls.sendall(b"POST /x HTTP/1.1\r\nHost: grafana.home.example\r\nContent-Length: 100000000\r\n\r\n")
    tls.settimeout(1)
    with pytest.raises((TimeoutError, socket.timeout)):
        while True:
            tls.sendall(bytes(65536))
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tls.close()
    assert gw.records(at_least=1, service="grafana")


def test_streams_that_the_gateway_must_reset_prevent_a_rapid_reset_by_it(standin, gateway):
    """A body longer than announced makes us reset the stream; that costs the client as much as resetting it itself."""
    gw = gateway({"grafana": standin("grafana")})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        try:
            for _ in range(10):
                numbers = [client.request("/slow?ms=5000", "POST", headers=[("content-length", "1")], end=False) for _ in range(60)]
                client.raw(b"".join(lib_h2.frame(lib_h2.DATA, lib_h2.END_STREAM, number, b"two") for number in numbers))
                client.until(lambda: all(client.streams[number].over for number in numbers))
        except (OSError, AssertionError):
            pass
        client.wait_closed()


def test_the_answer_to_an_upload_that_was_denied_is_not_lost_to_a_reset(standin, gateway):
    gw = gateway({"grafana": standin("grafana")})
    for _ in range(3):
        with gw.tls("macbook", "grafana") as tls:
            tls.sendall(b"POST /x HTTP/1.1\r\nHost: unknown.home.example\r\nContent-Length: 16000000\r\n\r\n" + bytes(16_000_000))
            assert tls.recv(100).startswith(b"HTTP/1.1 404")
