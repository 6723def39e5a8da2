"""What the bench needs of the system: processes on given cores, their CPU time and memory as a whole tree, quantiles."""
import contextlib
import ctypes
import math
import os
import signal
import subprocess
import time

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, PROXY_CORE = CORES[0], CORES[-1]
GROUP_BASES = ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup")


def remove_stale_groups():
    """Empty cgroups of benches that were killed."""
    for base in GROUP_BASES:
        for name in os.listdir(base) if os.path.isdir(base) else []:
            if name.startswith("postern-bench-") and not os.path.exists(f"/proc/{name.split('-')[2]}"):
                try:
                    os.rmdir(os.path.join(base, name))
                except OSError:
                    pass


class Tree:
    """A process with everything it starts, held to one core; counts the CPU time of all of it, the dead included.

    CPU time comes from a cgroup of its own where one can be made (v2 cpu.stat or v1 cpuacct), otherwise from /proc of all descendants.
    """

    n_made = 0

    def __init__(self, name, command, core, output=None, environment=None, directory=None, stdin=subprocess.DEVNULL, stdout=None):
        Tree.n_made += 1
        self.name = name
        self.group = self._make_group(f"postern-bench-{os.getpid()}-{Tree.n_made}")
        told, tell = os.pipe()

        def prepare():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the bench
            os.sched_setaffinity(0, {core})
            if self.group:
                with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="ascii") as procs:
                    procs.write(str(os.getpid()))
            os.write(tell, str(time.monotonic_ns()).encode())  # the fork of this interpreter and the move to a cgroup took 10 to 30 ms

        with open(output or os.devnull, "ab") as out:
            self.process = subprocess.Popen(command, stdin=stdin, stdout=stdout or out, stderr=out, preexec_fn=prepare,
                                            env={**os.environ, **(environment or {})}, cwd=directory, start_new_session=True)
        self.started_ns = int(os.read(told, 32))  # when it was about to become the command
        os.close(told)
        os.close(tell)

    @staticmethod
    def _make_group(name):
        for base in GROUP_BASES:
            meter = "cpuacct.usage" if base.endswith("cpuacct") else "cpu.stat"
            if not os.path.exists(os.path.join(base, "cgroup.procs")):
                continue
            try:
                os.mkdir(os.path.join(base, name))
            except OSError:
                continue
            if os.path.exists(os.path.join(base, name, meter)):
                return os.path.join(base, name)
            os.rmdir(os.path.join(base, name))
        return None

    def pids(self):
        if self.group:
            with open(os.path.join(self.group, "cgroup.procs"), encoding="ascii") as procs:
                return [int(line) for line in procs]
        children, found = {}, [self.process.pid]
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                        parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
                children.setdefault(parent, []).append(int(entry))
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_s(self):
        if self.group:
            if os.path.exists(os.path.join(self.group, "cpuacct.usage")):
                with open(os.path.join(self.group, "cpuacct.usage"), encoding="ascii") as usage:
                    return int(usage.read()) / 1e9
            with open(os.path.join(self.group, "cpu.stat"), encoding="ascii") as stat:
                return int(dict(line.split() for line in stat)["usage_usec"]) / 1e6
        total = 0.0
        for pid in self.pids():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
                        total += int(stat.read().split()[0]) / 1e9
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                    total += sum(int(x) for x in stat.read().rsplit(")", 1)[1].split()[13:15]) / os.sysconf("SC_CLK_TCK")
            except OSError:
                continue
        return total

    def pss_bytes(self):
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                    total += next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
            except (OSError, StopIteration):
                continue
        return total

    def stop(self):
        pids = self.pids()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in set(self.pids() if self.group else pids) - {self.process.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if self.group:
            for _ in range(200):
                try:
                    os.rmdir(self.group)
                    break
                except OSError:
                    time.sleep(0.01)


def run_on(core, command, timeout_s, **options):
    """A bounded helper on a core; its standard output, or an exception that says what it said."""
    done = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, text=True, timeout=timeout_s, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(command[0])}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


@contextlib.contextmanager
def real_time(pids):
    """These processes, and what is started from here meanwhile, run before all others: what else the machine does delays them less. For loads far
    from saturation only: the kernel takes 5 % of each second away from real-time processes. Without the right to it, nothing changes."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        for pid in [0, *pids]:
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass
    try:
        yield
    finally:
        for pid in [0, *pids]:
            try:
                os.sched_setscheduler(pid, *before)
            except OSError:
                continue


def wait_until(condition, what, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout_s} s")
        time.sleep(0.01)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def median_interval(values, confidence=0.95):
    """(low, high) that hold the median of what these were drawn from with at least that probability: two of the values themselves, by their ranks,
    whatever the distribution. None: there are too few of them."""
    values, found, tail = sorted(values), None, 0.0
    for rank in range(len(values) // 2):
        tail += math.comb(len(values), rank) / 2 ** len(values)  # of so many or fewer on one side of the median
        if 2 * tail > 1 - confidence:
            break
        found = values[rank], values[-1 - rank]
    return found
