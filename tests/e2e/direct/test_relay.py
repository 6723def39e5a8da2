"""Direct ports through a whole gateway: who may gets through, in both protocols; who may not gets nothing."""
import hashlib
import os
import socket
import threading

import pytest

from direct.conftest import ask, exchange, tcp, udp
from lib.process import wait_until


def test_a_game_and_a_chat_in_a_namespace_without_a_network(direct):
    d = direct()
    d.listen()
    assert ask(udp("macbook", d.port), b"first") == b"first"
    with tcp("iphone", d.port) as one:
        assert exchange(one, b"chat") == b"chat"
