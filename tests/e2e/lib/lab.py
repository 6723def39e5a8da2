"""A lab (postern lab up) of its own name, and what of it is still there."""
import glob
import itertools
import json
import os
import subprocess

from lib.process import POSTERN

_numbers = itertools.count()

# Runs inside a host of the lab: connections or datagrams, all at once, and what came of each.
_PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def probe(target):
    address, port, kind, source = target
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.settimeout(1.5)
    connected = False
    try:
        if source:
            sock.bind((source, 0))
        sock.connect((address, port))
        connected = kind == "tcp"
        if kind == "udp":
            sock.send(b"ping")
        return "open " + sock.recv(200).decode(errors="replace").strip()
    except TimeoutError:
        return "open" if connected else "silent"
    except ConnectionRefusedError:
        return "nothing-listens"
    except ConnectionResetError:
        return "closed"
    except OSError as trouble:
        return "refused " + trouble.strerror
    finally:
        sock.close()

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(probe, targets))))
"""


class Lab:
    """postern: another executable; as_user: a command to put before it (setpriv ...)."""

    def __init__(self, declaration, name=None, postern=POSTERN, as_user=(), environment=None):
        self.declaration, self.postern, self.as_user = str(declaration), postern, list(as_user)
        self.name = name or f"t{os.getpid()}-{next(_numbers)}"
        self.environment = {**os.environ, **(environment or {})}

    def command(self, *words, timeout_s=60, **arguments):
        return subprocess.run([*self.as_user, self.postern, "lab", *map(str, words)], capture_output=True, text=True, timeout=timeout_s,
                              env=self.environment, **arguments)

    def up(self, check=True):
        done = self.command("up", "-n", self.name, self.declaration)
        assert not check or done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.logs()}"
        return done

    def down(self):
        return self.command("down", "-n", self.name)

    def exec(self, host, *command, timeout_s=60):
        """A command on that host (or HOST/CONTAINER, HOST/PROJECT/SERVICE) as a CompletedProcess with text."""
        return self.command("exec", "-n", self.name, host, "--", *command, timeout_s=timeout_s)

    def status(self):
        done = self.command("status", "-n", self.name, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # ---- paths ----

    def curl(self, host, url, *arguments):
        """curl from that host: the name resolved and the certificate verified as a client there would."""
        return self.exec(host, "curl", "--silent", "--show-error", "--max-time", "10", *arguments, url)

    def http_status(self, host, url, *arguments):
        """The status as a string; "000" when there was no answer."""
        return self.curl(host, url, "--output", "/dev/null", "--write-out", "%{http_code}", *arguments).stdout

    def ports(self, host, targets):
        """What connections from host to each (name or address, port, "tcp" or "udp", source address or None) come to: "open NAME@HOST ...",
        "refused WHY", "silent", "closed", "nothing-listens"."""
        done = self.exec(host, "/usr/bin/python3", "-c", _PROBE, json.dumps(targets))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def port(self, host, address, port, kind="tcp", source=None):
        return self.ports(host, [(address, port, kind, source)])[0]

    def not_shut(self, host, addresses, ports, kind="tcp"):
        """Those that neither the network nor a firewall keeps shut. That nothing listens there would be no proof, and does not count."""
        targets = [(address, port, kind, None) for address in addresses for port in ports]
        return [(*target[:2], result) for target, result in zip(targets, self.ports(host, targets)) if result.split()[0] not in ("refused", "silent")]

    # ---- what is there ----

    @property
    def directory(self):
        uid = 65534 if self.as_user else os.geteuid()
        runtime = self.environment.get("XDG_RUNTIME_DIR")
        base = "/run/postern-lab" if uid == 0 else f"{runtime}/postern-lab" if runtime else f"/tmp/postern-lab-{uid}"
        return os.path.join(base, self.name)

    @property
    def supervisor(self):
        with open(os.path.join(self.directory, "pid"), encoding="ascii") as file:
            return int(file.read())

    def namespace(self, kind="pid"):
        return os.stat(f"/proc/{self.supervisor}/ns/{kind}").st_ino

    def logs(self):
        texts = []
        for path in sorted(glob.glob(os.path.join(self.directory, "*.log"))):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(f"--- {path}\n{file.read()[-3000:]}")
        return "\n".join(texts)


def namespaces_in_use(kind):
    """The inodes of all namespaces of that kind which some process is in."""
    found = set()
    for path in glob.glob(f"/proc/[0-9]*/ns/{kind}"):
        try:
            found.add(os.stat(path).st_ino)
        except OSError:
            continue
    return found


def processes_in(pid_namespace):
    """Processes of that PID namespace."""
    found = []
    for path in glob.glob("/proc/[0-9]*/ns/pid"):
        try:
            if os.stat(path).st_ino == pid_namespace:
                found.append(int(path.split("/")[2]))
        except OSError:
            continue
    return found
