"""The roles as processes: who they are, what confines them, and what happens when one of them, or their parent, is killed."""
import os
import re
import signal
import socket

import pytest

from lib.gateway import PRINCIPALS
from lib.load import Load
from lib.process import BUILD, wait_until
from lib.roles import ROLES, SERVICES, children, confined, field, is_running, kill, pids_of, role_directory, wait_restarted

GRANTS = [{"from": "clients", "to": "grafana", "over": "main"}]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="uids of their own need root")


@pytest.fixture
def gw(gateway, standin):
    return gateway({"grafana": standin("grafana")}, GRANTS, {"main": {"workers": 2}})


@needs_root
def test_each_role_has_a_uid_of_its_own_and_no_way_back(gw):
    uids = {}
    for pid, role in children(gw.process.pid).items():
        real, effective, saved, filesystem = field(pid, "Uid").split()
        assert real == effective == saved == filesystem != "0", role
        assert field(pid, "Groups") == "", role
        uids.setdefault(role, set()).add(real)
    assert set(uids) == set(ROLES)
    assert len(set.union(*uids.values())) == len(ROLES), uids


@needs_root
def test_the_parent_keeps_of_root_only_what_its_roles_take(gw):
    """Not a module, a raw socket, a device or a clock among it, and nothing new by exec."""
    kept = int(field(gw.process.pid, "CapEff"), 16)
    for absent in ("sys_module", "net_raw", "mknod", "sys_time", "sys_rawio", "sys_boot", "bpf"):
        number = {"net_raw": 13, "sys_module": 16, "sys_rawio": 17, "sys_boot": 22, "sys_time": 25, "mknod": 27, "bpf": 39}[absent]
        assert not kept >> number & 1, absent
    assert int(field(gw.process.pid, "CapBnd"), 16) == kept
    assert field(gw.process.pid, "NoNewPrivs") == "1"


def test_each_role_is_confined(gw):
    for pid, role in children(gw.process.pid).items():
        assert field(pid, "Seccomp") == "2", role
        assert field(pid, "NoNewPrivs") == "1", role
        kept = int(field(pid, "CapPrm"), 16)
        assert kept == int(field(pid, "CapEff"), 16)
        assert int(field(pid, "CapBnd"), 16) == kept or os.geteuid() != 0, role
        if role != "broker":
            assert kept == 0, f"{role} holds capabilities {kept:x}"


def test_status_shows_each_role_and_what_confines_it(gw):
    roles = {role["role"]: role for role in gw.status()["roles"]}
    assert set(roles) == {"parent", *ROLES}
    for name, role in roles.items():
        wanted = {"capabilities", "no-new-privileges"} if name == "parent" else {"seccomp", "landlock", "capabilities", "rlimits", "no-new-privileges"}
        assert wanted <= set(role["confined"]) | set(role["missing"]), (name, role)


def test_a_worker_holds_no_file(gw):
    """Everything that a worker has open: sockets, pipes, placeholders, an epoll set, /dev/null, and where its messages go."""
    message_places = {os.readlink(f"/proc/{gw.process.pid}/fd/2"), "/dev/null"}
    for pid in pids_of(gw.process.pid, "worker"):
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{number}")
            except FileNotFoundError:
                continue  # a connection that has just ended
            assert target.startswith(("socket:", "pipe:", "anon_inode:")) or target in message_places, target


def test_messages_go_to_a_descriptor_that_cannot_be_read(gw):
    for pid, role in children(gw.process.pid).items():
        with open(f"/proc/{pid}/fdinfo/2", encoding="ascii") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags:"))
        assert flags & os.O_ACCMODE == os.O_WRONLY, role


@pytest.mark.parametrize("role", SERVICES)
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new connections", "one connection"])
def test_no_request_fails_when_a_role_is_killed(gw, role, keep_alive):
    with Load(gw, keep_alive) as load:
        for _ in range(3):
            old = kill(gw.process.pid, role)
            load.wait_for(5)
            wait_restarted(gw.process.pid, role, old)
            load.wait_for(5)
    assert not load.failures, load.failures


def test_a_logger_that_is_killed_loses_no_later_record(gw):
    old = kill(gw.process.pid, "logger")
    for i in range(20):
        assert gw.get("macbook", "grafana", f"/{i}").status == 200
    wait_restarted(gw.process.pid, "logger", old)
    gw.records(at_least=20, status=200)


def test_a_worker_that_is_killed_takes_only_what_it_held(gw):
    """Of many connections over two workers, those of the other one live on."""
    clients = [gw.client("macbook").connection(gw.port["main"], gw.name_of("grafana")) for _ in range(40)]
    for connection in clients:
        gw.get("macbook", "grafana", connection=connection)
    held = {pid: _connections_of(pid) for pid in pids_of(gw.process.pid, "worker")}
    victim = min(held, key=lambda pid: len(held[pid]))
    survivors = [c for c in clients if c.sock.getsockname()[1] not in held[victim]]
    assert len(survivors) + len(held[victim]) == len(clients) and survivors
    os.kill(victim, signal.SIGKILL)
    for connection in survivors:
        assert gw.get("macbook", "grafana", connection=connection).status == 200
    wait_until(lambda: len([p for p in pids_of(gw.process.pid, "worker") if p != victim and confined(p)]) == 2, what="two workers again")
    for _ in range(10):
        assert gw.get("macbook", "grafana").status == 200
    for connection in clients:
        connection.close()


def _connections_of(pid):
    """The clients' ports of a process's established connections from the macbook."""
    sockets = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            sockets.add(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    ports = set()
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            words = line.split()
            address, port = words[2].split(":")
            source = socket.inet_ntoa(bytes.fromhex(address)[::-1])
            if words[3] == "01" and f"socket:[{words[9]}]" in sockets and source == PRINCIPALS["macbook"]:
                ports.add(int(port, 16))
    return ports


def test_a_crash_loop_backs_off_and_is_told(gw):
    """Killed at each start: at once the first time, then later and later."""
    for expected in ("starting it again", "next start in 100 ms", "next start in 200 ms", "next start in 400 ms"):
        kill(gw.process.pid, "watcher")
        wait_until(lambda text=expected: text in gw.process.err(), what=f"'{expected}' is told")
    assert gw.get("macbook", "grafana").status == 200
    wait_until(lambda: pids_of(gw.process.pid, "watcher"), what="it is back all the same")


def test_killing_the_parent_takes_all_down_and_frees_the_port(gw):
    roles = list(children(gw.process.pid))
    assert len(roles) == 6
    os.kill(gw.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, roles)), what="every role is gone")
    gw.process.wait()
    gw.start()
    assert gw.get("macbook", "grafana").status == 200


def test_a_hijacked_worker_gets_nothing_from_keeper_and_broker(gateway, standin, directory):
    """Workers that ask for every number and every signature, on a surface with no grant: each answer is a refusal, and the end of its asker."""
    hostile = os.path.join(BUILD, "tests/roles/postern-worker-hostile")
    gw = gateway({"grafana": standin("grafana")}, GRANTS, {"main": {"workers": 3}})
    assert gw.stop() == 0
    gw.declaration = gw.make({})
    gw.start(options=["--role-directory", role_directory(directory)])
    role_directory(directory, worker=hostile)
    for pid in pids_of(gw.process.pid, "worker"):
        os.kill(pid, signal.SIGKILL)
    for worker, accusation in enumerate(("broker ended its channel: asked for target", "keeper ended its channel: asked to sign",
                                         "keeper ended its channel: asked to sign")):
        wait_until(lambda told=f"ending worker main/{worker}: the {accusation}": told in gw.process.err(), 30, f"worker {worker} is ended")
    for worker in range(3):
        told = rf"worker main/{worker} killed by SIGKILL, [3-9] times in a row; next start in \d+ ms"
        wait_until(lambda text=told: re.search(text, gw.process.err()), 30, f"worker {worker} is started again and again, later and later")
    said = [line.split("hostile: ")[1] for line in gw.process.err().splitlines() if "hostile: " in line]
    assert not [line for line in said if "a socket" in line or "SIGNED" in line], said


def test_a_role_cannot_be_traced_by_its_own_uid(gw):
    """Not dumpable: what /proc shows of it belongs to root, whatever uid it has."""
    for pid, role in children(gw.process.pid).items():
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0, role


def test_no_role_sees_the_administrators_environment(gateway, standin, monkeypatch):
    monkeypatch.setenv("ADMIN_SECRET", "token")
    gw = gateway({"grafana": standin("grafana")}, GRANTS, {"main": {"workers": 1}})
    for pid, role in children(gw.process.pid).items():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"ADMIN_SECRET" not in environment.read(), role
