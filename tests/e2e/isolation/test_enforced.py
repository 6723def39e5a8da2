"""What a container of an enforced project reaches, with real containers: nothing that isn't granted, by whatever address."""
import pytest

from isolation.host import INTERNET, INTERNET6, LAN, LAN6, MESH, NEIGHBOUR, NEIGHBOUR6, PEER
from lib.process import POSTERN

SERVICES = {"grafana": "monitoring/grafana", "prometheus": "monitoring/prometheus", "notes": "notes/app", "mealie": "home/mealie"}


@pytest.fixture(scope="module")
def machines(shared_host):
    """monitoring and home are enforced, notes is not listed; monitoring and home have IPv6, and notes publishes a port."""
    host = shared_host
    host.network("monitoring", subnet="10.124.1.0/28", ipv6_subnet="fd00:124:1::/64")
    host.network("notes")
    host.network("home", subnet="10.124.3.0/28", ipv6_subnet="fd00:124:3::/64")
    host.grafana = host.container("monitoring", "grafana")
    host.prometheus = host.container("monitoring", "prometheus")
    host.notes = host.container("notes", "app", ports={"8000/tcp": "18000"})
    host.mealie = host.container("home", "mealie")
    return host


@pytest.fixture
def homelab(machines, request):
    request.node._postern_things = [machines]
    machines.set_bridge_calls(1)
    yield machines
    machines.unapply()


def gateway_of(container):
    return next(iter(container.inspect()["NetworkSettings"]["Networks"].values()))["Gateway"]


def everywhere(host, container):
    """Addresses of everything but the container's own project, each with a port on which somebody listens."""
    strangers = [c for c in (host.grafana, host.prometheus, host.notes, host.mealie) if c.name.split("-")[0] != container.name.split("-")[0]]
    wanted = [["tcp", one.address(), 8000] for one in strangers] + [["udp", one.address(), 9090] for one in strangers]
    wanted += [[protocol, address, 22] for protocol in ("tcp", "udp") for address in (gateway_of(container), LAN, MESH, "10.123.0.1", LAN6)]
    wanted += [["tcp", address, 18000] for address in (gateway_of(container), LAN, MESH)]
    wanted += [[protocol, address, 80] for protocol in ("tcp", "udp") for address in (NEIGHBOUR, PEER, INTERNET, NEIGHBOUR6, INTERNET6)]
    return wanted + [["tcp", MESH, 443]]


def opened(host, container, wanted):
    return [one for one, said in zip(wanted, host.tried(container, wanted)) if said == "open"]


def test_without_postern_the_internet_the_host_and_published_ports_are_open(homelab):
    """What the other tests see closed is closed by postern."""
    wanted = everywhere(homelab, homelab.grafana)
    reached = opened(homelab, homelab.grafana, wanted)
    for one in (["tcp", LAN, 22], ["udp", MESH, 22], ["tcp", LAN, 18000], ["tcp", NEIGHBOUR, 80], ["tcp", PEER, 80], ["udp", INTERNET, 80], ["tcp", MESH, 443]):
        assert one in reached
    assert ["tcp", homelab.notes.address(), 8000] not in reached  # Docker's own


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_what_is_not_granted_is_closed_by_every_address(homelab, bridge_calls):
    homelab.set_bridge_calls(bridge_calls)
    homelab.declare(SERVICES, [], {"monitoring": {"mode": "enforce"}, "home": {"mode": "enforce"}})
    homelab.applied()
    for container in (homelab.grafana, homelab.mealie):
        assert opened(homelab, container, everywhere(homelab, container)) == []


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_a_projects_own_network_is_open_on_every_port_and_nobody_elses_rules_change(homelab, bridge_calls):
    homelab.set_bridge_calls(bridge_calls)
    before = homelab.others()
    homelab.declare(SERVICES, [], {"monitoring": {"mode": "enforce"}})
    homelab.applied()
    there = homelab.prometheus
    wanted = [["tcp", there.address(), 9091], ["udp", there.address(), 9090], ["tcp", there.address(family=6), 9091], ["udp", there.address(family=6), 9090]]
    assert homelab.tried(homelab.grafana, wanted) == ["open"] * 4
    assert homelab.others() == before


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_inside_declared_opens_exactly_what_is_granted(homelab, bridge_calls):
    homelab.set_bridge_calls(bridge_calls)
    homelab.declare(SERVICES, [{"from": "grafana", "to": "prometheus:9090"}], {"monitoring": {"mode": "enforce", "inside": "declared"}})
    homelab.applied()
    there, back = homelab.prometheus, homelab.grafana
    for family in (4, 6):
        wanted = [["tcp", there.address(family=family), 9090], ["tcp", there.address(family=family), 9091], ["udp", there.address(family=family), 9090]]
        assert homelab.tried(homelab.grafana, wanted) == ["open", "silent", "silent"]
        assert homelab.tried(homelab.prometheus, [["tcp", back.address(family=family), port] for port in (8000, 9090, 9091)]) == ["silent"] * 3


def test_link_local_addresses_are_no_way_round(homelab):
    homelab.declare(SERVICES, [{"from": "grafana", "to": "prometheus:9090"}], {"monitoring": {"mode": "enforce", "inside": "declared"}})
    link_local = next(word for word in homelab.prometheus.enter("ip", "-6", "-o", "addr").stdout.split() if word.startswith("fe80")).split("/")[0]
    assert homelab.reaches(homelab.grafana, "tcp", f"{link_local}%eth0", 9091)
    homelab.applied()
    assert not homelab.reaches(homelab.grafana, "tcp", f"{link_local}%eth0", 9091)


def test_a_granted_surface_is_reached_at_its_port_of_the_gateway_and_no_other(homelab):
    homelab.declare(SERVICES, [{"from": "grafana", "to": "notes", "over": "main"}], {"monitoring": {"mode": "enforce"}})
    homelab.applied()
    wanted = [["tcp", MESH, 443], ["tcp", MESH, 22], ["udp", MESH, 443], ["tcp", LAN, 443], ["tcp", PEER, 80]]
    assert homelab.tried(homelab.grafana, wanted) == ["open", "silent", "silent", "silent", "silent"]
    assert homelab.tried(homelab.prometheus, wanted) == ["silent"] * 5


def test_the_rendered_firewall_lets_containers_ask_at_a_granted_surface_and_nowhere_else(homelab):
    """With or without the containers' own tables; without such a grant it lets none in."""
    grants = [{"from": "grafana", "to": "notes", "over": "main"}]
    wanted = [["tcp", MESH, 443], ["tcp", MESH, 22], ["udp", MESH, 443]]
    try:
        for granted, expected in (([], ["silent"] * 3), (grants, ["open", "silent", "silent"])):
            homelab.declare(SERVICES, granted, {"monitoring": {"mode": "enforce"}})
            rendered = homelab.run(POSTERN, "render", "nftables", "roc", "-f", homelab.file, "--interface", "mesh0", "--keep-lan")
            assert rendered.returncode == 0, rendered.stderr
            assert homelab.run("nft", "-f", "-", input=rendered.stdout).returncode == 0
            assert homelab.tried(homelab.grafana, wanted) == expected
            homelab.applied()
            assert homelab.tried(homelab.grafana, wanted) == expected
            assert homelab.tried(homelab.prometheus, wanted) == ["silent"] * 3
            audited = homelab.run(POSTERN, "audit", "--nftables", "kernel", "-f", homelab.file, "--host", "roc", "--interface", "mesh0", "--keep-lan")
            assert "lets pass what is declared" in audited.stdout and "postern_containers" not in audited.stdout, audited.stdout
            homelab.unapply()
    finally:
        homelab.run("nft", "delete", "table", "inet", "postern")


def test_the_internet_is_neither_the_lan_nor_the_mesh_nor_the_host(homelab):
    homelab.declare(SERVICES, [{"from": "mealie", "to": "internet"}], {"monitoring": {"mode": "enforce"}, "home": {"mode": "enforce"}})
    homelab.applied()
    reached = opened(homelab, homelab.mealie, everywhere(homelab, homelab.mealie))
    assert reached == [[protocol, address, 80] for protocol in ("tcp", "udp") for address in (INTERNET,)]
    assert opened(homelab, homelab.grafana, everywhere(homelab, homelab.grafana)) == []


@pytest.fixture
def shared(homelab):
    network, members = homelab.engine.network("shared"), (homelab.grafana, homelab.mealie, homelab.notes)
    for container in members:
        network.connect(container)
    yield network
    for container in members:
        network.disconnect(container)
    network.remove()


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_two_projects_on_one_network_are_kept_apart_but_for_a_grant(homelab, shared, bridge_calls):
    homelab.set_bridge_calls(bridge_calls)
    homelab.declare(SERVICES, [{"from": "mealie", "to": "grafana:9090"}], {"monitoring": {"mode": "enforce"}, "home": {"mode": "enforce"}})
    homelab.applied()
    there = homelab.grafana.address("shared")
    assert homelab.tried(homelab.mealie, [["tcp", there, 9090], ["tcp", there, 9091]]) == ["open", "silent"]
    assert homelab.tried(homelab.grafana, [["tcp", homelab.mealie.address("shared"), 9090]]) == ["silent"]
    # notes is only observed, and may go on as before, but not to containers that are held
    assert homelab.tried(homelab.notes, [["tcp", there, 9090], ["tcp", INTERNET, 80], ["tcp", LAN, 22]]) == ["silent", "open", "open"]


def test_the_host_reaches_containers_and_so_does_the_lan_at_published_ports(homelab):
    homelab.declare(SERVICES, [], {name: {"mode": "enforce"} for name in ("monitoring", "notes", "home")})
    homelab.applied()
    for container in (homelab.grafana, homelab.notes, homelab.mealie):
        assert homelab.tried(homelab.host, [["tcp", container.address(), 8000], ["udp", container.address(), 9090]]) == ["open", "open"]
    assert homelab.reaches(homelab.world, "tcp", LAN, 18000)
    assert not homelab.reaches(homelab.grafana, "tcp", LAN, 18000)


def test_containers_outside_of_projects_and_bridges_that_are_not_dockers_are_left_alone(homelab):
    loose = homelab.engine.run("loose", "/bin/sleep", "1000")
    for command in (["ip", "link", "add", "virbr7", "type", "bridge"], ["ip", "addr", "add", "10.9.9.1/24", "dev", "virbr7"],
                    ["ip", "link", "set", "virbr7", "up"], ["ip", "netns", "add", f"{homelab.name}-vm"]):
        assert homelab.run(*command).returncode == 0
    homelab.namespaces.append(f"{homelab.name}-vm")
    homelab.run("ip", "link", "add", "vnet0", "type", "veth", "peer", "name", "eth0", "netns", f"{homelab.name}-vm")
    homelab.run("ip", "link", "set", "vnet0", "master", "virbr7", "up")
    for words in (["addr", "add", "10.9.9.2/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["route", "add", "default", "via", "10.9.9.1"]):
        homelab.run("ip", "-n", f"{homelab.name}-vm", *words)
    homelab.declare(SERVICES, [], {name: {"mode": "enforce"} for name in ("monitoring", "notes", "home")})
    homelab.applied()
    assert homelab.tried(loose, [["tcp", LAN, 22], ["tcp", INTERNET, 80], ["udp", MESH, 22]]) == ["open"] * 3
    assert homelab.tried(f"{homelab.name}-vm", [["tcp", LAN, 22], ["udp", MESH, 22]]) == ["open"] * 2
    assert homelab.tried(homelab.host, [["tcp", INTERNET, 80], ["udp", PEER, 80], ["tcp", NEIGHBOUR, 22]]) == ["open"] * 3
    homelab.run("ip", "link", "delete", "virbr7")
    homelab.run("ip", "link", "delete", "vnet0")


def test_a_container_cannot_use_its_neighbours_grants_by_taking_its_address(homelab):
    mine = homelab.container("monitoring", "hostile")
    homelab.declare(SERVICES, [{"from": "grafana", "to": "internet"}], {"monitoring": {"mode": "enforce"}})
    homelab.applied()
    victim = homelab.grafana.address()
    homelab.grafana.enter("ip", "link", "set", "eth0", "down")
    mine.enter("ip", "addr", "add", f"{victim}/28", "dev", "eth0")
    mine.enter("ip", "route", "replace", "default", "via", gateway_of(mine), "src", victim)
    assert not homelab.reaches(mine, "tcp", INTERNET, 80)
    homelab.postern("unapply")
    assert homelab.reaches(mine, "tcp", INTERNET, 80)  # it was postern that saw through it
    mine.remove()
    homelab.grafana.enter("ip", "link", "set", "eth0", "up")
    homelab.grafana.enter("ip", "route", "add", "default", "via", gateway_of(homelab.grafana))


def test_unapply_leaves_no_trace(homelab):
    before = homelab.ruleset()
    homelab.declare(SERVICES, [], {"monitoring": {"mode": "enforce"}})
    homelab.applied()
    assert homelab.ruleset() != before
    assert homelab.unapply().returncode == 0
    assert homelab.ruleset() == before
    assert homelab.reaches(homelab.grafana, "tcp", LAN, 22)
