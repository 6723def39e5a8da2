"""Every place and protocol that a service can have, as a lab: stand-ins there, the gateway in front, every path as declared."""
import json
import os
import subprocess

import pytest

from lib.lab import Lab

DECLARATION = """
postern: 1
domain: mix.example
segments: { clients: {}, prod: {} }
hosts:
  gate:   { segment: prod, address: [100.64.0.1, "fd7a:115c:a1e0::1"], lan: [192.168.7.10, "fd00:7::10"], gateway: true }
  back:   { segment: prod, address: 100.64.0.2 }
  laptop: { segment: clients, address: [100.64.0.5, "fd7a:115c:a1e0::5"] }
surfaces:
  main: { port: 443, redirect: 80 }
services:
  grpc:   { host: gate, container: grpc, port: 50051, protocol: h2c }
  tls:    { host: back, port: 8443, protocol: https, tls: { insecure: true } }
  sock:   { host: gate, unix: /run/app/app.sock }
  ns:     { host: gate, netns: /run/netns/app, port: 8080 }
  loop:   { host: gate, container: loop, port: 8081, loopback: true }
  local:  { host: gate, port: 8082, loopback: true }
  own:    { host: gate, container: own, port: 8083, address: 172.20.0.5 }
  pair:   { host: gate, container: own, port: 8086, address: 172.20.0.5 }
  named:  { host: gate, container: named, port: 8084, names: [www.mix.example] }
  tcp:    { host: back, direct: tcp/25565 }
grants:
  - { from: clients, to: "*", over: main }
  - { from: laptop, to: tcp }
"""


@pytest.fixture
def lab(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(DECLARATION)
    lab = Lab(path)
    lab.up()
    yield lab
    lab.down()


def test_every_kind_of_instance_is_reached_as_declared(lab):
    done = lab.command("try", "-n", lab.name, "--json", lab.declaration)
    rows = json.loads(done.stdout)
    assert [row for row in rows if not row["holds"]] == [] and done.returncode == 0
    served = {row["measured"] for row in rows if row["from"] == "laptop"}
    for name in ("grpc@gate", "tls@back", "sock@gate", "ns@gate", "loop@gate", "local@gate", "own@gate", "pair@gate", "named@gate"):
        assert f"200 from {name}" in served
    assert "reply from tcp@back" in served


def test_service_sees_where_it_was_dialled_from(lab):
    def peer(name):
        return json.loads(lab.curl("laptop", f"https://{name}.mix.example/").stdout)["peer"]

    assert peer("loop") in ("127.0.0.1", "::1") and peer("local") in ("127.0.0.1", "::1")
    assert peer("ns") not in ("127.0.0.1", "::1")


def test_h2c_instance_gets_grpc_with_its_trailers(lab):
    done = lab.curl("laptop", "https://grpc.mix.example/svc/Method", "--http2", "--include", "--header", "content-type: application/grpc",
                    "--header", "te: trailers", "--data-binary", "abc")
    assert "grpc-status: 0" in done.stdout and "abc" in done.stdout, done.stdout + done.stderr


def test_standin_is_a_containers_only_file(directory):
    """Alone in an empty root, as a container's entry point would be."""
    from lib.process import STANDIN
    if b"(NEEDED)" in subprocess.run(["readelf", "--dynamic", STANDIN], capture_output=True, check=True).stdout:
        pytest.skip("linked dynamically: a sanitizer is on, or a static library is missing here (tools/packages)")
    if os.geteuid() != 0:
        pytest.skip("changing the root needs root")
    subprocess.run(["cp", STANDIN, os.path.join(directory, "standin")], check=True)
    done = subprocess.run(["chroot", directory, "/standin", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--udp-echo" in done.stdout
