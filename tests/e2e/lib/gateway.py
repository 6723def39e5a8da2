"""A whole gateway (postern run) on loopback: its declaration, its directories, its clients, its end."""
import json
import os
import signal
import ssl
import subprocess

from lib.client import Client
from lib.ports import free_port
from lib.process import POSTERN, Process, wait_until
from lib.standin import Standin

# Who asks: a principal is its source address. "nobody" is in no declaration.
PRINCIPALS = {"macbook": "127.0.0.13", "iphone": "127.0.0.11", "kobo": "127.0.0.12", "robin": "127.0.0.3"}
NOBODY = "127.0.0.99"
ADDRESS = "127.0.0.1"
DOMAIN = "home.example"

HOSTS = {
    "gw": {"segment": "prod", "address": ADDRESS, "gateway": True},
    "robin": {"segment": "ai", "address": PRINCIPALS["robin"], "os": "macos"},
    "macbook": {"segment": "clients", "address": PRINCIPALS["macbook"]},
    "iphone": {"segment": "clients", "address": PRINCIPALS["iphone"]},
    "kobo": {"segment": "clients", "address": PRINCIPALS["kobo"]},
}


class Gateway:
    def __init__(self, directory, services=None, grants=None, surfaces=None, wait=True, engine=None, inside=(), **top):
        """engine: the socket of the Docker engine that has its containers (by default a directory of namespaces). inside: words before the
        command, of another network namespace, whose clients are none of ours. services: name to Standin or to what the declaration says. grants: default clients to everything over main, ai to nothing.
        surfaces: name to settings without a port (main and agents by default). Whatever else: top-level keys of the declaration."""
        self.directory = str(directory)
        self.run_directory, self.state_directory = os.path.join(self.directory, "run"), os.path.join(self.directory, "state")
        self.container_directory = os.path.join(self.directory, "containers")
        for path in (self.run_directory, self.state_directory, self.container_directory):
            os.makedirs(path, exist_ok=True)
        # Roles that give up root must reach the sockets in the run directory.
        path = self.directory
        while path.startswith("/tmp/") and path != "/tmp":
            try:
                os.chmod(path, os.stat(path).st_mode | 0o011)
            except PermissionError:
                break
            path = os.path.dirname(path)
        self.file = os.path.join(self.directory, "postern.yml")
        self.log_file = os.path.join(self.directory, "access.log")
        self.ca = os.path.join(self.directory, "ca.pem")
        self.engine, self.inside = engine, inside
        self.server = ADDRESS
        self.domain = top.get("domain", DOMAIN)
        self.port = {}
        surfaces = {"main": {}, "agents": {}} if surfaces is None else surfaces
        for name, settings in surfaces.items():
            self.port[name] = settings.get("port") or free_port()
        self.surfaces = {name: {"workers": 1, **settings, "port": self.port[name]} for name, settings in surfaces.items()}
        self.declaration = self.make(services or {}, grants, **top)
        self.process = None
        self.start(wait)

    def make(self, services, grants=None, **top):
        """A declaration (a dict) for this gateway's ports: for declare() and reload()."""
        if grants is None:
            grants = [{"from": "clients", "to": "*", "over": next(iter(self.surfaces))}] if services else []
        hosts = {**HOSTS, "gw": {**HOSTS["gw"], "docker": self.engine}} if self.engine else HOSTS
        return {"postern": 1, "domain": self.domain, "segments": {"clients": {}, "prod": {}, "ai": {}}, "hosts": hosts,
                "surfaces": self.surfaces, "log": {"to": self.log_file},
                "services": {name: service.declaration() if isinstance(service, Standin) else service for name, service in services.items()},
                "grants": grants, **top}

    def declare(self, declaration):
        """Writes it: a dict, or YAML text as it is. JSON is YAML, and each grant on a line of its own makes rules tell apart."""
        text = declaration
        if not isinstance(declaration, str):
            members = []
            for key, value in declaration.items():
                if key == "grants":
                    lines = ",\n".join("  " + json.dumps(grant) for grant in value)
                    members.append(f'"grants": [\n{lines}\n]')
                else:
                    members.append(f"{json.dumps(key)}: {json.dumps(value)}")
            text = "{\n" + ",\n".join(members) + "\n}\n"
            self.declaration = declaration
        temporary = self.file + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(temporary, self.file)

    # ---- life ----

    def start(self, wait=True, options=()):
        """options: more of postern run's, for this start."""
        self.declare(self.declaration)
        self.process = Process("gateway", [*self.inside, POSTERN, "run", "-f", self.file, "--host", "gw", "--run-directory", self.run_directory,
                                           "--state-directory", self.state_directory,
                                           *(() if self.engine else ("--container-directory", self.container_directory)), *options],
                               self.directory)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s=20):
        """Until every surface completes a TLS handshake with a chain that verifies."""
        def ready():
            if not self.process.running():
                raise AssertionError("the gateway ended\n" + self.process.describe())
            if not os.path.exists(os.path.join(self.run_directory, "control.sock")):
                return False  # it gets its name when every role is ready
            if not (os.path.exists(self.ca) and os.path.getsize(self.ca)) and not self.export_ca():
                return False
            return self.inside or all(self._greets(name) for name in self.port if not self.surfaces[name].get("hosts"))
        try:
            wait_until(ready, timeout_s, "the gateway is ready", 0.02)
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\n{self.describe()}") from None

    def _greets(self, surface):
        for principal in PRINCIPALS:
            try:
                self.client(principal, timeout_s=2).tls(self.port[surface], self.name_of("ready")).close()
                return True
            except ssl.SSLCertVerificationError:
                return True  # another source of certificates than our CA
            except OSError:
                continue
        # Nobody has a grant here: that the port is open is all that can be seen.
        try:
            self.client("macbook", timeout_s=2).tcp(self.port[surface]).close()
            return not any(surface in _texts(grant.get("over")) for grant in self.declaration.get("grants", []))
        except OSError:
            return False

    def stop(self, timeout_s=15):
        """SIGTERM; returns the exit status."""
        return self.process.stop(signal.SIGTERM, timeout_s)

    def describe(self):
        return f"--- {self.file}\n{_read(self.file)}\n{self.process.describe() if self.process else ''}\n--- access log\n{_read(self.log_file)[-6000:]}"

    # ---- commands ----

    def command(self, *words, timeout_s=20):
        """postern WORDS... as a CompletedProcess with text."""
        return subprocess.run([POSTERN, *map(str, words)], capture_output=True, text=True, timeout=timeout_s)

    def export_ca(self):
        done = self.command("ca", "export", "--state-directory", self.state_directory)
        if done.returncode == 0 and "BEGIN CERTIFICATE" in done.stdout:
            with open(self.ca, "w", encoding="ascii") as file:
                file.write(done.stdout)
            return True
        return False

    def status(self):
        done = self.command("status", "--run-directory", self.run_directory, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def reload(self, declaration=None, check=True):
        """Writes the declaration when one is given, then postern reload."""
        if declaration is not None:
            self.declare(declaration)
        done = self.command("reload", "--run-directory", self.run_directory)
        assert not check or done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.describe()}"
        return done

    def records(self, at_least=0, timeout_s=5, **wanted):
        """The access records whose members equal wanted; waits until there are at_least of them."""
        def found():
            records = []
            for line in _read(self.log_file).splitlines(keepends=True):
                if line.endswith("\n"):
                    record = json.loads(line)
                    if all(record.get(key) == value for key, value in wanted.items()):
                        records.append(record)
            return records
        if at_least:
            wait_until(lambda: len(found()) >= at_least, timeout_s, f"{at_least} records with {wanted} in the log")
        return found()

    # ---- clients ----

    def name_of(self, service):
        return f"{service}.{self.domain}"

    def url(self, service, path="/", surface="main"):
        return f"https://{self.name_of(service)}:{self.port[surface]}{path}"

    def client(self, principal, timeout_s=10):
        """principal: a name in PRINCIPALS, "nobody", or an address."""
        return Client(NOBODY if principal == "nobody" else PRINCIPALS.get(principal, principal), self.ca, self.server, timeout_s)

    def get(self, principal, service, path="/", surface="main", **arguments):
        """A GET, or whatever method= says, with the name verified; a lib.client.Response."""
        return self.client(principal).request(self.port[surface], self.name_of(service), path, **arguments)

    def tls(self, principal, service, surface="main", **arguments):
        """A raw TLS connection for the service's name."""
        return self.client(principal).tls(self.port[surface], self.name_of(service), **arguments)

    def curl(self, principal, service, path="/", *arguments, surface="main", **more):
        return self.client(principal).curl(self.port[surface], self.name_of(service), path, *arguments, **more)


def _texts(value):
    return [value] if isinstance(value, str) else value or []


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except FileNotFoundError:
        return ""
