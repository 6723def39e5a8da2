"""The homelab's truth table, row by row, each tried from the network namespace of who asks (examples/homelab/postern.yml)."""
import json
import os
import re
import subprocess

import pytest
import yaml

from lib.lab import Lab

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
DECLARATION = os.path.join(ROOT, "examples", "homelab", "postern.yml")
DOMAIN = "home.example"
CLIENTS = ["iphone", "kobo", "macbook"]
PROD = {"roc": ["100.64.0.1", "fd7a:115c:a1e0::1"], "bluejay": ["100.64.0.2", "fd7a:115c:a1e0::2"]}
ROBIN = ["100.64.0.3", "fd7a:115c:a1e0::3"]
CLIENT_ADDRESSES = {"iphone": "100.64.0.11", "kobo": "100.64.0.12", "macbook": "100.64.0.13"}
LAN = {"roc": "192.168.1.10", "bluejay": "192.168.1.11", "robin": "192.168.1.12"}

with open(DECLARATION, encoding="utf-8") as file:
    SERVICES = yaml.safe_load(file)["services"]
WEB = {name: service for name, service in SERVICES.items() if "direct" not in service and not service.get("internal")}
FOR_AGENTS = [name for name in WEB if name == "registry" or name.startswith("mcp-")]


def hosts_of(name):
    host = SERVICES[name]["host"]
    return host if isinstance(host, list) else [host]


@pytest.fixture(scope="module")
def lab():
    lab = Lab(DECLARATION)
    lab.up()
    yield lab
    lab.down()


@pytest.fixture(autouse=True)
def logs_of_a_failure(lab, request):
    """What the gateways said goes into a failed test's report."""
    class Logs:
        describe = staticmethod(lab.logs)
    request.node._postern_things = [Logs()]


def statuses(lab, host, urls, *options):
    """One curl for all of them: {url: (status, who answered)}."""
    arguments = []
    for url in urls:
        arguments += ["--output", "/dev/null", url]
    done = lab.exec(host, "curl", "--silent", "--max-time", "20", *options, "--write-out", "%{url_effective} %{http_code} %header{stand-in}\n", *arguments)
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    return {url.rstrip("/"): (status, who) for url, status, who in lines}


# ---- all of it at once ----

def try_all(lab, declaration=DECLARATION):
    done = lab.command("try", "-n", lab.name, "--json", str(declaration))
    return done.returncode, json.loads(done.stdout)


def test_every_path_there_is_comes_out_as_declared(lab):
    status, rows = try_all(lab)
    assert [row for row in rows if not row["holds"]] == [] and status == 0
    assert len(rows) > 500 and {row["from"] for row in rows} == {"roc", "bluejay", "robin", *CLIENTS, "lan-guest"}


def test_what_is_not_as_declared_is_told_and_nothing_else(lab, directory):
    """The lab is held to another declaration than the one it came up with: what differs must show, on exactly those paths."""
    path = os.path.join(directory, "postern.yml")
    with open(DECLARATION, encoding="utf-8") as file:
        text = file.read()
    changed = text.replace("to: [registry, mcp-*], over: agents", "to: [mcp-*, grafana], over: agents")
    assert changed != text
    changed = re.sub(r"(?s)\nexpect:.*", "\n", changed)
    with open(path, "w", encoding="utf-8") as file:
        file.write(changed)
    status, rows = try_all(lab, path)
    wrong = [row for row in rows if not row["holds"]]
    assert status == 1 and {row["from"] for row in wrong} == {"robin"}
    assert {re.match(r"https://(registry|grafana)(-roc)?\.home\.example:8443", row["asks"]).group(1) for row in wrong} == {"registry", "grafana"}
    assert {row["measured"] for row in wrong if "grafana" in row["asks"]} == {"404"}


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the mesh's rules away, as root")
def test_rules_that_are_gone_are_noticed():
    """The mesh's filter flushed behind the lab's back: the hosts' own firewalls still hold; what only the mesh protects does not."""
    lab = Lab(DECLARATION)
    lab.up()
    try:
        subprocess.run(["nsenter", "--target", str(lab.supervisor), "--net", "nft", "delete", "table", "inet", "postern_mesh"], check=True)
        status, rows = try_all(lab)
        wrong = [row for row in rows if not row["holds"]]
        assert status == 1 and {row["asks"].split(":")[0].split(" ")[0] for row in wrong} == {"robin"}, "only robin, which runs no firewall of ours"
        assert ("iphone", "robin:9000") in {(row["from"], row["asks"]) for row in wrong}
    finally:
        lab.down()


# ---- clients, through a gateway ----

@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_clients_reach_every_web_service_on_443(lab, client, protocol):
    urls = [f"https://{name}.{DOMAIN}" for name in WEB]
    answers = statuses(lab, client, urls, protocol)
    for name in WEB:
        status, who = answers[f"https://{name}.{DOMAIN}"]
        assert status == "200" and who.split("@")[0] == name and who.split("@")[1] in hosts_of(name), f"{name}: {status} {who}"


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_backrest_is_any_of_its_instances_or_that_one(lab, family):
    answers = statuses(lab, "macbook", [f"https://{name}.{DOMAIN}" for name in ("backrest", "backrest-roc", "backrest-bluejay")], family)
    assert answers[f"https://backrest.{DOMAIN}"][1] in ("backrest@roc", "backrest@bluejay")
    assert answers[f"https://backrest-roc.{DOMAIN}"] == ("200", "backrest@roc")
    assert answers[f"https://backrest-bluejay.{DOMAIN}"] == ("200", "backrest@bluejay")


def test_service_learns_who_asks_from_the_connection_alone(lab):
    forged = ["-H", "X-Forwarded-For: 100.64.0.1", "-H", "Postern-Host: roc", "-H", "Postern-Segment: prod"]
    seen = lab.curl("iphone", f"https://grafana.{DOMAIN}/", "-4", *forged).stdout
    assert '["X-Forwarded-For","100.64.0.11"]' in seen and '["Postern-Host","iphone"]' in seen and '["Postern-Segment","clients"]' in seen
    assert '"100.64.0.1"' not in seen.split('"headers"')[1].split('"trailers"')[0] and '"prod"' not in seen


def test_clients_upload_to_whisper_on_the_agents_machine_through_the_gateway(lab, directory):
    path = os.path.join(directory, "speech.wav")
    with open(path, "wb") as file:
        file.truncate(20_000_000)
    answer = lab.curl("macbook", f"https://whisper.{DOMAIN}/upload", "--upload-file", path).stdout
    assert '"name":"whisper","host":"robin"' in answer and '"body_length":20000000' in answer


def test_event_stream_of_the_agents_machine_arrives(lab):
    answer = lab.curl("kobo", f"https://opencode.{DOMAIN}/events?n=5&interval_ms=20", "--no-buffer").stdout
    assert answer.count("data:") == 5


@pytest.mark.parametrize("client", CLIENTS)
def test_plain_http_is_sent_to_https_whatever_the_name(lab, client):
    for name in ("grafana", "no-such-service"):
        if name == "grafana":
            shown = lab.curl(client, f"http://{name}.{DOMAIN}/a?b", "--head").stdout
        else:
            shown = lab.curl(client, f"http://{name}.{DOMAIN}/a?b", "--head", "--connect-to", "::roc:80").stdout
        assert " 308 " in shown.splitlines()[0] and f"https://{name}.{DOMAIN}/a?b" in shown, shown


# ---- clients, past a gateway ----

@pytest.mark.parametrize("client", CLIENTS)
def test_clients_reach_no_other_port_of_a_prod_host(lab, client):
    ports = [5432, 3000, 9898, 2375, 8443, 41641] + ([] if client == "macbook" else [22])
    assert lab.not_shut(client, PROD["roc"] + PROD["bluejay"], ports) == []


@pytest.mark.parametrize("client", ["iphone", "macbook"])
def test_game_is_reached_by_who_may(lab, client):
    for address in PROD["bluejay"]:
        assert lab.port(client, address, 30000, "udp").startswith("open luanti@bluejay")


@pytest.mark.parametrize("who", ["kobo", "robin", "roc"])
def test_game_is_not_reached_by_others(lab, who):
    assert lab.not_shut(who, PROD["bluejay"], [30000], "udp") == []


def test_macbook_reaches_ssh_on_every_host(lab):
    for host, addresses in {**PROD, "robin": ROBIN}.items():
        for address in addresses:
            assert lab.port("macbook", address, 22).startswith(f"open port-22@{host}")


@pytest.mark.parametrize("client", ["iphone", "kobo"])
def test_nobody_else_reaches_ssh(lab, client):
    assert lab.not_shut(client, PROD["roc"] + PROD["bluejay"] + ROBIN, [22]) == []


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_never_reach_the_agents_machine_directly(lab, client):
    assert lab.not_shut(client, ROBIN, [4096, 9000]) == []


# ---- the LAN ----

def test_nothing_is_served_on_the_lan(lab):
    assert lab.not_shut("lan-guest", [LAN["roc"], LAN["bluejay"]], [22, 80, 443, 8443, 3000, 9898]) == []
    assert lab.not_shut("lan-guest", [LAN["bluejay"]], [30000], "udp") == []


def test_lan_guest_does_not_get_round_by_a_mesh_address(lab):
    assert lab.not_shut("lan-guest", ["100.64.0.1", "100.64.0.2"], [443, 8443, 80, 22]) == []


def test_lan_guest_that_forges_a_mesh_address_is_dropped(lab):
    forge = "ip addr add 100.64.0.13/32 dev lo; "
    done = lab.exec("lan-guest", "sh", "-c", forge + "curl --silent --output /dev/null --max-time 2 --interface 100.64.0.13 -4 "
                    f"https://grafana.{DOMAIN}/; echo $?; ip addr del 100.64.0.13/32 dev lo")
    assert done.stdout.strip() in ("7", "28"), done.stdout + done.stderr


def test_robin_does_not_reach_prod_by_the_lan(lab):
    assert lab.not_shut("robin", [LAN["roc"], LAN["bluejay"]], [22, 80, 443, 8443]) == []


# ---- agents ----

@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_robin_reaches_the_registry_and_the_mcp_servers_on_8443(lab, family, protocol):
    assert len(FOR_AGENTS) >= 4
    answers = statuses(lab, "robin", [f"https://{name}.{DOMAIN}:8443" for name in FOR_AGENTS], family, protocol)
    for name in FOR_AGENTS:
        assert answers[f"https://{name}.{DOMAIN}:8443"] == ("200", f"{name}@roc"), name


def test_robin_gets_the_same_404_whether_the_name_exists_or_not(lab):
    def answer(name):
        done = lab.curl("robin", f"https://{name}.{DOMAIN}:8443/", "--http1.1", "--include", "--connect-to", "::roc:8443")
        identity = re.search(r"(?mi)^postern-request-id: (\S+)", done.stdout).group(1)
        text = re.sub(r"(?mi)^date: .*$", "date:", done.stdout).replace(identity, "ID")
        return len(done.stdout), text

    length, expected = answer("no-such-service")
    assert " 404 " in expected.splitlines()[0]
    for name in ["grafana", "notes", "vault", "home", "whisper", "opencode", "notes-db", "luanti", "backrest", "backrest-roc", "roc", "x" * 60]:
        assert answer(name) == (length, expected), name


def test_robin_reaches_no_other_port_of_a_prod_host(lab):
    assert lab.not_shut("robin", PROD["roc"] + PROD["bluejay"], [22, 80, 443, 3000, 5432, 9898]) == []


def test_robin_does_not_reach_clients(lab):
    assert lab.not_shut("robin", list(CLIENT_ADDRESSES.values()), [22, 443]) == []


def test_clients_are_no_guests_of_the_agents_surface_and_robin_none_of_theirs(lab):
    assert lab.http_status("macbook", f"https://registry.{DOMAIN}:8443/") == "000"
    assert lab.http_status("robin", f"https://registry.{DOMAIN}/") == "000"


# ---- gateways ----

@pytest.mark.parametrize("gateway", ["roc", "bluejay"])
def test_gateways_reach_the_two_services_on_robin_and_nothing_else_there(lab, gateway):
    for address in ROBIN:
        bracketed = f"[{address}]" if ":" in address else address
        for port, name in ((4096, "opencode"), (9000, "whisper")):
            assert f'"name":"{name}","host":"robin"' in lab.curl(gateway, f"http://{bracketed}:{port}/").stdout
    assert lab.not_shut(gateway, ROBIN, [22, 8080]) == []


def test_database_is_served_to_nobody(lab):
    for client in CLIENTS:
        assert lab.http_status(client, f"https://notes-db.{DOMAIN}/", "--connect-to", "::roc:443") == "404"
    assert lab.http_status("robin", f"https://notes-db.{DOMAIN}:8443/", "--connect-to", "::roc:8443") == "404"


# ---- containers ----

def test_no_container_port_is_published_on_its_host(lab):
    published = lab.exec("roc", "ss", "-Hltn").stdout
    listening = {int(line.split()[3].rsplit(":", 1)[1]) for line in published.splitlines()}
    spoken_of = {22, 3000, 5432}  # the lab listens there itself, so that what refuses is the network
    assert listening - spoken_of == {80, 443, 8443}


def test_containers_do_not_reach_each_other_nor_out(lab):
    links = [line.split(": ")[1] for line in lab.exec("roc/monitoring/grafana", "ip", "-o", "link").stdout.splitlines()]
    assert links == ["lo"]
    for address, port in (("100.64.0.1", 443), ("100.64.0.3", 9000), ("192.168.1.10", 443), ("fd7a:115c:a1e0::1", 443)):
        assert lab.port("roc/monitoring/grafana", address, port).split()[0] in ("refused", "nothing-listens"), address
    assert "grafana" in lab.curl("roc/monitoring/grafana", "http://127.0.0.1:3000/").stdout


def test_service_in_a_container_does_not_take_the_gateway_for_localhost(lab):
    answer = lab.curl("macbook", f"https://grafana.{DOMAIN}/").stdout
    peer = re.search(r'"peer":"([^"]+)"', answer).group(1)
    assert peer not in ("127.0.0.1", "::1") and peer in PROD["roc"]
