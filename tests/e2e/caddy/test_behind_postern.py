"""postern's restricted surface before a Caddy that stays as it is: a new user starts with the agents' gate alone and keeps the rest."""
import os
import socket

import pytest

from lib.process import Process, needs, wait_until

pytestmark = needs("caddy")

CADDYFILE = """{{
	admin off
	auto_https off
	storage file_system {directory}/caddy-storage
}}
http://registry.home.example:{port} {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{registry} {{
		trusted_proxies 127.0.0.1/32
	}}
}}
http://grafana.home.example:{port} {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{grafana}
}}
"""


@pytest.fixture
def caddy(directory, standin, free_port):
    registry, grafana, port = standin("registry"), standin("grafana"), free_port()
    path = os.path.join(directory, "Caddyfile")
    with open(path, "w", encoding="ascii") as file:
        file.write(CADDYFILE.format(directory=directory, port=port, registry=registry.port, grafana=grafana.port))
    process = Process("caddy", ["caddy", "run", "--config", path, "--adapter", "caddyfile"], directory)

    def listens():
        assert process.running(), process.describe()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    wait_until(listens, 20, "Caddy listens")
    yield port
    process.stop()


def test_names_and_identity_reach_what_is_behind_caddy(caddy, gateway):
    gw = gateway({"registry": {"host": "gw", "port": caddy}, "grafana": {"host": "gw", "port": caddy}},
                 [{"from": "ai", "to": "registry", "over": "agents"}], {"agents": {}})
    answer = gw.get("robin", "registry", "/v2/", surface="agents")
    assert answer.status == 200 and answer.json()["name"] == "registry"
    assert answer.seen["host"][0].startswith("registry.home.example")
    assert answer.seen["postern-host"] == ["robin"] and answer.seen["postern-segment"] == ["ai"]
    assert answer.seen["x-forwarded-for"][0].startswith("127.0.0.3")
    assert gw.get("robin", "grafana", surface="agents").status == 404
