"""Instances that are down, broken or hostile: the client gets a plain answer or a broken-off one, never another's bytes, and nobody else notices."""
import os
import socket
import ssl
import subprocess
import threading

import pytest

from lib.certificates import Authority
from lib.process import wait_until


@pytest.fixture
def gw(standin, gateway):
    return gateway({"evil": standin("evil"), "good": standin("good")}, [{"from": "clients", "to": "*", "over": "main"}])


def raw_get(gw, path):
    with gw.tls("macbook", "evil") as tls:
        tls.sendall(b"GET %s HTTP/1.1\r\nHost: evil.home.example\r\nConnection: close\r\n\r\n" % path.encode())
        got = b""
        try:
            while piece := tls.recv(65536):
                got += piece
        except OSError:
            pass
        return got


@pytest.mark.parametrize("what", ["reset", "garbage", "endless-headers", "endless-1xx"])
def test_broken_before_the_head_is_a_502(gw, what):
    got = raw_get(gw, f"/evil/{what}")
    heads = [line for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert heads[-1].split()[1] == b"502", got[:300]
    assert gw.get("macbook", "good").status == 200


@pytest.mark.parametrize("what", ["short-length", "close-mid-chunk"])
def test_broken_in_the_body_is_broken_off(gw, what):
    got = raw_get(gw, f"/evil/{what}")
    head, body = got.split(b"\r\n\r\n", 1)
    assert b" 200 " in head
    assert not body.endswith(b"\r\n0\r\n\r\n"), "a cut body must not look whole"
    assert gw.records(at_least=1, service="evil")[0]["reason"]
    assert gw.get("macbook", "good").status == 200


@pytest.mark.parametrize("what", ["stall", "stall-in-head", "stall-in-body"])
def test_a_stalled_instance_holds_up_nobody_else_and_is_let_go_with_its_client(gw, what):
    """How long it is waited for when the client stays is tests/unit/gateway/test_timers.c's."""
    tls = gw.tls("macbook", "evil")
    tls.sendall(b"GET /evil/%s HTTP/1.1\r\nHost: evil.home.example\r\n\r\n" % what.encode())
    if what == "stall-in-body":
        got = b""
        while b"ten bytes." not in got:
            got += tls.recv(65536)
    assert gw.get("macbook", "good").status == 200
    assert gw.get("iphone", "evil", "/ok").status == 200
    assert not gw.records(service="evil", principal="macbook"), "it is still under way"
    tls.close()
    record = gw.records(at_least=1, service="evil", principal="macbook")[0]
    assert record["status"] == (200 if what == "stall-in-body" else 0) and record["reason"]
    assert gw.get("macbook", "evil", "/ok").status == 200


@pytest.mark.parametrize("what", ["two-responses", "long-length"])
def test_more_than_was_asked_for_reaches_nobody(gw, what):
    client = gw.client("macbook")
    connection = client.connection(gw.port["main"], "evil.home.example")
    first = client.request(gw.port["main"], "evil.home.example", f"/evil/{what}", connection=connection)
    assert first.status == 200
    for _ in range(5):
        again = client.request(gw.port["main"], "evil.home.example", "/ok", connection=connection)
        assert again.status == 200 and again.json()["path"] == "/ok"
    connection.close()


def test_down_is_a_502_that_says_nothing_of_where(gw, standin, gateway, free_port):
    down = gateway({"down": {"host": "gw", "port": free_port(), "address": "127.0.0.1"}}, [{"from": "clients", "to": "down", "over": "main"}])
    answer = down.get("macbook", "down")
    assert answer.status == 502
    assert b"127.0.0.1" not in answer.body and b"refused" not in answer.body.lower()
    assert down.records(at_least=1, surface="main")[0]["reason"]


def test_a_container_that_is_not_there_is_a_503_with_retry_after(gateway):
    gw = gateway({"web": {"host": "gw", "container": "web", "port": 80}}, [{"from": "clients", "to": "web", "over": "main"}])
    answer = gw.get("macbook", "web")
    assert answer.status == 503  # it may come: not the instance's failure, as a refused connection would be
    assert int(answer.header("Retry-After")) > 0


def test_a_unix_socket_is_an_instance(standin, gateway):
    gw = gateway({"web": standin("web", unix=True)}, [{"from": "clients", "to": "web", "over": "main"}])
    assert gw.get("macbook", "web").json()["name"] == "web"


def test_connections_are_reused_but_not_for_a_connections_first_request(standin, gateway):
    service = standin("web")
    gw = gateway({"web": service}, [{"from": "clients", "to": "web", "over": "main"}])
    client = gw.client("macbook")
    connection = client.connection(gw.port["main"], "web.home.example")
    peers = []
    for _ in range(4):
        peers.append(client.request(gw.port["main"], "web.home.example", "/", connection=connection).json()["peer_port"])
    connection.close()
    assert len(set(peers)) <= 2, "later requests share a connection"
    assert gw.get("macbook", "web").json()["peer_port"] not in peers, "a new client connection starts on a fresh one"


def test_a_kept_connection_that_the_instance_closed_costs_no_request(gateway):
    served, closed = [], []

    def serve(listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            data = b""
            while b"\r\n\r\n" not in data:
                piece = peer.recv(65536)
                if not piece:
                    break
                data += piece
            served.append(data)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            peer.close()
            closed.append(True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        gw = gateway({"web": {"host": "gw", "port": listener.getsockname()[1], "address": "127.0.0.1"}}, [{"from": "clients", "to": "web", "over": "main"}])
        client = gw.client("macbook")
        connection = client.connection(gw.port["main"], "web.home.example")
        for i in range(20):
            assert client.request(gw.port["main"], "web.home.example", "/", connection=connection).status == 200
            wait_until(lambda: len(closed) > i, 5, "the instance closed its side")
        connection.close()


def test_https_instances_are_verified(standin, gateway):
    service = standin("secure", protocol="https")
    good = {**service.declaration(), "tls": {"ca": service.certificate, "name": "secure"}}
    bad = {**service.declaration(), "tls": {"ca": service.certificate, "name": "another"}}
    system = service.declaration()
    insecure = {**service.declaration(), "tls": {"insecure": True}}
    gw = gateway({"good": good, "bad": bad, "system": system, "insecure": insecure}, [{"from": "clients", "to": "*", "over": "main"}])
    assert gw.get("macbook", "good").status == 200
    assert gw.get("macbook", "bad").status == 502
    assert gw.get("macbook", "system").status == 502
    assert gw.get("macbook", "insecure").status == 200


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_body_that_ends_without_tls_saying_so_is_not_whole_prevents_truncation(gateway, directory, says_goodbye):
    authority = Authority(directory)
    authority.issue("web", "web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "web.pem"), os.path.join(directory, "web.key"))

    def serve(listener):
        peer = context.wrap_socket(listener.accept()[0], server_side=True)
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        if says_goodbye:
            peer = peer.unwrap()
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        gw = gateway({"web": {"host": "gw", "port": listener.getsockname()[1], "address": "127.0.0.1", "protocol": "https",
                              "tls": {"ca": authority.root, "name": "web"}}}, [{"from": "clients", "to": "web", "over": "main"}])
        with gw.tls("macbook", "web") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: web.home.example\r\nConnection: close\r\n\r\n")
            got = b""
            try:
                while piece := tls.recv(65536):
                    got += piece
            except OSError:
                pass
        assert b"half" in got
        assert got.endswith(b"\r\n0\r\n\r\n") == says_goodbye, got


def test_a_cold_burst_waits_for_its_connections_and_loses_no_request(standin, gateway):
    gw = gateway({"web": standin("web")}, [{"from": ["clients", "prod"], "to": "web", "over": "main"}])
    load = subprocess.run(["h2load", "-n", "2400", "-c", "24", "-m", "100", f"--connect-to=127.0.0.1:{gw.port['main']}", gw.url("web", "/slow?ms=20")],
                          capture_output=True, text=True, timeout=60)
    assert "2400 succeeded" in load.stdout and "2400 2xx" in load.stdout, load.stdout + load.stderr
