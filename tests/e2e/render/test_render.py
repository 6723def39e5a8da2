"""postern render as a command: its targets, its files, and what it says to who mistypes."""
import os
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
    for target, *_ in targets():
        seen = []
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
