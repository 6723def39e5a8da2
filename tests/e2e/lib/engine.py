"""A real Docker engine of a test's own: dockerd in a network namespace, with its own data, socket, cgroup and containerd, and nothing of it left.

    engine.run("web", "postern-standin", "--name", "web", "--host", "h", "--listen", "127.0.0.1:80", network="none",
               project="monitoring", service="grafana")            a running Container; command words as in a Dockerfile's exec form
    engine.network("front", internal=True, subnet="10.200.1.0/28")  a Network;  engine.run(..., networks=["front", "back"])
    container.pid, .id, .address("front"), .inspect(), .stop(), .kill(), .start(), .restart(), .remove(), .logs()
    container.enter("curl", ...)      a program of this machine, in the container's network namespace; engine.enter(...): in the engine's
    engine.containers(), engine.api("GET", "/info"), engine.image("name", {"/bin/thing": "/usr/bin/thing"})
    engine.pause(), .resume(), .kill(), .restart()                  what happens to dockerd; with live_restore=True containers outlive it
    engine.compose("examples/homelab/compose.yml", project)         lib.compose: its services as Compose would make them

Everything is spoken to dockerd's API; no docker program is needed. The image is "box": busybox, its applets, and postern-standin."""
import contextlib
import fcntl
import http.client
import io
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.parse

from lib.process import STANDIN, Process, wait_until

API = "/v1.41"
PREFIX = "postern-engine-"
IMAGE = "box"
APPLETS = ("sh", "sleep", "nc", "wget", "ip", "cat", "ls", "true", "false", "echo", "kill", "httpd", "ping", "env", "date", "mkdir", "rm")
CGROUPS = "/sys/fs/cgroup"
_numbers = itertools.count()


def cannot_run():
    """Why no engine can run here; None where one can. The words of a missing program are those that CI takes for a failure."""
    missing = [name for name in ("dockerd", "containerd", "runc", "busybox", "iptables", "nsenter") if not shutil.which(name)]
    if missing:
        return f"missing here: {', '.join(missing)} (tools/packages)"
    if os.geteuid() != 0:
        return "a Docker engine is started by root"
    if not os.path.isdir(CGROUPS) or not os.access(CGROUPS, os.W_OK):
        return "a Docker engine needs cgroups that can be written"
    return None


class EngineCannotRun(Exception):
    """dockerd ended at its start; the text is its last words."""


class Refused(AssertionError):
    """The engine said no: .status and its message."""

    def __init__(self, method, path, status, message):
        super().__init__(f"{method} {path}: {status}: {message}")
        self.status, self.message = status, message


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout_s):
        super().__init__("docker", timeout=timeout_s)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Container:
    """One container; what changes is asked of the engine each time."""

    def __init__(self, engine, id_, name):
        self.engine, self.id, self.name = engine, id_, name

    def __repr__(self):
        return f"<container {self.name} {self.id[:12]}>"

    def _post(self, what, **query):
        self.engine.api("POST", f"/containers/{self.id}/{what}", query=query)
        return self

    def inspect(self):
        return self.engine.api("GET", f"/containers/{self.id}/json")

    @property
    def pid(self):
        return self.inspect()["State"]["Pid"]

    def running(self):
        return self.inspect()["State"]["Running"]

    def address(self, network=None, family=4):
        networks = self.inspect()["NetworkSettings"]["Networks"]
        one = networks[network] if network else next(iter(networks.values()))
        return one["IPAddress" if family == 4 else "GlobalIPv6Address"]

    def start(self):
        return self._post("start")

    def stop(self, grace_s=0):
        return self._post("stop", t=grace_s)

    def restart(self, grace_s=0):
        return self._post("restart", t=grace_s)

    def kill(self, signal_name="KILL"):
        return self._post("kill", signal=signal_name)

    def pause(self):
        return self._post("pause")

    def unpause(self):
        return self._post("unpause")

    def rename(self, name):
        self._post("rename", name=name)
        self.name = name
        return self

    def wait(self):
        """Its exit status, once it ended."""
        return self.engine.api("POST", f"/containers/{self.id}/wait")["StatusCode"]

    def remove(self):
        self.engine.api("DELETE", f"/containers/{self.id}", query={"force": 1, "v": 1}, may=(404,))

    def logs(self):
        """Standard output and standard error, in the order they came."""
        raw = self.engine.api("GET", f"/containers/{self.id}/logs", query={"stdout": 1, "stderr": 1}, raw=True)
        text, at = b"", 0
        while at + 8 <= len(raw):
            size = int.from_bytes(raw[at + 4:at + 8], "big")
            text += raw[at + 8:at + 8 + size]
            at += 8 + size
        return text.decode(errors="replace")

    def command(self, *command):
        """The words that run a program of this machine in the container's network namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *map(str, command)]

    def enter(self, *command, timeout_s=60, **arguments):
        return subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout_s, **arguments)


class Network:
    """One network of the engine."""

    def __init__(self, engine, id_, name):
        self.engine, self.id, self.name = engine, id_, name

    def inspect(self):
        return self.engine.api("GET", f"/networks/{self.id}")

    @property
    def bridge(self):
        return self.inspect()["Options"].get("com.docker.network.bridge.name", f"br-{self.id[:12]}")

    def connect(self, container, aliases=()):
        self.engine.api("POST", f"/networks/{self.id}/connect", {"Container": container.id, "EndpointConfig": {"Aliases": list(aliases)}})

    def disconnect(self, container):
        self.engine.api("POST", f"/networks/{self.id}/disconnect", {"Container": container.id, "Force": True})

    def remove(self):
        self.engine.api("DELETE", f"/networks/{self.id}", may=(404,))


class Engine:
    """namespace: a path to enter (/proc/PID/ns/net, /run/netns/NAME), else one is made. options: more of dockerd's.
    pool: the addresses that its networks are cut from; two engines that meet in one network need different ones."""

    def __init__(self, namespace=None, live_restore=False, pool="10.124.0.0/16", bip="10.123.0.1/24", options=()):
        with _all_engines():
            sweep()
            self.directory = f"/tmp/{PREFIX}{os.getpid()}-{next(_numbers)}-{secrets.token_hex(3)}"  # also a name of containerd's: no "_"
            os.mkdir(self.directory, 0o755)
            self._lock = open(os.path.join(self.directory, "lock"), "w", encoding="ascii")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.name = os.path.basename(self.directory)
        self.socket = os.path.join(self.directory, "docker.sock")
        self.own_namespace = None if namespace else self.name
        self.namespace = namespace or f"/run/netns/{self.name}"
        self.process, self._started, self._images = None, False, {}
        self._command = [
            "nsenter", f"--net={self.namespace}", "dockerd", "--config-file", self._write_config(),
            "--data-root", os.path.join(self.directory, "data"), "--exec-root", os.path.join(self.directory, "exec"),
            "--pidfile", os.path.join(self.directory, "pid"), "-H", f"unix://{self.socket}", "--bip", bip,
            "--default-address-pool", f"base={pool},size=28", "--cgroup-parent", f"/{self.name}", "--shutdown-timeout", "2",
            "--containerd-namespace", self.name, "--containerd-plugins-namespace", f"{self.name}-plugins",
            *(["--live-restore"] if live_restore else []), *options]
        try:
            if self.own_namespace:
                subprocess.run(["ip", "netns", "add", self.own_namespace], check=True)
                subprocess.run([*self.command("ip", "link", "set", "lo", "up")], check=True)
            self.start()
        except BaseException:
            self.end()
            raise

    def _write_config(self):
        """An empty one, so that /etc/docker/daemon.json of this machine has no say."""
        path = os.path.join(self.directory, "daemon.json")
        with open(path, "w", encoding="ascii") as text:
            text.write("{}\n")
        return path

    # ---- dockerd's life ----

    def start(self):
        """Starts dockerd and waits until it answers."""
        self.process = Process("dockerd", self._command, self.directory)
        wait_until(lambda: not self.process.running() or self._answers(), 60, "dockerd answers")
        if not self.process.running():
            words = [line for line in self.process.err().splitlines() if line.strip()]
            raise EngineCannotRun(words[-1][-300:] if words else "dockerd ended without a word")
        self._started = True

    def _answers(self):
        try:
            return self.api("GET", "/_ping", raw=True, version="", timeout_s=5) == b"OK"
        except (OSError, http.client.HTTPException):
            return False

    @property
    def pid(self):
        """dockerd's process: nsenter became it."""
        return self.process.pid

    def pause(self):
        """dockerd hangs: its socket is there, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def stop(self):
        """dockerd ends in good order; without live_restore its containers do, too."""
        self.process.popen.send_signal(signal.SIGTERM)
        self.process.popen.wait(30)

    def kill(self):
        """dockerd and its containerd die; what runs in containers goes on."""
        self.process.popen.kill()
        self.process.popen.wait(30)
        for pid in self._processes("containerd"):
            _kill(pid)
        for path in ("pid", "exec/containerd/containerd.pid"):  # a process of that number may be there again, and be waited for
            if os.path.exists(os.path.join(self.directory, path)):
                os.unlink(os.path.join(self.directory, path))

    def restart(self):
        self.stop()
        self.start()

    def end(self):
        """Nothing is left: no process, mount, cgroup, namespace or file."""
        if self.process and self.process.running():
            self.resume()
            self.process.stop(timeout_s=20)
        _clean(self.directory)
        self._lock.close()

    def clear(self):
        """As it was at its start: no container, no network of a test's."""
        for one in self.api("GET", "/containers/json", query={"all": 1}):
            self.api("DELETE", f"/containers/{one['Id']}", query={"force": 1, "v": 1}, may=(404, 409))
        for one in self.api("GET", "/networks"):
            if one["Name"] not in ("bridge", "host", "none"):
                self.api("DELETE", f"/networks/{one['Id']}", may=(404,))

    def _processes(self, comm):
        """Processes of that name whose command line has our directory in it."""
        return [pid for pid, words in _command_lines() if self.directory.encode() in words and _comm(pid) == comm]

    def describe(self):
        return self.process.describe() if self.process else "dockerd was not started"

    # ---- the API ----

    def api(self, method, path, body=None, query=None, raw=False, may=(), version=API, timeout_s=60):
        """The answer's JSON (None without content; bytes with raw). A status from 400 is Refused, unless it is one of may."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection = _Connection(self.socket, timeout_s)
        try:
            headers = {"Content-Type": "application/json"} if isinstance(body, dict) else {"Content-Type": "application/x-tar"} if body else {}
            connection.request(method, version + path, json.dumps(body) if isinstance(body, dict) else body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400 and answer.status not in may:
            try:
                message = json.loads(content)["message"]
            except (ValueError, KeyError):
                message = content.decode(errors="replace")
            raise Refused(method, path, answer.status, message)
        if raw:
            return content
        return json.loads(content) if content.strip() else None

    # ---- images, networks, containers ----

    def image(self, name, files=None, links=None):
        """An image of these files {path in it: path here} with the libraries they are linked to; name is what run(image=) takes."""
        if name not in self._images:
            tar = _image_tar(files, links or {})
            self.api("POST", "/images/create", tar, query={"fromSrc": "-", "repo": name, "tag": "latest"})
            self._images[name] = True
        return name

    def box(self):
        return self.image(IMAGE, {"/bin/busybox": shutil.which("busybox"), "/bin/postern-standin": STANDIN},
                          {f"/bin/{applet}": "busybox" for applet in APPLETS})

    def network(self, name, internal=False, subnet=None, gateway=None, ipv6_subnet=None, options=None, labels=None, driver="bridge"):
        config = [{"Subnet": subnet, **({"Gateway": gateway} if gateway else {})}] if subnet else []
        config += [{"Subnet": ipv6_subnet}] if ipv6_subnet else []
        made = self.api("POST", "/networks/create", {
            "Name": name, "CheckDuplicate": True, "Driver": driver, "Internal": internal, "EnableIPv6": bool(ipv6_subnet),
            "IPAM": {"Config": config}, "Options": options or {}, "Labels": labels or {}})
        return Network(self, made["Id"], name)

    def create(self, name, *command, image=None, network=None, networks=(), project=None, service=None, number=1, labels=None, ports=None,
               expose=(), mounts=(), environment=None, aliases=(), restart=None, host_config=None, config=None):
        """A container that does not run yet. network: its mode ("none", "host", "container:NAME", a network's name); networks: several.
        ports: {"80/tcp": "127.0.0.1:8080" or 8080 or ""}; mounts: "/here:/there:ro"; host_config, config: more of the API's."""
        all_labels = {**(compose_labels(project, service or name, number) if project else {}), **(labels or {})}
        modes = list(networks) or [network or "bridge"]
        bindings = {key: [_binding(value)] for key, value in (ports or {}).items()}
        body = {
            "Image": image or self.box(), "Cmd": [str(word) for word in command], "Labels": all_labels,
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "ExposedPorts": {port: {} for port in [*bindings, *expose]},
            "StopSignal": "SIGKILL",  # whatever is process 1 there would be waited for
            "HostConfig": {"NetworkMode": modes[0], "PortBindings": bindings, "Binds": list(mounts),
                           "RestartPolicy": {"Name": restart or "no"}, **(host_config or {})},
            **(config or {}),
        }
        is_named = modes[0] not in ("none", "host", "bridge", "default") and not modes[0].startswith("container:")
        if is_named and (aliases or service):
            body["NetworkingConfig"] = {"EndpointsConfig": {modes[0]: {"Aliases": [*aliases, *([service] if service else [])]}}}
        made = self.api("POST", "/containers/create", body, query={"name": name})
        container = Container(self, made["Id"], name)
        for other in modes[1:]:
            self.api("POST", f"/networks/{other}/connect", {
                "Container": container.id, "EndpointConfig": {"Aliases": [*aliases, *([service] if service else [])]}})
        return container

    def run(self, name, *command, **arguments):
        """As create, and started."""
        return self.create(name, *command, **arguments).start()

    def standin(self, name, port=80, address="0.0.0.0", protocol="http", host="engine", options=(), **arguments):
        """A running stand-in service that says NAME@HOST."""
        return self.run(name, "/bin/postern-standin", "--name", arguments.pop("says", name), "--host", host, "--protocol", protocol,
                        "--listen", f"{address}:{port}", *options, **arguments)

    def container(self, name):
        found = self.api("GET", f"/containers/{name}/json")
        return Container(self, found["Id"], found["Name"].lstrip("/"))

    def containers(self):
        return [Container(self, one["Id"], one["Names"][0].lstrip("/")) for one in self.api("GET", "/containers/json", query={"all": 1})]

    # ---- from the engine's host ----

    def command(self, *command):
        """The words that run a program of this machine in the engine's network namespace."""
        return ["nsenter", f"--net={self.namespace}", *map(str, command)]

    def enter(self, *command, timeout_s=60, **arguments):
        return subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout_s, **arguments)


def compose_labels(project, service, number=1):
    """What Compose puts on each container, and knows it by."""
    return {"com.docker.compose.project": project, "com.docker.compose.service": service, "com.docker.compose.container-number": str(number),
            "com.docker.compose.oneoff": "False", "com.docker.compose.config-hash": "0" * 64, "com.docker.compose.version": "2.24.0"}


def _binding(value):
    address, _, port = str(value).rpartition(":")
    return {"HostIp": address.strip("[]"), "HostPort": port}


# ---- images ----

def _libraries(path):
    """The shared libraries of a program, its loader among them; none where it is static."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return re.findall(r"(?:=>\s*|^\s*)(/\S+)", said, re.M)


def _image_tar(files, links):
    out, have = io.BytesIO(), set()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, source):
            if name in have:
                return
            have.add(name)
            tar.add(os.path.realpath(source), arcname=name.lstrip("/"))

        for directory in ("tmp", "etc", "proc", "sys", "dev", "run", "root"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        for name, text in (("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"), ("etc/group", b"root:x:0:\n")):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))
        for name, source in (files or {}).items():
            add(name, source)
            for library in _libraries(source) if os.path.isfile(source) else ():
                add(library, library)
        for name, target in links.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()


# ---- leaving nothing behind ----

def _comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as text:
            return text.read().strip()
    except OSError:
        return ""


def _command_lines():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as words:
                    yield int(entry), words.read()
            except OSError:
                continue


def _kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _engine_processes(directory):
    """dockerd, containerd, shims and proxies that were started for this directory: by what their command lines say."""
    name = os.path.basename(directory).encode()
    return [pid for pid, words in _command_lines()
            if name in words and _comm(pid) in ("dockerd", "containerd", "containerd-shim", "docker-proxy", "runc") and pid != os.getpid()]


def _cgroups(name):
    """Our cgroups in every hierarchy, the deepest first."""
    roots = [CGROUPS, *[os.path.join(CGROUPS, one) for one in os.listdir(CGROUPS)]] if os.path.isdir(CGROUPS) else []
    for root in roots:
        for directory, _, _ in os.walk(os.path.join(root, name), topdown=False):
            yield directory


def _processes_in(cgroup):
    try:
        with open(os.path.join(cgroup, "cgroup.procs"), encoding="ascii") as pids:
            return [int(pid) for pid in pids.read().split()]
    except OSError:
        return []


def _remove_cgroups(name):
    for cgroup in _cgroups(name):
        for pid in _processes_in(cgroup):
            _kill(pid)
        try:
            os.rmdir(cgroup)
        except OSError:
            pass
    return not any(True for _ in _cgroups(name))


def _mounts_under(directory):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        paths = [line.split(" ")[1].encode().decode("unicode_escape") for line in mounts]
    return [path for path in reversed(paths) if path.startswith(directory + "/")]


def _clean(directory):
    name = os.path.basename(directory)

    def gone():
        for pid in _engine_processes(directory):
            _kill(pid)
        return _remove_cgroups(name) and not _engine_processes(directory)

    wait_until(gone, 20, f"the processes of {name} are gone")
    for path in _mounts_under(directory):
        subprocess.run(["umount", "--lazy", path], stderr=subprocess.DEVNULL)
    if os.path.exists(f"/run/netns/{name}"):
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
    for _ in range(5):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            break
        time.sleep(0.1)


@contextlib.contextmanager
def _all_engines():
    """One at a time: nobody sweeps away what is being made."""
    with open(f"/tmp/{PREFIX}lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep():
    """What a run that was killed left behind: whose lock nobody holds any more."""
    for entry in sorted(os.listdir("/tmp")):
        path = os.path.join("/tmp", entry, "lock")
        if not entry.startswith(PREFIX):
            continue
        try:
            with open(path, "r+", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clean(os.path.dirname(path))
        except (BlockingIOError, FileNotFoundError, NotADirectoryError, PermissionError):
            continue
