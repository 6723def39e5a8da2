"""Asks on test_rendered.py's behalf, from each source address: [[source, server, port, name], ...] as JSON in, one answer a line out:
[status, who answered, the head and body without the date], or ["closed", ...]."""
import json
import re
import socket
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE



def ask(source, server, port, name):
    try:
        with socket.create_connection((server, port), 10, (source, 0)) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = plain if port == 80 else context.wrap_socket(plain, server_hostname=name)
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nPostern-Host: roc\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
    except (ConnectionError, ssl.SSLError, TimeoutError) as trouble:
        return "closed", type(trouble).__name__, ""
    if not answer:
        return "closed", "", ""
    text = answer.decode()
    who = re.search(r'"name": "([^"]+)"', text)
    return int(text.split(" ")[1]), who[1] if who else "", re.sub(r"\r\nDate: [^\r]*", "", text)


for question in json.load(sys.stdin):
    print(json.dumps(ask(*question)), flush=True)
