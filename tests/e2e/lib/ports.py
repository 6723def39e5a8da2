"""Ports nobody else takes: held by a locked file for as long as this process lives, so that parallel runs never meet."""
import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 20000, 31999  # below the kernel's ephemeral range
_held = {}


def free_port():
    """A port that is free on every loopback address, TCP and UDP, and stays ours until the process ends."""
    directory = os.path.join(tempfile.gettempdir(), "postern-test-ports")
    os.makedirs(directory, mode=0o777, exist_ok=True)
    for _ in range(500):
        port = random.randint(FIRST, LAST)
        if port in _held:
            continue
        try:
            lock = open(os.path.join(directory, str(port)), "w")
        except PermissionError:
            continue  # another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            lock.close()
            continue
        _held[port] = lock
        return port
    raise RuntimeError("no free port found")
