"""postern-logger on its own: lines, followers, and what a hostile worker, a full disk or a slow reader can't do."""
import json
import os
import pty
import re
import socket
import subprocess

import pytest

from lib import fake_parent
from lib.fake_parent import LISTENER_LOG, LOGGER, record
from lib.process import wait_until


@pytest.fixture
def logger(role, directory):
    def start(log_file=None, **arguments):
        path = os.path.join(directory, "access.log") if log_file is None else log_file
        one = role("postern-logger", LOGGER, log_file=path, **arguments)
        one.path = path
        one.lines = lambda: [json.loads(line) for line in open(path, encoding="utf-8")] if os.path.exists(path) else []
        one.wait_lines = lambda n: wait_until(lambda: len(one.lines()) >= n and one.lines(), what=f"{n} lines")
        return one
    return start


@pytest.fixture
def listening(logger, directory):
    """A logger with its log.sock; ask(words) opens a connection that has asked."""
    path = os.path.join(directory, "log.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    one = logger()
    one.give_listener(listener, LISTENER_LOG)

    def ask(words):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(path)
        try:
            client.send(words.encode() + b"\n")
        except BrokenPipeError:  # turned away already; why can be read
            pass
        return client
    one.ask = ask

    def read_all(words):
        client, data = ask(words), b""
        try:
            while got := client.recv(65536):
                data += got
        except ConnectionResetError:  # closed with words of ours unread
            pass
        return [json.loads(line) for line in data.splitlines()]
    one.read_all = read_all
    yield one
    listener.close()


def test_a_record_becomes_one_json_line(logger):
    one = logger()
    os.write(one.open_pipe(3, "agents", worker=1), record(denied=1, status=404, connect_us=0xFFFFFFFF, reason='a "quoted\\" reason'))
    line, = one.wait_lines(1)
    assert line == {
        "time": "2023-11-14T22:13:20.123Z", "id": "0123456789abcdef", "surface": "agents", "worker": 1, "client": "100.64.0.13", "principal": "macbook",
        "segment": "clients", "service": "grafana", "instance": "grafana@roc", "host": "grafana.home.example", "method": "GET", "http": "1.1", "status": 404,
        "bytes_in": 10, "bytes_out": 20, "connect_ms": None, "first_byte_ms": 0.2, "total_ms": 1.234, "denied": "no-grant", "reason": 'a "quoted\\" reason',
        "rule": "postern.yml:41", "revision": "abc123", "generation": 1}


def test_many_records_in_one_write_and_one_record_in_many(logger):
    one = logger()
    pipe = one.open_pipe(0)
    os.write(pipe, b"".join(record(status=200 + i) for i in range(8)))
    whole = record(status=300)
    for at in range(0, len(whole), 100):
        os.write(pipe, whole[at:at + 100])
    assert [line["status"] for line in one.wait_lines(9)] == [*range(200, 208), 300]


def test_a_worker_cannot_speak_for_another_surface(logger):
    """Its pipe says who it is; nothing in a record does."""
    one = logger()
    main, agents = one.open_pipe(0, "main"), one.open_pipe(1, "agents")
    os.write(agents, record(status=201))
    one.wait_lines(1)
    os.write(main, record(status=202))
    assert [(line["surface"], line["status"]) for line in one.wait_lines(2)] == [("agents", 201), ("main", 202)]


@pytest.mark.parametrize("garbage", [os.urandom(2000), b"\0" * 2000, b"GET / HTTP/1.1\r\n" * 100, record(id="not a hex id!!!!"), record(principal=b"x" * 48),
                                     record(denied=99), record(status=1000), record(http_version=12), record(reason=b"y" * 48),
                                     record(time_us=2**64 - 1)],
                         ids=["random", "zeroes", "text", "id", "unterminated", "denied", "status", "http", "unterminated-last", "time"])
def test_garbage_ends_its_pipe_and_no_other(logger, garbage):
    one = logger()
    bad, good = one.open_pipe(0), one.open_pipe(1, "agents")
    os.write(bad, garbage)
    wait_until(lambda: "nothing more is read from it" in one.said(), what="the note")
    os.write(good, record())
    line, = one.wait_lines(1)
    assert line["surface"] == "agents"
    with pytest.raises(BrokenPipeError):
        os.write(bad, record())


def test_a_record_cannot_move_the_readers_cursor_or_forge_a_line(logger):
    one = logger()
    os.write(one.open_pipe(0), record(host=b"\x1b[2J\n{\"forged\":1}\x7f\xff".ljust(64, b"\0")))
    line, = one.wait_lines(1)
    assert line["host"] == "?[2J?{\"forged\":1}??"


def test_what_follows_a_texts_end_is_not_kept(listening):
    os.write(listening.open_pipe(0), record(host=b"short\0secret".ljust(64, b"\0")))
    listening.wait_lines(1)
    assert "secret" not in json.dumps(listening.read_all("last=1"))


def test_a_moved_file_is_followed(logger):
    one = logger()
    pipe = one.open_pipe(0)
    os.write(pipe, record(status=201))
    one.wait_lines(1)
    os.rename(one.path, one.path + ".1")

    def written_anew():
        os.write(pipe, record(status=202))
        return os.path.exists(one.path) and os.path.getsize(one.path) > 0

    wait_until(written_anew, what="a new file", interval_s=0.1)
    assert one.lines()[0]["status"] == 202


def test_a_full_disk_costs_records_and_nothing_else(logger, directory):
    disk = os.path.join(directory, "disk")
    os.mkdir(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "daemons-disk", disk], check=False).returncode:
        pytest.skip("can't mount a tmpfs")
    try:
        one = logger(log_file=os.path.join(disk, "access.log"))
        pipe = one.open_pipe(0)
        for _ in range(20):
            os.write(pipe, record() * 8)
        wait_until(lambda: "No space left" in one.said(), what="the note")
        full = one.said().count("\n")
        os.write(pipe, record() * 8)

        def again():
            with open(one.path, "r+b") as log:
                log.truncate(0)
            os.write(pipe, record(status=299))
            return "written again" in one.said()

        wait_until(again, what="writing again", interval_s=0.05)
        assert full == 1, "said once"
        lost = int(re.search(r"(\d+) were lost", one.said()).group(1))
        assert 0 < lost <= 200
        for line in open(one.path).read().split("\n"):
            if line.startswith("{"):
                json.loads(line)
        assert one.process.poll() is None
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_standard_output_gets_json_and_a_terminal_gets_readable_lines(logger, directory):
    path = os.path.join(directory, "out")
    with open(path, "wb") as out:
        one = logger(log_file="", stdout=out)
    os.write(one.open_pipe(0), record())
    wait_until(lambda: os.path.getsize(path) > 0, what="a line")
    assert json.loads(open(path).read())["service"] == "grafana"

    master, slave = pty.openpty()
    two = logger(log_file="", stdout=slave)
    os.close(slave)
    os.write(two.open_pipe(0, "main"), record())
    shown = re.sub(r"\x1b\[\d*m", "", os.read(master, 4096).decode())
    assert re.search(r"main +macbook +→ grafana +GET +200  1\.2 ms  20 B  grafana@roc  postern\.yml:41  0123456789abcdef", shown), shown
    os.close(master)


def test_the_last_records_are_told_with_filters(listening):
    pipe, agents = listening.open_pipe(0, "main"), listening.open_pipe(1, "agents")
    os.write(pipe, record(status=200) + record(status=502, principal="kobo", id="00000000000000aa"))
    os.write(agents, record(status=404, denied=2, principal="robin", segment="ai", service="", instance="", host=""))
    listening.wait_lines(3)
    assert len(listening.read_all("last=10")) == 3
    assert [line["status"] for line in listening.read_all("last=10 status=5xx")] == [502]
    assert [line["principal"] for line in listening.read_all("last=10 denied=1")] == ["robin"]
    assert [line["principal"] for line in listening.read_all("last=10 from=ro*")] == ["robin"]
    assert [line["principal"] for line in listening.read_all("last=10 from=ai surface=agents")] == ["robin"]
    assert [line["status"] for line in listening.read_all("last=1 to=grafana")] == [502]
    assert [line["status"] for line in listening.read_all("last=1 id=00000000000000AA")] == [502]
    assert listening.read_all("last=0") == []


@pytest.mark.parametrize("nonsense", ["last=4097", "last=-1", "colour=red", "status=6xx", "id=xyz", "denied=2", "x" * 600],
                         ids=lambda words: words[:12])
def test_a_request_that_is_none_is_closed(listening, nonsense):
    os.write(listening.open_pipe(0), record())
    listening.wait_lines(1)
    assert listening.read_all(nonsense) == [{"error": "the request is not understood"}]
    assert len(listening.read_all("last=1")) == 1


def test_followers_get_each_record_as_it_comes(listening):
    pipe = listening.open_pipe(0)
    follower = listening.ask("last=0 follow=1 status=201")
    follower.settimeout(0.2)

    def heard():
        os.write(pipe, record(status=200) + record(status=201))
        try:
            return follower.recv(4096)
        except TimeoutError:
            return None

    lines = wait_until(heard, what="a line").splitlines()
    assert [json.loads(line)["status"] for line in lines] == [201] * len(lines)


def test_the_ring_is_bounded_and_keeps_the_newest(listening):
    pipe = listening.open_pipe(0)
    for start in range(0, 5000, 8):
        os.write(pipe, b"".join(record(bytes_out=start + i) for i in range(8)))
    listening.wait_lines(5000)
    kept = [line["bytes_out"] for line in listening.read_all("last=4096")]
    assert kept == list(range(5000 - 4096, 5000))


def test_a_reader_that_takes_nothing_delays_nobody_and_is_told_what_it_missed(listening):
    pipe = listening.open_pipe(0)
    os.write(pipe, record())
    listening.wait_lines(1)
    slow = listening.ask("last=1 follow=1")
    slow.recv(1)
    for _ in range(1500):
        os.write(pipe, record() * 8)
    listening.wait_lines(12001)
    with open(f"/proc/{listening.process.pid}/status") as status:
        assert next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) < 12_000
    lines = slow.makefile()
    lines.readline()
    missed = 0
    seen = 1
    while seen + missed < 12001:
        line = json.loads(lines.readline())
        missed += line.get("missed", 0)
        seen += "missed" not in line
    assert missed > 0 and seen + missed == 12001


def test_readers_past_the_limit_are_turned_away(listening):
    os.write(listening.open_pipe(0), record())
    listening.wait_lines(1)
    kept = [listening.ask("last=1 follow=1") for _ in range(16)]
    for one in kept:
        assert one.recv(1)
    assert "too many" in listening.read_all("last=1")[0]["error"]
    kept.pop().close()
    wait_until(lambda: "id" in listening.read_all("last=1")[0], what="a free place")


def test_what_is_in_the_pipes_is_written_when_the_parent_ends(logger):
    one = logger()
    pipe = one.open_pipe(0)
    os.write(pipe, record() * 8)
    assert one.end() == 0
    assert len(one.lines()) == 8


def test_it_holds_no_capability_and_a_filter(logger):
    one = logger(uid=64998)
    with open(f"/proc/{one.process.pid}/status") as text:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in text)
    assert status["Uid"].split() == ["64998"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert os.stat(one.path).st_uid == 64998
    os.write(one.open_pipe(0), record())
    one.wait_lines(1)
