"""Containers as those who ask: what is granted to them, what is refused, and what nothing holds."""
import json

import pytest

from access.asking import HOMELAB, ask, ask_json, line_of, run

HEAD = """postern: 1
domain: home.example
segments: { clients: {}, prod: {} }
hosts:
  roc:     { segment: prod, address: [100.64.0.1, "fd00::1"], gateway: true }
  bluejay: { segment: prod, address: 100.64.0.2, gateway: true }
  macbook: { segment: clients, address: 100.64.0.13 }
surfaces: { main: { port: 443 } }
services:
  grafana:    { host: roc, container: monitoring/grafana, port: 3000 }
  prometheus: { host: roc, container: monitoring/prometheus, port: 9090 }
  notes:      { host: roc, container: notes/app, port: 80 }
  notes-db:   { host: roc, container: notes/db, port: 5432, internal: true }
  wiki:       { host: bluejay, container: wiki/app, port: 80 }
projects:
  monitoring: { host: roc, mode: enforce, inside: declared }
grants:
  - { from: clients, to: "*", over: main }
  - { from: macbook, to: ["roc:22", "bluejay:22"] }
"""


def write(directory, text, name="postern.yml"):
    path = directory / name
    path.write_text(text)
    return str(path)


@pytest.fixture(name="directory")
def fixture_directory(tmp_path):
    return tmp_path


def findings(answer, severity="error"):
    return [(f["message"], f["hint"]) for part in ("findings", "advice", "failures") for f in answer.get(part, []) if f["severity"] == severity]


def check(directory, lines):
    done = run("check", "--json", write(directory, HEAD + "".join(f"  - {line}\n" for line in lines)))
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("who, what, status, says", [
    ("grafana", "prometheus:9090", 0, "roc lets it to port 9090 of prometheus"),
    ("grafana", "prometheus:9091", 1, "roc drops what goes to port 9091 of prometheus"),
    ("prometheus", "grafana:3000", 1, "roc drops what goes to port 3000 of grafana"),
    ("grafana", "notes-db", 1, "port 5432 of notes-db"),
    ("notes", "notes-db", 0, "roc lets it to port 5432 of notes-db"),
    ("notes", "internet", 1, "roc drops what goes to the internet"),
    ("feeds", "internet", 0, "roc lets it to the internet"),
    ("grafana", "roc:22", 1, "roc drops what goes to port 22 of roc"),
    ("grafana", "bluejay:22", 1, "drops what goes to port 22 of bluejay"),
    ("status", "whisper", 0, "roc serves it whisper over main"),
    ("grafana", "whisper", 1, "drops what goes to port 443 of roc"),
])
def test_why_asks_the_containers_layer(who, what, status, says):
    got, said = ask("why", who, what)
    assert got == status and says in said, said


def test_a_refused_container_is_told_the_word_that_would_let_it():
    change = ask_json("why", "notes", "prometheus:9090")["change"]
    assert change["found"] and change["tried"] and '"notes"' not in change["grant"] and "notes" in change["diff"]
    change = ask_json("why", "notes", "internet")["change"]
    assert change["found"] and change["opens_besides"] == 0
    assert not ask_json("why", "grafana", "roc:22")["change"]["found"]


def test_what_nothing_holds_can_t_be_told(directory):
    path = write(directory, HEAD)
    done = run("why", "notes", "wiki", "-f", path)
    assert done.returncode == 1  # the gateway's word, enforced or not
    done = run("why", "notes", "internet", "-f", path)
    assert done.returncode == 2 and "nothing holds them to that" in done.stdout
    done = run("why", "notes", "grafana:3000", "-f", path)
    assert done.returncode == 1 and "drops what goes to port 3000 of grafana" in done.stdout  # the other end is enforced


def test_who_is_no_container_can_t_ask_for_a_port_of_one(directory):
    done = run("why", "macbook", "prometheus:9090", "-f", write(directory, HEAD))
    assert done.returncode == 2 and "which only containers of that host can ask for" in done.stderr
    done = run("why", "grafana", "wiki:80", "-f", write(directory, HEAD))
    assert done.returncode == 2 and "containers reach each other on one host only" in done.stderr


def test_access_has_containers_as_those_who_ask():
    status, said = ask("access", "--from", "grafana")
    assert status == 0 and "prometheus:9090" in said and "    the internet" not in said
    status, said = ask("access", "--to", "internet")
    assert status == 0 and "feeds" in said and "recipes" in said and "grafana" not in said
    status, said = ask("access", "--to", "notes-db:5432")
    assert status == 0 and "notes" in said and "grafana" not in said


# ---- check ----

WRONG = [
    ("{ from: grafana, to: \"roc:22\" }", "outside, 'grafana' has its host's address"),
    ("{ from: grafana, to: \"wiki:80\" }", "run on no host together"),
    ("{ from: grafana, to: notes-db }", "'notes-db' is internal"),
    ("{ from: macbook, to: \"prometheus:9090\" }", "only containers of that host can be granted"),
    ("{ from: clients, to: internet }", "no rule of postern stands between 'clients' and the internet"),
    ("{ from: grafana, to: notes, over: main, labelled: true }", "this grant has none"),
]


@pytest.mark.parametrize("line, message", WRONG)
def test_what_a_container_can_t_be_granted_is_an_error_with_the_reason(directory, line, message):
    status, answer = check(directory, [line])
    assert status == 1 and any(message in text for text, _ in findings(answer)), answer["findings"]


def test_a_grant_that_no_gateway_beside_the_container_serves_is_worth_a_word(directory):
    status, answer = check(directory, ["{ from: grafana, to: wiki, over: main }"])
    assert status == 0
    assert ("this grant to 'wiki' can never match: no gateway beside 'grafana' has a way to it", "a container is served by the gateway beside it") in findings(
        answer, "warning")


def test_a_project_that_nothing_runs_in_is_worth_a_word(directory):
    done = run("check", "--json", write(directory, HEAD.replace("  monitoring:", "  monitorng:")))
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and ("no service runs in a container of project 'monitorng'") in [text for text, _ in findings(answer, "warning")]
    assert "monitoring/grafana on roc" in answer["proof"]["unproved_containers"]


@pytest.mark.parametrize("can, cannot, fails", [
    ("prometheus:9090", "internet", False), ("prometheus:9091", "internet", True), ("prometheus:9090", "prometheus:9090", True),
    ("notes", "notes-db", False), ("notes", "roc:443", True), ("notes", "roc:22", False), ("prometheus", "grafana", False),
])
def test_expectations_speak_of_containers(directory, can, cannot, fails):
    text = HEAD + '  - { from: grafana, to: "prometheus:9090" }\n  - { from: grafana, to: notes, over: main }\n'
    text += f'expect:\n  - {{ from: grafana, can: "{can}", cannot: "{cannot}" }}\n'
    done = run("check", "--json", write(directory, text))
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["expectations"]["n_failed"]) == ((1, 1) if fails else (0, 0)), answer["failures"]


# ---- plan ----

def test_plan_tells_what_containers_gain_and_lose(directory):
    old = write(directory, HEAD + '  - { from: grafana, to: "prometheus:9090" }\n', "old.yml")
    new = write(directory, HEAD + "  - { from: grafana, to: internet }\n  - { from: prometheus, to: notes, over: main }\n", "new.yml")
    done = run("plan", old, new, "--access-only", "--json")
    told = {(c["change"], c["from"], c["to"], c["derived"]) for c in json.loads(done.stdout)["changes"]}
    assert told == {
        ("gained", "grafana", "the internet", False), ("gained", "prometheus", "notes over main", False), ("gained", "prometheus", "roc:443", True),
        ("lost", "grafana", "prometheus:9090", False),
    }
    said = run("plan", old, new, "--access-only").stdout
    assert "+ grafana" in said and "the internet" in said


def test_the_homelab_says_where_each_answer_comes_from():
    result = ask_json("why", "grafana", "prometheus:9090")["results"][0]
    assert result["answer"] == "yes" and result["hops"][0]["layer"] == "container"
    assert result["hops"][0]["place"] == f"postern.yml:{line_of('from: grafana, to:')}"
    assert run("check", HOMELAB).stdout.startswith("proved: the mesh, 2 firewalls, 2 gateways and the rules for 7 containers ")
