"""The mesh's policy from the declaration, put into a policy that is there, and compared with one that is in force."""
import json
import os
import subprocess

import pytest

from lib.process import POSTERN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOMELAB = os.path.join(ROOT, "examples", "homelab", "postern.yml")

BOUND = """\
postern: 1
domain: home.example
segments: { clients: { user: alice@home.example }, prod: { tag: tag:prod }, ai: {} }
hosts:
  roc: { segment: prod, address: [100.64.0.1, "fd7a:115c:a1e0::1"], gateway: true }
  bluejay: { segment: prod, address: 100.64.0.2, gateway: true, tag: tag:bluejay }
  robin: { segment: ai, address: 100.64.0.3, os: macos }
  macbook: { segment: clients, address: [100.64.0.13, "fd7a:115c:a1e0::13"] }
  iphone: { segment: clients, address: 100.64.0.14 }
surfaces: { main: { port: 443 }, agents: { port: 8443 } }
services:
  grafana: { host: roc, port: 3000 }
  whisper: { host: robin, port: 9000 }
  luanti: { host: bluejay, direct: udp/30000 }
grants:
  - { from: clients, to: "*", over: main }
  - { from: robin, to: grafana, over: agents }
  - { from: clients, to: luanti }
  - { from: macbook, to: "roc:22" }
expect:
  - { from: robin, cannot: ["roc:22", luanti] }
"""

MINE = """\
// mine
{
  "groups": { "group:me": ["alice@home.example"] }, // me
  "tagOwners": { "tag:prod": ["group:me"], "tag:nas": [] },
  "acls": [
    // the nas
    { "action": "accept", "src": ["alice@home.example"], "dst": ["tag:prod:5000"], "proto": "tcp" },
  ],
  "ssh": [{ "action": "check", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root"] }],
  "nodeAttrs": [{ "target": ["*"], "attr": ["funnel"] }],
  /* the end */
}
"""


def run(directory, *arguments, declaration=BOUND):
    file = os.path.join(directory, "postern.yml")
    write(directory, "postern.yml", declaration)
    return subprocess.run([POSTERN, arguments[0], *arguments[1:], "-f", file], capture_output=True, text=True, timeout=60, check=False)


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def rendered(directory, *arguments, declaration=BOUND):
    done = run(directory, "render", *arguments, declaration=declaration)
    assert done.returncode == 0, done.stderr
    return done.stdout


def audit(directory, policy, *more):
    done = run(directory, "audit", "--tailscale", write(directory, "policy.hujson", policy), "--json", *more)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert answer["holds"] == (done.returncode == 0)
    layer, = answer["layers"]
    return [{(i["from"], i["to"], i["protocols"][0], *i["ports"]) for i in layer[key]} for key in ("gained", "lost")]


# ---- rendering ----

def test_tags_and_users_speak_where_they_are_bound(directory):
    text = rendered(directory, "tailscale")
    assert '    // postern.yml:17\n    { "src": ["robin"], "dst": ["tag:prod"], "ip": ["tcp:8443"] },\n' in text
    assert '    // postern.yml:16, 18\n    { "src": ["alice@home.example"], "dst": ["tag:bluejay"], "ip": ["tcp:443", "udp:30000"] },\n' in text
    assert '"src": ["tag:prod"], "dst": ["robin"], "ip": ["tcp:9000"]' in text
    # One machine of a person is known by its address.
    assert '"src": ["macbook", "macbook-2"], "dst": ["roc", "roc-2"], "ip": ["tcp:22"]' in text
    assert '"tag:prod": [],' in text and '"tag:bluejay": [],' in text


def test_nothing_granted_is_an_empty_list_and_not_everything(directory):
    nothing = BOUND[:BOUND.index("grants:")]
    for target in ("tailscale", "headscale"):
        text = rendered(directory, target, declaration=nothing)
        assert '"grants": [],' in text
    done = run(directory, "audit", "--tailscale", write(directory, "policy.hujson", "{}"), "--json", declaration=nothing)
    assert done.returncode == 1 and json.loads(done.stdout)["layers"][0]["gained"]


def test_headscales_own_users_are_no_users_of_tailscales(directory):
    own = BOUND.replace("alice@home.example", "alice@")
    assert '"src": ["alice@"]' in rendered(directory, "headscale", declaration=own)
    done = run(directory, "render", "tailscale", declaration=own)
    assert done.returncode == 1 and "'alice@'" in done.stderr and "mail address" in done.stderr


def test_the_homelab_holds(directory):
    with open(HOMELAB, encoding="utf-8") as source:
        text = source.read()
    for target in ("tailscale", "headscale"):
        policy = rendered(directory, target, declaration=text)
        done = run(directory, "audit", "--tailscale", write(directory, "policy.hujson", policy), declaration=text)
        assert done.returncode == 0 and "what is declared, and nothing else" in done.stdout
    assert policy == rendered(directory, "headscale", declaration=text)


# ---- into a policy that is there ----

def test_a_policy_keeps_what_is_its_own(directory):
    mine = write(directory, "mine.hujson", MINE)
    done = run(directory, "render", "tailscale", "--base", mine)
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    assert all(line in lines for line in MINE.splitlines()[:3]), "the user's lines are there, in their order"
    for part in ("// the nas", '"ssh": [{ "action": "check"', '"nodeAttrs"', "/* the end */", '"tag:nas": []'):
        assert done.stdout.count(part) == 1
    assert done.stdout.count('"tag:prod": [') == 1, "whose tag it is stays as it was"
    assert "the rest of" in done.stderr and "macbook to roc: tcp 5000  (merged:" in done.stderr and "acl 1 (the nas)" in done.stderr
    gained, lost = audit(directory, done.stdout)
    assert not lost
    assert gained == {(f, t, 6, 5000, 5000) for f in ("macbook", "iphone") for t in ("roc", "bluejay")} - {("", "", 0, 0, 0)}


def test_putting_it_in_again_changes_nothing_and_takes_back_what_is_gone(directory):
    once = rendered(directory, "tailscale", "--base", write(directory, "mine.hujson", MINE))
    assert rendered(directory, "tailscale", "--base", write(directory, "mine.hujson", once)) == once
    less = BOUND.replace("  - { from: macbook, to: \"roc:22\" }\n", "")
    assert '"tcp:22"' in once and '"tcp:22"' not in rendered(directory, "tailscale", "--base", write(directory, "mine.hujson", once), declaration=less)
    none = write(directory, "none.hujson", "{}")
    assert audit(directory, rendered(directory, "tailscale", "--base", none)) == [set(), set()]


@pytest.mark.parametrize("mine, part", [
    ('{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}', "robin reaches"),  # what expect: forbids
    ('{"hosts": {"robin": "100.64.0.99"}}', "another address here than in the declaration"),
    ('{"grants": {}}', "expected a list"), ("{", "mine.hujson:1:2"), ("[]", "an object"), ('{"a": 1}', 'no field "a"'),
    ("{\n// postern begin\n}", "has no end"), ("{\n// postern end\n}", "without its other one"),
])
def test_a_policy_that_can_not_hold_the_declaration_is_refused(directory, mine, part):
    done = run(directory, "render", "tailscale", "--base", write(directory, "mine.hujson", mine))
    assert done.returncode == 1 and done.stdout == "" and part in done.stderr, done.stderr


def test_headscale_is_not_given_what_it_refuses(directory):
    done = run(directory, "render", "headscale", "--base", write(directory, "mine.hujson", '{"ipsets": {}, "acls": []}'))
    assert done.returncode == 1 and 'mine.hujson:1:2: Headscale refuses a policy with "ipsets"' in done.stderr


# ---- against what is in force ----

def test_drift_is_access_in_names(directory):
    policy = rendered(directory, "tailscale")
    policy = policy[:policy.index('  "tests"')] + "}\n"
    assert audit(directory, policy) == [set(), set()]
    assert audit(directory, policy.replace('"tcp:22"', '"tcp:22-23"')) == [{("macbook", "roc", 6, 23, 23)}, set()]
    assert audit(directory, policy.replace('"udp:30000"', '"tcp:30000"')) == [
        {(f, "bluejay", 6, 30000, 30000) for f in ("macbook", "iphone")}, {(f, "bluejay", 17, 30000, 30000) for f in ("macbook", "iphone")}]
    assert audit(directory, policy.replace('"dst": ["robin"]', '"dst": ["robin", "100.64.0.14"]'))[0] == {
        (f, "iphone", 6, 9000, 9000) for f in ("roc", "bluejay")}


def test_drift_among_the_real_machines(directory):
    """A tag on a machine that nobody declared lets it in where the declared ones are."""
    nodes = {"users": [{"name": "alice", "email": "alice@home.example"}], "nodes": {
        "roc": {"ipv4": "100.64.0.1", "ipv6": "fd7a:115c:a1e0::1", "tags": ["tag:prod"]}, "bluejay": {"ipv4": "100.64.0.2", "tags": ["tag:prod", "tag:bluejay"]},
        "robin": {"ipv4": "100.64.0.3", "user": "alice"}, "macbook": {"ipv4": "100.64.0.13", "ipv6": "fd7a:115c:a1e0::13", "user": "alice"},
        "iphone": {"ipv4": "100.64.0.14", "user": "alice"}, "stray": {"ipv4": "100.64.0.77", "tags": ["tag:prod"]}}}
    policy = rendered(directory, "tailscale")
    file = write(directory, "nodes.json", json.dumps(nodes))
    gained, lost = audit(directory, policy, "--nodes", file)  # with its tests, which fail among these machines
    assert not lost
    assert ("100.64.0.77", "robin", 6, 9000, 9000) in gained, "a stray machine with the gateways' tag"
    assert ("robin", "roc", 6, 443, 443) in gained, "an agent's machine that belongs to the person"


def test_a_policy_that_fails_its_own_tests_is_told_of_all_the_same(directory):
    gained, lost = audit(directory, rendered(directory, "tailscale").replace('"ip": ["tcp:8443"]', '"ip": ["tcp:8443", "tcp:22"]'))
    assert not lost and {("robin", host, 6, 22, 22) for host in ("roc", "bluejay")} <= gained


def test_a_base_that_opens_everything_is_refused_with_what_it_opens(directory):
    everything = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
    done = run(directory, "render", "tailscale", "--base", write(directory, "mine.hujson", everything))
    assert done.returncode == 1 and done.stdout == ""
    assert "robin to roc: tcp" in done.stderr and "narrow the rules of" in done.stderr


def test_a_policy_that_is_refused_tells_nothing(directory):
    for text in ("{", '{"acls": [{"action": "accept", "src": ["tag:none"], "dst": ["*:*"]}]}'):
        done = run(directory, "audit", "--tailscale", write(directory, "policy.hujson", text))
        assert done.returncode == 2 and "policy.hujson:1:" in done.stderr
    assert run(directory, "audit").returncode == 2
    assert run(directory, "audit", "--tailscale", "/nowhere").returncode == 2
