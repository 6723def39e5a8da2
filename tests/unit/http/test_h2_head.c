/* HTTP/2 heads: the same message as by HTTP/1, and nothing that would become another one on the way to an HTTP/1 instance. */
#include "parse.h"

#include "http/h2_head.h"

static struct h2_reader reader;
static const struct http_head *const head = &reader.head;

/* Reads "name\0value\0..." pairs that end with an empty name. */
static enum http_violation read_pairs(enum h2_head_kind kind, const char *pairs, bool ends_stream)
{
    h2_reader_start(&reader, kind, kind == H2_RESPONSE);
    while (*pairs) {
        struct str name = str_of(pairs), value = str_of(pairs + name.len + 1);
        h2_reader_add(&reader, name, value);
        pairs = value.ptr + value.len + 1;
    }
    return h2_reader_finish(&reader, ends_stream);
}

#define GET      ":method\0GET\0:scheme\0https\0:authority\0grafana.home.example\0:path\0/a?b\0"
#define POST     ":method\0POST\0:scheme\0https\0:authority\0a\0:path\0/\0"
#define ANSWER   ":status\0" "200\0"

static void refuse(const char *pairs, enum http_violation expected)
{
    assert_violation(read_pairs(H2_REQUEST, pairs, true), expected, pairs);
}

static void accept(const char *pairs)
{
    refuse(pairs, HTTP_FINE);
}

static void refuse_response(const char *pairs, bool ends_stream, enum http_violation expected)
{
    assert_violation(read_pairs(H2_RESPONSE, pairs, ends_stream), expected, pairs);
}

static void test_a_browser_request_is_understood(void **state)
{
    (void)state;
    accept(GET "user-agent\0x\0te\0trailers\0content-type\0application/grpc\0");
    assert_text(head->method, "GET");
    assert_text(head->authority, "grafana.home.example");
    assert_text(head->path, "/a?b");
    assert_int_equal(head->version, 20);
    assert_int_equal(head->framing, HTTP_NO_BODY);
    assert_int_equal(head->n_fields, 3);
    assert_true(head->te_trailers && head->is_grpc && head->keep_alive);
    assert_text(head->fields[0].name, "user-agent");
    assert_int_equal(head->fields[1].flags, HTTP_FIELD_HOP);
}

static void test_bodies_are_announced(void **state)
{
    (void)state;
    assert_int_equal(read_pairs(H2_REQUEST, POST "content-length\0" "5\0", false), HTTP_FINE);
    assert_int_equal(head->framing, HTTP_LENGTH);
    assert_int_equal(head->content_length, 5);
    assert_int_equal(read_pairs(H2_REQUEST, POST "expect\0" "100-continue\0", false), HTTP_FINE);
    assert_int_equal(head->framing, HTTP_CHUNKED);
    assert_true(head->expect_continue);
    accept(POST "content-length\0" "0\0");
    refuse(POST "content-length\0" "5\0", HTTP_LENGTH_MISMATCH);
}

static void test_odd_pseudo_fields_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(":method\0GET\0:path\0/\0:authority\0a\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(":scheme\0https\0:path\0/\0:authority\0a\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":path\0/b\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":method\0POST\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":authority\0b\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":status\0" "200\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":protocol\0websocket\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(GET ":odd\0x\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(":method\0GET\0:scheme\0https\0x\0y\0:path\0/\0:authority\0a\0", HTTP_BAD_PSEUDO_FIELD);
    refuse(":method\0GET\0:scheme\0ftp\0:authority\0a\0:path\0/\0", HTTP_BAD_PSEUDO_FIELD);
}

static void test_pseudo_field_values_prevent_request_line_injection(void **state)
{
    (void)state;
    refuse(":method\0GET / HTTP/1.1\r\nx:\0:scheme\0https\0:authority\0a\0:path\0/\0", HTTP_BAD_METHOD);
    refuse(":method\0ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456\0:scheme\0https\0:authority\0a\0:path\0/\0", HTTP_BAD_METHOD);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0/ HTTP/1.1\r\nx: y\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0/a b\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0/#x\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0a\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0*\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0http://b/\0", HTTP_BAD_TARGET);
    refuse(":method\0GET\0:scheme\0https\0:authority\0a\0:path\0\0", HTTP_BAD_TARGET);
    accept(":method\0OPTIONS\0:scheme\0https\0:authority\0a\0:path\0*\0");
}

static void test_authority_and_host_that_differ_prevent_serving_the_wrong_service(void **state)
{
    (void)state;
    refuse(GET "host\0registry.home.example\0", HTTP_HOST_MISMATCH);
    refuse(GET "host\0grafana.home.example\0host\0grafana.home.example\0", HTTP_DUPLICATE_HOST);
    accept(GET "host\0Grafana.home.example\0");
    accept(":method\0GET\0:scheme\0https\0:path\0/\0host\0a\0");
    assert_text(head->authority, "a");
    refuse(":method\0GET\0:scheme\0https\0:path\0/\0", HTTP_NO_HOST);
    refuse(":method\0GET\0:scheme\0https\0:path\0/\0host\0a@b\0", HTTP_BAD_HOST);
    refuse(":method\0GET\0:scheme\0https\0:path\0/\0:authority\0a@b\0", HTTP_BAD_HOST);
    refuse(":method\0GET\0:scheme\0https\0:path\0/\0:authority\0\0", HTTP_BAD_HOST);
}

static void test_field_names_prevent_header_injection(void **state)
{
    (void)state;
    refuse(GET "X-Upper\0a\0", HTTP_UPPERCASE_NAME);
    refuse(GET "x_forwarded_for\0a\0", HTTP_UNDERSCORE_NAME);
    refuse(GET "x y\0a\0", HTTP_BAD_FIELD_NAME);
    refuse(GET "x\r\ny\0a\0", HTTP_BAD_FIELD_NAME);
    refuse(GET "x:y\0a\0", HTTP_BAD_FIELD_NAME);
    h2_reader_start(&reader, H2_REQUEST, false);
    h2_reader_add(&reader, STR(""), STR("x"));
    assert_int_equal(h2_reader_finish(&reader, true), HTTP_BAD_FIELD_NAME);
}

static void test_field_values_prevent_header_injection(void **state)
{
    (void)state;
    refuse(GET "x\0a\r\ny: b\0", HTTP_BAD_FIELD_VALUE);
    refuse(GET "x\0a\nb\0", HTTP_BAD_FIELD_VALUE);
    refuse(GET "x\0 a\0", HTTP_BAD_FIELD_VALUE);
    refuse(GET "x\0a\t\0", HTTP_BAD_FIELD_VALUE);
    h2_reader_start(&reader, H2_REQUEST, false);
    h2_reader_add(&reader, STR("x"), STR("a\0b"));
    assert_int_equal(h2_reader_finish(&reader, true), HTTP_BAD_FIELD_VALUE);
    accept(GET "x\0\0y\0a\tb\0");
}

static void test_connection_fields_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(GET "connection\0close\0", HTTP_CONNECTION_FIELD);
    refuse(GET "keep-alive\0x\0", HTTP_CONNECTION_FIELD);
    refuse(GET "proxy-connection\0x\0", HTTP_CONNECTION_FIELD);
    refuse(GET "transfer-encoding\0chunked\0", HTTP_CONNECTION_FIELD);
    refuse(GET "upgrade\0h2c\0", HTTP_CONNECTION_FIELD);
    refuse(GET "te\0gzip\0", HTTP_CONNECTION_FIELD);
    refuse(GET "te\0trailers, gzip\0", HTTP_CONNECTION_FIELD);
}

static void test_odd_lengths_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(POST "content-length\0" "5\0content-length\0" "5\0", HTTP_DUPLICATE_LENGTH);
    refuse(POST "content-length\0" "+5\0", HTTP_BAD_LENGTH);
    refuse(POST "content-length\0" "5,5\0", HTTP_BAD_LENGTH);
    refuse(POST "content-length\0\0", HTTP_BAD_LENGTH);
    refuse(POST "expect\0magic\0", HTTP_BAD_EXPECT);
}

static void test_cookie_crumbs_are_one_field_for_http_1(void **state)
{
    (void)state;
    accept(GET "cookie\0a=1\0x\0y\0cookie\0b=2\0cookie\0c=3\0z\0w\0");
    assert_int_equal(head->n_fields, 3);
    assert_text(head->fields[0].name, "cookie");
    assert_text(head->fields[0].value, "a=1; b=2; c=3");
    assert_text(head->fields[1].name, "x");
    assert_text(head->fields[2].name, "z");
    accept(GET "cookie\0only=1\0");
    assert_text(head->fields[0].value, "only=1");
}

static void test_many_crumbs_fit_and_prevent_overflow(void **state)
{
    (void)state;
    h2_reader_start(&reader, H2_REQUEST, false);
    h2_reader_add(&reader, STR(":method"), STR("GET"));
    h2_reader_add(&reader, STR(":scheme"), STR("https"));
    h2_reader_add(&reader, STR(":path"), STR("/"));
    h2_reader_add(&reader, STR(":authority"), STR("a"));
    static char crumb[249];
    memset(crumb, 'c', sizeof crumb);
    for (unsigned i = 0; i < HTTP_FIELDS_MAX; i++)
        h2_reader_add(&reader, STR("cookie"), str_make(crumb, sizeof crumb));
    assert_int_equal(h2_reader_finish(&reader, true), HTTP_FINE);
    assert_int_equal(head->n_fields, 1);
    assert_int_equal(head->fields[0].value.len, HTTP_FIELDS_MAX * (sizeof crumb + 2) - 2);
    assert_true(reader.text_len <= sizeof reader.text);
}

static void test_large_heads_prevent_memory_exhaustion(void **state)
{
    (void)state;
    static char bomb[4000];
    memset(bomb, 'b', sizeof bomb);
    h2_reader_start(&reader, H2_REQUEST, false);
    for (unsigned i = 0; i < 1000; i++)
        h2_reader_add(&reader, STR("x"), str_make(bomb, sizeof bomb));
    assert_true(reader.text_len <= HTTP_HEAD_SIZE_MAX);
    assert_int_equal(h2_reader_finish(&reader, true), HTTP_HEAD_TOO_LARGE);

    h2_reader_start(&reader, H2_REQUEST, false);
    for (unsigned i = 0; i <= HTTP_FIELDS_MAX; i++)
        h2_reader_add(&reader, STR("x"), STR(""));
    assert_int_equal(h2_reader_finish(&reader, true), HTTP_TOO_MANY_FIELDS);
}

static void test_connect_prevents_an_open_proxy(void **state)
{
    (void)state;
    refuse(":method\0CONNECT\0:authority\0a:22\0", HTTP_CONNECT_METHOD);
    refuse(":method\0CONNECT\0:authority\0a\0:scheme\0https\0:path\0/\0:protocol\0connect-udp\0", HTTP_CONNECT_METHOD);
}

#define EXTENDED ":method\0CONNECT\0:authority\0a\0:scheme\0https\0:path\0/ws\0:protocol\0websocket\0"

static void test_websocket_is_recognised(void **state)
{
    (void)state;
    assert_int_equal(read_pairs(H2_REQUEST, EXTENDED "sec-websocket-version\0" "13\0", false), HTTP_FINE);
    assert_true(head->websocket && head->upgrade);
    assert_text(head->upgrade_to, "websocket");
    assert_int_equal(head->fields[0].id, HTTP_SEC_WEBSOCKET);
    refuse(EXTENDED, HTTP_UPGRADE_WITH_BODY);
    assert_int_equal(read_pairs(H2_REQUEST, EXTENDED "content-length\0" "3\0", false), HTTP_UPGRADE_WITH_BODY);
}

static void test_responses_are_understood(void **state)
{
    (void)state;
    refuse_response(ANSWER "content-length\0" "5\0x_y\0z\0set-cookie\0a\0set-cookie\0b\0", false, HTTP_FINE);
    assert_int_equal(head->status, 200);
    assert_int_equal(head->framing, HTTP_LENGTH);
    assert_int_equal(head->n_fields, 4);
    refuse_response(ANSWER, false, HTTP_FINE);
    assert_int_equal(head->framing, HTTP_CHUNKED);
    refuse_response(ANSWER "content-length\0" "5\0", true, HTTP_FINE); /* to HEAD */
    assert_int_equal(head->framing, HTTP_NO_BODY);
    assert_true(head->has_content_length);
    refuse_response(":status\0" "103\0link\0x\0", false, HTTP_FINE);
    assert_int_equal(head->framing, HTTP_NO_BODY);
}

static void test_odd_responses_prevent_response_splitting(void **state)
{
    (void)state;
    refuse_response("x\0y\0", true, HTTP_BAD_PSEUDO_FIELD);
    refuse_response(":status\0" "20\0", true, HTTP_BAD_STATUS_LINE);
    refuse_response(":status\0" "2000\0", true, HTTP_BAD_STATUS_LINE);
    refuse_response(":status\0" "600\0", true, HTTP_BAD_STATUS_LINE);
    refuse_response(":status\0" "099\0", true, HTTP_BAD_STATUS_LINE);
    refuse_response(":status\0" "101\0", false, HTTP_BAD_STATUS_LINE);
    refuse_response(":status\0" "103\0", true, HTTP_BAD_STATUS_LINE);
    refuse_response(ANSWER ":status\0" "200\0", true, HTTP_BAD_PSEUDO_FIELD);
    refuse_response(ANSWER ":path\0/\0", true, HTTP_BAD_PSEUDO_FIELD);
    refuse_response(ANSWER "transfer-encoding\0chunked\0", true, HTTP_CONNECTION_FIELD);
    refuse_response(ANSWER "x\0a\r\nb: c\0", true, HTTP_BAD_FIELD_VALUE);
    refuse_response(":status\0" "204\0content-length\0" "5\0", true, HTTP_BAD_LENGTH);
}

static void test_forbidden_trailers_prevent_late_forgery(void **state)
{
    (void)state;
    const char pairs[] = "grpc-status\0" "0\0content-length\0" "5\0host\0x\0cookie\0y\0postern-host\0z\0grpc-message\0\0";
    assert_int_equal(read_pairs(H2_TRAILERS, pairs, true), HTTP_FINE);
    assert_int_equal(head->n_fields, 2);
    assert_text(head->fields[1].name, "grpc-message");
    assert_int_equal(read_pairs(H2_TRAILERS, pairs, false), HTTP_BAD_TRAILER);
    assert_int_equal(read_pairs(H2_TRAILERS, ":status\0" "200\0", true), HTTP_BAD_PSEUDO_FIELD);
    assert_int_equal(read_pairs(H2_TRAILERS, ":path\0/\0", true), HTTP_BAD_PSEUDO_FIELD);
}

static void test_a_block_cut_in_two_is_the_same(void **state)
{
    (void)state;
    static struct h2_reader first, second;
    h2_reader_start(&first, H2_REQUEST, false);
    h2_reader_add(&first, STR(":method"), STR("GET"));
    h2_reader_add(&first, STR(":authority"), STR("a"));
    h2_reader_add(&first, STR("cookie"), STR("b=1"));
    h2_reader_move(&second, &first);
    memset(&first, 0xff, sizeof first);
    h2_reader_add(&second, STR("cookie"), STR("c=2"));
    assert_int_equal(h2_reader_finish(&second, true), HTTP_BAD_PSEUDO_FIELD); /* :path is missing still */

    h2_reader_start(&first, H2_REQUEST, false);
    h2_reader_add(&first, STR(":method"), STR("GET"));
    h2_reader_add(&first, STR(":authority"), STR("a"));
    h2_reader_add(&first, STR(":path"), STR("/x"));
    h2_reader_add(&first, STR(":scheme"), STR("https"));
    h2_reader_add(&first, STR("cookie"), STR("b=1"));
    h2_reader_move(&second, &first);
    memset(&first, 0xff, sizeof first);
    h2_reader_add(&second, STR("cookie"), STR("c=2"));
    assert_int_equal(h2_reader_finish(&second, true), HTTP_FINE);
    assert_text(second.head.path, "/x");
    assert_text(second.head.authority, "a");
    assert_text(second.head.fields[0].value, "b=1; c=2");
}

static void test_heads_are_written_with_their_status_first(void **state)
{
    (void)state;
    static struct h2_writer writer;
    h2_writer_start(&writer);
    h2_writer_add_status(&writer, 404);
    h2_writer_add(&writer, STR("postern-request-id"), STR("abc"), true);
    assert_int_equal(writer.n, 2);
    assert_text(str_make((const char *)writer.fields[0].value, writer.fields[0].valuelen), "404");
    assert_int_equal(writer.fields[1].flags, NGHTTP2_NV_FLAG_NO_INDEX);
    for (size_t i = 0; i < ARRAY_SIZE(writer.fields); i++)
        h2_writer_add(&writer, STR("x"), STR("y"), false);
    assert_true(writer.overflowed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_browser_request_is_understood),
        TEST(test_bodies_are_announced),
        TEST(test_odd_pseudo_fields_prevent_request_smuggling),
        TEST(test_pseudo_field_values_prevent_request_line_injection),
        TEST(test_authority_and_host_that_differ_prevent_serving_the_wrong_service),
        TEST(test_field_names_prevent_header_injection),
        TEST(test_field_values_prevent_header_injection),
        TEST(test_connection_fields_prevent_request_smuggling),
        TEST(test_odd_lengths_prevent_request_smuggling),
        TEST(test_cookie_crumbs_are_one_field_for_http_1),
        TEST(test_many_crumbs_fit_and_prevent_overflow),
        TEST(test_large_heads_prevent_memory_exhaustion),
        TEST(test_connect_prevents_an_open_proxy),
        TEST(test_websocket_is_recognised),
        TEST(test_responses_are_understood),
        TEST(test_odd_responses_prevent_response_splitting),
        TEST(test_forbidden_trailers_prevent_late_forgery),
        TEST(test_a_block_cut_in_two_is_the_same),
        TEST(test_heads_are_written_with_their_status_first),
    };
    return cmocka_run_group_tests_name("http h2_head", tests, NULL, NULL);
}
