/* HTTP/1 requests: in one piece and byte by byte are the same; what is accepted keeps its promises and survives being written again. */
#include "h1_check.h"

static void check_request(const struct http_head *head)
{
    check_fields(head);
    CHECK(head->status == 0 && (head->version == 10 || head->version == 11));
    CHECK(head->method.len > 0 && head->method.len <= HTTP_METHOD_MAX && !str_equal(head->method, STR("CONNECT")));
    CHECK(head->path.ptr[0] == '/' || (str_equal(head->path, STR("*")) && str_equal(head->method, STR("OPTIONS"))));
    for (size_t i = 0; i < head->path.len; i++)
        CHECK(head->path.ptr[i] > 0x20 && head->path.ptr[i] < 0x7f && head->path.ptr[i] != '#');
    CHECK(http_authority_is_valid(head->authority));
    CHECK(head->framing != HTTP_UNTIL_CLOSE && (head->framing == HTTP_LENGTH) == head->has_content_length);
    CHECK(head->framing != HTTP_CHUNKED || head->version == 11);
    CHECK(!head->upgrade || (head->framing != HTTP_CHUNKED && head->content_length == 0 && head->upgrade_to.len > 0));
}

static void check_written_again(const struct http_head *head)
{
    static struct http_head again;
    cleanup_buf struct buf out;
    buf_init(&out, 2 * HTTP_HEAD_SIZE_MAX);
    buf_append(&out, head->method);
    buf_append_char(&out, ' ');
    buf_append(&out, head->path);
    buf_append(&out, head->version == 11 ? STR(" HTTP/1.1\r\n") : STR(" HTTP/1.0\r\n"));
    check_write_fields(&out, head);
    if (out.len > HTTP_HEAD_SIZE_MAX)
        return; /* blanks that weren't there before */
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    CHECK(http1_parse_request(out.ptr, out.len, &scanned, &again, &used, &violation) == 0);
    CHECK(used == out.len);
    check_same_head(head, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head whole, grown;
    const char *text = (const char *)data;
    size_t scanned = 0, whole_used = 0, grown_used = 0;
    enum http_violation whole_violation = HTTP_FINE, grown_violation = HTTP_FINE;
    int r = http1_parse_request(text, size, &scanned, &whole, &whole_used, &whole_violation);

    scanned = 0;
    int grown_r = HTTP1_MORE;
    for (size_t n = 0; n <= size && grown_r == HTTP1_MORE; n++)
        grown_r = http1_parse_request(text, n, &scanned, &grown, &grown_used, &grown_violation);
    CHECK(r == grown_r && whole_used == grown_used && whole_violation == grown_violation);
    CHECK((r == HTTP1_REFUSED) == (whole_violation != HTTP_FINE));
    if (r)
        return 0;
    CHECK(whole_used <= size && whole_used <= HTTP_HEAD_SIZE_MAX);
    check_same_head(&whole, &grown);
    check_request(&whole);
    check_written_again(&whole);
    return 0;
}
