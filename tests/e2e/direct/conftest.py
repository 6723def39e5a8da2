"""A gateway with direct ports, and what it relays them to: echoes in namespaces that have nothing but a loopback."""
import itertools
import os
import select
import socket
import subprocess
import sys

import pytest

from lib.gateway import ADDRESS, NOBODY, PRINCIPALS
from lib.ports import free_port
from lib.process import Process, wait_until

ECHO = os.path.join(os.path.dirname(__file__), "echo.py")
_counter = itertools.count()


class Inside:
    """A network namespace with its lo up, and what runs in it."""

    def __init__(self, directory):
        self.directory = directory
        self.name = f"direct-{os.getpid()}-{next(_counter)}"
        self.path = f"/run/netns/{self.name}"
        self.started = []
        self.make()

    def make(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def run(self, *command):
        one = Process(f"{self.name}-{len(self.started)}", ["ip", "netns", "exec", self.name, *command], self.directory)
        self.started.append(one)
        return one

    def echo(self, *listen):
        """listen: "udp/127.0.0.1:30000", ..."""
        one = self.run(sys.executable, ECHO, *listen)
        wait_until(lambda: one.out().count("\n") >= len(listen) or not one.running(), what="the echo listens")
        assert one.running(), one.describe()
        return one

    def remove(self):
        for one in self.started:
            one.stop()
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def inside(directory):
    if os.geteuid() != 0:
        pytest.skip("network namespaces with names need root")
    made = []

    def make():
        made.append(Inside(directory))
        return made[-1]

    yield make
    for one in made:
        one.remove()


class Direct:
    """A gateway that relays one TCP and one UDP port, both the same number, to one namespace's loopback."""

    def __init__(self, gateway, inside, grants=None, top=None, **service):
        self.port = free_port()
        self.inside = inside
        place = {"host": "gw", "netns": inside.path, "loopback": True, **service}
        self.services = {"game": {**place, "direct": f"udp/{self.port}"}, "chat": {**place, "direct": f"tcp/{self.port}"}}
        self.gw = gateway(self.services, [{"from": ["macbook", "iphone"], "to": ["game", "chat"]}] if grants is None else grants, **(top or {}))

    def listen(self, *hosts):
        hosts = hosts or ("127.0.0.1",)
        return self.inside.echo(*(f"{transport}/{host}:{self.port}" for host in hosts for transport in ("udp", "tcp")))

    def pid(self, role):
        return next(one["pid"] for one in self.gw.status()["roles"] if one["role"] == role)


def source(principal):
    return NOBODY if principal == "nobody" else PRINCIPALS.get(principal, principal)


def udp(principal, port, server=ADDRESS, timeout_s=5):
    """A connected UDP socket from the principal's address to the gateway's."""
    one = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((source(principal), 0))
    one.connect((server, port))
    one.settimeout(timeout_s)
    return one


def tcp(principal, port, server=ADDRESS, timeout_s=5):
    one = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET)
    one.bind((source(principal), 0))
    one.settimeout(timeout_s)
    one.connect((server, port))
    return one


def ask(one, data=b"hello", tries=50):
    """What the echo answers to a datagram; sent again, as UDP's clients do, until it does."""
    one.settimeout(0.2)
    for _ in range(tries):
        try:
            one.send(data)
            return one.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            continue
    raise AssertionError("no answer")


def is_silent(*sockets, for_ms=300):
    """Nothing comes: no answer, and no ICMP error either."""
    poller = select.poll()
    for one in sockets:
        poller.register(one, select.POLLIN)
    return not poller.poll(for_ms)


def exchange(one, data=b"hello"):
    """The same over TCP, whole."""
    one.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = one.recv(65536)
        assert piece, f"the connection ended after {len(got)} of {len(data)} bytes"
        got += piece
    return got


@pytest.fixture
def direct(gateway, inside):
    return lambda **arguments: Direct(gateway, arguments.pop("inside", None) or inside(), **arguments)
