"""Processes under test: their output kept in a file, their whole group ended, their parent's death theirs."""
import ctypes
import os
import signal
import shutil
import subprocess
import time

import pytest

BUILD = os.environ.get("POSTERN_BUILD") or os.path.join(os.path.dirname(__file__), "..", "..", "..", "build")
BUILD = os.path.abspath(BUILD)
POSTERN = os.path.join(BUILD, "postern")
STANDIN = os.path.join(BUILD, "postern-standin")

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def needs(*programs):
    """A mark: skipped where one of these is missing. tools/run-tests takes that for a failure in CI, which installs what tools/packages lists."""
    missing = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"missing here: {', '.join(missing)} (tools/packages)")


class Process:
    """A child in a session of its own. stdout and stderr go to NAME.out (fresh at each start) and NAME.err in directory."""

    def __init__(self, name, command, directory, **arguments):
        self.name, self.command = name, [str(word) for word in command]
        self.out_path, self.err_path = os.path.join(directory, f"{name}.out"), os.path.join(directory, f"{name}.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "ab") as err:
            self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                                          preexec_fn=_die_with_parent, **arguments)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def out(self):
        return _read(self.out_path)

    def err(self):
        return _read(self.err_path)

    def wait(self, timeout_s=10):
        return self.popen.wait(timeout_s)

    def stop(self, number=signal.SIGTERM, timeout_s=10):
        """Ends it (SIGTERM first, then the whole group); returns its exit status, negative for a signal."""
        if self.running():
            self.popen.send_signal(number)
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.popen.wait(timeout_s)

    def describe(self):
        state = "running" if self.running() else f"ended with {self.popen.returncode}"
        return f"--- {' '.join(self.command)} ({state})\n--- stdout\n{self.out()[-4000:]}\n--- stderr\n{self.err()[-8000:]}"


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as text:
        return text.read()


def wait_until(condition, timeout_s=10, what="the condition", interval_s=0.01):
    """The first true value of condition(); AssertionError naming what after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(interval_s)
