"""A gateway's life: start and its refusals, change of the declaration, a new binary, the end."""
import ctypes
import os
import re
import signal
import socket

import pytest

from lib.load import Load
from lib.process import POSTERN, Process, wait_until
from lib.roles import children, field, is_running, pids_of, role_directory

SYS_PIDFD_GETFD = 438
GRANTS = [{"from": "clients", "to": "grafana", "over": "main"}]


@pytest.fixture
def gw(gateway, standin):
    return gateway({"grafana": standin("grafana")}, GRANTS, {"main": {"workers": 1}})


def hang_up(gw, told):
    """SIGHUP, until the log tells what is wanted once more."""
    before = gw.process.err().count(told)
    os.kill(gw.process.pid, signal.SIGHUP)
    wait_until(lambda: gw.process.err().count(told) > before, what=f"'{told}' is told")


def taken_listener(gw):
    """The parent's own listening socket of the surface."""
    libc, pidfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(gw.process.pid)
    try:
        for number in map(int, os.listdir(f"/proc/{gw.process.pid}/fd")):
            fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0)
            try:
                found = socket.socket(fileno=fd)
            except OSError:
                os.close(fd)
                continue
            if found.family == socket.AF_INET and found.getsockname()[1] == gw.port["main"]:
                return found
            found.close()
    finally:
        os.close(pidfd)
    raise AssertionError("the parent has no such listener")


def connected(gw):
    try:
        return socket.create_connection(("127.0.0.1", gw.port["main"]), 5)
    except ConnectionRefusedError:
        return None


# ---- start ----

def test_a_port_that_is_taken_is_named_with_its_holder_and_the_next_step(gateway, standin, free_port):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        gw = gateway({"grafana": standin("grafana")}, GRANTS, {"main": {"port": port}}, wait=False)
        assert gw.process.wait(20) == 1
        assert re.search(rf"port {port} on 127\.0\.0\.1 is held by \S+ \(process {os.getpid()}\): stop it, or", gw.process.err()), gw.process.err()


def test_it_listens_before_the_mesh_is_up(gw):
    """On addresses that the machine doesn't have yet, both families, each by a socket of the workers' uid for the firewall to know."""
    assert gw.stop() == 0
    hosts = gw.declaration["hosts"]
    gw.declaration = {**gw.declaration, "hosts": {**hosts, "gw": {**hosts["gw"], "address": ["127.0.0.1", "192.0.2.77", "2001:db8::77"]}}}
    gw.start()
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            for words in (line.split() for line in lines):
                address, _, port = words[1].partition(":")
                if words[3] == "0A" and int(port, 16) == gw.port["main"]:
                    found[address] = words[7]
    assert set(found) == {"0100007F", "4D0200C0", "B80D0120000000000000000077000000"}
    worker = pids_of(gw.process.pid, "worker")[0]
    assert set(found.values()) == {field(worker, "Uid").split()[0]}


def test_a_client_that_comes_before_the_workers_waits_and_gets_the_same_connection(gw, directory):
    """With Nagle's algorithm on it, its first answer would wait 40 ms for an acknowledgement."""
    assert gw.stop() == 0
    asleep = os.path.join(directory, "asleep")
    with open(asleep, "w", encoding="ascii") as script:
        script.write("#!/bin/sh\nexec sleep 20\n")
    os.chmod(asleep, 0o755)
    gw.start(wait=False, options=["--role-directory", role_directory(directory, worker=asleep)])
    with wait_until(lambda: connected(gw), what="there is a listener"), taken_listener(gw) as listener:
        with listener.accept()[0] as accepted:
            for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
                assert accepted.getsockopt(level, option) == 1
    os.kill(gw.process.pid, signal.SIGTERM)
    wait_until(lambda: "postern: ending" in gw.process.err(), what="it waits for the worker")
    gw.process.stop()  # the second ends at once what doesn't drain


def test_a_wrong_file_is_explained_and_nothing_starts(gateway):
    gw = gateway({}, wait=False, nonsense=1)
    assert gw.process.wait(20) == 1
    assert "nonsense" in gw.process.err() and "postern.yml:" in gw.process.err()
    assert not os.listdir(gw.run_directory)


def test_a_file_that_takes_gigabytes_to_compile_is_refused_with_the_reason(gw, directory):
    """Each of 64 surfaces has a view of its own of each of 100,000 services."""
    assert gw.stop() == 0
    path = os.path.join(directory, "large.yml")
    with open(path, "w", encoding="ascii") as out:
        out.write("postern: 1\ndomain: a.test\nsegments: { c: {} }\nhosts:\n  g: { segment: c, address: 127.0.0.1, gateway: true }\n")
        out.write("surfaces:\n" + "".join(f"  s{i}: {{ port: {20000 + i} }}\n" for i in range(64)))
        out.write("services:\n" + "".join(f"  x{i}: {{ host: g, port: 80 }}\n" for i in range(100000)))
        out.write("grants:\n" + "".join(f"  - {{ from: c, to: \"*\", over: s{i} }}\n" for i in range(64)))
    done = gw.command("run", "-f", path, "--host", "g", "--run-directory", gw.run_directory, "--state-directory", gw.state_directory, timeout_s=60)
    assert done.returncode == 1 and "takes more than 1024 MB of memory to compile" in done.stderr, done.stderr


def test_a_file_that_is_not_there_is_told(gw):
    assert gw.stop() == 0
    done = gw.command("run", "-f", "/nonexistent/postern.yml", "--run-directory", gw.run_directory, "--state-directory", gw.state_directory)
    assert done.returncode == 2 and "/nonexistent/postern.yml" in done.stderr


def test_a_fifo_in_the_files_place_does_not_hold_it_up(gw, directory):
    assert gw.stop() == 0
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    done = gw.command("run", "-f", path, "--run-directory", gw.run_directory, "--state-directory", gw.state_directory)
    assert done.returncode == 2 and "not a regular file" in done.stderr


def test_a_role_that_cannot_start_ends_the_start(gw, directory):
    assert gw.stop() == 0
    gw.start(wait=False, options=["--role-directory", role_directory(directory, keeper="/bin/false")])
    assert gw.process.wait(20) == 1
    assert "not starting: keeper ended with status 1" in gw.process.err()


def test_a_compiler_that_fails_is_told_and_nothing_starts(gw, directory):
    assert gw.stop() == 0
    gw.start(wait=False, options=["--role-directory", role_directory(directory, compiler="/bin/false")])
    assert gw.process.wait(20) == 2
    assert "the compiler ended with status 1" in gw.process.err()


def test_the_host_is_found_by_its_address_and_a_wrong_name_is_told(gw):
    assert gw.stop() == 0
    words = ["-f", gw.file, "--run-directory", gw.run_directory, "--state-directory", gw.state_directory]
    done = gw.command("run", *words, "--host", "nosuch")
    assert done.returncode == 1 and "no host 'nosuch' is declared" in done.stderr
    process = Process("by-address", [POSTERN, "run", *words], gw.directory)
    try:
        wait_until(lambda: "serving as gw" in process.err(), what="it knows who it is")
    finally:
        assert process.stop() == 0


def test_a_stale_pid_file_ends_nobody(gw):
    """postern upgrade looks at who has the number now."""
    assert gw.stop() == 0
    with open(os.path.join(gw.run_directory, "postern.pid"), "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    done = gw.command("upgrade", "--run-directory", gw.run_directory)
    assert done.returncode == 2 and "is no postern any more" in done.stderr
    os.unlink(os.path.join(gw.run_directory, "postern.pid"))


def test_unknown_options_are_refused(gw):
    assert gw.command("run", "--nonsense").returncode == 2
    assert gw.command("run", "--grace", "soon").returncode == 2
    assert gw.command("run", "--help").stdout.startswith("Usage: postern run")


def test_the_manager_is_notified(gw, directory, monkeypatch):
    """READY=1, and RELOADING=1 with its time, in the service manager's protocol."""
    assert gw.stop() == 0
    path = os.path.join(directory, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        gw.start()
        assert manager.recv(256) == b"READY=1"
        os.kill(gw.process.pid, signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(256))
        assert manager.recv(256) == b"READY=1"
        assert gw.stop() == 0
        assert manager.recv(256) == b"STOPPING=1"


# ---- change ----

def test_a_grant_that_comes_is_served_and_one_that_goes_is_not(gw):
    assert gw.get("macbook", "grafana").status == 200
    services = gw.declaration["services"]
    gw.declare(gw.make({}, [{"from": "iphone", "to": "grafana", "over": "main"}]) | {"services": services})
    hang_up(gw, "is in force")
    assert gw.get("iphone", "grafana").status == 200
    with pytest.raises(OSError):
        gw.get("macbook", "grafana")


def test_a_wrong_file_leaves_the_old_one_in_force(gw):
    gw.declare("postern: 1\ndomain: [not, a, name]\n")
    hang_up(gw, "the declaration in force stays")
    assert "postern.yml:2:" in gw.process.err()
    assert gw.get("macbook", "grafana").status == 200


def test_a_file_that_is_gone_leaves_the_old_one_in_force(gw):
    os.unlink(gw.file)
    hang_up(gw, "the declaration in force stays")
    assert gw.get("macbook", "grafana").status == 200


def test_a_surface_that_comes_is_served_and_one_that_goes_is_closed(gw, free_port):
    before = gw.declaration
    port = free_port()
    changed = gw.make({}, [*GRANTS, {"from": "ai", "to": "grafana", "over": "agents"}]) | {
        "services": before["services"], "surfaces": {**gw.surfaces, "agents": {"port": port, "workers": 1}}}
    with Load(gw, keep_alive=True) as load:
        gw.declare(changed)
        hang_up(gw, "is in force")
        gw.port["agents"] = port
        wait_until(lambda: gw._greets("agents"), what="the new surface greets")
        assert gw.get("robin", "grafana", surface="agents").status == 200
        gw.declare(before)
        hang_up(gw, "is in force")
        load.wait_for(5)
    assert not load.failures, load.failures
    wait_until(lambda: _refused(port), what="the old surface's port is closed")
    wait_until(lambda: len(pids_of(gw.process.pid, "worker")) == 1, what="its worker is gone")
    assert [surface["name"] for surface in gw.status()["surfaces"]] == ["main"]


def test_a_surface_before_the_others_changes_no_connection(gw, free_port):
    """Numbers of surfaces must not be taken for other surfaces' when the file's order changes."""
    before = gw.declaration
    first = {"early": {"port": free_port(), "workers": 1}, **gw.surfaces}
    with Load(gw) as load:
        gw.declare({**before, "surfaces": first})
        hang_up(gw, "is in force")
        load.wait_for(5)
    assert not load.failures, load.failures


def test_a_taken_port_refuses_the_change_and_names_its_holder(gw, free_port):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        gw.declare({**gw.declaration, "surfaces": {**gw.surfaces, "agents": {"port": port}}})
        hang_up(gw, "the declaration in force stays")
    assert f"(process {os.getpid()})" in gw.process.err()
    assert gw.get("macbook", "grafana").status == 200


def test_fifty_changes_under_load_fail_no_request(gw):
    extra = {f"extra-{i}": {"host": "gw", "port": 1000 + i} for i in range(50)}
    with Load(gw, keep_alive=True) as kept, Load(gw) as new:
        for i in range(50):
            services = {**gw.declaration["services"], **dict(list(extra.items())[:i + 1])}
            gw.declare(gw.make({}, [{"from": "clients", "to": "*", "over": "main"}]) | {"services": services})
            hang_up(gw, "is in force")
    assert not kept.failures and not new.failures, (kept.failures, new.failures)


# ---- a new binary ----

def successor_of(gw):
    def new_pid():
        with open(os.path.join(gw.run_directory, "postern.pid"), encoding="ascii") as file:
            pid = int(file.read())
        return pid if pid != gw.process.pid else None
    return wait_until(new_pid, 30, "another process serves")


def test_an_upgrade_under_load_fails_no_request_and_ends_the_old_set(gw):
    old = [gw.process.pid, *children(gw.process.pid)]
    with Load(gw) as load:
        os.kill(gw.process.pid, signal.SIGUSR2)
        successor = successor_of(gw)
        load.wait_for(20)
        wait_until(lambda: not any(map(is_running, old)), 20, "the old set is gone")
        load.wait_for(20)
    assert not load.failures, load.failures
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not is_running(successor), what="the successor ends")
    assert not os.listdir(gw.run_directory)


def test_a_connection_of_the_old_set_lives_on_through_an_upgrade(gw):
    connection = gw.client("macbook").connection(gw.port["main"], gw.name_of("grafana"))
    connection.request("GET", "/slow?ms=1500", headers={"Host": gw.name_of("grafana")})
    os.kill(gw.process.pid, signal.SIGUSR2)
    successor = successor_of(gw)
    assert connection.getresponse().status == 200
    connection.close()
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not is_running(successor), what="the successor ends")


def test_streams_of_the_old_set_lose_no_event_through_an_upgrade(gw):
    """Started before, ended long after: every event comes, in order, and then the old set goes by itself."""
    old = gw.process.pid
    streams = []
    for _ in range(20):
        stream = gw.tls("macbook", "grafana")
        stream.sendall(f"GET /events?n=40&interval_ms=50 HTTP/1.1\r\nHost: {gw.name_of('grafana')}\r\n\r\n".encode())
        streams.append(stream)
    assert b"200" in streams[-1].recv(12)
    os.kill(old, signal.SIGUSR2)
    successor = successor_of(gw)
    for stream in streams:
        received = b""
        while b"\r\n0\r\n\r\n" not in received:
            piece = stream.recv(65536)
            assert piece, received[-500:]
            received += piece
        assert received.count(b"data:") == 40
        stream.close()
    wait_until(lambda: not is_running(old), 20, "the old set is gone")
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not is_running(successor), what="the successor ends")


def test_an_upgrade_can_be_upgraded(gw):
    first = gw.process.pid
    os.kill(first, signal.SIGUSR2)
    second = successor_of(gw)
    wait_until(lambda: not is_running(first), 20, "the first is gone")
    os.kill(second, signal.SIGUSR2)
    def third_pid():
        with open(os.path.join(gw.run_directory, "postern.pid"), encoding="ascii") as file:
            pid = int(file.read())
        return pid if pid != second else None
    third = wait_until(third_pid, 30, "a third serves")
    assert gw.get("macbook", "grafana").status == 200
    os.kill(third, signal.SIGTERM)
    wait_until(lambda: not is_running(third), what="the third ends")


def test_a_successor_that_does_not_get_ready_changes_nothing(gw, directory):
    """The old one serves on, its sockets are where they were, and its log says why; postern upgrade answers no."""
    assert gw.stop() == 0
    roles = role_directory(directory)
    gw.start(options=["--role-directory", roles])
    role_directory(directory, keeper="/bin/false")
    before = sorted(os.listdir(gw.run_directory))
    done = gw.command("upgrade", "--run-directory", gw.run_directory, timeout_s=60)
    assert done.returncode == 1 and "still serves" in done.stderr
    assert "did not take over" in gw.process.err()
    assert sorted(os.listdir(gw.run_directory)) == before
    assert gw.get("macbook", "grafana").status == 200
    # With the roles mended, the same command succeeds.
    role_directory(directory)
    done = gw.command("upgrade", "--run-directory", gw.run_directory, timeout_s=60)
    assert done.returncode == 0, done.stderr
    successor = successor_of(gw)
    assert gw.get("macbook", "grafana").status == 200
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not is_running(successor), what="the successor ends")


# ---- the end ----

def test_the_end_waits_for_a_request_and_leaves_nothing(gw):
    roles = list(children(gw.process.pid))
    connection = gw.client("macbook").connection(gw.port["main"], gw.name_of("grafana"))
    connection.request("GET", "/slow?ms=700", headers={"Host": gw.name_of("grafana")})
    wait_until(lambda: gw.process.running(), what="it runs")
    os.kill(gw.process.pid, signal.SIGTERM)
    wait_until(lambda: _refused(gw.port["main"]), what="the port is closed")
    assert connection.getresponse().status == 200
    connection.close()
    assert gw.process.wait(10) == 0
    assert not any(map(is_running, roles))
    assert not os.listdir(gw.run_directory)


def test_a_second_signal_ends_at_once(gw):
    connection = gw.client("macbook").connection(gw.port["main"], gw.name_of("grafana"))
    connection.request("GET", "/slow?ms=20000", headers={"Host": gw.name_of("grafana")})
    os.kill(gw.process.pid, signal.SIGTERM)
    wait_until(lambda: _refused(gw.port["main"]), what="the port is closed")
    os.kill(gw.process.pid, signal.SIGTERM)
    assert gw.process.wait(5) == 0
    connection.close()


def test_a_worker_that_does_not_end_is_ended(gw):
    """A stopped worker can't drain: the grace is over some time."""
    assert gw.stop() == 0
    gw.start(options=["--grace", "1"])
    worker = pids_of(gw.process.pid, "worker")[0]
    os.kill(worker, signal.SIGSTOP)
    os.kill(gw.process.pid, signal.SIGTERM)
    assert gw.process.wait(15) == 0
    assert not is_running(worker)


def _refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
