"""Certificates from files: picked up when they change, never worse than the last good one, and each fault said with place and next step."""
import os
import ssl
import threading
import time

import pytest

from lib.certificates import Authority, read, replace, shown
from lib.process import wait_until

SERVICES = {"grafana": {"host": "gw", "port": 1}}
NAME = "grafana.home.example"
NAMES = ("*.home.example", "home.example")


@pytest.fixture
def files(directory):
    """An authority of somebody else's, and a certificate of it where the declaration will say."""
    place = os.path.join(directory, "certificates")
    os.mkdir(place, 0o700)  # root's alone: the keeper has a right of its own to read it

    class Files:
        authority = Authority(directory)
        cert, key = os.path.join(place, "cert.pem"), os.path.join(place, "key.pem")
        tls = {"cert": cert, "key": key}

        @classmethod
        def put(cls, pair):
            replace(cls.key, pair[1])
            replace(cls.cert, pair[0])

    Files.put(Files.authority.issue("first", *NAMES))
    return Files


def serial(gw, files, version=None):
    return shown(gw, "macbook", NAME, files.authority.root, version=version)["serialNumber"]


def says(gw, text, timeout_s=5):
    wait_until(lambda: text in gw.process.err(), timeout_s, f"a message with {text!r}")


def test_a_certificate_from_files_is_served(gateway, files):
    gw = gateway(SERVICES, tls=files.tls)
    assert serial(gw, files) == serial(gw, files, ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("key", [("rsa", 2048), ("ec", "P-384")])
def test_other_kinds_of_key_are_served(gateway, files, key):
    files.put(files.authority.issue("other", *NAMES, key=key))
    gw = gateway(SERVICES, tls=files.tls)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert serial(gw, files, version)


def test_a_replaced_certificate_is_picked_up_under_load_and_no_handshake_fails(gateway, files):
    gw = gateway(SERVICES, tls=files.tls)
    stop, failures, seen = threading.Event(), [], []

    def visit():
        while not stop.is_set():
            try:
                seen.append(serial(gw, files))
            except OSError as trouble:
                failures.append(repr(trouble))

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    try:
        for turn in range(3):
            pair = files.authority.issue(f"turn{turn}", *NAMES)
            before = set(seen)
            files.put(pair)
            wait_until(lambda: set(seen) - before, 10, "the new certificate")
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()
    assert not failures
    assert len(set(seen)) == 4


def test_a_link_that_is_turned_is_followed(gateway, files, directory):
    """As certbot keeps them: live/ holds links into archive/."""
    live, archive = os.path.join(directory, "live"), os.path.join(directory, "archive")
    os.mkdir(live)
    os.mkdir(archive)

    def turn(number):
        pair = files.authority.issue(f"link{number}", *NAMES)
        for name, text in (("cert", pair[0]), ("key", pair[1])):
            with open(os.path.join(archive, f"{name}{number}.pem"), "w", encoding="ascii") as file:
                file.write(text)
            os.symlink(f"../archive/{name}{number}.pem", os.path.join(live, f"{name}.new"))
            os.rename(os.path.join(live, f"{name}.new"), os.path.join(live, f"{name}.pem"))

    turn(1)
    gw = gateway(SERVICES, tls={"cert": os.path.join(live, "cert.pem"), "key": os.path.join(live, "key.pem")})
    first = serial(gw, files)
    turn(2)
    wait_until(lambda: serial(gw, files) != first, 10, "the new certificate")


WRONG = {
    "unreadable": (lambda files: os.remove(files.cert), "cert.pem: No such file or directory; put the file there"),
    "not a certificate": (lambda files: replace(files.cert, "hello\n"), "expected certificates in PEM form"),
    "cut short": (lambda files: replace(files.cert, read(files.cert)[:400]), "malformed or cut short"),
    "empty": (lambda files: replace(files.key, ""), "key.pem: expected a file of 1 byte to"),
    "another key": (lambda files: replace(files.key, files.authority.issue("stranger", *NAMES)[1]), "doesn't belong to the first certificate"),
    "expired": (lambda files: files.put(files.authority.issue("ended", *NAMES, start="200101000000Z", end="200201000000Z")),
                "cert.pem: expired on 2020-02-01 00:00:00 UTC; renew it"),
    "not yet valid": (lambda files: files.put(files.authority.issue("early", *NAMES, start="480101000000Z", end="490101000000Z")),
                      "cert.pem: not valid before 2048-01-01"),
    "another name": (lambda files: files.put(files.authority.issue("foreign", "*.other.example")), "does not cover *.home.example"),
    "a directory": (lambda files: (os.remove(files.key), os.mkdir(files.key)), "key.pem: expected a file of 1 byte to"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_last_good_one_stays(gateway, files, fault):
    gw = gateway(SERVICES, tls=files.tls)
    good = serial(gw, files)
    spoil, message = WRONG[fault]
    spoil(files)
    says(gw, message)
    assert "the last good one stays in force" in gw.process.err()
    assert serial(gw, files) == good


def test_the_last_good_one_survives_a_restart(gateway, files):
    gw = gateway(SERVICES, tls=files.tls)
    good = serial(gw, files)
    replace(files.cert, "hello\n")
    says(gw, "expected certificates in PEM form")
    gw.stop()
    gw.start()
    assert serial(gw, files) == good


def test_what_is_mended_is_taken(gateway, files):
    gw = gateway(SERVICES, tls=files.tls)
    good = serial(gw, files)
    replace(files.cert, "hello\n")
    says(gw, "expected certificates in PEM form")
    files.put(files.authority.issue("mended", *NAMES))
    wait_until(lambda: serial(gw, files) != good, 10, "the new certificate")
    says(gw, "is in order")


def test_with_no_good_file_at_first_the_internal_authority_stands_in(gateway, files):
    pair = read(files.cert), read(files.key)
    os.remove(files.cert)
    gw = gateway(SERVICES, tls=files.tls)
    says(gw, "the internal CA's stands in")
    assert shown(gw, "macbook", NAME, gw.ca)
    files.put(pair)

    def served():
        try:
            return serial(gw, files)
        except ssl.SSLCertVerificationError:
            return None
    wait_until(served, 10, "the file's certificate")


def test_a_change_of_source_and_place_by_reload(gateway, files, directory):
    gw = gateway(SERVICES)
    assert shown(gw, "macbook", NAME, gw.ca)
    gw.reload({**gw.declaration, "tls": files.tls})
    first = wait_until(lambda: _served(gw, files), 10, "the file's certificate")
    elsewhere = os.path.join(directory, "elsewhere")
    os.mkdir(elsewhere)
    pair = files.authority.issue("moved", *NAMES)
    for name, text in (("c.pem", pair[0]), ("k.pem", pair[1])):
        replace(os.path.join(elsewhere, name), text)
    gw.reload({**gw.declaration, "tls": {"cert": f"{elsewhere}/c.pem", "key": f"{elsewhere}/k.pem"}})
    wait_until(lambda: _served(gw, files) not in (None, first), 10, "the certificate of the new place")
    gw.reload({key: value for key, value in gw.declaration.items() if key != "tls"})
    wait_until(lambda: _verifies(gw, gw.ca), 10, "the internal certificate")


def _served(gw, files):
    try:
        return serial(gw, files)
    except ssl.SSLCertVerificationError:
        return None


def _verifies(gw, root):
    try:
        return shown(gw, "macbook", NAME, root)
    except ssl.SSLCertVerificationError:
        return None


def test_a_certificate_that_ends_while_served_is_reported_and_still_served(gateway, files):
    gw = gateway(SERVICES)
    gw.stop()
    with open(os.path.join(gw.state_directory, "lifetimes"), "w", encoding="ascii") as file:
        file.write("check 1\n")
    end = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 6))
    files.put(files.authority.issue("short", *NAMES, start="200101000000Z", end=end))
    gw.declaration["tls"] = files.tls
    gw.start()
    says(gw, "cert.pem: expired on", 15)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        serial(gw, files)
