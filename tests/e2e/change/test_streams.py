"""A change of the declaration leaves every stream alone but those whose right it takes away."""
import resource
import select
import time

import pytest

N_WEBSOCKETS, N_EVENT_STREAMS, N_UNRELATED = 1000, 1000, 500


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip(f"needs 8192 descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


UPGRADE = ("GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
EVENTS = "GET /events?n=1000000&interval_ms=60000 HTTP/1.1\r\nHost: {host}\r\n\r\n"
FRAME = b"\x81\x85\x01\x02\x03\x04" + bytes(c ^ m for c, m in zip(b"hello", b"\x01\x02\x03\x04\x01"))


def open_stream(gw, principal, service, request, status):
    tls = gw.tls(principal, service)
    tls.sendall(request.format(host=gw.name_of(service)).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = tls.recv(4096)
        assert piece, head
        head += piece
    assert head.startswith(b"HTTP/1.1 %d" % status), head
    return tls


def is_closed(tls):
    """Whether its end has come; what else came is read and forgotten."""
    tls.settimeout(0)
    try:
        while True:
            if not tls.recv(4096):
                return True
    except (BlockingIOError, OSError) as trouble:
        return not (isinstance(trouble, BlockingIOError) or "timed out" in str(trouble) or "did not complete" in str(trouble))
    finally:
        tls.settimeout(10)


def test_two_thousand_streams_live_through_five_hundred_services_that_come_and_go(standin, gateway):
    chat, news = standin("chat"), standin("news")
    gw = gateway({"chat": chat, "news": news}, surfaces={"main": {"connections-per-principal": 5000}})
    streams = [open_stream(gw, "macbook", "chat", UPGRADE, 101) for _ in range(N_WEBSOCKETS)]
    streams += [open_stream(gw, "iphone", "news", EVENTS, 200) for _ in range(N_EVENT_STREAMS)]
    unrelated = {f"other-{i}": {"host": "gw", "port": 20000 + i} for i in range(N_UNRELATED)}
    for step in range(5):
        some = dict(list(unrelated.items())[:N_UNRELATED * (step + 1) // 5])
        gw.reload(gw.make({"chat": chat, "news": news, **some}))
    gw.reload(gw.make({"chat": chat, "news": news}))
    assert sum(is_closed(tls) for tls in streams) == 0
    for tls in streams[:N_WEBSOCKETS:50]:
        tls.sendall(FRAME)
        assert tls.recv(100) == b"\x81\x05hello"
    for tls in streams:
        tls.close()


def test_a_grant_that_goes_takes_its_streams_within_a_second_and_no_others(standin, gateway):
    chat, news = standin("chat"), standin("news")
    both = {"chat": chat, "news": news}
    gw = gateway(both, [{"from": ["macbook", "iphone"], "to": ["chat", "news"], "over": "main"}])
    kept = [open_stream(gw, "iphone", "chat", UPGRADE, 101), open_stream(gw, "iphone", "news", EVENTS, 200), open_stream(gw, "macbook", "news", EVENTS, 200)]
    taken = [open_stream(gw, "macbook", "chat", UPGRADE, 101) for _ in range(20)]
    gw.reload(gw.make(both, [{"from": ["macbook", "iphone"], "to": "news", "over": "main"}, {"from": "iphone", "to": "chat", "over": "main"}]))
    in_force = time.monotonic()
    for tls in taken:
        tls.settimeout(max(0.01, in_force + 1 - time.monotonic()))
        try:
            assert tls.recv(4096) == b""
        except ConnectionResetError:
            pass
        except OSError as trouble:
            assert "EOF" in str(trouble), trouble
    assert not any(is_closed(tls) for tls in kept)
    assert gw.get("macbook", "chat").status == 404
    assert len(gw.records(at_least=20, denied="revoked")) == 20


def test_a_guest_that_is_none_any_more_is_closed(standin, gateway):
    web = standin("web")
    gw = gateway({"web": web}, [{"from": ["macbook", "iphone"], "to": "web", "over": "main"}])
    idle = gw.tls("macbook", "web")
    gw.reload(gw.make({"web": web}, [{"from": "iphone", "to": "web", "over": "main"}]))
    ready, _, _ = select.select([idle], [], [], 2)
    assert ready and is_closed(idle)
    with pytest.raises(OSError):
        gw.tls("macbook", "web")
