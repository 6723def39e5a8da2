/* The chunked coding and trailers: content comes out whole however it is cut, and ambiguous framing never does. */
#include "parse.h"

static char content[4096];
static size_t content_len;

/* Decodes text given in pieces of step bytes; what came out is in content. Returns HTTP_FINE when it ended with the last chunk. */
static enum http_violation decode(struct str text, size_t step, size_t *ret_used)
{
    struct http1_chunked chunked;
    http1_chunked_init(&chunked);
    content_len = 0;
    size_t at = 0;
    while (at < text.len) {
        size_t n = text.len - at < step ? text.len - at : step;
        char *piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, text.ptr + at, n);
        size_t offset = 0;
        int r = 0;
        while (offset < n && r == 0) {
            size_t used = 0;
            struct str data;
            enum http_violation violation = HTTP_FINE;
            r = http1_chunked_decode(&chunked, piece + offset, n - offset, &used, &data, &violation);
            if (r == HTTP1_REFUSED) {
                free(piece);
                return violation;
            }
            assert_true(used > 0);
            assert_true(content_len + data.len <= sizeof content);
            memcpy(content + content_len, data.ptr, data.len);
            content_len += data.len;
            offset += used;
        }
        free(piece);
        at += offset;
        if (r == HTTP1_DONE) {
            *ret_used = at;
            return HTTP_FINE;
        }
    }
    return HTTP_VIOLATION_COUNT; /* no end */
}

static void refuse(struct str text, enum http_violation expected)
{
    size_t used;
    for (size_t step = 1; step <= text.len; step++)
        assert_violation(decode(text, step, &used), expected, text.ptr);
}

static void accept(struct str text, const char *expected, size_t rest)
{
    size_t used = 0;
    for (size_t step = 1; step <= text.len; step++) {
        assert_violation(decode(text, step, &used), HTTP_FINE, text.ptr);
        assert_text(str_make(content, content_len), expected);
        assert_int_equal(text.len - used, rest);
    }
}

static void test_chunks_cut_anywhere_give_the_same_content(void **state)
{
    (void)state;
    accept(STR("4\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n"), "Wikipedia in \r\n\r\nchunks.", 2);
    accept(STR("0000a\r\n0123456789\r\n000\r\nX: y\r\n\r\n"), "0123456789", 8);
    accept(STR("3;a=b;c=\"d;\\\"\";e\r\nabc\r\n0;x\r\n\r\n"), "abc", 2);
    accept(STR("1; a = b\r\nx\r\n0\r\n"), "x", 0);
}

static void test_odd_sizes_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("g\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("-1\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("+1\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("0x1\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR(" 1\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR(";a\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("10000000000001\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("00000000000001\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("ffffffffffffffff1\r\n"), HTTP_BAD_CHUNK_SIZE);
}

static void test_bare_line_ends_in_chunk_lines_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("1\nx\r\n0\r\n"), HTTP_BARE_LF);
    refuse(STR("\n"), HTTP_BARE_LF);
    refuse(STR("1;a\nx\r\n0\r\n"), HTTP_BARE_LF);
    refuse(STR("1;a=\"\n\"\r\nx\r\n0\r\n"), HTTP_BARE_LF);
    refuse(STR("1\rx\r\n0\r\n"), HTTP_BARE_CR);
    refuse(STR("1;a\rb\r\nx\r\n0\r\n"), HTTP_BARE_CR);
    refuse(STR("1\r\nx\n0\r\n"), HTTP_BARE_LF);
    refuse(STR("1\r\nx\r0\r\n"), HTTP_BAD_CHUNK_END);
    refuse(STR("1\r\nxy\r\n0\r\n"), HTTP_BAD_CHUNK_END);
    refuse(STR("0\n"), HTTP_BARE_LF);
    refuse(STR("0\rx"), HTTP_BARE_CR);
}

static void test_odd_extensions_prevent_request_smuggling(void **state)
{
    (void)state;
    refuse(STR("1;\x01\r\nx\r\n"), HTTP_BAD_CHUNK_EXTENSION);
    refuse(STR("1;\0\r\nx\r\n"), HTTP_BAD_CHUNK_EXTENSION);
    refuse(STR("1;a=\"b\r\nx\r\n"), HTTP_BAD_CHUNK_EXTENSION);
    refuse(STR("1;a=\"b\\\r\nx\r\n"), HTTP_BAD_CHUNK_EXTENSION);
    refuse(STR("1;a,b\r\nx\r\n"), HTTP_BAD_CHUNK_EXTENSION);
    refuse(STR("1 \r\nx\r\n"), HTTP_BAD_CHUNK_SIZE);
    refuse(STR("1 ;a\r\nx\r\n"), HTTP_BAD_CHUNK_SIZE);
}

static void test_endless_extensions_prevent_cpu_exhaustion(void **state)
{
    (void)state;
    cleanup_buf struct buf text;
    buf_init(&text, 1024 * 1024);
    buf_append(&text, STR("1;"));
    for (unsigned i = 0; i < 300; i++)
        buf_append_char(&text, 'a');
    size_t used;
    assert_int_equal(decode(buf_str(&text), text.len, &used), HTTP_BAD_CHUNK_EXTENSION);

    buf_clear(&text);
    for (unsigned i = 0; i < 200; i++) { /* each within the line's cap */
        buf_append(&text, STR("1;"));
        for (unsigned j = 0; j < 200; j++)
            buf_append_char(&text, 'a');
        buf_append(&text, STR("\r\nx\r\n"));
    }
    assert_int_equal(decode(buf_str(&text), text.len, &used), HTTP_BAD_CHUNK_EXTENSION);

    buf_clear(&text); /* many honest small chunks pass */
    for (unsigned i = 0; i < 4000; i++)
        buf_append(&text, STR("1;n=1\r\nx\r\n"));
    buf_append(&text, STR("0\r\n"));
    assert_int_equal(decode(buf_str(&text), text.len, &used), HTTP_FINE);
    assert_int_equal(content_len, 4000);
}

static void test_chunk_lines_are_written_as_they_are_read(void **state)
{
    (void)state;
    const uint64_t sizes[] = { 0, 1, 15, 16, 0x1a2b, 65536, 0xfffffffffffff, UINT64_MAX };
    const char *lines[] = { "0\r\n", "1\r\n", "f\r\n", "10\r\n", "1a2b\r\n", "10000\r\n", "fffffffffffff\r\n", "ffffffffffffffff\r\n" };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char text[HTTP1_CHUNK_LINE_MAX];
        assert_text(str_make(text, http1_format_chunk_line(text, sizes[i])), lines[i]);
    }
}

static bool from_instance;

static enum http_violation parse_trailers(struct str text, struct http_head *ret, size_t *ret_used)
{
    size_t scanned = 0;
    enum http_violation violation = HTTP_FINE;
    int r = http1_parse_trailers(parse_keep(text), text.len, &scanned, from_instance, ret, ret_used, &violation);
    assert_int_not_equal(r, HTTP1_MORE);
    return violation;
}

static struct http_head trailers;

static void test_trailers_are_understood(void **state)
{
    (void)state;
    size_t used = 0;
    assert_int_equal(parse_trailers(STR("\r\n"), &trailers, &used), HTTP_FINE);
    assert_int_equal(used, 2);
    assert_int_equal(trailers.n_fields, 0);
    assert_int_equal(parse_trailers(STR("grpc-status: 0\r\nX-Digest: abc \r\n\r\nGET"), &trailers, &used), HTTP_FINE);
    assert_int_equal(used, 34);
    assert_int_equal(trailers.n_fields, 2);
    assert_text(trailers.fields[0].name, "grpc-status");
    assert_text(trailers.fields[1].value, "abc");

    size_t scanned = 0;
    enum http_violation violation;
    assert_int_equal(http1_parse_trailers("\r", 1, &scanned, false, &trailers, &used, &violation), HTTP1_MORE);
    assert_int_equal(http1_parse_trailers("\r\n", 2, &scanned, false, &trailers, &used, &violation), 0);
}

static void test_forbidden_trailers_prevent_late_forgery(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(parse_trailers(STR("Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nAuthorization: y\r\nCookie: z\r\n"
                                        "Set-Cookie: a\r\nX-Forwarded-For: 1\r\nPostern-Host: b\r\nConnection: close\r\nIf-Match: c\r\n"
                                        "Trailer: d\r\nContent-Type: e\r\nRange: f\r\nLocation: g\r\nContent-Encoding: gzip\r\nok: 1\r\n\r\n"),
                                    &trailers, &used),
                     HTTP_FINE);
    assert_int_equal(trailers.n_fields, 1);
    assert_text(trailers.fields[0].name, "ok");
}

static void test_malformed_trailers_prevent_request_smuggling(void **state)
{
    (void)state;
    size_t used;
    assert_int_equal(parse_trailers(STR("a: b\n\r\n"), &trailers, &used), HTTP_BARE_LF);
    assert_int_equal(parse_trailers(STR("\n"), &trailers, &used), HTTP_BARE_LF);
    assert_int_equal(parse_trailers(STR("a: b\r\n c\r\n\r\n"), &trailers, &used), HTTP_OBS_FOLD);
    assert_int_equal(parse_trailers(STR("GET / HTTP/1.1\r\n\r\n"), &trailers, &used), HTTP_BAD_FIELD_NAME);
    assert_int_equal(parse_trailers(STR("a : b\r\n\r\n"), &trailers, &used), HTTP_SPACE_BEFORE_COLON);
    assert_int_equal(parse_trailers(STR("a_b: c\r\n\r\n"), &trailers, &used), HTTP_UNDERSCORE_NAME);
    from_instance = true; /* as in its head: what makes them dangerous is a receiver of requests */
    assert_int_equal(parse_trailers(STR("a_b: c\r\n\r\n"), &trailers, &used), HTTP_FINE);
    assert_int_equal(trailers.n_fields, 1);
    from_instance = false;
}

static void test_many_forbidden_trailers_prevent_cpu_exhaustion(void **state)
{
    (void)state;
    cleanup_buf struct buf text;
    buf_init(&text, HTTP_HEAD_SIZE_MAX);
    for (unsigned i = 0; i <= HTTP_FIELDS_MAX; i++)
        buf_append(&text, STR("Host: x\r\n"));
    buf_append(&text, STR("\r\n"));
    size_t used;
    assert_int_equal(parse_trailers(buf_str(&text), &trailers, &used), HTTP_TOO_MANY_FIELDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_chunks_cut_anywhere_give_the_same_content),
        TEST(test_odd_sizes_prevent_request_smuggling),
        TEST(test_bare_line_ends_in_chunk_lines_prevent_request_smuggling),
        TEST(test_odd_extensions_prevent_request_smuggling),
        TEST(test_endless_extensions_prevent_cpu_exhaustion),
        TEST(test_chunk_lines_are_written_as_they_are_read),
        TEST(test_trailers_are_understood),
        TEST(test_forbidden_trailers_prevent_late_forgery),
        TEST(test_malformed_trailers_prevent_request_smuggling),
        TEST(test_many_forbidden_trailers_prevent_cpu_exhaustion),
    };
    return cmocka_run_group_tests_name("http chunked", tests, NULL, NULL);
}
