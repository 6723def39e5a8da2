"""Certificates by ACME: a real authority (pebble), a real name server (pebble-challtestsrv), Debian's lego, and a DNS provider with a token."""
import base64
import http.server
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

from lib.certificates import Authority, shown
from lib.process import Process, needs, wait_until

SERVICES = {"grafana": {"host": "gw", "port": 1}, "shop": {"host": "gw", "port": 2, "names": ["shop.example"]}}
NAME = "grafana.home.example"
TOKEN = "tok3n-9f2d-never-to-be-seen"

pytestmark = needs("pebble", "pebble-challtestsrv", "lego")


class Provider(http.server.ThreadingHTTPServer):
    """A DNS provider's API as lego's httpreq speaks it, with the token as its password; it sets the records in challtestsrv."""

    def __init__(self, port, records_port):
        super().__init__(("127.0.0.1", port), Handler)
        self.records_port, self.n_presented, self.n_refused = records_port, 0, 0
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted = "Basic " + base64.b64encode(f"postern:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.server.n_refused += 1
            self.reply(401, f"bad password {self.headers.get('Authorization')}")  # a provider that repeats what it was told
            return
        present = self.path == "/present"
        self.server.n_presented += present
        change = {"host": body["fqdn"], "value": body["value"]} if present else {"host": body["fqdn"]}
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.records_port}/{'set-txt' if present else 'clear-txt'}",
                                         json.dumps(change).encode())
        urllib.request.urlopen(request, timeout=10).close()
        self.reply(200, "")

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def acme(directory, free_port):
    """A whole ACME world; acme.tls() is what the declaration says of it."""
    class World:
        dns, records, provider_port, acme_port, manage_port, unused = (free_port() for _ in range(6))
        authority = Authority(directory, "pebble-tls")
        environment, root = os.path.join(directory, "acme.env"), os.path.join(directory, "issued-root.pem")
        provider = Provider(provider_port, records)
        processes = []
        url = f"https://localhost:{acme_port}/dir"

        @classmethod
        def write_environment(cls, token=TOKEN):
            with open(cls.environment, "w", encoding="ascii") as file:
                file.write(f"# the provider's\nHTTPREQ_ENDPOINT=http://127.0.0.1:{cls.provider_port}\nHTTPREQ_USERNAME=postern\n"
                           f"HTTPREQ_PASSWORD=\"{token}\"\nPOSTERN_ACME_RESOLVERS=127.0.0.1:{cls.dns}\nPOSTERN_ACME_PROPAGATION_CHECK=no\n")
            os.chmod(cls.environment, 0o600)

        @classmethod
        def tls(cls):
            return {"acme": {"email": "admin@home.example", "provider": "httpreq", "environment-file": cls.environment, "directory": cls.url,
                             "ca": cls.authority.root}}

        @classmethod
        def start_pebble(cls, validity=None):
            chain, key = cls.authority.issue("localhost", "localhost")
            paths = [os.path.join(directory, name) for name in ("pebble.crt", "pebble.key")]
            for path, text in zip(paths, (chain, key)):
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
            settings = {"listenAddress": f"127.0.0.1:{cls.acme_port}", "managementListenAddress": f"127.0.0.1:{cls.manage_port}",
                        "certificate": paths[0], "privateKey": paths[1], "httpPort": cls.unused, "tlsPort": cls.unused, "ocspResponderURL": "",
                        "externalAccountBindingRequired": False, **({"certificateValidityPeriod": validity} if validity else {})}
            with open(os.path.join(directory, "pebble.json"), "w", encoding="ascii") as file:
                json.dump({"pebble": settings}, file)
            cls.processes.append(Process("pebble", ["pebble", "-config", os.path.join(directory, "pebble.json"), "-dnsserver",
                                                    f"127.0.0.1:{cls.dns}"], directory, env={**os.environ, "PEBBLE_VA_NOSLEEP": "1"}))
            trust = ssl.create_default_context(cafile=cls.authority.root)

            def root():
                try:
                    with urllib.request.urlopen(f"https://localhost:{cls.manage_port}/roots/0", timeout=5, context=trust) as answer:
                        return answer.read()
                except OSError:
                    return None
            with open(cls.root, "wb") as file:
                file.write(wait_until(root, 15, "pebble"))

        @classmethod
        def stop_pebble(cls):
            cls.processes.pop().stop(signal.SIGKILL)

    World.processes.append(Process("challtestsrv", ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{World.dns}", "-management",
                                                    f"127.0.0.1:{World.records}", "-http01", "", "-https01", "", "-tlsalpn01", ""], directory))
    World.write_environment()
    World.start_pebble()
    yield World
    for process in World.processes:
        process.stop(signal.SIGKILL)
    World.provider.shutdown()
    World.provider.server_close()


def served(gw, acme, name=NAME, principal="macbook"):
    """The certificate when it is from the ACME authority; None while the internal one stands in."""
    try:
        return shown(gw, principal, name, acme.root)
    except ssl.SSLCertVerificationError:
        return None


def hurry(gw, **seconds):
    """Before a start: retries that a test can wait for."""
    with open(os.path.join(gw.state_directory, "lifetimes"), "w", encoding="ascii") as file:
        file.writelines(f"{name.replace('_', '-')} {value}\n" for name, value in seconds.items())


def family(pid):
    """The process and everything below it."""
    below = subprocess.run(["pgrep", "--parent", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid] + [one for child in below for one in family(int(child))]


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[0].decode().rsplit("/", 1)[-1]
    except OSError:
        return ""


def test_wildcard_and_extra_names_are_issued_and_verify(gateway, acme):
    gw = gateway(SERVICES, tls=acme.tls())
    assert shown(gw, "macbook", NAME, gw.ca) or served(gw, acme)  # up at once: the internal authority stands in
    certificate = wait_until(lambda: served(gw, acme), 60, "the certificate")
    assert {text for _, text in certificate["subjectAltName"]} == {"*.home.example", "home.example"}
    wait_until(lambda: served(gw, acme, "shop.example"), 60, "the extra name's certificate")
    assert acme.provider.n_presented >= 3


def test_the_token_reaches_no_log_and_no_process_but_lego(gateway, acme):
    found, stop = {}, threading.Event()
    gw = gateway({"grafana": {"host": "gw", "port": 1}}, surfaces={"main": {}}, tls=acme.tls())

    def look():
        """What is readable of every process while lego runs: arguments, environment, memory."""
        while not stop.is_set():
            for pid in family(gw.process.pid):
                name = command_of(pid)
                for what in ("cmdline", "environ"):
                    try:
                        with open(f"/proc/{pid}/{what}", "rb") as file:
                            if TOKEN.encode() in file.read():
                                found.setdefault(name, set()).add(what)
                    except OSError:
                        pass

    looker = threading.Thread(target=look)
    looker.start()
    try:
        wait_until(lambda: served(gw, acme), 60, "the certificate")
    finally:
        stop.set()
        looker.join()
    assert found in ({}, {"lego": {"environ"}})
    if os.geteuid() == 0:
        for pid in family(gw.process.pid):
            assert not holds(pid, TOKEN.encode()), f"{command_of(pid)} has the token in its memory"
    assert TOKEN not in gw.process.err() + gw.process.out()
    with open(gw.log_file, encoding="utf-8") as log:
        assert TOKEN not in log.read()
    for folder, _, names in os.walk(gw.state_directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert TOKEN.encode() not in file.read(), name


def holds(pid, text):
    """Whether the process has the text in memory that it may write."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place, rights = line.split()[:2]
                if not rights.startswith("rw"):
                    continue
                start, end = (int(part, 16) for part in place.split("-"))
                if end - start > 1 << 30:
                    continue  # a sanitizer's shadow
                memory.seek(start)
                try:
                    if text in memory.read(end - start):
                        return True
                except OSError:
                    pass
    except OSError:
        pass
    return False


def test_a_provider_that_refuses_is_reported_without_the_token_and_tried_again(gateway, acme):
    wrong = "wr0ng-token-not-to-be-logged"
    acme.write_environment(wrong)
    gw = gateway({"grafana": {"host": "gw", "port": 1}}, surfaces={"main": {}})
    gw.stop()
    hurry(gw, retry=1, retry_max=2, check=1)
    gw.declaration["tls"] = acme.tls()
    gw.start()
    wait_until(lambda: "lego: " in gw.process.err(), 30, "the trouble in the log")
    assert acme.provider.n_refused > 0
    encoded = base64.b64encode(f"postern:{wrong}".encode()).decode()
    assert "bad password" in gw.process.err()  # what the provider said is passed on, but for the token, whatever its form
    assert wrong not in gw.process.err() and encoded[12:-4] not in gw.process.err()
    assert shown(gw, "macbook", NAME, gw.ca)  # served meanwhile
    acme.write_environment()
    wait_until(lambda: served(gw, acme), 60, "the certificate, at a later try")


def test_the_last_good_one_is_served_while_the_authority_is_away_and_after_a_restart(gateway, acme):
    gw = gateway({"grafana": {"host": "gw", "port": 1}}, surfaces={"main": {}}, tls=acme.tls())
    certificate = wait_until(lambda: served(gw, acme), 60, "the certificate")
    acme.stop_pebble()
    gw.stop()
    gw.start()
    assert served(gw, acme)["serialNumber"] == certificate["serialNumber"]


def test_failures_are_remembered_so_that_a_restart_does_not_storm_the_authority(gateway, acme):
    acme.write_environment("wrong-again")
    gw = gateway({"grafana": {"host": "gw", "port": 1}}, surfaces={"main": {}}, tls=acme.tls())
    wait_until(lambda: "lego: " in gw.process.err(), 30, "the first failure")
    refused = acme.provider.n_refused
    for _ in range(3):
        gw.stop()
        gw.start()
        assert shown(gw, "macbook", NAME, gw.ca)
    assert acme.provider.n_refused == refused


def test_certificates_are_renewed_before_two_thirds_of_their_life(gateway, acme):
    acme.stop_pebble()
    acme.start_pebble(validity=45)
    gw = gateway({"grafana": {"host": "gw", "port": 1}}, surfaces={"main": {}}, tls=acme.tls())
    first = wait_until(lambda: served(gw, acme), 40, "the first certificate")
    issued = time.time()

    def renewed():
        now = served(gw, acme)
        assert now, "an ended certificate was served"
        return now["serialNumber"] != first["serialNumber"]
    wait_until(renewed, 44, "the second certificate", 0.2)
    if int(ssl.cert_time_to_seconds(first["notAfter"]) - ssl.cert_time_to_seconds(first["notBefore"])) <= 60:
        assert time.time() - issued < 40
