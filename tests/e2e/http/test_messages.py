"""What must pass whole: bodies of every framing, interim responses, ranges, trailers, streams, tunnels; and what must wait for a slow side."""
import concurrent.futures
import os
import socket
import subprocess
import time

import pytest


@pytest.fixture
def gw(standin, gateway):
    made = gateway({"grafana": standin("grafana")}, [{"from": "clients", "to": "grafana", "over": "main"}])
    return made


HOST = b"Host: grafana.home.example\r\n"


def read_head(tls, got=b""):
    while b"\r\n\r\n" not in got:
        piece = tls.recv(65536)
        assert piece, got
        got += piece
    head, rest = got.split(b"\r\n\r\n", 1)
    return head, rest


def test_a_body_with_a_length_arrives_whole(gw):
    body = os.urandom(300_000)
    answer = gw.get("macbook", "grafana", "/upload", method="POST", body=body)
    assert answer.status == 200 and str(len(body)) in answer.text


def test_a_chunked_body_arrives_whole_in_both_directions(gw):
    body = [os.urandom(7000) for _ in range(40)]
    answer = gw.get("macbook", "grafana", "/echo?chunked=1", method="POST", body=iter(body))
    assert answer.status == 200 and answer.body == b"".join(body)


def test_head_has_the_length_and_no_body(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"HEAD /bytes/1000 HTTP/1.1\r\n" + HOST + b"\r\nGET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        head, rest = read_head(tls)
        assert b"content-length: 1000" in head.lower()
        second, _ = read_head(tls, rest)
        assert second.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_leaves_the_connection_usable(gw, status):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /status/%d HTTP/1.1\r\n" % status + HOST + b"\r\nGET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        head, rest = read_head(tls)
        assert head.split()[1] == b"%d" % status and b"transfer-encoding" not in head.lower()
        second, _ = read_head(tls, rest)
        assert second.startswith(b"HTTP/1.1 200")


def test_early_hints_come_before_the_answer(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /early-hints HTTP/1.1\r\n" + HOST + b"\r\n")
        head, rest = read_head(tls)
        assert head.startswith(b"HTTP/1.1 103")
        assert read_head(tls, rest)[0].startswith(b"HTTP/1.1 200")


def test_expect_100_continue_is_the_instances_word(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        head, rest = read_head(tls)
        assert head.startswith(b"HTTP/1.1 100")
        tls.sendall(b"hello")
        assert read_head(tls, rest)[0].startswith(b"HTTP/1.1 200")


def test_a_refused_expectation_saves_the_upload(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
        head, _ = read_head(tls)
        assert head.split()[1].startswith(b"4") and b"connection: close" in head.lower()


def test_ranges_pass(gw):
    answer = gw.get("macbook", "grafana", "/bytes/1000", headers={"Range": "bytes=10-19"})
    assert answer.status == 206 and len(answer.body) == 10 and answer.header("Content-Range", "").startswith("bytes 10-19/")


def test_response_trailers_pass(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /trailers HTTP/1.1\r\n" + HOST + b"TE: trailers\r\nConnection: TE, close\r\n\r\n")
        got = b""
        while piece := tls.recv(65536):
            got += piece
        assert b"\r\n0\r\n" in got
        assert b":" in got.split(b"\r\n0\r\n", 1)[1], got


def test_events_come_one_by_one_and_the_head_before_any(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /events?n=3&interval_ms=300 HTTP/1.1\r\n" + HOST + b"\r\n")
        started = time.monotonic()
        head, rest = read_head(tls)
        assert b"text/event-stream" in head
        arrivals = []
        while len(arrivals) < 3:
            if b"data:" in rest:
                arrivals.append(time.monotonic() - started)
                rest = rest.split(b"data:", 1)[1]
            else:
                rest += tls.recv(65536)
        assert arrivals[2] - arrivals[0] > 0.4, arrivals


def test_a_client_that_leaves_an_event_stream_frees_the_instance(gw):
    tls = gw.tls("macbook", "grafana")
    tls.sendall(b"GET /events?n=100000&interval_ms=50 HTTP/1.1\r\n" + HOST + b"\r\n")
    read_head(tls)
    tls.close()
    record = gw.records(at_least=1, surface="main")[0]
    assert record["status"] == 200 and record["reason"]


def test_websocket_echo(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head, rest = read_head(tls)
        assert head.startswith(b"HTTP/1.1 101") and b"s3pplmbitxaq9kygzzhzrbk+xoo=" in head.lower()
        frame = b"\x81\x85\x01\x02\x03\x04" + bytes(c ^ m for c, m in zip(b"hello", b"\x01\x02\x03\x04\x01"))
        tls.sendall(frame)
        while len(rest) < 7:
            rest += tls.recv(100)
        assert rest == b"\x81\x05hello"


def test_bytes_sent_ahead_of_the_switch_stay_behind_when_it_is_refused(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /plain HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /second HTTP/1.1\r\n" + HOST + b"\r\n")
        head, rest = read_head(tls)
        assert head.startswith(b"HTTP/1.1 200")
        got = rest
        while b'/second' not in got:
            piece = tls.recv(65536)
            assert piece, got
            got += piece


def test_http_1_0_gets_no_chunks_and_an_end(gw):
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /bytes/100000?chunked=1 HTTP/1.0\r\n" + HOST + b"\r\n")
        head, got = read_head(tls)
        assert b"transfer-encoding" not in head.lower()
        while piece := tls.recv(65536):
            got += piece
        assert len(got) == 100000


def memory_kb(gw):
    """Peak resident size of the workers."""
    peaks = []
    for role in gw.status()["roles"]:
        if role["role"] == "worker":
            with open(f"/proc/{role['pid']}/status", encoding="ascii") as status:
                peaks += [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    assert peaks
    return max(peaks)


def test_a_client_that_does_not_read_stops_the_instance_not_the_gate(gw):
    before = memory_kb(gw)
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(b"GET /bytes/2000000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        read_head(tls)
        other = gw.get("macbook", "grafana", "/bytes/30000000")
        assert len(other.body) == 30000000
        assert memory_kb(gw) - before < 8000


def test_an_instance_that_does_not_read_stops_the_client_not_the_gate(standin, gateway, directory):
    listener = socket.create_server(("127.0.0.1", 0))
    gw = gateway({"slow": {"host": "gw", "port": listener.getsockname()[1], "address": "127.0.0.1"}}, [{"from": "clients", "to": "slow", "over": "main"}])
    before = memory_kb(gw)
    with gw.tls("macbook", "slow") as tls:
        tls.sendall(b"POST / HTTP/1.1\r\nHost: slow.home.example\r\nContent-Length: 2000000000\r\n\r\n")
        tls.settimeout(1)
        sent = 0
        try:
            while sent < 200_000_000:
                sent += tls.send(b"x" * 65536)
        except (socket.timeout, TimeoutError):
            pass
        assert sent < 100_000_000
        assert memory_kb(gw) - before < 8000
    listener.close()


def test_a_fast_upload_that_pauses_is_passed_on_up_to_the_pause(gateway):
    """The gate may wait for more of a client that sends much, but not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gw = gateway({"sink": {"host": "gw", "port": listener.getsockname()[1], "address": "127.0.0.1"}}, [{"from": "clients", "to": "sink", "over": "main"}])
        with gw.tls("macbook", "sink") as tls:
            tls.sendall(b"POST / HTTP/1.1\r\nHost: sink.home.example\r\nContent-Length: 2000000000\r\n\r\n")
            instance, _ = listener.accept()
            with instance:
                instance.settimeout(10)
                got = b""
                while b"\r\n\r\n" not in got:
                    got += instance.recv(65536)
                received, sent = len(got.split(b"\r\n\r\n", 1)[1]), 0
                for _ in range(2):
                    tls.settimeout(0.3)
                    try:  # until all buffers are full: what follows comes as fast as it can be read
                        while True:
                            sent += tls.send(b"x" * 16384)
                    except (socket.timeout, TimeoutError):
                        pass
                    while received < sent:
                        received += len(instance.recv(1 << 20))
                    tls.settimeout(10)
                    sent += tls.send(b"x" * 16384)
                    while received < sent:  # times out where that is never passed on
                        received += len(instance.recv(1 << 20))


def test_fast_downloads_that_stall_prevent_no_constant_memory(gw):
    """Large pieces are for who takes them; when many stop at once, what is held in all stays within the worker's bound."""
    gw.get("macbook", "grafana")
    before, stalled = memory_kb(gw), []
    try:
        for _ in range(100):
            tls = gw.tls("macbook", "grafana")
            stalled.append(tls)
            tls.sendall(b"GET /bytes/2000000000 HTTP/1.1\r\n" + HOST + b"\r\n")
            got = 0
            while got < 3_000_000:
                got += len(tls.recv(1 << 20))
        assert gw.get("macbook", "grafana").status == 200, "the others are served"
        assert memory_kb(gw) - before < 100 * 200 + 16_384
    finally:
        for tls in stalled:
            tls.close()


def test_fast_transfers_starve_nobody(gw):
    gw.get("macbook", "grafana")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        fast = [pool.submit(gw.curl, "macbook", "grafana", "/bytes/400000000", "--http1.1", "--output", "/dev/null") for _ in range(3)]
        n_small = 0
        while not all(transfer.done() for transfer in fast):
            assert gw.get("macbook", "grafana").status == 200
            n_small += 1
        assert all(transfer.result().returncode == 0 for transfer in fast)
    assert n_small >= 10


def test_large_transfers_are_whole(gw):
    answer = gw.get("macbook", "grafana", "/bytes/50000000")
    assert len(answer.body) == 50_000_000
    answer = gw.get("macbook", "grafana", "/upload", method="POST", body=answer.body)
    assert "50000000" in answer.text


def test_gigabytes_each_way_in_constant_memory(gw):
    """POSTERN_TEST_GIGABYTES (1 unless set) down and up, over HTTP/1.1 and HTTP/2."""
    size = int(os.environ.get("POSTERN_TEST_GIGABYTES", "1")) * 10**9
    gw.get("macbook", "grafana")
    before = memory_kb(gw)
    for version in ("--http1.1", "--http2"):
        down = gw.curl("macbook", "grafana", f"/bytes/{size}", version, "--output", "/dev/null", "--write-out", "%{size_download} %{http_code}", timeout_s=300)
        assert down.stdout == b"%d 200" % size, down
        with subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE) as zeros:
            up = gw.curl("macbook", "grafana", "/upload", version, "--upload-file", "-", "--write-out", "%{http_code}", timeout_s=300,
                         stdin=zeros.stdout)
        assert b'"body_length":%d,' % size in up.stdout and up.stdout.endswith(b"200"), up
    after = memory_kb(gw)
    print(f"{size // 10**9} GB each way: peak size {before} kB before, {after} kB after")
    assert after - before < 8000
