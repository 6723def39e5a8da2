"""The gateway fixture itself: what every other whole-system test stands on."""
import os
import ssl

import pytest

from lib.process import wait_until


def test_reaches_what_is_granted_and_nothing_else(standin, gateway):
    gw = gateway({"grafana": standin("grafana"), "registry": standin("registry")},
                 [{"from": "clients", "to": "*", "over": "main"}, {"from": "robin", "to": "registry", "over": "agents"}])
    answer = gw.get("macbook", "grafana", "/x?y=z")
    assert answer.status == 200 and answer.json()["path"] == "/x?y=z" and answer.header("stand-in") == "grafana@gw"
    assert answer.seen["x-forwarded-for"] == ["127.0.0.13"] and answer.seen["postern-host"] == ["macbook"]
    assert gw.get("robin", "registry", surface="agents").status == 200
    assert gw.get("robin", "grafana", surface="agents").status == 404
    with pytest.raises((ssl.SSLError, OSError)):
        gw.get("nobody", "grafana")
    with pytest.raises((ssl.SSLError, OSError)):
        gw.get("macbook", "grafana", surface="agents")
    assert gw.curl("kobo", "grafana", "/", "--write-out", "%{http_code}", "--output", "/dev/null").stdout == b"200"
    [record] = gw.records(at_least=1, status=200, principal="macbook")[:1]
    assert record["service"] == "grafana"


def test_reload_takes_effect_and_stop_leaves_nothing(standin, gateway):
    service = standin("grafana")
    gw = gateway({"grafana": service})
    assert gw.get("kobo", "grafana").status == 200
    gw.reload(gw.make({"grafana": service}, [{"from": "macbook", "to": "grafana", "over": "main"}]))
    assert gw.get("macbook", "grafana").status == 200
    assert gw.stop() == 0
    wait_until(lambda: not _lives_in(gw.process.pid), what="no role outlives the gateway")


def _lives_in(session):
    """Processes of that session."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                if int(file.read().rsplit(")", 1)[1].split()[3]) == session:
                    found.append(int(pid))
        except (OSError, IndexError):
            continue
    return found
