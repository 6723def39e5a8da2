"""postern plan: who gains and who loses what, exactly, and what a pipeline makes of it."""
import json
import os

import pytest

from access.asking import HOMELAB, run
from lib.process import wait_until

with open(HOMELAB, encoding="utf-8") as _file:
    TEXT = _file.read()


def plan(directory, *changes, arguments=()):
    """(status, answer) of the home lab with these texts replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = os.path.join(directory, "new.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    done = run("plan", HOMELAB, path, "--json", *arguments)
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def told(answer, change):
    return {(c["from"], c["to"]) for c in answer["changes"] if c["change"] == change}


def test_the_same_file_changes_nothing(directory):
    status, answer = plan(directory)
    assert (status, answer["changes"], answer["files"]) == (0, [], [])
    assert "Nobody gains anything" in run("plan", HOMELAB, HOMELAB).stdout


def test_a_comment_and_another_order_change_nothing(directory):
    lines = [line for line in TEXT.split("\n") if not line.strip().startswith("#")]
    path = os.path.join(directory, "new.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    answer = json.loads(run("plan", HOMELAB, path, "--json").stdout)
    assert answer["changes"] == [] and answer["files"] == []


GRANT = "  - { from: ai, to: [registry, mcp-*], over: agents }"


def test_gains_and_losses_have_their_lines_and_come_in_the_order_of_their_risk(directory):
    status, answer = plan(directory, (GRANT, "  - { from: ai, to: [registry, grafana], over: agents }\n  - { from: robin, to: \"roc:22\" }"))
    assert status == 0
    changes = [(c["change"], c["from"], c["to"]) for c in answer["changes"]]
    assert changes == [("gained", "robin", "roc:22"), ("gained", "robin", "grafana over agents"), ("lost", "robin", "mcp-files over agents"),
                       ("lost", "robin", "mcp-git over agents"), ("lost", "robin", "mcp-search over agents")]
    line = TEXT.split("\n").index(GRANT) + 1
    assert [(c["in"], c["line"], c["cause"]) for c in answer["changes"][:3]] == [("new", line + 1, "grant"), ("new", line, "grant"), ("old", line, "grant")]
    assert all(c["across"] for c in answer["changes"])


def test_a_host_that_changes_its_segment_is_the_cause(directory):
    status, answer = plan(directory, ("  kobo:    { segment: clients,", "  kobo:    { segment: ai,"))
    assert status == 0
    assert ("kobo", "registry over agents") in told(answer, "gained") and ("kobo", "grafana over main") in told(answer, "lost")
    causes = {(c["cause"], c["in"]) for c in answer["changes"]}
    assert causes == {("host changed", "new")}


def test_a_new_service_is_gained_by_those_whose_star_means_it(directory):
    _, answer = plan(directory, ("  grafana: ", "  extra:      { host: roc, container: extra, port: 80 }\n  grafana: "))
    assert told(answer, "gained") == {(who, "extra over main") for who in ("iphone", "kobo", "macbook", "status")}
    assert {c["cause"] for c in answer["changes"]} == {"service changed"}


def test_another_address_is_no_gain_in_names(directory):
    _, answer = plan(directory, ("100.64.0.12", "100.64.0.112"))
    assert told(answer, "gained") == set() and told(answer, "lost") == set() and ("kobo", "grafana over main") in told(answer, "moved")


def test_who_gets_another_s_address_gains_what_it_had_not(directory):
    """An address that passes from a client to the agents' machine: nothing of the client's goes with it."""
    _, answer = plan(directory, ("100.64.0.12", "100.64.0.99"), ("100.64.0.3,", "100.64.0.12,"))
    assert not [c for c in answer["changes"] if c["from"] == "robin" and c["change"] == "gained"]


@pytest.mark.parametrize("who, status", [("ai", 1), ("robin", 1), ("*", 1), ("clients", 0), ("iphone", 0)])
def test_fail_on_gain(who, status, directory):
    assert plan(directory, (GRANT, GRANT.replace("registry,", "registry, grafana,")), arguments=["--fail-on-gain", who])[0] == status


def test_a_loss_is_no_gain(directory):
    assert plan(directory, (GRANT, GRANT.replace(", mcp-*", "")), arguments=["--fail-on-gain", "*"])[0] == 0


def test_a_host_that_leaves_the_segment_still_counts_for_it(directory):
    """robin as a client: what it gains, the agents' machine gains."""
    status, _ = plan(directory, ("  robin:\n    segment: ai", "  robin:\n    segment: clients"), arguments=["--fail-on-gain", "ai"])
    assert status == 1


def test_a_name_that_means_nobody_is_an_error():
    done = run("plan", HOMELAB, HOMELAB, "--fail-on-gain", "agents-typo")
    assert done.returncode == 2 and "agents-typo" in done.stderr


def test_losing_ssh_is_warned_of(directory):
    path = os.path.join(directory, "new.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(TEXT.replace('to: ["roc:22", "bluejay:22", "robin:22"]', 'to: ["roc:22", "robin:22"]', 1))
    done = run("plan", HOMELAB, path)
    assert done.returncode == 0 and "warning: macbook loses ssh to bluejay" in done.stdout


def test_files_are_compared_without_lines_that_only_moved(directory):
    _, answer = plan(directory, ("grants:\n", "grants:\n  # one line more\n"))
    assert answer["files"] == []
    _, answer = plan(directory, ("udp/30000", "udp/30001"))
    files = {file["name"]: file["diff"] for file in answer["files"]}
    assert "bluejay.nft" in files and "roc.nft" not in files
    assert all("30001" in diff and "30000" in diff for diff in files.values())
    assert json.loads(run("plan", HOMELAB, HOMELAB, "--access-only", "--json").stdout)["files"] == []


def test_a_wrong_file_ends_with_2(directory):
    path = os.path.join(directory, "new.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(TEXT.replace("host: roc,", "host: rok,", 1))
    assert run("plan", HOMELAB, path).returncode == 2
    assert run("plan", path, HOMELAB).returncode == 2
    assert run("plan", HOMELAB, HOMELAB, HOMELAB).returncode == 2


def test_what_is_in_force_is_kept_for_the_next_plan(gateway):
    gw = gateway()
    applied = os.path.join(gw.state_directory, "applied.yml")
    wait_until(lambda: os.path.exists(applied), what="what is in force is kept")
    with open(applied, encoding="utf-8") as kept, open(gw.file, encoding="utf-8") as file:
        assert kept.read() == file.read()
    assert os.stat(applied).st_mode & 0o777 == 0o600
    with open(gw.file, "a", encoding="utf-8") as file:
        file.write("# another word\n")
    before = run("plan", applied, gw.file, "--json")
    assert json.loads(before.stdout)["changes"] == []
    assert gw.command("reload", "--run-directory", gw.run_directory).returncode == 0
    with open(applied, encoding="utf-8") as kept:
        assert kept.read().endswith("# another word\n")
    assert os.listdir(gw.state_directory).count("applied.yml.new") == 0
