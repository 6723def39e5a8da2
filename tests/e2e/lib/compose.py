"""Compose projects on an engine of a test's: what "docker compose up" makes of a file, by the engine's API.

    up(engine, "examples/homelab/roc/monitoring/compose.yml")   {service: Container}, started; the project is the directory's name
    homelab(engine, "roc")                                      all projects of that host: {"monitoring/grafana": Container}
Only what those files use is understood; anything else is an error, so that nothing is left out in silence."""
import glob
import os

import yaml

from lib.engine import Container, Network, compose_labels
from lib.process import STANDIN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOMELAB = os.path.join(ROOT, "examples", "homelab")
IMAGE = "postern-standin"
SERVICE_KEYS = {"image", "command", "expose", "network_mode", "networks", "restart", "environment", "labels", "container_name", "ports"}
NETWORK_KEYS = {"internal", "name", "driver_opts", "ipam"}


def read(path):
    """(project, services, networks) of a file, checked to hold nothing that is not understood here."""
    with open(path, encoding="utf-8") as text:
        document = yaml.safe_load(text)
    services, networks = document["services"], document.get("networks") or {}
    unknown = set(document) - {"name", "services", "networks"}
    for service in services.values():
        unknown |= set(service) - SERVICE_KEYS
    for network in networks.values():
        unknown |= set(network or {}) - NETWORK_KEYS
    assert not unknown, f"{path}: not understood: {', '.join(sorted(unknown))}"
    return document.get("name") or os.path.basename(os.path.dirname(os.path.abspath(path))), services, networks


def _networks_of(service):
    """The keys of its networks, with its aliases on each."""
    wanted = service.get("networks") or ["default"]
    return {key: (value or {}).get("aliases", []) for key, value in wanted.items()} if isinstance(wanted, dict) else {key: [] for key in wanted}


def _make_network(engine, project, key, settings):
    settings = settings or {}
    name = settings.get("name", f"{project}_{key}")
    config = (settings.get("ipam") or {}).get("config") or [{}]
    labels = {"com.docker.compose.project": project, "com.docker.compose.network": key}
    return engine.network(name, internal=settings.get("internal", False), subnet=config[0].get("subnet"), options=settings.get("driver_opts"), labels=labels)


def make(engine, project, name, service, networks, number=1):
    """One container of a service, not started. networks: {key: Network}."""
    mode = service.get("network_mode")
    if mode and mode.startswith("service:"):
        mode = f"container:{project}-{mode.split(':')[1]}-1"
    keys = {} if mode else _networks_of(service)
    body = {
        "Image": service["image"], "Cmd": service.get("command"),
        "Labels": {**compose_labels(project, name, number), **(service.get("labels") or {})},
        "Env": [f"{key}={value}" for key, value in (service.get("environment") or {}).items()],
        "ExposedPorts": {port if "/" in str(port) else f"{port}/tcp": {} for port in service.get("expose", [])},
        "StopSignal": "SIGKILL",
        "HostConfig": {"NetworkMode": mode or networks[next(iter(keys))].name, "RestartPolicy": {"Name": service.get("restart", "no")}},
    }
    for index, (key, aliases) in enumerate(keys.items()):
        endpoint = {"Aliases": [name, *aliases]}
        if index == 0:
            body["NetworkingConfig"] = {"EndpointsConfig": {networks[key].name: endpoint}}
    container_name = service.get("container_name", f"{project}-{name}-{number}")
    made = engine.api("POST", "/containers/create", body, query={"name": container_name})
    container = Container(engine, made["Id"], container_name)
    for key, aliases in list(keys.items())[1:]:
        networks[key].connect(container, aliases=[name, *aliases])
    return container


def up(engine, path, start=True):
    """{service: Container} of a file's project."""
    project, services, networks = read(path)
    if any(service["image"] == IMAGE for service in services.values()):
        engine.image(IMAGE, {"/bin/postern-standin": STANDIN})
    used = {key for service in services.values() if not service.get("network_mode") for key in _networks_of(service)}
    made = {key: _make_network(engine, project, key, networks.get(key)) for key in sorted(used)}
    containers = {}
    for name, service in services.items():
        containers[name] = make(engine, project, name, service, made)
        if start:
            containers[name].start()
    return containers


def files(host):
    """The home lab's projects of a host: {project: path}."""
    return {os.path.basename(os.path.dirname(path)): path for path in sorted(glob.glob(os.path.join(HOMELAB, host, "*", "compose.yml")))}


def homelab(engine, host):
    return {f"{project}/{name}": container for project, path in files(host).items() for name, container in up(engine, path).items()}


def network(engine, project, key):
    """A network of a project that is up."""
    found = engine.api("GET", f"/networks/{project}_{key}")
    return Network(engine, found["Id"], found["Name"])
