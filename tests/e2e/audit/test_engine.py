"""postern audit --no-declaration against a real engine: what it says is open is tried, and what it doesn't say is not."""
import json
import subprocess

import pytest

from lib.process import POSTERN

LAN, HOST, NEIGHBOUR = "192.168.77.0/24", "192.168.77.10", "192.168.77.20"


class Network:
    """An engine whose host is on a LAN, with one neighbour there."""

    def __init__(self, engine):
        self.engine, self.name = engine, engine.name + "-lan"
        self.ip("netns", "add", self.name)
        self.ip("-n", self.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", engine.own_namespace)
        for namespace, address in ((engine.own_namespace, HOST), (self.name, NEIGHBOUR)):
            self.ip("-n", namespace, "address", "add", address + "/24", "dev", "eth0")
            self.ip("-n", namespace, "link", "set", "eth0", "up")
        self.ip("-n", self.name, "link", "set", "lo", "up")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    def answers(self, who, address, port):
        """Whether a stand-in answers there; who: "lan", "host" or a container."""
        curl = ["curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{address}:{port}/"]
        if who == "lan":
            done = subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", *curl], capture_output=True, text=True, timeout=20, check=False)
        else:
            done = (self.engine if who == "host" else who).enter(*curl)
        return done.stdout == "200"

    def neighbour_routes(self, address):
        """What a hostile neighbour does: an address of this host's inside is sent to it by the wire."""
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        if address.startswith("127."):
            for name in ("all", "eth0"):
                subprocess.run([*inside, "sysctl", "-qw", f"net.ipv4.conf.{name}.route_localnet=1"], check=True)
            self.ip("-n", self.name, "rule", "add", "to", address, "pref", "0", "lookup", "99")
            self.ip("-n", self.name, "rule", "add", "pref", "1", "lookup", "local")
            self.ip("-n", self.name, "rule", "del", "pref", "0", "lookup", "local")
            self.ip("-n", self.name, "route", "add", address, "via", HOST, "dev", "eth0", "src", NEIGHBOUR, "table", "99")
        else:
            self.ip("-n", self.name, "route", "add", address, "via", HOST)

    def end(self):
        subprocess.run(["ip", "-n", self.engine.own_namespace, "link", "delete", "eth0"], check=False)
        subprocess.run(["ip", "netns", "delete", self.name], check=False)


@pytest.fixture
def lan(engines):
    network = Network(engines())
    yield network
    network.end()


def audit(engine, expected=None):
    done = engine.enter(POSTERN, "audit", "--no-declaration", "--docker", engine.socket, "--json")
    assert done.returncode in (0, 1), done.stderr
    found = {(f["kind"], f.get("container") or f.get("network")): f for f in json.loads(done.stdout)["layers"][0]["findings"]}
    if expected is not None:
        assert set(found) == expected
    return found


def test_an_empty_engine_has_nothing_to_tell(engine):
    assert audit(engine) == {}


def test_what_is_published_is_open_to_whom_it_says(lan):
    engine = lan.engine
    engine.network("one")
    engine.network("two")
    engine.network("inside", internal=True)
    web = engine.standin("web", 3000, networks=["one"], ports={"3000/tcp": "0.0.0.0:3000"}, project="monitoring", service="grafana")
    here = engine.standin("here", 9090, networks=["one"], ports={"9090/tcp": "127.0.0.1:9090"}, project="monitoring", service="prometheus")
    at_lan = engine.standin("at-lan", 8080, networks=["two"], ports={"8080/tcp": f"{HOST}:8080"})
    inside = engine.standin("inside", 80, networks=["inside"], ports={"80/tcp": "0.0.0.0:7000"})
    host = engine.standin("on-host", 8123, network="host")
    none = engine.standin("none", 80, network="none")
    found = audit(engine, {("published", "web"), ("published-on-loopback", "here"), ("published-at-address", "at-lan"), ("host-network", "on-host"),
                           ("host-reached", None)})

    published = found["published", "web"]
    assert published["severity"] == "medium" and f"the LAN {LAN} (eth0)" in published["who"]
    assert "3 other containers by any address" in published["who"]  # here, at-lan, on-host; neither inside nor none
    assert lan.answers("lan", HOST, 3000) and lan.answers(at_lan, HOST, 3000) and lan.answers(host, HOST, 3000)
    gateway = engine.api("GET", "/networks/two")["IPAM"]["Config"][0]["Gateway"]
    assert lan.answers(at_lan, gateway, 3000)
    assert not lan.answers(inside, HOST, 3000) and not lan.answers(none, HOST, 3000)

    assert f"the LAN {LAN} (eth0)" in found["published-at-address", "at-lan"]["who"]
    assert lan.answers("lan", HOST, 8080) and lan.answers(web, HOST, 8080)

    # The engine says nothing is published of a container that has internal networks only, whatever was asked for.
    assert not lan.answers("lan", HOST, 7000)

    # Before Docker 28 a neighbour gets to 127.0.0.1, and to the container's own address.
    assert found["published-on-loopback", "here"]["who"] == f"whoever is a neighbour on {LAN} (eth0)"
    assert not lan.answers(at_lan, HOST, 9090)
    address = here.address("one")
    lan.neighbour_routes(address)
    assert lan.answers("lan", address, 9090)
    lan.neighbour_routes("127.0.0.1")
    assert lan.answers("lan", "127.0.0.1", 9090)

    # What the host listens on is open to all of them, from internal networks, too; and the host's container reaches every other.
    reached = found["host-reached", None]
    assert "also those on internal networks only (inside)" in reached["who"] and "tcp 8123 (postern-standin)" in reached["who"]
    inner = engine.api("GET", "/networks/inside")["IPAM"]["Config"][0]["Gateway"]
    assert lan.answers(inside, inner, 8123) and lan.answers(web, HOST, 8123)
    assert "tcp 8123" in found["host-network", "on-host"]["who"]
    assert lan.answers(host, inside.address("inside"), 80)


def test_a_shared_network_lets_through_what_it_says(engine):
    engine.network("proxy")
    engine.network("p_default", labels={"com.docker.compose.project": "p"})
    web = engine.standin("web", 80, networks=["p_default", "proxy"], project="p", service="web")
    other = engine.standin("other", 8000, networks=["proxy"], project="q", service="other")
    loopback = engine.standin("loopback", 5432, address="127.0.0.1", networks=["proxy"], project="r", service="db")
    found = audit(engine, {("shared-network", "proxy")})
    who = found["shared-network", "proxy"]["who"]
    assert "p/web (tcp 80)" in who and "q/other (tcp 8000)" in who and "r/db," in who + ","
    curl = ["curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}"]
    assert other.enter(*curl, f"http://{web.address('proxy')}/").stdout == "200"
    assert web.enter(*curl, f"http://{other.address('proxy')}:8000/").stdout == "200"
    assert web.enter(*curl, f"http://{loopback.address('proxy')}:5432/").stdout == "000"


def test_rights_and_sockets_of_real_containers(engine):
    engine.run("keeper", "sleep", "1000", network="none", mounts=[f"{engine.socket}:/var/run/docker.sock:ro"])
    engine.run("admin", "sleep", "1000", network="none", host_config={"CapAdd": ["NET_ADMIN"]})
    engine.run("looker", "sleep", "1000", network="none", host_config={"PidMode": "host"})
    engine.create("stopped", "sleep", "1000", host_config={"Privileged": True})
    audit(engine, {("docker-socket", "keeper"), ("capability", "admin"), ("host-pid", "looker")})


def test_a_saved_state_says_what_the_engine_says(engine, tmp_path):
    """But for what only the kernel knows."""
    engine.network("proxy")
    engine.standin("first", 80, networks=["proxy"], project="p", service="a", ports={"80/tcp": "0.0.0.0:8001"})
    engine.standin("second", 80, networks=["proxy"], project="q", service="b")
    state = tmp_path / "state.json"
    parts = [engine.api("GET", "/version"), [one.inspect() for one in engine.containers()],
             [engine.api("GET", f"/networks/{one['Id']}") for one in engine.api("GET", "/networks")]]
    state.write_text("\n".join(json.dumps(part) for part in parts))
    done = subprocess.run([POSTERN, "audit", "--no-declaration", "--docker", state, "--json"], capture_output=True, text=True, timeout=60, check=False)
    saved = {(f["kind"], f.get("container") or f.get("network")) for f in json.loads(done.stdout)["layers"][0]["findings"]}
    assert saved == set(audit(engine)) == {("published", "first"), ("shared-network", "proxy")}


def test_init_writes_what_check_takes_from_a_real_engine(engine, tmp_path):
    engine.standin("web", 3000, network="none", project="monitoring", service="grafana")
    engine.standin("quiet", 8000, address="127.0.0.1", network="none")
    engine.run("worker", "sleep", "1000", network="none")
    path = tmp_path / "postern.yml"
    done = engine.enter(POSTERN, "init", "--docker", engine.socket, "-o", path)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert "container: monitoring/grafana, port: 3000" in text and "container: quiet, port: 8000" in text and "# worker:" in text
    assert subprocess.run([POSTERN, "check", path], capture_output=True, timeout=60, check=False).returncode == 0


def test_what_the_host_s_rules_keep_off_is_not_said_to_be_open(lan):
    engine = lan.engine
    one = engine.network("one")
    engine.standin("web", 3000, networks=["one"], ports={"3000/tcp": "0.0.0.0:3000", "80/tcp": "0.0.0.0:8080"})
    engine.standin("api", 22, network="host")
    assert f"the LAN {LAN} (eth0)" in audit(engine)["published", "web"]["who"]

    # One neighbour is let through: the LAN is still whom it is open to.
    engine.enter("iptables", "-I", "DOCKER-USER", "-i", "eth0", "!", "-s", NEIGHBOUR, "-j", "DROP")
    assert lan.answers("lan", HOST, 3000)
    assert f"the LAN {LAN} (eth0)" in audit(engine)["published", "web"]["who"]

    engine.enter("iptables", "-I", "DOCKER-USER", "-i", "eth0", "-j", "DROP")
    assert not lan.answers("lan", HOST, 3000)
    finding = audit(engine)["published", "web"]
    assert finding["severity"] == "low" and finding["who"].startswith("nobody from outside, whom this host's rules stop, and 1 other container")

    # What the host listens on, too: a drop on the bridge ends that finding.
    assert ("host-reached", None) in audit(engine)
    engine.enter("nft", "add table inet mine; add chain inet mine in { type filter hook input priority 0; };"
                 f"add rule inet mine in iifname {one.bridge} drop")
    assert ("host-reached", None) not in audit(engine)
