"""HTTP/2 to clients: messages pass whole, many at a time, and nobody waits for somebody else."""
import json
import os
import signal
import socket
import struct
import time

import h2.settings
import pytest

from lib import h2 as lib_h2
from lib.process import wait_until

GRANTS = [{"from": "clients", "to": "grafana", "over": "main"}]


@pytest.fixture
def gw(standin, gateway):
    return gateway({"grafana": standin("grafana")}, GRANTS)


def fields_of(stream):
    """What the stand-in saw, as a dict of lists."""
    seen = {}
    for name, value in json.loads(stream.body)["headers"]:
        seen.setdefault(name.lower(), []).append(value)
    return seen


def segments_in(sock):
    """Of data, that the kernel received (tcpi_data_segs_in)."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 152)[0]


def test_settings_come_with_the_session_ticket_and_not_after_it(gw):
    with gw.tls("macbook", "grafana", alpn=["h2"]) as sock:
        assert sock.recv(9)[3] == lib_h2.SETTINGS
        assert segments_in(sock) == 2, "the handshake's, and one with both"


def test_a_request_is_answered_with_its_identity(gw):
    with lib_h2.connect(gw) as client:
        answer = client.get("/x?y=1", headers=[("accept", "*/*"), ("x-own", "a")])
        assert answer.status == 200 and answer.ended
        assert json.loads(answer.body)["path"] == "/x?y=1"
        seen = fields_of(answer)
        assert seen["x-forwarded-for"] == ["127.0.0.13"] and seen["postern-host"] == ["macbook"] and seen["x-own"] == ["a"]
        assert len(answer.header("postern-request-id")) == 16
    record = gw.records(1, id=answer.header("postern-request-id"))[0]
    assert record["http"] == "2" and record["status"] == 200


def test_what_is_not_granted_looks_like_what_does_not_exist(gw):
    with lib_h2.connect(gw) as client:
        unknown = client.get("/", authority=f"nothing.home.example:{gw.port['main']}")
        assert unknown.status == 404 and b"404" in unknown.body
        assert client.get("/").status == 200, "the connection goes on"


def test_a_hundred_streams_at_once_are_all_answered(gw):
    with lib_h2.connect(gw) as client:
        client.until(lambda: client.settings_seen)
        assert client.conn.remote_settings.max_concurrent_streams == 100
        numbers = [client.request(f"/slow?ms=50&n={i}") for i in range(100)]
        bodies = [json.loads(client.wait(number).body)["path"] for number in numbers]
        assert bodies == [f"/slow?ms=50&n={i}" for i in range(100)]


def test_a_slow_stream_holds_up_nobody(gw):
    with lib_h2.connect(gw) as client:
        slow = client.request("/slow?ms=3000")
        for i in range(5):
            assert client.get(f"/{i}").status == 200
        assert not client.streams[slow].over


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 3_000_000])
def test_a_body_arrives_whole_in_both_directions(gw, length):
    body = os.urandom(length)
    with lib_h2.connect(gw) as client:
        answer = client.wait(client.request("/echo", "POST", body=body), 20)
        assert answer.status == 200 and answer.body == body
        announced = client.wait(client.request("/echo", "POST", [("content-length", str(length))], body=body), 20)
        assert announced.body == body


def test_a_body_shorter_than_announced_does_not_reach_the_instance_as_whole(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/upload", "POST", [("content-length", "10")], end=False)
        client.raw(lib_h2.frame(lib_h2.DATA, lib_h2.END_STREAM, number, b"short"))
        assert client.wait(number).reset is not None
        assert client.get("/").status == 200


def test_head_and_empty_answers_have_no_body(gw):
    with lib_h2.connect(gw) as client:
        head = client.get("/bytes/1000", method="HEAD")
        assert head.header("content-length") == "1000" and head.body == b"" and head.ended
        for status in (204, 304):
            answer = client.get(f"/status/{status}")
            assert answer.status == status and answer.body == b"" and answer.ended


def test_trailers_pass(gw):
    with lib_h2.connect(gw) as client:
        answer = client.get("/trailers", headers=[("te", "trailers")])
        assert answer.status == 200 and answer.trailers


def test_early_hints_pass_before_the_answer(gw):
    with lib_h2.connect(gw) as client:
        answer = client.get("/early-hints")
        assert [interim[":status"] for interim in answer.interims] == ["103"] and answer.status == 200


def test_continue_is_asked_and_answered(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/upload", "POST", [("expect", "100-continue"), ("content-length", "5")], end=False)
        client.until(lambda: client.streams[number].interims, what="100 Continue")
        client.send(number, b"hello", end=True)
        assert client.wait(number).status == 200


def test_cookie_crumbs_reach_an_http_1_instance_as_one_field(gw):
    with lib_h2.connect(gw) as client:
        answer = client.get("/", headers=[("cookie", "a=1"), ("x-between", "x"), ("cookie", "b=2"), ("cookie", "c=3")])
        assert fields_of(answer)["cookie"] == ["a=1; b=2; c=3"]


def test_events_come_when_they_happen(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/events?n=3&interval_ms=200")
        client.until(lambda: client.streams[number].status == 200)
        client.until(lambda: client.streams[number].body.count(b"\n\n") >= 1, what="the first event")
        assert not client.streams[number].ended
        assert client.wait(number).body.count(b"\n\n") >= 3


def test_an_answer_before_the_request_ends_stops_the_upload(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/refuse", "POST", end=False)
        client.send(number, b"x" * 1000)
        answer = client.wait(number)
        assert answer.status == 413 or answer.status >= 400
        client.until(lambda: client.streams[number].reset == 0, what="RST_STREAM with NO_ERROR")
        assert client.get("/").status == 200


def test_a_client_that_gives_up_ends_the_instances_work(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/events?n=1000&interval_ms=20")
        client.until(lambda: client.streams[number].status == 200)
        client.conn.reset_stream(number, 8)
        client.flush()
        assert client.get("/").status == 200
        record = gw.records(1, host="grafana.home.example", reason="the client reset the stream")[0]
        assert record["bytes_out"] > 0


def worker_kb(gw, what="VmRSS"):
    total = 0
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        try:
            with open(f"/proc/{process}/cmdline", "rb") as f:
                if b"postern-worker" not in f.read():
                    continue
            with open(f"/proc/{process}/status", encoding="ascii") as f:
                status = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
            if _descends(int(process), gw.process.pid):
                total += int(status[what].split()[0])
        except (OSError, KeyError):
            continue
    return total


def _descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            pid = int(f.read().rsplit(")", 1)[1].split()[1])
    return False


def test_clients_that_do_not_read_prevent_no_memory_growth(gw):
    """Each of 100 streams asks for a gigabyte and shuts its window: what is held is bounded per stream."""
    before = worker_kb(gw)
    assert before > 0
    with lib_h2.connect(gw, acknowledge=False) as client:
        numbers = [client.request("/bytes/1000000000") for _ in range(100)]
        client.until(lambda: all(client.streams[n].status == 200 for n in numbers))
        client.until(lambda: sum(len(client.streams[n].body) for n in numbers) >= 65_535)
        with lib_h2.connect(gw) as other:
            for _ in range(20):
                assert other.get("/").status == 200
        assert worker_kb(gw) - before < 30_000


def test_one_window_that_is_shut_holds_up_no_other_stream(gw):
    with lib_h2.connect(gw, acknowledge=False) as client:
        stuck = client.request("/bytes/10000000")
        client.until(lambda: len(client.streams[stuck].body) == 65_535)
        client.conn.increment_flow_control_window(1_000_000)  # the connection's, not the stream's
        client.flush()
        assert len(client.get("/bytes/50000").body) == 50_000


def bytes_of(n):
    """What the stand-in's /bytes/N answers."""
    return bytes(i % 251 for i in range(251)) * (n // 251) + bytes(i for i in range(n % 251))


def test_a_large_download_arrives_whole(gw):
    with lib_h2.connect(gw) as client:
        answer = client.wait(client.request("/bytes/20000000"), 30)
        assert answer.body == bytes_of(20_000_000) and answer.ended


@pytest.mark.parametrize("path", ["/bytes/6000000", "/bytes/6000000?chunked=1"])
@pytest.mark.parametrize("window", [100_000, 300_001, 2_000_003])
def test_frame_heads_are_written_over_nothing_that_is_still_to_be_sent(gw, path, window):
    """Windows that end in the middle of frames, records and readings of the instance; several downloads share the connection's."""
    with lib_h2.connect(gw, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}) as client:
        client.conn.increment_flow_control_window(window)
        client.flush()
        numbers = [client.request(path) for _ in range(3)]
        for number in numbers:
            assert client.wait(number, 30).body == bytes_of(6_000_000)


def test_an_upload_that_the_instance_does_not_read_waits_in_the_client(gw):
    with lib_h2.connect(gw) as client:
        number = client.request("/evil/never-read", "POST", end=False)
        sent = 0
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and sent < 64_000_000:
            room = min(client.conn.local_flow_control_window(number), 16_384)
            if room <= 0:
                client.sock.settimeout(1)
                try:
                    client.read()
                except TimeoutError:
                    break
                continue
            client.conn.send_data(number, b"u" * room)
            client.flush()
            sent += room
        assert sent < 32_000_000, "the windows close"
        assert client.get("/").status == 200


# ---- real clients ----

def test_curl_speaks_http_2(gw):
    done = gw.curl("macbook", "grafana", "/", "--http2", "-w", "%{http_version} %{http_code}")
    assert done.returncode == 0 and done.stdout.endswith(b"2 200")


def test_curl_uploads_and_downloads(gw, directory):
    path = os.path.join(directory, "body")
    with open(path, "wb") as f:
        f.write(os.urandom(8_000_000))
    done = gw.curl("macbook", "grafana", "/echo", "--http2", "--data-binary", f"@{path}", "-H", "content-type: application/octet-stream")
    with open(path, "rb") as f:
        assert done.stdout == f.read()


def test_curl_reuses_a_connection_for_many(gw):
    urls = [f"https://grafana.home.example:{gw.port['main']}/{i}" for i in range(50)]
    done = gw.curl("macbook", "grafana", "/first", "--http2", "-Z", "--parallel-max", "20", *urls, "-o", "/dev/null", "-w", "%{http_code}\n")
    assert done.stdout.split().count(b"200") >= 50, done


def test_uploads_given_up_on_prevent_no_later_upload(gateway, free_port):
    """What was held for a stream that is gone counts in the connection's window again."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", free_port()))
    listener.listen(100)
    with listener:
        gw = gateway({"grafana": {"host": "gw", "port": listener.getsockname()[1]}}, GRANTS)
        with lib_h2.connect(gw) as client:
            client.until(lambda: client.settings_seen)
            for _ in range(12):  # each is held to its window or the connection's, and given up
                number = client.request("/", "POST", end=False)
                for _ in range(200):
                    room = min(client.conn.local_flow_control_window(number), 16_384)
                    if room > 0:
                        client.send(number, b"u" * room)
                    client.sock.settimeout(0.001 if room > 0 else 0.2)
                    try:
                        client.read()
                    except TimeoutError:
                        if room <= 0:
                            break
                client.conn.reset_stream(number, 8)
                client.flush()
                client.until(lambda: client.conn.outbound_flow_control_window > 500_000, what="the connection's window")


def test_an_upgrade_of_the_gateway_lets_streams_end_and_sends_new_ones_elsewhere(gw):
    with gw.tls("macbook", "grafana", alpn=["h2"]) as tls:
        tls.sendall(lib_h2.PREFACE + lib_h2.frame(lib_h2.SETTINGS) +
                    lib_h2.frame(lib_h2.HEADERS, lib_h2.END_STREAM | lib_h2.END_HEADERS, 1, lib_h2.hpack(
                        {":method": "GET", ":scheme": "https", ":path": "/slow?ms=2500", ":authority": "grafana.home.example"})))
        frames = lib_h2.frames(tls)
        assert next(frames)[0] == lib_h2.SETTINGS
        os.kill(gw.process.pid, signal.SIGUSR2)
        seen = [(kind, stream, payload) for kind, _, stream, payload in frames if kind in (lib_h2.GOAWAY, lib_h2.HEADERS)]
    last = [int.from_bytes(payload[:4], "big") for kind, _, payload in seen if kind == lib_h2.GOAWAY]
    assert last[0] == 2**31 - 1 and last[-1] == 1, "announced first, then the last stream named"
    assert all(payload[4:8] == bytes(4) for kind, _, payload in seen if kind == lib_h2.GOAWAY)
    order = [kind for kind, _, _ in seen]
    assert lib_h2.HEADERS in order[order.index(lib_h2.GOAWAY):], "the answer came after the announcement, and the connection ended after it"
    assert gw.get("macbook", "grafana", "/").status == 200
    with open(os.path.join(gw.run_directory, "postern.pid"), encoding="ascii") as file:
        successor = int(file.read())
    assert successor != gw.process.pid
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f"/proc/{successor}"), what="the successor ends")
