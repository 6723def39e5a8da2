"""Declarations as data: one that says everything the grammar knows, and changes to it that are right or wrong by structure."""
import copy

PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

EVERYTHING = {
    "postern": 1,
    "domain": "home.example",
    "tls": {"acme": {"email": "me@home.example", "provider": "hetzner", "environment-file": "/etc/postern/acme.env",
                     "directory": "https://acme.example/directory", "ca": "/etc/postern/acme-ca.pem"}},
    "log": {"to": "/var/log/postern.log"},
    "metrics": {"unix": "/run/metrics.sock", "address": "127.0.0.1", "port": 9100},
    "segments": {"clients": {"address": ["100.64.0.0/24", "fd00:1::/64"], "user": "alice@example.org"}, "prod": {"tag": "tag:prod"}, "ai": None},
    "hosts": {
        "roc": {"segment": "prod", "address": ["100.64.1.1", "fd00::1"], "lan": "192.168.1.10", "os": "linux", "gateway": True, "tag": "tag:roc",
                "firewall": "nftables", "docker": "/run/docker.sock"},
        "bluejay": {"segment": "prod", "address": "100.64.1.2", "lan": ["192.168.1.11"], "gateway": True},
        "robin": {"segment": "ai", "address": "100.64.1.3", "os": "macos", "gateway": False, "user": "agent@", "tailscale": "robin-2",
                  "firewall": "pf"},
        "macbook": {"segment": "clients", "address": "100.64.1.13"},
    },
    "surfaces": {
        "main": {"port": 443, "redirect": 80, "connections-per-principal": 1000},
        "agents": {"port": 8443, "workers": 1, "hosts": ["roc", "bluejay"], "address": ["100.64.1.1", "192.168.1.250"]},
    },
    "services": {
        "grafana": {"host": "roc", "container": "monitoring/grafana", "port": 3000, "protocol": "http", "names": "stats.home.example"},
        "backrest": {"host": ["roc", "bluejay"], "container": "backrest_1", "port": 9898, "address": "172.18.0.5"},
        "grpc": {"host": "roc", "netns": "/run/netns/grpc", "port": 50051, "protocol": "h2c", "loopback": True},
        "socket": {"host": "roc", "unix": "/run/socket.sock", "names": ["a.home.example", "b.c.home.example"], "over": "main"},
        "whisper": {"host": "robin", "port": 9000, "over": ["main", "agents"]},
        "nas": {"host": "roc", "port": 5001, "address": ["192.168.1.20", "fd00::20"], "protocol": "https",
                "tls": {"name": "nas.local", "ca": "/etc/postern/nas.pem", "pin": PIN}},
        "old": {"host": "roc", "port": 5002, "protocol": "https", "tls": {"insecure": True}},
        "db": {"host": "roc", "container": "db", "port": 5432, "internal": True},
        "luanti": {"host": "bluejay", "container": "luanti", "direct": "udp/30000"},
        "sftp": {"host": "robin", "direct": "tcp/2022"},
    },
    "projects": {"monitoring": {"host": "roc", "mode": "enforce", "inside": "declared"}, "home_auto-2": {"host": ["roc", "bluejay"]}},
    "grants": [
        {"from": "clients", "to": "*", "over": "main"},
        {"from": ["ai", "host/macbook"], "to": ["g*", "service/whisper"], "over": ["agents"]},
        {"from": "segment/clients", "to": ["luanti", "sftp", "roc:22", "bluejay:udp/53", "robin:tcp/22"]},
        {"from": ["grafana", "service/db"], "to": ["db:5432", "service/backrest:udp/53", "internet"]},
        {"from": "grafana", "to": ["w*", "nas"], "over": "main"},
        {"from": "ai", "to": ["mcp-*", "grafana"], "over": "agents", "labelled": True},
    ],
    "expect": [
        {"from": "robin", "can": ["grafana"], "cannot": ["db", "roc:22", "n*"], "over": "agents"},
        {"from": ["clients"], "can": "*"},
        {"from": "macbook", "cannot": "db"},
        {"from": "db", "can": ["service/backrest:udp/53", "internet"], "cannot": ["roc:22", "grafana"]},
    ],
}

GONE = object()


def changed(path, value):
    """EVERYTHING with the value at a path of keys ("services.grafana.port", numbers for lists) set, or gone."""
    document = copy.deepcopy(EVERYTHING)
    at = document
    *parents, last = path.split("/")
    for key in parents:
        at = at[int(key) if isinstance(at, list) else key]
    last = int(last) if isinstance(at, list) else last
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return document


LABEL_63 = "a" * 63
ACCEPTED = [
    ("tls", "internal"), ("tls", {"cert": "/c.pem", "key": "/k.pem"}), ("tls", {"acme": {"email": "a@b", "provider": "rfc2136"}}),
    ("tls", GONE), ("log", GONE), ("metrics", GONE), ("log/to", "stdout"), ("log/to", "/l"), ("expect", GONE), ("expect", []),
    ("metrics", {"unix": "/m"}), ("metrics", {"address": "::1", "port": 1}), ("metrics/port", 65535),
    ("domain", "home"), ("domain", "Home.Example"), ("domain", "a." * 93 + "abc"),
    ("segments/prod", None), ("segments/prod", {"address": "100.64.5.0/24"}), ("segments/prod", {"address": "100.64.5.1"}),
    ("segments/prod", {"address": ["0.0.0.0/0", "::/0"]}), ("segments/new-1", {}), ("segments/1", {}),
    ("segments/new-1", {"tag": "tag:A-1"}), ("segments/new-1", {"tag": "tag:" + "a" * 63}), ("segments/new-1", {"user": "bob@github"}),
    ("segments/new-1", {"user": "a.b+c_d%e-f@x-y.z"}), ("hosts/robin/user", GONE), ("hosts/robin/tailscale", GONE), ("hosts/robin/tailscale", "robin"),
    ("hosts/robin/firewall", "none"), ("hosts/robin/firewall", GONE), ("hosts/roc/firewall", "none"), ("hosts/roc/firewall", GONE),
    ("hosts/bluejay/os", "linux"), ("hosts/robin/address", ["100.64.1.3", "100.64.1.4", "100.64.1.5", "fd00::5"]),
    ("hosts/robin/lan", "fd00::9"), ("hosts/robin/gateway", GONE), ("hosts/roc/os", GONE),
    ("surfaces/main/port", 1), ("surfaces/main/port", 65535), ("surfaces/main/redirect", GONE), ("surfaces/agents/workers", 256),
    ("surfaces/agents/hosts", "roc"), ("surfaces/agents/address", "fd00::99"), ("surfaces/main/connections-per-principal", 1),
    ("services/grafana/container", "a"), ("services/grafana/container", "a_b-1/Web.1"), ("services/grafana/container", "a" * 128 + "/" + "b" * 128),
    ("hosts/roc/docker", GONE), ("hosts/roc/docker", "/run/user/1000/docker.sock"), ("projects", GONE), ("projects", {}), ("projects/monitoring/mode", "observe"),
    ("projects/monitoring/mode", GONE), ("projects/monitoring/inside", "open"), ("projects/monitoring/host", ["roc"]), ("projects/1", {"host": "roc"}),
    ("grants/3/to", "internet"), ("grants/3/from", "db"), ("grants/5/labelled", False), ("grants/5/labelled", GONE), ("grants/2/to", "host/roc:22"),
    ("expect/3/can", ["db:udp/1", "grafana"]), ("expect/3/cannot", GONE), ("services/grafana/container", "A" + "_.-9" * 31 + "abc"), ("services/grafana/protocol", GONE),
    ("services/grafana/internal", False), ("services/socket/unix", "/" + "s" * 106), ("services/socket/unix", "/a/..b/...c"),
    ("services/luanti/direct", "tcp/1"), ("services/luanti/direct", "tcp/65535"), ("services/luanti/container", GONE), ("services/luanti/loopback", True),
    ("services/sftp/netns", "/run/netns/sftp"),
    ("services/nas/tls", GONE), ("services/nas/tls", {}), ("services/nas/tls/pin", GONE), ("services/nas/tls/insecure", False),
    ("services/old/tls", {"insecure": False, "ca": "/a"}), ("services/db/loopback", True), ("services/db/internal", False),
    ("services/grafana/names", [f"n{i}.example" for i in range(64)]), ("services/backrest/host", ["roc"]),
    ("services/whisper/over", ["main", "agents"]), ("services/nas/address", "::1"),
    ("grants", []), ("grants/0/to", "**"), ("grants/0/to", ["*-*"]), ("grants/2/to", ["roc:1"]), ("grants/2/to", "roc:65535"),
    ("grants/2/to", "roc:udp/65535"), ("expect/0/over", GONE), ("expect/0/can", GONE), ("expect/0/cannot", "robin:9000"),
]

REJECTED = [
    ("postern", 2), ("postern", "1"), ("postern", 0), ("postern", True), ("postern", GONE), ("domain", GONE), ("segments", GONE), ("hosts", GONE),
    ("hosts", {}), ("unknown", 1), ("Postern", 1), ("services", None), ("services", []), ("grants", {}), ("grants", None), ("grants", ["x"]),
    ("domain", ""), ("domain", "home.example."), ("domain", ".home"), ("domain", "a..b"), ("domain", "-a.b"), ("domain", "a-.b"),
    ("domain", "a_b.c"), ("domain", "10.0.0.1"), ("domain", "a." * 94 + "abc"), ("domain", "a" * 64 + ".b"), ("domain", 5), ("domain", None),
    ("domain", "a b"), ("domain", "höme.example"), ("domain", ["home.example"]),
    ("tls", "acme"), ("tls", {}), ("tls", None), ("tls", {"cert": "/c"}), ("tls", {"key": "/c"}), ("tls", {"cert": "c", "key": "/k"}),
    ("tls", {"cert": "/c", "key": "/k", "acme": {"email": "a@b", "provider": "x"}}), ("tls", {"acme": {"email": "a@b"}}),
    ("tls", {"acme": {"provider": "x"}}), ("tls", {"acme": "letsencrypt"}), ("tls/acme/email", "a"), ("tls/acme/email", "a@"),
    ("tls/acme/email", "@a"), ("tls/acme/email", "-a@b"), ("tls/acme/email", "a b@c"), ("tls/acme/email", "a@b@c"),
    ("tls/acme/provider", "--x"), ("tls/acme/provider", "Het zner"), ("tls/acme/provider", ""), ("tls/acme/directory", "http://a"),
    ("tls/acme/directory", "https://"), ("tls/acme/directory", "https://a b"), ("tls/acme/ca", "x.pem"), ("tls/acme/token", "secret"),
    ("log", {}), ("log", None), ("log", "stdout"), ("log/to", "stderr"), ("log/to", "./x"), ("log/to", "/a/"), ("log/to", "/"), ("log/to", 1),
    ("log/to", "/a//b"), ("log/to", "/a/../b"), ("log/to", "/./a"), ("log/to", "/a/.."), ("log/to", ""), ("log/to", "/a\u0007b"), ("log/to", "/a\u0085b"),
    ("metrics", {}), ("metrics/port", GONE), ("metrics/address", GONE), ("metrics/address", ["127.0.0.1"]), ("metrics/port", 0),
    ("metrics/port", 65536), ("metrics/port", "9100"), ("metrics/unix", "m.sock"), ("metrics/unix", "/" + "m" * 107),
    ("segments/Prod", {}), ("segments/a_b", {}), ("segments/-a", {}), ("segments/a-", {}), ("segments/", {}), ("segments/" + "a" * 64, {}),
    ("segments/prod", {"adress": "100.64.0.0/24"}), ("segments/prod", []), ("segments/prod", "x"), ("segments/prod", {"address": []}),
    ("segments/prod", {"address": None}), ("segments/prod", {"address": "clients"}), ("segments/prod", {"address": "100.64.5.0/024"}),
    ("segments/prod", {"address": "100.64.5.0/"}), ("segments/prod", {"address": ["100.64.5.1", "100.64.5.1"]}), ("segments/prod", {"address": 1}),
    ("hosts/robin/segment", GONE), ("hosts/robin/address", GONE), ("hosts/robin/address", []), ("hosts/robin/address", "robin"),
    ("hosts/robin/address", "100.64.1.3/32"), ("hosts/robin/address", "100.64.1"), ("hosts/robin/address", "100.64.1.256"),
    ("hosts/robin/address", "fe80::1%eth0"), ("hosts/robin/address", "fd00:::1"), ("hosts/robin/address", "0100.64.1.3"),
    ("hosts/robin/address", ["100.64.1.3", "100.64.1.3"]), ("hosts/robin/address", [f"100.64.1.{i}" for i in range(30, 35)]),
    ("hosts/robin/address", {"v4": "100.64.1.3"}), ("hosts/robin/os", "windows"), ("hosts/robin/os", "Linux"), ("hosts/robin/gateway", True),
    ("hosts/robin/gateway", "true"), ("hosts/robin/gateway", 1), ("hosts/robin/gateway", None), ("hosts/robin", None), ("hosts/robin", "100.64.1.3"),
    ("segments/prod", {"tag": "prod"}), ("segments/prod", {"tag": "tag:"}), ("segments/prod", {"tag": "tag:1a"}), ("segments/prod", {"tag": "tag:a_b"}),
    ("segments/prod", {"tag": "tag:" + "a" * 64}), ("segments/prod", {"tag": ["tag:a"]}), ("segments/prod", {"tag": "tag:a", "user": "b@c"}),
    ("segments/prod", {"user": "bob"}), ("segments/prod", {"user": "@x"}), ("segments/prod", {"user": "a@b@c"}), ("segments/prod", {"user": "*@x"}),
    ("segments/prod", {"user": "-a@b"}), ("segments/prod", {"user": "group:a@b"}), ("segments/prod", {"user": None}),
    ("hosts/roc/user", "bob@x"), ("hosts/robin/tag", "tag:x"), ("hosts/robin/tailscale", "Robin"), ("hosts/robin/tailscale", "robin.ts.net"),
    ("hosts/robin/tailscale", ""), ("hosts/robin/tailscale", "a" * 64), ("hosts/robin/firewall", "nftables"), ("hosts/roc/firewall", "pf"),
    ("hosts/bluejay/firewall", "pf"), ("hosts/roc/firewall", "iptables"), ("hosts/roc/firewall", True), ("hosts/robin/segment", ["ai"]), ("hosts/robin/segment", "AI"),
    ("surfaces/main/port", GONE), ("surfaces/main/port", 0), ("surfaces/main/port", -1), ("surfaces/main/port", 65536), ("surfaces/main/port", "443"),
    ("surfaces/main/port", 443.5), ("surfaces/main/port", [443]), ("surfaces/main/redirect", 0), ("surfaces/main/redirect", True),
    ("surfaces/main/workers", 0), ("surfaces/main/workers", 257), ("surfaces/main/connections-per-principal", 0),
    ("surfaces/main/connections-per-principal", 1000001), ("surfaces/main/hosts", []), ("surfaces/main/hosts", ["roc", "roc"]),
    ("surfaces/main/address", "100.64.1.0/24"), ("surfaces/main/address", []), ("surfaces/main/domain", "x"), ("surfaces/main", None),
    ("services/grafana/host", GONE), ("services/grafana/host", []), ("services/grafana/host", None), ("services/grafana/port", GONE),
    ("services/grafana/port", 0), ("services/grafana/port", 1e9), ("services/grafana/unix", "/a"), ("services/grafana/netns", "/a"),
    ("services/grafana/tls", {}), ("services/grafana/internal", True), ("services/grafana/internal", "yes"), ("services/grafana/container", ""),
    ("services/grafana/container", "-a"), ("services/grafana/container", "a/b/c"), ("services/grafana/container", "A/b"), ("services/grafana/container", "/b"),
    ("services/grafana/container", "a/"), ("services/grafana/container", "a.b/c"), ("services/grafana/container", "_a/c"),
    ("services/grafana/container", "a" * 129 + "/b"), ("services/grafana/container", "a/../b"), ("services/grafana/container", "a/-b"),
    ("services/internet", {"host": "roc", "port": 1}), ("hosts/roc/docker", "docker.sock"), ("hosts/roc/docker", True), ("hosts/roc/docker", "/" + "d" * 107),
    ("projects", []), ("projects", None), ("projects/Monitoring", {"host": "roc"}), ("projects/a.b", {"host": "roc"}), ("projects/-a", {"host": "roc"}),
    ("projects/monitoring/host", GONE), ("projects/monitoring/host", []), ("projects/monitoring/host", ["roc", "roc"]), ("projects/monitoring/mode", "drop"),
    ("projects/monitoring/mode", True), ("projects/monitoring/inside", "closed"), ("projects/monitoring/network", "x"), ("projects/monitoring", None),
    ("grants/5/labelled", "yes"), ("grants/5/labelled", 1), ("grants/3/to", "db:0"), ("grants/3/to", "segment/db:1"), ("grants/3/to", "db:sctp/1"),
    ("grants/3/to", "Internet:1"), ("grants/3/from", "internet:1"), ("services/grafana/container", "a" * 129),
    ("services/grafana/container", ["a"]), ("services/grafana/protocol", "HTTP"), ("services/grafana/protocol", "tcp"),
    ("services/grafana/protocol", "https:"), ("services/grafana/names", []), ("services/grafana/names", "a_b"), ("services/grafana/names", "*.b"),
    ("services/grafana/names", "10.0.0.1"), ("services/grafana/names", [f"n{i}.example" for i in range(65)]), ("services/grafana/over", []),
    ("services/grafana/over", ["main", "main"]), ("services/grafana/on", "roc"), ("services/grafana", None), ("services/grafana", []),
    ("services/socket/port", 1), ("services/socket/address", "::1"), ("services/socket/loopback", True), ("services/socket/netns", "/x"),
    ("services/socket/unix", GONE), ("services/socket/unix", "x.sock"), ("services/socket/unix", "/" + "s" * 107), ("services/socket/unix", "@abstract"),
    ("services/grpc/port", GONE), ("services/grpc/netns", "grpc"), ("services/grpc/netns", "/run/../x"), ("services/grpc/address", "127.0.0.1"),
    ("services/backrest/address", "db"), ("services/backrest/address", []), ("services/backrest/address", "172.18.0.0/16"),
    ("services/nas/protocol", GONE), ("services/nas/protocol", "http"), ("services/nas/tls/pin", PIN[:-1]), ("services/nas/tls/pin", PIN[7:]),
    ("services/nas/tls/pin", PIN.replace("sha256", "sha1")), ("services/nas/tls/pin", PIN[:-2] + "V="), ("services/nas/tls/pin", PIN[:-3] + "_U="),
    ("services/nas/tls/ca", "nas.pem"), ("services/nas/tls/name", "-x"), ("services/nas/tls/insecure", True), ("services/nas/tls/verify", False),
    ("services/nas/tls", None), ("services/nas/tls", "insecure"), ("services/old/tls/ca", "/a"), ("services/old/tls/pin", PIN),
    ("services/db/protocol", "http"), ("services/db/names", "x.example"), ("services/db/over", "main"), ("services/db/tls", {}),
    ("services/db/port", GONE), ("services/luanti/direct", "30000"), ("services/luanti/direct", 30000), ("services/luanti/direct", "udp/0"),
    ("services/luanti/direct", "udp/65536"), ("services/luanti/direct", "udp/030000"), ("services/luanti/direct", "UDP/30000"),
    ("services/luanti/direct", "sctp/1"), ("services/luanti/direct", "udp/"), ("services/luanti/direct", "udp:30000"), ("services/luanti/port", 1),
    ("services/luanti/protocol", "http"), ("services/luanti/names", "x.example"), ("services/luanti/over", "main"), ("services/luanti/internal", True),
    ("services/luanti/internal", False), ("services/sftp/loopback", True), ("surfaces/direct", {"port": 444}), ("services/luanti/address", "::1"), ("services/luanti/unix", "/a"),
    ("services/luanti/tls", {}), ("services/Grafana", {"host": "roc", "port": 1}), ("services/" + "a" * 64, {"host": "roc", "port": 1}),
    ("grants/0/from", GONE), ("grants/0/to", GONE), ("grants/0/from", []), ("grants/0/to", []), ("grants/0/from", "*"), ("grants/0/from", "c*"),
    ("grants/0/from", "surface/main"), ("grants/0/from", "100.64.0.13"), ("grants/0/from", ["clients", "clients"]),
    ("grants/0/from", None), ("grants/0/from", {"host": "roc"}), ("grants/0/over", []), ("grants/0/over", None), ("grants/0/over", ["main", "main"]),
    ("grants/0/to", "m?p"), ("grants/0/to", "G*"), ("grants/0/to", "service/*"), ("grants/0/to", "host/roc"), ("grants/0/to", "segment/prod"),
    ("grants/0/to", ["*", "*"]), ("grants/0/can", "*"), ("grants/2/to", "roc:0"), ("grants/2/to", "roc:65536"), ("grants/2/to", "roc:022"),
    ("grants/2/to", "roc:"), ("grants/2/to", ":22"), ("grants/2/to", "roc:ssh"), ("grants/2/to", "roc:22/tcp"), ("grants/2/to", "roc:sctp/22"),
    ("grants/2/to", "roc:22-25"), ("grants/2/to", "*:22"), ("grants/2/to", 22),
    ("expect/0/from", GONE), ("expect/1", {"from": "robin"}), ("expect/1/can", []), ("expect/1/to", "*"), ("expect/1/over", []), ("expect", {}),
    ("expect/1/can", None),
]
