"""postern why: each layer's answer with its line, and on no a change that was tried."""
import json
import os
import shutil

import pytest

from access.asking import HOMELAB, ask, ask_json, line_of, run


# ---- yes ----

def test_yes_names_every_layer_and_its_line():
    answer = ask_json("why", "iphone", "grafana")
    assert answer["answer"] == "yes" and answer["change"] is None
    [result] = answer["results"]
    assert result["over"] == "main"
    assert [hop["layer"] for hop in result["hops"]] == ["mesh", "firewall", "gateway", "instance"]
    clients = line_of("from: clients, to: \"*\", over: main }")
    assert [hop["place"] for hop in result["hops"]] == [f"postern.yml:{clients}"] * 3 + [f"postern.yml:{line_of('grafana:')}"]
    assert all(hop["answer"] == "yes" for hop in result["hops"])


def test_a_gateway_s_way_to_another_host_is_shown_with_what_that_host_lacks():
    [result] = ask_json("why", "kobo", "whisper")["results"]
    assert [(hop["layer"], hop["host"], hop["answer"]) for hop in result["hops"]] == [
        ("mesh", "roc", "yes"), ("firewall", "roc", "yes"), ("gateway", "roc", "yes"), ("mesh", "robin", "yes"), ("firewall", "robin", "absent"),
        ("instance", "robin", "yes")]


@pytest.mark.parametrize("to", ["grafana", "service/grafana", "grafana.home.example", "grafana-roc.home.example"])
def test_a_service_by_any_of_its_names(to):
    assert ask("why", "iphone", to)[0] == 0


@pytest.mark.parametrize("who, what, status", [
    ("iphone", "grafana", 0), ("clients", "grafana", 0), ("robin", "registry", 0), ("ai", "mcp-git", 0), ("macbook", "roc:22", 0), ("iphone", "luanti", 0),
    ("100.64.0.11", "grafana", 0), ("fd7a:115c:a1e0::11", "[fd7a:115c:a1e0::1]:443", 0), ("roc", "robin:4096", 0), ("bluejay", "robin:9000", 0),
    ("macbook", "bluejay:tcp/22", 0), ("whisper", "registry", 0), ("iphone", "bluejay:udp/30000", 0),
    ("robin", "grafana", 1), ("kobo", "luanti", 1), ("clients", "luanti", 1), ("iphone", "roc:22", 1), ("robin", "roc:443", 1), ("robin", "iphone:22", 1),
    ("iphone", "robin:9000", 1), ("roc", "robin:22", 1), ("anyone", "roc:443", 1), ("100.64.0.77", "roc:443", 1), ("iphone", "192.168.1.10:443", 1),
    ("iphone", "notes-db", 1), ("iphone", "bluejay:tcp/30000", 1), ("robin", "roc", 1), ("grafana", "registry", 1), ("iphone", "203.0.113.9:80", 1),
    ("roc", "roc:22", 2),
])
def test_the_truth_table(who, what, status):
    done = run("why", who, what, "-f", HOMELAB)
    assert (done.returncode, done.stderr) == (status, "")


def test_over_asks_of_that_surface():
    assert ask("why", "iphone", "grafana", "--over", "main")[0] == 0
    status, said = ask("why", "iphone", "grafana", "--over", "agents")
    assert status == 1 and "iphone can't reach grafana over agents" in said


def test_a_lan_address_goes_round_the_mesh_and_ends_at_the_firewall():
    [result] = ask_json("why", "anyone", "192.168.1.10:443")["results"]
    assert [(hop["layer"], hop["answer"]) for hop in result["hops"]] == [("lan", "absent"), ("firewall", "no")]


# ---- a segment ----

def test_a_segment_of_two_minds_is_shown_member_by_member():
    answer = ask_json("why", "clients", "luanti")
    assert answer["answer"] == "mixed"
    assert {r["from"]: r["answer"] for r in answer["results"]} == {"iphone": "yes", "kobo": "no", "macbook": "yes"}
    status, said = ask("why", "clients", "luanti")
    assert status == 1 and "clients can reach some of luanti: 2 of 3" in said


def test_a_host_is_everything_on_it():
    answer = ask_json("why", "robin", "roc")
    told = {r["to"]: r["answer"] for r in answer["results"]}
    assert told["registry"] == "yes" and told["grafana"] == "no" and told["roc:22"] == "no"


# ---- on no ----

CHANGES = [
    ("robin", "grafana", "grant", ["- { from: robin, to: grafana, over: agents }"]),
    ("kobo", "luanti", "from", ["- { from: [iphone, macbook, kobo], to: luanti }"]),
    ("clients", "luanti", "from", ["- { from: [iphone, macbook, clients], to: luanti }"]),
    ("iphone", "roc:22", "grant", ['- { from: iphone, to: "roc:22" }']),
    ("macbook", "roc:udp/60001", "to", ['"robin:22", "roc:udp/60001"]']),
    ("ai", "grafana", "to", ["to: [registry, mcp-*, grafana], over: agents"]),
    ("robin", "notes-db", "grant", ["notes-db:   { host: roc, container: notes/db, port: 5432 }", "- { from: robin, to: notes-db, over: agents }"]),
    ("100.64.0.77", "roc:22", "grant", ['newcomer: { segment: prod, address: "100.64.0.77" }', '- { from: newcomer, to: "roc:22" }']),
]


@pytest.mark.parametrize("who, what, kind, lines", CHANGES, ids=lambda value: str(value)[:30])
def test_the_change_that_is_offered_makes_it_yes(who, what, kind, lines, directory):
    change = ask_json("why", who, what)["change"]
    assert change["found"] and change["tried"] and change["kind"] == kind
    assert all(line in change["diff"] for line in lines), change["diff"]
    # Applied as a person would, by hand, it does what was promised.
    path = os.path.join(directory, "postern.yml")
    shutil.copy(HOMELAB, path)
    with open(path, encoding="utf-8") as file:
        text = file.read().split("\n")
    for line in change["diff"].split("\n"):
        if line.startswith("    - "):
            text.remove(line[6:])
    for line in reversed([line[6:] for line in change["diff"].split("\n") if line.startswith("    + ")]):
        section = "hosts:" if "newcomer: {" in line else "services:" if line.startswith("  notes-db") else "grants:"
        text.insert(text.index(section) + 1, line)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(text))
    assert run("check", path).returncode in (0, 1)
    assert run("why", who, what, "-f", path).returncode == 0, change["diff"]


def test_what_else_a_change_opens_is_said():
    assert "It opens nothing else." in ask("why", "robin", "grafana")[1]
    assert "It also opens: iphone to notes-db" in ask("why", "robin", "notes-db")[1]


def test_where_no_line_does_it_the_reason_is_said():
    assert "ask for a host's mesh address" in ask("why", "iphone", "192.168.1.10:443")[1]
    change = ask_json("why", "iphone", "203.0.113.9:80")["change"]
    assert not change["found"] and "no declared host" in change["why"]


FORMS = {
    "lists of lines": "grants:\n  - from: a\n    to:\n      - one\n      - two\n    over: main\n",
    "one line": "grants: [{ from: a, to: [one, two], over: main }]\n",
    "one word": "grants:\n  - { from: a, to: one, over: main }\n  - { from: a, to: two, over: main }\n",
    "in quotes": "grants:\n  - { from: \"a\", to: ['one', \"two\"], over: main }\n",
    "none": "",
    "with comments": "grants:\n  # what a may do\n  - { from: a, to: [one, two], over: main } # so\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_change_fits_the_file_s_own_form(form, directory):
    text = ("postern: 1\ndomain: h.example\nsegments: { s: {}, t: {} }\nhosts:\n  g: { segment: s, address: 10.0.0.1, gateway: true }\n"
            "  a: { segment: t, address: 10.0.0.2 }\n  b: { segment: t, address: 10.0.0.3 }\nsurfaces: { main: { port: 443 } }\n"
            "services:\n  one: { host: g, port: 1 }\n  two: { host: g, port: 2 }\n  three: { host: g, port: 3 }\n")
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + FORMS[form])
    for who in ("a", "b"):
        done = run("why", who, "three", "-f", path, "--json")
        change = json.loads(done.stdout)["change"]
        assert done.returncode == 1 and change["found"] and change["opens_besides"] == 0, change


# ---- odd input ----

@pytest.mark.parametrize("arguments, message", [
    (["iphone"], "who asks, and what for"), (["iphone", "grafana", "x"], "one FROM and one TO"), (["iphon", "grafana"], "did you mean 'iphone'"),
    (["iphone", "grafna"], "did you mean 'grafana'"), (["iphone", "roc:0"], "is no port"), (["iphone", "roc:99999"], "is no port"),
    (["iphone", "roc:icmp/1"], "is no port"), (["iphone", "grafana:443"], "name it without the port"), (["iphone", "192.168.1.10"], "which port"),
    (["iphone", "grafana", "--over", "mian"], "no surface 'mian'; did you mean 'main'?"), (["tag:x", "grafana"], "nothing in the declaration is bound"),
    (["", "grafana"], "no ''"), (["iphone", ""], "no ''"), (["iphone", ":22"], ""), (["iphone", "[::1"], ""), (["iphone", "host/grafana"], "no 'grafana'"),
    (["iphone", "https://grafana.home.example:443/"], "is a URL"),
])
def test_what_can_t_be_asked_is_said_and_ends_with_2(arguments, message):
    done = run("why", *arguments, "-f", HOMELAB)
    assert done.returncode == 2 and done.stdout == "" and message in done.stderr, done.stderr


def test_a_name_of_two_kinds_is_asked_for_with_its_kind(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("postern: 1\ndomain: h.example\nsegments: { s: {} }\nhosts:\n  g: { segment: s, address: 10.0.0.1, gateway: true }\n"
                   "  x: { segment: s, address: 10.0.0.2 }\nsurfaces: { main: { port: 443 } }\nservices: { x: { host: g, port: 1 } }\n"
                   "grants: [{ from: host/x, to: service/x, over: main }]\n")
    done = run("why", "x", "x", "-f", path)
    assert done.returncode == 2 and "write host/x or service/x" in done.stderr
    assert run("why", "x", "service/x", "-f", path).returncode == 0


def test_tags_and_users_ask_for_what_is_bound_to_them(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("postern: 1\ndomain: h.example\nsegments: { s: {}, c: { user: alice@example.org } }\nhosts:\n"
                   "  g: { segment: s, address: 10.0.0.1, gateway: true, tag: \"tag:gate\" }\n  a: { segment: c, address: 10.0.0.2 }\n"
                   "surfaces: { main: { port: 443 } }\nservices: { x: { host: g, port: 1 } }\ngrants: [{ from: c, to: x, over: main }]\n")
    assert run("why", "alice@example.org", "x", "-f", path).returncode == 0
    assert run("why", "alice@example.org", "tag:gate:443", "-f", path).returncode == 0
    assert run("why", "tag:gate", "a:22", "-f", path).returncode == 1


def test_a_loopback_of_one_gateway_is_no_way_for_another(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("postern: 1\ndomain: h.example\nsegments: { s: {} }\nhosts:\n  here: { segment: s, address: 10.0.0.1, gateway: true }\n"
                   "  there: { segment: s, address: 10.0.0.2, gateway: true }\n  guest: { segment: s, address: 10.0.0.3 }\n"
                   "surfaces: { main: { port: 8000, hosts: there }, both: { port: 8001 } }\n"
                   "services: { web: { host: here, address: 127.0.0.1, port: 9000 } }\n"
                   "grants:\n  - { from: guest, to: web, over: [main, both] }\n")
    said = json.loads(run("access", "-f", path, "--json").stdout)["access"]
    assert not [way for way in said if way["kind"] == "instance"] and "127.0.0.1" not in run("render", "mesh", "-f", path).stdout
    assert "127.0.0.1:9000" in run("render", "caddy", "here", "both", "-f", path).stdout
    assert "127.0.0.1" not in run("render", "caddy", "there", "both", "-f", path).stdout
    assert run("why", "guest", "web", "--over", "both", "-f", path).returncode == 0
    [result] = json.loads(run("why", "guest", "web", "--over", "main", "-f", path, "--json").stdout)["results"]
    assert result["answer"] == "no" and "loopback of here" in result["hops"][-1]["text"], result
