"""Instances that speak HTTP/2 without TLS (protocol: h2c): shared connections, trailers, gRPC, WebSocket, and instances that misbehave."""
import base64
import hashlib
import json
import os
import threading

import h2.events
import h2.settings
import pytest

from lib import h2 as lib_h2
from lib.process import wait_until

CONNECT = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


@pytest.fixture
def gw(standin, gateway):
    return gateway({"grafana": standin("grafana", protocol="h2c")})


@pytest.fixture
def instance(gateway, free_port):
    """instance(handler) returns a gateway before an h2c instance that handler plays, and that instance."""
    made = []

    def make(handler, settings=None):
        made.append(lib_h2.H2Instance(free_port(), handler, settings))
        return gateway({"grafana": made[-1].declaration()}), made[-1]

    yield make
    for one in made:
        one.close()


def test_both_kinds_of_client_reach_it(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: grafana.home.example\r\n\r\n")
        assert tls.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n"), "with the phrase that HTTP/2 doesn't carry"
    answer = gw.get("macbook", "grafana", "/x")
    assert answer.status == 200 and answer.json()["protocol"].startswith("h2") and answer.json()["path"] == "/x"
    assert answer.seen["x-forwarded-for"] == ["127.0.0.13"] and answer.seen["postern-host"] == ["macbook"]
    assert answer.json()["authority"] == f"grafana.home.example:{gw.port['main']}"
    with lib_h2.connect(gw) as client:
        assert json.loads(client.get("/y").body)["path"] == "/y"


def test_many_exchanges_share_a_connection(gw):
    with lib_h2.connect(gw) as client:
        numbers = [client.request("/slow?ms=30") for _ in range(60)]
        connections = {json.loads(client.wait(number).body)["connection"] for number in numbers}
        assert len(connections) == 1


def test_a_cold_rush_is_answered_on_several_connections(gw):
    """More at once than one connection takes, from several clients, before there is any connection."""
    clients = [lib_h2.connect(gw, principal) for principal in ("macbook", "iphone", "kobo") * 2]
    for client in clients:
        client.until(lambda: client.settings_seen)
    asked = [[client.request(f"/slow?ms=300&n={n}", flush=False) for n in range(100)] for client in clients]
    for client in clients:
        client.flush()
    connections = set()
    for client, numbers in zip(clients, asked):
        for n, number in enumerate(numbers):
            answer = client.wait(number)
            assert answer.status == 200, answer
            seen = json.loads(answer.body)
            assert seen["path"] == f"/slow?ms=300&n={n}"
            connections.add(seen["connection"])
        client.close()
    assert 6 <= len(connections) <= 20


@pytest.mark.parametrize("length", [0, 1, 65_536, 2_000_000])
def test_bodies_arrive_whole_in_both_directions(gw, length):
    body = os.urandom(length)
    answer = gw.get("macbook", "grafana", "/echo", method="POST", body=body)
    assert answer.status == 200 and answer.body == body
    with lib_h2.connect(gw) as client:
        assert client.wait(client.request("/echo", "POST", body=body), 20).body == body


def test_a_large_download_arrives_whole(gw):
    done = gw.curl("macbook", "grafana", "/bytes/30000000", "--http1.1", "-o", "/dev/stdout")
    assert len(done.stdout) == 30_000_000


def test_grpc_trailers_pass(gw):
    with lib_h2.connect(gw) as client:
        answer = client.wait(client.request("/trailers", "POST", [("te", "trailers"), ("content-type", "application/grpc")], body=b"\0\0\0\0\0"))
        assert answer.status == 200 and answer.trailers
        failed = client.wait(client.request("/grpc/fail", "POST", [("te", "trailers"), ("content-type", "application/grpc")], body=b""))
        fields = dict(failed.headers) | dict(failed.trailers or [])
        assert fields.get("grpc-status") not in (None, "0")


def test_an_http_1_client_gets_trailers_in_chunks(gw):
    done = gw.curl("macbook", "grafana", "/trailers", "--http1.1", "--raw", "-H", "TE: trailers")
    assert done.returncode == 0 and b"\r\n0\r\n" in done.stdout, done


def test_head_has_the_length_and_no_body(gw):
    answer = gw.get("macbook", "grafana", "/bytes/1000", method="HEAD")
    assert answer.header("content-length") == "1000" and answer.body == b""
    assert gw.get("macbook", "grafana", "/status/204").status == 204


def test_events_come_when_they_happen(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/events?n=3&interval_ms=200")
        client.until(lambda: client.streams[number].body.count(b"\n\n") >= 1)
        assert not client.streams[number].ended
        client.wait(number)


def test_a_client_that_does_not_read_holds_up_nobody_on_the_shared_connection(gw):
    with lib_h2.connect(gw, "iphone", acknowledge=False) as stuck, lib_h2.connect(gw) as client:
        numbers = [stuck.request("/bytes/100000000") for _ in range(40)]
        stuck.until(lambda: sum(len(stuck.streams[n].body) for n in numbers) >= 65_535)
        assert len(client.get("/bytes/3000000").body) == 3_000_000


def test_a_client_that_goes_away_ends_its_stream_only(gw):
    with lib_h2.connect(gw) as client:
        first = json.loads(client.get("/").body)["connection"]
        other = lib_h2.connect(gw, "iphone")
        number = other.request("/events?n=1000&interval_ms=20")
        other.until(lambda: other.streams[number].body)
        other.close()
        assert json.loads(client.get("/").body)["connection"] == first


# ---- instances that break off, refuse, leave ----

def test_a_stream_reset_before_the_answer_is_a_502(gw):
    assert gw.get("macbook", "grafana", "/evil/reset").status == 502
    assert gw.get("macbook", "grafana", "/").status == 200


def test_a_connection_that_breaks_is_a_502_and_the_next_request_gets_a_new_one(gw):
    for path in ("/evil/close", "/evil/connection-reset", "/evil/garbage"):
        assert gw.get("macbook", "grafana", path).status == 502, path
        assert gw.get("macbook", "grafana", "/").status == 200


def test_a_refused_stream_is_asked_again_once(instance):
    asked = []

    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            asked.append(event.stream_id)
            if len(asked) == 1:
                conn.reset_stream(event.stream_id, 7)
            else:
                conn.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
                conn.send_data(event.stream_id, b"ok", end_stream=True)

    gw, _ = instance(handler)
    assert gw.get("macbook", "grafana", "/").body == b"ok" and len(asked) == 2


def test_an_instance_that_always_refuses_prevents_no_endless_asking(instance):
    asked = []

    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            asked.append(event.stream_id)
            conn.reset_stream(event.stream_id, 7)

    gw, _ = instance(handler)
    assert gw.get("macbook", "grafana", "/").status == 502 and len(asked) == 2


def test_goaway_moves_new_requests_to_a_new_connection(instance):
    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            conn.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
            conn.send_data(event.stream_id, b"ok", end_stream=True)
            conn.close_connection(last_stream_id=event.stream_id)

    gw, served = instance(handler)
    for n in range(1, 4):
        assert gw.get("macbook", "grafana", "/").body == b"ok"
        assert served.n_connections == n


def test_malformed_responses_prevent_response_splitting(instance):
    bad = {"/value": [(":status", "200"), ("x", "a\r\nset-cookie: b")], "/name": [(":status", "200"), ("x y", "a")],
           "/upper": [(":status", "200"), ("X", "a")], "/no-status": [("x", "y")], "/connection": [(":status", "200"), ("connection", "close")],
           "/lengths": [(":status", "200"), ("content-length", "1"), ("content-length", "1")], "/101": [(":status", "101")]}

    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            path = dict(event.headers)[":path"]
            conn.config.validate_outbound_headers = conn.config.normalize_outbound_headers = False
            conn.send_headers(event.stream_id, bad[path])
            conn.send_data(event.stream_id, b"poison", end_stream=True)

    gw, _ = instance(handler)
    for path in bad:
        answer = gw.get("macbook", "grafana", path)
        assert answer.status == 502 and b"poison" not in answer.body, path


def test_a_body_that_differs_from_its_length_breaks_the_answer(instance):
    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            conn.send_headers(event.stream_id, [(":status", "200"), ("content-length", "100")])
            conn.send_data(event.stream_id, b"short", end_stream=True)

    gw, _ = instance(handler)
    done = gw.curl("macbook", "grafana", "/", "--http1.1")
    assert done.returncode != 0, "the client notices"
    done = gw.curl("macbook", "grafana", "/", "--http2")
    assert done.returncode != 0


def test_endless_interims_prevent_cpu_exhaustion(instance):
    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            for _ in range(1000):
                conn.send_headers(event.stream_id, [(":status", "103"), ("link", "</a>")])

    gw, _ = instance(handler)
    done = gw.curl("macbook", "grafana", "/", "-o", "/dev/stderr", "-w", "%{http_code}")
    assert done.stdout == b"502", done


def test_a_flooding_instance_is_cut_off(instance):
    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            try:
                for _ in range(5000):
                    sock.sendall(lib_h2.frame(lib_h2.PING, 0, 0, b"12345678"))
            except OSError:
                pass

    gw, _ = instance(handler)
    assert gw.get("macbook", "grafana", "/").status == 502


# ---- WebSocket ----

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def echo_tunnel(conn, sock, event):
    """An instance that accepts extended CONNECT and gives back what comes."""
    if isinstance(event, h2.events.RequestReceived):
        headers = dict(event.headers)
        assert headers[":method"] == "CONNECT" and headers[":protocol"] == "websocket" and "sec-websocket-key" not in headers
        conn.send_headers(event.stream_id, [(":status", "200"), ("sec-websocket-protocol", "chat")])
    elif isinstance(event, h2.events.DataReceived):
        conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        conn.send_data(event.stream_id, event.data)
    elif isinstance(event, h2.events.StreamEnded):
        conn.end_stream(event.stream_id)


def http_1_upgrade(gw, tls, key):
    tls.sendall(b"GET /ws HTTP/1.1\r\nHost: grafana.home.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + key +
                b"\r\nSec-WebSocket-Version: 13\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        piece = tls.recv(4096)
        assert piece, data
        data += piece
    return data


def test_an_http_1_websocket_reaches_an_http_2_instance(instance):
    gw, _ = instance(echo_tunnel, CONNECT)
    key = base64.b64encode(os.urandom(16))
    with gw.tls("macbook", "grafana") as tls:
        head = http_1_upgrade(gw, tls, key)
        assert head.startswith(b"HTTP/1.1 101")
        assert base64.b64encode(hashlib.sha1(key + GUID).digest()) in head, "the accept key is what the client expects"
        tls.sendall(b"\x81\x85abcd" + b"hello")
        data = b""
        while len(data) < 11:
            data += tls.recv(100)
        assert data == b"\x81\x85abcdhello"


def test_an_http_2_websocket_reaches_an_http_2_instance(instance):
    gw, _ = instance(echo_tunnel, CONNECT)
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        number = client.request(pseudo=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws"),
                                        (":authority", client.authority)], headers=[("sec-websocket-version", "13")], end=False)
        client.until(lambda: client.streams[number].status == 200)
        client.send(number, b"hello")
        client.until(lambda: client.streams[number].body == b"hello")
        client.send(number, b"", end=True)
        assert client.wait(number).ended


def test_an_instance_without_extended_connect_is_a_502(gw):
    with gw.tls("macbook", "grafana") as tls:
        assert http_1_upgrade(gw, tls, base64.b64encode(os.urandom(16))).startswith(b"HTTP/1.1 502")


def test_an_http_2_websocket_reaches_an_http_1_instance(standin, gateway):
    gw = gateway({"grafana": standin("grafana")})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        number = client.request(pseudo=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws"),
                                        (":authority", client.authority)], headers=[("sec-websocket-version", "13")], end=False)
        client.until(lambda: client.streams[number].status is not None)
        assert client.streams[number].status == 200 and client.streams[number].header("sec-websocket-accept") is None
        client.send(number, b"\x81\x85\0\0\0\0hello")
        client.until(lambda: b"hello" in client.streams[number].body, what="the echo")


def test_an_http_1_instance_that_does_not_switch_prevents_a_false_websocket(standin, gateway):
    gw = gateway({"grafana": standin("grafana")})
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        number = client.request(pseudo=[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/no-socket"),
                                        (":authority", client.authority)], end=False)
        client.until(lambda: client.streams[number].status is not None)
        assert client.streams[number].status == 502


# ---- what is left of a request ----

def test_an_answer_that_does_not_wait_for_the_request_prevents_streams_left_open(instance):
    """The instance never takes a body; each answered stream is ended by the gate, or a connection's 100 would be used up one by one."""
    resets = []

    def handler(conn, sock, event):
        if isinstance(event, h2.events.RequestReceived):
            conn.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
            conn.send_data(event.stream_id, b"ok", end_stream=True)
        elif isinstance(event, h2.events.StreamReset):
            resets.append(event.stream_id)

    gw, served = instance(handler, {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    assert gw.get("macbook", "grafana").body == b"ok"  # its settings are known from here on
    with gw.tls("macbook", "grafana") as tls:
        for _ in range(120):
            tls.sendall(b"POST / HTTP/1.1\r\nHost: grafana.home.example\r\nContent-Length: 1000\r\n\r\n" + bytes(1000))
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                piece = tls.recv(4096)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200")
    wait_until(lambda: len(resets) == 120, what="the end of every stream")
    assert served.n_connections == 1
