"""postern init: what it writes is a right declaration as it is, whatever was found, and says what was found."""
import json
import os
import re
import subprocess

import pytest
import yaml

from lib import saved_engine as saved
from lib.process import POSTERN

ANY = "0.0.0.0"


def run(*arguments, **more):
    return subprocess.run([POSTERN, *[str(a) for a in arguments]], capture_output=True, text=True, timeout=60, check=False, **more)


@pytest.fixture
def init(tmp_path):
    """The written declaration, after postern check was content with it: (parsed, text, what check said)."""
    def write(*arguments, containers=None, networks=(), mesh=None, strict=True):
        arguments, path = list(arguments), tmp_path / "written.yml"
        state = saved.write(tmp_path / "state.json", containers or [], networks)
        arguments += ["--docker", state]
        if mesh is not None:
            (tmp_path / "mesh.json").write_text(json.dumps(mesh))
            arguments += ["--tailscale", tmp_path / "mesh.json"]
        done = run("init", "-o", path, *arguments)
        assert done.returncode == 0, done.stderr
        checked = run("check", path)
        assert checked.returncode == 0, checked.stdout + checked.stderr + path.read_text()
        assert "proved:" in checked.stdout
        if strict:
            assert ": ok: " in checked.stdout
        text = path.read_text()
        path.unlink()
        return yaml.safe_load(text), text, checked.stdout
    return write


def node(number, name, os_name="linux", tags=None, user=1, **more):
    return {"ID": str(number), "HostName": name, "DNSName": f"{name}.tail1.ts.net.", "OS": os_name, "UserID": user, "Tags": tags,
            "TailscaleIPs": [f"100.64.0.{number}", f"fd7a:115c:a1e0::{number:x}"], **more}


def status(own, *peers, users=("alice@example.org",)):
    return {"Version": "1.80", "Self": own, "MagicDNSSuffix": "tail1.ts.net", "Peer": {f"nodekey:{p['ID']}": p for p in peers},
            "User": {str(i): {"ID": i, "LoginName": name} for i, name in enumerate(users, 1)}}


HOMELAB = [
    saved.container("monitoring-grafana-1", "grafana/grafana:11", "monitoring", "grafana", ["m"], [(ANY, 3000, "3000/tcp")]),
    saved.container("monitoring-prometheus-1", "prom/prometheus", "monitoring", "prometheus", ["m"], exposed=["9090/tcp"]),
    saved.container("notes-app-1", "ghcr.io/me/notes:2", "notes", "app", ["n"], exposed=["8080/tcp", "8443/tcp"]),
    saved.container("notes-db-1", "postgres:16-alpine", "notes", "db", ["n"], exposed=["5432/tcp"]),
    saved.container("luanti", "registry.example/luanti:5.10", networks=["bridge"], ports=[(ANY, 30000, "30000/udp")]),
    saved.container("gitea", "gitea/gitea", networks=["bridge"], ports=[(ANY, 2222, "22/tcp"), (ANY, 3001, "3000/tcp")]),
    saved.container("worker", "ghcr.io/me/worker", "notes", "worker", ["n"]),
    saved.container("proxy-traefik-1", "traefik:v3", "proxy", "traefik", ["p"], [(ANY, 443, "443/tcp"), (ANY, 80, "80/tcp")]),
    saved.container("home-assistant", "homeassistant/home-assistant", mode="host"),
    saved.container("old", "grafana/grafana", running=False),
]
NETWORKS = [saved.network(name) for name in ("m", "n", "p", "bridge")]


def test_with_nothing_at_all(tmp_path):
    """No engine, no mesh: this machine alone, and a file that check takes."""
    done = run("init", "-o", "postern.yml", cwd=tmp_path)
    assert done.returncode == 0 and "postern check" in done.stdout, done.stderr
    checked = run("check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    declared = yaml.safe_load((tmp_path / "postern.yml").read_text())
    assert declared["grants"] == [{"from": "clients", "to": "*", "over": "main"}] and len(declared["hosts"]) == 1


def test_an_engine_without_containers(init):
    declared, text, _ = init()
    assert declared["services"] == {} and "# grafana: { host: roc, container: monitoring/grafana, port: 3000 }" in text


def test_a_home_lab_s_containers(init):
    declared, text, _ = init("--host", "roc", containers=HOMELAB, networks=NETWORKS)
    services = declared["services"]
    assert services == {
        "grafana": {"host": "roc", "container": "monitoring/grafana", "port": 3000},
        "prometheus": {"host": "roc", "container": "monitoring/prometheus", "port": 9090},
        "notes": {"host": "roc", "container": "notes/app", "port": 8080},
        "notes-db": {"host": "roc", "container": "notes/db", "port": 5432, "internal": True},
        "luanti": {"host": "roc", "container": "luanti", "direct": "udp/30000"},
        "gitea": {"host": "roc", "container": "gitea", "port": 3000},
        "gitea-tcp-22": {"host": "roc", "container": "gitea", "direct": "tcp/22"},
        "home-assistant": {"host": "roc", "port": 8123},
    }
    assert "# worker:" in text and "# traefik:" in text and "(1 container is not running; left out)" in text
    # 443 is traefik's, so the surface is not there yet.
    assert declared["surfaces"] == {"main": {"port": 8443}} and "Port 443 is proxy/traefik's now" in text


def test_the_machines_of_a_mesh(init):
    mesh = status(node(1, "roc", tags=["tag:prod"]), node(2, "bluejay", tags=["tag:prod", "tag:backup"]), node(3, "robin", "macOS", ["tag:ai"]),
                  node(11, "iphone", "iOS"), node(13, "macbook", "macOS"), node(14, "tower"), node(20, "us-1", tags=["tag:mullvad-exit-node"]),
                  node(21, "theirs", ShareeNode=True))
    declared, text, said = init(containers=HOMELAB, networks=NETWORKS, mesh=mesh)
    assert declared["segments"] == {"prod": {"tag": "tag:prod"}, "ai": {"tag": "tag:ai"}, "clients": {"user": "alice@example.org"}}
    assert list(declared["hosts"]) == ["roc", "bluejay", "iphone", "macbook", "robin", "tower"]
    assert declared["hosts"]["roc"] == {"segment": "prod", "address": ["100.64.0.1", "fd7a:115c:a1e0::1"], "gateway": True}
    assert declared["hosts"]["robin"]["os"] == "macos" and declared["hosts"]["iphone"]["firewall"] == "none"
    assert "a server?" in next(line for line in text.splitlines() if "tower:" in line)
    assert declared["expect"] == [{"from": "clients", "cannot": ["notes-db"]}]
    assert "1 expectation" in said


def test_a_gateway_that_is_somebody_s_is_no_client(init):
    declared, _, _ = init(mesh=status(node(1, "roc"), node(11, "iphone", "iOS")))
    assert declared["hosts"]["roc"]["segment"] == "prod" and declared["hosts"]["iphone"]["segment"] == "clients"
    assert declared["segments"] == {"prod": {}, "clients": {}}  # alice's machines are in both


def test_several_people_have_a_segment_each(init):
    mesh = status(node(1, "roc", tags=["tag:prod"]), node(11, "phone", "iOS"), node(12, "tablet", "android", user=2),
                  users=("alice@example.org", "bob@example.org"))
    declared, _, _ = init(mesh=mesh)
    assert declared["segments"]["alice"] == {"user": "alice@example.org"} and declared["hosts"]["tablet"]["segment"] == "bob"
    assert declared["grants"][0]["from"] == ["alice", "bob"]


def test_a_second_tag_elsewhere_speaks_for_no_segment(init):
    mesh = status(node(1, "roc", tags=["tag:prod"]), node(2, "x", tags=["tag:ai", "tag:prod"]))
    assert init(mesh=mesh)[0]["segments"] == {"prod": {}, "ai": {"tag": "tag:ai"}, "clients": {}}


def test_names_that_meet_are_told_apart(init):
    containers = [saved.container("a", "x", "one", "web", exposed=["80/tcp"]), saved.container("b", "x", "two", "one", exposed=["80/tcp"]),
                  saved.container("roc", "x", exposed=["80/tcp"]), saved.container("clients", "x", exposed=["80/tcp"]),
                  saved.container("one-roc", "x", exposed=["80/tcp"]), saved.container("c", "x", "yes", "yes", exposed=["80/tcp"]),
                  saved.container("2048", "x", exposed=["80/tcp"]), saved.container("ONE", "x", exposed=["80/tcp"]),
                  saved.container("d", "x", "1e3", "0x10", exposed=["80/tcp"])]
    declared, _, _ = init("--host", "roc", containers=containers)
    assert len(declared["services"]) == len(containers) and not {"roc", "clients"} & set(declared["services"])


def test_copies_of_a_service_are_one(init):
    def copy(number):
        return saved.container(f"p-web-{number}", "x", "p", "web", exposed=["80/tcp"], labels={"com.docker.compose.container-number": str(number)})
    assert list(init(containers=[copy(1), copy(2), copy(3)])[0]["services"]) == ["p"]


HOSTILE = 'x" }\n  - { from: clients, to: "*" }\n# \x1b[31m\u202e'


def test_a_container_s_labels_write_no_line_of_the_declaration(init):
    containers = [saved.container("a", HOSTILE, HOSTILE, HOSTILE, exposed=["80/tcp"]), saved.container("b", "x\ngrants: []", exposed=["80/tcp"]),
                  saved.container("c", "C" * 65536, "p" * 5000, "s" * 5000, exposed=["80/tcp"])]
    mesh = status(node(1, "roc", tags=["tag:prod"]), node(2, HOSTILE, HOSTILE, [HOSTILE]), node(3, "ok", user=2), users=("a", HOSTILE))
    declared, text, _ = init(containers=containers, mesh=mesh)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert max(len(line) for line in text.splitlines()) < 400
    assert len(declared["grants"]) == 1 and declared["grants"][0]["to"] == "*"
    assert declared["services"]["b"] == {"host": "roc", "container": "b", "port": 80}


@pytest.mark.parametrize("text", ["", "[]", "{}", "{\"Self\": 3}", "\x00", "{" * 5000])
def test_a_mesh_s_answer_that_is_none(tmp_path, text):
    (tmp_path / "mesh.json").write_text(text)
    done = run("init", "-o", tmp_path / "p.yml", "--tailscale", tmp_path / "mesh.json")
    if text == '{"Self": 3}':
        assert done.returncode == 0 and run("check", tmp_path / "p.yml").returncode == 0
    else:
        assert done.returncode == 2 and "tailscale status" in done.stderr and not (tmp_path / "p.yml").exists()


def test_a_file_that_is_there_is_never_written_over(tmp_path):
    path = tmp_path / "postern.yml"
    path.write_text("mine")
    done = run("init", cwd=tmp_path)
    assert done.returncode == 1 and "is there already" in done.stderr and path.read_text() == "mine"
    link = tmp_path / "link.yml"
    link.symlink_to(tmp_path / "nowhere")
    assert run("init", "-o", link).returncode != 0 and not os.path.exists(tmp_path / "nowhere")


def test_a_domain_that_is_none_is_refused_before_anything_is_written(tmp_path):
    done = run("init", "--domain", "not a domain", "-o", tmp_path / "p.yml")
    assert done.returncode == 2 and "is no host name" in done.stderr and not (tmp_path / "p.yml").exists()
    assert run("init", "--domain", "lan.example.org", "-o", "-").stdout.count("lan.example.org") > 2


def test_the_same_state_gives_the_same_file(init):
    assert init(containers=HOMELAB, networks=NETWORKS)[1] == init(containers=list(reversed(HOMELAB)), networks=NETWORKS)[1]
