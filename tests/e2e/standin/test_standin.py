"""The stand-in itself: whoever is tested with it relies on what it says."""
import hashlib
import json
import os
import socket
import ssl
import subprocess

from lib.process import Process, STANDIN, wait_until


def curl(*arguments):
    return subprocess.run(["curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", *arguments], capture_output=True, check=True).stdout


def test_answers_with_the_request_it_saw(standin):
    service = standin("grafana", host="roc")
    answer = json.loads(curl("-H", "X-One: a", "-H", "X-One: b", "-d", "hello", f"http://127.0.0.1:{service.port}/a?b=c"))
    assert (answer["name"], answer["host"], answer["method"], answer["path"]) == ("grafana", "roc", "POST", "/a?b=c")
    assert [value for name, value in answer["headers"] if name == "X-One"] == ["a", "b"]
    assert answer["body_sha256"] == hashlib.sha256(b"hello").hexdigest() and answer["body_length"] == 5
    assert answer["peer"] == "127.0.0.1"


def test_bytes_and_ranges_are_parts_of_one_thing(standin):
    url = f"http://127.0.0.1:{standin().port}/bytes/1000000"
    whole = curl(url)
    assert len(whole) == 1000000 and whole == curl(url + "?chunked=1")
    assert curl("-r", "251000-900000", url) == whole[251000:900001]
    assert curl("-r", "-10", url) == whole[-10:]


def test_http2_trailers_and_events(standin):
    service = standin(protocol="h2c")
    base = f"http://127.0.0.1:{service.port}"
    assert b"grpc-status: 0" in curl("--http2-prior-knowledge", "-i", "-H", "content-type: application/grpc", "-d", "abc", base + "/s/M")
    assert curl("--http2-prior-knowledge", base + "/events?n=3&interval_ms=10").count(b"data:") == 3


def test_event_is_sent_when_it_is_due_and_not_later(standin):
    with socket.create_connection(("127.0.0.1", standin().port), 10) as sock:
        sock.sendall(b"GET /events?n=2&interval_ms=3600000 HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while b"data: {\"event\":0}\n\n" not in got:
            piece = sock.recv(65536)
            assert piece
            got += piece
        assert b"\"event\":1" not in got


def test_websocket_echoes(standin):
    with socket.create_connection(("127.0.0.1", standin().port), 10) as sock:
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        stream = sock.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101 ")
        fields = [line for line in iter(stream.readline, b"\r\n")]
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in fields  # RFC 6455 section 1.3
        mask, text = b"\1\2\3\4", b"x" * 70000
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
        sock.sendall(b"\x81\xff" + len(text).to_bytes(8, "big") + mask + masked)
        assert stream.read(10) == b"\x81\x7f" + len(text).to_bytes(8, "big") and stream.read(len(text)) == text


def test_https_presents_the_certificate_it_wrote(standin):
    service = standin("vault", protocol="https")
    context = ssl.create_default_context(cafile=service.certificate)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", service.port), 10), server_hostname="vault") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")


def test_unix_socket_is_removed_at_the_end(standin):
    service = standin(unix=True)
    assert json.loads(curl("--unix-socket", service.unix, "http://x/"))["name"] == "service"
    service.stop()
    assert not os.path.exists(service.unix)


def test_echo_of_streams_and_datagrams_names_who_answers(directory, free_port):
    port = free_port()
    service = Process("echo", [STANDIN, "--name", "luanti", "--host", "bluejay", "--tcp-echo", f"127.0.0.1:{port}", "--udp-echo", f"127.0.0.1:{port}"],
                      directory)
    try:
        wait_until(lambda: "\n" in service.out())
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            stream = sock.makefile("rwb")
            assert stream.readline() == b"luanti@bluejay 127.0.0.1\n"
            stream.write(b"ping")
            stream.flush()
            assert stream.read(4) == b"ping"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"ping", ("127.0.0.1", port))
            assert sock.recv(1000) == b"luanti@bluejay 127.0.0.1 ping"
    finally:
        assert service.stop() == 0


def test_misbehaviour_is_what_it_says(standin):
    port = standin().port

    def ask(path):
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            try:
                while len(got) < 1 << 20:
                    piece = sock.recv(65536)
                    if not piece:
                        return got, "closed"
                    got += piece
            except ConnectionResetError:
                return got, "reset"
            return got, "endless"

    assert ask("/evil/reset") == (b"", "reset")
    assert ask("/evil/close") == (b"", "closed")
    got, end = ask("/evil/reset-in-body")
    assert got.endswith(b"ten bytes.") and end == "reset"
    for name in ("endless-headers", "endless-1xx", "endless-body"):
        assert ask(f"/evil/{name}")[1] == "endless"
    got, end = ask("/evil/raw?data=HTTP/1.1%20200%20OK%0D%0A%0D%0Ax&then=close")
    assert got == b"HTTP/1.1 200 OK\r\n\r\nx" and end == "closed"
