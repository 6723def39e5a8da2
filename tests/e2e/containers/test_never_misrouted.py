"""No request ever reaches another container than the one it is for: under load, while containers are replaced, addresses change hands and
decoys take over what was just given up."""
import os
import random
import time

from lib.gateway import HOSTS
from lib.hammer import Hammer
from lib.process import wait_until

PORT = 8080
SECONDS = float(os.environ.get("POSTERN_HAMMER_SECONDS", 15))
AT_LEAST = int(os.environ.get("POSTERN_HAMMER_REQUESTS", 0))


class Stage:
    """Two stacks with one service name, two containers that trade addresses, one without a network, and a decoy at each of their ports."""

    def __init__(self, engine):
        self.engine = engine
        self.network = engine.network("stage", subnet="10.201.7.0/27")
        self.seats = {"left": "10.201.7.10", "right": "10.201.7.11"}
        for project in ("red", "blue"):
            self.stack(project)
        for name in self.seats:
            self.seated(name, self.seats[name])
        self.lone()
        self.n_acts = 0

    def stack(self, project):
        return self.engine.standin(f"{project}-web-1", port=PORT, networks=["stage"], project=project, service="web", says=project)

    def seated(self, name, address, says=None):
        one = self.engine.create(name, "/bin/postern-standin", "--name", says or name, "--host", "stage", "--listen", f"0.0.0.0:{PORT}", network="none")
        self.engine.api("POST", "/networks/none/disconnect", {"Container": one.id, "Force": True})
        self.sit(one, address)
        return one.start()

    def sit(self, container, address):
        self.engine.api("POST", f"/networks/{self.network.id}/connect",
                        {"Container": container.id, "EndpointConfig": {"IPAMConfig": {"IPv4Address": address}}})

    def lone(self):
        return self.engine.standin("lone", port=PORT, network="none")

    # ---- what may happen at any time ----

    def recreate(self):
        project = random.choice(("red", "blue"))
        self.engine.container(f"{project}-web-1").remove()
        self.stack(project)

    def restart(self):
        self.engine.container(random.choice(("red-web-1", "left", "right", "lone"))).restart()

    def swap_addresses(self):
        """Both run all the while."""
        for name in self.seats:
            self.network.disconnect(self.engine.container(name))
        self.seats = dict(zip(self.seats, reversed(list(self.seats.values()))))
        for name, address in self.seats.items():
            self.sit(self.engine.container(name), address)

    def decoy(self):
        """Somebody else takes the address in the moment it is given up, and listens at the same port."""
        name = random.choice(list(self.seats))
        self.engine.container(name).remove()
        decoy = self.seated("decoy", self.seats[name])
        time.sleep(0.1)
        decoy.remove()
        self.seated(name, self.seats[name])

    def sharer(self):
        """Whoever shares a namespace survives in it, listening where the other did."""
        sharer = self.engine.create("sharer", "/bin/sh", "-c", f"while ! /bin/postern-standin --name sharer --host stage --listen 0.0.0.0:{PORT}; do :; done",
                                    network="container:lone").start()
        self.engine.container("lone").restart()
        sharer.remove()

    def act(self):
        random.choice((self.recreate, self.restart, self.swap_addresses, self.decoy, self.sharer))()
        self.n_acts += 1


def test_no_request_reaches_another_container_while_everything_changes(engine, gateway):
    stage = Stage(engine)
    hosts = {**HOSTS, "gw": {"segment": "prod", "address": ["100.64.0.1", "127.0.0.1"], "gateway": True, "docker": engine.socket}}
    services = {name: {"host": "gw", "container": container, "port": PORT}
                for name, container in {"red": "red/web", "blue": "blue/web", "left": "left", "right": "right", "lone": "lone"}.items()}
    gw = gateway(services, engine=engine.socket, hosts=hosts)
    with Hammer(gw, {name: name for name in services}) as hammer:
        began = time.monotonic()
        while time.monotonic() - began < SECONDS or hammer.n < AT_LEAST:
            stage.act()
            assert not hammer.wrong, hammer.wrong[0]
        before = dict(hammer.answered)
        wait_until(lambda: all(hammer.answered[name] > before[name] + 10 for name in before), 10, "all of them answer in the end")
    print(f"{hammer.n} answers, {len(hammer.wrong)} from another container; {stage.n_acts} changes meanwhile; "
          f"errors {hammer.errors}, connections lost {hammer.lost}")
    assert not hammer.wrong, hammer.wrong[0]
    assert hammer.n > 1000
