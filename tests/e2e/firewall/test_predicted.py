"""What the readers and the layers say beforehand, and what packets do then: rendered filters, rules of others, and declarations made from seeds."""
import concurrent.futures
import json
import os
import random
import shutil
import subprocess

import pytest

from firewall.random_rules import random_rules
from firewall.world import LAN, MESH, TCP, UDP, World, lan4, mesh4, mesh6
from lib.process import BUILD, POSTERN

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")

JUDGE = os.path.join(BUILD, "tests/unit/observe/judge_nftables")
GATEWAYS = ("roc", "bluejay")


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.stop()


@pytest.fixture
def clean(world):
    for machine in world.machines.values():
        machine.run("nft", "flush", "ruleset")
    return world


def judge(machine, questions):
    """questions: (path, interface, from, to, protocol, port), of what the machine's kernel lists."""
    listing = json.loads(machine.run("nft", "-j", "list", "ruleset"))
    done = subprocess.run([JUDGE], input=json.dumps({"listing": listing, "questions": questions}), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ways(destinations):
    """(source, its address, destination, its address, interface, protocol, port) of everything that the machines can try."""
    found = []
    for destination in destinations:
        kinds = [(mesh4, MESH, "mesh0"), (mesh6, MESH, "mesh0")] + ([(lan4, LAN, "lan0")] if destination in LAN else [])
        for address, among, interface in kinds:
            found += [(source, address(source), destination, address(destination), interface, protocol, port)
                      for source in among if source != destination
                      for protocol, ports in (("tcp", TCP), ("udp", UDP)) for port in ports.get(destination, [])]
    return found


def tried(world, all_ways):
    """Which of them are open."""
    by_source = {}
    for way in all_ways:
        by_source.setdefault(way[0], []).append(way)

    def ask(source):
        questions = [(protocol, to, port, own if interface == "lan0" else None) for _, own, _, to, interface, protocol, port in by_source[source]]
        answers = world.machines[source].probe(questions)
        return {way: answers[question] == "open" for way, question in zip(by_source[source], questions)}

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return {way: answer for answers in pool.map(ask, by_source) for way, answer in answers.items()}


def predicted(world, all_ways, has_mesh_filter=True):
    """From the listings: the mesh's filter and the destination's own."""
    answers = {way: "open" for way in all_ways}
    for destination in {way[2] for way in all_ways}:
        own = [way for way in all_ways if way[2] == destination]
        questions = [("to", interface, own_address, to, protocol, port) for _, own_address, _, to, interface, protocol, port in own]
        for way, answer in zip(own, judge(world.machines[destination], questions)):
            answers[way] = answer
    by_mesh = [way for way in all_ways if way[4] == "mesh0"] if has_mesh_filter else []
    questions = [("through", "br0", own, to, protocol, port) for _, own, _, to, _, protocol, port in by_mesh]
    for way, answer in zip(by_mesh, judge(world.machines["mesh"], questions)):
        answers[way] = "closed" if "closed" in (answer, answers[way]) else answers[way] if answer == "open" else answer
    return answers


def compare(world, all_ways, seed, has_mesh_filter=True):
    """How many are open and closed; and of how many that can't be told."""
    n = {"open": 0, "closed": 0, "unknown": 0}
    expected, seen = predicted(world, all_ways, has_mesh_filter), tried(world, all_ways)
    for way in all_ways:
        n[expected[way]] += 1
        if expected[way] != "unknown":
            assert seen[way] == (expected[way] == "open"), (seed, way, expected[way])
    return n


def test_the_homelabs_whole_truth_table_is_as_its_listings_say(clean):
    clean.load("mesh", "mesh")
    for host in GATEWAYS:
        clean.load(host, "nftables", host, "--interface", "mesh0")
    n = compare(clean, ways(list(MESH)), "homelab")
    assert n["unknown"] == 0 and n["open"] > 30 and n["closed"] > 150


@pytest.mark.parametrize("seed", [2, 3, 9, 13, 16, 34, 37, 38])  # those that neither open nor close everything
def test_rules_of_others_do_what_was_read_of_them(clean, seed):
    roc = clean.machines["roc"]
    tables, commands = random_rules(seed)
    roc.run("nft", "-f", "-", text=tables)
    taken = [subprocess.run(roc.command("nft", "-f", "-"), input=command, capture_output=True, text=True, timeout=30, check=False).returncode == 0
             for command in commands]
    assert sum(taken) > len(taken) / 3
    n = compare(clean, ways(["roc"]), seed, has_mesh_filter=False)
    assert n["unknown"] == 0 and n["open"] > 10 and n["closed"] > 10


def random_declaration(seed):
    """The same machines with other segments, services and grants."""
    rng = random.Random(seed)
    segments = ["a", "b", "c"]
    of = {host: rng.choice(segments) for host in MESH}
    lines = ["postern: 1", "domain: home.example", "segments:"]
    lines += [f"  {name}: {{}}" if i else f"  {name}: {{ address: 100.64.0.8/29 }}" for i, name in enumerate(segments)]
    lines += ["hosts:"]
    for host in MESH:
        more = ", gateway: true" if host in GATEWAYS else ", os: macos" if host == "robin" else ""
        lan = f", lan: {lan4(host)}" if host in LAN else ""
        lines.append(f"  {host}: {{ segment: {of[host]}, address: [{mesh4(host)}, \"{mesh6(host)}\"]{lan}{more} }}")
    lines += ["surfaces:", "  main: { port: 443" + rng.choice([", redirect: 80", ""]) + " }", "  other: { port: 8443 }", "services:"]
    lines += ["  web: { host: roc, container: web, port: 3000 }", "  whisper: { host: robin, port: 9000 }",
              "  game: { host: " + rng.choice(["bluejay", "[roc, bluejay]"]) + ", container: game, direct: udp/30000 }", "grants:"]
    ports = [f'"{host}:{port}"' for host in MESH for port in TCP.get(host, []) if port not in (443, 8443)]
    for _ in range(rng.randint(3, 7)):
        who = rng.sample(segments + list(MESH), rng.randint(1, 2))
        what = rng.choice(["web", "whisper", '"*"', "game", "ports", "ports"])
        over = f", over: {rng.choice(['main', 'other'])}" if what in ("web", "whisper", '"*"') else ""
        to = "[" + ", ".join(rng.sample(ports, rng.randint(1, 3))) + "]" if what == "ports" else what
        lines.append(f"  - {{ from: [{', '.join(who)}], to: {to}{over} }}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(6))
def test_declarations_made_from_seeds_are_enforced_as_foretold(clean, tmp_path, seed):
    path = tmp_path / "postern.yml"
    path.write_text(random_declaration(seed))

    def render(*what):
        done = subprocess.run([POSTERN, "render", *what, "-f", path], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    clean.machines["mesh"].run("nft", "-f", "-", text=render("mesh"))
    for host in GATEWAYS:
        clean.machines[host].run("nft", "-f", "-", text=render("nftables", host, "--interface", "mesh0"))
    all_ways = [way for way in ways(list(MESH)) if way[4] == "mesh0" or way[2] in GATEWAYS]
    n = compare(clean, all_ways, seed)
    assert n["unknown"] == 0 and n["open"] > 0 and n["closed"] > 100
    # The declaration's own word, for each flow of the mesh.
    seen = predicted(clean, all_ways)
    for way in [way for way in all_ways if way[4] == "mesh0"][seed::7]:
        _, own, _, to, _, protocol, port = way
        question = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
        question = question if protocol == "tcp" else question.rsplit(":", 1)[0] + f":udp/{port}"
        done = subprocess.run([POSTERN, "why", own, question, "-f", path], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == (0 if seen[way] == "open" else 1), (way, done.stdout, done.stderr)
