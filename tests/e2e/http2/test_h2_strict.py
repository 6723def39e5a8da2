"""HTTP/2 requests that HTTP's rules refuse; each test is named after what the refusal prevents."""
import pytest

from lib import h2 as lib_h2

PROTOCOL_ERROR = 1


@pytest.fixture
def gw(standin, gateway):
    return gateway({"grafana": standin("grafana")}, [{"from": "clients", "to": "grafana", "over": "main"}])


@pytest.fixture
def client(gw):
    with lib_h2.connect(gw) as made:
        yield made


def refused(client, status=None, **request):
    """The request is answered with that status, or its stream reset; the connection goes on. Nothing reached the instance."""
    stream = client.wait(client.request(**request))
    if status and stream.status is not None:
        assert stream.status == status, stream
    else:
        assert stream.reset == PROTOCOL_ERROR or stream.status == 400, stream
    answer = client.get("/")
    assert answer.status == 200 and b'"request":1' in answer.body, "the first that the instance saw"


def pseudo(client, **changes):
    fields = {"method": "GET", "scheme": "https", "authority": client.authority, "path": "/", **changes}
    return [(f":{name}", value) for name, value in fields.items() if value is not None]


def test_header_injection_by_values_prevents_request_smuggling(client):
    refused(client, 400, headers=[("x", "a\r\nTransfer-Encoding: chunked")])


def test_header_injection_by_names_prevents_request_smuggling(client):
    refused(client, 400, headers=[("x: a\r\ny", "b")])


def test_request_line_injection_by_path_prevents_request_smuggling(client):
    refused(client, 400, path="/ HTTP/1.1\r\nHost: other\r\n\r\nGET /x")


def test_request_line_injection_by_method_prevents_request_smuggling(client):
    refused(client, 400, method="GET / HTTP/1.1\r\nx: y")


def test_transfer_encoding_prevents_request_smuggling(client):
    refused(client, 400, headers=[("transfer-encoding", "chunked")])


def test_connection_fields_prevent_removal_of_identity(client):
    refused(client, 400, headers=[("connection", "x-forwarded-for")])


def test_upper_case_names_prevent_hidden_fields(client):
    refused(client, 400, headers=[("X-Upper", "a")])


def test_underscores_prevent_forged_identity_in_cgi_variables(client):
    refused(client, 400, headers=[("x_forwarded_for", "10.0.0.1")])


def test_two_lengths_prevent_request_smuggling(client):
    refused(client, 400, method="POST", headers=[("content-length", "0"), ("content-length", "0")])


def test_host_that_differs_prevents_serving_the_wrong_service(client):
    refused(client, 400, headers=[("host", "registry.home.example")])


@pytest.mark.parametrize("missing", ["method", "scheme", "path", "authority"])
def test_missing_pseudo_fields_prevent_guessing(client, missing):
    refused(client, 400, pseudo=pseudo(client, **{missing: None}))


def test_late_pseudo_fields_prevent_hidden_requests(client):
    refused(client, 400, headers=[("x", "y"), (":path", "/other")])


def test_connect_prevents_an_open_proxy(client):
    refused(client, 405, pseudo=[(":method", "CONNECT"), (":authority", "10.0.0.1:22")])


def test_large_heads_prevent_memory_exhaustion(client):
    refused(client, 431, headers=[(f"x-{i}", "v" * 3000) for i in range(12)])


def test_many_fields_prevent_cpu_exhaustion(client):
    refused(client, 431, headers=[("x", "")] * 130)


def test_unknown_expectations_prevent_a_wait_that_never_ends(client):
    refused(client, 417, headers=[("expect", "200-ok")])


def test_forged_identity_is_dropped(client):
    answer = client.get("/", headers=[("x-forwarded-for", "1.2.3.4"), ("postern-host", "roc"), ("x-real-ip", "1.2.3.4"), ("forwarded", "for=x"),
                                      ("tailscale-user-login", "root@x")])
    assert b"1.2.3.4" not in answer.body and b"root@x" not in answer.body and b'"roc"' not in answer.body
    assert b'["Postern-Host","macbook"]' in answer.body


def test_priority_of_old_and_new_kind_is_borne(client):
    answer = client.get("/", headers=[("priority", "u=1, i")])
    assert answer.status == 200


def test_garbage_after_the_preface_ends_the_connection(gw):
    with gw.tls("macbook", "grafana", alpn=["h2"]) as tls:
        tls.sendall(lib_h2.PREFACE + b"\xff" * 100)
        tls.settimeout(10)
        while tls.recv(65536):
            pass


def test_http_1_where_http_2_was_agreed_ends_the_connection(gw):
    with gw.tls("macbook", "grafana", alpn=["h2"]) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: grafana.home.example\r\n\r\n")
        tls.settimeout(10)
        data = b""
        while True:
            piece = tls.recv(65536)
            if not piece:
                break
            data += piece
        assert b"HTTP/1.1" not in data
