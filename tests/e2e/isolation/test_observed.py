"""Observed projects: nothing is dropped, what would be is counted by container and destination, and becomes grants that check accepts."""
import json
import os

import pytest

from isolation.host import INTERNET, LAN, MESH, NEIGHBOUR, PEER
from lib.process import POSTERN, wait_until

SERVICES = {"grafana": "monitoring/grafana", "prometheus": "monitoring/prometheus"}
OBSERVED = {"monitoring": {"mode": "observe", "inside": "declared"}}


@pytest.fixture
def observed(host):
    """Three containers on one network, of which two are declared, and a neighbour that publishes a port."""
    host.network("monitoring")
    host.network("notes")
    host.grafana = host.container("monitoring", "grafana")
    host.prometheus = host.container("monitoring", "prometheus")
    host.exporter = host.container("monitoring", "exporter")
    host.notes = host.container("notes", "app", ports={"8000/tcp": "18000"})
    host.declare(SERVICES, [], OBSERVED)
    return host


def ask(host):
    there = host.prometheus.address()
    wanted = [["tcp", there, 9090], ["udp", there, 9091], ["tcp", host.exporter.address(), 9090], ["tcp", INTERNET, 80], ["tcp", LAN, 22],
              ["tcp", LAN, 18000], ["tcp", MESH, 443], ["tcp", NEIGHBOUR, 80], ["udp", PEER, 80]]
    assert host.tried(host.grafana, wanted) == ["open"] * len(wanted)
    assert host.tried(host.grafana, wanted[:1]) == ["open"]


EXPECTED = {
    ("grafana", "prometheus:9090"), ("grafana", "prometheus:udp/9091"), ("grafana", "exporter:9090"), ("grafana", "internet"), ("grafana", "app:8000"),
}


def suggested(host):
    done = host.postern("suggest", "--json")
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def grants_of(said):
    return {(grant["from"], grant["to"]) for grant in said["grants"]}


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_nothing_is_dropped_and_everything_not_granted_is_counted(observed, bridge_calls):
    observed.set_bridge_calls(bridge_calls)
    observed.applied()
    ask(observed)
    said = suggested(observed)
    assert grants_of(said) == EXPECTED
    assert next(grant["count"] for grant in said["grants"] if grant["to"] == "prometheus:9090") >= 2
    assert not any(grant["dropped"] for grant in said["grants"])
    assert {(service["name"], service["container"]) for service in said["services"]} == {("exporter", "monitoring/exporter"), ("app", "notes/app")}
    remarks = "\n".join(said["remarks"])
    for part in ("over main", "tcp port 22 of the host itself", f"tcp port 80 of {NEIGHBOUR}", f"udp port 80 of {PEER}"):
        assert part in remarks


def test_what_is_suggested_can_be_pasted_checks_and_silences_it(observed):
    observed.applied()
    ask(observed)
    text = observed.postern("suggest").stdout
    declaration = f"""
postern: 1
domain: home.example
segments: {{ clients: {{}}, prod: {{}} }}
hosts:
  roc: {{ segment: prod, address: {MESH}, lan: {LAN}, gateway: true, docker: {observed.engine.socket} }}
  macbook: {{ segment: clients, address: {PEER} }}
surfaces: {{ main: {{ port: 443 }} }}
services:
  grafana: {{ host: roc, container: monitoring/grafana, port: 8000 }}
  prometheus: {{ host: roc, container: monitoring/prometheus, port: 8000 }}
SERVICES
projects:
  monitoring: {{ host: roc, mode: enforce, inside: declared }}
grants:
  - {{ from: clients, to: "*", over: main }}
GRANTS
"""
    services, grants = text.split("services:\n")[1].split("grants:\n")
    with open(observed.file, "w", encoding="utf-8") as file:
        file.write(declaration.replace("SERVICES", services.rstrip()).replace("GRANTS", grants))
    checked = observed.run(POSTERN, "check", "-f", observed.file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    observed.applied()
    there = observed.prometheus.address()
    wanted = [["tcp", there, 9090], ["udp", there, 9091], ["tcp", observed.exporter.address(), 9090], ["tcp", INTERNET, 80], ["tcp", there, 9091]]
    assert observed.tried(observed.grafana, wanted) == ["open"] * 4 + ["silent"]
    assert grants_of(suggested(observed)) == {("grafana", "prometheus:9091")}


def test_what_is_dropped_is_suggested_too(observed):
    observed.declare(SERVICES, [], {"monitoring": {"mode": "enforce"}})
    observed.applied()
    assert observed.tried(observed.grafana, [["tcp", INTERNET, 80]]) == ["silent"]
    said = suggested(observed)
    assert [(grant["from"], grant["to"], grant["dropped"]) for grant in said["grants"]] == [("grafana", "internet", True)]


def test_the_watch_remembers_by_name_what_a_container_did_whose_address_another_has_now(observed):
    observed.watch()
    ask(observed)
    address = observed.grafana.address()
    observed.grafana.remove()
    other = observed.container("monitoring", "other", listens=False)
    assert other.address() == address
    gathered = os.path.join(observed.state_directory, "observed")
    wait_until(lambda: os.path.exists(gathered), 3, "the address changed hands")
    assert observed.reaches(other, "tcp", INTERNET, 80)
    wait_until(lambda: grants_of(suggested(observed)) == EXPECTED | {("other", "internet")}, 5, "each by its own name")


def test_without_anything_in_force_it_says_what_to_do(host):
    done = host.postern("suggest")
    assert done.returncode == 2 and "'postern apply' begins it" in done.stderr
    host.declare(SERVICES, [], OBSERVED)
    host.applied()
    quiet = host.postern("suggest")
    assert quiet.returncode == 1 and "nothing was seen" in quiet.stdout
