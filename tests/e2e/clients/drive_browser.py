"""Runs where the browser is to run: chromium, headless, shown one page over its debugging pipe; says as JSON what the page's script made of it.

drive_browser.py DIRECTORY CA_FILE URL: DIRECTORY becomes the browser's home, with CA_FILE as the one certificate authority of its own.
Output: {"result": the value of the page's promise `result`, "responses": [{"url", "status", "protocol", "connection"}, ...]}"""
import json
import os
import signal
import subprocess
import sys

LIMIT_S = 60


class Browser:
    """The DevTools protocol over descriptors 3 and 4: JSON, each message ended by a NUL."""

    def __init__(self, home):
        to_browser, self.out = os.pipe()
        self.incoming, from_browser = os.pipe()
        self.n_sent, self.held, self.events = 0, b"", []

        def place_pipes():
            reading, writing = os.dup(to_browser), os.dup(from_browser)  # out of the way of 3 and 4
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        # Its own sandbox needs a user that isn't root; it sees pages of this test only. No downloads of its own, no other network.
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps",
             f"--user-data-dir={home}/profile", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=False, preexec_fn=place_pipes, start_new_session=True,
            env={**os.environ, "HOME": home})
        os.close(to_browser)
        os.close(from_browser)

    def message(self):
        while b"\0" not in self.held:
            piece = os.read(self.incoming, 65536)
            if not piece:
                raise SystemExit("the browser ended")
            self.held += piece
        text, self.held = self.held.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **parameters):
        self.n_sent += 1
        request = {"id": self.n_sent, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.n_sent:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def trust(home, ca):
    database = os.path.join(home, ".pki", "nssdb")
    os.makedirs(database)
    subprocess.run(["certutil", "-d", f"sql:{database}", "-N", "--empty-password"], check=True)
    subprocess.run(["certutil", "-d", f"sql:{database}", "-A", "-n", "postern", "-t", "C,,", "-i", ca], check=True)


def main():
    home, ca, url = sys.argv[1:]
    signal.alarm(LIMIT_S)
    trust(home, ca)
    browser = Browser(home)
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.call("Network.enable", session)
        browser.call("Page.enable", session)
        went = browser.call("Page.navigate", session, url=url)
        if "errorText" in went:
            raise SystemExit(f"{url}: {went['errorText']}")
        while not any(event["method"] == "Page.loadEventFired" for event in browser.events):
            browser.events.append(browser.message())
        answer = browser.call("Runtime.evaluate", session, expression="result", awaitPromise=True, returnByValue=True)
        responses = [event["params"]["response"] for event in browser.events if event["method"] == "Network.responseReceived"]
        print(json.dumps({"result": answer["result"].get("value", answer),
                          "responses": [{"url": r["url"], "status": r["status"], "protocol": r["protocol"], "connection": r["connectionId"]} for r in responses]}))
    finally:
        browser.stop()


if __name__ == "__main__":
    main()
