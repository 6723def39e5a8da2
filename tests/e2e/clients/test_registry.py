"""A real registry behind the agents' surface: skopeo pushes and pulls an image of some 100 MB where it was granted, and finds nothing where not."""
import gzip
import hashlib
import io
import json
import os
import random
import signal
import tarfile

import pytest

from lib.lab import Lab, processes_in
from lib.process import POSTERN, Process, needs, wait_until

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="puts another service in a stand-in's place, as root"),
              needs("skopeo", "docker-registry")]

DECLARATION = """
postern: 1
domain: oci.example
segments: { prod: {}, ai: {} }
hosts:
  roc:   { segment: prod, address: 100.64.0.1, gateway: true }
  robin: { segment: ai, address: 100.64.0.3 }
  wren:  { segment: ai, address: 100.64.0.4 }
surfaces:
  agents: { port: 8443, workers: 1 }
services:
  registry: { host: roc, container: registry, port: 5000 }
  other:    { host: roc, container: other, port: 5000 }
grants:
  - { from: robin, to: registry, over: agents }
  - { from: wren, to: other, over: agents }
"""
REGISTRY = "registry.oci.example:8443"
N_LAYERS, LAYER_BYTES = 3, 34 << 20


def blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(layout, "blobs", "sha256", digest), "wb") as out:
        out.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def make_image(layout):
    """An OCI image layout whose layers can't be compressed; returns its layers' digests."""
    os.makedirs(os.path.join(layout, "blobs", "sha256"))
    generator, layers, diffs = random.Random(7), [], []
    for number in range(N_LAYERS):
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            member = tarfile.TarInfo(f"layer{number}")
            member.size = LAYER_BYTES
            tar.addfile(member, io.BytesIO(generator.randbytes(LAYER_BYTES)))
        diffs.append("sha256:" + hashlib.sha256(plain.getvalue()).hexdigest())
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(layout, gzip.compress(plain.getvalue(), 0, mtime=0))})
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(layout, json.dumps(config).encode())}}
    entry = {"mediaType": manifest["mediaType"], **blob(layout, json.dumps(manifest).encode()),
             "annotations": {"org.opencontainers.image.ref.name": "1"}}
    for name, content in (("index.json", {"schemaVersion": 2, "manifests": [entry]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(layout, name), "w", encoding="ascii") as out:
            json.dump(content, out)
    return [layer["digest"] for layer in layers]


def stand_in_of(lab, name):
    for pid in processes_in(lab.namespace()):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if os.path.basename(words[0]) == b"postern-standin" and name.encode() in words:
            return pid
    return None


@pytest.fixture
def lab(directory):
    """A lab whose stand-in for the registry gave way to a real one."""
    files = {"postern.yml": DECLARATION,
             "registry.yml": f"version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: {directory}/registry }} }}\n"
                             "http: { addr: ':5000' }\n"}
    for name, text in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    lab = Lab(os.path.join(directory, "postern.yml"))
    registry = None
    try:
        lab.up()
        os.kill(stand_in_of(lab, "registry"), signal.SIGTERM)
        wait_until(lambda: stand_in_of(lab, "registry") is None, 10, "the stand-in has gone")
        registry = Process("registry", [POSTERN, "lab", "exec", "-n", lab.name, "roc/registry", "--", "docker-registry", "serve",
                                        os.path.join(directory, "registry.yml")], directory)
        wait_until(lambda: lab.http_status("robin", f"https://{REGISTRY}/v2/") == "200", 20, "the registry answers", 0.1)
        yield lab
    finally:
        if registry:
            registry.stop()
        lab.down()


def skopeo(lab, host, *arguments):
    return lab.exec(host, "skopeo", "--insecure-policy", *arguments, timeout_s=120)


def test_an_image_goes_up_and_comes_down_for_who_was_granted_it_and_is_not_there_for_others(lab, directory):
    layout, back = os.path.join(directory, "image"), os.path.join(directory, "back")
    layers = make_image(layout)
    pushed = skopeo(lab, "robin", "copy", f"oci:{layout}:1", f"docker://{REGISTRY}/agents/big:1")
    assert pushed.returncode == 0, pushed.stderr + lab.logs()
    pulled = skopeo(lab, "robin", "copy", f"docker://{REGISTRY}/agents/big:1", f"oci:{back}:1")
    assert pulled.returncode == 0, pulled.stderr + lab.logs()
    for digest in layers:  # skopeo has checked each against its digest
        path = os.path.join("blobs", "sha256", digest.removeprefix("sha256:"))
        assert os.path.getsize(os.path.join(back, path)) == os.path.getsize(os.path.join(layout, path)) > LAYER_BYTES

    assert lab.http_status("wren", f"https://{REGISTRY}/v2/") == "404"
    assert lab.http_status("wren", "https://other.oci.example:8443/v2/") == "200", "it is served, just not this"
    for arguments in (("inspect", f"docker://{REGISTRY}/agents/big:1"), ("copy", f"oci:{layout}:1", f"docker://{REGISTRY}/agents/mine:1")):
        refused = skopeo(lab, "wren", *arguments)
        assert refused.returncode != 0 and "404" in refused.stderr, refused.stderr
    assert skopeo(lab, "robin", "list-tags", f"docker://{REGISTRY}/agents/mine").returncode != 0, "nothing arrived"
