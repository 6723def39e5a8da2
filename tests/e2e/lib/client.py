"""A client of the gateway that comes from one address and checks every certificate: HTTP/1.1, raw TLS, raw TCP, curl."""
import http.client
import json
import socket
import ssl
import subprocess


IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python 3.11's socket doesn't name it


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name, default=None):
        """The first field of that name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    @property
    def seen(self):
        """The request as the stand-in saw it: its fields as a dict of lists, names in lower case."""
        fields = {}
        for name, value in self.json()["headers"]:
            fields.setdefault(name.lower(), []).append(value)
        return fields

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class _Connection(http.client.HTTPConnection):
    """HTTP/1.1 on a socket that is already there."""

    def __init__(self, ready_socket, host, port):
        super().__init__(host, port)
        self.sock = ready_socket

    def connect(self):
        raise ConnectionError("the connection has ended")


class Client:
    """Comes from address; connects to server:port of whatever name it asks for."""

    def __init__(self, address, ca, server, timeout_s=10):
        self.address, self.ca, self.server, self.timeout_s = address, ca, server, timeout_s

    def context(self, alpn=("http/1.1",), **settings):
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    def tcp(self, port, server=None):
        """A TCP connection from our address."""
        server = server or self.server
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout_s)
            if family == socket.AF_INET:
                # The port is chosen when it connects: it need be free for this destination only, not for all that other tests connect to.
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self.address, 0))
            sock.connect((server, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()
            raise
        return sock

    def tls(self, port, name, alpn=("http/1.1",), server=None, **settings):
        """A TLS connection whose certificate is verified for name."""
        sock = self.tcp(port, server)
        try:
            return self.context(alpn, **settings).wrap_socket(sock, server_hostname=name)
        except Exception:
            sock.close()
            raise

    def connection(self, port, name, server=None):
        """A keep-alive http.client connection; close() it."""
        return _Connection(self.tls(port, name, server=server), name, port)

    def request(self, port, name, path="/", method="GET", headers=None, body=None, connection=None):
        """One exchange, on a connection of its own unless one is given."""
        own = connection is None
        connection = connection or self.connection(port, name)
        try:
            connection.request(method, path, body=body, headers={"Host": f"{name}:{port}" if port != 443 else name, **(headers or {})})
            answer = connection.getresponse()
            return Response(answer.status, answer.getheaders(), answer.read())
        finally:
            if own:
                connection.close()

    def curl(self, port, name, path="/", *arguments, timeout_s=30, stdin=None):
        """curl's output as a CompletedProcess; the name is resolved to the server, the source is our address."""
        return subprocess.run(["curl", "--silent", "--show-error", "--cacert", str(self.ca), "--interface", self.address,
                               "--resolve", f"{name}:{port}:{self.server}", "--noproxy", "*", "--max-time", str(timeout_s), *arguments,
                               f"https://{name}:{port}{path}"], capture_output=True, stdin=stdin, timeout=timeout_s + 5)
