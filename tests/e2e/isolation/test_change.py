"""Changing what is in force: shown before, undone unless confirmed, one at a time, and never by a file that is wrong."""
import concurrent.futures
import json
import os
import pty
import signal
import subprocess
import time

import pytest

from isolation.host import INTERNET, LAN
from lib.process import POSTERN, wait_until

SERVICES = {"grafana": "monitoring/grafana", "prometheus": "monitoring/prometheus"}
GRANT = {"from": "grafana", "to": "internet"}
ENFORCED = {"monitoring": {"mode": "enforce"}}


@pytest.fixture
def monitoring(host):
    host.network("monitoring")
    host.grafana = host.container("monitoring", "grafana", listens=False)
    host.declare(SERVICES, [], ENFORCED)
    return host


def is_held(host):
    return not host.reaches(host.grafana, "tcp", LAN, 22, 0.4)


def test_a_dry_run_shows_the_change_and_changes_nothing(monitoring):
    before = monitoring.ruleset()
    done = monitoring.apply("--dry-run")
    assert done.returncode == 0 and "enforced" in done.stdout and "nothing was changed" in done.stdout
    assert monitoring.ruleset() == before
    monitoring.applied()
    assert "nothing would change" in monitoring.apply("--dry-run").stdout
    monitoring.declare(SERVICES, [GRANT], ENFORCED)
    shown = monitoring.apply("--dry-run").stdout
    lines = [line for line in shown.splitlines() if line[0] in "+-"]
    assert any(line.startswith("+ internet4") and "monitoring/grafana to internet, postern.yml:" in line for line in lines)
    assert all("internet" in line or "to names" in line for line in lines)
    said = json.loads(monitoring.apply("--dry-run", "--json").stdout)
    assert said["result"] == "would change" and len(said["changes"]) == len(lines) and said["projects_enforced"] == 1


def test_json_says_what_is_in_force(monitoring):
    said = json.loads(monitoring.apply("--json").stdout)
    assert {key: said[key] for key in ("result", "host", "projects_enforced", "projects_observed", "containers", "grants")} == {
        "result": "in force", "host": "roc", "projects_enforced": 1, "projects_observed": 0, "containers": 1, "grants": 0}
    assert json.loads(monitoring.postern("unapply", "--json").stdout) == {"result": "not in force"}


def test_without_confirmation_it_is_undone(monitoring):
    done = monitoring.apply("--confirm", "2")
    assert done.returncode == 1
    assert "in force for 2 seconds" in done.stdout and "undone: nobody confirmed it" in done.stdout
    assert "postern_containers" not in monitoring.ruleset()
    assert not is_held(monitoring)


def test_a_change_of_what_was_in_force_is_undone_to_just_that(monitoring):
    monitoring.applied()
    monitoring.declare(SERVICES, [GRANT], ENFORCED)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        applying = pool.submit(monitoring.apply, "--confirm", "3")
        wait_until(lambda: monitoring.reaches(monitoring.grafana, "tcp", INTERNET, 80, 0.3), 3, "it is in force")
        assert applying.result().returncode == 1
    assert is_held(monitoring) and not monitoring.reaches(monitoring.grafana, "tcp", INTERNET, 80)
    monitoring.declare(SERVICES, [], ENFORCED)
    assert "nothing would change" in monitoring.apply("--dry-run").stdout


def test_confirmed_elsewhere_it_stays(monitoring):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        applying = pool.submit(monitoring.apply, "--confirm", "4")
        wait_until(lambda: os.path.exists(os.path.join(monitoring.state_directory, "before")), 3, "it awaits its confirmation")
        wait_until(lambda: is_held(monitoring), 3, "it is in force")
        refused = monitoring.apply()
        assert refused.returncode == 1 and "awaits its confirmation" in refused.stderr
        confirmed = monitoring.postern("apply", "--confirmed")
        assert confirmed.returncode == 0 and "it stays in force" in confirmed.stdout
        assert applying.result().returncode == 0
    time.sleep(4)  # past the time at which it would have been undone
    assert is_held(monitoring)
    again = monitoring.postern("apply", "--confirmed")
    assert again.returncode == 1 and "nothing awaits" in again.stdout


def begin_on_a_terminal(host, *words):
    """postern apply as the leader of a terminal's session; returns its pid and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("nsenter", ["nsenter", f"--net=/run/netns/{host.host}", POSTERN, "apply", "-f", host.file, "--host", "roc", "--state-directory",
                              host.state_directory, *words])
    said = b""
    while b"keeps it" not in said:
        said += os.read(terminal, 1000)
    return pid, terminal


def test_enter_on_the_terminal_confirms(monitoring):
    pid, terminal = begin_on_a_terminal(monitoring, "--confirm", "10")
    os.write(terminal, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert is_held(monitoring) and not os.path.exists(os.path.join(monitoring.state_directory, "before"))


@pytest.mark.parametrize("how", ["the terminal goes", "it is killed"])
def test_it_is_undone_also_when_its_terminal_or_process_is_gone(monitoring, how):
    pid, terminal = begin_on_a_terminal(monitoring, "--confirm", "3")
    assert is_held(monitoring)
    if how == "it is killed":
        os.killpg(pid, signal.SIGKILL)
    os.close(terminal)
    os.waitpid(pid, 0)
    assert is_held(monitoring)
    wait_until(lambda: "postern_containers" not in monitoring.ruleset(), 6, "it is undone")
    assert not is_held(monitoring)


def guards():
    found = subprocess.run(["ps", "-eo", "pid,comm"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "postern-undo" in line]


def test_it_is_undone_by_the_watch_when_even_the_guard_was_killed(monitoring):
    watch = monitoring.watch()
    monitoring.declare(SERVICES, [GRANT], ENFORCED)
    others = guards()
    pid, terminal = begin_on_a_terminal(monitoring, "--confirm", "2")
    for guard in set(guards()) - set(others):
        os.kill(guard, signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    wait_until(lambda: "not confirmed in time" in watch.err(), 15, "the watch undoes it")
    wait_until(lambda: not monitoring.reaches(monitoring.grafana, "tcp", INTERNET, 80, 0.4), 5, "it is undone")


def test_two_applies_at_once_end_as_one_after_the_other(monitoring):
    other = os.path.join(monitoring.directory, "other.yml")
    monitoring.declare(SERVICES, [GRANT], ENFORCED)
    os.rename(monitoring.file, other)
    monitoring.declare(SERVICES, [], ENFORCED)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: monitoring.postern("apply", "-f", (monitoring.file, other)[i % 2], "--host", "roc"), range(8)))
    assert [one.returncode for one in done] == [0] * 8
    with open(os.path.join(monitoring.state_directory, "in-force"), encoding="utf-8") as text:
        last = text.read()
    has_grant = '"internet"' in last
    assert monitoring.reaches(monitoring.grafana, "tcp", INTERNET, 80) == has_grant
    assert is_held(monitoring)


def test_a_file_that_is_wrong_leaves_what_is_in_force(monitoring):
    monitoring.applied()
    before = monitoring.ruleset()
    with open(monitoring.file, "w", encoding="utf-8") as text:
        text.write("postern: 1\nhosts: [")
    done = monitoring.apply()
    assert done.returncode == 2 and "postern.yml:" in done.stderr
    assert monitoring.ruleset() == before and is_held(monitoring)


def test_what_can_not_be_done_says_so_and_changes_nothing(monitoring):
    before = monitoring.ruleset()
    unknown = monitoring.postern("apply", "-f", monitoring.file, "--host", "rock")
    assert unknown.returncode == 1 and "did you mean 'roc'?" in unknown.stderr
    both = monitoring.apply("--watch", "--dry-run")
    assert both.returncode == 2
    monitoring.engine.stop()
    try:
        without = monitoring.apply()
        assert without.returncode == 2 and monitoring.engine.socket in without.stderr
    finally:
        monitoring.engine.start()
    assert monitoring.run("nft", "list", "table", "inet", "postern_containers").returncode == 1
    assert "postern_containers" not in before


def test_a_user_without_rights_is_told(monitoring):
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", POSTERN, "apply", "-f", monitoring.file, "--host", "roc", "--state-directory",
                           "/var/lib/postern-nobody/apply"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "run it as root" in done.stderr
