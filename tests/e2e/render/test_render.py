"""postern render as a command: its targets, its files, and what it says to who mistypes."""
import os
import re
import shutil
import subprocess

import pytest

from lib.process import POSTERN

HERE = os.path.dirname(os.path.abspath(__file__))
HOMELAB = os.path.join(HERE, "../../../examples/homelab/postern.yml")


def render(*arguments, file=HOMELAB):
    return subprocess.run([POSTERN, "render", *arguments, "-f", file], capture_output=True, text=True, timeout=30, check=False)


def targets():
    lines = subprocess.run([POSTERN, "render", "--help"], capture_output=True, text=True, timeout=30, check=True).stdout.split("\n\n")[2]
    return [line.split("  ")[1].split() for line in lines.splitlines()]


def test_every_target_writes_its_files_and_the_same_bytes_each_time(directory):
    assert ["nftables", "HOST"] in targets() and ["mesh"] in targets()
    for target, *of in targets():
        seen = []
        if of == ["PROJECT"]:  # test_compose.py
            continue
        for turn in "ab":
            done = render(target, "-o", os.path.join(directory, f"{target}-{turn}"))
            assert done.returncode == 0, done.stderr
            files = {os.path.basename(line): line for line in done.stdout.splitlines()}
            assert files and sorted(files) == sorted(os.listdir(os.path.join(directory, f"{target}-{turn}")))
            seen.append({})
            for name, path in files.items():
                with open(path, "rb") as file:
                    seen[-1][name] = file.read()
                assert seen[-1][name]
        assert seen[0] == seen[1]


def test_a_directory_gets_a_file_for_each_host_that_has_one(directory):
    done = render("nftables", "-o", directory)
    assert done.returncode == 0
    assert sorted(os.listdir(directory)) == ["bluejay.nft", "iphone.nft", "kobo.nft", "macbook.nft", "roc.nft"]  # robin is a Mac
    with open(os.path.join(directory, "roc.nft"), encoding="utf-8") as file:
        assert file.read() == render("nftables", "roc").stdout


def test_a_file_is_replaced_whole_and_a_link_in_its_place_is_not_followed(directory):
    other = os.path.join(directory, "other")
    with open(other, "w", encoding="ascii") as file:
        file.write("mine")
    os.mkdir(os.path.join(directory, "out"))
    os.symlink(other, os.path.join(directory, "out", "mesh.nft"))
    assert render("mesh", "-o", os.path.join(directory, "out")).returncode == 0
    with open(other, encoding="ascii") as file:
        assert file.read() == "mine"
    assert not os.path.islink(os.path.join(directory, "out", "mesh.nft"))


@pytest.mark.parametrize("arguments, status, said", [
    (["nftables"], 2, "for which host"),
    (["nftables", "rok"], 1, "did you mean 'roc'?"),
    (["nftables", "robin"], 1, "robin"),
    (["mehs"], 2, "did you mean 'mesh'?"),
    (["cloud"], 2, "--help"),
    (["mesh", "roc"], 2, "postern render mesh"),
    (["mesh", "--keep-lan"], 2, "--keep-lan means nothing for mesh"),
    (["mesh", "-o", "/nonexistent/there"], 2, "/nonexistent/there"),
])
def test_what_is_wrong_is_said_with_what_to_do(arguments, status, said):
    done = render(*arguments)
    assert done.returncode == status and done.stdout == "" and said in done.stderr


def test_names_are_recorded_at_the_gateways_that_serve_them():
    lines = render("hosts").stdout.splitlines()
    records = [tuple(line.split()) for line in lines if line and not line.startswith("#")]
    assert len(records) == len(set(records))
    at = {}
    for address, name in records:
        at.setdefault(name, []).append(address)
    roc, bluejay = ["100.64.0.1", "fd7a:115c:a1e0::1"], ["100.64.0.2", "fd7a:115c:a1e0::2"]
    assert at["grafana.home.example"] == roc and at["music.home.example"] == bluejay      # containers: only their own host's gateway
    assert at["backrest.home.example"] == roc + bluejay and at["backrest-bluejay.home.example"] == bluejay
    assert at["whisper.home.example"] == roc + bluejay                                    # a port on the mesh: any gateway
    assert "notes-db.home.example" not in at and "luanti.home.example" not in at          # nobody is served those
    assert lines[0].startswith("# From postern.yml, revision ")


@pytest.mark.skipif(not shutil.which("dot"), reason="no Graphviz on this machine")
def test_graphviz_draws_the_map(directory):
    drawn = subprocess.run(["dot", "-Tplain"], input=render("dot").stdout, capture_output=True, text=True, timeout=60, check=False)
    assert drawn.returncode == 0 and drawn.stderr == "", drawn.stderr
    edges = {tuple(line.split()[1:3]) for line in drawn.stdout.splitlines() if line.startswith("edge")}
    nodes = {line.split()[1]: line for line in drawn.stdout.splitlines() if line.startswith("node")}
    agents = [name for name, line in nodes.items() if "agents 8443" in line]
    robin = [name for name, line in nodes.items() if " robin " in line]
    assert len(agents) == 2 and len(robin) == 1
    assert {to for where, to in edges if where == robin[0]} == set(agents)


def test_mermaid_names_each_node_once_and_each_end_of_an_edge():
    lines = [line.strip() for line in render("mermaid").stdout.splitlines()]
    assert lines[0].startswith("%% From postern.yml") and lines[1] == "flowchart LR"
    nodes = [match[1] for line in lines if (match := re.match(r'(\w+)(?:\("|\{\{"|\["|\(\(")[^"]*', line))]
    ends = {end for line in lines if (match := re.match(r"(\w+) (?:-->|---|-\.->) (\w+)$", line)) for end in match.groups()}
    assert len(nodes) == len(set(nodes)) and ends <= set(nodes) and len(ends) > 10
    assert sum(line.startswith("subgraph ") for line in lines) == lines.count("end") == 6
