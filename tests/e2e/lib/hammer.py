"""Many requests to many services at once, each answer held against the service that was asked."""
import re
import select
import ssl
import threading

_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.I | re.M)
_NAME = re.compile(rb'"name":\s*"([^"]*)"')


class Hammer:
    """expected: service to the name that its answers must have. Requests go in batches over kept connections, from a thread for each share
    of the services; an error of the gateway's is counted, a wrong name is kept."""

    BATCH = 32

    def __init__(self, gw, expected, principal="macbook", threads=2):
        self.gw, self.expected, self.principal = gw, expected, principal
        self.answered, self.errors, self.wrong, self.lost = dict.fromkeys(expected, 0), {}, [], 0
        self.last_good = dict.fromkeys(expected, 0)
        self._ending = threading.Event()
        services = list(expected)
        self._threads = [threading.Thread(target=self._run, args=(services[i::threads],), daemon=True) for i in range(threads)]

    @property
    def n(self):
        return sum(self.answered.values())

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _run(self, services):
        connections = {}
        while not self._ending.is_set():
            for service in services:
                try:
                    if service not in connections:
                        connections[service] = self.gw.tls(self.principal, service)
                    self._batch(connections[service], service)
                except (OSError, ssl.SSLError, EOFError):
                    self.lost += 1
                    if service in connections:
                        connections.pop(service).close()
        for connection in connections.values():
            connection.close()

    def _batch(self, connection, service):
        host = f"{self.gw.name_of(service)}:{self.gw.port['main']}".encode()
        connection.sendall(b"GET /hammer HTTP/1.1\r\nhost: " + host + b"\r\n\r\n" if self.BATCH == 1 else
                           (b"GET /hammer HTTP/1.1\r\nhost: " + host + b"\r\n\r\n") * self.BATCH)
        buffer = b""
        for _ in range(self.BATCH):
            while (end := buffer.find(b"\r\n\r\n")) < 0:
                buffer += self._read(connection)
            head, buffer = buffer[:end], buffer[end + 4:]
            length = int(_LENGTH.search(head).group(1))
            while len(buffer) < length:
                buffer += self._read(connection)
            self._judge(service, int(head[9:12]), buffer[:length])
            buffer = buffer[length:]

    def _read(self, connection):
        piece = connection.recv(1 << 16)
        if not piece:
            raise EOFError
        return piece

    def _judge(self, service, status, body):
        if status != 200:
            self.errors[status] = self.errors.get(status, 0) + 1
            select.select([], [], [], 0.002)  # what isn't there is not asked as fast as it is refused
            return
        found = _NAME.search(body)
        if not found or found.group(1).decode() != self.expected[service]:
            self.wrong.append((service, body))
        self.answered[service] += 1
