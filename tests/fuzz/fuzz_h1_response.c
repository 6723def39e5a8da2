/* HTTP/1 responses: as the requests; the first byte says whether the request was HEAD. */
#include "h1_check.h"

static void check_response(const struct http_head *head, bool request_is_head)
{
    check_fields(head);
    CHECK(head->status >= 100 && head->status <= 599 && check_no_control(head->reason));
    bool has_no_body = request_is_head || head->status < 200 || head->status == 204 || head->status == 304;
    CHECK(has_no_body == (head->framing == HTTP_NO_BODY));
    CHECK(head->framing != HTTP_UNTIL_CLOSE || !head->keep_alive);
    CHECK(head->framing != HTTP_LENGTH || head->has_content_length);
    CHECK(head->upgrade == (head->status == 101));
    CHECK(!(head->status < 200 || head->status == 204) || !head->has_content_length);
}

static void check_written_again(const struct http_head *head, bool request_is_head)
{
    static struct http_head again;
    cleanup_buf struct buf out;
    buf_init(&out, 2 * HTTP_HEAD_SIZE_MAX);
    buf_printf(&out, "HTTP/1.%d %u ", head->version - 10, head->status);
    buf_append(&out, head->reason);
    buf_append(&out, STR("\r\n"));
    check_write_fields(&out, head);
    if (out.len > HTTP_HEAD_SIZE_MAX)
        return;
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    CHECK(http1_parse_response(out.ptr, out.len, &scanned, request_is_head, &again, &used, &violation) == 0);
    CHECK(used == out.len);
    check_same_head(head, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head whole, grown;
    if (size == 0)
        return 0;
    bool request_is_head = data[0] & 1;
    const char *text = (const char *)data + 1;
    size--;
    size_t scanned = 0, whole_used = 0, grown_used = 0;
    enum http_violation whole_violation = HTTP_FINE, grown_violation = HTTP_FINE;
    int r = http1_parse_response(text, size, &scanned, request_is_head, &whole, &whole_used, &whole_violation);

    scanned = 0;
    int grown_r = HTTP1_MORE;
    for (size_t n = 0; n <= size && grown_r == HTTP1_MORE; n++)
        grown_r = http1_parse_response(text, n, &scanned, request_is_head, &grown, &grown_used, &grown_violation);
    CHECK(r == grown_r && whole_used == grown_used && whole_violation == grown_violation);
    CHECK((r == HTTP1_REFUSED) == (whole_violation != HTTP_FINE));
    if (r)
        return 0;
    CHECK(whole_used <= size && whole_used <= HTTP_HEAD_SIZE_MAX);
    check_same_head(&whole, &grown);
    check_response(&whole, request_is_head);
    check_written_again(&whole, request_is_head);
    return 0;
}
