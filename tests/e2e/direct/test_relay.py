"""Direct ports through a whole gateway: who may gets through, in both protocols and families; who may not gets nothing."""
import hashlib
import os
import select
import socket
import subprocess
import threading

import pytest

from direct.conftest import ask, exchange, is_silent, tcp, udp
from lib import roles
from lib.process import wait_until


# ---- who may ----

def test_a_game_and_a_chat_in_a_namespace_without_a_network(direct):
    d = direct()
    d.listen()
    assert ask(udp("macbook", d.port), b"first") == b"first"
    with tcp("iphone", d.port) as one:
        assert exchange(one, b"chat") == b"chat"
    records = d.gw.records(1, method="TCP")
    assert (records[0]["principal"], records[0]["service"], records[0]["instance"], records[0]["surface"]) == ("iphone", "chat", "chat@gw", "direct")
    assert records[0]["bytes_in"] == records[0]["bytes_out"] == 4 and records[0]["rule"].startswith("postern.yml:") and records[0]["denied"] == ""


def test_a_refused_source_gets_not_a_byte_over_udp(direct):
    d = direct()
    d.listen()
    assert ask(udp("macbook", d.port)) == b"hello"
    refused = [udp(who, d.port) for who in ("kobo", "robin", "nobody", "127.0.0.200")]
    for one in refused:
        for _ in range(20):
            one.send(b"let me in")
    d.gw.records(4, method="UDP", status=0, service="")
    assert ask(udp("macbook", d.port)) == b"hello", "what came after them was answered"
    assert is_silent(*refused), "an answer, or an ICMP error"
    denied = {record["client"]: record["denied"] for record in d.gw.records(method="UDP", service="")}
    assert denied == {"127.0.0.12": "nobody", "127.0.0.3": "nobody", "127.0.0.99": "nobody", "127.0.0.200": "nobody"}
    wait_until(lambda: d.gw.status()["direct"]["datagrams_refused"] == 80, what="all of them are counted")


def test_a_refused_source_is_closed_at_once_over_tcp(direct):
    d = direct()
    d.listen()
    for who in ("kobo", "robin", "nobody"):
        with tcp(who, d.port) as one:
            try:
                assert one.recv(1) == b"", who
            except ConnectionResetError:
                pass
    assert {record["denied"] for record in d.gw.records(3, method="TCP")} == {"nobody"}
    with tcp("macbook", d.port) as one:
        assert exchange(one) == b"hello"


def test_a_guest_of_one_port_is_none_of_the_other(direct):
    d = direct(grants=[{"from": "macbook", "to": "chat"}, {"from": "kobo", "to": "game"}])
    d.listen()
    assert ask(udp("kobo", d.port)) == b"hello"
    with tcp("macbook", d.port) as one:
        assert exchange(one) == b"hello"
    stranger = udp("macbook", d.port)
    stranger.send(b"hello")
    assert d.gw.records(1, method="UDP", denied="no-grant")[0]["principal"] == "macbook"
    assert is_silent(stranger)
    with tcp("kobo", d.port) as one:
        try:
            assert one.recv(1) == b""
        except ConnectionResetError:
            pass
    assert d.gw.records(1, method="TCP", denied="no-grant")


def test_both_families(inside, direct):
    """::1 as the mesh's address, and an instance that listens to IPv6 only: found by its second address."""
    space = inside()
    hosts = {"gw": {"segment": "prod", "address": ["127.0.0.1", "::1"], "gateway": True}, "macbook": {"segment": "clients", "address": "127.0.0.13"},
             "robin": {"segment": "ai", "address": "127.0.0.3"}, "iphone": {"segment": "clients", "address": "127.0.0.11"}}
    one = direct(inside=space, top={"hosts": hosts}, grants=[{"from": ["macbook", "prod"], "to": ["game", "chat"]}])
    space.echo(f"udp/[::1]:{one.port}", f"tcp/[::1]:{one.port}")
    assert ask(udp("macbook", one.port)) == b"hello"
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    six.bind(("::1", 0))
    six.connect(("::1", one.port))
    assert ask(six) == b"hello"
    with socket.create_connection(("::1", one.port)) as stream:
        assert exchange(stream) == b"hello"
    with tcp("macbook", one.port) as stream:
        assert exchange(stream) == b"hello"


# ---- what is moved ----

def test_datagrams_stay_what_they_are(direct):
    """Empty ones, large ones in fragments (the first of a flow, too), many at once: none is cut, joined or doubled."""
    d = direct()
    d.listen()
    first = udp("macbook", d.port)
    large = os.urandom(60000)
    assert ask(first, large) == large
    one = udp("iphone", d.port)
    assert ask(one, b"") == b""
    one.settimeout(5)
    for size in (1, 1400, 1480, 1481, 9000, 65000):
        data = os.urandom(size)
        one.send(data)
        assert one.recv(65536) == data
    for i in range(64):
        one.send(b"%d" % i)
    assert [one.recv(100) for _ in range(64)] == [b"%d" % i for i in range(64)]


def test_datagrams_sent_before_the_first_answer_are_one_flow(direct):
    d = direct()
    d.listen()
    one = udp("macbook", d.port)
    for _ in range(8):
        one.send(b"?peer")
    peers = {one.recv(100) for _ in range(8)}
    assert len(peers) == 1, "the instance saw several clients"
    assert d.gw.status()["direct"]["flows_open"] == 1


def test_a_large_transfer_both_ways_at_once(direct):
    d = direct()
    d.listen()
    data = os.urandom(1 << 20) * 48
    got = hashlib.sha256()
    with tcp("macbook", d.port, timeout_s=60) as one:
        sender = threading.Thread(target=lambda: (one.sendall(data), one.shutdown(socket.SHUT_WR)))
        sender.start()
        n = 0
        while piece := one.recv(1 << 20):
            got.update(piece)
            n += len(piece)
        sender.join()
    assert n == len(data) and got.digest() == hashlib.sha256(data).digest()
    record = d.gw.records(1, method="TCP")[0]
    assert record["bytes_in"] == record["bytes_out"] == len(data) and record["reason"] == ""


def test_each_direction_ends_by_itself(direct, inside):
    """What was asked is over with the client's FIN; the answer still comes, and its end too."""
    space = inside()
    d = direct(inside=space)
    script = ("import socket,sys\n"
              f"s=socket.create_server(('127.0.0.1',{d.port}))\nprint('up',flush=True)\n"
              "c,_=s.accept()\ndata=b''\n"
              "while (p:=c.recv(65536)): data+=p\n"
              "c.sendall(b'got %d' % len(data))\nc.close()\n")
    server = space.run("python3", "-c", script)
    wait_until(lambda: "up" in server.out(), what="the server listens")
    with tcp("macbook", d.port) as one:
        one.sendall(b"x" * 100000)
        one.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := one.recv(100):
            answer += piece
    assert answer == b"got 100000"


def test_who_reads_nothing_holds_little(direct, inside):
    space = inside()
    d = direct(inside=space)
    script = ("import socket\n"
              f"s=socket.create_server(('127.0.0.1',{d.port}))\nprint('up',flush=True)\n"
              "c,_=s.accept()\n"
              "while True: c.sendall(b'x'*(1<<20))\n")
    server = space.run("python3", "-c", script)
    wait_until(lambda: "up" in server.out(), what="the server listens")
    relay = d.pid("relay")
    with tcp("macbook", d.port) as one:
        one.recv(1)
        before = None
        def settled():
            nonlocal before
            now = d.gw.status()["direct"]["bytes_out"]
            same, before = now == before, now
            return same
        wait_until(settled, what="the sender is held up", interval_s=0.3)
        assert before < 32 << 20
        resident_kb = int(roles.field(relay, "VmRSS").split()[0])
        assert resident_kb < 16 << 10


# ---- bounds ----

def test_a_thousand_flows_and_not_one_more(direct):
    d = direct()
    d.listen()
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    flows = [udp("macbook", d.port) for _ in range(1024)]
    try:
        for number, one in enumerate(flows):
            one.send(b"%d" % number)
        waiting = {one.fileno(): number for number, one in enumerate(flows)}
        def all_answered():
            poller = select.poll()
            for fd in waiting:
                poller.register(fd, select.POLLIN)
            for fd, _ in poller.poll(200):
                number = waiting.pop(fd)
                assert flows[number].recv(100) == b"%d" % number, "another flow's datagram"
            for number in waiting.values():
                flows[number].send(b"%d" % number)
            return not waiting
        wait_until(all_answered, 20, "an answer on each", interval_s=0.05)
        assert d.gw.status()["direct"]["flows_open"] == 1024
        late = udp("macbook", d.port)
        late.send(b"one more")
        assert d.gw.records(1, method="UDP", denied="too-many")
        assert is_silent(late)
        assert ask(udp("iphone", d.port)) == b"hello", "the cap is each principal's own"
        assert ask(flows[500], b"still") == b"still"
    finally:
        for one in flows:
            one.close()


def test_the_instance_speaks_to_the_asker_and_its_answer_to_nobody_else(direct):
    """Two clients of one address: their flows are told apart by their ports alone."""
    d = direct()
    d.listen()
    one, other = udp("macbook", d.port), udp("macbook", d.port)
    assert ask(one, b"one") == b"one" and ask(other, b"other") == b"other"
    assert ask(one, b"?peer") != ask(other, b"?peer")
    other.send(b"mine")
    assert is_silent(one) and other.recv(100) == b"mine"


def test_a_flow_whose_instance_never_answers_ends_in_half_a_minute(direct, inside):
    space = inside()
    d = direct(inside=space)
    mute = space.run("python3", "-c", f"import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('127.0.0.1',{d.port}))\n"
                                      "print('up',flush=True)\nwhile True: s.recv(100)\n")
    wait_until(lambda: "up" in mute.out(), what="the mute one listens")
    one = udp("macbook", d.port)
    one.send(b"anybody?")
    wait_until(lambda: d.gw.status()["direct"]["flows_open"] == 1, what="the flow")
    wait_until(lambda: d.gw.status()["direct"]["flows_open"] == 0, 40, "its end", interval_s=0.5)
    record = d.gw.records(1, method="UDP")[0]
    assert record["reason"] == "idle" and 29000 < record["total_ms"] < 35000 and record["bytes_in"] == 8 and record["bytes_out"] == 0


def test_a_port_that_is_taken_is_named_with_its_holder(direct, gateway):
    d = direct()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 0))
        taken = holder.getsockname()[1]
        more = {**d.services, "more": {"host": "gw", "netns": d.inside.path, "loopback": True, "direct": f"udp/{taken}"}}
        done = d.gw.reload(d.gw.make(more, [{"from": "macbook", "to": ["game", "chat", "more"]}]), check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"direct port udp/{taken}: port {taken} on 127.0.0.1 is held by" in said and f"(process {os.getpid()})" in said
    assert "must not be published too" in said
