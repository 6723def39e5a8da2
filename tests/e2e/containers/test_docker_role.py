"""postern-docker with a real engine behind a whole gateway: containers found, reached, followed, and never taken for one another."""
import pytest

from lib.process import wait_until

PORT = 8080


def at(container, **more):
    """A service in that container, bound to the loopback of its namespace or not."""
    return {"host": "gw", "container": container, "port": PORT, "loopback": True, **more}


def name_of(gw, service, **arguments):
    answer = gw.get("macbook", service, **arguments)
    return answer.json()["name"] if answer.status == 200 else answer.status


def test_a_container_without_a_network_is_served(engine, gateway):
    engine.standin("web", port=PORT, address="127.0.0.1", network="none")
    gw = gateway({"web": at("web")}, engine=engine.socket)
    assert name_of(gw, "web") == "web"
