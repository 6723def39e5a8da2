"""HTTP/2 by hand, as a client of the gateway or as an instance behind it: python3-h2 over a socket, and raw frames where it is too polite."""
import socket
import struct
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def hpack(fields):
    """Fields (a dict, or pairs) as literals without indexing; names and values below 127 bytes."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    return b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in pairs)


def frames(sock):
    """The frames that come, as (kind, flags, stream, payload), to the connection's end."""
    data = b""
    while True:
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            length = int.from_bytes(data[:3], "big")
            yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + length]
            data = data[9 + length:]
        piece = sock.recv(65536)
        if not piece:
            return
        data += piece


class Stream:
    """What came on one stream so far."""

    def __init__(self):
        self.status, self.headers, self.interims = None, [], []
        self.body, self.trailers = bytearray(), None
        self.ended, self.reset = False, None

    def header(self, name, default=None):
        return next((value for key, value in self.headers if key == name), default)

    @property
    def over(self):
        return self.ended or self.reset is not None

    def __repr__(self):
        return f"<{self.status} {self.headers} {bytes(self.body[:200])!r} trailers {self.trailers} ended {self.ended} reset {self.reset}>"


class H2Client:
    """One connection. acknowledge=False: windows stay shut as they fill."""

    def __init__(self, sock, authority, acknowledge=True, settings=None):
        self.sock, self.authority, self.acknowledge = sock, authority, acknowledge
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.conn = h2.connection.H2Connection(config=config)
        if settings:
            self.conn.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.streams = {}
        self.goaway = None          # (error, last stream)
        self.settings_seen = False
        self.closed = False
        self.pings = 0
        self.conn.initiate_connection()
        self.flush()

    # ---- out ----

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def raw(self, data):
        self.flush()
        self.sock.sendall(data)

    def request(self, path="/", method="GET", headers=(), body=None, end=True, authority=None, pseudo=None, flush=True):
        """Sends a request (with all of body when the windows let it); returns the stream's number. flush=False: with the next that is sent."""
        number = self.conn.get_next_available_stream_id()
        fields = pseudo or [(":method", method), (":scheme", "https"), (":authority", authority or self.authority), (":path", path)]
        self.conn.send_headers(number, [*fields, *headers], end_stream=body is None and end)
        self.streams[number] = Stream()
        if flush:
            self.flush()
        if body is not None:
            self.send(number, body, end)
        return number

    def send(self, number, body, end=False, timeout_s=20):
        """Sends data as the windows open."""
        deadline = time.monotonic() + timeout_s
        while body:
            room = min(self.conn.local_flow_control_window(number), self.conn.max_outbound_frame_size, len(body))
            if room > 0:
                self.conn.send_data(number, body[:room])
                body = body[room:]
                self.flush()
            else:
                assert time.monotonic() < deadline, "the window does not open"
                self.read()
        if end:
            self.conn.end_stream(number)
        self.flush()

    # ---- in ----

    def read(self):
        """What one recv brings. False at the connection's end."""
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.conn.receive_data(data):
            self.take(event)
        try:
            self.flush()
        except OSError:
            pass
        return True

    def take(self, event):
        stream = self.streams.setdefault(getattr(event, "stream_id", None) or 0, Stream())
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = event.headers
            stream.status = int(stream.header(":status"))
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interims.append(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            if self.acknowledge and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = (event.error_code, event.last_stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings_seen = True
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1

    def until(self, condition, timeout_s=10, what="what was waited for"):
        """Reads until condition() holds; fails when the connection or the time ends first."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come; {self.streams} {self.goaway}"
            self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                alive = self.read()
            except (TimeoutError, socket.timeout):
                continue
            assert alive or condition(), f"the connection ended; {self.streams} {self.goaway}"

    def wait(self, number, timeout_s=10):
        """The stream when it is over."""
        self.until(lambda: self.streams[number].over, timeout_s, f"the end of stream {number}")
        return self.streams[number]

    def get(self, path="/", **arguments):
        return self.wait(self.request(path, **arguments))

    def wait_closed(self, timeout_s=10):
        """Reads to the connection's end."""
        deadline = time.monotonic() + timeout_s
        while not self.closed:
            assert time.monotonic() < deadline, f"the connection stays open; goaway {self.goaway}"
            self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                self.read()
            except (TimeoutError, socket.timeout):
                continue
            except h2.exceptions.ProtocolError:
                continue

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def connect(gw, principal="macbook", service="grafana", surface="main", **arguments):
    """An HTTP/2 connection to a gateway."""
    sock = gw.tls(principal, service, surface=surface, alpn=["h2"])
    assert sock.selected_alpn_protocol() == "h2"
    return H2Client(sock, f"{gw.name_of(service)}:{gw.port[surface]}", **arguments)


class H2Instance:
    """An h2c server on 127.0.0.1 whose connections are handled by handler(connection: H2Connection, sock, event), event by event."""

    def __init__(self, port, handler, settings=None):
        self.handler, self.settings = handler, {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100, **(settings or {})}
        self.n_connections = 0
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.n_connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        conn = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False, header_encoding="utf-8",
                                                                            validate_inbound_headers=False))
        conn.local_settings = h2.settings.Settings(client=False, initial_values=self.settings)
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                for event in conn.receive_data(data):
                    self.handler(conn, sock, event)
                sock.sendall(conn.data_to_send())
        except OSError:
            pass
        finally:
            sock.close()

    def declaration(self):
        return {"host": "gw", "port": self.port, "protocol": "h2c"}

    def close(self):
        self.listener.close()
