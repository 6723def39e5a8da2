"""The default source: an internal authority that clients trust once; names verify, renewals happen, and nothing tells which names exist."""
import stat
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lib.process import wait_until
from lib.certificates import context, shown

SERVICES = {"grafana": {"host": "gw", "port": 1}, "registry": {"host": "gw", "port": 2}}
GRANTS = [{"from": "clients", "to": "*", "over": "main"}, {"from": "ai", "to": "registry", "over": "agents"}]


def keeper_pid(gw):
    """The keeper among the gateway's processes; its name is its own."""
    pids = subprocess.run(["pgrep", "--parent", str(gw.process.pid), "postern-keeper"], capture_output=True, text=True).stdout.split()
    return int(pids[0]) if pids else None


def lifetimes(gw, **seconds):
    """Before a start: certificates that live for seconds."""
    with open(os.path.join(gw.state_directory, "lifetimes"), "w", encoding="ascii") as file:
        file.writelines(f"{name.replace('_', '-')} {value}\n" for name, value in seconds.items())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_chain_and_names_verify_on_every_surface(gateway, version):
    gw = gateway(SERVICES, GRANTS)
    for surface, principal in (("main", "macbook"), ("agents", "robin")):
        for name in ("grafana.home.example", "registry.home.example", "home.example", "nosuch.home.example"):
            certificate = shown(gw, principal, name, gw.ca, surface, version)
            assert {text for _, text in certificate["subjectAltName"]} == {"*.home.example", "home.example"}


def test_surfaces_have_keys_of_their_own(gateway):
    gw = gateway(SERVICES, GRANTS)
    serials = {shown(gw, principal, "registry.home.example", gw.ca, surface)["serialNumber"]
               for surface, principal in (("main", "macbook"), ("agents", "robin"))}
    assert len(serials) == 2


def test_an_unknown_name_gets_the_wildcard_and_no_alert(gateway):
    """What a scanner sees of a name that exists, one that doesn't, a foreign one and none is the same certificate, byte for byte."""
    gw = gateway(SERVICES, GRANTS)
    seen = set()
    for name in ("grafana.home.example", "nosuch.home.example", "bank.example", None):
        blind = context(gw.ca)
        blind.check_hostname = False  # the chain is still verified
        with gw.client("macbook").tcp(gw.port["main"]) as sock, blind.wrap_socket(sock, server_hostname=name) as tls:
            seen.add(tls.getpeercert(binary_form=True))
    assert len(seen) == 1


def test_the_root_speaks_for_no_other_domain(gateway):
    gw = gateway(SERVICES, GRANTS)
    shown_facts = gw.command("ca", "show", "--json", "--state-directory", gw.state_directory)
    facts = json.loads(shown_facts.stdout)
    assert facts["permitted_names"] == ["home.example"] and facts["addresses_excluded"] and facts["path_length"] == 1 and facts["valid"]
    text = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-ext", "nameConstraints", "-in", gw.ca], check=True,
                          capture_output=True, text=True).stdout
    assert facts["sha256"] in text and "critical" in text and "DNS:home.example" in text
    table = gw.command("ca", "show", "--state-directory", gw.state_directory).stdout
    assert facts["sha256"] in table and "home.example and names below it" in table


def test_export_to_what_is_no_file_prevents_replacing_a_device(gateway, directory):
    gw = gateway()
    fifo = os.path.join(directory, "pipe")
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        assert gw.command("ca", "export", "-o", fifo, "--state-directory", gw.state_directory).returncode == 0
        assert b"BEGIN CERTIFICATE" in reader.stdout.read()
    assert stat.S_ISFIFO(os.lstat(fifo).st_mode)


def test_export_writes_pem_and_der_of_the_same_certificate(gateway):
    gw = gateway(SERVICES, GRANTS)
    der = os.path.join(gw.directory, "root.der")
    assert gw.command("ca", "export", "--der", "-o", der, "--state-directory", gw.state_directory).returncode == 0
    converted = subprocess.run(["openssl", "x509", "-in", gw.ca, "-outform", "DER"], check=True, capture_output=True).stdout
    with open(der, "rb") as file:
        assert file.read() == converted
    assert gw.command("ca", "show", "--state-directory", gw.directory).returncode == 1
    assert gw.command("ca", "list").returncode == 2


def test_nobody_else_may_read_the_keys(gateway):
    gw = gateway(SERVICES, GRANTS)
    keys = os.path.join(gw.state_directory, "keeper")
    assert os.stat(keys).st_mode & 0o777 == 0o700
    names = os.listdir(keys)
    assert any(name.startswith("root,") for name in names)
    for name in names:
        assert os.stat(os.path.join(keys, name)).st_mode & 0o777 == 0o600, name
    with open(gw.ca, encoding="ascii") as file:
        assert "PRIVATE" not in file.read()
    if os.geteuid() == 0:
        assert os.stat(keys).st_uid not in (0, os.stat(os.path.join(gw.state_directory, "acme")).st_uid)


def test_root_and_leaf_survive_a_restart(gateway):
    gw = gateway(SERVICES, GRANTS)
    before = shown(gw, "macbook", "grafana.home.example", gw.ca)["serialNumber"]
    gw.stop()
    gw.start()
    assert shown(gw, "macbook", "grafana.home.example", gw.ca)["serialNumber"] == before


def test_leaves_are_renewed_before_they_end_without_a_restart(gateway):
    gw = gateway(SERVICES, GRANTS)
    gw.stop()
    for name in os.listdir(os.path.join(gw.state_directory, "keeper")):
        if ",internal," in name:
            os.remove(os.path.join(gw.state_directory, "keeper", name))
    lifetimes(gw, leaf=9, check=1)
    gw.start()
    pid, serials, deadline = keeper_pid(gw), set(), time.monotonic() + 25
    while len(serials) < 3 and time.monotonic() < deadline:
        serials.add(shown(gw, "macbook", "grafana.home.example", gw.ca)["serialNumber"])  # verified: never an ended one
        time.sleep(0.1)
    assert len(serials) >= 3
    assert keeper_pid(gw) == pid


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_resume_whichever_worker_takes_the_connection(gateway, version):
    gw = gateway(SERVICES, GRANTS, surfaces={"main": {"workers": 3}, "agents": {}})
    made, session, ports = context(gw.ca, version), None, set()
    for turn in range(12):
        with gw.client("macbook").tcp(gw.port["main"]) as sock:
            ports.add(sock.getsockname()[1])  # another source port: the kernel spreads the connections over the workers
            with made.wrap_socket(sock, server_hostname="grafana.home.example", session=session) as tls:
                assert tls.session_reused == (turn > 0)
                tls.settimeout(0.5)
                tls.sendall(b"GET / HTTP/1.1\r\nHost: grafana.home.example\r\nConnection: close\r\n\r\n")
                while tls.recv(4096):  # TLS 1.3 brings its ticket with the first data
                    pass
                session = tls.session
    assert len(ports) == 12


def test_a_session_of_one_surface_is_none_on_another(gateway):
    grants = [{"from": "clients", "to": "*", "over": "main"}, {"from": "clients", "to": "registry", "over": "agents"}]
    gw = gateway(SERVICES, grants)
    made = context(gw.ca, ssl.TLSVersion.TLSv1_2)
    with gw.client("macbook").tcp(gw.port["main"]) as sock, made.wrap_socket(sock, server_hostname="registry.home.example") as tls:
        session = tls.session
    with gw.client("macbook").tcp(gw.port["agents"]) as sock, made.wrap_socket(sock, server_hostname="registry.home.example", session=session) as tls:
        assert not tls.session_reused


def test_handshakes_go_on_while_the_keeper_is_killed(gateway):
    gw = gateway(SERVICES, GRANTS)
    stop, failures, done = threading.Event(), [], [0]

    def visit():
        while not stop.is_set():
            try:
                shown(gw, "macbook", "grafana.home.example", gw.ca)
                done[0] += 1
            except OSError as trouble:
                failures.append(repr(trouble))

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        for _ in range(4):
            pid, count = wait_until(lambda: keeper_pid(gw), 5, "a keeper"), done[0]
            wait_until(lambda: done[0] > count + 5, 10, "handshakes before the kill")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: keeper_pid(gw) not in (None, pid), 5, "another keeper")
            count = done[0]
            wait_until(lambda: done[0] > count + 5, 10, "handshakes after the kill")
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()
    assert not failures


def test_garbage_in_place_of_a_hello_ends_that_connection_only(gateway):
    gw = gateway(SERVICES, GRANTS)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"A" * 70000, b"\x16\x03\x03\x00\x04\x01\x00\x00\x00", os.urandom(4096)):
        with gw.client("macbook").tcp(gw.port["main"]) as sock:
            try:
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except OSError:
                pass
    assert shown(gw, "macbook", "grafana.home.example", gw.ca)


def test_old_versions_are_refused(gateway):
    gw = gateway(SERVICES, GRANTS)
    made = context(gw.ca)
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
        shown(gw, "macbook", "grafana.home.example", gw.ca, made=made)
