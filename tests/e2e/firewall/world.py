"""The homelab's machines as network namespaces: one bridge that is the mesh, one that is the LAN, listeners, and probes."""
import json
import os
import subprocess
import sys

from lib.process import POSTERN, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, "../../../examples/homelab/postern.yml")

MESH = {"roc": 1, "bluejay": 2, "robin": 3, "iphone": 11, "kobo": 12, "macbook": 13}  # the last part of both its addresses
LAN = {"roc": 10, "bluejay": 11, "robin": 12, "guest": 66}                            # guest: a machine that is on the LAN only
TCP = {"roc": [22, 80, 443, 3000, 5432, 8443, 9898], "bluejay": [22, 80, 443, 8443, 9898], "robin": [22, 4096, 9000], "iphone": [22],
       "kobo": [22], "macbook": [22]}
UDP = {"roc": [30000], "bluejay": [30000], "robin": [30000]}


def mesh4(host):
    return f"100.64.0.{MESH[host]}"


def mesh6(host):
    return f"fd7a:115c:a1e0::{MESH[host]}"


def lan4(host):
    return f"192.168.1.{LAN[host]}"


class Machine:
    """A network namespace, held by a process of its own; all that is started in it ends with it."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        self.processes = []
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: self._namespace() not in (None, own), what=f"{name}'s namespace")
        self.run("ip", "link", "set", "lo", "up")

    def _namespace(self):
        try:
            return os.readlink(f"/proc/{self.holder.pid}/ns/net")
        except OSError:
            return None

    def command(self, *command):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *command]

    def run(self, *command, text=None):
        done = subprocess.run(self.command(*command), input=text, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stderr}"
        return done.stdout

    def listen(self, tcp, udp, uid=0):
        process = subprocess.Popen(self.command(sys.executable, os.path.join(HERE, "listen.py"), json.dumps([tcp, udp, uid])),
                                   stdout=subprocess.PIPE)
        self.processes.append(process)
        assert process.stdout.readline() == b"ready\n"

    def probe(self, questions, uid=0):
        """questions: (protocol, address, port, source address or None). Answers: open, refused, forbidden, silent, or an error's name."""
        answers = self.run(sys.executable, os.path.join(HERE, "probe.py"), text=json.dumps([questions, uid]))
        return dict(zip(questions, json.loads(answers)))

    def stop(self):
        for process in self.processes + [self.holder]:
            process.kill()
            process.wait()
        for process in self.processes:
            process.stdout.close()


class World:
    """All machines, no filter yet: load() puts them in."""

    def __init__(self):
        self.machines = {}
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self):
        for name in ["mesh", "lan", *MESH, "guest"]:
            self.machines[name] = Machine(name)
        for bridge in ("mesh", "lan"):
            self.machines[bridge].run("ip", "link", "add", "br0", "type", "bridge")
            self.machines[bridge].run("sysctl", "-qw", "net.ipv6.conf.br0.accept_dad=0")  # its own address is good at once
            self.machines[bridge].run("ip", "link", "set", "br0", "up")
        self.machines["mesh"].run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1")
        # Each refusal is told: see render/nftables.h. Older kernels have the last two for the whole machine only.
        self.machines["mesh"].run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        self.machines["mesh"].run("sysctl", "-eqw", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv4.icmp_msgs_burst=100000")
        self.machines["mesh"].run("ip", "route", "add", "100.64.0.0/10", "dev", "br0")
        self.machines["mesh"].run("ip", "route", "add", "fd7a:115c:a1e0::/48", "dev", "br0")
        for host in MESH:
            self._plug(host, "mesh", "mesh0", [mesh4(host) + "/10", mesh6(host) + "/48"])
        for host in LAN:
            self._plug(host, "lan", "lan0", [lan4(host) + "/24"])
        for host in MESH:
            self.machines[host].listen(TCP.get(host, []), UDP.get(host, []))

    def _plug(self, host, bridge, interface, addresses):
        port = f"to-{host}"
        self.machines[bridge].run("ip", "link", "add", port, "type", "veth", "peer", "name", interface, "netns",
                                  str(self.machines[host].holder.pid))
        self.machines[bridge].run("ip", "link", "set", port, "master", "br0", "up")
        for address in addresses:
            self.machines[host].run("ip", "address", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
        self.machines[host].run("ip", "link", "set", interface, "up")

    def load(self, machine, *render):
        done = subprocess.run([POSTERN, "render", *render, "-f", EXAMPLE], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        self.machines[machine].run("nft", "-f", "-", text=done.stdout)

    def stop(self):
        for machine in self.machines.values():
            machine.stop()
