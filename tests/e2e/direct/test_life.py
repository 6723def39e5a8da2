"""Direct ports over changes of the declaration and ends of processes."""
import os
import signal
import threading

import pytest

from direct.conftest import ask, exchange, is_silent, tcp, udp
from lib import roles
from lib.process import wait_until

BOTH = [{"from": ["macbook", "iphone"], "to": ["game", "chat"]}]


def grants(d, value):
    d.gw.reload(d.gw.make(d.services, value))


def is_closed(one):
    """The other side has ended it."""
    one.settimeout(5)
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_grant_that_is_taken_away_closes_its_flows_and_no_others(direct):
    d = direct()
    d.listen()
    lost, kept = udp("iphone", d.port), udp("macbook", d.port)
    lost_stream, kept_stream = tcp("iphone", d.port), tcp("macbook", d.port)
    peer = ask(kept, b"?peer")
    assert ask(lost) == b"hello" and exchange(lost_stream) == b"hello" and exchange(kept_stream) == b"hello"
    grants(d, [{"from": "macbook", "to": ["game", "chat"]}])
    assert is_closed(lost_stream), "within the reload"
    assert d.gw.status()["direct"]["flows_open"] == 1
    lost.send(b"hello")
    assert is_silent(lost)
    assert ask(kept, b"?peer") == peer, "another flow than before"
    assert exchange(kept_stream, b"on and on") == b"on and on"
    assert {(r["method"], r["principal"]) for r in d.gw.records(2, denied="revoked")} == {("UDP", "iphone"), ("TCP", "iphone")}


def test_a_reload_loses_no_datagram_and_no_byte(direct):
    d = direct()
    d.listen()
    one, stream = udp("macbook", d.port), tcp("macbook", d.port)
    peer = ask(one, b"?peer")
    stop = threading.Event()
    lost = []

    def play():
        one.settimeout(2)
        number = 0
        while not stop.is_set():
            number += 1
            one.send(b"%d" % number)
            try:
                if one.recv(100) != b"%d" % number:
                    lost.append(number)
            except TimeoutError:
                lost.append(number)

    player = threading.Thread(target=play)
    player.start()
    try:
        for i in range(6):
            more = BOTH + [{"from": "robin", "to": "chat"}] * (i % 2)
            d.gw.reload(d.gw.make({**d.services, f"other{i}": {"host": "gw", "netns": d.inside.path, "loopback": True, "direct": f"tcp/{d.port + 1 + i}"}},
                                  more + [{"from": "robin", "to": f"other{i}"}]))
            assert exchange(stream, b"still here") == b"still here"
    finally:
        stop.set()
        player.join()
    assert not lost
    assert ask(one, b"?peer") == peer


def test_a_port_that_comes_and_goes_with_the_declaration(direct):
    d = direct()
    d.listen()
    assert ask(udp("macbook", d.port)) == b"hello"
    pid = d.pid("relay")
    d.gw.reload(d.gw.make({}, []))
    wait_until(lambda: not roles.is_running(pid), what="the relay's end")
    assert not [one for one in d.gw.status()["roles"] if one["role"] in ("relay", "porter")]
    one = udp("macbook", d.port)
    one.send(b"hello")
    with pytest.raises(ConnectionRefusedError):
        one.recv(1)
    d.gw.reload(d.gw.make(d.services, BOTH))
    assert ask(udp("macbook", d.port)) == b"hello"


def test_a_killed_broker_costs_no_flow(direct):
    d = direct()
    d.listen()
    one, stream = udp("macbook", d.port), tcp("macbook", d.port)
    peer = ask(one, b"?peer")
    assert exchange(stream) == b"hello"
    roles.kill(d.gw.process.pid, "broker")
    assert ask(one, b"?peer") == peer and exchange(stream) == b"hello"
    assert ask(udp("iphone", d.port)) == b"hello", "a new one, by the next broker"
    with tcp("iphone", d.port) as more:
        assert exchange(more) == b"hello"


def test_a_killed_porter_costs_no_flow(direct):
    d = direct()
    d.listen()
    one = udp("macbook", d.port)
    peer = ask(one, b"?peer")
    roles.kill(d.gw.process.pid, "porter")
    assert ask(one, b"?peer") == peer
    assert ask(udp("iphone", d.port)) == b"hello"


def test_a_killed_relay_is_there_again_at_once(direct):
    d = direct()
    d.listen()
    one, stream = udp("macbook", d.port), tcp("macbook", d.port)
    assert ask(one) == b"hello" and exchange(stream) == b"hello"
    roles.kill(d.gw.process.pid, "relay")
    assert is_closed(stream)
    assert ask(one) == b"hello", "a flow begins anew with its next datagram"
    with tcp("macbook", d.port) as more:
        assert exchange(more) == b"hello"


def test_an_instance_that_starts_again_is_found_again(direct):
    d = direct()
    first = d.listen()
    one = udp("macbook", d.port)
    assert ask(one) == b"hello"
    first.stop()
    one.send(b"into the void")
    d.listen()
    assert ask(one, b"back") == b"back"


def test_a_namespace_that_is_made_anew_is_followed(direct):
    d = direct()
    d.listen()
    one = udp("macbook", d.port)
    assert ask(one) == b"hello"
    d.inside.remove()
    d.inside.make()
    d.inside.started.clear()
    d.listen()
    assert ask(one, b"there") == b"there"
    with tcp("macbook", d.port) as stream:
        assert exchange(stream) == b"hello"


def test_an_upgrade_keeps_flows_and_takes_new_ones(direct):
    d = direct()
    d.listen()
    one, stream = udp("macbook", d.port), tcp("macbook", d.port)
    peer = ask(one, b"?peer")
    assert exchange(stream) == b"hello"
    done = d.gw.command("upgrade", "--run-directory", d.gw.run_directory, timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask(one, b"?peer") == peer and exchange(stream, b"after") == b"after"
    assert ask(udp("iphone", d.port)) == b"hello"
    with open(os.path.join(d.gw.run_directory, "postern.pid"), encoding="ascii") as file:
        successor = int(file.read())
    try:
        with tcp("iphone", d.port) as more:
            assert exchange(more) == b"hello"
    finally:
        stream.close()
        one.close()
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not roles.is_running(successor), 20, "the end of the successor")
