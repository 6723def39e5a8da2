/* HTTP/2 heads: input is "name\0value\0..."; what is accepted would be accepted by HTTP/1's rules too, and moving a reader changes nothing. */
#include "h1_check.h"

#include "http/h2_head.h"

static struct h2_reader reader, moved;

static void read_pairs(struct h2_reader **at, struct str text, size_t move_after)
{
    size_t n = 0;
    while (text.len) {
        struct str name = str_split(&text, '\0');
        struct str value = str_split(&text, '\0');
        if (n++ == move_after) {
            h2_reader_move(&moved, *at);
            memset(*at, 0xa5, sizeof **at);
            *at = &moved;
        }
        h2_reader_add(*at, name, value);
    }
}

/* Written as HTTP/1, a request that we pass on means the same to the strictest reader we have. */
static void check_as_http_1(const struct http_head *head)
{
    static struct http_head again;
    cleanup_buf struct buf out;
    buf_init(&out, 3 * HTTP_HEAD_SIZE_MAX);
    buf_append(&out, head->method);
    buf_append_char(&out, ' ');
    buf_append(&out, head->path);
    buf_append(&out, STR(" HTTP/1.1\r\nHost: "));
    buf_append(&out, head->authority);
    buf_append(&out, STR("\r\n"));
    uint32_t n_written = 1;
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        if (f->id == HTTP_HOST || (f->flags & HTTP_FIELD_HOP))
            continue;
        buf_printf(&out, "%.*s: ", STR_ARG(f->name));
        buf_append(&out, f->value);
        buf_append(&out, STR("\r\n"));
        n_written++;
    }
    buf_append(&out, STR("\r\n"));
    CHECK(out.error == 0);
    if (out.len > HTTP_HEAD_SIZE_MAX || n_written > HTTP_FIELDS_MAX)
        return;
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    CHECK(http1_parse_request(out.ptr, out.len, &scanned, &again, &used, &violation) == 0);
    CHECK(used == out.len && again.n_fields == n_written && str_equal(again.path, head->path) && str_equal(again.method, head->method));
    CHECK(str_equal(again.authority, head->authority) && again.has_content_length == head->has_content_length);
    CHECK(again.content_length == head->content_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum h2_head_kind kind = (enum h2_head_kind)(data[0] % 3);
    bool ends_stream = data[0] & 4, from_instance = data[0] & 8;
    struct str text = str_make((const char *)data + 2, size - 2);
    struct h2_reader *whole = &reader;
    h2_reader_start(whole, kind, from_instance);
    read_pairs(&whole, text, data[1]);
    enum http_violation violation = h2_reader_finish(whole, ends_stream);
    CHECK(whole->text_len <= sizeof whole->text);
    if (violation != HTTP_FINE)
        return 0;
    const struct http_head *head = &whole->head;
    CHECK(head->n_fields <= HTTP_FIELDS_MAX);
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        CHECK(f->name.len > 0 && f->name.ptr[0] != ':' && check_no_control(f->name) && check_no_control(f->value));
        CHECK(f->id == http_field_id(f->name));
        for (size_t c = 0; c < f->name.len; c++)
            CHECK(str_lower_char(f->name.ptr[c]) == f->name.ptr[c] && (from_instance || f->name.ptr[c] != '_'));
    }
    if (kind == H2_RESPONSE)
        CHECK(head->status >= 100 && head->status <= 599 && head->status != 101);
    if (kind == H2_REQUEST && !from_instance && !head->upgrade && !str_equal(head->method, STR("CONNECT")))
        check_as_http_1(head);
    return 0;
}
