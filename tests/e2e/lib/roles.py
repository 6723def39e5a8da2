"""A gateway's processes as /proc shows them, and directories of roles in which one is another program."""
import os
import shutil
import signal

from lib.process import BUILD, wait_until

ROLES = ("keeper", "broker", "watcher", "logger", "worker")
SERVICES = ("keeper", "broker", "watcher", "logger")


def field(pid, name):
    """A line of /proc/PID/status, or None when the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(name + ":"):
                    return line.split(":", 1)[1].strip()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def is_running(pid):
    state = field(pid, "State")
    return state is not None and not state.startswith("Z")


def children(parent):
    """pid to role of a parent's live children."""
    found = {}
    try:
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as pids:
            for pid in map(int, pids.read().split()):
                name = field(pid, "Name")
                if name and name.startswith("postern-") and is_running(pid):
                    found[pid] = name.removeprefix("postern-")
    except FileNotFoundError:
        pass
    return found


def pids_of(parent, role):
    return sorted(pid for pid, name in children(parent).items() if name == role)


def pid_of(parent, role):
    """The one process of that role, once it is there."""
    return wait_until(lambda: pids_of(parent, role), what=f"a {role} runs")[0]


def kill(parent, role):
    """SIGKILL to the first process of that role; returns what it was."""
    pid = pid_of(parent, role)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), what=f"the {role} is dead")
    return pid


def wait_restarted(parent, role, old):
    """The process in the place of the old one."""
    return wait_until(lambda: [pid for pid in pids_of(parent, role) if pid != old and confined(pid)], what=f"the {role} is back")[0]


def confined(pid):
    """It has started: this is set by every role's confinement, whatever the kernel lacks."""
    return field(pid, "NoNewPrivs") == "1"


def role_directory(directory, **replaced):
    """A copy of the build's roles, with programs in the place of some: keeper="/bin/false"."""
    path = os.path.join(directory, "roles")
    os.makedirs(path, exist_ok=True)
    for role in (*ROLES, "docker", "parent", "compiler"):
        target = os.path.join(path, f"postern-{role}")
        if os.path.exists(target):
            os.unlink(target)
        shutil.copy2(replaced.get(role, os.path.join(BUILD, f"postern-{role}")), target)
    return path
