/* HTTP/1 requests: what a browser sends is understood, and what two parsers could understand differently is refused. */
#include "parse.h"

static struct http_head head;

/* A request of "GET / HTTP/1.1" with a Host and these field lines. */
#define REQUEST(fields) STR("GET / HTTP/1.1\r\nHost: grafana.home.example\r\n" fields "\r\n")

static void refuse(struct str text, enum http_violation expected)
{
    assert_violation(parse_request(text, &head), expected, text.ptr);
}

static void accept(struct str text)
{
    refuse(text, HTTP_FINE);
}

static const char browser[] =
    "GET /d/abc/home?orgId=1&refresh=5s HTTP/1.1\r\nHost: grafana.home.example\r\nConnection: keep-alive\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n"
    "Cookie: session=0123456789abcdef; theme=dark\r\n\r\n";

static void test_a_browser_request_is_understood(void **state)
{
    (void)state;
    accept(str_make(browser, sizeof browser - 1));
    assert_text(head.method, "GET");
    assert_text(head.path, "/d/abc/home?orgId=1&refresh=5s");
    assert_text(head.authority, "grafana.home.example");
    assert_int_equal(head.version, 11);
    assert_int_equal(head.framing, HTTP_NO_BODY);
    assert_true(head.keep_alive);
    assert_false(head.upgrade || head.is_head || head.is_grpc || head.expect_continue || head.has_content_length);
    assert_int_equal(head.n_fields, 6);
    assert_text(head.fields[2].name, "sec-ch-ua-platform");
    assert_text(head.fields[2].value, "\"Linux\"");
    assert_int_equal(head.fields[1].flags, HTTP_FIELD_HOP);
    assert_int_equal(http_head_find(&head, HTTP_COOKIE)->flags, 0);
}

static void test_a_head_that_arrives_byte_by_byte_is_the_same(void **state)
{
    (void)state;
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    for (size_t n = 0; n < sizeof browser - 1; n++)
        assert_int_equal(http1_parse_request(browser, n, &scanned, &head, &used, &violation), HTTP1_MORE);
    assert_int_equal(http1_parse_request(browser, sizeof browser - 1, &scanned, &head, &used, &violation), 0);
    assert_int_equal(used, sizeof browser - 1);
    assert_int_equal(head.n_fields, 6);
    assert_int_equal(scanned, 0);
}

static void test_what_follows_a_head_is_left_alone(void **state)
{
    (void)state;
    const char two[] = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\n\n";
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    assert_int_equal(http1_parse_request(two, sizeof two - 1, &scanned, &head, &used, &violation), 0);
    assert_text(str_make(two + used, 6), "GET /b");
}

static void test_blanks_around_values_are_not_part_of_them(void **state)
{
    (void)state;
    accept(REQUEST("X-A: \t one\ttwo \t\r\nX-B:\r\nX-C:   \r\nX-D:d\r\n"));
    assert_text(head.fields[1].value, "one\ttwo");
    assert_text(head.fields[2].value, "");
    assert_text(head.fields[3].value, "");
    assert_text(head.fields[4].value, "d");
}

static void test_length_and_chunked_prevents_request_smuggling(void **state)
{
    (void)state;
    refuse(REQUEST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), HTTP_LENGTH_AND_CHUNKED);
    refuse(REQUEST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), HTTP_LENGTH_AND_CHUNKED);
    refuse(REQUEST("transfer-encoding: chunked\r\ncontent-length: 0\r\n"), HTTP_LENGTH_AND_CHUNKED);
}

static void test_duplicate_length_prevents_request_smuggling(void **state)
{
    (void)state;
    refuse(REQUEST("Content-Length: 5\r\nContent-Length: 6\r\n"), HTTP_DUPLICATE_LENGTH);
    refuse(REQUEST("Content-Length: 5\r\ncontent-length: 5\r\n"), HTTP_DUPLICATE_LENGTH);
    refuse(REQUEST("Content-Length: 5, 5\r\n"), HTTP_BAD_LENGTH);
}

static void test_odd_lengths_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(REQUEST("Content-Length: +5\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length: -5\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length: 0x5\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length: 5 5\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length:\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length: 9223372036854775808\r\n"), HTTP_BAD_LENGTH);
    refuse(REQUEST("Content-Length: 18446744073709551617\r\n"), HTTP_BAD_LENGTH);
    accept(REQUEST("Content-Length: 9223372036854775807\r\n"));
    assert_int_equal(head.framing, HTTP_LENGTH);
    assert_true(head.content_length == INT64_MAX);
}

static void test_other_transfer_codings_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(REQUEST("Transfer-Encoding: gzip, chunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: chunked, chunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: xchunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: \"chunked\"\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: chunked;q=1\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: chunked,\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding:\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(REQUEST("Transfer-Encoding: \x0b" "chunked\r\n"), HTTP_BAD_FIELD_VALUE);
    accept(REQUEST("Transfer-Encoding:\tChunked\r\n"));
    assert_int_equal(head.framing, HTTP_CHUNKED);
}

static void test_chunked_in_http_1_0_prevents_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP_TRANSFER_ENCODING_1_0);
    refuse(STR("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), HTTP_TRANSFER_ENCODING_1_0);
}

static void test_bare_lf_prevents_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("GET / HTTP/1.1\nHost: a\r\n\r\n"), HTTP_BARE_LF);
    refuse(STR("GET / HTTP/1.1\r\nHost: a\n\r\n"), HTTP_BARE_LF);
    refuse(STR("GET / HTTP/1.1\r\nHost: a\r\n\n"), HTTP_BARE_LF);
    refuse(STR("GET / HTTP/1.1\r\nHost: a\n\n"), HTTP_BARE_LF); /* at once, not when the timer ends */
    refuse(STR("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BARE_LF);
    refuse(REQUEST("X-A: one\nX-B: two\r\n"), HTTP_BARE_LF);
}

static void test_bare_cr_prevents_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BARE_CR);
    refuse(STR("GET\r / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BARE_CR);
    refuse(STR("GET / HTTP/1.1\r\rHost: a\r\n\r\n"), HTTP_BARE_CR);
    refuse(REQUEST("X-A: one\rX-B: two\r\n"), HTTP_BARE_CR);
    refuse(REQUEST("X-A: one\r\r\n"), HTTP_BARE_CR);
    refuse(REQUEST("X-A\r: one\r\n"), HTTP_BARE_CR);
    refuse(STR("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n"), HTTP_BARE_CR);
}

static void test_folded_lines_prevent_hidden_fields(void **state)
{
    (void)state;
    refuse(REQUEST("X-A: one\r\n two\r\n"), HTTP_OBS_FOLD);
    refuse(REQUEST("X-A: one\r\n\ttwo\r\n"), HTTP_OBS_FOLD);
    refuse(STR("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), HTTP_OBS_FOLD);
    refuse(REQUEST("Transfer-Encoding:\r\n chunked\r\n"), HTTP_OBS_FOLD);
}

static void test_space_before_colon_prevents_hidden_fields(void **state)
{
    (void)state;
    refuse(REQUEST("Content-Length : 5\r\n"), HTTP_SPACE_BEFORE_COLON);
    refuse(REQUEST("Transfer-Encoding\t: chunked\r\n"), HTTP_SPACE_BEFORE_COLON);
    refuse(REQUEST("Content Length: 5\r\n"), HTTP_BAD_FIELD_NAME);
}

static void test_malformed_names_prevent_hidden_fields(void **state)
{
    (void)state;
    refuse(REQUEST(": nameless\r\n"), HTTP_BAD_FIELD_NAME);
    refuse(REQUEST("no colon\r\n"), HTTP_BAD_FIELD_NAME);
    refuse(REQUEST("nocolon\r\n"), HTTP_BAD_FIELD_NAME);
    refuse(REQUEST("X-\xc3\xa9: 1\r\n"), HTTP_BAD_FIELD_NAME);
    refuse(REQUEST("X(A): 1\r\n"), HTTP_BAD_FIELD_NAME);
    refuse(STR("GET / HTTP/1.1\r\nHost: a\r\nX-\0A: 1\r\n\r\n"), HTTP_BAD_FIELD_NAME);
}

static void test_underscores_prevent_forged_identity_in_cgi_variables(void **state)
{
    (void)state;
    refuse(REQUEST("X_Forwarded_For: 10.0.0.1\r\n"), HTTP_UNDERSCORE_NAME);
    refuse(REQUEST("Postern_Host: roc\r\n"), HTTP_UNDERSCORE_NAME);
    refuse(REQUEST("_: 1\r\n"), HTTP_UNDERSCORE_NAME);
}

static void test_control_bytes_in_values_prevent_injection(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 0x20; c++) {
        if (c == '\t' || c == '\r' || c == '\n')
            continue;
        char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Long-Enough-Name: 0123456789abc@0123456789\r\n\r\n";
        *strchr(text, '@') = (char)c;
        refuse(str_make(text, sizeof text - 1), HTTP_BAD_FIELD_VALUE);
    }
    refuse(REQUEST("X-A: \x7f\r\n"), HTTP_BAD_FIELD_VALUE);
    accept(REQUEST("X-A: caf\xc3\xa9 \xff\r\n"));
    assert_text(head.fields[1].value, "caf\xc3\xa9 \xff");
}

static void test_no_host_prevents_guessing_the_service(void **state)
{
    (void)state;
    refuse(STR("GET / HTTP/1.1\r\n\r\n"), HTTP_NO_HOST);
    refuse(STR("GET / HTTP/1.0\r\n\r\n"), HTTP_NO_HOST);
    refuse(STR("GET http://a/ HTTP/1.1\r\n\r\n"), HTTP_NO_HOST);
}

static void test_two_hosts_prevent_serving_the_wrong_service(void **state)
{
    (void)state;
    refuse(STR("GET / HTTP/1.1\r\nHost: registry\r\nHost: grafana\r\n\r\n"), HTTP_DUPLICATE_HOST);
    refuse(STR("GET / HTTP/1.1\r\nHost: registry\r\nhost: registry\r\n\r\n"), HTTP_DUPLICATE_HOST);
    refuse(STR("GET / HTTP/1.1\r\nHost: registry,grafana\r\n\r\n"), HTTP_BAD_HOST);
    refuse(STR("GET / HTTP/1.1\r\nHost: registry@grafana\r\n\r\n"), HTTP_BAD_HOST);
    refuse(STR("GET / HTTP/1.1\r\nHost: registry/grafana\r\n\r\n"), HTTP_BAD_HOST);
    refuse(STR("GET / HTTP/1.1\r\nHost:\r\n\r\n"), HTTP_BAD_HOST);
}

static void test_target_and_host_that_differ_prevent_serving_the_wrong_service(void **state)
{
    (void)state;
    refuse(STR("GET http://grafana/ HTTP/1.1\r\nHost: registry\r\n\r\n"), HTTP_HOST_MISMATCH);
    refuse(STR("GET http://grafana:80/ HTTP/1.1\r\nHost: grafana\r\n\r\n"), HTTP_HOST_MISMATCH);
    refuse(STR("GET http://user@grafana/ HTTP/1.1\r\nHost: grafana\r\n\r\n"), HTTP_BAD_TARGET);
    accept(STR("GET HTTPS://Grafana:8443/x?y HTTP/1.1\r\nHost: grafana:8443\r\n\r\n"));
    assert_text(head.path, "/x?y");
    assert_text(head.authority, "grafana:8443");
    accept(STR("GET http://grafana HTTP/1.1\r\nHost: grafana\r\n\r\n"));
    assert_text(head.path, "/");
    accept(STR("OPTIONS http://grafana HTTP/1.1\r\nHost: grafana\r\n\r\n"));
    assert_text(head.path, "*");
}

static void test_odd_targets_prevent_confused_routing(void **state)
{
    (void)state;
    refuse(STR("GET grafana/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET /\0x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    refuse(STR("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_TARGET);
    accept(STR("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    accept(STR("GET /a|b?{c}=\"d\"\\[e]^`<> HTTP/1.1\r\nHost: a\r\n\r\n"));
}

static void test_odd_request_lines_prevent_desynchronisation(void **state)
{
    (void)state;
    refuse(STR("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET /\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET / \r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET / http/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR("GET / HTTP/1.10\r\nHost: a\r\n\r\n"), HTTP_BAD_REQUEST_LINE);
    refuse(STR(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_METHOD);
    refuse(STR("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_METHOD);
    refuse(STR("\x16\x03\x01\x02\r\n\r\n"), HTTP_BAD_METHOD); /* TLS where none is spoken */
    accept(STR("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1\r\nHost: a\r\n\r\n"));
    refuse(STR("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD_METHOD);
}

static void test_other_versions_prevent_half_understood_requests(void **state)
{
    (void)state;
    refuse(STR("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), HTTP_BAD_VERSION);
    refuse(STR("GET / HTTP/0.9\r\nHost: a\r\n\r\n"), HTTP_BAD_VERSION);
    refuse(STR("PRI * HTTP/2.0\r\n\r\n"), HTTP_BAD_VERSION);
    assert_int_equal(http_violation_status(HTTP_BAD_VERSION), 505);
    accept(STR("GET / HTTP/1.0\r\nHost: a\r\n\r\n"));
    assert_false(head.keep_alive);
    accept(STR("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"));
    assert_true(head.keep_alive);
}

static void test_connect_prevents_an_open_proxy(void **state)
{
    (void)state;
    refuse(STR("CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: 10.0.0.1:22\r\n\r\n"), HTTP_CONNECT_METHOD);
    refuse(STR("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_CONNECT_METHOD);
    assert_int_equal(http_violation_status(HTTP_CONNECT_METHOD), 405);
}

static void test_upgrade_with_a_body_prevents_smuggling_past_the_switch(void **state)
{
    (void)state;
    refuse(REQUEST("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n"), HTTP_UPGRADE_WITH_BODY);
    refuse(REQUEST("Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n"), HTTP_UPGRADE_WITH_BODY);
    accept(REQUEST("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"));
    accept(REQUEST("Upgrade: websocket\r\nContent-Length: 5\r\n"));
    assert_false(head.upgrade);
}

static void test_websocket_is_recognised(void **state)
{
    (void)state;
    accept(REQUEST("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n"));
    assert_true(head.upgrade && head.websocket && head.keep_alive);
    assert_text(head.upgrade_to, "WebSocket");
    assert_int_equal(http_head_find(&head, HTTP_UPGRADE)->flags, HTTP_FIELD_HOP);
    assert_int_equal(http_head_find(&head, HTTP_SEC_WEBSOCKET)->flags, 0);
    accept(STR("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_false(head.websocket);
    accept(STR("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_false(head.upgrade);
}

static void test_an_upgrade_to_another_http_prevents_requests_in_a_tunnel(void **state)
{
    (void)state;
    static const char *const protocols[] = { "h2c", "H2C", "h2", "HTTP/2.0", "http/1.1" };
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAMAAABkAAQ\r\nUpgrade: %s\r\n\r\n",
                 protocols[i]);
        accept(str_of(text));
        assert_false(head.upgrade);
        assert_int_equal(head.upgrade_to.len, 0);
    }
}

static void test_a_choice_of_upgrades_prevents_disagreement_on_the_protocol(void **state)
{
    (void)state;
    accept(REQUEST("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"));
    assert_false(head.upgrade);
    accept(REQUEST("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"));
    assert_false(head.upgrade);
    assert_int_equal(head.upgrade_to.len, 0);
}

static void test_unknown_expectations_prevent_a_wait_that_never_ends(void **state)
{
    (void)state;
    refuse(REQUEST("Content-Length: 1\r\nExpect: 200-ok\r\n"), HTTP_BAD_EXPECT);
    refuse(REQUEST("Content-Length: 1\r\nExpect: 100-continue\r\nExpect: x\r\n"), HTTP_BAD_EXPECT);
    assert_int_equal(http_violation_status(HTTP_BAD_EXPECT), 417);
    accept(REQUEST("Content-Length: 1\r\nExpect: 100-Continue\r\n"));
    assert_true(head.expect_continue);
    accept(REQUEST("Expect: 100-continue\r\n"));
    assert_false(head.expect_continue);
    accept(STR("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n"));
    assert_false(head.expect_continue);
}

static void test_nominating_our_fields_prevents_removal_of_identity(void **state)
{
    (void)state;
    accept(REQUEST("X-Forwarded-For: 1\r\nPostern-Host: x\r\nTailscale-User-Login: y\r\nCookie: c\r\nContent-Length: 0\r\nX-Own: z\r\n"
                   "Connection: X-Forwarded-For, Postern-Host, Tailscale-User-Login, Host, Content-Length, Cookie, x-own\r\n"));
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(head.fields[i].flags, 0);
    assert_text(head.fields[6].name, "X-Own");
    assert_int_equal(head.fields[6].flags, HTTP_FIELD_HOP);
    assert_int_equal(head.framing, HTTP_LENGTH);
}

static void test_a_flood_of_connection_options_prevents_quadratic_work(void **state)
{
    (void)state;
    accept(REQUEST("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\nConnection: ,q,r,s,t,u,v,w,x,y,z,1,2,3,4,5\r\n"));
    refuse(REQUEST("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\nConnection: ,q,r,s,t,u,v,w,x,y,z,1,2,3,4,5,6\r\n"), HTTP_BAD_FIELD_VALUE);
    refuse(REQUEST("Connection: clo se\r\n"), HTTP_BAD_FIELD_VALUE);
}

static void test_close_beats_keep_alive(void **state)
{
    (void)state;
    accept(REQUEST("Connection: keep-alive\r\nConnection: CLOSE\r\n"));
    assert_false(head.keep_alive);
}

/* A request whose head is exactly size bytes. */
static struct str request_of_size(size_t size)
{
    static char text[HTTP_HEAD_SIZE_MAX + 16];
    const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Pad: ";
    memset(text, 'x', size);
    memcpy(text, start, sizeof start - 1);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    return str_make(text, size);
}

static void test_large_heads_prevent_memory_exhaustion(void **state)
{
    (void)state;
    accept(request_of_size(HTTP_HEAD_SIZE_MAX));
    refuse(request_of_size(HTTP_HEAD_SIZE_MAX + 1), HTTP_HEAD_TOO_LARGE);
    assert_int_equal(http_violation_status(HTTP_HEAD_TOO_LARGE), 431);

    struct str endless = request_of_size(HTTP_HEAD_SIZE_MAX + 8); /* refused before its end is seen */
    size_t scanned = 0, used = 0;
    enum http_violation violation = HTTP_FINE;
    assert_int_equal(http1_parse_request(endless.ptr, HTTP_HEAD_SIZE_MAX - 1, &scanned, &head, &used, &violation), HTTP1_MORE);
    assert_int_equal(http1_parse_request(endless.ptr, HTTP_HEAD_SIZE_MAX, &scanned, &head, &used, &violation), HTTP1_REFUSED);
    assert_int_equal(violation, HTTP_HEAD_TOO_LARGE);
}

static void test_many_fields_prevent_cpu_exhaustion(void **state)
{
    (void)state;
    cleanup_buf struct buf text;
    buf_init(&text, HTTP_HEAD_SIZE_MAX);
    buf_append(&text, STR("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (unsigned i = 1; i < HTTP_FIELDS_MAX; i++)
        buf_append(&text, STR("a:b\r\n"));
    size_t len = text.len;
    buf_append(&text, STR("\r\n"));
    accept(buf_str(&text));
    assert_int_equal(head.n_fields, HTTP_FIELDS_MAX);
    text.len = len;
    buf_append(&text, STR("a:b\r\n\r\n"));
    refuse(buf_str(&text), HTTP_TOO_MANY_FIELDS);
}

static void test_te_trailers_and_grpc_are_noticed(void **state)
{
    (void)state;
    accept(REQUEST("TE: deflate;q=0.5, Trailers\r\nContent-Type: application/grpc+proto\r\n"));
    assert_true(head.te_trailers && head.is_grpc);
    accept(REQUEST("TE: trailersx\r\nContent-Type: application/grpc-web\r\n"));
    assert_false(head.te_trailers || head.is_grpc);
}

static void test_every_fixed_hop_by_hop_field_stops_here(void **state)
{
    (void)state;
    accept(REQUEST("Connection: close\r\nKeep-Alive: 1\r\nProxy-Connection: 1\r\nProxy-Authenticate: 1\r\nProxy-Authorization: 1\r\nTE: 1\r\n"
                   "Trailer: 1\r\nUpgrade: 1\r\nHTTP2-Settings: 1\r\nAlt-Svc: 1\r\nTransfer-Encoding: chunked\r\n"));
    for (uint32_t i = 1; i < head.n_fields; i++)
        assert_int_equal(head.fields[i].flags, HTTP_FIELD_HOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_browser_request_is_understood),
        TEST(test_a_head_that_arrives_byte_by_byte_is_the_same),
        TEST(test_what_follows_a_head_is_left_alone),
        TEST(test_blanks_around_values_are_not_part_of_them),
        TEST(test_length_and_chunked_prevents_request_smuggling),
        TEST(test_duplicate_length_prevents_request_smuggling),
        TEST(test_odd_lengths_prevent_request_smuggling),
        TEST(test_other_transfer_codings_prevent_request_smuggling),
        TEST(test_chunked_in_http_1_0_prevents_request_smuggling),
        TEST(test_bare_lf_prevents_request_smuggling),
        TEST(test_bare_cr_prevents_request_smuggling),
        TEST(test_folded_lines_prevent_hidden_fields),
        TEST(test_space_before_colon_prevents_hidden_fields),
        TEST(test_malformed_names_prevent_hidden_fields),
        TEST(test_underscores_prevent_forged_identity_in_cgi_variables),
        TEST(test_control_bytes_in_values_prevent_injection),
        TEST(test_no_host_prevents_guessing_the_service),
        TEST(test_two_hosts_prevent_serving_the_wrong_service),
        TEST(test_target_and_host_that_differ_prevent_serving_the_wrong_service),
        TEST(test_odd_targets_prevent_confused_routing),
        TEST(test_odd_request_lines_prevent_desynchronisation),
        TEST(test_other_versions_prevent_half_understood_requests),
        TEST(test_connect_prevents_an_open_proxy),
        TEST(test_upgrade_with_a_body_prevents_smuggling_past_the_switch),
        TEST(test_websocket_is_recognised),
        TEST(test_an_upgrade_to_another_http_prevents_requests_in_a_tunnel),
        TEST(test_a_choice_of_upgrades_prevents_disagreement_on_the_protocol),
        TEST(test_unknown_expectations_prevent_a_wait_that_never_ends),
        TEST(test_nominating_our_fields_prevents_removal_of_identity),
        TEST(test_a_flood_of_connection_options_prevents_quadratic_work),
        TEST(test_close_beats_keep_alive),
        TEST(test_large_heads_prevent_memory_exhaustion),
        TEST(test_many_fields_prevent_cpu_exhaustion),
        TEST(test_te_trailers_and_grpc_are_noticed),
        TEST(test_every_fixed_hop_by_hop_field_stops_here),
    };
    return cmocka_run_group_tests_name("http h1_request", tests, NULL, NULL);
}
