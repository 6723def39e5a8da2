"""postern audit --no-declaration on what docker inspect wrote elsewhere: every kind of finding, and what hostile containers try."""
import json
import os
import re
import subprocess

import pytest

from lib import saved_engine as saved
from lib.process import POSTERN

ANY = "0.0.0.0"


def run(*arguments, **more):
    return subprocess.run([POSTERN, "audit", *[str(a) for a in arguments]], capture_output=True, timeout=60, check=False, **more)


@pytest.fixture
def audit(tmp_path):
    """(exit status, {(severity, kind, container or network): finding}) of a saved state."""
    def ask(containers=(), networks=(), engine="28.3.0", options=()):
        path = saved.write(tmp_path / "state.json", containers, networks, engine)
        done = run("--no-declaration", "--docker", path, "--json", *options)
        assert done.returncode in (0, 1), done.stderr
        layer = json.loads(done.stdout)["layers"][0]
        assert (done.returncode == 0) == layer["holds"]
        found = {(f["severity"], f["kind"], f.get("container") or f.get("network")): f for f in layer["findings"]}
        return done.returncode, found
    return ask


def test_an_idle_engine_has_nothing_to_tell(audit, tmp_path):
    assert audit([], [saved.network("bridge", options={"com.docker.network.bridge.name": "docker0"})]) == (0, {})
    text = run("--no-declaration", "--docker", saved.write(tmp_path / "none.json")).stdout.decode()
    assert "Nothing is open that need not be" in text and "postern init" in text


def test_a_container_that_only_the_gate_reaches_is_no_finding(audit):
    assert audit([saved.container("grafana", "grafana/grafana", "monitoring", "grafana", exposed=["3000/tcp"])]) == (0, {})


def test_a_published_port_names_who_reaches_it_and_the_line_to_change(audit):
    status, found = audit([saved.container("m-grafana-1", "grafana/grafana:11", "monitoring", "grafana", ["m"],
                                           [(ANY, 8080, "3000/tcp"), ("::", 8080, "3000/tcp")])], [saved.network("m")])
    finding = found["medium", "published", "m-grafana-1"]
    assert status == 1 and len(found) == 1
    assert "its LAN, its mesh" in finding["who"] and "tcp 8080" in finding["what"]
    assert finding["change"]["file"] == "/srv/monitoring/compose.yml" and finding["change"]["service"] == "grafana"
    assert finding["change"]["lines"] == ['- ports: ["8080:3000"]',
                                          "+ grafana: { host: HOST, container: monitoring/grafana, port: 3000 }   # in postern.yml",
                                          'or for this host\'s own programs only: ports: ["127.0.0.1:8080:3000"]']


def test_a_published_database_is_worse_than_a_web_page(audit):
    _, found = audit([saved.container("db", "docker.io/library/postgres:16-alpine", "notes", "db", ["n"], [(ANY, 5432, "5432/tcp")]),
                      saved.container("web", "notes", "notes", "app", ["n"])], [saved.network("n")])
    lines = found["high", "published", "db"]["change"]["lines"]
    assert "+ notes-db: { host: HOST, container: notes/db, port: 5432, internal: true }   # in postern.yml" in lines
    assert any("app and it share a network" in line for line in lines)


def test_ports_in_a_row_are_one_line(audit):
    _, found = audit([saved.container("valheim", "valheim-server", networks=["bridge"],
                                      ports=[(ANY, 2456 + i, f"{2456 + i}/udp") for i in range(3)] + [(ANY, 80, "8080/tcp")])],
                     [saved.network("bridge")])
    finding = found["medium", "published", "valheim"]
    assert "tcp 80, udp 2456-2458" in finding["what"]
    assert finding["change"]["lines"][0] == "- docker run -p 80:8080 -p 2456-2458:2456-2458/udp"


@pytest.mark.parametrize("engine, expected", [("20.10.24+dfsg1", 1), ("27.5.1", 1), ("28.0.0", 0), ("29.10.0", 0)])
def test_a_port_on_127_0_0_1_is_open_to_neighbours_before_docker_28(audit, engine, expected):
    status, found = audit([saved.container("p", "prom/prometheus", networks=["m"], ports=[("127.0.0.1", 9090, "9090/tcp")])], [saved.network("m")], engine)
    assert (status, len(found)) == (expected, expected)
    if expected:
        finding = found["medium", "published-on-loopback", "p"]
        assert "same link" in finding["who"] and finding["change"]["lines"][-1] == "or upgrade to Docker 28 or later"


def test_a_port_at_one_address_is_told_by_who_is_behind_it(audit):
    _, found = audit([saved.container("a", "gitea/gitea", networks=["m"], ports=[("100.64.0.1", 22, "22/tcp")]),
                      saved.container("b", "gitea/gitea", networks=["n"], ports=[("192.168.1.10", 3000, "3000/tcp")]),
                      saved.container("c", "gitea/gitea", networks=["o"], ports=[("203.0.113.7", 3000, "3000/tcp")])],
                     [saved.network("m"), saved.network("n"), saved.network("o")])
    assert found["low", "published-at-address", "a"]["who"].startswith("the mesh, and 2 other containers")
    assert found["medium", "published-at-address", "b"]["who"].startswith("the LAN")
    assert ("high", "published-at-address", "c") in found


def test_the_engine_s_socket_in_a_container(audit):
    socket = "/var/run/docker.sock"
    _, found = audit([saved.container("portainer", networks=["m"], ports=[(ANY, 9000, "9000/tcp")], mounts=[(socket, socket, False)]),
                      saved.container("watchtower", mounts=[("/run/docker.sock", socket, True)]),
                      saved.container("backup", mounts=[("/", "/host", False)])], [saved.network("m")])
    finding = found["critical", "docker-socket", "portainer"]
    assert "the LAN, the mesh and other containers" in finding["who"] and '":ro" forbids to replace the socket, not to ask' in finding["why"]
    assert '- volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro"]' in finding["change"]["lines"]
    assert ("high", "docker-socket", "watchtower") in found and ("high", "docker-socket", "backup") in found


def test_rights_over_the_host(audit):
    _, found = audit([saved.container("p", Privileged=True), saved.container("q", Privileged=True, mode="host"),
                      saved.container("n", CapAdd=["CAP_NET_ADMIN"]), saved.container("o", CapAdd=["NET_ADMIN"], mode="host"),
                      saved.container("s", CapAdd=["SYS_ADMIN"]), saved.container("x", PidMode="host"),
                      saved.container("t", PidMode="host", CapAdd=["SYS_PTRACE"]), saved.container("h", mode="host"),
                      saved.container("w", mounts=[("/etc", "/etc", True)]), saved.container("r", mounts=[("/etc", "/etc", False)]),
                      saved.container("k", CapAdd=["CHOWN"])])
    assert set(found) == {
        ("high", "privileged", "p"), ("critical", "privileged", "q"), ("low", "capability", "n"), ("high", "capability", "o"),
        ("high", "capability", "s"), ("medium", "host-pid", "x"), ("medium", "host-pid", "t"), ("high", "capability", "t"),
        ("high", "host-network", "h"), ("high", "host-network", "q"), ("high", "host-network", "o"), ("high", "host-files", "w")}


def bridge(name):
    return saved.network(name, options={"com.docker.network.bridge.name": "br-" + name})


def test_a_network_that_projects_share_says_what_it_lets_through(audit):
    _, found = audit([saved.container("a", "grafana/grafana", "monitoring", "grafana", ["proxy"], exposed=["3000/tcp"]),
                      saved.container("b", "nextcloud", "cloud", "web", ["proxy"], exposed=["80/tcp"])], [bridge("proxy")])
    finding = found["medium", "shared-network", "proxy"]
    assert finding["who"] == "each of these the others: monitoring/grafana (tcp 3000), cloud/web (tcp 80)"
    assert "- networks: [proxy]   # service web, /srv/cloud/compose.yml" in finding["change"]["lines"]


def test_a_shared_network_whose_containers_may_not_talk_is_none(audit):
    apart = saved.network("proxy", options={"com.docker.network.bridge.enable_icc": "false"})
    both = [saved.container("a", project="x", service="a", networks=["proxy"]), saved.container("b", project="y", service="b", networks=["proxy"])]
    assert audit(both, [apart])[0] == 0 and audit(both, [bridge("proxy")])[0] == 1


def test_a_project_s_own_network_is_told_where_it_is_wider_than_depends_on(audit):
    def service(name, needs=""):
        return saved.container(name, "redis" if name == "cache" else "app", "p", name, ["p_default"], labels={"com.docker.compose.depends_on": needs})
    status, found = audit([service("web", "db:service_started:false,cache:service_healthy:false"), service("db", "cache:x:false"), service("cache")],
                          [bridge("p_default")])
    assert (status, found) == (0, {})
    _, found = audit([service("web", "db:service_started:false"), service("db"), service("cache")], [bridge("p_default")])
    assert found["low", "project-network", "p_default"]["who"].endswith("no depends_on is between web and cache, db and cache")


def test_networks_whose_containers_can_be_routed_to(audit):
    mode = saved.network("n", options={"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"})
    trusted = saved.network("t", options={"com.docker.network.bridge.trusted_host_interfaces": "eth1"})
    _, found = audit([saved.container("a", networks=["n"]), saved.container("b", networks=["t"])], [mode, trusted])
    assert ("medium", "routed-network", "n") in found
    assert found["medium", "routed-network", "t"]["who"].startswith("whoever comes by eth1")


def test_a_container_with_an_address_on_the_lan(audit):
    _, found = audit([saved.container("pihole", networks=["lan"], exposed=["53/udp"])], [saved.network("lan", driver="macvlan", options={"parent": "eth0"})])
    assert found["medium", "own-lan-address", "pihole"]["who"] == "everybody on that network, every port, among them udp 53"


def test_stopped_containers_open_nothing(audit):
    assert audit([saved.container("old", networks=["m"], ports=[(ANY, 80, "80/tcp")], running=False, Privileged=True)], [saved.network("m")]) == (0, {})


# ---- hostile engines and containers ----

HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u200b\udcff" + "A" * 3000


def test_a_container_s_labels_move_no_cursor_and_fill_no_screen(tmp_path):
    containers = [saved.container("a", HOSTILE, HOSTILE, HOSTILE, ["n"], [(ANY, 80, "80/tcp")], files=HOSTILE, mounts=[("/var/run/docker.sock", HOSTILE, True)]),
                  saved.container("b", "x", "B" * 65536, "C" * 65536, ["n"], [(ANY, 81, "80/tcp")], files="D" * 65536)]
    path = tmp_path / "state.json"
    path.write_text(json.dumps(saved.version()) + json.dumps(containers).replace("\\udcff", "") + json.dumps([bridge("n")]))
    done = run("--no-declaration", "--docker", path)
    text = done.stdout.decode("utf-8")  # strictly
    assert done.returncode == 1 and not done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u200b]", text)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert len(text) < 200_000 and "B" * 5000 not in text.replace("\n", "")
    report = json.loads(run("--no-declaration", "--docker", path, "--json").stdout)
    assert report["layers"][0]["findings"]


def test_fields_that_nobody_knows_and_of_other_types_are_passed_over(audit):
    odd = saved.container("a", networks=["m"], ports=[(ANY, 80, "80/tcp")])
    odd.update({"Brand": {"New": [1, 2]}, "Mounts": "none", "RestartCount": "many"})
    odd["HostConfig"]["CapAdd"] = {"not": "a list"}
    odd["NetworkSettings"]["Ports"]["nonsense"] = [{"HostIp": "not an address", "HostPort": "99999"}]
    assert ("medium", "published", "a") in audit([odd], [saved.network("m")])[1]


@pytest.mark.parametrize("text, said", [("", "nothing is in it"), ("[", "not the JSON of docker inspect"), ('[{"a": 1}]', "neither a container"),
                                        ("[3]", "neither a container"), ("\x00\x00", "not the JSON"), ('"' + "x" * 100000, "not the JSON")])
def test_a_file_that_is_no_saved_state_is_no_success(tmp_path, text, said):
    path = tmp_path / "state.json"
    path.write_text(text)
    done = run("--no-declaration", "--docker", path)
    assert done.returncode == 2 and said in done.stderr.decode() and not done.stdout


def test_without_an_engine_it_says_what_to_do(tmp_path):
    done = run("--no-declaration", "--docker", tmp_path / "docker.sock")
    assert done.returncode == 2 and "No such file" in done.stderr.decode()


def test_a_declaration_and_none_are_not_asked_for_at_once():
    done = run("--no-declaration", "-f", os.devnull)
    assert done.returncode == 2 and "leave --no-declaration out" in done.stderr.decode()
