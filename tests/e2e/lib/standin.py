"""Stand-in services (build/postern-standin) as instances behind the gateway."""
import json
import os

from lib.ports import free_port
from lib.process import STANDIN, Process, wait_until


class Standin:
    """One service on 127.0.0.1 (or a unix socket). protocol: http, h2c or https. port, unix, certificate say where and with what."""

    def __init__(self, directory, name, host="gw", protocol="http", address="127.0.0.1", unix=False, port=None, options=()):
        self.directory, self.name, self.host, self.protocol, self.address = str(directory), name, host, protocol, address
        self.port = None if unix else port or free_port()
        self.unix = os.path.join(self.directory, f"{name}.sock") if unix else None
        self.certificate = os.path.join(self.directory, f"{name}.pem") if protocol == "https" else None
        self.options = list(options)
        self.process = None
        self.start()

    def start(self):
        where = ["--unix", self.unix] if self.unix else ["--listen", f"[{self.address}]:{self.port}" if ":" in self.address
                                                         else f"{self.address}:{self.port}"]
        certificate = ["--certificate-out", self.certificate] if self.certificate and "--certificate" not in self.options else []
        self.process = Process(f"standin-{self.name}", [STANDIN, "--name", self.name, "--host", self.host, "--protocol", self.protocol,
                                                        *where, *certificate, *self.options], self.directory)
        wait_until(lambda: not self.process.running() or "\n" in self.process.out(), what=f"{self.name} listens")
        assert self.process.running(), self.process.describe()
        self.listening = json.loads(self.process.out())["listen"]

    def stop(self):
        self.process.stop()

    def declaration(self):
        """What the declaration says of it."""
        where = {"unix": self.unix} if self.unix else {"port": self.port}
        if self.address != "127.0.0.1" and not self.unix:
            where["address"] = self.address
        return {"host": self.host, **where, **({"protocol": self.protocol} if self.protocol != "http" else {})}
