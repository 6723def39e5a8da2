"""A declaration that changes while an instance is being dialled: what is tried next is judged by the new one."""
import socket
import threading

from lib.process import wait_until


def test_a_service_that_moved_in_the_declaration_is_verified_as_itself(standin, gateway, free_port):
    """The nearest instance accepts and says nothing; the others of the declaration go; then it hangs up, and the next one is dialled."""
    port = free_port()
    stalled = socket.create_server(("127.0.0.1", port))
    held, answered = [], []
    threading.Thread(target=lambda: held.append(stalled.accept()[0]), daemon=True).start()
    service = standin("secure", protocol="https", address="127.0.0.3", port=port)
    secure = {"host": ["gw", "robin"], "port": port, "protocol": "https", "tls": {"ca": service.certificate, "name": "secure"}}
    others = {f"a{n}": {"host": "gw", "port": free_port(), "protocol": "https", "tls": {"insecure": True}} for n in range(40)}
    gw = gateway({**others, "secure": secure})
    asker = threading.Thread(target=lambda: answered.append(gw.get("macbook", "secure")), daemon=True)
    asker.start()
    try:
        wait_until(lambda: held, what="the first dial")
        gw.reload(gw.make({"secure": secure}))
        held[0].close()
        asker.join(10)
        assert answered and answered[0].status == 200 and answered[0].json()["name"] == "secure", (answered, gw.describe())
    finally:
        stalled.close()
