"""Many connections that want nothing, and descriptors that run out: who behaves is served all the while, and everything comes back."""
import os
import resource
import socket
import ssl

import pytest

from lib.process import POSTERN, wait_until

PRINCIPAL = "macbook"


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 17000:
        pytest.skip(f"needs 17000 descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def gw(standin, gateway):
    return gateway({"web": standin("web")}, surfaces={"main": {"connections-per-principal": 18000}})


def worker(gw):
    return next(role for role in gw.status()["roles"] if role["role"] == "worker" and role["surface"] == "main")["pid"]


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))



def test_fifteen_thousand_slow_connections_keep_nobody_out(gw):
    name = gw.name_of("web")
    context = gw.client(PRINCIPAL).context()
    slow = []
    for i in range(15000):
        sock = gw.client(PRINCIPAL).tcp(gw.port["main"])
        if i % 5 == 0:
            tls = context.wrap_socket(sock, server_hostname=name)
            tls.sendall(b"GET / HTTP/1.1\r\nHost: ")
            slow.append(tls)
        else:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            slow.append(sock)
        if i % 1000 == 999:
            assert gw.get("iphone", "web").status == 200
    assert gw.get("iphone", "web").status == 200
    pid = worker(gw)
    # None of them ever says more: the timers end them, whoever holds on to the other side.
    wait_until(lambda: open_descriptors(pid) < 1000, 40, "the slow ones are closed", 0.5)
    for sock in slow:
        sock.close()
    assert gw.get(PRINCIPAL, "web").status == 200


def test_nine_thousand_open_connections_and_room_for_more(gw):
    context = gw.client(PRINCIPAL).context()
    name = gw.name_of("web")
    request = f"GET /status/204 HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    connections = []
    for _ in range(9000):
        tls = context.wrap_socket(gw.client(PRINCIPAL).tcp(gw.port["main"]), server_hostname=name)
        tls.sendall(request)
        connections.append(tls)
    for tls in connections:
        assert tls.recv(4096).startswith(b"HTTP/1.1 204")
    assert gw.get("iphone", "web").status == 200
    for tls in connections[::100]:
        tls.sendall(request)
        assert tls.recv(4096).startswith(b"HTTP/1.1 204")
    for tls in connections:
        tls.close()
    wait_until(lambda: open_descriptors(worker(gw)) < 1000, 20, "they are gone", 0.2)


def test_a_principals_cap_holds_it_and_nobody_else(standin, gateway):
    gw = gateway({"web": standin("web")}, surfaces={"main": {"connections-per-principal": 50}})
    held = [gw.tls(PRINCIPAL, "web") for _ in range(50)]
    with pytest.raises((OSError, ssl.SSLError)):
        gw.tls(PRINCIPAL, "web")
    assert gw.get("iphone", "web").status == 200
    assert gw.records(at_least=1, surface="main", principal=PRINCIPAL)[0]["denied"]
    for tls in held:
        tls.close()
    wait_until(lambda: _served(gw), 5, "the cap has room again")


def _served(gw):
    try:
        return gw.get(PRINCIPAL, "web").status == 200
    except OSError:
        return False


def test_descriptors_run_out_and_come_back(standin, gateway, directory, monkeypatch):
    wrapper = os.path.join(directory, "with-few-descriptors")
    with open(wrapper, "w", encoding="ascii") as script:
        script.write(f'#!/bin/sh\nulimit -n 220 && exec "{POSTERN}" "$@"\n')
    os.chmod(wrapper, 0o755)
    monkeypatch.setattr("lib.gateway.POSTERN", wrapper)
    gw = gateway({"web": standin("web")})
    monkeypatch.undo()
    pid = worker(gw)
    held = []
    try:
        while True:
            held.append(gw.client(PRINCIPAL, timeout_s=1).tls(gw.port["main"], gw.name_of("web")))
            assert len(held) < 220
    except (socket.timeout, TimeoutError, OSError):
        pass
    assert held, "some were taken before the limit"
    waiting = gw.client("iphone", timeout_s=20).tcp(gw.port["main"])  # in the backlog
    for tls in held:
        tls.close()
    tls = gw.client("iphone").context().wrap_socket(waiting, server_hostname=gw.name_of("web"))
    tls.sendall(f"GET / HTTP/1.1\r\nHost: {gw.name_of('web')}\r\n\r\n".encode())
    assert tls.recv(4096).startswith(b"HTTP/1.1 200")
    assert worker(gw) == pid, "it never fell over"
