"""postern status, postern log and the metrics of a whole gateway, as a user reads them."""
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from lib.process import POSTERN, wait_until


@pytest.fixture
def gw(standin, gateway, free_port):
    return gateway({"grafana": standin("grafana"), "dead": {"host": "gw", "port": free_port()}, "mcp": standin("mcp")},
                   [{"from": "clients", "to": ["grafana", "dead"], "over": "main"}, {"from": "robin", "to": "mcp", "over": "agents"}])


def command(gw, *words):
    return gw.command(*words, "--run-directory", gw.run_directory)


def role(status, name, surface=None):
    return next(r for r in status["roles"] if r["role"] == name and r.get("surface") == surface)


# ---- status ----

def test_status_shows_each_process_as_the_kernel_has_it(gw):
    done = command(gw, "status")
    assert done.returncode == 0 and "all is well" in done.stdout, done.stdout + done.stderr
    for name in ("parent", "keeper", "broker", "watcher", "logger", "worker main/0", "worker agents/0"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(name + " "))
        pid = int(re.search(r"running +(\d+)", line).group(1))
        with open(f"/proc/{pid}/status") as text:
            kernel = dict(row.rstrip("\n").split(":\t", 1) for row in text)
        assert name == "parent" or ("seccomp" in line) == (kernel["Seccomp"].strip() == "2")
        assert ("none" in line) == (int(kernel["CapEff"], 16) == 0)
    assert re.search(r"\*\.home\.example +main +internal +in \d+ days", done.stdout)


def test_only_the_broker_holds_capabilities_besides_the_parent(gw):
    if os.geteuid() != 0:
        pytest.skip("the broker has none without root")
    status = gw.status()
    holding = {r["role"]: r["measured"]["capabilities"] for r in status["roles"] if r["measured"]["capabilities"] != "none"}
    assert set(holding) == {"parent", "broker"} and holding["broker"] == "net_admin sys_admin"
    users = [r["measured"]["uid"] for r in status["roles"]]
    assert len(set(users)) == len(users), "each role, and each surface's workers, have a user of their own"


def test_status_counts_what_passed(gw):
    for _ in range(3):
        assert gw.get("macbook", "grafana").status == 200
    assert gw.get("macbook", "dead").status == 502
    assert gw.get("robin", "grafana", surface="agents").status == 404

    def counted():
        surfaces = {s["name"]: s for s in gw.status()["surfaces"]}
        return surfaces["main"]["requests"] == 4 and surfaces["main"]["requests_5xx"] == 1 and surfaces["agents"]["requests_denied"] == 1

    wait_until(counted, what="the counters")


@pytest.mark.parametrize("name", ["broker", "watcher", "logger", "keeper"])
def test_a_role_that_was_killed_is_seen_and_back(gw, name):
    before = role(gw.status(), name)
    os.kill(before["pid"], signal.SIGKILL)

    def back():
        done = command(gw, "status", "--json")
        if done.returncode != 0:
            return False
        now = role(json.loads(done.stdout), name)
        return now["pid"] != before["pid"] and now["restarts"] == 1 and now["status"] == "running" and now["last_exit"] == "killed by SIGKILL"

    wait_until(back, what=f"a new {name}")
    assert gw.get("macbook", "grafana").status == 200
    shown = command(gw, "status").stdout
    assert re.search(rf"^{name} .*restarted 1 times, killed by SIGKILL", shown, re.M), shown


def test_a_crash_loop_is_reported(gw):
    """SIGKILL again and again: status says so, and exits with 1."""
    def down():
        done = command(gw, "status", "--json")
        if done.returncode == 1:
            return json.loads(done.stdout)
        for one in json.loads(done.stdout)["roles"]:
            if one["role"] == "broker" and one["pid"] > 0:
                try:
                    os.kill(one["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return None

    status = wait_until(down, what="status 1", timeout_s=20)
    assert any("broker is down" in problem and "SIGKILL" in problem for problem in status["problems"]), status["problems"]


def test_without_a_postern_status_and_log_say_what_to_do(directory):
    for words in (["status"], ["log"], ["log", "0123456789abcdef"]):
        done = subprocess.run([POSTERN, *words, "--run-directory", directory], capture_output=True, text=True)
        assert done.returncode == 2 and "postern run" in done.stderr and not done.stdout


@pytest.mark.parametrize("words", [["status", "more"], ["status", "--colour"], ["log", "x"], ["log", "-n", "5000"], ["log", "--status", "6xx"],
                                   ["log", "--from", "a b"], ["log", "0123456789abcdef", "more"]], ids=" ".join)
def test_wrong_words_are_explained(words):
    done = subprocess.run([POSTERN, *words], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr) > 20


# ---- log ----

def test_the_log_is_shown_with_filters(gw):
    gw.get("macbook", "grafana")
    gw.get("macbook", "dead")
    gw.get("robin", "grafana", surface="agents")
    gw.records(at_least=1, status=404)

    def shown(*words):
        done = command(gw, "log", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert any(re.search(r"main +macbook +→ grafana +GET +200 .* grafana@gw  postern.yml:\d+  [0-9a-f]{16}$", line) for line in shown())
    assert all("robin" in line and "denied: " in line for line in shown("--from", "robin", "--denied"))
    assert len(shown("--from", "robin", "--denied")) == 1
    assert all(" 502 " in line and "dead" in line for line in shown("--status", "5xx"))
    assert [json.loads(line)["service"] for line in shown("--json", "--to", "graf*", "--surface", "main")] == ["grafana"]
    assert len(shown("-n", "1")) == 1
    assert shown("--from", "kobo", "--to", "grafana") == []


def test_the_id_of_an_answer_finds_its_record(gw):
    """What a puzzled user reads out from a phone."""
    answer = gw.get("robin", "grafana", surface="agents")
    identity = {name.lower(): value for name, value in answer.headers}["postern-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}", identity)
    gw.records(at_least=1, id=identity)
    done = command(gw, "log", identity)
    assert done.returncode == 0
    assert identity in done.stdout and "robin" in done.stdout and "404" in done.stdout and "denied" in done.stdout
    assert json.loads(command(gw, "log", identity.upper(), "--json").stdout)["id"] == identity


def test_an_id_that_left_the_ring_is_found_in_the_file(gw):
    gw.get("macbook", "grafana")
    identity = gw.records(at_least=1, status=200)[0]["id"]
    os.rename(gw.log_file, gw.log_file + ".1")
    os.kill(role(gw.status(), "logger")["pid"], signal.SIGKILL)
    wait_until(lambda: role(gw.status(), "logger")["restarts"] == 1, what="a new logger")
    wait_until(lambda: command(gw, "log", identity).returncode == 0, what="the record from the file")
    assert identity in command(gw, "log", identity).stdout
    missing = command(gw, "log", "0" * 16)
    assert missing.returncode == 1 and "no record" in missing.stderr


def test_following_shows_requests_as_they_come_and_survives_the_logger(gw, directory):
    out = os.path.join(directory, "followed")
    with open(out, "wb") as stdout:
        follower = subprocess.Popen([POSTERN, "log", "--follow", "-n", "0", "--to", "grafana", "--run-directory", gw.run_directory], stdout=stdout)
    try:
        def followed(n):
            gw.get("macbook", "grafana")
            with open(out, encoding="utf-8") as text:
                return len(text.readlines()) >= n

        wait_until(lambda: followed(1), what="a line")
        os.kill(role(gw.status(), "logger")["pid"], signal.SIGKILL)
        seen = len(open(out, encoding="utf-8").readlines())
        wait_until(lambda: followed(seen + 3), what="lines from the new logger", interval_s=0.1)
        assert follower.poll() is None
        assert all("grafana" in line for line in open(out, encoding="utf-8"))
    finally:
        follower.kill()
        follower.wait()


# ---- metrics ----

def test_metrics_of_a_gateway_are_scraped_from_its_unix_socket(gw):
    gw.get("macbook", "grafana")

    def scrape():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(os.path.join(gw.run_directory, "metrics.sock"))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = b""
            while got := client.recv(65536):
                data += got
        return data.decode()

    wait_until(lambda: re.search(r'^postern_requests_total\{surface="main",status="2xx"\} 1$', scrape(), re.M), what="the request counted")
    text = scrape()
    assert re.search(r'^postern_role_up\{role="keeper"\} 1$', text, re.M)
    ends = int(re.search(r'^postern_certificate_not_after_seconds\{surface="main",name="\*\.home\.example",source="internal"\} (\d+)$', text, re.M).group(1))
    assert ends > time.time() + 86400
    assert f'postern_declaration_info{{revision="{gw.status()["revision"]}"}} 1' in text
