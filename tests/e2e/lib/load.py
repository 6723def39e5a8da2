"""Requests in the background of a test."""
import ssl
import threading

from lib.process import wait_until


class Load:
    """Requests one after the other, each on a connection of its own or all on one, until stopped; every failure is kept."""

    def __init__(self, gw, keep_alive=False):
        self.gw, self.keep_alive, self.n, self.failures = gw, keep_alive, 0, []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        self.wait_for(5)
        return self

    def wait_for(self, more):
        wanted = self.n + more
        wait_until(lambda: self.n >= wanted or self.failures, 20, f"{more} more requests")

    def run(self):
        connection = None
        while not self.ending.is_set():
            try:
                if self.keep_alive and connection is None:
                    connection = self.gw.client("macbook").connection(self.gw.port["main"], self.gw.name_of("grafana"))
                answer = self.gw.get("macbook", "grafana", "/load", connection=connection)
                if answer.status != 200:
                    self.failures.append(answer)
                self.n += 1
            except (OSError, ssl.SSLError) as trouble:
                self.failures.append(trouble)
                return

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
