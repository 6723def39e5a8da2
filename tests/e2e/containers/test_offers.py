"""Services that containers offer by label: only a grant that speaks of labels opens them, and a label takes nobody's name."""
import os
import time

import pytest

from lib import roles
from lib.gateway import HOSTS
from lib.process import wait_until

PORT = 8080
LABELLED = [{"from": "clients", "to": "*", "over": "main", "labelled": True}]


def labels(service, port=PORT, **more):
    return {"postern.service": service, "postern.port": str(port), **{f"postern.{key}": value for key, value in more.items()}}


@pytest.fixture
def serving(engine, gateway):
    def start(services=None, grants=None):
        hosts = {**HOSTS, "gw": {"segment": "prod", "address": ["100.64.0.1", "127.0.0.1"], "gateway": True, "docker": engine.socket}}
        return gateway(services or {}, grants=LABELLED if grants is None else grants, engine=engine.socket, hosts=hosts)
    return start


def asked(gw, service, principal="macbook"):
    answer = gw.get(principal, service)
    return answer.json()["name"] if answer.status == 200 else answer.status


def offers(gw):
    return {(one["service"], one["container"]): one["trouble"] for one in gw.status()["offers"]}


def comes(gw, service, name):
    wait_until(lambda: asked(gw, service) == name, 5, f"{service} is {name}")


def test_a_labelled_container_is_served_without_being_declared(engine, serving):
    gw = serving()
    engine.standin("wiki-1", port=PORT, network="none", labels=labels("wiki"), says="the wiki")
    comes(gw, "wiki", "the wiki")
    engine.standin("chat-web-1", port=PORT, network="none", project="chat", service="web", labels=labels("chat"), says="the chat")
    comes(gw, "chat", "the chat")
    assert offers(gw) == {("wiki", "wiki-1"): "", ("chat", "chat/web"): ""}
    assert gw.records(at_least=1, service="wiki", status=200)[0]["rule"] == "postern.yml:10"


def test_no_grant_that_speaks_of_labels_no_service(engine, serving):
    engine.standin("known", port=PORT, network="none")
    engine.standin("wiki", port=PORT, network="none", labels=labels("wiki"))
    gw = serving({"known": {"host": "gw", "container": "known", "port": PORT}}, [{"from": "clients", "to": "*", "over": "main"}])
    assert asked(gw, "known") == "known"
    time.sleep(0.6)
    assert asked(gw, "wiki") == 404
    assert gw.status()["offers"] == []


def test_a_label_takes_no_name_that_is_declared_or_held(engine, serving):
    engine.standin("real", port=PORT, network="none")
    gw = serving({"grafana": {"host": "gw", "container": "real", "port": PORT}})
    engine.standin("first", port=PORT, network="none", labels=labels("wiki"))
    comes(gw, "wiki", "first")
    engine.standin("thief", port=PORT, network="none", labels=labels("wiki"))
    engine.standin("liar", port=PORT, network="none", labels=labels("grafana"))
    engine.standin("mute", port=PORT, network="none", labels=labels("mute", port="a lot"))
    engine.standin("odd", port=PORT, network="none", labels=labels("odd", protocol="gopher"))
    wait_until(lambda: len(offers(gw)) == 5, 5, "all are seen")
    assert asked(gw, "wiki") == "first" and asked(gw, "grafana") == "real"
    found = offers(gw)
    assert "first offers the name wiki already" in found["wiki", "thief"]
    assert "is that of service grafana (postern.yml:" in found["grafana", "liar"]
    assert "no port" in found["mute", "mute"] and "no port" in found["odd", "odd"]
    assert any("thief" in problem for problem in gw.status()["problems"])
    # Whoever holds it holds it on: while it is away for a moment, and over the end of who keeps the list.
    engine.container("first").stop()
    old = roles.kill(gw.process.pid, "docker")
    roles.wait_restarted(gw.process.pid, "docker", old)
    time.sleep(1)
    assert asked(gw, "wiki") == 503
    engine.container("first").start()
    comes(gw, "wiki", "first")


def test_a_change_of_offers_puts_no_unfinished_declaration_in_force(engine, serving):
    gw = serving()
    engine.standin("one", port=PORT, network="none", labels=labels("one"))
    comes(gw, "one", "one")
    gw.declare(gw.make({}, [{"from": "kobo", "to": "*", "over": "main", "labelled": True}]))
    engine.standin("two", port=PORT, network="none", labels=labels("two"))
    comes(gw, "two", "two")
    assert gw.reload().returncode == 0
    assert asked(gw, "two", "kobo") == "two"


def test_a_crash_loop_among_a_hundred_recompiles_nothing_and_costs_nothing(engine, serving):
    """Fewer than a hundred where a test must be short: the list costs what it costs for each, and is not asked for."""
    n = 12
    for i in range(n):
        engine.run(f"c{i}", "/bin/sleep", "1000", network="none", labels=labels(f"c{i}"))
    engine.standin("web", port=PORT, network="none", labels=labels("web"))
    gw = serving()
    comes(gw, "web", "web")
    engine.run("mad", "/bin/sh", "-c", "sleep 0.5", network="none", restart="always", labels=labels("mad"))
    wait_until(lambda: ("mad", "mad") in offers(gw), 5, "it is seen")
    docker = roles.pid_of(gw.process.pid, "docker")

    def used():
        with open(f"/proc/{docker}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    generation, before, began = gw.status()["generation"], used(), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 6, 10, "a while")
    share = (used() - before) / (time.monotonic() - began)
    assert share < 0.01, f"{share:.2%} of a core"
    assert gw.status()["generation"] == generation
    assert asked(gw, "web") == "web"
