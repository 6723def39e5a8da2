"""A rendered mesh policy widened, narrowed, cut or reordered by one thing: what the reader compiles of it and what the audit says differ from
before by exactly that, as a plain expansion of the grants tells; and the audit names the grant that opens it."""
import ipaddress
import json
import os
import random
import re
import subprocess

import pytest

from lib.process import POSTERN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOMELAB = os.path.join(ROOT, "examples", "homelab", "postern.yml")
N_PER_KIND = 14


def run(*arguments):
    done = subprocess.run([POSTERN, *arguments, "-f", HOMELAB] if arguments[0] != "read" else [POSTERN, *arguments], capture_output=True, text=True,
                          timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def policy():
    """The rendered one without its tests, which would refuse what is wrong before it is read."""
    status, text, said = run("render", "tailscale")
    assert status == 0, said
    text = re.sub(r"(?m)^\s*//.*$", "", text)
    made = json.loads(re.sub(r",(\s*[\]}])", r"\1", text))
    return {"hosts": made["hosts"], "grants": made["grants"]}


@pytest.fixture(scope="module")
def nodes(policy, tmp_path_factory):
    path = tmp_path_factory.mktemp("nodes") / "nodes.json"
    hosts = policy["hosts"]
    path.write_text(json.dumps({"users": [{"name": "me", "email": "me@home.example", "role": "owner"}], "nodes": {
        name: {"hostname": name, "tags": [], "user": "me@home.example", "ipv4": address, "ipv6": hosts[name + "-2"], "routable_ips": [], "approved_routes": []}
        for name, address in hosts.items() if not name.endswith("-2")}}))
    return path


def expanded(policy):
    """Every (source, destination, protocol, port), grant by grant."""
    flows = set()
    for grant in policy["grants"]:
        for service in grant["ip"]:
            protocol, ports = service.split(":")
            first, _, last = ports.partition("-")
            for port in range(int(first), int(last or first) + 1):
                flows |= {(policy["hosts"][s], policy["hosts"][d], {"tcp": 6, "udp": 17}[protocol], port) for s in grant["src"] for d in grant["dst"]}
    return {flow for flow in flows if (":" in flow[0]) == (":" in flow[1])}


def between_hosts(policy, flows):
    """What stays on one host is no flow to the audit."""
    host = {address: name.removesuffix("-2") for name, address in policy["hosts"].items()}
    return {flow for flow in flows if host[flow[0]] != host[flow[1]]}


def compiled(path, nodes):
    """The same as the reader has it, between the addresses that there are."""
    status, text, said = run("read", "tailscale", path, "--nodes", nodes, "--json")
    assert status == 0, said
    flows = set()
    for rules in json.loads(text)["nodes"].values():
        for rule in rules:
            sources = [str(address) for prefix in rule["Srcs"] for address in ipaddress.ip_network(prefix)]
            for to in rule["Dsts"]:
                for destination in ipaddress.ip_network(to["Net"]):
                    flows |= {(source, str(destination), protocol, port) for source in sources for protocol in rule["IPProto"]
                              for port in range(to["Ports"]["First"], to["Ports"]["Last"] + 1)}
    return {flow for flow in flows if (":" in flow[0]) == (":" in flow[1])}


def mutate(kind, policy, rng):
    made = json.loads(json.dumps(policy))
    grant = rng.choice(made["grants"])
    side = rng.choice(["src", "dst"])
    if kind == "narrow":
        grant[side].remove(rng.choice(grant[side]))
    elif kind == "widen":
        grant[side].append(rng.choice([name for name in made["hosts"] if name not in grant[side]]))
    elif kind == "other port":
        at = rng.randrange(len(grant["ip"]))
        grant["ip"][at] = grant["ip"][at].split(":")[0] + f":{rng.randint(1, 1023)}"
    elif kind == "more ports":
        at = rng.randrange(len(grant["ip"]))
        grant["ip"][at] += f"-{int(grant['ip'][at].split(':')[1]) + rng.randint(1, 9)}"
    elif kind == "drop":
        made["grants"].remove(grant)
    elif kind == "add":
        made["grants"].append({"src": [rng.choice(list(made["hosts"]))], "dst": [rng.choice(list(made["hosts"]))], "ip": [f"udp:{rng.randint(1, 1023)}"]})
    else:
        rng.shuffle(made["grants"])
    return made


@pytest.mark.parametrize("kind", ["narrow", "widen", "other port", "more ports", "drop", "add", "reorder"])
def test_a_changed_policy_differs_by_exactly_the_change(policy, nodes, tmp_path, kind):
    before, path = between_hosts(policy, expanded(policy)), tmp_path / "policy.json"
    n_changed = 0
    for seed in range(N_PER_KIND):
        changed = mutate(kind, policy, random.Random(f"{kind} {seed}"))
        after = expanded(changed)
        path.write_text(json.dumps(changed))
        assert compiled(path, nodes) == after, seed
        after = between_hosts(policy, after)
        status, text, said = run("audit", "--tailscale", path, "--json")
        layer = json.loads(text)["layers"][0]
        assert status == (1 if after != before else 0), said
        for items, flows in ((layer["gained"], after - before), (layer["lost"], before - after)):
            assert bool(items) == bool(flows), (seed, items)
            assert {(item["protocols"][0], port) for item in items for port in range(item["ports"][0], item["ports"][1] + 1)} == \
                {(protocol, port) for _, _, protocol, port in flows}, (seed, items)
        for item in layer["gained"]:
            number = int(re.search(r"grant (\d+)", item["rule"]).group(1))
            flows = expanded({"hosts": changed["hosts"], "grants": [changed["grants"][number - 1]]}) - before
            assert {(item["protocols"][0], item["ports"][0])} <= {(protocol, port) for _, _, protocol, port in flows}, (seed, item)
        n_changed += after != before
    assert n_changed > N_PER_KIND / 2 or kind in ("reorder", "add", "widen")
