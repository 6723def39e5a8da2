"""The lab's life: nothing of it is left behind, however it ends, with root and without."""
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from lib.lab import Lab, namespaces_in_use, processes_in
from lib.process import BUILD, POSTERN, Process, wait_until

HOMELAB = os.path.join(os.path.dirname(__file__), "..", "..", "..", "examples", "homelab", "postern.yml")

# Three machines and no gateway: what is tried here is the lab.
DECLARATION = """
postern: 1
domain: home.example
segments: { clients: {}, prod: {} }
hosts:
  server:  { segment: prod, address: [100.64.0.1, "fd7a:115c:a1e0::1"], lan: 192.168.1.10 }
  laptop:  { segment: clients, address: [100.64.0.2, "fd7a:115c:a1e0::2"] }
  phone:   { segment: clients, address: 100.64.0.3 }
surfaces: {}
services:
  game: { host: server, container: game, direct: udp/30000 }
grants:
  - { from: laptop, to: [game, "server:22"] }
"""


def root_only():
    return pytest.mark.skipif(os.geteuid() != 0, reason="tries what root can see")


@pytest.fixture
def declaration(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(DECLARATION)
    return path


@pytest.fixture
def lab(declaration):
    lab = Lab(declaration)
    yield lab
    lab.down()


def links():
    return {line.split(":")[1].strip().split("@")[0] for line in subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout.splitlines()}


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return {line.split()[4] for line in file}


def test_up_and_down_leaves_nothing(lab):
    links_before, mounts_before = links(), mounts()
    lab.up()
    pid, net = lab.namespace("pid"), lab.namespace("net")
    assert len(processes_in(pid)) >= 3 and net in namespaces_in_use("net")
    assert not {name for name in links() - links_before if name.startswith(("m", "l"))}, "the machine's own links are left alone"
    assert not {path for path in mounts() - mounts_before if "postern" in path}, "the machine's own mounts are left alone"
    done = lab.down()
    assert done.returncode == 0, done.stderr
    assert not os.path.exists(lab.directory)
    wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")
    assert net not in namespaces_in_use("net")


def test_killed_supervisor_takes_all_with_it_and_the_next_up_sweeps(lab):
    lab.up()
    pid = lab.namespace("pid")
    os.kill(lab.supervisor, signal.SIGKILL)
    wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")
    assert lab.command("status", "-n", lab.name).returncode == 1
    assert os.path.exists(lab.directory)
    lab.up()
    assert lab.exec("laptop", "true").returncode == 0
    pid = lab.namespace("pid")
    os.kill(lab.supervisor, signal.SIGKILL)
    wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")
    swept = lab.down()
    assert swept.returncode == 0 and "was not up" in swept.stdout
    assert not os.path.exists(lab.directory)


def test_failed_up_says_why_and_leaves_no_process(lab, free_port):
    with open(lab.declaration, "w", encoding="utf-8") as file:
        file.write(DECLARATION.replace("100.64.0.3", "100.64.0.2"))
    done = lab.up(check=False)
    assert done.returncode == 2 and "100.64.0.2" in done.stderr and not os.path.exists(lab.directory)


def test_two_labs_of_one_name_are_refused_and_of_two_names_are_not(lab, declaration):
    lab.up()
    again = lab.up(check=False)
    assert again.returncode == 2 and "is up" in again.stderr
    other = Lab(declaration)
    try:
        other.up()
        assert lab.port("laptop", "server", 22).startswith("open port-22@server")
        assert other.port("laptop", "server", 22).startswith("open port-22@server")
        assert lab.namespace("net") != other.namespace("net")
    finally:
        other.down()


def test_exec_passes_the_exit_status_on(lab):
    lab.up()
    assert lab.exec("laptop", "sh", "-c", "exit 7").returncode == 7
    assert lab.exec("laptop", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert lab.exec("laptop", "/no/such/command").returncode == 127
    assert lab.exec("laptop", "sh", "-c", "echo out; echo err >&2").stdout == "out\n"
    unknown = lab.exec("nowhere", "true")
    assert unknown.returncode == 2 and "no host 'nowhere'" in unknown.stderr
    escape = lab.exec("../etc", "true")
    assert escape.returncode == 2
    assert Lab(lab.declaration).exec("laptop", "true").returncode == 2, "a lab that isn't up"


def test_exec_is_on_that_host_and_keeps_the_directory(lab, directory):
    lab.up()
    done = lab.command("exec", "-n", lab.name, "phone", "--", "sh", "-c", "pwd; ip -o -4 addr show dev mesh0; getent ahostsv4 server", cwd=directory)
    assert done.stdout.splitlines()[0] == directory
    assert "100.64.0.3/32" in done.stdout and "100.64.0.1" in done.stdout


def test_network_is_filtered_as_declared(lab):
    lab.up()
    for address in ("100.64.0.1", "fd7a:115c:a1e0::1"):
        assert lab.port("laptop", address, 22).startswith("open port-22@server")
        assert lab.port("laptop", address, 30000, "udp").startswith("open game@server")
    assert lab.port("phone", "100.64.0.1", 22).startswith("refused")
    assert lab.port("phone", "100.64.0.1", 30000, "udp").startswith("refused")
    assert lab.port("laptop", "100.64.0.1", 23).startswith("refused"), "a port that nobody spoke of"
    assert lab.port("laptop", "100.64.0.3", 22).startswith("refused"), "client to client"
    assert lab.not_shut("lan-guest", ["192.168.1.10", "100.64.0.1"], [22]) == []


def test_container_has_its_loopback_and_nothing_else(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(DECLARATION.replace("services:", "services:\n  db: { host: server, container: db, port: 5432, internal: true }"))
    lab = Lab(path)
    try:
        lab.up()
        links = lab.exec("server/db", "ip", "-o", "link").stdout.splitlines()
        assert len(links) == 1 and ": lo:" in links[0]
        assert "db" in lab.exec("server/db", "curl", "-s", "--max-time", "5", "http://127.0.0.1:5432/").stdout
        assert lab.port("server/db", "100.64.0.1", 22).startswith("refused")
        assert lab.exec("server/nothing", "true").returncode == 2
    finally:
        lab.down()


def test_status_lists_what_runs_and_what_died(lab):
    lab.up()
    running = {(one["kind"], one["host"], one["name"]): one for one in lab.status()}
    assert ("stand-in", "server", "game") in running and ("stand-in", "server", "port-22") in running
    assert all(one["state"] == "up" for one in running.values())
    assert lab.command("status", "-n", lab.name).returncode == 0
    lab.exec("server", "sh", "-c", f"kill -9 {running['stand-in', 'server', 'game']['pid']}")
    wait_until(lambda: "killed by SIGKILL" in [one["state"] for one in lab.status()], what="the status tells of it")
    assert lab.command("status", "-n", lab.name).returncode == 1


def test_gateway_in_the_lab_writes_nothing_on_the_machine_and_is_reloaded_there(directory):
    """Its log lies where it was declared, but in the lab; its run directory is where every command looks for it."""
    path, log = os.path.join(directory, "postern.yml"), f"/var/log/postern-{os.getpid()}/access.log"
    text = DECLARATION.replace("lan: 192.168.1.10 }", "lan: 192.168.1.10, gateway: true }")
    text = text.replace("surfaces: {}", f"surfaces: {{ main: {{ port: 443 }} }}\nlog: {{ to: {log} }}")
    text = text.replace("services:", "services:\n  wiki: { host: server, container: wiki, port: 3000 }")
    text = text.replace("grants:", "grants:\n  - { from: laptop, to: wiki, over: main }")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    lab = Lab(path)
    try:
        lab.up()
        assert lab.http_status("laptop", "https://wiki.home.example/") == "200"
        wait_until(lambda: '"service":"wiki"' in lab.exec("server", "cat", log).stdout.replace(" ", ""), what="the record is in the lab's file")
        assert not os.path.exists(os.path.dirname(log))
        assert lab.http_status("phone", "https://wiki.home.example/") == "000"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("from: laptop, to: wiki", "from: [laptop, phone], to: wiki"))
        reloaded = lab.exec("server", POSTERN, "reload")
        assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
        assert lab.http_status("laptop", "https://wiki.home.example/") == "200"
    finally:
        lab.down()


def start_demo(lab, directory, *options):
    demo = Process("demo", [POSTERN, "lab", "demo", "-n", lab.name, *options, lab.declaration], directory)
    wait_until(lambda: "until you press" in demo.out() or not demo.running(), 60, "the demo shows its table")
    assert demo.running(), demo.describe()
    return demo


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_stays_up_until_interrupted_and_leaves_nothing(lab, directory, number):
    demo = start_demo(lab, directory)
    assert "✔" in demo.out() and "✘" not in demo.out()
    pid = lab.namespace("pid")
    demo.popen.send_signal(number)
    assert demo.wait(20) == 0, demo.describe()
    assert not os.path.exists(lab.directory)
    wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")


def test_demo_that_is_killed_takes_its_lab_with_it(lab, directory):
    demo = start_demo(lab, directory)
    pid = lab.namespace("pid")
    demo.popen.kill()
    wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")


def test_demo_once_ends_by_itself(lab):
    once = lab.command("demo", "-n", lab.name, "--once", lab.declaration)
    assert once.returncode == 0 and "as declared" in once.stdout, once.stdout + once.stderr
    assert not os.path.exists(lab.directory)


@root_only()
def test_without_root_it_lives_in_a_user_namespace():
    """As nobody, with executables that nobody can reach."""
    directory = tempfile.mkdtemp(prefix="postern-test-", dir="/tmp")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try:
        os.chmod(directory, 0o755)
        if subprocess.run([*as_nobody, "unshare", "--user", "--map-root-user", "true"], capture_output=True).returncode:
            pytest.skip("this kernel lets users make no namespaces")
        for path in glob.glob(os.path.join(BUILD, "postern*")):
            if os.path.isfile(path):
                shutil.copy(path, directory)
        path = os.path.join(directory, "postern.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(DECLARATION)
        runtime = os.path.join(directory, "runtime")
        os.mkdir(runtime, 0o700)
        os.chown(runtime, 65534, 65534)
        lab = Lab(path, postern=os.path.join(directory, "postern"), as_user=as_nobody, environment={"XDG_RUNTIME_DIR": runtime})
        lab.up()
        try:
            pid = lab.namespace("pid")
            assert os.stat(f"/proc/{lab.supervisor}").st_uid == 65534
            assert lab.port("laptop", "100.64.0.1", 22).startswith("open port-22@server")
            assert lab.port("phone", "100.64.0.1", 22).startswith("refused")
            assert lab.exec("laptop", "sh", "-c", "exit 3").returncode == 3
        finally:
            assert lab.down().returncode == 0
        wait_until(lambda: not processes_in(pid), what="every process of the lab is gone")
        assert not os.path.exists(lab.directory)

        shutil.copy(HOMELAB, path)
        demo = lab.command("demo", "-n", lab.name, "--json", path)
        assert demo.stdout, demo.stderr
        rows = json.loads(demo.stdout)
        assert demo.returncode == 0 and len(rows) > 500 and all(row["holds"] for row in rows), [row for row in rows if not row["holds"]]
        assert not os.path.exists(lab.directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
