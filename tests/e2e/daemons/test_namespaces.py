"""Services inside network namespaces, through a whole gateway: served, followed when replaced, and never confused with the host."""
import subprocess

import pytest

from lib.process import STANDIN, Process, wait_until

PORT = 8080


@pytest.fixture
def serve(directory):
    """serve(namespace, name): a stand-in inside it, on its loopback only."""
    started = []

    def start(namespace, name):
        one = Process(f"{name}-{len(started)}", ["ip", "netns", "exec", namespace.name, STANDIN, "--name", name, "--host", "gw", "--listen", f"127.0.0.1:{PORT}"],
                      directory)
        started.append(one)
        wait_until(lambda: "\n" in one.out(), what=f"{name} listens")
        return one

    yield start
    for one in started:
        one.stop()


def test_a_service_on_the_loopback_of_a_namespace_is_served_and_followed(namespace, serve, gateway):
    inside = namespace()
    first = serve(inside, "first")
    gw = gateway({"app": {"host": "gw", "netns": inside.path, "port": PORT, "loopback": True}}, [{"from": "clients", "to": "app", "over": "main"}])
    assert gw.get("macbook", "app").json()["name"] == "first"
    first.stop()
    inside.remove()
    wait_until(lambda: gw.get("macbook", "app").status in (502, 503), what="an error while it is gone", interval_s=0.1)
    inside.make()
    serve(inside, "second")
    answer = wait_until(lambda: (got := gw.get("macbook", "app")).status == 200 and got, what="the new one", interval_s=0.2)
    assert answer.json()["name"] == "second"


def test_a_service_of_a_namespace_does_not_see_the_gateway_as_localhost(namespace, serve, gateway):
    """With an address of the mesh that is none of loopback's, as every real gateway has."""
    inside = namespace()
    serve(inside, "app")
    hosts = {"gw": {"segment": "prod", "address": "127.0.0.1", "gateway": True}, "macbook": {"segment": "clients", "address": "127.0.0.13"},
             "robin": {"segment": "ai", "address": "127.0.0.3"}}
    gw = gateway({"app": {"host": "gw", "netns": inside.path, "port": PORT}}, [{"from": "clients", "to": "app", "over": "main"}], hosts=hosts)
    # On trial with 127.0.0.1 as the mesh's address there is nothing to dial from: refused rather than dialled as localhost.
    assert gw.get("macbook", "app").status in (502, 503)
    wait_until(lambda: "only its loopback" in gw.process.err(), what="the reason")


def test_the_hosts_own_namespace_serves_nothing(gateway, standin):
    app = standin("app")
    gw = gateway({"app": {"host": "gw", "netns": "/proc/1/ns/net", "port": app.port, "loopback": True}},
                 [{"from": "clients", "to": "app", "over": "main"}])
    assert gw.get("macbook", "app").status in (502, 503)


def test_a_killed_broker_forgets_no_namespace(namespace, serve, gateway):
    inside = namespace()
    serve(inside, "app")
    gw = gateway({"app": {"host": "gw", "netns": inside.path, "port": PORT, "loopback": True}}, [{"from": "clients", "to": "app", "over": "main"}])
    broker = next(role for role in gw.status()["roles"] if role["role"] == "broker")
    subprocess.run(["kill", "-KILL", str(broker["pid"])], check=True)
    for _ in range(10):
        assert gw.get("macbook", "app").status == 200
