"""A Docker host in a network namespace of its own, with a LAN, a mesh and an internet around it, each a namespace with a machine in it.

    host.compose("monitoring", {"grafana": {...}, "prometheus": {...}}, networks={"default": {...}})   containers that echo on every port of PORTS
    host.declare(services=..., grants=..., projects=...)     writes postern.yml
    host.apply("--confirm", "5"), host.unapply(), host.watch()
    host.tried(container, [("tcp", address, port), ...])      what probe.py says there: "open", "refused", "silent"
"""
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys

from lib.engine import Engine
from lib.process import POSTERN, Process, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
LAN, LAN6 = "192.168.77.10", "fd77::10"
NEIGHBOUR, NEIGHBOUR6 = "192.168.77.1", "fd77::1"
MESH, PEER = "100.64.0.1", "100.64.0.10"
INTERNET, INTERNET6 = "8.8.4.4", "2001:4860:4860::8844"
HOST_PORTS = (22, 443, 80)
PORTS = (8000, 9090, 9091)
CONTAINER = "while :; do sleep 1000; done"


def ip(*words, namespace=None):
    subprocess.run(["ip", *(["-n", namespace] if namespace else []), *words], check=True)


def ports_of(host, wanted):
    return [["tcp", host, port] for port in wanted]


class Host:
    def __init__(self, directory):
        self.directory, self.processes, self.namespaces = directory, [], []
        self.name = f"iso-{secrets.token_hex(3)}"
        self.engine = None
        self.state_directory = os.path.join(directory, "state")
        self.file = os.path.join(directory, "postern.yml")
        try:
            self.build()
        except BaseException:
            self.end()
            raise

    # ---- the machines ----

    def build(self):
        self.host, self.world, self.mesh = (f"{self.name}-{part}" for part in ("host", "world", "mesh"))
        for namespace in (self.host, self.world, self.mesh):
            ip("netns", "add", namespace)
            self.namespaces.append(namespace)
            ip("link", "set", "lo", "up", namespace=namespace)
        self.cable("eth0", LAN + "/24", LAN6 + "/64", self.world, "eth0", NEIGHBOUR + "/24", NEIGHBOUR6 + "/64")
        self.cable("mesh0", MESH + "/10", "fd7a:115c:a1e0::1/64", self.mesh, "eth0", PEER + "/10", "fd7a:115c:a1e0::10/64")
        ip("route", "add", "default", "via", NEIGHBOUR, namespace=self.host)
        ip("-6", "route", "add", "default", "via", NEIGHBOUR6, namespace=self.host)
        ip("addr", "add", INTERNET + "/32", "dev", "lo", namespace=self.world)
        ip("addr", "add", INTERNET6 + "/128", "dev", "lo", "nodad", namespace=self.world)
        ip("route", "add", "default", "via", MESH, namespace=self.mesh)
        self.engine = Engine(namespace=f"/run/netns/{self.host}")
        for namespace, ports in ((self.host, HOST_PORTS), (self.world, (80, 22)), (self.mesh, (80, 22))):
            self.listen(["nsenter", f"--net=/run/netns/{namespace}"], ports)

    def cable(self, here, address, address6, there, name, its_address, its_address6):
        ip("link", "add", here, "netns", self.host, "type", "veth", "peer", "name", name, "netns", there)
        for namespace, device, addresses in ((self.host, here, (address, address6)), (there, name, (its_address, its_address6))):
            ip("addr", "add", addresses[0], "dev", device, namespace=namespace)
            ip("addr", "add", addresses[1], "dev", device, "nodad", namespace=namespace)
            ip("link", "set", device, "up", namespace=namespace)

    def listen(self, enter, ports):
        process = Process(f"echo-{len(self.processes)}-{secrets.token_hex(2)}", [*enter, sys.executable, os.path.join(HERE, "echo.py"), *map(str, ports)], self.directory)
        self.processes.append(process)
        wait_until(lambda: "ready" in process.out(), what="a listener")
        return process

    def end(self):
        for process in self.processes:
            with contextlib.suppress(Exception):
                process.stop()
        if self.engine:
            self.engine.end()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], check=False)

    def describe(self):
        shown = [process.describe() for process in self.processes if process.name.startswith("postern")]
        tables = self.run("nft", "list", "ruleset").stdout
        return "\n".join([*shown, tables])

    # ---- containers ----

    def network(self, project, key="default", **arguments):
        labels = {"com.docker.compose.project": project, "com.docker.compose.network": key}
        return self.engine.network(f"{project}_{key}", labels=labels, **arguments)

    def container(self, project, service, networks=None, listens=True, **arguments):
        """A running container of a Compose project; it echoes on PORTS."""
        number = arguments.pop("number", 1)
        made = self.engine.run(arguments.pop("name", f"{project}-{service}-{number}"), "/bin/sh", "-c", CONTAINER,
                               networks=networks or [f"{project}_default"], project=project, service=service, number=number, **arguments)
        if listens:
            self.listen(made.command(), PORTS)
        return made

    def tried(self, where, wanted, limit_s=1.0):
        """where: a container, or a namespace's name."""
        enter = where.command() if hasattr(where, "command") else ["nsenter", f"--net=/run/netns/{where}"]
        said = subprocess.run([*enter, sys.executable, os.path.join(HERE, "probe.py"), json.dumps(wanted), str(limit_s)],
                              capture_output=True, text=True, timeout=60, check=True)
        return json.loads(said.stdout)

    def reaches(self, where, protocol, address, port, limit_s=1.0):
        return self.tried(where, [[protocol, address, port]], limit_s)[0] == "open"

    # ---- postern ----

    def run(self, *command, **arguments):
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.host}", *command], capture_output=True, text=True, timeout=60, **arguments)

    def declare(self, services=None, grants=(), projects=None, **top):
        """services: {name: "project/service"}, each a web service on port 8000."""
        declaration = {
            "postern": 1, "domain": "home.example",
            "segments": {"clients": {}, "prod": {}},
            "hosts": {
                "roc": {"segment": "prod", "address": MESH, "lan": LAN, "gateway": True, "docker": self.engine.socket},
                "macbook": {"segment": "clients", "address": PEER},
            },
            "surfaces": {"main": {"port": 443}},
            "services": {name: {"host": "roc", "container": place, "port": 8000} for name, place in (services or {}).items()},
            "grants": [{"from": "clients", "to": "*", "over": "main"}, *grants],
            "projects": {name: {"host": "roc", **settings} for name, settings in (projects or {}).items()},
            **top,
        }
        with open(self.file, "w", encoding="utf-8") as text:
            json.dump(declaration, text, indent=1)
        return self.file

    def postern(self, *words, **arguments):
        return self.run(POSTERN, *words, "--state-directory", self.state_directory, **arguments)

    def apply(self, *words, **arguments):
        return self.postern("apply", "-f", self.file, "--host", "roc", *words, **arguments)

    def applied(self, *words):
        done = self.apply(*words)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def watch_unready(self):
        process = Process(f"postern-apply-{secrets.token_hex(2)}", ["nsenter", f"--net=/run/netns/{self.host}", POSTERN, "apply", "--watch", "-f", self.file, "--host", "roc",
                                            "--state-directory", self.state_directory], self.directory)
        self.processes.append(process)
        return process

    def watch(self):
        process = self.watch_unready()
        wait_until(lambda: "in force: " in process.err() or not process.running(), what="it is in force")
        assert process.running(), process.err()
        return process

    def unapply(self):
        return self.postern("unapply")

    # ---- rules ----

    def ruleset(self):
        """All rules but for what counts: the same text as long as nobody changes anything."""
        text = self.run("nft", "list", "ruleset").stdout
        return re.sub(r"packets \d+ bytes \d+", "packets N bytes N", text)

    def others(self):
        """The rules of everybody but postern."""
        tables = re.split(r"(?m)^(?=table )", self.ruleset())
        return "".join(table for table in tables if " postern_containers {" not in table)

    def set_bridge_calls(self, value):
        for name in ("iptables", "ip6tables"):
            done = self.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{name}={value}")
            assert done.returncode == 0, done.stderr
