"""What has no peer: the timing of the 404, start-up among many network namespaces, the homelab's idle memory, look-up."""
import json
import math
import os
import random
import re
import statistics
import subprocess
import time

from peers import BACKEND_PORT, DOMAIN, HERE, NAME, Postern
from system import LOAD_CORE, PROXY_CORE, Tree, run_on, wait_until

ROOT = os.path.dirname(HERE)


class Postern404(Postern):
    template = "postern-404.yml"


class PosternNamespaces(Postern):
    """postern whose services are each in a network namespace of their own."""

    def __init__(self, setting, namespaces):
        super().__init__(setting)
        self.namespaces = namespaces

    def prepare(self, logs):
        directory, command = super().prepare(logs)
        path = os.path.join(directory, self.template)
        with open(path, encoding="utf-8") as text:
            services = "".join(f"  {'web' if i == 0 else f'other{i}'}: {{ host: gate, netns: /run/netns/{name}, port: {BACKEND_PORT}, loopback: true }}\n"
                               for i, name in enumerate(self.namespaces))
            declaration = re.sub(r"^services:\n(  .*\n)+", "services:\n" + services, text.read(), flags=re.M)
        with open(path, "w", encoding="utf-8") as out:
            out.write(declaration)
        return directory, command


# ---- the 404 ----

def normal_tail(z):
    """Two-sided probability of a standard normal at least this far out."""
    return math.erfc(abs(z) / math.sqrt(2))


def signed_rank(differences):
    """Wilcoxon's signed-rank test of paired samples, normal approximation; the probability that there is no difference."""
    nonzero = sorted((d for d in differences if d), key=abs)
    n, rank_sum, at = len(nonzero), 0.0, 0
    if n == 0:
        return 1.0
    ties = 0.0
    while at < n:
        end = at
        while end < n and abs(nonzero[end]) == abs(nonzero[at]):
            end += 1
        rank = (at + 1 + end) / 2
        rank_sum += rank * sum(1 for d in nonzero[at:end] if d > 0)
        ties += (end - at) ** 3 - (end - at)
        at = end
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return normal_tail((rank_sum - n * (n + 1) / 4) / math.sqrt(variance))


def bootstrap_median(differences, n_resamples=400):
    """The 95 % interval of the median."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(differences, k=len(differences))) for _ in range(n_resamples))
    return medians[int(0.025 * n_resamples)], medians[int(0.975 * n_resamples)]


def timing_404(setting, n):
    """Names that exist but are not granted against names that do not exist, in pairs in random order; and, as the noise that there
    is anyway, two names that both do not exist. Names of one length: what is compared is the decision, not the size of the request."""
    gate = Postern404(setting).start()
    try:
        found = {}
        for what, a, b in (("not granted / not existing", "hidden", "absent"), ("neither exists", "absent", "nobody")):
            out = run_on(LOAD_CORE, [setting.client, "pairs", str(gate.port), setting.certificate, NAME, str(n), f"{a}.{DOMAIN}", f"{b}.{DOMAIN}", "404"], 120)
            pairs = [tuple(map(int, line.split())) for line in out.splitlines()]
            differences = [x - y for x, y in pairs]
            low, high = bootstrap_median(differences)
            found[what] = {"n": len(pairs), "p": signed_rank(differences), "median_difference_ns": statistics.median(differences),
                           "low_ns": low, "high_ns": high, "median_ns": statistics.median(x for x, _ in pairs)}
        return found
    finally:
        gate.stop()


# ---- start-up ----

def start_among(setting, n, n_rounds):
    """Start to first 200 from a service in a network namespace, with n such namespaces declared. Milliseconds, one a round."""
    names = [f"postern-bench-{os.getpid()}-{i}" for i in range(n)]
    backend, took = None, []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, capture_output=True)
        backend = Tree("backend", ["ip", "netns", "exec", names[0], os.path.join(setting.build, "bench/backend"), "127.0.0.1", str(BACKEND_PORT)], LOAD_CORE)
        for _ in range(n_rounds):
            gate = PosternNamespaces(setting, names)
            directory, command = gate.prepare(False)
            poller = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), setting.client, "first", str(gate.port), setting.certificate, NAME, "10000"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                gate.spawn(directory, command)
                out, said = poller.communicate(timeout=15)
                if poller.returncode:
                    with open(os.path.join(directory, "output.log"), encoding="utf-8", errors="replace") as log:
                        raise RuntimeError(f"{said.strip()}; postern said: {log.read()[-600:]}")
                took.append((int(out) - gate.tree.started_ns) / 1e6)
            finally:
                poller.kill()
                poller.wait()
                gate.stop()
        return took
    finally:
        if backend:
            backend.stop()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


# ---- memory ----

def homelab_memory(setting):
    """PSS of everything that serves examples/homelab/postern.yml on roc, idle, in a network namespace of its own. Megabytes, processes."""
    directory = os.path.join(setting.directory, "homelab")
    os.makedirs(directory)
    gate = Postern(setting)
    command = gate.command(os.path.join(ROOT, "examples/homelab/postern.yml"), host="roc", directory=directory)
    tree = Tree("homelab", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command], PROXY_CORE,
                output=os.path.join(directory, "output.log"), directory=directory)
    # Workers start one per core: all of this machine's, as on a real one.
    os.sched_setaffinity(tree.process.pid, {LOAD_CORE, PROXY_CORE})
    try:
        def serves():
            if tree.process.poll() is not None:
                with open(os.path.join(directory, "output.log"), encoding="utf-8", errors="replace") as said:
                    raise RuntimeError(f"postern ended: {said.read()[-600:]}")
            with open(f"/proc/{tree.process.pid}/net/tcp", encoding="ascii") as sockets:
                return any(line.split()[1].endswith(":20FB") and line.split()[3] == "0A" for line in sockets if ":" in line)
        wait_until(serves, "the homelab's gateway", 20)
        before = -1
        for _ in range(40):  # until it no longer moves
            now = tree.pss_bytes()
            if abs(now - before) < 65536:
                break
            before = now
            time.sleep(0.25)
        return now / 1e6, len(tree.pids())
    finally:
        tree.stop()


# ---- look-up ----

def lookup(setting):
    """bench/lookup's own figures, as it prints them."""
    subprocess.run(["ninja", "-C", setting.build, "--quiet", "bench/lookup"], check=True, capture_output=True)
    return run_on(PROXY_CORE, [os.path.join(setting.build, "bench/lookup")], 120)


# ---- the proof ----

def proof(setting):
    """bench/proof's own figures: as it prints them, and by size."""
    subprocess.run(["ninja", "-C", setting.build, "--quiet", "bench/proof"], check=True, capture_output=True)
    path = os.path.join(setting.build, "proof.json")
    text = run_on(PROXY_CORE, [os.path.join(setting.build, "bench/proof"), "--json", path], 300)
    with open(path, encoding="utf-8") as found:
        return text, json.load(found)


def check_homelab(setting, n):
    """From exec to exit of postern check on the homelab's file, n times. Milliseconds."""
    command = ["taskset", "-c", str(PROXY_CORE), os.path.join(setting.build, "postern"), "check", os.path.join(ROOT, "examples/homelab/postern.yml")]
    took = []
    for _ in range(n):
        began_ns = time.monotonic_ns()
        subprocess.run(command, check=True, capture_output=True)
        took.append((time.monotonic_ns() - began_ns) / 1e6)
    return took


def packets(setting):
    """bench/packets: packets per second by how a firewall is written."""
    subprocess.run(["ninja", "-C", setting.build, "--quiet", "bench/packets"], check=True, capture_output=True)
    path = os.path.join(setting.build, "packets.json")
    run_on(PROXY_CORE, [os.path.join(setting.build, "bench/packets"), "--json", path], 60)
    with open(path, encoding="utf-8") as found:
        return json.load(found)
