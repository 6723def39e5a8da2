"""Containers: start among many of them, reload, what a new connection into one costs, and the pain that it cures: a proxy in a container on many
networks, restarted. One Docker engine of the bench's own, the tests' (tests/e2e/lib/engine.py)."""
import itertools
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

from peers import DOMAIN, HERE, NAME, Postern
from system import LOAD_CORE

sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests/e2e"))
os.environ.setdefault("POSTERN_BUILD", os.path.join(os.path.dirname(HERE), "build"))

PORT, MESH = 8080, "100.64.0.1"


class PosternContainers(Postern):
    """postern whose services are each in a container without a network, found by asking the engine."""

    def __init__(self, setting, engine, names):
        super().__init__(setting)
        self.engine, self.names = engine, names

    def prepare(self, logs):
        directory, command = super().prepare(logs)
        path = os.path.join(directory, self.template)
        with open(path, encoding="utf-8") as text:
            services = "".join(f"  {'web' if i == 0 else f'other{i}'}: {{ host: gate, container: {name}, port: {PORT} }}\n"
                               for i, name in enumerate(self.names))
            declaration = re.sub(r"^services:\n(  .*\n)+", "services:\n" + services, text.read(), flags=re.M)
        # A mesh address that is none of loopback's, as every real gateway has: what containers without a network are dialled from.
        declaration = declaration.replace("address: 127.0.0.1, gateway: true }", f"address: [{MESH}, 127.0.0.1], gateway: true, docker: {self.engine.socket} }}")
        with open(path, "w", encoding="utf-8") as out:
            out.write(declaration)
        at = command.index("--container-directory")
        return directory, command[:at] + command[at + 2:]


def start_once(setting, gate):
    directory, command = gate.prepare(False)
    poller = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), setting.client, "first", str(gate.port), setting.certificate, NAME, "10000"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        gate.spawn(directory, command)
        out, said = poller.communicate(timeout=15)
        if poller.returncode:
            with open(os.path.join(directory, "output.log"), encoding="utf-8", errors="replace") as log:
                raise RuntimeError(f"{said.strip()}; postern said: {log.read()[-600:]}")
        return directory, (int(out) - gate.tree.started_ns) / 1e6
    finally:
        poller.kill()
        poller.wait()


def reload_ms(setting, directory):
    began = time.monotonic_ns()
    subprocess.run([os.path.join(setting.build, "postern"), "reload", "--run-directory", os.path.join(directory, "run")], check=True, capture_output=True)
    return (time.monotonic_ns() - began) / 1e6


def start_and_reload(setting, engine, counts, n_rounds):
    """{n: {start_ms, reload_ms}}, a figure a round: containers are added as the counts grow, so that all run on one engine."""
    names, found = [], {}
    for n in counts:
        for i in range(len(names), n):
            if i == 0:
                engine.standin("c0", port=PORT, address="127.0.0.1", network="none")
            else:
                engine.run(f"c{i}", "/bin/sleep", "100000", network="none")
            names.append(f"c{i}")
        starts, reloads = [], []
        for _ in range(n_rounds):
            gate = PosternContainers(setting, engine, names)
            try:
                directory, took = start_once(setting, gate)
                starts.append(took)
                reloads.append(reload_ms(setting, directory))
            finally:
                gate.stop()
        found[n] = {"start_ms": starts, "reload_ms": reloads}
    return found


def time_each(ask, n):
    """Microseconds of each; what it returns is closed outside the time."""
    took = []
    for _ in range(n):
        began = time.perf_counter_ns()
        one = ask()
        took.append((time.perf_counter_ns() - began) / 1e3)
        if one:
            one.close()
    return took


def dial(engine, n):
    """Median microseconds, all seen from one Python process: the broker asked for nothing that it could dial, for a port of the host, for a
    container; and a connect without a broker."""
    from lib import fake_parent  # finds the build when it is imported
    container = engine.container("c0")
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        targets = [fake_parent.target("unresolved", path="nowhere"), fake_parent.target(addresses=["127.0.0.1"], port=port),
                   fake_parent.target("container", path="c0", addresses=["127.0.0.1"], port=PORT)]
        broker = fake_parent.Role("postern-broker", fake_parent.BROKER, block=fake_parent.dial_block(1, targets))
        docker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        broker.give(theirs.detach(), 0, peer=fake_parent.DOCKER)
        space, process = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY), os.pidfd_open(container.pid)
        socket.send_fds(docker, [fake_parent.message("DOCKER_NAMESPACE", "ipc_docker_namespace", number=fake_parent.container_number("c0"), epoch=1)],
                        [space, process])
        os.close(space)
        os.close(process)
        worker = broker.open_worker(0)
        try:
            def asked(target):
                return lambda: worker.dial(target)[1]

            def accepted():
                return listener.accept()[0].close()
            found = {"broker, nothing to dial": time_each(asked(0), n)}
            plain, by_broker = [], []
            for _ in range(n):
                plain += time_each(lambda: socket.create_connection(("127.0.0.1", port)), 1)
                accepted()
                by_broker += time_each(asked(1), 1)
                accepted()
            found["plain connect, host port"], found["broker, host port"] = plain, by_broker
            found["broker, container"] = time_each(asked(2), n)
            return {name: statistics.median(took) for name, took in found.items()}
        finally:
            broker.stop()
            docker.close()


# ---- the pain ----

CADDYFILE = "{\n\tauto_https off\n\tadmin off\n}\n:80 {\n\trespond ok\n}\n"


def caddy_restarts(setting, engine, counts, n_rounds):
    """{networks: [ms from the order to restart until its first 200]}: a network added to the container as Compose does, one after the other."""
    path = os.path.join(setting.directory, "Caddyfile")
    with open(path, "w", encoding="ascii") as text:
        text.write(CADDYFILE)
    image = engine.image("caddy", {"/bin/caddy": shutil.which("caddy"), "/etc/Caddyfile": path})
    found = {}
    for n in counts:
        networks = [engine.network(f"bench-{n}-{i}") for i in range(n)]
        caddy = engine.run("caddy", "/bin/caddy", "run", "--config", "/etc/Caddyfile", "--adapter", "caddyfile", image=image,
                           networks=[network.name for network in networks], environment={"HOME": "/tmp", "XDG_DATA_HOME": "/tmp", "XDG_CONFIG_HOME": "/tmp"})
        took = []
        for _ in range(n_rounds):
            began = time.monotonic()
            caddy.restart()
            for _ in itertools.count():
                address = caddy.address(networks[0].name)
                if address and engine.enter("curl", "-s", "-o", "/dev/null", "--max-time", "1", "-f", f"http://{address}/").returncode == 0:
                    break
                if time.monotonic() - began > 60:
                    raise RuntimeError(f"Caddy on {n} networks does not answer: {caddy.logs()[-500:]}")
            took.append((time.monotonic() - began) * 1e3)
        caddy.remove()
        for network in networks:
            network.remove()
        found[n] = took
    return found


def rows_of(found, name, budget_ms=None):
    rows = []
    for n, took in found.items():
        middle = statistics.median(took)
        rows.append([name.format(n=n), f"<= {budget_ms} ms" if budget_ms else "", f"{middle:.1f} ms", "", f"{min(took):.1f}-{max(took):.1f}",
                     "" if not budget_ms else "ok" if middle <= budget_ms else "MISSED"])
    return rows


def run(setting, quick):
    """(rows of the budget table, everything found)."""
    from lib.engine import Engine, cannot_run
    trouble = cannot_run()
    if trouble:
        raise RuntimeError(trouble)
    engine = Engine()
    try:
        started = start_and_reload(setting, engine, (1, 24, 100) if quick else (1, 24, 100, 500), 3 if quick else 7)
        costs = dial(engine, 300 if quick else 3000)
        engine.clear()
        caddy = caddy_restarts(setting, engine, (1, 8, 24) if quick else (1, 8, 24, 30), 2 if quick else 5) if shutil.which("caddy") else {}
    finally:
        engine.end()
    rows = rows_of({n: one["start_ms"] for n, one in started.items()}, "start to first 200, {n} containers without a network", 30)
    rows += rows_of({n: one["reload_ms"] for n, one in started.items()}, "postern reload, {n} containers")
    rows += [[f"new connection: {name}", "", f"{us:.0f} us", "", "median, seen from Python", ""] for name, us in costs.items()]
    rows += rows_of(caddy, "Caddy in a container on {n} networks, restart to first 200")
    return rows, {"postern": started, "dial_us": costs, "caddy": caddy}
