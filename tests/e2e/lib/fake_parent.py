"""Plays postern-parent to one role: its channel on descriptor 3, the messages of src/ipc/message.h, hand-made dial blocks of src/policy/image.h."""
import array
import ctypes
import fcntl
import ipaddress
import os
import select
import socket
import struct
import subprocess

from lib.process import BUILD, wait_until

PARENT, KEEPER, BROKER, WATCHER, LOGGER, WORKER, COMPILER = range(7)
START, IMAGE, CHANNEL_LOST, CHANNEL, LISTENER, DRAIN, METRICS_PAGE, ROLE_STATE, RELOAD_RESULT = range(1, 10)
READY, IMAGE_TAKEN, DRAINED, RELOAD = range(32, 36)
KEEPER_STATE = 68
DIAL, DIAL_ANSWER = 96, 97
LISTENER_LOG, LISTENER_CONTROL, LISTENER_METRICS = 16, 17, 18
SURFACE_NONE = 0xFFFFFFFF

_prctl = ctypes.CDLL(None).prctl


def message(kind, body=b""):
    return struct.pack("<HHI", kind, 8 + len(body), 0) + body


def address(text):
    value = ipaddress.ip_address(text)
    return value.packed if value.version == 6 else bytes(10) + b"\xff\xff" + value.packed


def sealed(data):
    fd = os.memfd_create("block", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def target(kind="address", surfaces=(0,), addresses=(), port=0, path="", name="it", sources=(), identity=None):
    return {"kind": ["address", "unix", "netns", "unresolved"].index(kind), "surfaces": sum(1 << s for s in surfaces),
            "addresses": [address(a) for a in addresses], "port": port, "path": path, "name": name,
            "sources": [address(a) if a else bytes(16) for a in sources], "identity": identity}


def dial_block(generation, targets):
    """An IMAGE_DIAL block: header, section table, strings, targets."""
    n_sections, strings, records = 15, b"", b""
    for number, t in enumerate(targets):
        texts = []
        for text in (t["path"], t["name"]):
            encoded = text.encode()
            texts += [len(strings), len(encoded)]
            strings += encoded
        identity = number + 1 if t["identity"] is None else t["identity"]
        records += struct.pack("<QQII", t["surfaces"], identity, t["kind"], len(t["addresses"]))
        records += b"".join(t["addresses"]).ljust(64, b"\0")
        records += struct.pack("<IIIIH6x", *texts, t["port"]) + b"".join(t["sources"]).ljust(32, b"\0")
    start = 64 + n_sections * 24
    start += -start % 16
    strings_at, targets_at = start, start + len(strings) + (-len(strings) % 16)
    sections = [(0, 0, 0)] * n_sections
    sections[0] = (strings_at, len(strings), 1)
    sections[11] = (targets_at, len(targets), 144)
    size = targets_at + len(records)
    head = b"postern\0" + struct.pack("<IIQQ", 1, 2, size, generation) + b"abc123".ljust(32, b"\0")
    head += b"".join(struct.pack("<QQII", *section, 0) for section in sections)
    return (head.ljust(strings_at, b"\0") + strings).ljust(targets_at, b"\0") + records


class Role:
    """One role's process and the parent's end of its channel."""

    def __init__(self, program, which, log_file="", block=None, generation=1, stdout=None, stderr=None, uid=0):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        self.channel, self.which = ours, which
        path = os.path.join(BUILD, program)
        self.process = subprocess.Popen(["/bin/bash", "-c", f'exec "{path}" 3<&{theirs.fileno()} {theirs.fileno()}<&-' if theirs.fileno() != 3
                                         else f'exec "{path}"'],
                                        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                        preexec_fn=lambda: _prctl(1, 15))
        theirs.close()
        fds = [sealed(block)] if block else []
        body = struct.pack("<QQIIIIII", generation, len(block or b""), which, SURFACE_NONE, 0, uid, uid, 1) + bytes(256) + \
            log_file.encode().ljust(256, b"\0")
        self.send(message(START, body), fds)
        kind, body, _ = self.receive()
        assert kind == READY
        self.confinement, self.missing = struct.unpack("<II", body)

    def send(self, data, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.channel.sendmsg([data], rights)
        for fd in fds:
            os.close(fd)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.channel, 4096, 4)
        return struct.unpack_from("<H", data)[0] if data else None, data[8:], fds

    def take_image(self, generation, block):
        self.send(message(IMAGE, struct.pack("<QQ", generation, len(block))), [sealed(block)])

    def give(self, fd, surface, worker=0, name="", peer=WORKER):
        self.send(message(CHANNEL, struct.pack("<IIII", peer, surface, worker, 0) + name.encode().ljust(64, b"\0")), [fd])

    def give_listener(self, listener, kind):
        self.send(message(LISTENER, bytes(16) + struct.pack("<HHHH", 0, kind, 0, 0)), [os.dup(listener.fileno())])

    def open_worker(self, surface, worker=0):
        """A channel as a worker of that surface has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.give(theirs.detach(), surface, worker)
        ours.settimeout(10)
        return Worker(ours)

    def open_pipe(self, surface, name="main", worker=0):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.give(reader, surface, worker, name)
        return writer

    def end(self, timeout_s=10):
        """As when the parent dies; the role's exit status."""
        self.channel.close()
        return self.process.wait(timeout_s)

    def stop(self):
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Worker:
    def __init__(self, channel):
        self.channel = channel
        self.last_id = 0

    def ask(self, target_index, generation=1):
        self.last_id += 1
        self.channel.send(message(DIAL, struct.pack("<QQII", self.last_id, generation, target_index, 0)))
        return self.last_id

    def answer(self):
        """(id, status, socket or None); None when the channel has ended."""
        data, fds, _, _ = socket.recv_fds(self.channel, 4096, 4)
        if not data:
            return None
        kind, size, _, identity, status, _ = struct.unpack("<HHIQiI", data)
        assert kind == DIAL_ANSWER and size == len(data) and len(fds) == (status == 0)
        return identity, status, socket.socket(fileno=fds[0]) if fds else None

    def dial(self, target_index, generation=1):
        identity = self.ask(target_index, generation)
        answer = self.answer()
        assert answer is None or answer[0] == identity
        return answer and answer[1:]

    def has_ended(self):
        def ended():
            if not select.select([self.channel], [], [], 0)[0]:
                return False
            return self.answer() is None
        wait_until(ended, what="the end of the channel")
        return True


def record(**given):
    """A struct ipc_record."""
    v = {"time_us": 1_700_000_000_123_456, "generation": 1, "bytes_in": 10, "bytes_out": 20, "connect_us": 100, "first_byte_us": 200, "total_us": 1234,
         "status": 200, "denied": 0, "http_version": 11, "client": "100.64.0.13", "id": "0123456789abcdef", "method": "GET", "principal": "macbook",
         "segment": "clients", "service": "grafana", "instance": "grafana@roc", "host": "grafana.home.example", "rule": "postern.yml:41",
         "revision": "abc123", "reason": "", **given}
    text = lambda key, size: (v[key] if isinstance(v[key], bytes) else v[key].encode().ljust(size, b"\0"))[:size]
    data = struct.pack("<QQQQIIIHBB", v["time_us"], v["generation"], v["bytes_in"], v["bytes_out"], v["connect_us"], v["first_byte_us"], v["total_us"],
                       v["status"], v["denied"], v["http_version"]) + address(v["client"])
    for key, size in (("id", 17), ("method", 15), ("principal", 48), ("segment", 32), ("service", 48), ("instance", 64), ("host", 64), ("rule", 48),
                      ("revision", 16), ("reason", 48)):
        data += text(key, size)
    return data
