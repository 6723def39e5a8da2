"""The home lab's Compose files: what postern.yml says of containers is so in them, real Compose reads them, and the tests make what Compose makes."""
import os
import subprocess

import pytest
import yaml

from lib import compose
from lib.process import needs, wait_until

HOSTS = ["roc", "bluejay"]

with open(os.path.join(compose.HOMELAB, "postern.yml"), encoding="utf-8") as file:
    DECLARATION = yaml.safe_load(file)


def declared():
    """{(host, "project/service"): port} of every service in a container."""
    found = {}
    for service in DECLARATION["services"].values():
        for host in service["host"] if isinstance(service["host"], list) else [service["host"]]:
            if "container" in service:
                found[host, service["container"]] = service["direct"].split("/")[1] + "/udp" if "direct" in service else str(service["port"])
    return found


def in_files():
    """{(host, "project/service"): service} of every service of a file."""
    return {(host, f"{project}/{name}"): service for host in HOSTS for project, path in compose.files(host).items()
            for name, service in compose.read(path)[1].items()}


def test_the_containers_that_are_declared_are_those_of_the_files():
    assert set(declared()) == set(in_files())


def test_each_exposes_the_port_that_is_declared_and_publishes_none():
    ports = declared()
    for key, service in in_files().items():
        assert "ports" not in service, key
        assert [str(port) for port in service["expose"]] == [ports[key]], key


def test_only_who_is_granted_something_outside_its_project_has_a_network_that_leads_out():
    askers = set()
    for grant in DECLARATION["grants"]:
        granted = grant["to"] if isinstance(grant["to"], list) else [grant["to"]]
        names = grant["from"] if isinstance(grant["from"], list) else [grant["from"]]
        if "internet" in granted or "over" in grant:
            askers |= {DECLARATION["services"][name]["container"] for name in names if "container" in DECLARATION["services"].get(name, {})}
    leads_out = set()
    for host in HOSTS:
        for project, path in compose.files(host).items():
            _, services, networks = compose.read(path)
            leads_out |= {f"{project}/{name}" for name, service in services.items() if service.get("network_mode") != "none"
                          and any(not (networks[key] or {}).get("internal") for key in service["networks"])}
    assert leads_out == askers


@needs("docker-compose")
@pytest.mark.parametrize("host", HOSTS)
def test_compose_itself_reads_the_files(host):
    files = [word for path in compose.files(host).values() for word in ("-f", path)]
    done = subprocess.run(["docker-compose", *files, "config", "-q"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def shape(engine, project):
    """What of a project's containers and networks matters to postern."""
    containers, networks = {}, {}
    for container in engine.containers():
        seen = container.inspect()
        labels = seen["Config"]["Labels"]
        if labels.get("com.docker.compose.project") == project:
            key = f"{project}/{labels['com.docker.compose.service']}#{labels['com.docker.compose.container-number']} {labels['com.docker.compose.oneoff']}"
            attached = {name: labels["com.docker.compose.service"] in (one["Aliases"] or []) for name, one in seen["NetworkSettings"]["Networks"].items()}
            containers[key] = (seen["HostConfig"]["NetworkMode"], attached, seen["HostConfig"]["PortBindings"] or {}, seen["State"]["Running"],
                               set(seen["Config"]["ExposedPorts"]), seen["HostConfig"]["RestartPolicy"]["Name"])
    for one in engine.api("GET", "/networks"):
        if one["Labels"].get("com.docker.compose.project") == project:
            networks[one["Name"]] = (one["Internal"], one["Labels"]["com.docker.compose.network"], one["Driver"])
    return containers, networks


@needs("docker-compose")
@pytest.mark.parametrize("project", ["monitoring", "vault", "recipes"])
def test_the_tests_make_of_a_file_what_compose_makes_of_it(engine, project):
    path = compose.files("roc")[project]
    engine.image(compose.IMAGE, {"/bin/postern-standin": compose.STANDIN})
    environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}"}
    done = subprocess.run(["docker-compose", "-f", path, "up", "-d"], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    theirs = shape(engine, project)
    engine.clear()
    compose.up(engine, path)
    assert shape(engine, project) == theirs and theirs[0]


def test_a_service_in_a_container_answers_where_it_is_declared(engine):
    containers = {**compose.up(engine, compose.files("roc")["monitoring"]), **compose.up(engine, compose.files("roc")["vault"])}
    for name, port in (("grafana", 3000), ("prometheus", 9090), ("vaultwarden", 8080)):
        url = f"http://127.0.0.1:{port}/"
        wait_until(lambda: name[:5] in containers[name].enter("curl", "--silent", url).stdout, what=f"{name} answers")
    refused = containers["grafana"].enter("curl", "--silent", f"http://{containers['prometheus'].address('monitoring_inside')}:3000/")
    assert refused.returncode == 7  # there, and nothing listens
