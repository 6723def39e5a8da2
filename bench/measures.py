"""What is measured of one proxy in one round: each function returns {figure: value}, lower is better unless it is named as a rate."""
import os
import statistics
import subprocess

from peers import BACKEND_PORT, NAME, n_established
from system import LOAD_CORE, Tree, median_interval, quantile, real_time, run_on, wait_until

BULK_BYTES = 64 * 1024 * 1024
IDLE_LIMIT_S = 60

# The slow heads. None of these was chosen by what came out; whoever changes one says why here.
# The attack is the budget's 15 000 connections, with slowhttptest's own interval (-i 10): 1 500 bytes a second in all. A slower one would run into
# the 10 s that a head may take; a faster one is no attack by slowness but a load.
N_SLOW, SLOW_EVERY_MS = 15000, 10000
# The good clients: the largest round rate that leaves the slowest of the compared (Caddy, about 80 us a request) more than half of its core. Fewer
# requests would leave fewer above the 99th percentile (25 of each half second's), and a proxy near saturation would be measured as a queue.
PACED_RATE = 5000
# Opening the connections takes 3 to 4 s of the 10 s that the first of them may stay open without its head.
PACED_S = 4


def h2load(peer, path, n_requests, clients, streams, http1, body=None, timeout_s=60):
    """A bounded load; (CPU seconds of the proxy, seconds, latencies in microseconds). Every answer must be a success."""
    log = os.path.join(peer.setting.directory, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    command = ["h2load", "-n", str(n_requests), "-c", str(clients), "-m", str(streams), "-t", "1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256",
               f"--connect-to=127.0.0.1:{peer.port}", f"--log-file={log}"]
    command += ["--h1"] if http1 else []
    command += ["-d", body] if body else []
    before = peer.tree.cpu_s()
    out = run_on(LOAD_CORE, [*command, f"https://{NAME}:{peer.port}{path}"], timeout_s)
    cpu_s = peer.tree.cpu_s() - before
    with open(log, encoding="ascii") as lines:
        answers = [line.split() for line in lines]
    bad = [answer for answer in answers if answer[1] != "200"]
    if bad or len(answers) != n_requests:
        raise RuntimeError(f"{peer.name}: {len(answers)} of {n_requests} answered, {len(bad)} of them not 200 but {sorted({a[1] for a in bad})}")
    took_s = (max(int(a[0]) + int(a[2]) for a in answers) - min(int(a[0]) for a in answers)) / 1e6
    return cpu_s, took_s, [int(answer[2]) for answer in answers]


def small(peer, n, http1):
    h2load(peer, "/", n // 20, 32 if http1 else 4, 1 if http1 else 32, http1)
    cpu_s, took_s, latencies = h2load(peer, "/", n, 32 if http1 else 4, 1 if http1 else 32, http1)
    return {"cpu_us": cpu_s / n * 1e6, "requests_per_s": n / took_s, "p50_us": quantile(latencies, 0.5), "p99_us": quantile(latencies, 0.99)}


def bulk(peer, n, http1, upload):
    body = os.path.join(peer.setting.directory, "body") if upload else None
    if upload and not os.path.exists(body):
        with open(body, "wb") as out:
            for _ in range(BULK_BYTES // 1048576):
                out.write(bytes(1048576))
    cpu_s, took_s, _ = h2load(peer, "/" if upload else f"/bytes/{BULK_BYTES}", n, 4, 1, http1, body)
    gigabytes = n * BULK_BYTES / 1e9
    return {"cpu_ms_per_gb": cpu_s / gigabytes * 1e3, "gb_per_s": gigabytes / took_s}


def handshakes(peer, n, resumed):
    before = peer.tree.cpu_s()
    run_on(LOAD_CORE, [peer.setting.client, "handshakes", str(peer.port), peer.setting.certificate, NAME, str(n), "resumed" if resumed else "fresh"], 60)
    return {"cpu_us": (peer.tree.cpu_s() - before) / n * 1e6}


def idle_connections(peer, n, alpn):
    """Memory of n idle connections over a fresh start that has served one: the whole tree's proportional set size."""
    fresh = type(peer)(peer.setting).start()
    try:
        warm = hold(fresh, 1, alpn)
        before = fresh.tree.pss_bytes()
        release(warm)
        held = hold(fresh, n, alpn)
        after = fresh.tree.pss_bytes()
        release(held)
    finally:
        fresh.stop()
    return {"kb": (after - before) / (n - 1) / 1024}


def hold(peer, n, alpn):
    return held(peer, [peer.setting.client, "idle", str(peer.port), peer.setting.certificate, NAME, str(n), alpn], f"{n} idle {alpn} connections")


def held(peer, command, what):
    """A client that says when its connections are open, and lasts until release()."""
    log = os.path.join(peer.setting.directory, "held.log")
    client = Tree("held", command, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, output=log)
    if client.process.stdout.readline() != b"ready\n":
        release(client)
        with open(log, encoding="utf-8", errors="replace") as said:
            raise RuntimeError(f"{peer.name}: {what}: {said.read()[-300:]}")
    return client


def release(client):
    """Its connections are closed; what it still said."""
    client.process.stdin.close()
    try:
        client.process.wait(IDLE_LIMIT_S)
    except subprocess.TimeoutExpired:
        client.process.kill()
    said = client.process.stdout.read()
    client.process.stdout.close()
    client.stop()
    return said


def paced_p99s_us(peer):
    """p99 of each half second of a steady load, but for the first, in which connections start."""
    out = run_on(LOAD_CORE, [peer.setting.press, "paced", str(peer.port), peer.setting.certificate, NAME, str(PACED_RATE), str(PACED_S)], PACED_S + 30)
    lines, found = out.split(), []
    for start in range(PACED_RATE // 2, len(lines), PACED_RATE // 2):
        window = lines[start:start + PACED_RATE // 2]
        latencies = [int(line) for line in window if line != "disturbed"]
        if len(latencies) > 0.9 * len(window):
            found.append(quantile(latencies, 0.99) / 1e3)
    if len(found) < PACED_S:
        raise RuntimeError("more than half of the time was disturbed by something else on this machine")
    return found


def under_attack_us(peer):
    """paced_p99s_us with N_SLOW slow heads open from before it until after it. The attacker has the load's core, but only what the load leaves of it.
    None: they were not all open for the whole time."""
    attacker = held(peer, ["chrt", "--other", "0", peer.setting.press, "slow", str(peer.port), peer.setting.certificate, NAME, str(N_SLOW),
                           str(SLOW_EVERY_MS)], f"{N_SLOW} slow connections")
    try:
        found = paced_p99s_us(peer)
    finally:
        n_left = int(release(attacker) or 0)
    wait_until(lambda: n_established(peer.port) < 100, "the end of the slow connections", 30)
    return found if n_left == N_SLOW else None


def slow_heads(peer, n_pairs):
    """How far the p99 of a steady load moves when N_SLOW connections never finish the head of their request.

    Pairs of a run without and a run with them, one straight after the other and in alternating order, so that what drifts hurts both alike and
    neither is always second. A run's figure is the median of its half seconds' p99s: the machine's hiccups, which come now and then, don't decide it.
    The median of the pairs' differences counts, with the 95 % interval of their order statistics."""
    pairs, troubles = [], []
    with real_time(peer.setting.backend.pids()):
        fresh = type(peer)(peer.setting).start()
        try:
            paced_p99s_us(fresh)
            while len(pairs) < n_pairs and len(troubles) <= n_pairs:
                order = (paced_p99s_us, under_attack_us) if len(pairs) % 2 == 0 else (under_attack_us, paced_p99s_us)
                try:
                    found = {take: take(fresh) for take in order}
                except RuntimeError as trouble:
                    troubles.append(str(trouble))
                    continue
                if not found[under_attack_us]:
                    troubles.append("not all slow connections were open for the whole time")
                    continue
                pairs.append((statistics.median(found[paced_p99s_us]), statistics.median(found[under_attack_us])))
        finally:
            fresh.stop()
    if len(pairs) < n_pairs:
        raise RuntimeError(f"{peer.name}: {len(pairs)} of {n_pairs} pairs worked; the others: {'; '.join(sorted(set(troubles)))}")
    moved = [(under / without - 1) * 100 for without, under in pairs]
    low, high = median_interval(moved) or (None, None)
    return {"moved_percent": statistics.median(moved), "moved_percent_low": low, "moved_percent_high": high, "pairs_us": pairs, "dropped": troubles,
            "p99_without_us": statistics.median(without for without, _ in pairs), "p99_with_us": statistics.median(under for _, under in pairs)}


def event_latency(setting, port, n, plain=False):
    out = run_on(LOAD_CORE, [setting.client, "events", str(port), "plain" if plain else setting.certificate, NAME, str(n)], 60)
    return [int(line) for line in out.split()]


def events(peer, n):
    """Latency of event-stream chunks through the proxy, less what the same client sees straight from the instance, in the same minute."""
    direct = event_latency(peer.setting, BACKEND_PORT, n, plain=True)
    through = event_latency(peer.setting, peer.port, n)
    return {"added_p99_us": (quantile(through, 0.99) - quantile(direct, 0.99)) / 1e3,
            "added_p50_us": (quantile(through, 0.5) - quantile(direct, 0.5)) / 1e3, "p99_us": quantile(through, 0.99) / 1e3}


def start(peer):
    """From exec to the first 200, polled from before the start."""
    fresh = type(peer)(peer.setting)
    directory, command = fresh.prepare(False)
    poller = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), peer.setting.client, "first", str(fresh.port), peer.setting.certificate, NAME, "10000"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        fresh.spawn(directory, command)
        out, said = poller.communicate(timeout=15)
        if poller.returncode:
            raise RuntimeError(f"{peer.name}: {said.strip()}")
        return {"ms": (int(out) - fresh.tree.started_ns) / 1e6}
    finally:
        poller.kill()
        poller.wait()
        fresh.stop()
