"""HTTP/2 attacks: each ends with the attacker's connection closed, while another client of the same worker is served."""
import struct
import time

import pytest

from lib import h2 as lib_h2
from lib.h2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, hpack

ENHANCE_YOUR_CALM = 11


@pytest.fixture
def gw(standin, gateway):
    return gateway({"grafana": standin("grafana")}, [{"from": "clients", "to": "grafana", "over": "main"}])


def attack(gw, frames, limit=20_000):
    """Sends frames (an iterator of bytes) until the connection is closed; returns how many it took. Another client stays served."""
    with lib_h2.connect(gw, "iphone") as good, lib_h2.connect(gw) as attacker:
        attacker.until(lambda: attacker.settings_seen)
        n = 0
        try:
            for n, one in enumerate(frames, 1):
                attacker.sock.sendall(one)
                if n >= limit:
                    break
        except OSError:
            pass
        attacker.sock.settimeout(10)
        start = time.monotonic()
        assert good.get("/").status == 200
        assert time.monotonic() - start < 2
        attacker.wait_closed()
        return n


REQUEST = hpack([(":method", "GET"), (":scheme", "https"), (":path", "/slow?ms=1000"), (":authority", "grafana.home.example")])


def streams():
    return range(1, 2**31, 2)


def test_rapid_reset_prevents_instance_exhaustion(gw):
    frames = (frame(HEADERS, END_STREAM | END_HEADERS, number, REQUEST) + frame(RST_STREAM, 0, number, struct.pack(">I", 8))
              for number in streams())
    attack(gw, frames)
    asked = [record for record in gw.records(service="grafana") if record["client"] == "127.0.0.13"]
    assert len(asked) < 1000, "the flood ended before it had asked for much"


def test_a_continuation_flood_prevents_memory_and_cpu_exhaustion(gw):
    def frames():
        yield frame(HEADERS, END_STREAM, 1, REQUEST)
        while True:
            yield frame(CONTINUATION, 0, 1, hpack([("x", "y" * 100)]))
    attack(gw, frames())


def test_empty_continuations_prevent_cpu_exhaustion(gw):
    def frames():
        yield frame(HEADERS, END_STREAM, 1, REQUEST)
        while True:
            yield frame(CONTINUATION, 0, 1)
    attack(gw, frames())


def test_a_settings_flood_prevents_cpu_exhaustion(gw):
    def frames():
        while True:
            yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))
    attack(gw, frames())


def test_a_ping_flood_prevents_cpu_exhaustion(gw):
    def frames():
        while True:
            yield frame(PING, 0, 0, b"12345678")
    attack(gw, frames())


def test_empty_data_frames_prevent_cpu_exhaustion(gw):
    def frames():
        yield frame(HEADERS, END_HEADERS, 1, hpack([(":method", "POST"), (":scheme", "https"), (":path", "/upload"),
                                                    (":authority", "grafana.home.example")]))
        while True:
            yield frame(DATA, 0, 1)
    attack(gw, frames())


def test_a_priority_flood_prevents_cpu_exhaustion(gw):
    def frames():
        while True:
            yield frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 1))
    attack(gw, frames())


def test_tiny_window_updates_prevent_cpu_exhaustion(gw):
    def frames():
        while True:
            yield frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))
    attack(gw, frames())


def test_unknown_frames_prevent_cpu_exhaustion(gw):
    def frames():
        while True:
            yield frame(0x77, 0, 0, b"what")
    attack(gw, frames())


def test_refused_heads_prevent_cpu_exhaustion(gw):
    def frames():
        for number in streams():
            yield frame(HEADERS, END_STREAM | END_HEADERS, number, hpack([(":method", "GET"), (":scheme", "https"), (":path", "/ bad"),
                                                                          (":authority", "grafana.home.example")]))
    attack(gw, frames())


def test_padding_only_data_prevents_cpu_exhaustion(gw):
    def frames():
        yield frame(HEADERS, END_HEADERS, 1, hpack([(":method", "POST"), (":scheme", "https"), (":path", "/upload"),
                                                    (":authority", "grafana.home.example")]))
        while True:
            yield frame(DATA, 8, 1, b"\x07" + b"\0" * 7)
    attack(gw, frames())


def test_streams_past_the_limit_are_refused_and_the_rest_served(gw):
    with gw.tls("macbook", "grafana", alpn=["h2"]) as tls:
        tls.sendall(lib_h2.PREFACE + frame(SETTINGS) + b"".join(frame(HEADERS, END_STREAM | END_HEADERS, number, REQUEST)
                                                                for number in range(1, 221, 2)))
        answered, refused = set(), set()
        for kind, flags, stream, payload in lib_h2.frames(tls):
            if kind == HEADERS:
                answered.add(stream)
            elif kind == RST_STREAM:
                assert payload == struct.pack(">I", 7), "REFUSED_STREAM: it may be asked again"
                refused.add(stream)
            if len(answered) + len(refused) == 110:
                break
        assert len(answered) == 100 and len(refused) == 10


def test_the_score_is_forgotten_in_time_and_ordinary_cancelling_is_borne(gw):
    with lib_h2.connect(gw) as client:
        for _ in range(100):
            number = client.request("/slow?ms=500")
            client.conn.reset_stream(number, 8)
            client.flush()
        assert client.get("/").status == 200 and client.goaway is None


def test_a_compression_bomb_prevents_memory_exhaustion(gw):
    """One 4 KB field in the table, referred to over and over: what it stands for passes the cap at once."""
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        name = b"x-bomb"
        value = b"b" * 3900
        literal = b"\x40" + bytes([len(name)]) + name + b"\x7f" + bytes([(len(value) - 127) & 127 | 128, (len(value) - 127) >> 7]) + value
        block = REQUEST + literal + b"\xbe" * 12000
        client.streams[1] = lib_h2.Stream()
        client.conn.get_next_available_stream_id()
        client.raw(frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
        data = b""
        client.sock.settimeout(5)
        while b"431 Request" not in data:
            piece = client.sock.recv(65536)
            assert piece, data
            data += piece


def test_what_never_comes_prevents_no_connection_slot(gw):
    """No preface, and a head that never ends: both have ten seconds."""
    with gw.tls("macbook", "grafana", alpn=["h2"]) as silent, gw.tls("macbook", "grafana", alpn=["h2"]) as slow:
        slow.sendall(lib_h2.PREFACE + frame(SETTINGS) + frame(HEADERS, END_STREAM, 1, REQUEST))
        for tls in (silent, slow):
            tls.settimeout(25)
            while tls.recv(65536):
                pass
