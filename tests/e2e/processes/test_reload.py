"""postern reload: what it says, what it answers, and that the answer comes once the change is in force."""
import json
import os
import signal
import subprocess

import pytest

from lib.load import Load
from lib.process import POSTERN, wait_until
from lib.roles import kill, pids_of, wait_restarted

GRANTS = [{"from": "clients", "to": "grafana", "over": "main"}]


@pytest.fixture
def gw(gateway, standin):
    return gateway({"grafana": standin("grafana"), "notes": standin("notes")}, GRANTS, {"main": {"workers": 2}})


def changed(gw, *grants):
    return {**gw.declaration, "grants": list(grants)}


def test_what_came_and_went_is_listed_and_already_in_force(gw):
    done = gw.reload(changed(gw, {"from": "iphone", "to": ["grafana", "notes"], "over": "main"}))
    assert "- grant clients to grafana over main" in done.stdout
    assert "+ grant iphone to notes over main" in done.stdout
    assert "in force: revision" in done.stdout
    for _ in range(10):
        assert gw.get("iphone", "notes").status == 200
        with pytest.raises(OSError):
            gw.get("macbook", "grafana")


def test_a_service_that_comes_is_reachable_at_the_answer(gw, standin):
    later = standin("later")
    for i in range(5):
        name = f"later-{i}"
        services = {**gw.declaration["services"], name: later.declaration()}
        done = gw.reload({**gw.declaration, "services": services, "grants": [{"from": "clients", "to": "*", "over": "main"}]})
        assert f"+ service {name}" in done.stdout
        assert gw.get("macbook", name).status == 200


def test_a_wrong_file_is_refused_with_its_places(gw):
    done = gw.reload({**gw.declaration, "grants": [{"from": "nobody-such", "to": "grafana", "over": "main"}]}, check=False)
    assert done.returncode == 1
    assert "nobody-such" in done.stderr and "postern.yml:" in done.stderr and "what was in force stays" in done.stderr
    assert gw.get("macbook", "grafana").status == 200


def test_a_file_that_cannot_be_read_is_told_apart(gw):
    os.unlink(gw.file)
    done = gw.reload(check=False)
    assert done.returncode == 2 and gw.file in done.stderr


def test_no_change_says_so(gw):
    done = gw.reload()
    assert "nothing changes" in done.stdout


def test_json_is_for_scripts(gw):
    done = gw.command("reload", "--run-directory", gw.run_directory, "--json")
    answer = json.loads(done.stdout)
    assert answer["status"] == 0 and answer["generation"] == 2 and len(answer["revision"]) == 12 and answer["report"].endswith("nothing changes\n")


def test_no_postern_is_told_with_the_next_step(gw, directory):
    done = gw.command("reload", "--run-directory", directory)
    assert done.returncode == 2 and "postern run" in done.stderr


def test_asked_by_many_at_once_each_is_answered(gw):
    askers = [subprocess.Popen([POSTERN, "reload", "--run-directory", gw.run_directory], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [asker.wait(20) for asker in askers] == [0] * 8
    for asker in askers:
        assert "in force" in asker.stdout.read()


@pytest.mark.parametrize("role", ["broker", "keeper"])
def test_a_role_killed_in_the_middle_of_changes_takes_none_with_it(gw, role):
    with Load(gw) as load:
        for i in range(5):
            old = kill(gw.process.pid, role)
            gw.reload(changed(gw, *GRANTS, {"from": "iphone", "to": "notes", "over": "main"}) if i % 2 else changed(gw, *GRANTS))
            wait_restarted(gw.process.pid, role, old)
        load.wait_for(5)
    assert not load.failures, load.failures


def test_a_worker_that_hangs_does_not_hold_up_the_others(gw):
    """A stopped worker can't take the change: it is ended, and the answer comes."""
    workers = pids_of(gw.process.pid, "worker")
    os.kill(workers[0], signal.SIGSTOP)
    gw.declare(changed(gw, {"from": "iphone", "to": "grafana", "over": "main"}))
    done = gw.command("reload", "--run-directory", gw.run_directory, timeout_s=40)
    assert done.returncode == 0
    wait_until(lambda: "did not take the new declaration" in gw.process.err(), what="it is told")
    wait_until(lambda: workers[0] not in pids_of(gw.process.pid, "worker") and len(pids_of(gw.process.pid, "worker")) == 2, what="a new worker")
    for _ in range(10):
        assert gw.get("iphone", "grafana").status == 200
