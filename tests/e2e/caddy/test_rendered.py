"""postern render caddy in a real Caddy, asked what our gateway is asked: every principal, every name, both surfaces.

One network namespace holds all of the homelab's addresses on its loopback; containers' names are in its /etc/hosts."""
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from lib.process import POSTERN, Process, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
HOMELAB = os.path.join(HERE, "../../../examples/homelab/postern.yml")
CADDY = shutil.which("caddy")
pytestmark = pytest.mark.skipif(not CADDY or os.geteuid() != 0, reason="needs Caddy and root")

with open(HOMELAB, encoding="utf-8") as source:
    DECLARATION = yaml.safe_load(source)
HOSTS = {name: host["address"][0] for name, host in DECLARATION["hosts"].items()}
WEB = {name: s for name, s in DECLARATION["services"].items() if "direct" not in s and not s.get("internal")}
AGENTS = {"registry", "mcp-files", "mcp-git", "mcp-search"}
PORTS = {"main": 443, "agents": 8443}


def hosts_of(service):
    return service["host"] if isinstance(service["host"], list) else [service["host"]]


def expected(who, gateway, surface, name):
    """(status, who answers) by the truth table, at a Caddy that stands in a gateway's place."""
    clients = who in ("iphone", "kobo", "macbook")
    if not (clients and surface == "main") and not (who == "robin" and surface == "agents"):
        return "closed", ""
    label = name.removesuffix(".home.example")
    for service, s in WEB.items():
        if surface == "agents" and service not in AGENTS:
            continue
        instances = [host for host in hosts_of(s) if host == gateway or "container" not in s]
        near = sorted(instances, key=lambda host: host != gateway)
        if label == service and near:
            return 200, f"{service}@{near[0]}"
        for host in instances:
            if label == f"{service}-{host}":
                return 200, f"{service}@{host}"
    return 404, ""


class World:
    def __init__(self, gateway, directory):
        self.directory, self.processes = directory, []
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", "sleep", "300"])
        own = os.readlink("/proc/self/ns/net")

        def is_there():
            try:
                return os.readlink(f"/proc/{self.holder.pid}/ns/net") != own
            except OSError:
                return False
        wait_until(is_there, what="the namespace")
        containers, listening = {}, []
        for name, s in WEB.items():
            for host in hosts_of(s):
                if "container" not in s:
                    listening.append([HOSTS[host], s["port"], f"{name}@{host}"])
                elif host == gateway:
                    containers[s["container"]] = f"127.1.0.{len(containers) + 1}"
                    listening.append([containers[s["container"]], s["port"], f"{name}@{host}"])
        with open(os.path.join(directory, "hosts"), "w", encoding="ascii") as file:
            for name, address in containers.items():
                file.write(f"{address} {name.replace('/', '-') + '-1' if '/' in name else name}\n")
        self.run("mount", "--bind", os.path.join(directory, "hosts"), "/etc/hosts")
        self.run("ip", "link", "set", "lo", "up")
        for host in DECLARATION["hosts"].values():
            for address in host["address"]:
                self.run("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        services = subprocess.Popen(self.command(sys.executable, os.path.join(HERE, "answering.py"), json.dumps(listening)),
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(services)
        assert services.stdout.readline() == b"ready\n"
        for surface in PORTS:
            self.serve(gateway, surface)

    def command(self, *command):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", *command]

    def run(self, *command):
        subprocess.run(self.command(*command), check=True, capture_output=True, timeout=30)

    def serve(self, gateway, surface):
        path = os.path.join(self.directory, f"{surface}.Caddyfile")
        with open(path, "w", encoding="utf-8") as file:
            subprocess.run([POSTERN, "render", "caddy", gateway, surface, "-f", HOMELAB], check=True, stdout=file, timeout=30)
        data = os.path.join(self.directory, f"{surface}-data")
        caddy = Process(f"caddy-{surface}", self.command("env", f"XDG_DATA_HOME={data}", f"HOME={data}", CADDY, "run", "--config", path, "--adapter", "caddyfile"),
                        self.directory)
        self.processes.append(caddy)

        def serves():
            assert caddy.running(), caddy.describe()
            return self.ask([[HOSTS["robin"], HOSTS[gateway], PORTS[surface], "ready.home.example"],
                             [HOSTS["kobo"], HOSTS[gateway], PORTS[surface], "ready.home.example"]]) != [("closed", "")] * 2
        wait_until(serves, 30, f"Caddy serves {surface}")

    def ask(self, questions, whole=False):
        done = subprocess.run(self.command(sys.executable, os.path.join(HERE, "asking.py")), input=json.dumps(questions), capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return answers if whole else [(status, who if status == 200 else "") for status, who, _ in answers]

    def end(self):
        for process in reversed(self.processes):
            if isinstance(process, Process):
                process.stop()
            else:
                process.stdin.close()
                process.wait(10)
                process.stdout.close()
        self.holder.kill()
        self.holder.wait()


@pytest.fixture(scope="module", params=["roc", "bluejay"])
def world(request, tmp_path_factory):
    world = World(request.param, str(tmp_path_factory.mktemp("caddy")))
    world.gateway = request.param
    yield world
    world.end()


NAMES = [f"{name}.home.example" for name in WEB]
NAMES += [f"{name}-{host}.home.example" for name, s in WEB.items() for host in hosts_of(s)]
NAMES += ["notes-db.home.example", "luanti.home.example", "no-such.home.example", "home.example"]


@pytest.mark.parametrize("surface", PORTS)
def test_caddy_says_to_everybody_what_the_gateway_says(world, surface):
    questions = [[HOSTS[who], HOSTS[world.gateway], PORTS[surface], name] for who in HOSTS for name in NAMES]
    names = {address: host for host, address in HOSTS.items()}
    wrong = [(names[q[0]], q[3], answer, wanted) for q, answer in zip(questions, world.ask(questions))
             if answer != (wanted := expected(names[q[0]], world.gateway, surface, q[3]))]
    assert wrong == []


def test_not_granted_and_not_existing_are_the_same_bytes(world):
    asked = ["grafana.home.example", "notes-db.home.example", "no-such.home.example", "opencode.home.example"]
    answers = world.ask([[HOSTS["robin"], HOSTS[world.gateway], 8443, name] for name in asked], whole=True)
    assert {answer[0] for answer in answers} == {404} and len({answer[2] for answer in answers}) == 1


def test_a_name_outside_of_the_domain_tells_nothing(world):
    for source, port in (("robin", 8443), ("kobo", 443)):
        assert world.ask([[HOSTS[source], HOSTS[world.gateway], port, "other.example"]])[0][0] in ("closed", 404)


def test_http_is_sent_to_https_for_guests_only(world):
    answers = world.ask([[HOSTS["kobo"], HOSTS[world.gateway], 80, "grafana.home.example"], [HOSTS["robin"], HOSTS[world.gateway], 80, "grafana.home.example"]],
                        whole=True)
    assert answers[0][0] == 308 and "Location: https://grafana.home.example/\r\n" in answers[0][2]
    assert answers[1][0] == "closed"


def test_identity_fields_of_a_client_are_dropped(world):
    name = {"roc": "registry", "bluejay": "music"}[world.gateway]
    answer = world.ask([[HOSTS["kobo"], HOSTS[world.gateway], 443, f"{name}.home.example"]], whole=True)[0]
    assert answer[0] == 200 and "postern-host" not in answer[2] and f'"x-forwarded-for": "{HOSTS["kobo"]}"' in answer[2]


def test_what_caddy_cannot_keep_is_not_served(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("""
postern: 1
domain: home.example
tls: { cert: /etc/a b.pem, key: /etc/key.pem }
segments: { clients: { address: 100.64.8.0/22 }, prod: {} }
hosts:
  roc: { segment: prod, address: 100.64.0.1, gateway: true }
  kobo: { segment: clients, address: 100.64.8.5 }
surfaces: { main: { port: 9443 } }
services:
  lone: { host: roc, netns: /run/netns/lone, port: 80 }
  sock: { host: roc, unix: "/run/a b.sock", protocol: h2c }
  pinned: { host: roc, port: 8443, protocol: https, tls: { pin: "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" } }
  signed: { host: roc, port: 8444, protocol: https, names: [www.other.example] }
  shut: { host: roc, port: 81 }
grants:
  - { from: clients, to: [lone, sock, pinned, signed], over: main }
  - { from: kobo, to: shut, over: main }
""")
    done = subprocess.run([POSTERN, "render", "caddy", "roc", "-f", path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    config = os.path.join(directory, "Caddyfile")
    with open(config, "w", encoding="utf-8") as file:
        file.write(done.stdout)
    adapted = subprocess.run([CADDY, "adapt", "--config", config, "--adapter", "caddyfile"], capture_output=True, text=True, timeout=30, check=False)
    assert adapted.returncode == 0 and "not formatted" not in adapted.stderr, adapted.stderr
    text = json.dumps(json.loads(adapted.stdout))
    assert text.count('"status_code": 502') == 4  # lone and pinned, for either class of guests
    assert '"dial": "unix//run/a b.sock"' in text and '"h2c"' in text and '"server_name": "signed.home.example"' in text
    assert "www.other.example" in text and "run/netns" not in text
    # A segment's prefix without the host in it: what is the host's own class is not the others'.
    routes = json.loads(adapted.stdout)["apps"]["http"]["servers"]["srv0"]["routes"]
    ranges = [match["remote_ip"]["ranges"] for match in find(routes, "match") for match in match if "remote_ip" in match]
    alone = [r for r in ranges if r == ["100.64.8.5"]]
    others = [r for r in ranges if "100.64.8.4" in r]
    assert len(alone) == 1 and len(others) == 1
    assert "100.64.8.5" not in others[0] and "100.64.8.0/30" in others[0] and "100.64.10.0/23" in others[0]


def find(value, key):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from find(inner, key)
    if isinstance(value, list):
        for inner in value:
            yield from find(inner, key)
