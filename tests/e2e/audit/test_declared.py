"""postern audit --docker with a declaration: what no grant says is told, what one says is not, and what is declared in vain is."""
import json
import subprocess

import pytest

from lib import saved_engine as saved
from lib.process import POSTERN

DECLARATION = """\
postern: 1
domain: home.example
segments: { clients: {}, prod: {} }
hosts:
  roc: { segment: prod, address: 100.64.0.1, gateway: true }
  macbook: { segment: clients, address: 100.64.0.13 }
surfaces: { main: { port: 443 } }
services:
  grafana: { host: roc, container: monitoring/grafana, port: 3000 }
  prometheus: { host: roc, container: monitoring/prometheus, port: 9090 }
  notes: { host: roc, container: notes/web, port: 80 }
  notes-db: { host: roc, container: notes/db, port: 5432, internal: true }
%s
grants:
  - { from: clients, to: "*", over: main }
  - { from: macbook, to: "roc:22" }
%s
"""


def service(project, name, *networks, ports=(), **more):
    listens = {"grafana": "3000/tcp", "prometheus": "9090/tcp", "web": "80/tcp", "db": "5432/tcp"}[name]
    return saved.container(f"{project}-{name}-1", {"db": "postgres"}.get(name, "x"), project, name, networks, ports, [listens], **more)


def bridge(name, project=""):
    return saved.network(name, options={"com.docker.network.bridge.name": "br-" + name[:9]}, project=project)


@pytest.fixture
def audit(tmp_path):
    def ask(containers, networks=(), top="", grants="", engine="28.3.0"):
        (tmp_path / "postern.yml").write_text(DECLARATION % (top, grants))
        saved.write(tmp_path / "state.json", containers, networks, engine)
        done = subprocess.run([POSTERN, "audit", "-f", tmp_path / "postern.yml", "--docker", tmp_path / "state.json", "--host", "roc", "--json"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 1), done.stderr
        layer = json.loads(done.stdout)["layers"][0]
        assert layer["holds"] == (done.returncode == 0)
        return done.returncode, {(f["kind"], f.get("container") or f.get("network") or f["what"]): f for f in layer["findings"]}
    return ask


ALL = [service("monitoring", "grafana", "m"), service("monitoring", "prometheus", "m"), service("notes", "web", "n"), service("notes", "db", "n")]
NETWORKS = [bridge("m", "monitoring"), bridge("n", "notes")]


def test_what_is_declared_is_no_finding(audit):
    assert audit(ALL, NETWORKS) == (0, {})


def test_a_project_that_is_declared_narrower_than_its_network(audit):
    top = "projects: { monitoring: { host: roc, inside: declared } }"
    status, found = audit(ALL, NETWORKS, top, '  - { from: grafana, to: "prometheus:9090" }')
    assert status == 1 and set(found) == {("project-network", "m")}
    assert found["project-network", "m"]["who"] == "no grant says: monitoring/prometheus reaches monitoring/grafana (tcp 3000)"
    both = '  - { from: grafana, to: "prometheus:9090" }\n  - { from: prometheus, to: "grafana:3000" }'
    assert audit(ALL, NETWORKS, top, both) == (0, {})


def test_a_shared_network_lets_through_what_is_granted_and_the_rest_is_told(audit):
    containers = [service("monitoring", "grafana", "proxy"), service("monitoring", "prometheus"), service("notes", "web", "proxy"), service("notes", "db")]
    grant = '  - { from: notes, to: "grafana:3000" }'
    status, found = audit(containers, [bridge("proxy")], grants=grant)
    assert status == 1 and set(found) == {("shared-network", "proxy")}
    assert found["shared-network", "proxy"]["who"] == "no grant says: monitoring/grafana reaches notes/web (tcp 80)"
    assert audit(containers, [bridge("proxy")], grants=grant + '\n  - { from: grafana, to: "notes:80" }') == (0, {})


def test_a_published_port_says_whether_the_declaration_speaks_of_it(audit):
    published = [service("monitoring", "grafana", "m", ports=[("0.0.0.0", 3000, "3000/tcp")]), *ALL[1:3],
                 service("notes", "db", "n", ports=[("192.168.1.10", 5432, "5432/tcp")])]
    _, found = audit(published, NETWORKS)
    grafana, database = found["published", "monitoring-grafana-1"], found["published-at-address", "notes-db-1"]
    assert grafana["who"].endswith("; no grant says so")
    assert "service grafana (" in grafana["change"]["lines"][1] and "needs no published port" in grafana["change"]["lines"][1]
    assert database["severity"] == "high" and database["who"].endswith("no grant says so")
    _, found = audit(published, NETWORKS, grants='  - { from: macbook, to: "roc:3000" }')
    assert "postern.yml:17 speaks of that port of the host, and this is wider" in found["published", "monitoring-grafana-1"]["who"]


def test_a_port_at_the_mesh_s_address_that_is_granted_is_no_finding(audit):
    published = [service("monitoring", "grafana", "m", ports=[("100.64.0.1", 3000, "3000/tcp")]), *ALL[1:]]
    assert audit(published, NETWORKS)[0] == 1
    assert audit(published, NETWORKS, grants='  - { from: macbook, to: "roc:3000" }') == (0, {})


def test_containers_that_are_declared_and_not_there(audit):
    containers = [service("watching", "grafana", "m"), ALL[1], service("notes", "web", "n", running=False), ALL[3]]
    status, found = audit(containers, NETWORKS)
    absent = {what: finding for (kind, what), finding in found.items() if kind == "absent"}
    assert status == 1 and set(absent) == {"service grafana: no container here is called monitoring/grafana",
                                           "service notes: its container does not run: notes/web"}
    finding = absent["service grafana: no container here is called monitoring/grafana"]
    assert finding["change"]["lines"] == ["did you mean watching/grafana?"] and finding["change"]["file"].endswith("postern.yml:9")
    assert "undeclared" in {kind for kind, _ in found}


def test_containers_that_no_service_names_are_a_note(audit):
    status, found = audit([*ALL, saved.container("extra")], NETWORKS)
    assert status == 0 and [f["who"] for f in found.values()] == ["nobody by postern: extra"]


def test_a_declared_port_that_nobody_listens_on(engine, tmp_path):
    engine.standin("grafana", 3001, network="none", project="monitoring", service="grafana")
    engine.standin("prometheus", 9090, address="127.0.0.1", network="none", project="monitoring", service="prometheus")
    engine.standin("web", 80, network="none", project="notes", service="web")
    engine.standin("db", 5432, network="none", project="notes", service="db")
    (tmp_path / "postern.yml").write_text(DECLARATION % ("", ""))
    done = engine.enter(POSTERN, "audit", "-f", tmp_path / "postern.yml", "--docker", engine.socket, "--host", "roc", "--json")
    findings = json.loads(done.stdout)["layers"][0]["findings"]
    assert done.returncode == 1 and [f["kind"] for f in findings] == ["silent"]
    assert findings[0]["what"] == "service grafana: nobody listens on tcp 3000 in monitoring/grafana"
    assert findings[0]["who"] == "nobody; what listens there is tcp 3001"
