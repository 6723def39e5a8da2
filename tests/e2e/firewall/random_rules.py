"""Rules that somebody else might have on a host, made from a seed: several base chains, jumps, sets, maps, negation, both families."""
import random

from firewall.world import LAN, MESH, TCP, lan4, mesh4, mesh6

PRELUDE = "ct state established,related accept\nmeta l4proto { icmp, ipv6-icmp } accept\n"
PORTS = sorted(set(TCP["roc"]) | {30000})


def _some(rng, things, most=3):
    return rng.sample(things, rng.randint(1, min(most, len(things))))


def _source4(rng):
    hosts = [mesh4(host) for host in MESH if host != "roc"] + [lan4(host) for host in LAN if host != "roc"]
    return rng.choice([rng.choice(hosts), "100.64.0.0/28", "100.64.0.8/29", "192.168.1.0/24", "100.64.0.2-100.64.0.12"])


def _source6(rng):
    return rng.choice([mesh6(host) for host in MESH if host != "roc"] + ["fd7a:115c:a1e0::10/124", "fd7a:115c:a1e0::/64"])


def _ports(rng):
    return rng.choice([str(rng.choice(PORTS)), "{ " + ", ".join(map(str, _some(rng, PORTS))) + " }", "80-8443", "1-1024"])


def _condition(rng):
    kind = rng.randrange(11)
    sign = rng.choice(["", "", "!= "])
    if kind == 0:
        return f"ip saddr {sign}{_source4(rng)}"
    if kind == 1:
        return f"ip6 saddr {sign}{_source6(rng)}"
    if kind == 2:
        return f"tcp dport {sign}{_ports(rng)}"
    if kind == 3:
        return f"meta l4proto {rng.choice(['tcp', 'udp', '{ tcp, udp }', '!= udp'])}"
    if kind == 4:
        return f"iifname {sign}" + rng.choice(['"mesh0"', '"lan0"', '"mesh*"', '{ "lan0", "lo" }'])
    if kind == 5:
        return rng.choice(["ip saddr @hosts", "ip saddr != @hosts", "ip saddr . tcp dport @pairs"])
    if kind == 6:
        return f"meta nfproto {rng.choice(['ipv4', 'ipv6'])}"
    if kind == 7:
        return f"ip daddr {sign}{rng.choice([mesh4('roc'), lan4('roc')])}"
    if kind == 8:
        return f"ct state {rng.choice(['new', 'invalid', '!= new', 'established,new'])}"
    if kind == 9:
        return rng.choice(["fib daddr type local", "udp dport 30000", "th dport > 400", "ip protocol tcp"])
    return rng.choice(["tcp dport 22", "meta l4proto . th dport { tcp . 80, udp . 30000, tcp . 3000-6000 }"])


def _rule(rng, chains):
    conditions = " ".join(_condition(rng) for _ in range(rng.randint(0, 2)))
    verdicts = ["accept", "drop", "accept", "drop", "accept", "return"] + [f"{word} {chain}" for chain in chains for word in ("jump", "goto")]
    if rng.randrange(7) == 0:
        key, keys = rng.choice([("iifname", ['"mesh0"', '"lan0"']), ("tcp dport", ["22", "80-500", "3000"]), ("ip saddr", [mesh4("macbook"), "192.168.1.0/24"])])
        return f"{conditions} {key} vmap {{ " + ", ".join(f"{one} : {rng.choice(verdicts)}" for one in keys) + " }"
    return f"{conditions} {rng.choice(['', 'counter '])}{rng.choice(verdicts + ['reject'])}"


def random_rules(seed):
    """(tables with sets and chains, commands that add a rule each). nft refuses some of those: conditions that contradict each other."""
    rng = random.Random(seed)
    text, commands = "", []
    for table, family in (("one", "inet"), ("two", rng.choice(["ip", "ip6", "inet"])))[:rng.randint(1, 2)]:
        text += f"table {family} {table} {{\n"
        if family != "ip6":
            hosts = ", ".join(mesh4(host) for host in _some(rng, list(MESH)))
            text += f"set hosts {{\ntype ipv4_addr\nelements = {{ {hosts} }}\n}}\n"
            text += ("set pairs {\ntype ipv4_addr . inet_service\nflags interval\nelements = { 100.64.0.0/29 . 80-3000, " +
                     f"{mesh4('macbook')} . {rng.choice(PORTS)} }}\n}}\n")
        chains = []
        for chain in ("deep", "middle"):
            text += f"chain {chain} {{\n}}\n"
            commands += [f"add rule {family} {table} {chain} {_rule(rng, chains)}" for _ in range(rng.randint(1, 3))]
            chains.append(chain)
        for i, (hook, priority) in enumerate(rng.sample([("prerouting", -150), ("input", 0), ("input", 10)], rng.randint(1, 2))):
            text += f"chain base{i} {{\ntype filter hook {hook} priority {priority}; policy {rng.choice(['accept', 'accept', 'accept', 'drop'])};\n{PRELUDE}}}\n"
            commands += [f"add rule {family} {table} base{i} {_rule(rng, chains)}" for _ in range(rng.randint(3, 7))]
        text += "}\n"
    return text, commands
