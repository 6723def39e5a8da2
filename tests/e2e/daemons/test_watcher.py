"""postern-watcher on its own: status, reload and metrics, and what a hostile client or worker can't do to it."""
import json
import mmap
import os
import re
import socket
import struct
import time

import pytest

from lib import fake_parent
from lib.fake_parent import IPC, LISTENER_CONTROL, LISTENER_METRICS, METRICS, WATCHER, WORKER, message
from lib.process import wait_until


def unix_listener(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


@pytest.fixture
def watcher(role, directory):
    one = role("postern-watcher", WATCHER)
    control, metrics = os.path.join(directory, "control.sock"), os.path.join(directory, "metrics.sock")
    listeners = unix_listener(control), unix_listener(metrics)
    one.give_listener(listeners[0], LISTENER_CONTROL)
    one.give_listener(listeners[1], LISTENER_METRICS)

    def connect(path, data):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(path)
        client.sendall(data)
        return client

    def read_all(client):
        data = b""
        while got := client.recv(65536):
            data += got
        return data

    one.connect_control = lambda data=b"": connect(control, data)
    one.connect_metrics = lambda data=b"": connect(metrics, data)
    one.read_all = read_all
    one.ask = lambda request: json.loads(read_all(connect(control, json.dumps(request).encode() + b"\n")))
    one.status = lambda: one.ask({"ask": "status"})
    one.get = lambda request=b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n": read_all(connect(metrics, request)).decode()

    def role_state(role_number, pid, status="RUNNING", surface="", worker=0, **more):
        one.send(message("PARENT_ROLE_STATE", "ipc_role_state", role=role_number, pid=pid, status=IPC.constants["IPC_ROLE_" + status], worker=worker,
                         surface_name=surface, **more))
    one.role_state = role_state

    def page(surface, worker=0, **counters):
        """A worker's page; set(**counters) writes to it."""
        fd = os.memfd_create("page", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 4096)
        fake_parent.fcntl.fcntl(fd, fake_parent.fcntl.F_ADD_SEALS, fake_parent.fcntl.F_SEAL_SHRINK)
        memory = mmap.mmap(fd, 4096)

        def write(**values):
            memory[:METRICS.fields("metrics_page")[1]] = METRICS.pack("metrics_page", **values)
        write(**counters)
        one.send(message("PARENT_METRICS_PAGE", "ipc_metrics_page", surface=0, worker=worker, surface_name=surface), [fd])
        return write
    one.page = page
    yield one
    for listener in listeners:
        listener.close()


def parse_metrics(text):
    """Prometheus' text format, strictly: {(name, labels): value}, and {family: type}; every sample's family is announced, together, once."""
    samples, types, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in types, f"{current} announced twice"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == current and kind in ("counter", "gauge", "histogram")
            types[name] = kind
        else:
            match = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+]+)', line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name) if types.get(current) == "histogram" else name
            assert base == current, f"{name} in the family of {current}"
            if types[current] == "counter":
                assert name.endswith("_total")
            key = (name, tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))))
            assert key not in samples, f"{key} twice"
            samples[key] = float(value)
    return samples, types


def body(answer):
    head, _, rest = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n") and f"Content-Length: {len(rest.encode())}" in head
    assert "Content-Type: text/plain; version=0.0.4" in head
    return rest


def test_status_tells_roles_with_what_confines_them(watcher):
    watcher.role_state(fake_parent.KEEPER, 100, confinement=1 | 2 | 32, missing=4, generation=3, started_at=1_700_000_000)
    watcher.role_state(WORKER, 101, "DOWN", surface="main", worker=1, n_restarts=4, backoff_ms=800, last_exit="killed by SIGSEGV")
    roles = watcher.status()["roles"]
    keeper = next(role for role in roles if role["role"] == "keeper")
    assert keeper["confined"] == ["seccomp", "landlock", "no-new-privileges"] and keeper["missing"] == ["capabilities"]
    worker = next(role for role in roles if role["role"] == "worker")
    assert worker == {"role": "worker", "surface": "main", "worker": 1, "pid": 101, "status": "down", "confined": [], "missing": [], "restarts": 4,
                      "backoff_ms": 800, "generation": 0, "started_at": 0, "last_exit": "killed by SIGSEGV"}
    assert next(role for role in roles if role["role"] == "parent")["pid"] == os.getpid()


def test_a_restarted_role_takes_its_predecessors_place_and_a_drained_one_leaves(watcher):
    workers = lambda: [(r["pid"], r["status"]) for r in watcher.status()["roles"] if r["role"] == "worker"]
    watcher.role_state(WORKER, 10, surface="main")
    watcher.role_state(WORKER, 0, "DOWN", surface="main")
    watcher.role_state(WORKER, 11, surface="main")
    assert workers() == [(11, "running")]
    watcher.role_state(WORKER, 11, "DRAINING", surface="main")
    watcher.role_state(WORKER, 12, surface="main")
    assert sorted(workers()) == [(11, "draining"), (12, "running")]
    watcher.role_state(WORKER, 0, "GONE", surface="main")
    assert workers() == [(12, "running")]


def test_certificates_are_shown(watcher):
    watcher.send(message("KEEPER_STATE", "ipc_certificate_state", surface=0, source=2, not_after=1_800_000_000, name="*.home.example", trouble="dns: refused"))
    assert watcher.status()["certificates"] == [{"surface": "", "name": "*.home.example", "source": "acme", "not_after": 1_800_000_000, "trouble": "dns: refused"}]


def test_reload_asks_the_parent_and_brings_its_answer(watcher):
    client = watcher.connect_control(b'{"ask": "reload"}\n')
    other = watcher.connect_control(b'{"ask": "reload"}\n')
    requests = [watcher.receive("WATCHER_RELOAD", "ipc_reload")["request"] for _ in range(2)]
    assert len(set(requests)) == 2
    report = 'postern.yml:3:1: unknown key "x"\n'.encode()
    for number, request in enumerate(requests):
        watcher.send(message("PARENT_RELOAD_RESULT", "ipc_reload_result", request=request, generation=7, text_size=len(report), status=number,
                             revision="abc"), [fake_parent.sealed(report)])
    answers = [json.loads(watcher.read_all(one)) for one in (client, other)]
    assert sorted(answer["status"] for answer in answers) == [0, 1]
    assert answers[0]["generation"] == 7 and answers[0]["revision"] == "abc" and answers[0]["report"] == report.decode()
    assert watcher.status()["generation"] == 7


@pytest.mark.parametrize("nonsense", [b"\n", b"{\n", b"[]\n", b'{"ask":1}\n', b'{"ask":"shutdown"}\n', b"\xff\xfe\n", b'{"ask":"status","ask":"reload"}\n',
                                      b"[" * 4096, b"x" * 5000], ids=range(9))
def test_a_question_that_is_none_is_refused(watcher, nonsense):
    try:
        answer = watcher.read_all(watcher.connect_control(nonsense))
        assert "error" in json.loads(answer)
    except ConnectionResetError:
        assert len(nonsense) > 4096
    assert watcher.status()["roles"]


def test_other_users_get_no_answer_on_the_control_socket(watcher, directory):
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    os.chmod(os.path.join(directory, "control.sock"), 0o777)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            got = watcher.read_all(watcher.connect_control(b'{"ask": "status"}\n'))
        except OSError:
            got = b""
        os.write(write_end, b"%d" % len(got))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 10) == b"0"


def test_metrics_are_in_prometheus_format(watcher):
    watcher.role_state(fake_parent.KEEPER, 100, n_restarts=2, started_at=1_700_000_000)
    watcher.role_state(WORKER, 101, surface="main", worker=0)
    watcher.send(message("KEEPER_STATE", "ipc_certificate_state", surface=0, source=0, not_after=1_800_000_000, name='*.ho"me\\.example'))
    buckets = [0] * 16
    buckets[1], buckets[4], buckets[15] = 5, 3, 1
    watcher.page("main", requests_by_class=[1, 0, 200, 0, 4, 2], connections_open=3, records_dropped=9, latency_count=buckets, latency_sum_us=2_500_000)
    samples, types = parse_metrics(body(watcher.get()))
    main = ("surface", "main")
    assert samples["postern_requests_total", (("status", "2xx"), main)] == 200
    assert samples["postern_requests_total", (("status", "5xx"), main)] == 2
    assert samples["postern_connections_open", (main,)] == 3
    assert samples["postern_log_records_dropped_total", (main,)] == 9
    assert types["postern_request_duration_seconds"] == "histogram"
    series = [(float("inf") if dict(labels)["le"] == "+Inf" else float(dict(labels)["le"]), value) for (name, labels), value in samples.items()
              if name == "postern_request_duration_seconds_bucket"]
    assert series == sorted(series) and [value for _, value in series] == sorted(value for _, value in series), "cumulative"
    assert len(series) == 16 and series[-1] == (float("inf"), 9) and series[0] == (0.0001, 0) and series[1] == (0.00025, 5)
    assert samples["postern_request_duration_seconds_count", (main,)] == 9
    assert samples["postern_request_duration_seconds_sum", (main,)] == 2.5
    assert samples["postern_role_restarts_total", (("role", "keeper"),)] == 2
    assert samples["postern_role_up", (("role", "worker"), main, ("worker", "0"))] == 1
    assert any(name == "postern_certificate_not_after_seconds" and value == 1_800_000_000 for (name, _), value in samples.items())


def test_totals_never_go_back_when_a_worker_ends(watcher):
    total = lambda: parse_metrics(body(watcher.get()))[0]
    main = ("surface", "main")
    watcher.role_state(WORKER, 101, surface="main")
    watcher.page("main", requests_by_class=[0, 0, 50, 0, 0, 0], connections_open=7)
    assert total()["postern_connections_open", (main,)] == 7
    watcher.role_state(WORKER, 0, "DOWN", surface="main")
    assert total()["postern_connections_open", (main,)] == 0, "with the worker its connections are gone"
    assert total()["postern_requests_total", (("status", "2xx"), main)] == 50
    watcher.role_state(WORKER, 102, surface="main")
    watcher.page("main", requests_by_class=[0, 0, 1, 0, 0, 0], connections_open=2)
    assert total()["postern_requests_total", (("status", "2xx"), main)] == 51
    assert total()["postern_connections_open", (main,)] == 2


def test_a_worker_that_drains_still_counts(watcher):
    main = ("surface", "main")
    watcher.role_state(WORKER, 101, surface="main")
    old = watcher.page("main", connections_open=5)
    watcher.role_state(WORKER, 101, "DRAINING", surface="main")
    watcher.role_state(WORKER, 102, surface="main")
    watcher.page("main", connections_open=1)
    old(connections_open=4)
    assert parse_metrics(body(watcher.get()))[0]["postern_connections_open", (main,)] == 5


def test_more_pages_than_are_kept_lose_no_count(watcher):
    for number in range(600):
        watcher.page("main", worker=number % 4, requests_by_class=[0, 0, 1, 0, 0, 0])
    samples = parse_metrics(body(watcher.get()))[0]
    assert samples["postern_requests_total", (("status", "2xx"), ("surface", "main"))] == 600


@pytest.mark.parametrize("request_line, status", [("GET / HTTP/1.1", 404), ("GET /metrics/ HTTP/1.1", 404), ("POST /metrics HTTP/1.1", 405), ("GET /metrics", 400),
                                                  ("nonsense", 400), ("GET /metrics?x=1 HTTP/1.0", 200), ("HEAD /metrics HTTP/1.1", 200)])
def test_only_metrics_are_served(watcher, request_line, status):
    answer = watcher.get(request_line.encode() + b"\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ")
    if request_line.startswith("HEAD"):
        assert answer.endswith("\r\n\r\n")


def test_an_endless_request_is_ended(watcher):
    answer = watcher.get(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 4072)
    assert answer.startswith("HTTP/1.1 431 ")


def test_held_connections_keep_no_scraper_out(watcher):
    held = [watcher.connect_metrics(b"GET /met") for _ in range(40)]
    parse_metrics(body(watcher.get()))
    assert len(held) == 40
    assert len(os.listdir(f"/proc/{watcher.process.pid}/fd")) < 60


def test_a_connection_that_says_nothing_is_ended(watcher):
    started = time.monotonic()
    held = watcher.connect_metrics()
    assert held.recv(1) == b""
    assert time.monotonic() - started < 9


def test_metrics_over_tcp(watcher):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        watcher.give_listener(listener, LISTENER_METRICS)
        client = socket.create_connection(listener.getsockname(), timeout=10)
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        parse_metrics(body(watcher.read_all(client).decode()))


def test_it_holds_no_capability_and_opens_no_file(role, directory):
    one = role("postern-watcher", WATCHER, uid=64997)
    with open(f"/proc/{one.process.pid}/status") as text:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in text)
    assert status["Uid"].split() == ["64997"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    with unix_listener(os.path.join(directory, "c.sock")) as listener, socket.socket(socket.AF_UNIX) as client:
        one.give_listener(listener, LISTENER_CONTROL)
        client.settimeout(10)
        client.connect(listener.getsockname())
        client.sendall(b'{"ask":"status"}\n')
        assert client.recv(10) == b'{"version"'
