"""Stand-ins for test_rendered.py: [[address, port, name], ...] as JSON; each answers with its name and the request's fields."""
import http.server
import json
import sys
import threading


def handler(name):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"name": name, "fields": {key.lower(): value for key, value in self.headers.items()}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass
    return Handler


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


for address, port, name in json.loads(sys.argv[1]):
    threading.Thread(target=Server((address, port), handler(name)).serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
