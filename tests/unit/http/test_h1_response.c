/* HTTP/1 responses: an instance is no more trusted than a client. */
#include "parse.h"

static struct http_head head;

#define RESPONSE(status, fields) STR("HTTP/1.1 " status "\r\n" fields "\r\n")

static void refuse(struct str text, enum http_violation expected)
{
    assert_violation(parse_response(text, false, &head), expected, text.ptr);
}

static void accept(struct str text)
{
    refuse(text, HTTP_FINE);
}

static void test_a_response_is_understood(void **state)
{
    (void)state;
    accept(RESPONSE("200 OK then", "Content-Length: 12\r\nContent-Type: text/html\r\nServer: x\r\nSet-Cookie: a_b=1\r\n"));
    assert_int_equal(head.status, 200);
    assert_text(head.reason, "OK then");
    assert_int_equal(head.framing, HTTP_LENGTH);
    assert_int_equal(head.content_length, 12);
    assert_true(head.keep_alive);
    accept(RESPONSE("200", ""));
    assert_int_equal(head.reason.len, 0);
    assert_int_equal(head.framing, HTTP_UNTIL_CLOSE);
    assert_false(head.keep_alive);
    accept(RESPONSE("200 ", "Transfer-Encoding: chunked\r\n"));
    assert_int_equal(head.framing, HTTP_CHUNKED);
    assert_true(head.keep_alive);
    accept(RESPONSE("599 x", "Content-Length: 0\r\nX_Under_Score: 1\r\n"));
}

static void test_odd_status_lines_prevent_response_splitting(void **state)
{
    (void)state;
    refuse(RESPONSE("099 x", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("600 x", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("2000 x", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("20 x", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("2", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE(" 200 x", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("200\tx", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("200 a\x01", ""), HTTP_BAD_STATUS_LINE);
    refuse(RESPONSE("200 a\rX: b", ""), HTTP_BARE_CR);
    refuse(RESPONSE("200 a\nX: b", ""), HTTP_BARE_LF);
    refuse(STR("\r\nHTTP/1.1 200 OK\r\n\r\n"), HTTP_BAD_STATUS_LINE);
    refuse(STR("HTTP/1.1\r\n\r\n"), HTTP_BAD_STATUS_LINE);
    refuse(STR("ICY 200 OK\r\n\r\n"), HTTP_BAD_STATUS_LINE);
    refuse(STR("HTTP/2.0 200 OK\r\n\r\n"), HTTP_BAD_VERSION);
    refuse(STR("HTTP/1.1 200 OK\n\n"), HTTP_BARE_LF);
}

static void test_contradicting_lengths_prevent_response_splitting(void **state)
{
    (void)state;
    refuse(RESPONSE("200 x", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), HTTP_LENGTH_AND_CHUNKED);
    refuse(RESPONSE("200 x", "Content-Length: 1\r\nContent-Length: 1\r\n"), HTTP_DUPLICATE_LENGTH);
    refuse(RESPONSE("200 x", "Content-Length: 1, 1\r\n"), HTTP_BAD_LENGTH);
    refuse(RESPONSE("200 x", "Transfer-Encoding: gzip\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(RESPONSE("200 x", "Transfer-Encoding: chunked, gzip\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(RESPONSE("200 x", "Transfer-Encoding: identity\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(STR("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP_TRANSFER_ENCODING_1_0);
}

static void test_bodies_where_none_may_be_prevent_response_splitting(void **state)
{
    (void)state;
    refuse(RESPONSE("204 x", "Content-Length: 5\r\n"), HTTP_BAD_LENGTH);
    refuse(RESPONSE("204 x", "Transfer-Encoding: chunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    refuse(RESPONSE("103 x", "Content-Length: 5\r\n"), HTTP_BAD_LENGTH);
    refuse(RESPONSE("100 x", "Transfer-Encoding: chunked\r\n"), HTTP_BAD_TRANSFER_ENCODING);
    accept(RESPONSE("204 x", "Content-Length: 0\r\n"));
    assert_int_equal(head.framing, HTTP_NO_BODY);
    assert_false(head.has_content_length);
    accept(RESPONSE("103 x", "Link: </a.css>\r\n"));
    assert_int_equal(head.framing, HTTP_NO_BODY);
    assert_true(head.keep_alive);
    accept(RESPONSE("304 x", "Content-Length: 5\r\n"));
    assert_int_equal(head.framing, HTTP_NO_BODY);
    assert_true(head.has_content_length && head.keep_alive);
    accept(RESPONSE("304 x", "Transfer-Encoding: chunked\r\n"));
    assert_int_equal(head.framing, HTTP_NO_BODY);
}

static void test_answers_to_head_prevent_waiting_for_a_body(void **state)
{
    (void)state;
    struct str text = RESPONSE("200 x", "Content-Length: 5\r\n");
    assert_int_equal(parse_response(text, true, &head), HTTP_FINE);
    assert_int_equal(head.framing, HTTP_NO_BODY);
    assert_true(head.has_content_length && head.keep_alive);
    assert_int_equal(head.content_length, 5);
    assert_int_equal(parse_response(RESPONSE("200 x", "Transfer-Encoding: chunked\r\n"), true, &head), HTTP_FINE);
    assert_int_equal(head.framing, HTTP_NO_BODY);
}

static void test_a_switch_without_a_protocol_prevents_a_blind_tunnel(void **state)
{
    (void)state;
    refuse(RESPONSE("101 x", ""), HTTP_BAD_FIELD_VALUE);
    refuse(RESPONSE("101 x", "Connection: upgrade\r\n"), HTTP_BAD_FIELD_VALUE);
    refuse(RESPONSE("101 x", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), HTTP_BAD_FIELD_VALUE);
    refuse(STR("HTTP/1.0 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), HTTP_BAD_FIELD_VALUE);
    accept(RESPONSE("101 x", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert_true(head.upgrade && head.websocket);
    accept(RESPONSE("426 x", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"));
    assert_false(head.upgrade);
}

static void test_an_instance_cannot_speak_for_the_surface(void **state)
{
    (void)state;
    accept(RESPONSE("200 x", "Alt-Svc: h3=\":443\"\r\nKeep-Alive: timeout=5\r\nConnection: X-Internal\r\nX-Internal: 1\r\n"));
    for (uint32_t i = 0; i < head.n_fields; i++)
        assert_int_equal(head.fields[i].flags, HTTP_FIELD_HOP);
}

static void test_header_bombs_prevent_memory_exhaustion(void **state)
{
    (void)state;
    static char bomb[HTTP_HEAD_SIZE_MAX];
    memset(bomb, 'a', sizeof bomb);
    memcpy(bomb, "HTTP/1.1 200 OK\r\nX: ", 20);
    size_t scanned = 0, used = 0;
    enum http_violation violation = HTTP_FINE;
    assert_int_equal(http1_parse_response(bomb, sizeof bomb, &scanned, false, &head, &used, &violation), HTTP1_REFUSED);
    assert_int_equal(violation, HTTP_HEAD_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_response_is_understood),
        TEST(test_odd_status_lines_prevent_response_splitting),
        TEST(test_contradicting_lengths_prevent_response_splitting),
        TEST(test_bodies_where_none_may_be_prevent_response_splitting),
        TEST(test_answers_to_head_prevent_waiting_for_a_body),
        TEST(test_a_switch_without_a_protocol_prevents_a_blind_tunnel),
        TEST(test_an_instance_cannot_speak_for_the_surface),
        TEST(test_header_bombs_prevent_memory_exhaustion),
    };
    return cmocka_run_group_tests_name("http h1_response", tests, NULL, NULL);
}
