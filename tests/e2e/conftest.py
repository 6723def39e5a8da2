"""Fixtures for whole-system tests. Everything here is real: processes, sockets, certificates; nothing is mocked.

standin(name, ...)      starts a stand-in service on 127.0.0.1 and a free port; returns a lib.standin.Standin. Arguments: protocol=
                        "http" | "h2c" | "https", unix=True, address=, port=, options=[more of postern-standin's].
                        What its paths do: build/postern-standin --help; /evil/... misbehaves.
gateway(services, grants, surfaces=, **top)
                        writes a postern.yml, starts postern run on loopback and waits until it serves; returns a lib.gateway.Gateway:
    gw.get("macbook", "grafana", "/path", surface="main", method=, headers=, body=)    one request, chain and name verified
    gw.tls("robin", "grafana", surface="agents", alpn=["h2"])                          a raw TLS socket
    gw.curl("macbook", "grafana", "/path", "--http2")                                  curl
    gw.port["main"], gw.name_of("grafana"), gw.url("grafana"), gw.ca, gw.file, gw.run_directory, gw.state_directory
    gw.make(services, grants) and gw.reload(declaration)     change the file and postern reload; gw.declare() only writes it
    gw.status(), gw.records(at_least=1, status=404), gw.command("log", ...), gw.process.pid, gw.stop(), gw.start()
                        Principals are loopback source addresses (lib.gateway.PRINCIPALS): macbook, iphone, kobo in segment clients;
                        robin in segment ai; "nobody" is in none. services: {"grafana": standin("grafana"), "other": {dict}}.

    def test_the_clients_reach_grafana(standin, gateway):
        gw = gateway({"grafana": standin("grafana")}, [{"from": "clients", "to": "grafana", "over": "main"}])
        answer = gw.get("macbook", "grafana", "/x")
        assert answer.status == 200 and answer.json()["path"] == "/x"
        assert answer.seen["x-forwarded-for"] == ["127.0.0.13"]

engine                  a Docker engine of the worker's own, empty at the start of each test: lib.engine.Engine. Skipped where none can run.
engines(live_restore=True, namespace=, ...)
                        engines of the test's own, for those that harm dockerd or put it into another host's network namespace.

lib.lab.Lab(file)       a whole lab: up(), down(), exec(host, *command), curl(host, url), ports(), status(); see tests/e2e/truth.
free_port()             a port that no other test, worker or run has.
lib.process             POSTERN, STANDIN (paths), Process, wait_until(condition): wait on conditions, never sleep.
All of it is taken down after the test, also when it fails; then the gateway's declaration, stderr and log are shown with the failure.
Tests run in parallel: nothing may depend on a fixed port, path or name. POSTERN_BUILD names another build directory."""
import os
import shutil
import tempfile

import pytest

from lib import ports
from lib.engine import Engine, EngineCannotRun, cannot_run
from lib.gateway import Gateway
from lib.process import POSTERN, STANDIN
from lib.standin import Standin


def pytest_collection_modifyitems(config, items):
    missing = [path for path in (POSTERN, STANDIN) if not os.path.exists(path)]
    if missing and items:
        raise pytest.UsageError(f"{', '.join(missing)}: not built (ninja -C build; POSTERN_BUILD names another build directory)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the processes of a failed test said goes into its report."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for thing in getattr(item, "_postern_things", []):
            report.sections.append((f"{type(thing).__name__} of the test", thing.describe()))


@pytest.fixture
def directory():
    """A directory with a short path (unix sockets' names end at 107 bytes) that goes with the test."""
    path = tempfile.mkdtemp(prefix="postern-test-", dir="/tmp")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def free_port():
    return ports.free_port


@pytest.fixture
def standin(directory):
    started = []

    def start(name="service", **arguments):
        started.append(Standin(directory, name, **arguments))
        return started[-1]

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def gateway(directory, request):
    started = []
    request.node._postern_things = started

    def start(services=None, grants=None, surfaces=None, **top):
        own = os.path.join(directory, f"gw{len(started)}")
        os.mkdir(own)
        gw = Gateway.__new__(Gateway)
        started.append(gw)  # before it starts, so that a failed start is shown and ended too
        gw.process = None
        gw.file = gw.log_file = os.path.join(own, "postern.yml")
        gw.__init__(own, services, grants, surfaces, **top)
        return gw

    yield start
    for gw in started:
        if gw.process:
            gw.stop()


def start_engine(**arguments):
    """An Engine, or the test is skipped with the reason."""
    why = cannot_run()
    if why:
        pytest.skip(why)
    try:
        return Engine(**arguments)
    except EngineCannotRun as trouble:
        pytest.skip(f"no Docker engine can run here: {trouble}")


@pytest.fixture(scope="session")
def engine_of_worker():
    engine = start_engine()
    yield engine
    engine.end()


@pytest.fixture
def engine(engine_of_worker, request):
    request.node._postern_things = [*getattr(request.node, "_postern_things", []), engine_of_worker]
    yield engine_of_worker
    engine_of_worker.clear()


@pytest.fixture
def engines(request):
    started = []
    request.node._postern_things = getattr(request.node, "_postern_things", [])

    def start(**arguments):
        started.append(start_engine(**arguments))
        request.node._postern_things = [*request.node._postern_things, started[-1]]
        return started[-1]

    yield start
    for engine in started:
        engine.end()
