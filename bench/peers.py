"""The proxies that are compared: how each is started from its template in bench/peers, and postern beside them."""
import os
import re
import shutil
import subprocess

from system import LOAD_CORE, PROXY_CORE, Tree, run_on, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "web.bench.test"          # the service every request is for
DOMAIN = "bench.test"
BACKEND_PORT = 19000
FIRST_PORT = 19100


class Setting:
    """What all of them share: the certificate, the instance, where files go."""

    def __init__(self, directory, build):
        self.directory, self.build = directory, build
        self.certificate, self.key, self.pem = (os.path.join(directory, name) for name in ("cert.pem", "key.pem", "both.pem"))
        self.client, self.press = (os.path.join(build, "bench", name) for name in ("client", "press"))
        self.backend = None
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha256", "-nodes", "-days", "30",
                        "-keyout", self.key, "-out", self.certificate, "-subj", f"/CN={DOMAIN}",
                        "-addext", f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN}"], check=True, capture_output=True)
        with open(self.pem, "w", encoding="ascii") as both:
            for path in (self.certificate, self.key):
                with open(path, encoding="ascii") as part:
                    both.write(part.read())

    def start_backend(self):
        self.backend = Tree("backend", [os.path.join(self.build, "bench/backend"), "127.0.0.1", str(BACKEND_PORT)], LOAD_CORE)
        wait_until(lambda: is_listening(BACKEND_PORT), "the backend")

    def first_answer_ns(self, port, name=NAME, timeout_ms=10000):
        """When the first 200 came, CLOCK_MONOTONIC; blocks until then."""
        return int(run_on(LOAD_CORE, [self.client, "first", str(port), self.certificate, name, str(timeout_ms)], timeout_ms / 1000 + 5))


def is_listening(port):
    wanted = f"{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as sockets:
        return any(line.split()[3] == "0A" and line.split()[1].endswith(":" + wanted) for line in sockets if ":" in line)


def n_established(port):
    wanted = f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as sockets:
        return sum(line.split()[3] == "01" and line.split()[1].endswith(wanted) for line in sockets)


def fill(template, logs, values):
    """The template with @NAME@ replaced; lines that start with %on or %off are kept in that mode of the access log only."""
    lines = []
    for line in template.split("\n"):
        match = re.match(r"(\s*)%(on|off) (.*)$", line)
        if match and (match.group(2) == "on") != logs:
            continue
        lines.append(match.group(1) + match.group(3) if match else line)
    return re.sub(r"@([A-Z]+)@", lambda match: str(values[match.group(1)]), "\n".join(lines))


class Peer:
    """One proxy; a subclass says how it is started. start() returns once it answers."""

    name = program = template = ""
    has_http2 = True
    n_ports = 0

    def __init__(self, setting):
        self.setting = setting
        self.tree = self.port = None

    def available(self):
        return shutil.which(self.program) is not None

    def version(self):
        return ""

    def command(self, configuration):
        raise NotImplementedError

    def environment(self, directory):
        return {"HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory}

    def values(self, directory):
        return {"DIR": directory, "PORT": self.port, "BACKEND": BACKEND_PORT, "CERT": self.setting.certificate, "KEY": self.setting.key,
                "PEM": self.setting.pem}

    def prepare(self, logs):
        """A directory and a configuration of its own on a port of its own; the command that starts it."""
        Peer.n_ports += 1
        while is_listening(FIRST_PORT + Peer.n_ports):
            Peer.n_ports += 1
        self.port = FIRST_PORT + Peer.n_ports
        directory = os.path.join(self.setting.directory, f"{self.name}-{self.port}")
        os.makedirs(directory)
        configuration = os.path.join(directory, self.template)
        with open(os.path.join(HERE, "peers", self.template), encoding="utf-8") as template, open(configuration, "w", encoding="utf-8") as out:
            out.write(fill(template.read(), logs, self.values(directory)))
        return directory, self.command(configuration)

    def spawn(self, directory, command):
        self.tree = Tree(self.name, command, PROXY_CORE, output=os.path.join(directory, "output.log"),
                         environment=self.environment(directory), directory=directory)

    def start(self, logs=False):
        directory, command = self.prepare(logs)
        self.spawn(directory, command)
        try:
            self.setting.first_answer_ns(self.port)
        except RuntimeError as trouble:
            self.stop()
            with open(os.path.join(directory, "output.log"), encoding="utf-8", errors="replace") as said:
                raise RuntimeError(f"{self.name} does not answer: {trouble}; it said: {said.read()[-800:].strip()}") from None
        return self

    def stop(self):
        if self.tree:
            self.tree.stop()
            self.tree = None


class Nginx(Peer):
    name, program, template = "nginx", "nginx", "nginx.conf"

    def command(self, configuration):
        return ["nginx", "-c", configuration, "-p", os.path.dirname(configuration), "-e", os.path.join(os.path.dirname(configuration), "error.log")]

    def version(self):
        return subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip().split("/")[-1]


class Haproxy(Peer):
    name, program, template = "haproxy", "haproxy", "haproxy.conf"

    def command(self, configuration):
        return ["haproxy", "-db", "-f", configuration]

    def version(self):
        return subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=False).stdout.split()[2]


class H2o(Peer):
    name, program, template = "h2o", "h2o", "h2o.conf"

    def command(self, configuration):
        return ["h2o", "-c", configuration]

    def version(self):
        return subprocess.run(["h2o", "-v"], capture_output=True, text=True, check=False).stdout.split()[2]


class Nghttpx(Peer):
    name, program, template = "nghttpx", "nghttpx", "nghttpx.conf"

    def command(self, configuration):
        return ["nghttpx", f"--conf={configuration}"]

    def version(self):
        return subprocess.run(["nghttpx", "-v"], capture_output=True, text=True, check=False).stdout.split("/")[-1].strip()


class Caddy(Peer):
    name, program, template = "caddy", "caddy", "caddy.conf"

    def command(self, configuration):
        return ["caddy", "run", "--config", configuration, "--adapter", "caddyfile"]

    def version(self):
        return subprocess.run(["caddy", "version"], capture_output=True, text=True, check=False).stdout.strip()


class Postern(Peer):
    name, program, template = "postern", "postern", "postern.yml"

    def available(self):
        return os.path.exists(os.path.join(self.setting.build, "postern"))

    def command(self, configuration, host="gate", directory=None):
        with open(configuration, encoding="utf-8") as text:
            logs = re.search("^log:", text.read(), re.M) is not None
        directory = directory or os.path.dirname(configuration)
        return [os.path.join(self.setting.build, "postern"), "run", "-f", configuration, "--host", host,
                "--run-directory", os.path.join(directory, "run"), "--state-directory", os.path.join(directory, "state"),
                "--container-directory", os.path.join(directory, "containers"), "--log-requests" if logs else "--no-log-requests"]

    def version(self):
        return subprocess.run([os.path.join(self.setting.build, "postern"), "--version"], capture_output=True, text=True, check=False).stdout.split()[-1]


class Floor(Peer):
    """No peer but a bound: bench/floor, a relay that parses nothing. HTTP/1.1 only, and never the best of the others."""

    name, has_http2 = "floor", False

    def available(self):
        return True

    def command(self, configuration):
        return [os.path.join(self.setting.build, "bench/floor"), str(self.port), str(BACKEND_PORT), self.setting.certificate, self.setting.key]

    def prepare(self, logs):
        Peer.n_ports += 1
        while is_listening(FIRST_PORT + Peer.n_ports):
            Peer.n_ports += 1
        self.port = FIRST_PORT + Peer.n_ports
        directory = os.path.join(self.setting.directory, f"{self.name}-{self.port}")
        os.makedirs(directory)
        return directory, self.command(None)


PEERS = [Postern, Nginx, Haproxy, H2o, Nghttpx, Caddy, Floor]
