"""Debian's game server in a namespace without a network, and a client's real handshake through the relay.

The protocol, as far as it goes here (Luanti's doc/protocol.txt): every datagram begins with 0x4f457403, the sender's peer id and a channel; a
packet is CONTROL (0), ORIGINAL (1) or, around one of these, RELIABLE (3) with a number that is acknowledged."""
import os
import struct

import pytest

from direct.conftest import is_silent, udp
from lib.process import needs, wait_until

# Debian 13 calls it luanti.
SERVER = next((path for path in ("/usr/games/luantiserver", "/usr/games/minetestserver") if os.path.exists(path)), "minetestserver")
MAGIC = 0x4F457403
CONTROL, ORIGINAL, RELIABLE = 0, 1, 3
ACK, SET_PEER_ID = 0, 1
HELLO_TO_SERVER, HELLO_TO_CLIENT = 2, 2  # TOSERVER_INIT, TOCLIENT_HELLO
FIRST_NUMBER = 65500


class Player:
    def __init__(self, socket):
        self.socket = socket
        self.peer = 0
        self.username = None
        self.protocol = None

    def send(self, channel, packet):
        self.socket.send(struct.pack(">IHB", MAGIC, self.peer, channel) + packet)

    def knock(self):
        """The dummy packet by which a server makes a peer of us."""
        self.send(0, struct.pack(">BHBH", RELIABLE, FIRST_NUMBER, ORIGINAL, 0))

    def introduce(self, name):
        self.send(1, struct.pack(">BHBHHHH", ORIGINAL, HELLO_TO_SERVER, 28, 0, 37, 40, len(name)) + name.encode())

    def hear(self):
        """One datagram; what it says is taken in."""
        data = self.socket.recv(65536)
        magic, peer, channel = struct.unpack_from(">IHB", data)
        assert (magic, peer) == (MAGIC, 1), "from the server"
        packet = data[7:]
        if packet[0] == RELIABLE:
            number, = struct.unpack_from(">H", packet, 1)
            packet = packet[3:]
            if packet[0] == CONTROL and packet[1] == SET_PEER_ID:
                self.peer, = struct.unpack_from(">H", packet, 2)
            self.send(channel, struct.pack(">BBH", CONTROL, ACK, number))
        if packet[0] == ORIGINAL and struct.unpack_from(">H", packet, 1)[0] == HELLO_TO_CLIENT:
            _, _, self.protocol, _, length = struct.unpack_from(">BHHIH", packet, 3)
            self.username = packet[14:14 + length].decode()


@pytest.fixture
def server(inside, directory):
    space = inside()
    home = os.path.join(directory, "player")
    game = os.path.join(home, ".minetest", "games", "void")
    os.makedirs(os.path.join(game, "mods"))
    os.makedirs(os.path.join(home, "world"))
    for path, text in ((os.path.join(game, "game.conf"), "name = void\n"), (os.path.join(home, "world", "world.mt"), "gameid = void\nbackend = dummy\n"),
                       (os.path.join(home, "minetest.conf"), "mg_name = singlenode\nserver_announce = false\nbind_address = 127.0.0.1\n")):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def start(port):
        one = space.run("env", f"HOME={home}", SERVER, "--world", os.path.join(home, "world"), "--config", os.path.join(home, "minetest.conf"),
                        "--gameid", "void", "--port", str(port))
        wait_until(lambda: "listening on" in one.out() + one.err() or not one.running(), 30, "the game server listens")
        assert one.running(), one.describe()
        return one

    return space, start


@needs(SERVER)
def test_a_client_shakes_hands_with_a_real_game_server(server, direct):
    space, start = server
    d = direct(inside=space)
    start(d.port)
    player = Player(udp("macbook", d.port, timeout_s=2))

    def is_peer():
        player.knock()
        try:
            player.hear()
        except TimeoutError:
            pass
        return player.peer

    wait_until(is_peer, 20, "a peer id")

    def is_greeted():
        player.introduce("Postern")
        try:
            for _ in range(4):
                player.hear()
                if player.username:
                    break
        except TimeoutError:
            pass
        return player.username

    wait_until(is_greeted, 20, "TOCLIENT_HELLO")
    assert player.username == "Postern" and 37 <= player.protocol <= 40
    stranger = Player(udp("kobo", d.port))
    stranger.knock()
    assert is_silent(stranger.socket, for_ms=1000)
    player.send(0, struct.pack(">BB", CONTROL, 3))  # leave
