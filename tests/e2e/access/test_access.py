"""postern access: the whole matrix, once, and fitting."""
import csv
import io
import json
import os

import pytest

from access.asking import HOMELAB, ask, ask_json, line_of, run

# Containers that are granted something, or whose project's networks let them reach something.
ASKING_CONTAINERS = ("feeds", "recipes", "grafana", "prometheus", "notes-db", "notes", "status")


def rows():
    return list(csv.DictReader(io.StringIO(ask("access", "--csv")[1])))


def test_csv_has_every_pair_once():
    table = rows()
    keys = [(r["from"], r["to"], r["kind"], r["over"], r["protocol"], r["port"]) for r in table]
    assert len(keys) == len(set(keys))
    assert {r["from"] for r in table} == {"iphone", "kobo", "macbook", "roc", "bluejay", "robin", *ASKING_CONTAINERS}
    assert {r["answer"] for r in table} == {"yes", "no"}


def test_it_is_the_truth_table():
    yes = {(r["from"], r["to"], r["over"]) for r in rows() if r["answer"] == "yes" and r["kind"] == "web"}
    services = {r["to"] for r in rows() if r["kind"] == "web"}
    assert {t for f, t, o in yes if (f, o) == ("kobo", "main")} == services
    assert {t for f, t, o in yes if f == "robin"} == {"registry", "mcp-files", "mcp-git", "mcp-search"}
    ports = {(r["from"], r["to"]) for r in rows() if r["answer"] == "yes" and r["kind"] in ("port", "direct")}
    assert ports == {("macbook", "roc:22"), ("macbook", "bluejay:22"), ("macbook", "robin:22"), ("iphone", "luanti"), ("macbook", "luanti")}
    instances = {(r["from"], r["to"]) for r in rows() if r["answer"] == "yes" and r["kind"] == "instance"}
    assert instances == {(gateway, port) for gateway in ("roc", "bluejay") for port in ("robin:4096", "robin:9000")}


def test_every_yes_says_the_line_it_comes_from():
    for row in rows():
        assert bool(row["rule"]) == (row["answer"] == "yes")
    luanti = next(r for r in rows() if r["to"] == "luanti" and r["from"] == "iphone")
    assert luanti["rule"] == f"postern.yml:{line_of('to: luanti')}" and luanti["protocol"] == "udp" and luanti["port"] == "30000"


def test_json_says_what_csv_says():
    told = {(a["from"], a["to"], a["over"] or "", a["rule"]) for a in ask_json("access")["access"]}
    assert told == {(r["from"], r["to"], r["over"], r["rule"]) for r in rows() if r["answer"] == "yes"}


def test_the_table_groups_what_is_equal():
    said = run("access", "-f", HOMELAB, env={"COLUMNS": "200"}).stdout
    hosts, containers = said.split("\n\n")
    assert said.count("jelly") == 0 and hosts.count("media") == 1 and containers.count("media") == 1
    assert "robin" in hosts and "robin" not in containers and "all of notes-db" in containers and "all of notes-db" not in hosts
    assert "the other " in said and "(all 2)" in said


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_table_fits(width):
    done = run("access", "-f", HOMELAB, env={"COLUMNS": str(width)})
    assert done.returncode == 0
    # Names don't break; below that, every line fits.
    assert max(len(line) for line in done.stdout.split("\n")) <= max(width, 64)


def test_from_and_to():
    status, said = ask("access", "--from", "robin")
    assert status == 0 and "registry" in said and "grafana" not in said and "main" not in said
    status, said = ask("access", "--to", "roc:22")
    assert status == 0 and "macbook" in said and "iphone" not in said
    assert ask("access", "--from", "kobo", "--to", "luanti") == (1, "nobody\n")
    assert ask("access", "--to", "roc:5432") == (1, "nobody: no grant speaks of it\n")
    assert ask("access", "--to", "notes-db")[0] == 1
    assert [a["from"] for a in ask_json("access", "--to", "luanti")["access"]] == ["iphone", "macbook"]


def test_odd_arguments_end_with_2():
    for arguments in (["x"], ["--from", "nobdy"], ["--to", "roc:x"], ["--form"]):
        assert run("access", *arguments, "-f", HOMELAB).returncode == 2


def test_many_hosts_and_services_stay_a_table(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("postern: 1\ndomain: h.example\nsegments: { s: {}, c: {} }\nhosts:\n  g: { segment: s, address: 10.0.0.1, gateway: true }\n"
                   + "".join(f"  h{i}: {{ segment: c, address: 10.1.{i // 250}.{i % 250 + 1} }}\n" for i in range(1000))
                   + "surfaces: { main: { port: 443 } }\nservices:\n" + "".join(f"  s{i}: {{ host: g, container: c{i}, port: 80 }}\n" for i in range(200))
                   + "grants:\n" + "".join(f"  - {{ from: h{i}, to: s{i % 200}, over: main }}\n" for i in range(1000)))
    done = run("access", "-f", path, "--from", "h7", "--json")
    assert [a["to"] for a in json.loads(done.stdout)["access"]] == ["s7", "g:443"]
    assert run("access", "-f", path, "--csv").stdout.count("\n") > 200000
