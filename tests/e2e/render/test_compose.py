"""postern render compose: the override puts each service on the networks it needs, and real containers that run by it reach no more."""
import concurrent.futures
import ipaddress
import itertools
import json
import subprocess

import pytest
import yaml

from lib import saved_engine as saved
from lib.process import POSTERN

DECLARATION = """\
postern: 1
domain: home.example
segments: {{ clients: {{}}, prod: {{}} }}
hosts:
  roc: {{ segment: prod, address: 100.64.0.1, gateway: true }}
  macbook: {{ segment: clients, address: 100.64.0.13 }}
surfaces: {{ main: {{ port: 443 }} }}
services:
  shop: {{ host: roc, container: shop/web, port: 80 }}
  shop-api: {{ host: roc, container: shop/api, port: 8000 }}
  shop-db: {{ host: roc, container: shop/db, port: 5432, internal: true }}
  shop-worker: {{ host: roc, container: shop/worker, port: 9000, internal: true }}
  lonely: {{ host: roc, container: shop/lonely, port: 8080 }}
  grafana: {{ host: roc, container: monitoring/grafana, port: 3000 }}
projects: {{ shop: {{ host: roc, inside: {inside} }} }}
grants:
  - {{ from: clients, to: "*", over: main }}
{grants}
"""
PORTS = {"web": 80, "api": 8000, "db": 5432, "worker": 9000, "lonely": 8080}
CHAIN = ('  - { from: shop, to: "shop-api:8000" }\n  - { from: shop-api, to: "shop-db:5432" }\n  - { from: shop-worker, to: "shop-db:5432" }\n'
         '  - { from: shop-worker, to: internet }\n  - { from: grafana, to: "shop-api:8000" }')


class Loader(yaml.SafeLoader):
    """Knows the two words of Compose's: what they empty is None or an empty list, what they replace is as it is."""


Loader.add_constructor("!reset", lambda loader, node: [] if isinstance(node, yaml.SequenceNode) else None)
Loader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


def render(directory, *arguments, grants=CHAIN, inside="declared", project="shop"):
    (directory / "postern.yml").write_text(DECLARATION.format(grants=grants, inside=inside))
    done = subprocess.run([POSTERN, "render", "compose", project, "-f", directory / "postern.yml", "--host", "roc", *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, yaml.load(done.stdout, Loader)


def of_file(directory, services, *arguments, **more):
    path = directory / "compose.json"
    path.write_text(json.dumps({"name": "shop", "services": services, "networks": {"default": {"name": "shop_default"}}}))
    return render(directory, "--compose", path, *arguments, **more)


def shop(**of_service):
    return {name: {"image": "x", "networks": {"default": None}, **of_service.get(name, {})} for name in PORTS}


def pairs_of(override):
    """Who shares a network with whom."""
    on = {name: set(one.get("networks") or ()) for name, one in override["services"].items()}
    return {frozenset(pair) for pair in itertools.combinations(on, 2) if on[pair[0]] & on[pair[1]]}


def pair(a, b):
    return frozenset((a, b))


def test_no_two_share_a_network_that_may_not_talk(tmp_path):
    text, override = of_file(tmp_path, shop())
    assert pairs_of(override) == {pair("web", "api"), pair("api", "db"), pair("worker", "db")}
    assert override["services"]["lonely"] == {"network_mode": "none", "networks": None}
    assert "reaches shop-api on tcp 8000 (postern.yml:18)" in text and "the gate reaches it: lonely (postern.yml:13)" in text
    kinds = {key: one.get("internal", False) for key, one in override["networks"].items() if not one.get("external")}
    assert [key for key, internal in kinds.items() if not internal] == ["postern-out-worker"]
    assert set(override["services"]["worker"]["networks"]) == {"postern-out-worker", next(iter(set(override["services"]["db"]["networks"]) & set(
        override["services"]["worker"]["networks"])))}


def test_a_project_that_is_open_inside_keeps_who_meets_whom(tmp_path):
    services = shop(web={"networks": {"front": None}}, api={"networks": {"front": None, "back": None}}, db={"networks": {"back": None}},
                    worker={"networks": {"back": None}}, lonely={"networks": {"own": None}})
    _, override = of_file(tmp_path, services, inside="open", grants="")
    assert pairs_of(override) == {pair("web", "api"), pair("api", "db"), pair("api", "worker"), pair("db", "worker")}
    assert len(override["networks"]) == 2 and override["services"]["lonely"]["network_mode"] == "none"


def test_published_ports_and_modes(tmp_path):
    services = shop(web={"ports": [{"target": 80, "published": "8080"}]}, lonely={"network_mode": "host", "networks": None},
                    db={"network_mode": "none", "networks": None})
    text, override = of_file(tmp_path, services)
    assert override["services"]["web"]["ports"] == [] and "ports" not in override["services"]["api"]
    assert "lonely" not in override["services"] and "# lonely is left as it is: network_mode host" in text
    assert override["services"]["db"]["network_mode"] is None


def test_a_grant_across_projects_has_a_network_of_its_own_in_both_files(tmp_path):
    text, override = of_file(tmp_path, shop())
    name = "postern_monitoring-grafana_shop-api"
    assert override["networks"][name] == {"external": True} and name in override["services"]["api"]["networks"]
    created = next(line for line in text.splitlines() if "docker network create" in line)
    other = saved.write(tmp_path / "state.json", [saved.container("grafana", "x", "monitoring", "grafana", ["monitoring_default"])],
                        [saved.network("monitoring_default")])
    text, peer = render(tmp_path, "--docker", other, project="monitoring")
    assert name in peer["services"]["grafana"]["networks"]
    # The engine of the other one is newer, and can do without an address of the host's.
    assert created.replace(" postern_", " -o com.docker.network.bridge.gateway_mode_ipv4=isolated postern_") in text.splitlines()


def test_networks_are_small_fixed_and_in_nobody_s_way(tmp_path):
    text, override = of_file(tmp_path, shop())
    assert text == of_file(tmp_path, dict(reversed(shop().items())))[0]
    own = [one for one in override["networks"].values() if not one.get("external")]
    subnets = [ipaddress.ip_network(one["ipam"]["config"][0]["subnet"]) for one in own]
    bridges = [one["driver_opts"]["com.docker.network.bridge.name"] for one in own]
    assert all(one.prefixlen == 28 and one.subnet_of(ipaddress.ip_network("10.214.0.0/16")) for one in subnets)
    assert len(set(bridges)) == len(own) and all(len(one) <= 15 for one in bridges)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(subnets, 2))
    # What an engine has is kept clear of; a network that is there already keeps its addresses.
    taken = [saved.network(f"n{i}", str(subnet)) for i, subnet in enumerate(subnets)]
    state = saved.write(tmp_path / "state.json", [], taken)
    _, moved = of_file(tmp_path, shop(), "--docker", state)
    moved = [ipaddress.ip_network(one["ipam"]["config"][0]["subnet"]) for one in moved["networks"].values() if not one.get("external")]
    assert not any(a.overlaps(b) for a in moved for b in subnets)
    state = saved.write(tmp_path / "state.json", [], [saved.network("shop_postern-inside", "172.31.7.0/24")])
    _, kept = of_file(tmp_path, shop(), "--docker", state)
    assert kept["networks"]["postern-inside"]["ipam"]["config"] == [{"subnet": "172.31.7.0/24"}]


def test_many_copies_have_room(tmp_path):
    _, override = of_file(tmp_path, shop(web={"deploy": {"replicas": 40}}))
    sizes = {ipaddress.ip_network(one["ipam"]["config"][0]["subnet"]).prefixlen for one in override["networks"].values() if not one.get("external")}
    assert sizes == {28, 26}


@pytest.mark.parametrize("arguments, said", [(["--pool", "10.0.0.1/8"], "is no range"), (["--pool", "fd00::/64"], "IPv4"), (["--pool", "10.0.0.0/28"], "no range of"),
                                             (["--interface", "x"], "means nothing for compose")])
def test_what_is_no_pool_is_said(tmp_path, arguments, said):
    with pytest.raises(AssertionError, match=said):
        of_file(tmp_path, shop(), *arguments)


@pytest.mark.parametrize("text, said", [("services:\n  a: &x { image: y }\n  b: *x\n", "docker compose config"), ("a: 1\n", "no services:"),
                                        ("services: { a: { extends: { service: b } } }\n", "extends another"), ("[", "docker compose config"),
                                        ("services: { \"a b\": { image: x } }\n", "whose name can't be"),
                                        ("services: { \"x\\n# \\e[31m\": { extends: 1 } }\n", "extends another")])
def test_a_file_that_is_not_what_config_writes(tmp_path, text, said):
    (tmp_path / "compose.yml").write_text(text)
    with pytest.raises(AssertionError) as refused:
        render(tmp_path, "--compose", tmp_path / "compose.yml")
    assert said in str(refused.value) and "\x1b" not in str(refused.value)


def test_a_project_that_does_not_run_is_refused_with_those_that_do(tmp_path):
    state = saved.write(tmp_path / "state.json", [saved.container("x", "x", "notes", "web", ["n"]), saved.container("y", "x", "\x1b[31m", "web")])
    with pytest.raises(AssertionError, match="no container of a Compose project 'shop'; there are notes"):
        render(tmp_path, "--docker", state)


# ---- real containers ----

def reach(containers):
    """Every pair by every address, on the port that listens: who reaches whom."""
    addresses = {name: [end["IPAddress"] for end in one.inspect()["NetworkSettings"]["Networks"].values() if end["IPAddress"]]
                 for name, one in containers.items()}

    def answers(a, b, address):
        done = containers[a].enter("curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{address}:{PORTS.get(b, 3000)}/")
        return (a, b) if done.stdout == "200" else None

    tries = [(a, b, address) for a in containers for b in containers if a != b for address in addresses[b]]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return set(pool.map(lambda one: answers(*one), tries)) - {None}


def put_into_force(engine, override, project):
    """What Compose does with the override: networks are made, containers made anew."""
    names = {}
    for key, one in override.get("networks", {}).items():
        names[key] = key if one.get("external") else f"{project}_{key}"
        if not one.get("external"):
            engine.network(names[key], internal=one.get("internal", False), subnet=one["ipam"]["config"][0]["subnet"], options=one["driver_opts"],
                           labels={"com.docker.compose.project": project, "com.docker.compose.network": key})
    made = {}
    for name, one in override["services"].items():
        engine.container(f"{project}-{name}-1").remove()
        networks = [names[key] for key in one.get("networks") or ()]
        made[name] = engine.standin(f"{project}-{name}-1", PORTS.get(name, 3000), project=project, service=name,
                                    **({"networks": networks} if networks else {"network": one["network_mode"]}))
    return made


def test_real_containers_reach_what_is_declared_and_no_more(engine, tmp_path):
    for project in ("shop", "monitoring"):
        engine.network(f"{project}_default", labels={"com.docker.compose.project": project, "com.docker.compose.network": "default"})
    engine.network("proxy")
    before = {name: engine.standin(f"shop-{name}-1", port, networks=["shop_default", "proxy"], project="shop", service=name,
                                   ports={f"{port}/tcp": f"127.0.0.1:{20000 + port}"}) for name, port in PORTS.items()}
    before["grafana"] = engine.standin("monitoring-grafana-1", 3000, networks=["monitoring_default", "proxy"], project="monitoring", service="grafana")
    assert reach(before) == set(itertools.permutations(before, 2))

    text, override = render(tmp_path, "--docker", engine.socket)
    assert all(one["ports"] == [] for one in override["services"].values())
    for line in text.splitlines():
        words = line.split()
        if words[1:4] == ["docker", "network", "create"]:
            assert words[4] == "--internal" and words[7] == "-o"
            engine.network(words[-1], internal=True, subnet=words[6], options=dict([words[8].split("=")]))
    after = put_into_force(engine, override, "shop")
    after.update(put_into_force(engine, render(tmp_path, "--docker", engine.socket, project="monitoring")[1], "monitoring"))
    allowed = {("web", "api"), ("api", "db"), ("worker", "db"), ("grafana", "api")}
    assert reach(after) == allowed | {(b, a) for a, b in allowed}  # a network has no direction: postern apply does
    assert after["lonely"].inspect()["HostConfig"]["NetworkMode"] == "none"
    # Rendered again, nothing moves.
    again = render(tmp_path, "--docker", engine.socket)[1]
    assert again["networks"] == override["networks"] and pairs_of(again) == pairs_of(override)
    found = subprocess.run([POSTERN, "audit", "-f", tmp_path / "postern.yml", "--host", "roc", "--docker", engine.socket, "--json"], capture_output=True,
                           text=True, timeout=60, check=False)
    kinds = {one["kind"] for one in json.loads(found.stdout)["layers"][0]["findings"]}
    assert not kinds & {"published", "published-on-loopback", "absent"}
