"""postern audit --nftables: a host's rules as they are against the declaration, as access gained and lost."""
import json
import os
import shutil
import subprocess

import pytest

from firewall.world import EXAMPLE, Machine
from lib.process import POSTERN

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")

MESH, OTHERS = "nftables by the mesh", "nftables by other interfaces"


@pytest.fixture
def roc():
    """roc with its rendered rules, and nothing else."""
    machine = Machine("roc")
    rules = subprocess.run([POSTERN, "render", "nftables", "roc", "-f", EXAMPLE], capture_output=True, text=True, timeout=30, check=True).stdout
    machine.run("nft", "-f", "-", text=rules)
    yield machine
    machine.stop()


def audit(machine, *more, listing="kernel", host="roc"):
    """(exit status, {layer: (gained, lost, unknown)}) with each as {(from, to, first port, last port)} of TCP."""
    done = subprocess.run(machine.command(POSTERN, "audit", "-f", EXAMPLE, "--nftables", listing, "--host", host, "--json", *more),
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in (0, 1, 2) and done.stdout, done.stderr
    answer = json.loads(done.stdout)

    def flows(items):
        return {(item["from"], item["to"], *item["ports"]) for item in items if item["protocols"][0] <= 6 <= item["protocols"][1]}

    return done.returncode, {layer["layer"]: tuple(flows(layer[kind]) for kind in ("gained", "lost", "unknown")) for layer in answer["layers"]}


def add(machine, rules):
    machine.run("nft", "-f", "-", text=f"table inet other {{\nchain input {{\ntype filter hook input priority 0; policy accept;\n{rules}\n}}\n}}\n")


NOTHING = (set(), set(), set())


def test_what_was_rendered_is_as_declared(roc):
    assert audit(roc) == (0, {MESH: NOTHING, OTHERS: NOTHING})


def test_an_element_too_many_is_access_gained_in_names(roc):
    roc.run("nft", "add", "element", "inet", "postern", "allowed4", "{ 100.64.0.3 . 100.64.0.1 . tcp . 22 }")
    assert audit(roc) == (1, {MESH: ({("robin", "roc", 22, 22)}, set(), set()), OTHERS: NOTHING})


def test_an_element_too_few_is_access_lost(roc):
    roc.run("nft", "delete", "element", "inet", "postern", "allowed6", "{ fd7a:115c:a1e0::13 . fd7a:115c:a1e0::1 . tcp . 22 }")
    assert audit(roc) == (1, {MESH: (set(), {("macbook", "roc", 22, 22)}, set()), OTHERS: NOTHING})


def test_a_guard_that_is_gone_shows_by_other_interfaces_only(roc):
    listed = roc.run("nft", "-a", "list", "chain", "inet", "postern", "arriving")
    handle = next(line.rsplit(" ", 1)[1] for line in listed.splitlines() if "ip saddr @mesh4" in line)
    roc.run("nft", "delete", "rule", "inet", "postern", "arriving", "handle", handle)
    status, layers = audit(roc)
    assert status == 1 and layers[MESH] == NOTHING
    gained, lost, unknown = layers[OTHERS]
    assert ("macbook", "roc", 22, 22) in gained and not lost and not unknown
    assert {port for _, _, port, _ in gained} == {22, 80, 443, 8443}


def test_somebody_elses_drop_takes_access_away_and_their_accept_gives_none(roc):
    add(roc, "tcp dport 443 ip saddr 100.64.0.11 drop\ntcp dport 3000 accept")
    assert audit(roc) == (1, {MESH: (set(), {("iphone", "roc", 443, 443)}, set()), OTHERS: NOTHING})


def test_what_cannot_be_judged_is_said_and_is_no_success(roc):
    add(roc, "ip saddr 100.64.0.13 tcp dport 22 meta mark 5 drop")
    assert audit(roc) == (2, {MESH: (set(), set(), {("macbook", "roc", 22, 22)}), OTHERS: NOTHING})


def test_a_host_without_the_rules_is_open_by_the_lan(roc):
    roc.run("nft", "flush", "ruleset")
    status, layers = audit(roc)
    assert status == 1 and ("anyone else", "roc", 0, 65535) in layers[MESH][0]
    assert any(to == "192.168.1.10" for _, to, _, _ in layers[OTHERS][0])


def test_a_rule_for_one_interface_of_the_lan_is_seen(roc):
    roc.run("nft", "insert", "rule", "inet", "postern", "arriving", "iifname", "eth0", "tcp", "dport", "2222", "accept")
    status, layers = audit(roc)
    assert status == 1 and layers[MESH] == NOTHING
    assert {(first, last) for _, _, first, last in layers[OTHERS][0]} == {(2222, 2222)}


@pytest.fixture
def bare():
    """roc without its rendered rules."""
    machine = Machine("roc")
    yield machine
    machine.stop()


def test_what_is_sent_on_to_a_container_is_not_told_by_what_input_drops(bare):
    """A published port of Docker's: the packet never meets the chain that would drop it."""
    bare.run("nft", "-f", "-", text="table inet other {\nchain input {\ntype filter hook input priority 0; policy drop;\n}\n}\n"
             "table ip nat {\nchain in {\ntype nat hook prerouting priority -100;\ntcp dport 8080 dnat to 172.17.0.2:80\n}\n}\n")
    status, layers = audit(bare)
    assert status == 1
    for layer in (MESH, OTHERS):
        assert not layers[layer][0] and {(first, last) for _, _, first, last in layers[layer][2]} == {(8080, 8080)}


def test_a_drop_for_one_interface_hides_no_accept_for_its_namesakes(bare):
    add(bare, 'iifname "eth" drop\niifname "eth*" tcp dport 2375 accept\nmeta l4proto { tcp, udp } drop')
    assert {(first, last) for _, _, first, last in audit(bare)[1][OTHERS][0]} == {(2375, 2375)}


def test_more_interfaces_than_are_looked_at_are_no_success(bare):
    add(bare, "".join(f'iifname "if{i}" tcp dport {1000 + i} accept\n' for i in range(300)) + "meta l4proto { tcp, udp } drop")
    done = subprocess.run(bare.command(POSTERN, "audit", "-f", EXAMPLE, "--nftables", "kernel", "--host", "roc"), capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode != 0 and "too many rules to be judged exactly" in done.stderr and OTHERS + ":" not in done.stdout


def test_a_listing_from_elsewhere_and_what_is_none(roc, tmp_path):
    listing = tmp_path / "listing.json"
    listing.write_text(roc.run("nft", "-j", "list", "ruleset"))
    assert audit(roc, listing=listing)[0] == 0
    assert audit(roc, listing=listing, host="bluejay")[0] == 1  # roc's rules open nothing of bluejay's
    for text, why in (("{}", "no output of 'nft -j list ruleset'"), ("{\"nftables\": [", "line 1")):
        listing.write_text(text)
        done = subprocess.run([POSTERN, "audit", "-f", EXAMPLE, "--nftables", listing, "--host", "roc"], capture_output=True, text=True, timeout=30,
                              check=False)
        assert done.returncode == 2 and why in done.stderr, done.stderr
    done = subprocess.run([POSTERN, "audit", "-f", EXAMPLE, "--nftables", listing, "--host", "nobody"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and done.stderr.count("no host 'nobody'") == 1
