"""One connection that talks all the time with an echo: talk.py ADDRESS PORT. Prints how many answers came, every time one did."""
import socket
import sys

one = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
one.settimeout(None)
n = 0
while True:
    one.sendall(b"x" * 1000)
    got = 0
    while got < 1000:
        data = one.recv(65536)
        if not data:
            sys.exit("closed")
        got += len(data)
    n += 1
    sys.stdout.write(f"{n}\n")
    sys.stdout.flush()
