"""Access that is taken away ends with the change, not with the connection."""
import os
import sys
import time

import pytest

from isolation.host import HERE, INTERNET, MESH
from lib.process import Process, needs, wait_until

SERVICES = {"grafana": "monitoring/grafana", "prometheus": "monitoring/prometheus", "notes": "notes/app"}
INTERNET_GRANT = {"from": "grafana", "to": "internet"}
SURFACE_GRANT = {"from": "grafana", "to": "notes", "over": "main"}
PORT_GRANT = {"from": "grafana", "to": "prometheus:9090"}


@pytest.fixture
def monitoring(host):
    host.network("monitoring")
    host.grafana = host.container("monitoring", "grafana")
    host.prometheus = host.container("monitoring", "prometheus")
    return host


class Talk:
    def __init__(self, host, container, address, port):
        self.process = Process(f"talk-{address}-{port}", container.command(sys.executable, os.path.join(HERE, "talk.py"), address, port), host.directory)
        host.processes.append(self.process)
        wait_until(lambda: self.count() > 3, 5, "it talks")

    def count(self):
        return self.process.out().count("\n")

    def goes_on(self):
        before = self.count()
        try:
            wait_until(lambda: self.count() > before + 3, 1)
        except AssertionError:
            return False
        return True


def declare(host, *grants):
    host.declare(SERVICES, grants, {"monitoring": {"mode": "enforce", "inside": "declared"}})


@needs("conntrack")
def test_a_running_download_is_cut_and_its_tracked_connection_is_gone(monitoring):
    declare(monitoring, INTERNET_GRANT)
    monitoring.applied()
    talk = Talk(monitoring, monitoring.grafana, INTERNET, 80)
    tracked = ["conntrack", "-L", "-s", monitoring.grafana.address(), "-d", INTERNET]
    assert "ESTABLISHED" in monitoring.run(*tracked).stdout
    declare(monitoring)
    said = monitoring.applied()
    assert "1 tracked connection cut" in said
    assert "ESTABLISHED" not in monitoring.run(*tracked).stdout
    assert not talk.goes_on()


@pytest.mark.parametrize("bridge_calls", [1, 0])
def test_connections_to_the_gateway_and_to_another_container_end_too(monitoring, bridge_calls):
    monitoring.set_bridge_calls(bridge_calls)
    declare(monitoring, SURFACE_GRANT, PORT_GRANT)
    monitoring.applied()
    talks = [Talk(monitoring, monitoring.grafana, MESH, 443), Talk(monitoring, monitoring.grafana, monitoring.prometheus.address(), 9090)]
    declare(monitoring, SURFACE_GRANT)
    monitoring.applied()
    assert talks[0].goes_on() and not talks[1].goes_on()
    declare(monitoring)
    monitoring.applied()
    assert not talks[0].goes_on()


def test_what_is_still_granted_goes_on(monitoring):
    declare(monitoring, INTERNET_GRANT, PORT_GRANT)
    monitoring.applied()
    talks = [Talk(monitoring, monitoring.grafana, INTERNET, 80), Talk(monitoring, monitoring.grafana, monitoring.prometheus.address(), 9090)]
    declare(monitoring, INTERNET_GRANT, PORT_GRANT, SURFACE_GRANT)
    monitoring.applied()
    assert all(talk.goes_on() for talk in talks)


def test_what_others_opened_to_a_container_goes_on_and_may_begin(monitoring):
    talk = Process("talk-in", ["nsenter", f"--net=/run/netns/{monitoring.host}", sys.executable, os.path.join(HERE, "talk.py"),
                               monitoring.grafana.address(), "8000"], monitoring.directory)
    monitoring.processes.append(talk)
    wait_until(lambda: talk.out().count("\n") > 3, 5, "it talks")
    declare(monitoring)
    monitoring.applied()
    before = talk.out().count("\n")
    wait_until(lambda: talk.out().count("\n") > before + 3, 2, "it goes on")
    assert monitoring.reaches(monitoring.host, "tcp", monitoring.grafana.address(), 9090)


def test_the_watch_cuts_what_is_taken_away(monitoring):
    declare(monitoring, INTERNET_GRANT)
    monitoring.watch()
    talk = Talk(monitoring, monitoring.grafana, INTERNET, 80)
    declare(monitoring)
    began = time.monotonic()
    monitoring.applied()
    assert not talk.goes_on()
    assert time.monotonic() - began < 5
