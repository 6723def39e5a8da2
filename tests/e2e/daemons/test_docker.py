"""postern-docker on its own, with an engine that lies: what it hands to the broker is what it verified, and nothing else."""
import contextlib
import http.server
import itertools
import json
import os
import socket
import socketserver
import struct
import subprocess
import threading
import time

import pytest

from lib import fake_parent
from lib.fake_parent import BROKER, DOCKER, IPC, container_number, docker_block, message
from lib.process import wait_until

ENDED, ABSENT, AWAY, REFUSED = range(4)
CGROUPS = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
_counter = itertools.count()


class Engine:
    """containers: ID to what inspect says; each is listed, too. asked: the paths, in order."""

    def __init__(self, path):
        self.path, self.containers, self.asked, self.methods, self.streams = path, {}, [], set(), []
        self.before_list, self.on_inspect = threading.Event(), lambda path: None
        self.before_list.set()
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def address_string(self):
                return "docker"

            def do_GET(self):
                engine.answer(self)

            def do_POST(self):
                engine.methods.add("POST")

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
        self.server = Server(path, Handler)
        os.chmod(path, 0o666)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        path = request.path.removeprefix("/v1.41")
        self.methods.add(request.command)
        self.asked.append(path)
        if path.startswith("/events"):
            request.send_response(200)
            request.send_header("Api-Version", "1.41")
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            ended = threading.Event()
            self.streams.append((request.wfile, ended))
            ended.wait()
            return
        if path.startswith("/containers/json"):
            self.before_list.wait(10)
            body = [self._listed(one) for one in self.containers.values() if one["State"]["Running"]]
        elif path.startswith("/containers/"):
            self.on_inspect(path)
            who = path.split("/")[2]
            body = next((one for one in self.containers.values() if who in (one["Id"], one["Name"][1:])), None)
        else:
            body = {"Version": "fake", "ApiVersion": "1.41"}
        data = json.dumps(body if body is not None else {"message": "no such container"}, default=str).encode()
        request.send_response(200 if body is not None else 404)
        request.send_header("Api-Version", "1.41")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    @staticmethod
    def _listed(one):
        return {"Id": one["Id"], "Names": [one["Name"]], "State": "running", "Labels": one["Config"]["Labels"], "HostConfig": {"NetworkMode": "none"}}

    def tell(self, action, id_):
        line = json.dumps({"Type": "container", "Action": action, "Actor": {"ID": id_, "Attributes": {"name": self.containers[id_]["Name"][1:]}}}) + "\n"
        for stream, _ in self.streams:
            stream.write(f"{len(line):x}\r\n{line}\r\n".encode())

    def end(self):
        self.server.shutdown()
        for stream, ended in self.streams:
            ended.set()
        self.server.server_close()


class Broker:
    """The other end of the docker role's channel."""

    def __init__(self, role):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        role.give(theirs.detach(), 0, peer=BROKER)
        ours.settimeout(10)
        self.channel = ours

    def hear(self, timeout_s=10):
        """("there", number, namespace's inode) or ("gone", number, why); None when nothing comes."""
        self.channel.settimeout(timeout_s)
        try:
            data, fds, _, _ = socket.recv_fds(self.channel, 4096, 4)
        except (TimeoutError, socket.timeout):
            return None
        kind = struct.unpack_from("<H", data)[0]
        if kind == IPC.constants["IPC_DOCKER_NAMESPACE"]:
            assert len(fds) == 2
            inode = os.fstat(fds[0]).st_ino
            for fd in fds:
                os.close(fd)
            return "there", IPC.unpack("ipc_docker_namespace", data)["number"], inode
        assert kind == IPC.constants["IPC_DOCKER_GONE"] and not fds
        gone = IPC.unpack("ipc_docker_gone", data)
        return "gone", gone["number"], gone["why"]


@pytest.fixture
def engine(directory):
    one = Engine(os.path.join(directory, "docker.sock"))
    yield one
    one.end()


@pytest.fixture
def container(engine, namespace):
    """container("web"): as the engine would have it, with a process of its own in a cgroup and a network namespace of its own."""
    base = next((path for path in CGROUPS if os.path.exists(os.path.join(path, "cgroup.procs")) and os.access(path, os.W_OK)), None)
    if not base:
        pytest.skip("no cgroup that can be written here")
    made = []

    def make(name, **inspect):
        id_ = f"{next(_counter):x}".rjust(4, "0") + os.urandom(30).hex()
        cgroup = os.path.join(base, f"postern-docker-{os.getpid()}-{id_}")
        os.mkdir(cgroup)
        process = subprocess.Popen(["sleep", "1000"])
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write(str(process.pid))
        inside = namespace()
        one = {"Id": id_, "Name": "/" + name, "Config": {"Labels": {}}, "HostConfig": {"NetworkMode": "none"},
               "State": {"Running": True, "Status": "running", "Pid": process.pid, "StartedAt": "2026-01-01T00:00:00.000000001Z"},
               "NetworkSettings": {"SandboxKey": inside.path, "Networks": {}}, **inspect}
        engine.containers[id_] = one
        made.append((process, cgroup))
        one["process"], one["inode"] = process, os.stat(inside.path).st_ino
        return one

    yield make
    for process, cgroup in made:
        process.kill()
        process.wait()
        wait_until(lambda cgroup=cgroup: not open(os.path.join(cgroup, "cgroup.procs"), encoding="ascii").read(), what="the cgroup is empty")
        os.rmdir(cgroup)


@pytest.fixture
def looking(role, engine):
    def start(*names):
        one = role("postern-docker", DOCKER, block=docker_block(1, names, socket=engine.path))
        return one, Broker(one)
    return start


def test_what_is_verified_is_handed_over_and_its_end_is_told(engine, container, looking):
    web = container("web")
    _, broker = looking("web")
    assert broker.hear() == ("there", container_number("web"), web["inode"])
    web["State"]["Running"] = False
    web["process"].kill()
    web["process"].wait()
    assert broker.hear() == ("gone", container_number("web"), ENDED)
    assert engine.methods == {"GET"}


def test_a_pid_that_is_another_process_by_now_is_not_believed(container, looking):
    """As after a crash that the engine has not noticed: a process of that number is there, in another cgroup."""
    web, other = container("web"), container("other")
    web["State"]["Pid"] = other["process"].pid
    role, broker = looking("web")
    assert broker.hear() == ("gone", container_number("web"), REFUSED)
    assert "is not in a cgroup of this container" in role.said()


def test_a_process_that_is_gone_is_none(container, looking):
    web = container("web")
    web["process"].kill()
    web["process"].wait()
    _, broker = looking("web")
    assert broker.hear(1) is None, "nothing is told of what moves; it is looked at again"


def test_a_container_that_changes_while_it_is_looked_at_is_looked_at_again(engine, container, looking):
    """Between the two questions it is another run, with another namespace: the first is not handed over."""
    web, successor = container("web"), container("later")
    n = itertools.count()

    def change(path):
        if web["Id"] in path and next(n) == 1:
            web["State"] = {**successor["State"], "StartedAt": "2026-01-01T00:00:09Z"}
            web["NetworkSettings"] = successor["NetworkSettings"]
            web["Id"], successor["Id"] = successor["Id"], web["Id"]
    engine.on_inspect = change
    _, broker = looking("web")
    assert broker.hear() == ("there", container_number("web"), successor["inode"])


@pytest.mark.parametrize("key", ["/etc/passwd", "/run", "relative", "", "/run/netns/none-of-that-name"])
def test_a_sandbox_that_is_no_namespace_is_not_handed_over(container, looking, key):
    container("web")["NetworkSettings"]["SandboxKey"] = key
    _, broker = looking("web")
    heard = broker.hear(1)
    assert heard is None or heard[0] == "gone"


def test_an_engine_that_hangs_up_loses_nothing(engine, container, looking):
    web = container("web")
    _, broker = looking("web")
    assert broker.hear()[0] == "there"
    for stream, ended in engine.streams:
        ended.set()
        with contextlib.suppress(OSError):
            stream.close()
    assert broker.hear(1) is None, "what runs is as good as before"
    web["State"]["Running"] = False
    web["process"].kill()
    web["process"].wait()
    assert broker.hear() == ("gone", container_number("web"), ENDED)


def test_whoever_is_waited_for_is_looked_at_first_and_without_the_list(engine, container, looking):
    names = [f"c{i}" for i in range(30)]
    made = {name: container(name) for name in names}
    engine.before_list.clear()
    role, broker = looking(*names)
    page, event = os.memfd_create("hints", os.MFD_ALLOW_SEALING), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    os.truncate(page, 4096)
    role.send(message("PARENT_HINTS", "ipc_hints"), [os.dup(page), os.dup(event)])
    wait_until(lambda: any(path.startswith("/containers/json") for path in engine.asked), what="the list is asked for")
    os.pwrite(page, b"\1", container_number("c17") % 4096)
    os.eventfd_write(event, 1)
    assert broker.hear() == ("there", container_number("c17"), made["c17"]["inode"])
    engine.before_list.set()
    assert {broker.hear()[1] for _ in names[1:]} >= {container_number(name) for name in names if name != "c17"}


def test_without_an_engine_nobody_is_kept_waiting(role, directory):
    one = role("postern-docker", DOCKER, block=docker_block(1, ["web"], socket=os.path.join(directory, "none.sock")))
    broker = Broker(one)
    assert broker.hear() == ("gone", container_number("web"), AWAY)


def test_a_flood_of_events_is_followed_to_its_end(engine, container, looking):
    web = container("web")
    role, broker = looking("web")
    assert broker.hear()[0] == "there"
    before = len(engine.asked)
    for _ in range(2000):
        engine.tell("update", web["Id"])
    time.sleep(0.5)
    assert len(engine.asked) - before < 1000, "many events of one container are one look"
    web["State"]["Running"] = False
    web["process"].kill()
    web["process"].wait()
    assert broker.hear() == ("gone", container_number("web"), ENDED)
