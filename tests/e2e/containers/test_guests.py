"""Containers that ask: each is who Docker says it is, for as long as it has its address, and nobody passes for another."""
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from lib import roles
from lib.gateway import HOSTS
from lib.process import wait_until

MESH, PORT, SUBNET = "100.64.0.1", 8080, "10.202.9.0/27"
SEAT, OTHER_SEAT = "10.202.9.10", "10.202.9.11"

# Asks again and again from an address that it may not have yet, and tells each answer's status.
ASKER = textwrap.dedent("""
    import socket, ssl, sys, time
    address, server, port, name, ca, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    end, statuses = time.monotonic() + float(seconds), {}
    print("asking", flush=True)
    while time.monotonic() < end:
        status = None
        try:
            with socket.create_connection((server, int(port)), timeout=1, source_address=(address, 0)) as raw:
                with context.wrap_socket(raw, server_hostname=name) as connection:
                    connection.sendall(f"GET / HTTP/1.1\\r\\nhost: {name}:{port}\\r\\nconnection: close\\r\\n\\r\\n".encode())
                    status = connection.recv(100)[9:12].decode()
        except OSError as trouble:
            status = "no address" if trouble.errno == 99 else "closed"
            time.sleep(0.001)
        statuses[status] = statuses.get(status, 0) + 1
    print(statuses)
""")


class Household:
    """A gateway on the engine's host, at a mesh address of it; notes has no network; grafana may ask for it, stranger may not."""

    def __init__(self, engine, gateway):
        self.engine = engine
        subprocess.run(engine.command("ip", "address", "replace", f"{MESH}/32", "dev", "lo"), check=True)
        self.network = engine.network("front", subnet=SUBNET)
        engine.standin("notes", port=PORT, network="none")
        self.grafana = self.seat("grafana", SEAT)
        hosts = {"gw": {"segment": "prod", "address": MESH, "gateway": True, "docker": engine.socket}, "macbook": HOSTS["macbook"]}
        services = {"notes": {"host": "gw", "container": "notes", "port": PORT}, "grafana": {"host": "gw", "container": "grafana", "port": PORT}}
        self.grants = [{"from": "macbook", "to": "*", "over": "main"}, {"from": "grafana", "to": "notes", "over": "main"}]
        self.gw = gateway(services, grants=self.grants, surfaces={"main": {}}, engine=engine.socket, inside=engine.command(), hosts=hosts)
        self.url, self.at = self.gw.url("notes"), f"{self.gw.name_of('notes')}:{self.gw.port['main']}:{MESH}"

    def seat(self, name, address):
        one = self.engine.create(name, "/bin/postern-standin", "--name", name, "--host", "front", "--listen", f"0.0.0.0:{PORT}", network="none")
        self.engine.api("POST", "/networks/none/disconnect", {"Container": one.id, "Force": True})
        self.sit(one, address)
        return one.start()

    def sit(self, container, address):
        self.engine.api("POST", f"/networks/{self.network.id}/connect",
                        {"Container": container.id, "EndpointConfig": {"IPAMConfig": {"IPv4Address": address}}})

    def ask(self, container, *options, path="/"):
        """The status that it gets for notes; 0: closed before it said anything."""
        done = container.enter("curl", "-s", "--cacert", self.gw.ca, "--resolve", self.at, "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}",
                               *options, self.url.rstrip("/") + path)
        return int(done.stdout or 0)

    def keep_asking(self, container, address, seconds):
        """In the container's network, with a file of the namespace so that it stays there."""
        process = subprocess.Popen(container.command(sys.executable, "-c", ASKER, address, MESH, self.gw.port["main"], self.gw.name_of("notes"),
                                                     self.gw.ca, seconds), stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "asking\n"
        return process


@pytest.fixture
def household(engine, gateway):
    yield Household(engine, gateway)
    subprocess.run(engine.command("ip", "address", "delete", f"{MESH}/32", "dev", "lo"), check=False)


def test_a_container_asks_as_the_service_that_it_is(household):
    stranger = household.seat("stranger", OTHER_SEAT)
    assert wait_until(lambda: household.ask(household.grafana), what="an answer") == 200
    record = household.gw.records(at_least=1, status=200)[0]
    assert record["principal"] == "grafana" and record["client"] == SEAT
    assert record["rule"].startswith("postern.yml:")
    done = household.grafana.enter("curl", "-s", "--cacert", household.gw.ca, "--resolve", household.at, household.url)
    assert '"grafana"' in done.stdout, "the service is told who asks"
    assert household.ask(stranger) == 0, "nobody: closed before TLS"
    assert household.gw.records(at_least=1, client=OTHER_SEAT)[0]["denied"] == "nobody"


def test_what_it_was_not_granted_is_404(household):
    wait_until(lambda: household.ask(household.grafana) == 200, what="known")
    name = household.gw.name_of("grafana")
    done = household.grafana.enter("curl", "-s", "--cacert", household.gw.ca, "--resolve", household.at.replace("notes.", "grafana."), "-o", "/dev/null",
                                   "-w", "%{http_code}", f"https://{name}:{household.gw.port['main']}/")
    assert done.stdout == "404"


@pytest.mark.parametrize("stopped", [False, True], ids=["", "while the docker role hangs"])
def test_its_connections_end_with_it(household, stopped):
    """Of a process that outlives it in its network: what the kernel says ended is nobody within a second, whoever tells it."""
    gw = household.gw
    wait_until(lambda: household.ask(household.grafana) == 200, what="known")
    docker = roles.pid_of(gw.process.pid, "docker")
    stream = subprocess.Popen(household.grafana.command("curl", "-sN", "--cacert", gw.ca, "--resolve", household.at,
                                                        household.url + "events?n=1000&interval_ms=50"), stdout=subprocess.PIPE)
    assert stream.stdout.read(10)
    if stopped:
        os.kill(docker, signal.SIGSTOP)
    try:
        household.grafana.kill()
        record = gw.records(at_least=1, timeout_s=2, denied="revoked")[0]
        assert record["client"] == SEAT
        # Its address is free now. Whoever has it next is somebody else.
        successor = household.seat("successor", SEAT)
        assert household.ask(successor) == 0
    finally:
        os.kill(docker, signal.SIGCONT)
        stream.kill()
    assert household.ask(successor) == 0
    successor.remove()
    household.grafana.remove()
    again = household.seat("grafana", SEAT)
    assert wait_until(lambda: household.ask(again), 3, "known again") == 200


def test_who_takes_over_its_address_never_passes_for_it(household):
    """Both containers run all the while, and the other asks from that address as fast as it can from before it has it."""
    other = household.seat("other", OTHER_SEAT)
    wait_until(lambda: household.ask(household.grafana) == 200, what="known")
    asking = household.keep_asking(other, SEAT, 6)
    for _ in range(2):
        household.network.disconnect(household.grafana)
        household.network.disconnect(other)
        household.sit(other, SEAT)
        household.sit(household.grafana, OTHER_SEAT)
        assert wait_until(lambda: household.ask(household.grafana), 3, "known at its new address") == 200
        household.network.disconnect(household.grafana)
        household.network.disconnect(other)
        household.sit(household.grafana, SEAT)
        household.sit(other, OTHER_SEAT)
        assert wait_until(lambda: household.ask(household.grafana), 3, "known at its old address") == 200
    out, _ = asking.communicate(timeout=30)
    assert "'closed'" in out and "'200'" not in out, out


def test_a_killed_docker_role_costs_a_guest_nothing(household):
    gw = household.gw
    wait_until(lambda: household.ask(household.grafana) == 200, what="known")
    stream = subprocess.Popen(household.grafana.command("curl", "-sN", "--cacert", gw.ca, "--resolve", household.at,
                                                        household.url + "events?n=1000&interval_ms=20"), stdout=subprocess.PIPE)
    assert stream.stdout.read(10)
    for _ in range(2):
        old = roles.kill(gw.process.pid, "docker")
        assert household.ask(household.grafana) == 200
        roles.wait_restarted(gw.process.pid, "docker", old)
        wait_until(lambda: gw.status()["engine"]["status"] == "there", what="it asks again")
        assert household.ask(household.grafana) == 200
    stream.stdout.read1(1 << 16)
    assert stream.stdout.read(10) and stream.poll() is None, "its stream goes on"
    stream.kill()
    assert not gw.records(denied="revoked")


def test_who_shares_its_network_is_told_apart_by_nothing_and_so_is_nobody(engine, household):
    """A container that is declared to ask, but uses another's network: known by no address."""
    engine.standin("vpn", port=PORT, networks=["front"])
    behind = engine.standin("behind", port=PORT + 1, network="container:vpn")
    services = {**household.gw.declaration["services"], "behind": {"host": "gw", "container": "behind", "port": PORT + 1}}
    household.gw.reload({**household.gw.declaration, "services": services,
                         "grants": [*household.grants, {"from": "behind", "to": "notes", "over": "main"}]})
    wait_until(lambda: any(one["container"] == "behind" and "can't be told" in one["trouble"] for one in household.gw.status()["containers"]),
               what="said in status")
    assert household.ask(behind) == 0
