"""Direct ports of real containers, by a real engine: one without a network, and one on a network of its own that publishes nothing."""
import os

import pytest

from direct.conftest import tcp, udp
from lib.gateway import HOSTS
from lib.ports import free_port
from lib.process import wait_until

MESH = "100.64.0.1"


def start(engine, name, port, **arguments):
    address = "127.0.0.1" if arguments.get("network") == "none" else "0.0.0.0"
    return engine.run(name, "/bin/postern-standin", "--name", name, "--host", "engine", "--udp-echo", f"{address}:{port}", "--tcp-echo",
                      f"{address}:{port}", **arguments)


def greeted(port, name):
    """A new flow, and what the container says to its first datagram."""
    one = udp("macbook", port, timeout_s=1)

    def answer():
        one.send(b"hello")
        try:
            data = one.recv(1000)
        except (TimeoutError, ConnectionRefusedError):
            return None
        return data.startswith(name.encode() + b"@engine") and one
    return wait_until(answer, 15, f"an answer of {name}", interval_s=0.05)


@pytest.mark.parametrize("network", ["none", "own"])
def test_a_container_is_played_with_and_followed(engine, gateway, network):
    if network == "own":
        engine.network("direct-own", internal=True)
    network = "none" if network == "none" else "direct-own"
    port = free_port()
    start(engine, "game", port, network=network)
    hosts = {**HOSTS, "gw": {"segment": "prod", "address": [MESH, "127.0.0.1"], "gateway": True, "docker": engine.socket}}
    place = {"host": "gw", "container": "game", **({"loopback": True} if network == "none" else {})}
    gw = gateway({"play": {**place, "direct": f"udp/{port}"}, "chat": {**place, "direct": f"tcp/{port}"}},
                 [{"from": "macbook", "to": ["play", "chat"]}], engine=engine.socket, hosts=hosts)
    flow = greeted(port, "game")
    with tcp("macbook", port) as stream:
        assert stream.recv(1000).startswith(b"game@engine")
    engine.container("game").remove()
    start(engine, "game", port, network=network)

    def back():
        flow.send(b"again")
        flow.settimeout(0.3)
        try:
            return flow.recv(1000)
        except (TimeoutError, ConnectionRefusedError):
            return None
    assert wait_until(back, 15, "the flow goes on with the successor", interval_s=0.05)
    assert gw.records(method="UDP", denied="revoked") == []


def test_a_flow_keeps_no_dead_container_s_namespace(engine, gateway):
    port = free_port()
    game = start(engine, "game", port, network="none")
    hosts = {**HOSTS, "gw": {"segment": "prod", "address": [MESH, "127.0.0.1"], "gateway": True, "docker": engine.socket}}
    gw = gateway({"play": {"host": "gw", "container": "game", "loopback": True, "direct": f"udp/{port}"}}, [{"from": "macbook", "to": "play"}],
                 engine=engine.socket, hosts=hosts)
    greeted(port, "game")
    relay = next(one["pid"] for one in gw.status()["roles"] if one["role"] == "relay")
    descriptors = lambda: len(os.listdir(f"/proc/{relay}/fd"))
    open_now = descriptors()
    game.remove()
    wait_until(lambda: descriptors() <= open_now - 1, 5, "the instance's socket is let go", interval_s=0.02)
