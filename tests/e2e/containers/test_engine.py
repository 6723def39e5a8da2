"""The Docker engine that the tests run: its containers are reached where they say, and it leaves nothing behind, killed or not."""
import glob
import json
import os
import signal
import subprocess
import sys

from lib import engine as engines_library
from lib.process import wait_until

E2E = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def remains(name):
    """What there still is of an engine: processes, mounts, cgroups, files."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        found = [line for line in mounts if name in line]
    return found + glob.glob(f"/sys/fs/cgroup/**/{name}*", recursive=True) + glob.glob(f"/tmp/{name}*") + glob.glob(f"/run/netns/{name}*") + \
        engines_library._engine_processes(f"/tmp/{name}")


def test_a_container_without_a_network_answers_on_its_own_loopback(engine):
    container = engine.standin("web", port=8080, address="127.0.0.1", network="none")
    seen = wait_until(lambda: container.enter("curl", "--silent", "http://127.0.0.1:8080/x").stdout, what="an answer")
    assert json.loads(seen)["name"] == "web"
    assert "eth0" not in container.enter("ip", "link").stdout


def test_containers_of_one_network_reach_each_other_and_the_host_reaches_them(engine):
    engine.network("front", internal=True)
    web = engine.standin("web", networks=["front"], project="p", service="web")
    other = engine.run("other", "sleep", "60", networks=["front"])
    url = f"http://{web.address('front')}/"
    for command in (other.command("curl", "--silent", url), engine.command("curl", "--silent", url)):
        said = wait_until(lambda: subprocess.run(command, capture_output=True, text=True, timeout=20).stdout, what=str(command))
        assert json.loads(said)["host"] == "engine"


def test_containers_outlive_a_dockerd_with_live_restore(engines):
    engine = engines(live_restore=True)
    container = engine.run("lasting", "sleep", "1000", network="none")
    pid = container.pid
    engine.kill()
    assert os.path.exists(f"/proc/{pid}")
    engine.start()
    assert container.pid == pid and container.running()


RUN_AND_DIE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from lib.engine import Engine
engine = Engine()
engine.network("front")
engine.run("lost", "sleep", "1000", networks=["front"])
print(engine.name, flush=True)
if sys.argv[2] == "engine too":
    os.kill(engine.pid, 9)
os.kill(os.getpid(), 9)
"""


def test_nothing_is_left_of_an_engine_whose_test_run_was_killed(engines):
    for how in ("run", "engine too"):
        done = subprocess.run([sys.executable, "-c", RUN_AND_DIE, E2E, how], capture_output=True, text=True, timeout=60)
        assert done.returncode == -signal.SIGKILL, done.stderr
        name = done.stdout.strip()
        engines()  # whoever starts the next one sweeps
        assert remains(name) == []


def test_nothing_is_left_of_an_engine_that_ended(engines):
    engine = engines()
    engine.run("web", "sleep", "1000", network="none")
    assert remains(engine.name)
    engine.end()
    assert remains(engine.name) == []
