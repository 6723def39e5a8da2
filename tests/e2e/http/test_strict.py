"""Requests that HTTP's rules refuse: each answered as the rule says, with the connection ended, and the service untouched."""
import socket

import pytest


@pytest.fixture
def gw(standin, gateway):
    service = standin("grafana")
    made = gateway({"grafana": service}, [{"from": "clients", "to": "grafana", "over": "main"}])
    made.service = service
    return made


def exchange(gw, raw):
    """Sends raw bytes; everything that comes back until the end."""
    with gw.tls("macbook", "grafana") as tls:
        tls.sendall(raw)
        got = b""
        try:
            while True:
                piece = tls.recv(65536)
                if not piece:
                    break
                got += piece
        except (ConnectionResetError, socket.timeout) as trouble:
            assert not isinstance(trouble, socket.timeout), f"the connection stays open after {got!r}"
        return got


HOST = b"Host: grafana.home.example\r\n"

REFUSED = {
    "length_and_chunked_prevents_request_smuggling":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two_equal_lengths_prevents_desync_with_readers_of_the_other":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    "two_lengths_in_one_field_prevents_desync":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nx"),
    "signed_length_prevents_desync":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx"),
    "chunked_twice_prevents_desync":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "unknown_transfer_coding_prevents_desync":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked_on_1_0_prevents_desync":
        (400, b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "obs_fold_prevents_hidden_fields":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n Content-Length: 5\r\n\r\n"),
    "bare_lf_prevents_line_end_disagreement":
        (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    "bare_cr_prevents_line_end_disagreement":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n"),
    "space_before_colon_prevents_field_name_confusion":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"X-A : 1\r\n\r\n"),
    "nul_in_value_prevents_truncation":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n"),
    "underscore_name_prevents_spoofing_of_a_hyphenated_one":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"X_Forwarded_For: 1.2.3.4\r\n\r\n"),
    "no_host_prevents_guessing":
        (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two_hosts_prevents_routing_disagreement":
        (400, b"GET / HTTP/1.1\r\n" + HOST + b"Host: other.home.example\r\n\r\n"),
    "userinfo_in_host_prevents_routing_disagreement":
        (400, b"GET / HTTP/1.1\r\nHost: a@grafana.home.example\r\n\r\n"),
    "absolute_target_of_another_host_prevents_routing_disagreement":
        (400, b"GET https://other.home.example/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "connect_prevents_tunnels_elsewhere":
        (405, b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: 10.0.0.1:22\r\n\r\n"),
    "upgrade_with_a_body_prevents_smuggling_past_the_switch":
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc"),
    "unknown_expectation_prevents_waiting_for_ever":
        (417, b"GET / HTTP/1.1\r\n" + HOST + b"Expect: coffee\r\n\r\n"),
    "huge_head_prevents_memory_use":
        (431, b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 40000 + b"\r\n\r\n"),
    "many_fields_prevents_slow_look_ups":
        (431, b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n"),
    "http_2_preface_in_http_1_prevents_confusion":
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "fragment_in_target_prevents_path_disagreement":
        (400, b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "non_ascii_target_prevents_decoding_disagreement":
        (400, b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(gw, what):
    status, raw = REFUSED[what]
    got = exchange(gw, raw)
    line = got.split(b"\r\n", 1)[0].split()
    assert line[0] == b"HTTP/1.1" and int(line[1]) == status, got
    assert got.count(b"HTTP/1.1 ") == 1, "one answer, and nothing of what followed was read as a request"
    assert b"connection: close" in got.lower()
    records = gw.records(at_least=1, surface="main")
    assert len(records) == 1 and records[0]["denied"] and not records[0].get("instance")


def test_after_a_refusal_the_next_request_on_the_wire_is_not_served(gw):
    got = exchange(gw, b"GET / HTTP/1.1\r\n" + HOST + b"Bad Name: 1\r\n\r\nGET /second HTTP/1.1\r\n" + HOST + b"\r\n")
    assert got.count(b"HTTP/1.1 ") == 1 and b"second" not in got


@pytest.mark.parametrize("body", [b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
                                  b"fffffffffffffffff\r\nhello", b"5\r\nhelloX\r\n0\r\n\r\n"])
def test_broken_chunk_lines_prevents_body_disagreement(gw, body):
    got = exchange(gw, b"POST /upload HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert b" 200 " not in got.split(b"\r\n", 1)[0]


def test_pipelined_requests_are_answered_in_order(gw):
    raw = b"".join(b"GET /%d HTTP/1.1\r\n" % i + HOST + (b"Connection: close\r\n" if i == 19 else b"") + b"\r\n" for i in range(20))
    got = exchange(gw, raw)
    assert [got.find(b'"path": "/%d"' % i) >= 0 or got.find(b'"path":"/%d"' % i) >= 0 for i in range(20)] == [True] * 20
    assert got.count(b"HTTP/1.1 200") == 20


def test_identity_that_the_client_claims_is_dropped(gw):
    answer = gw.get("macbook", "grafana", headers={"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6", "Postern-Host": "roc",
                                                   "Postern-Segment": "prod", "Tailscale-User-Login": "root", "X-Forwarded-Host": "evil"})
    assert answer.status == 200
    assert answer.seen["x-forwarded-for"] == ["127.0.0.13"]
    assert answer.seen["postern-host"] == ["macbook"] and answer.seen["postern-segment"] == ["clients"]
    assert answer.seen["x-forwarded-proto"] == ["https"]
    assert answer.seen["x-forwarded-host"][0].startswith("grafana.home.example")
    for gone in ("x-real-ip", "forwarded", "tailscale-user-login"):
        assert gone not in answer.seen


def test_connection_can_not_nominate_identity_prevents_stripping_what_the_gate_says(gw):
    answer = gw.get("macbook", "grafana", headers={"Connection": "X-Forwarded-For, Postern-Host, X-Mine", "X-Mine": "hop"})
    assert answer.seen["x-forwarded-for"] == ["127.0.0.13"] and answer.seen["postern-host"] == ["macbook"]
    assert "x-mine" not in answer.seen


def test_the_answer_carries_the_requests_id_and_so_does_its_record(gw):
    answer = gw.get("macbook", "grafana")
    wanted = answer.header("Postern-Request-Id")
    assert len(wanted) == 16
    assert gw.records(at_least=1, id=wanted)[0]["status"] == 200
    denied = gw.get("macbook", "nonesuch")
    assert denied.status == 404 and len(denied.header("Postern-Request-Id")) == 16


def test_denied_and_unknown_names_look_the_same(standin, gateway):
    grafana, registry = standin("grafana"), standin("registry")
    gw = gateway({"grafana": grafana, "registry": registry},
                 [{"from": "clients", "to": "*", "over": "main"}, {"from": "ai", "to": "registry", "over": "agents"}])
    assert gw.get("robin", "registry", surface="agents").status == 200

    def shape(name):
        answer = gw.get("robin", name, surface="agents")
        identity = answer.header("Postern-Request-Id")
        fields = [(key, value) for key, value in answer.headers if key.lower() not in ("date", "postern-request-id")]
        return answer.status, fields, answer.body.replace(identity.encode(), b"ID")
    assert shape("grafana") == shape("nonesuch")
    assert shape("grafana")[0] == 404


def test_nobody_is_closed_before_tls(gw):
    with pytest.raises((OSError, EOFError)):
        with gw.tls("nobody", "grafana"):
            pass
    assert gw.records(at_least=1, surface="main")[0]["denied"] == "nobody"
