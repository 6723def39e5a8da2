"""postern-broker on its own: what it refuses, where it dials, what it never hands out."""
import errno
import os
import resource
import socket
import struct
import subprocess
import time

import pytest

from lib import fake_parent
from lib.fake_parent import BROKER, RELAY, SURFACE_DIRECT, dial_block, target
from lib.process import wait_until

ELSEWHERE = "100.64.0.1"
ELSEWHERE_V6 = "fd7a:115c:a1e0::1"


@pytest.fixture
def broker(role):
    return lambda targets, **arguments: role("postern-broker", BROKER, block=dial_block(1, targets), **arguments)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=512) as one:
        one.settimeout(10)
        yield one


def here(listener, **arguments):
    return target(addresses=["127.0.0.1"], port=listener.getsockname()[1], **arguments)


# ---- what it refuses ----

def test_a_target_is_dialled(broker, listener):
    status, given = broker([here(listener)]).open_worker(0).dial(0)
    assert status == 0
    given.send(b"hello")
    assert listener.accept()[0].recv(5) == b"hello"


def test_another_surfaces_target_is_refused_and_the_channel_ended(broker, listener):
    one = broker([here(listener, surfaces=[0]), here(listener, surfaces=[1])])
    agents = one.open_worker(1)
    assert agents.dial(1)[0] == 0
    assert agents.dial(0)[0] == -errno.EPERM
    assert agents.has_ended()
    assert one.open_worker(0).dial(0)[0] == 0, "the others go on"
    assert "is not its surface's" in one.said()


@pytest.mark.parametrize("index", [1, 1 << 20, 0xFFFFFFFF])
def test_an_absurd_index_is_refused_and_the_channel_ended(broker, listener, index):
    worker = broker([here(listener)]).open_worker(0)
    assert worker.dial(index)[0] == -errno.EPERM
    assert worker.has_ended()


def test_a_surface_number_past_the_bits_reaches_nothing(broker, listener):
    worker = broker([here(listener, surfaces=range(64))]).open_worker(65)
    assert worker.dial(0)[0] == -errno.EPERM


# ---- direct ports ----

def test_the_relay_has_what_is_direct_and_no_surface_has_it(broker, listener):
    one = broker([here(listener), here(listener, surfaces=(), direct=1)])
    assert one.open_worker(SURFACE_DIRECT, peer=RELAY).dial(1)[0] == 0
    relay, worker = one.open_worker(SURFACE_DIRECT, peer=RELAY), one.open_worker(0)
    assert relay.dial(0)[0] == -errno.EPERM and relay.has_ended()
    assert worker.dial(1)[0] == -errno.EPERM and worker.has_ended()


def test_udp_is_a_connected_socket_and_the_next_address_where_the_first_refuses(broker):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.2", 0))
        port = one.getsockname()[1]
        relay = broker([target(addresses=["127.0.0.1", "127.0.0.2"], port=port, surfaces=(), direct=2)]).open_worker(SURFACE_DIRECT, peer=RELAY)
        for turn, address in ((0, "127.0.0.1"), (1, "127.0.0.2"), (2, "127.0.0.1"), (0xFFFFFFFF, "127.0.0.2")):
            status, given = relay.dial(0, turn=turn)
            assert status == 0 and given.type == socket.SOCK_DGRAM and given.getpeername() == (address, port)
        given.send(b"hello")
        assert one.recvfrom(10) == (b"hello", given.getsockname())


def test_a_generation_that_is_not_held_is_refused(broker, listener):
    worker = broker([here(listener)]).open_worker(0)
    assert worker.dial(0, generation=7)[0] == -errno.ESTALE
    assert worker.dial(0, generation=0)[0] == -errno.EPERM


def test_two_generations_are_held_and_the_oldest_goes(broker, listener):
    one = broker([here(listener)])
    worker = one.open_worker(0)
    for generation in (2, 3):
        one.take_image(generation, dial_block(generation, [target("unresolved", path="container x"), here(listener)]))
        assert one.receive("ROLE_IMAGE_TAKEN", "ipc_image")["generation"] == generation
        if generation == 2:
            assert worker.dial(0, generation=1)[0] == 0
    assert worker.dial(0, generation=1)[0] == -errno.ESTALE
    assert worker.dial(1, generation=2)[0] == 0
    assert worker.dial(1, generation=3)[0] == 0


def test_a_block_that_is_damaged_ends_the_broker(broker, listener):
    one = broker([here(listener)])
    block = bytearray(dial_block(2, [here(listener)]))
    block[-100] ^= 0xFF
    struct.pack_into("<Q", block, 16, len(block) + 1)
    one.take_image(2, bytes(block))
    assert one.process.wait(10) != 0


def test_messages_no_worker_sends_end_the_channel(broker, listener):
    one = broker([here(listener)])
    dial = fake_parent.message("BROKER_DIAL", "ipc_dial", id=1, generation=1, target=0)
    for nonsense in (b"x", dial[:-1], dial + b"x", fake_parent.message("PARENT_START", "ipc_start"), b"\xff" * 2000):
        worker = one.open_worker(0)
        worker.channel.send(nonsense)
        assert worker.has_ended()
    with_descriptor = one.open_worker(0)
    socket.send_fds(with_descriptor.channel, [dial], [listener.fileno()])
    assert with_descriptor.has_ended()
    assert one.open_worker(0).dial(0)[0] == 0


def test_unresolved_is_told_at_once(broker):
    assert broker([target("unresolved", path="container grafana")]).open_worker(0).dial(0)[0] == -errno.ENOENT


# ---- what it hands out ----

def test_a_half_connected_socket_is_never_given(broker):
    """A full backlog leaves the connect hanging: the answer is a timeout, not a socket on its way."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        started = time.monotonic()
        worker = broker([target(addresses=["127.0.0.1"], port=full.getsockname()[1])]).open_worker(0)
        status, given = worker.dial(0)
        assert status == -errno.ETIMEDOUT and given is None
        assert 2.5 < time.monotonic() - started < 6


def test_a_socket_is_established_non_blocking_and_without_delay(broker, listener):
    _, given = broker([here(listener)]).open_worker(0).dial(0)
    assert given.getpeername() == listener.getsockname()
    assert given.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert given.getblocking() is False or os.get_blocking(given.fileno()) is False


def test_what_is_refused_is_told_at_once(broker, free_port):
    started = time.monotonic()
    assert broker([target(addresses=["127.0.0.1"], port=free_port())]).open_worker(0).dial(0)[0] == -errno.ECONNREFUSED
    assert time.monotonic() - started < 2


def test_the_next_address_is_tried_when_one_refuses(broker, listener):
    both = target(addresses=["::1", "127.0.0.1"], port=listener.getsockname()[1])
    status, given = broker([both]).open_worker(0).dial(0)
    assert status == 0 and given.family == socket.AF_INET


def test_the_next_address_is_tried_when_one_is_silent(namespace, broker):
    """An address whose packets are dropped costs a quarter of a second, not the whole limit."""
    inside = namespace()
    inside.run("ip", "addr", "add", "10.9.8.7/32", "dev", "lo")
    inside.run("ip", "route", "add", "blackhole", "10.9.9.0/24")
    inside.run("nft", "add table inet t; add chain inet t out { type filter hook output priority 0; }; add rule inet t out ip daddr 10.9.8.7 drop")
    listener = inside.listen("127.0.0.1", 8080)
    both = target("netns", addresses=["10.9.8.7", "127.0.0.1"], port=8080, path=inside.path)
    started = time.monotonic()
    status, given = broker([both]).open_worker(0).dial(0)
    assert status == 0 and given.getpeername() == ("127.0.0.1", 8080)
    assert 0.2 < time.monotonic() - started < 2
    listener.close()


def test_a_unix_socket_is_dialled(broker, directory):
    path = os.path.join(directory, "service.sock")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen()
        service.settimeout(10)
        status, given = broker([target("unix", path=path)]).open_worker(0).dial(0)
        assert status == 0
        given.send(b"hello")
        assert service.accept()[0].recv(5) == b"hello"


def test_a_unix_socket_with_a_full_backlog_is_waited_for(broker, directory):
    path = os.path.join(directory, "service.sock")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(path)
        worker = broker([target("unix", path=path)]).open_worker(0)
        worker.ask(0)
        worker.channel.settimeout(0.2)
        with pytest.raises(TimeoutError):
            worker.answer()
        worker.channel.settimeout(10)
        service.accept()
        assert worker.answer()[1] == 0


def test_one_dead_target_does_not_take_all_the_dials_of_a_worker(broker, listener):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        dead = target(addresses=["127.0.0.1"], port=full.getsockname()[1])
        one = broker([dead, here(listener)])
        worker = one.open_worker(0)
        for _ in range(200):
            worker.ask(0)
        refused = [worker.answer() for _ in range(200 - 128)]
        assert {status for _, status, _ in refused} == {-errno.EAGAIN}
        assert worker.dial(1)[0] == 0
        assert one.open_worker(0, worker=1).dial(0)[0] == -errno.ETIMEDOUT, "another worker's dials are its own"
        assert {worker.answer()[1] for _ in range(128)} == {-errno.ETIMEDOUT}


def test_a_flood_of_asks_whose_answers_are_not_read_stays_bounded(broker, listener):
    one = broker([here(listener)])
    flood = one.open_worker(0)
    flood.channel.settimeout(0.3)
    asked = 0
    try:
        while asked < 100_000:
            flood.ask(0)
            asked += 1
    except TimeoutError:
        pass
    assert asked < 100_000, "the channel must fill"
    assert one.open_worker(0, worker=1).dial(0)[0] == 0
    with open(f"/proc/{one.process.pid}/status") as status:
        rss_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert rss_kb < 20_000
    assert len(os.listdir(f"/proc/{one.process.pid}/fd")) < 400


def test_a_worker_that_dies_leaves_nothing_open(broker, listener):
    one = broker([here(listener)])
    first = one.open_worker(0)
    assert first.dial(0)[0] == 0
    before = len(os.listdir(f"/proc/{one.process.pid}/fd"))
    for _ in range(5):
        worker = one.open_worker(0)
        worker.ask(0)
        worker.channel.close()
    wait_until(lambda: len(os.listdir(f"/proc/{one.process.pid}/fd")) <= before, what="descriptors closed")


# ---- namespaces ----

def test_loopback_of_a_namespace_is_dialled_from_the_gateways_address(namespace, broker):
    """An application that trusts 127.0.0.1 must not take the gate for localhost."""
    inside = namespace()
    service = inside.listen("127.0.0.1", 8080)
    status, given = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ELSEWHERE_V6])]).open_worker(0).dial(0)
    assert status == 0
    connection, peer = service.accept()
    assert peer[0] == ELSEWHERE
    given.send(b"hello")
    assert connection.recv(5) == b"hello"


def test_loopback_v6_of_a_namespace_is_dialled_from_the_gateways_address(namespace, broker):
    inside = namespace()
    service = inside.listen("::1", 8080, socket.AF_INET6)
    status, _ = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ELSEWHERE_V6])]).open_worker(0).dial(0)
    assert status == 0
    assert service.accept()[1][0] == ELSEWHERE_V6


def test_true_loopback_only_where_it_is_declared(namespace, broker):
    inside = namespace()
    service = inside.listen("127.0.0.1", 8080)
    assert broker([target("netns", addresses=["127.0.0.1", "::1"], port=8080, path=inside.path)]).open_worker(0).dial(0)[0] == 0
    assert service.accept()[1][0] == "127.0.0.1"


def test_loopback_without_an_address_of_ours_is_refused_not_dialled_as_localhost(namespace, broker):
    inside = namespace()
    kept = inside.listen("127.0.0.1", 8080)
    one = broker([target("netns", port=8080, path=inside.path)])
    assert one.open_worker(0).dial(0)[0] == -errno.EADDRNOTAVAIL
    assert "only its loopback" in one.said()
    kept.close()


def test_a_namespaces_own_address_is_found(namespace, broker):
    inside = namespace()
    inside.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    inside.run("ip", "addr", "add", "172.30.0.2/24", "dev", "eth0")
    inside.run("ip", "link", "set", "eth0", "up")
    inside.run("ip", "link", "set", "eth1", "up")
    service = inside.listen("172.30.0.2", 8080)
    status, given = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ""])]).open_worker(0).dial(0)
    assert status == 0 and given.getpeername() == ("172.30.0.2", 8080)
    assert service.accept()[1][0] != ELSEWHERE
    assert ELSEWHERE not in inside.run("ip", "addr", "show", "dev", "lo")


def test_our_address_leaves_a_namespace_that_gets_a_network(namespace, broker):
    """It would hide the gateway itself from what runs there. One that somebody else put there stays."""
    inside = namespace()
    inside.run("ip", "addr", "add", ELSEWHERE_V6, "dev", "lo")
    kept = inside.listen("127.0.0.1", 8080)
    worker = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ELSEWHERE_V6])]).open_worker(0)
    assert worker.dial(0)[0] == 0
    assert ELSEWHERE in inside.run("ip", "addr", "show", "dev", "lo")
    inside.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    inside.run("ip", "addr", "add", "172.30.0.2/24", "dev", "eth0")
    inside.run("ip", "link", "set", "eth0", "up")
    inside.run("ip", "link", "set", "eth1", "up")

    def gone():
        worker.dial(0)
        return f"{ELSEWHERE}/" not in inside.run("ip", "addr", "show", "dev", "lo")

    wait_until(gone, what="our address leaving lo", interval_s=0.2)
    assert ELSEWHERE_V6 in inside.run("ip", "addr", "show", "dev", "lo")


def test_the_hosts_own_namespace_is_refused(broker, listener):
    own = target("netns", addresses=["127.0.0.1"], port=listener.getsockname()[1], path="/proc/self/ns/net")
    one = broker([own])
    assert one.open_worker(0).dial(0)[0] == -errno.EACCES
    assert "gateway's own network namespace" in one.said()


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/proc/self/ns/uts", "/tmp"])
def test_what_is_no_network_namespace_is_refused(broker, path):
    assert broker([target("netns", addresses=["127.0.0.1"], port=1, path=path)]).open_worker(0).dial(0)[0] == -errno.EACCES


def test_a_pipe_in_a_namespaces_place_is_not_opened(broker, directory):
    path = os.path.join(directory, "pipe")
    os.mkfifo(path)
    assert broker([target("netns", addresses=["127.0.0.1"], port=1, path=path)]).open_worker(0).dial(0)[0] == -errno.EACCES


def test_a_namespace_that_is_not_there_is_told(broker):
    worker = broker([target("netns", addresses=["127.0.0.1"], port=1, path="/run/netns/daemons-none")]).open_worker(0)
    assert worker.dial(0)[0] == -errno.ENOENT


def test_a_namespace_that_was_replaced_is_followed_at_once(namespace, broker):
    inside = namespace()
    kept = inside.listen("127.0.0.1", 8080)
    worker = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ""])]).open_worker(0)
    assert worker.dial(0)[0] == 0
    inside.remove()
    assert worker.dial(0)[0] == -errno.ENOENT
    inside.make()
    assert worker.dial(0)[0] == -errno.ECONNREFUSED
    service = inside.listen("127.0.0.1", 8080)
    status, given = worker.dial(0)
    assert status == 0
    given.send(b"new")
    assert service.accept()[0].recv(3) == b"new"


def test_a_dead_namespace_is_not_kept_alive(namespace, broker):
    """A held descriptor would keep it, its addresses and its rules for ever."""
    inside = namespace()
    one = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ""])])
    assert one.open_worker(0).dial(0)[0] == -errno.ECONNREFUSED
    number = os.stat(inside.path).st_ino

    def held():
        links = [os.readlink(f"/proc/{one.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{one.process.pid}/fd")]
        return any(link == f"net:[{number}]" or (link.startswith("/run/netns/") and inside.name in link) for link in links)

    assert held(), "within its second it is held"
    inside.remove()
    wait_until(lambda: not held(), timeout_s=5, what="the namespace let go")


def test_sockets_of_the_host_are_made_on_the_host_after_a_namespace(namespace, broker, listener):
    inside = namespace()
    kept = inside.listen("127.0.0.1", listener.getsockname()[1])
    worker = broker([target("netns", port=listener.getsockname()[1], path=inside.path, sources=[ELSEWHERE, ""]), here(listener)]).open_worker(0)
    for _ in range(3):
        assert worker.dial(0)[0] == 0 and kept.accept()
        status, given = worker.dial(1)
        assert status == 0
        given.send(b"host")
        assert listener.accept()[0].recv(4) == b"host"


# ---- confinement and cost ----

def test_it_holds_two_capabilities_and_a_filter(broker, listener):
    one = broker([here(listener)], uid=64999)
    with open(f"/proc/{one.process.pid}/status") as text:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in text)
    assert status["Uid"].split() == ["64999"] * 4
    assert int(status["CapEff"], 16) == 1 << 21 | 1 << 12
    assert int(status["CapBnd"], 16) == 1 << 21 | 1 << 12
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert one.open_worker(0).dial(0)[0] == 0


def test_it_dials_into_a_namespace_without_being_root(namespace, broker):
    inside = namespace()
    service = inside.listen("127.0.0.1", 8080)
    one = broker([target("netns", port=8080, path=inside.path, sources=[ELSEWHERE, ELSEWHERE_V6])], uid=64999)
    assert one.open_worker(0).dial(0)[0] == 0
    assert service.accept()[1][0] == ELSEWHERE


def test_it_ends_with_its_parent(broker, listener):
    assert broker([here(listener)]).end() == 0
