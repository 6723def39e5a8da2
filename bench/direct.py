"""Direct ports: what relaying a datagram and a GB costs, beside nginx's stream module and HAProxy (which has no UDP); CPU time of the whole tree.

The instance is where it really is: for postern on the loopback of a network namespace that has nothing else, for the others, which can't go there,
on the host's."""
import os
import re
import shutil
import statistics
import subprocess

from peers import FIRST_PORT, Peer, Postern, is_listening
from system import LOAD_CORE, Tree, run_on, wait_until

INSTANCE = 18999
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
SIZE = 200  # of a datagram: what a game's usually has


class PosternDirect(Postern):
    def __init__(self, setting, namespace):
        super().__init__(setting)
        self.namespace = namespace

    def prepare(self, logs):
        directory, command = super().prepare(logs)
        path = os.path.join(directory, self.template)
        with open(path, encoding="utf-8") as text:
            declaration = text.read()
        place = f"host: gate, netns: /run/netns/{self.namespace}, loopback: true"
        declaration = re.sub(r"^services:\n(  .*\n)+", f"services:\n  game: {{ {place}, direct: udp/{INSTANCE} }}\n  chat: {{ {place}, direct: tcp/{INSTANCE} }}\n"
                             f"  web: {{ host: gate, port: 1 }}\n", declaration, flags=re.M)
        declaration = declaration.rstrip() + "\n  - { from: clients, to: [game, chat] }\n"
        with open(path, "w", encoding="utf-8") as out:
            out.write(declaration)
        return directory, command


class Other(Peer):
    """A proxy whose configuration is a few lines."""

    def prepare(self, logs):
        Peer.n_ports += 1
        while is_listening(FIRST_PORT + Peer.n_ports):
            Peer.n_ports += 1
        self.port = FIRST_PORT + Peer.n_ports
        directory = os.path.join(self.setting.directory, f"{self.name}-{self.port}")
        os.makedirs(directory)
        path = os.path.join(directory, "configuration")
        with open(path, "w", encoding="ascii") as out:
            out.write(self.template.replace("@DIR@", directory).replace("@PORT@", str(self.port)).replace("@INSTANCE@", str(INSTANCE)))
        return directory, self.command(path)


class NginxStream(Other):
    name, program, protocols = "nginx", "nginx", ("udp", "tcp")
    template = f"""load_module {NGINX_STREAM};
daemon off;
user root;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log @DIR@/error.log error;
events {{ worker_connections 16384; }}
stream {{
    proxy_timeout 120s;
    server {{ listen 127.0.0.1:@PORT@ udp; proxy_pass 127.0.0.1:@INSTANCE@; }}
    server {{ listen 127.0.0.1:@PORT@; proxy_pass 127.0.0.1:@INSTANCE@; }}
}}
"""

    def command(self, configuration):
        return ["nginx", "-c", configuration]


class HaproxyTcp(Other):
    name, program, protocols = "haproxy", "haproxy", ("tcp",)
    template = """global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option splice-auto
listen direct
    bind 127.0.0.1:@PORT@
    server one 127.0.0.1:@INSTANCE@
"""

    def command(self, configuration):
        return ["haproxy", "-f", configuration]


def instance(setting, *prefix):
    tree = Tree("instance", [*prefix, os.path.join(setting.build, "bench/direct"), "instance", str(INSTANCE)], LOAD_CORE, stdout=subprocess.PIPE)
    if tree.process.stdout.readline() != b"ready\n":
        raise RuntimeError("the instance does not start")
    return tree


def spent(peer, port, *what):
    """CPU seconds of the peer while the client does that."""
    before = peer.tree.cpu_s()
    run_on(LOAD_CORE, [os.path.join(peer.setting.build, "bench/direct"), what[0], str(port), *map(str, what[1:])], 120)
    return peer.tree.cpu_s() - before


def take(peer, port, n, n_bytes, protocols):
    found = {}
    if "udp" in protocols:
        for flows in (1, 16, 1000):
            spent(peer, port, "udp", 1000, flows, SIZE)
            found[f"udp_{flows}_us"] = spent(peer, port, "udp", n, flows, SIZE) / n / 2 * 1e6  # there, and back
    if "tcp" in protocols:
        found["tcp_ms_per_gb"] = spent(peer, port, "tcp", n_bytes) / (n_bytes / 1e9) * 1e3
    return found


def wait_listening(peer, port, directory):
    def ready():
        if peer.tree.process.poll() is not None:
            with open(os.path.join(directory, "output.log"), encoding="utf-8", errors="replace") as said:
                raise RuntimeError(f"{peer.name} ended; it said: {said.read()[-600:]}")
        return is_listening(port)
    wait_until(ready, f"{peer.name} listens", 15)


def run(setting, quick):
    """(rows of the budget table, everything found)."""
    subprocess.run(["ninja", "-C", setting.build, "--quiet", "bench/direct"], check=True)
    namespace, running, measured = f"postern-bench-direct-{os.getpid()}", [], {}
    n, n_bytes, n_rounds = (40000, 2_000_000_000, 3) if quick else (200000, 8_000_000_000, 5)

    def measure(peer, port, protocols, *prefix):
        running.append(instance(setting, *prefix))
        directory, command = peer.prepare(False)
        peer.spawn(directory, command)
        running.append(peer)
        wait_listening(peer, peer.port, directory)
        measured[peer.name] = [take(peer, port or peer.port, n, n_bytes, protocols) for _ in range(n_rounds)]
        while running:
            running.pop().stop()

    try:
        subprocess.run(["ip", "netns", "add", namespace], check=True, capture_output=True)
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True, capture_output=True)
        measure(PosternDirect(setting, namespace), INSTANCE, ("udp", "tcp"), "ip", "netns", "exec", namespace)
        for peer, is_there in ((NginxStream(setting), os.path.exists(NGINX_STREAM)), (HaproxyTcp(setting), True)):
            if is_there and shutil.which(peer.program):
                measure(peer, None, peer.protocols)
        found = {name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for name, rounds in measured.items()}
        return rows_of(found), {"medians": found, "rounds": measured}
    finally:
        while running:
            running.pop().stop()
        subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def rows_of(found):
    titles = {"udp_1_us": ("datagram relayed, 1 flow", "us CPU"), "udp_16_us": ("datagram relayed, 16 flows", "us CPU"),
              "udp_1000_us": ("datagram relayed, 1 000 flows", "us CPU"), "tcp_ms_per_gb": ("direct TCP", "ms CPU/GB")}
    rows = []
    for key, (title, unit) in titles.items():
        peers = {name: figures[key] for name, figures in found.items() if name != "postern" and key in figures}
        best = min(peers, key=peers.get) if peers else None
        ours = found["postern"][key]
        rows.append([title, "", f"{ours:.2f} {unit}" if ours < 100 else f"{ours:.0f} {unit}", f"{best} {peers[best]:.2f}" if best else "-",
                     f"{ours / peers[best]:.2f}" if best else "", ""])
    return rows
