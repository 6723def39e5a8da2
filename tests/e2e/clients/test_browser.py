"""A real browser in the lab: a page over HTTP/2, with a WebSocket, an event stream and another service's answer that its script asks for."""
import json
import os
import urllib.parse

import pytest

from lib.lab import Lab
from lib.process import needs

pytestmark = needs("chromium", "certutil")

DECLARATION = """
postern: 1
domain: web.example
segments: { clients: {}, prod: {} }
hosts:
  roc:     { segment: prod, address: 100.64.0.1, gateway: true }
  macbook: { segment: clients, address: 100.64.0.13 }
surfaces:
  main: { port: 443, workers: 2 }
services:
  app:   { host: roc, container: app, port: 3000 }
  other: { host: roc, container: other, port: 3000 }
  kept:  { host: roc, container: kept, port: 3000 }
grants:
  - { from: clients, to: [app, other], over: main }
"""

# result is what the test looks at. Each part ends by itself or by the test's own limit.
PAGE = """<!doctype html><title>page</title><script>
const socket = () => new Promise((done, failed) => {
  const ws = new WebSocket("wss://app.web.example/ws");
  const got = [];
  ws.onopen = () => { ws.send("hello"); ws.send("again"); };
  ws.onmessage = (event) => { got.push(event.data); if (got.length == 2) { ws.onclose = () => done(got); ws.close(); } };
  ws.onerror = () => failed(Error("websocket"));
});
const stream = () => new Promise((done, failed) => {
  const events = new EventSource("/events?n=3&interval_ms=10");
  const got = [];
  events.onmessage = (event) => { got.push(event.data); if (got.length == 3) { events.close(); done(got); } };
  events.onerror = () => failed(Error("event stream"));
});
const visit = async (url) => {
  const answer = await fetch(url, { credentials: "include" });
  return [answer.status, await answer.text()];
};
const other = "https://other.web.example/respond?status=200&body=from-other&field=" +
  encodeURIComponent("Access-Control-Allow-Origin:https://app.web.example") + "&field=Access-Control-Allow-Credentials:true";
const part = (made) => made.catch((trouble) => "failed: " + trouble);
const result = (async () => ({
  other: await part(visit(other)),
  socket: await part(socket()),
  stream: await part(stream()),
  denied: await fetch("https://kept.web.example/", { mode: "no-cors", credentials: "include" }).then((answer) => answer.type, String),
}))();
</script>"""


@pytest.fixture
def lab(directory):
    path = os.path.join(directory, "postern.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(DECLARATION)
    lab = Lab(path)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def test_page_websocket_events_and_a_second_name_on_one_connection(lab, directory):
    home = os.path.join(directory, "browser")
    os.mkdir(home)
    url = "https://app.web.example/respond?status=200&field=Content-Type:text/html&body=" + urllib.parse.quote(PAGE, safe="")
    done = lab.exec("macbook", "/usr/bin/python3", os.path.join(os.path.dirname(__file__), "drive_browser.py"), home, "/run/ca.pem", url, timeout_s=90)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:] + lab.logs()
    seen = json.loads(done.stdout)
    result, responses = seen["result"], {urllib.parse.urlsplit(r["url"]).hostname: r for r in reversed(seen["responses"])}
    assert result["socket"] == ["hello", "again"], seen
    assert len(result["stream"]) == 3, seen
    assert result["other"] == [200, "from-other"], seen
    assert {r["protocol"] for r in seen["responses"]} == {"h2"}
    # The certificate names both and the address is the same: a browser takes the connection that it has (RFC 9113 section 9.1.1), and since
    # the surface's context is that of every name on it, nothing is misdirected (RFC 9110 section 15.5.20): the verdict is each request's own.
    assert responses["app.web.example"]["connection"] == responses["other.web.example"]["connection"], seen
    assert responses["kept.web.example"]["status"] == 404 and responses["kept.web.example"]["connection"] == responses["app.web.example"]["connection"]
