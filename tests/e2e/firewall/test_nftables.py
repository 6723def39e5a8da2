"""The rendered filters in the kernel: machines as namespaces, every port tried from every machine, by both families."""
import concurrent.futures
import os
import shutil

import pytest

from firewall.world import MESH, TCP, UDP, World, lan4, mesh4, mesh6

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")

CLIENTS = ("iphone", "kobo", "macbook")
GATEWAYS = ("roc", "bluejay")
WORKER = 901


def wanted(source, destination, protocol, port):
    """The homelab's truth table, written down a second time."""
    if protocol == "udp":
        return source in ("iphone", "macbook") and destination == "bluejay" and port == 30000
    if destination in GATEWAYS and source in CLIENTS:
        return port in (80, 443) or (port == 22 and source == "macbook")
    if destination in GATEWAYS:
        return source == "robin" and port == 8443
    if destination == "robin":
        return (source in GATEWAYS and port in (4096, 9000)) or (source == "macbook" and port == 22)
    return False


def all_questions(source, address_of, destinations):
    return [(protocol, address_of(destination), port, None) for destination in destinations if destination != source
            for protocol, ports in (("tcp", TCP), ("udp", UDP)) for port in ports.get(destination, [])]


def mesh_answers(world, destinations=tuple(MESH)):
    """{(source, destination, protocol, port, family): answer} of everything."""
    host = {address_of(destination): destination for destination in destinations for address_of in (mesh4, mesh6)}

    def ask(source):
        questions = [question for address_of in (mesh4, mesh6) for question in all_questions(source, address_of, destinations)]
        return world.machines[source].probe(questions)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = dict(zip(MESH, pool.map(ask, MESH)))
    return {(source, host[address], protocol, port, 6 if ":" in address else 4): answer
            for source, answers in asked.items() for (protocol, address, port, _), answer in answers.items()}


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.stop()


@pytest.fixture
def clean(world):
    """Without any filter left from another test."""
    for machine in world.machines.values():
        machine.run("nft", "flush", "ruleset")
    return world


def load_hosts(world, *options):
    for host in GATEWAYS:
        world.load(host, "nftables", host, "--interface", "mesh0", *options)


def test_without_filters_everything_is_open(clean):
    """What the other tests rest on: an answer that isn't "open" is a filter's doing."""
    answers = mesh_answers(clean)
    assert len(answers) > 150 and set(answers.values()) == {"open"}


def test_the_mesh_lets_through_what_is_declared_and_refuses_the_rest_at_once(clean):
    clean.load("mesh", "mesh")
    for (source, destination, protocol, port, family), answer in mesh_answers(clean).items():
        expected = "open" if wanted(source, destination, protocol, port) else "forbidden"
        if protocol == "udp" and expected == "forbidden":
            expected = answer if answer in ("forbidden", "silent") else expected  # said once at most, and not if the kernel limits it
        assert answer == expected, (source, destination, protocol, port, family)


def test_a_gateways_own_firewall_lets_in_what_is_declared_and_drops_the_rest(clean):
    load_hosts(clean)
    for (source, destination, protocol, port, family), answer in mesh_answers(clean, GATEWAYS).items():
        expected = "open" if wanted(source, destination, protocol, port) else "silent"
        assert answer == expected, (source, destination, protocol, port, family)


def test_nothing_is_served_by_lan_addresses(clean):
    questions = all_questions("guest", lan4, GATEWAYS)
    assert set(clean.machines["guest"].probe(questions).values()) == {"open"}
    load_hosts(clean)
    for source in ("guest", "robin"):
        assert set(clean.machines[source].probe(questions).values()) == {"silent"}
    assert set(clean.machines["guest"].probe(all_questions("guest", lan4, ["robin"])).values()) == {"open"}  # macOS: no layer of ours
    load_hosts(clean, "--keep-lan")
    answers = clean.machines["guest"].probe(questions)
    for (protocol, _, port, _), answer in answers.items():
        is_served = (protocol, port) in (("tcp", 80), ("tcp", 443), ("tcp", 8443), ("udp", 30000))
        if (protocol, port) != ("udp", 30000):
            assert answer == ("silent" if is_served else "open"), (protocol, port)


def test_a_mesh_address_from_the_lan_is_nobody(clean):
    """The guest takes the MacBook's address, and roc's LAN address as the way to its mesh address: a source address proves nothing there."""
    guest, roc = clean.machines["guest"], clean.machines["roc"]
    guest.run("ip", "address", "replace", mesh4("macbook") + "/32", "dev", "lo")
    guest.run("ip", "route", "replace", mesh4("roc"), "via", lan4("roc"), "src", mesh4("macbook"))
    roc.run("ip", "route", "replace", mesh4("macbook"), "via", lan4("guest"))  # so that answers would find the guest
    roc.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.lan0.rp_filter=0")
    question = ("tcp", mesh4("roc"), 443, None)
    try:
        assert guest.probe([question])[question] == "open"
        load_hosts(clean)
        assert guest.probe([question])[question] == "silent"
        assert "a mesh address that doesn't come from the mesh" in roc.run("nft", "list", "chain", "inet", "postern", "arriving")
    finally:
        roc.run("ip", "route", "del", mesh4("macbook"))
        guest.run("ip", "route", "del", mesh4("roc"))
        guest.run("ip", "address", "del", mesh4("macbook") + "/32", "dev", "lo")


def test_a_published_port_is_no_way_round(clean):
    """What a container runtime does for ports:, a DNAT before the input chains see the packet."""
    clean.machines["roc"].run("nft", "-f", "-", text="table ip published { chain prerouting { type nat hook prerouting priority dstnat; "
                              "tcp dport 7777 redirect to :3000; }; }")
    question = ("tcp", mesh4("roc"), 7777, None)
    assert clean.machines["macbook"].probe([question])[question] == "open"
    load_hosts(clean)
    assert clean.machines["macbook"].probe([question])[question] == "silent"


def test_a_worker_starts_no_connection_but_answers_them(clean):
    roc, robin = clean.machines["roc"], clean.machines["robin"]
    question = ("tcp", mesh4("robin"), 4096, None)
    load_hosts(clean, "--worker-uids", "900-907")
    assert roc.probe([question])[question] == "open"
    for uid in (900, WORKER, 907):
        assert roc.probe([question], uid=uid)[question] in ("silent", "EPERM")
    assert roc.probe([question], uid=908)[question] == "open"
    roc.run("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
    roc.run("nft", "add", "element", "inet", "postern", "allowed4", "{", mesh4("robin"), ".", mesh4("roc"), ".", "tcp", ".", "8444", "}")
    roc.listen([8444], [], uid=WORKER)
    question = ("tcp", mesh4("roc"), 8444, None)
    assert robin.probe([question])[question] == "open"


def test_counters_tell_which_rule_let_what_through(clean):
    clean.load("mesh", "mesh")
    question = ("tcp", mesh4("roc"), 8443, None)
    assert clean.machines["robin"].probe([question])[question] == "open"
    listed = clean.machines["mesh"].run("nft", "list", "set", "inet", "postern_mesh", "allowed4")
    line = [part for part in listed.split(",") if f"{mesh4('robin')} . {mesh4('roc')} . tcp . 8443" in part]
    assert len(line) == 1 and "counter packets 1 " in line[0] and 'comment "postern.yml:' in line[0]


def test_loading_again_replaces_and_keeps_other_tables(clean):
    roc = clean.machines["roc"]
    roc.run("nft", "add", "table", "inet", "other")
    load_hosts(clean)
    first = roc.run("nft", "list", "table", "inet", "postern")
    load_hosts(clean)
    assert roc.run("nft", "list", "table", "inet", "postern").count("elements") == first.count("elements")
    assert "table inet other" in roc.run("nft", "list", "tables")

