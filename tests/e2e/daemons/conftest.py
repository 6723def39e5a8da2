"""Roles on their own, with the test as their parent; namespaces with unique names."""
import itertools
import os
import socket
import subprocess
import threading

import pytest

from lib import fake_parent

_counter = itertools.count()


@pytest.fixture
def role(directory):
    """role("postern-broker", fake_parent.BROKER, ...): started, confined, ready; what it says is in role.said()."""
    started = []

    def start(program, which, **arguments):
        err = os.path.join(directory, f"{program}.{next(_counter)}.err")
        with open(err, "wb") as stderr:
            one = fake_parent.Role(program, which, stderr=stderr, **arguments)
        one.said = lambda: open(err, encoding="utf-8").read()
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()


class Namespace:
    """A named network namespace with its lo up."""

    def __init__(self):
        self.name = f"daemons-{os.getpid()}-{next(_counter)}"
        self.path = f"/run/netns/{self.name}"
        self.make()

    def make(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    def remove(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)

    def run(self, *command):
        return subprocess.run(["ip", "netns", "exec", self.name, *command], check=True, capture_output=True, text=True).stdout

    def listen(self, host, port, family=socket.AF_INET):
        """A listening socket inside: made by a thread that goes there, as sockets stay where they were made."""
        made = []

        def inside():
            with open(self.path) as namespace:
                if fake_parent.ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000):
                    raise OSError("setns")
            one = socket.socket(family)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
            one.listen(512)
            one.settimeout(10)
            made.append(one)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return made[0]


@pytest.fixture
def namespace():
    if os.geteuid() != 0 or not os.access("/run/netns" if os.path.isdir("/run/netns") else "/run", os.W_OK):
        pytest.skip("network namespaces with names need root")
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    yield make
    for one in made:
        one.remove()
