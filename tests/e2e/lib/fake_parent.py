"""Plays postern-parent to one role: its channel on descriptor 3, the messages of src/ipc/message.h, hand-made dial blocks of src/policy/image.h."""
import array
import ctypes
import fcntl
import ipaddress
import os
import re
import select
import socket
import struct
import subprocess

from lib.process import BUILD, wait_until

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "..")


class _Header:
    """Enumerations and structs of a C header, so that a field that is added there is known here."""

    _types = {"uint8_t": "B", "char": "s", "uint16_t": "H", "uint32_t": "I", "int32_t": "i", "uint64_t": "Q", "int64_t": "q"}

    def __init__(self, path):
        with open(os.path.join(ROOT, path), encoding="utf-8") as text:
            self.text = re.sub(r"/\*.*?\*/", "", text.read(), flags=re.S)
        self.constants = {}
        for body in re.findall(r"enum\s*\w*\s*{(.*?)}", self.text, flags=re.S):
            value = -1
            for item in filter(None, (item.strip() for item in body.split(","))):
                name, _, given = (part.strip() for part in item.partition("="))
                value = eval(given, {}, self.constants) if given else value + 1
                self.constants[name] = value

    def fields(self, name):
        """[(field, format, count, offset)] and the size of a struct."""
        body = re.search(rf"struct {name} {{(.*?)\n}};", self.text, flags=re.S).group(1)
        fields, offset, widest = [], 0, 1
        for kind, names in re.findall(r"(struct \w+|\w+) ([^;]+);", body):
            for field, count in re.findall(r"(\w+)(?:\[([^\]]+)\])?", names):
                count = eval(count, {}, self.constants) if count else None
                if kind == "struct address":
                    code, size, align = "s", 16, 1
                    count = 16
                elif kind == "struct ipc_header":
                    code, size, align, count = "s", 8, 4, 8
                else:
                    code = self._types[kind]
                    align = struct.calcsize(code)
                    size = align * (count or 1)
                offset += -offset % align
                fields.append((field, code, count, offset))
                offset += size
                widest = max(widest, align)
        return fields, offset + -offset % widest

    def pack(self, structure, /, **values):
        fields, size = self.fields(structure)
        data = bytearray(size)
        for field, code, count, offset in fields:
            value = values.pop(field, None)
            if value is None:
                continue
            if code == "s":
                struct.pack_into(f"{count}s", data, offset, value.encode() if isinstance(value, str) else value)
            else:
                struct.pack_into(f"{count or 1}{code}", data, offset, *(value if count else [value]))
        assert not values, f"struct {structure} has no {', '.join(values)}"
        return bytes(data)

    def unpack(self, name, data):
        fields, size = self.fields(name)
        assert len(data) == size, f"struct {name}: {len(data)} bytes, not {size}"
        result = {}
        for field, code, count, offset in fields:
            value = struct.unpack_from(f"{count or 1}{code}", data, offset)
            result[field] = value[0] if code == "s" or not count else value
        return result


IPC = _Header("src/ipc/message.h")
METRICS = _Header("src/ipc/metrics.h")
IMAGE = _Header("src/policy/image.h")
PARENT, KEEPER, BROKER, WATCHER, LOGGER, WORKER, COMPILER, DOCKER, RELAY, PORTER = (
    IPC.constants["IPC_ROLE_" + name]
    for name in ("PARENT", "KEEPER", "BROKER", "WATCHER", "LOGGER", "WORKER", "COMPILER", "DOCKER", "RELAY", "PORTER"))
SURFACE_DIRECT = 64
LISTENER_LOG, LISTENER_CONTROL, LISTENER_METRICS = (IPC.constants["IPC_LISTENER_" + name] for name in ("LOG", "CONTROL", "METRICS"))
SURFACE_NONE = 0xFFFFFFFF

_prctl = ctypes.CDLL(None).prctl


def message(what, structure, /, **values):
    """A message of type IPC_what."""
    size = IPC.fields(structure)[1]
    return IPC.pack(structure, header=struct.pack("<HHI", IPC.constants["IPC_" + what], size, 0), **values)


def address(text):
    value = ipaddress.ip_address(text)
    return value.packed if value.version == 6 else bytes(10) + b"\xff\xff" + value.packed


def sealed(data):
    fd = os.memfd_create("block", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def container_number(reference):
    """As image_container_number: the fingerprint of what a container is called."""
    mask, value = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in reference.encode():
        value = (value ^ byte) * 0x100000001B3 & mask
    value ^= value >> 32
    value = value * 0xD6E8FEB86659FD93 & mask
    return (value ^ value >> 32) or 1


def target(kind="address", surfaces=(0,), addresses=(), port=0, path="", name="it", sources=(), identity=None, direct=0):
    """kind "container": path is what it is called."""
    return {"kind": ["address", "unix", "netns", "unresolved", "container"].index(kind), "surfaces": sum(1 << s for s in surfaces),
            "addresses": [address(a) for a in addresses], "port": port, "path": path, "name": name,
            "sources": [address(a) if a else bytes(16) for a in sources], "identity": identity,
            "direct": direct, "container": container_number(path) if kind == "container" else 0}


def _block(kind, generation, strings, sections):
    """header, section table, strings, then the sections: {number: (bytes, elements, bytes of each)}."""
    n_sections = IMAGE.constants["IMAGE_SECTION_COUNT"]
    table = [(0, 0, 0)] * n_sections
    at = 64 + n_sections * 24
    body = b""
    for number, (data, count, stride) in sorted({0: (strings, len(strings), 1), **sections}.items()):
        body += b"\0" * (-(at + len(body)) % 16)
        table[number] = (at + len(body), count, stride)
        body += data
    head = b"postern\0" + struct.pack("<IIQQ", 1, kind, at + len(body), generation) + b"abc123".ljust(32, b"\0")
    return head + b"".join(struct.pack("<QQII", *section, 0) for section in table) + body


def dial_block(generation, targets):
    """An IMAGE_DIAL block."""
    strings, records = b"", b""
    for number, t in enumerate(targets):
        texts = []
        for text in (t["path"], t["name"]):
            encoded = text.encode()
            texts += [len(strings), len(encoded)]
            strings += encoded
        identity = number + 1 if t["identity"] is None else t["identity"]
        records += struct.pack("<QQII", t["surfaces"], identity, t["kind"], len(t["addresses"]))
        records += b"".join(t["addresses"]).ljust(64, b"\0")
        records += struct.pack("<IIIIHH4x", *texts, t["port"], t["direct"]) + b"".join(t["sources"]).ljust(32, b"\0") + struct.pack("<Q", t["container"])
    return _block(2, generation, strings, {11: (records, len(targets), 152)})


def docker_block(generation, references, socket="/run/docker.sock", guests=(), wants_offers=False):
    """An IMAGE_DOCKER block: what containers are called, and those that ask."""
    strings = socket.encode()
    records = b""
    for number, reference in sorted((container_number(reference), reference) for reference in {*references, *guests}):
        flags = (1 if reference in references else 0) | (2 if reference in guests else 0)
        records += struct.pack("<QIIII", number, len(strings), len(reference.encode()), flags, 0)
        strings += reference.encode()
    engine = struct.pack("<IIII", 0, len(socket.encode()), int(wants_offers), 0)
    constants = IMAGE.constants
    return _block(5, generation, strings, {constants["IMAGE_CONTAINERS"]: (records, len(records) // 24, 24), constants["IMAGE_ENGINE"]: (engine, 1, 16)})


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
        self.send(message("PARENT_START", "ipc_start", generation=generation, block_size=len(block or b""), role=which, surface=SURFACE_NONE, uid=uid,
                          gid=uid, log_requests=1, log_file=log_file), fds)
        ready = self.receive("ROLE_READY", "ipc_ready")
        self.confinement, self.missing = ready["confinement"], ready["missing"]

    def send(self, data, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.channel.sendmsg([data], rights)
        for fd in fds:
            os.close(fd)

    def receive(self, kind, structure):
        """The next message, which must be an IPC_kind, as a dictionary."""
        data, fds, _, _ = socket.recv_fds(self.channel, 4096, 4)
        assert data, "the role has ended"
        for fd in fds:
            os.close(fd)
        assert struct.unpack_from("<H", data)[0] == IPC.constants["IPC_" + kind]
        return IPC.unpack(structure, data)

    def take_image(self, generation, block):
        self.send(message("PARENT_IMAGE", "ipc_image", generation=generation, block_size=len(block)), [sealed(block)])

    def give(self, fd, surface, worker=0, name="", peer=WORKER):
        self.send(message("PARENT_CHANNEL", "ipc_channel", peer=peer, surface=surface, worker=worker, surface_name=name), [fd])

    def give_listener(self, listener, kind):
        self.send(message("PARENT_LISTENER", "ipc_listener", kind=kind), [os.dup(listener.fileno())])

    def open_worker(self, surface, worker=0, peer=None):
        """A channel as a worker of that surface (or the relay) has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.give(theirs.detach(), surface, worker, **({} if peer is None else {"peer": peer}))
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

    def ask(self, target_index, generation=1, turn=0):
        self.last_id += 1
        self.channel.send(message("BROKER_DIAL", "ipc_dial", id=self.last_id, generation=generation, target=target_index, turn=turn))
        return self.last_id

    def answer(self):
        """(id, status, socket or None); None when the channel has ended."""
        data, fds, _, _ = socket.recv_fds(self.channel, 4096, 4)
        if not data:
            return None
        answer = IPC.unpack("ipc_dial_answer", data)
        assert len(fds) == (answer["status"] == 0)
        return answer["id"], answer["status"], socket.socket(fileno=fds[0]) if fds else None

    def dial(self, target_index, generation=1, turn=0):
        identity = self.ask(target_index, generation, turn)
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
    v["client"] = address(v["client"])
    return IPC.pack("ipc_record", **v)
