"""A Docker host for the tests of a module; each test begins without containers, and with nothing in force."""
import os
import shutil
import tempfile

import pytest

from lib.engine import EngineCannotRun, cannot_run

from isolation.host import Host


@pytest.fixture(scope="module")
def shared_host():
    why = cannot_run()
    if why:
        pytest.skip(why)
    directory = tempfile.mkdtemp(prefix="postern-isolation-", dir="/tmp")
    os.chmod(directory, 0o755)
    try:
        host = Host(directory)
    except EngineCannotRun as error:
        pytest.skip(f"dockerd can't run here: {error}")
    yield host
    host.end()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(shared_host, request):
    n_processes = len(shared_host.processes)
    request.node._postern_things = [shared_host]
    shared_host.engine.clear()
    shared_host.set_bridge_calls(1)
    yield shared_host
    for process in shared_host.processes[n_processes:]:
        process.stop()
    del shared_host.processes[n_processes:]
    shared_host.unapply()
    shared_host.engine.clear()
