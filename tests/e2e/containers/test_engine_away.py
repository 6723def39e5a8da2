"""What runs is served on while dockerd is gone, hangs or was never there; what changed meanwhile is known when it is back."""
import os
import time

import pytest

from lib import roles
from lib.gateway import HOSTS
from lib.process import wait_until

PORT = 8080


def at(container, **more):
    return {"host": "gw", "container": container, "port": PORT, **more}


def hosts_with(socket):
    return {**HOSTS, "gw": {"segment": "prod", "address": ["100.64.0.1", "127.0.0.1"], "gateway": True, "docker": socket}}


def asked(gw, service):
    answer = gw.get("macbook", service)
    return answer.json()["name"] if answer.status == 200 else answer.status


def shown(gw, container):
    return next(one for one in gw.status()["containers"] if one["container"] == container)


def engine_status(gw):
    return gw.status()["engine"]["status"]


def test_without_an_engine_everything_else_is_served_and_containers_are_when_it_comes(engines, gateway, standin, directory):
    engine = engines()
    engine.standin("web", port=PORT, network="none", restart="always")
    engine.stop()
    app = standin("app")
    gw = gateway({"app": {**app.declaration(), "address": "127.0.0.1"}, "web": at("web")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    assert asked(gw, "app") == "app"
    began = time.monotonic()
    assert asked(gw, "web") == 503
    assert time.monotonic() - began < 1, "nobody waits for an engine that isn't there"
    assert engine_status(gw) == "away"
    assert any("no engine listens there" in problem for problem in gw.status()["problems"])
    assert gw.process.err().count("no engine listens there") == 1, "said once"
    engine.start()
    wait_until(lambda: asked(gw, "web") == "web", 5, "the container is found")
    assert engine_status(gw) == "there"


def test_containers_outlive_dockerd_and_are_served_all_the_while(engines, gateway):
    engine = engines(live_restore=True)
    for name in ("web", "other"):
        engine.standin(name, port=PORT, network="none")
    gw = gateway({"web": at("web"), "other": at("other")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    assert [asked(gw, name) for name in ("web", "other")] == ["web", "other"]
    other = engine.container("other").pid
    engine.kill()
    wait_until(lambda: engine_status(gw) == "away", what="the engine is missed")
    assert asked(gw, "web") == "web"
    old = roles.kill(gw.process.pid, "docker")
    roles.wait_restarted(gw.process.pid, "docker", old)
    assert asked(gw, "web") == "web", "whoever looks for containers is new, and has no engine to ask: the broker has what it was given"
    # One that ends now is known to have ended, by nobody's word but the kernel's.
    os.kill(other, 9)
    wait_until(lambda: asked(gw, "other") in (502, 503), 5, "it is an error")
    engine.start()
    wait_until(lambda: engine_status(gw) == "there", what="the engine is back")
    engine.container("web").restart()
    assert wait_until(lambda: asked(gw, "web") == "web", 5, "followed again")


def test_a_dockerd_that_hangs_keeps_nobody_waiting(engines, gateway):
    engine = engines()
    engine.standin("web", port=PORT, network="none")
    gw = gateway({"web": at("web"), "new": at("new")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    assert asked(gw, "web") == "web"
    engine.pause()
    try:
        for _ in range(5):
            assert asked(gw, "web") == "web"
        began = time.monotonic()
        assert asked(gw, "new") == 503
        assert time.monotonic() - began < 4
    finally:
        engine.resume()
    engine.standin("new", port=PORT, network="none")
    wait_until(lambda: asked(gw, "new") == "new", 5, "events come again")


def test_what_changed_while_dockerd_was_away_is_known_when_it_is_back(engines, gateway):
    """Without live restore: dockerd takes its containers along, and starts those again that want it."""
    engine = engines()
    engine.standin("web", port=PORT, network="none", restart="always")
    gw = gateway({"web": at("web")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    assert asked(gw, "web") == "web"
    first = shown(gw, "web")["id"]
    engine.stop()
    wait_until(lambda: asked(gw, "web") in (502, 503), 5, "gone with it")
    engine.start()
    wait_until(lambda: asked(gw, "web") == "web", 5, "found again")
    assert shown(gw, "web")["id"] == first
    assert shown(gw, "web")["starts"] == 2


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_crash_loop_costs_next_to_nothing_and_is_looked_at_less_and_less(engine, gateway):
    engine.run("mad", "/bin/sh", "-c", "sleep 0.3", network="none", restart="always", project="stack", service="mad")
    engine.standin("web", port=PORT, network="none", project="stack", service="web")
    gw = gateway({"mad": at("stack/mad"), "web": at("stack/web")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    wait_until(lambda: shown(gw, "stack/mad")["status"] == "waiting" and shown(gw, "stack/mad")["starts"] >= 3, 30, "it is seen through")
    assert any("again and again" in problem for problem in gw.status()["problems"])
    assert asked(gw, "web") == "web"
    docker = roles.pid_of(gw.process.pid, "docker")
    before, began = cpu_s(docker), time.monotonic()
    starts = shown(gw, "stack/mad")["starts"]
    wait_until(lambda: time.monotonic() - began > 6, 10, "a while")
    used = (cpu_s(docker) - before) / (time.monotonic() - began)
    assert used < 0.01, f"{used:.2%} of a core"
    assert shown(gw, "stack/mad")["starts"] - starts < 6
    assert asked(gw, "web") == "web"


def test_one_that_was_taken_for_a_crash_loop_is_found_by_who_asks_for_it(engine, gateway):
    """It ended a few times and now it stays: nobody has to wait until it would be looked at by itself."""
    container = engine.standin("web", port=PORT, network="none")
    gw = gateway({"web": at("web")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    assert asked(gw, "web") == "web"
    for _ in range(8):
        container.restart()
        wait_until(lambda: asked(gw, "web") == "web", 3, "served again")


@pytest.mark.parametrize("n", [40])
def test_a_burst_of_changes_is_followed_to_its_end(engine, gateway, n):
    gw = gateway({"web": at("web")}, engine=engine.socket, hosts=hosts_with(engine.socket))
    for i in range(n):
        one = engine.create("web", "/bin/true" if i < n - 1 else "/bin/postern-standin", *(() if i < n - 1 else (
            "--name", "last", "--host", "it", "--listen", f"0.0.0.0:{PORT}")), network="none")
        if i < n - 1:
            one.remove()
        else:
            one.start()
    wait_until(lambda: asked(gw, "web") == "last", 5, "the last of them")
