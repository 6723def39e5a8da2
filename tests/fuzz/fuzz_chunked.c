/* The chunked coding: content and end are the same wherever the input is cut, and survive being coded again. */
#include "h1_check.h"

struct outcome {
    struct buf content;
    size_t used;
    int result; /* 0: more was due */
    enum http_violation violation;
};

/* Decodes with a cut after the first `cut` bytes, then in pieces of step bytes. */
static void decode(const char *text, size_t size, size_t cut, size_t step, struct outcome *out)
{
    struct http1_chunked chunked;
    http1_chunked_init(&chunked);
    *out = (struct outcome){ .result = 0 };
    buf_init(&out->content, size + 1);
    size_t end = cut;
    while (out->result == 0 && out->used < size) {
        while (out->result == 0 && out->used < end) {
            size_t used = 0;
            struct str data = STR_NONE;
            out->result = http1_chunked_decode(&chunked, text + out->used, end - out->used, &used, &data, &out->violation);
            if (out->result == HTTP1_REFUSED)
                return;
            CHECK(used > 0 && used <= end - out->used && data.len <= used);
            CHECK(out->result == 0 || data.len == 0);
            buf_append(&out->content, data);
            out->used += used;
        }
        end = size - end < step ? size : end + step;
    }
    CHECK(out->content.error == 0);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    CHECK(a->result == b->result && a->violation == b->violation);
    CHECK(a->result == HTTP1_REFUSED || (a->used == b->used && str_equal(buf_str(&a->content), buf_str(&b->content))));
}

static void check_coded_again(struct str content)
{
    cleanup_buf struct buf out;
    buf_init(&out, content.len + 64);
    char line[HTTP1_CHUNK_LINE_MAX];
    if (content.len) {
        buf_append(&out, str_make(line, http1_format_chunk_line(line, content.len)));
        buf_append(&out, content);
        buf_append(&out, STR("\r\n"));
    }
    buf_append(&out, str_make(line, http1_format_chunk_line(line, 0)));
    struct outcome again;
    decode(out.ptr, out.len, out.len, out.len, &again);
    CHECK(again.result == HTTP1_DONE && again.used == out.len && str_equal(buf_str(&again.content), content));
    buf_deinit(&again.content);
}

static void check_trailers(const char *text, size_t size, bool from_instance)
{
    static struct http_head whole, grown;
    size_t scanned = 0, used = 0, grown_used = 0;
    enum http_violation violation = HTTP_FINE, grown_violation = HTTP_FINE;
    int r = http1_parse_trailers(text, size, &scanned, from_instance, &whole, &used, &violation);
    scanned = 0;
    int grown_r = HTTP1_MORE;
    for (size_t n = 0; n <= size && grown_r == HTTP1_MORE; n++)
        grown_r = http1_parse_trailers(text, n, &scanned, from_instance, &grown, &grown_used, &grown_violation);
    CHECK(r == grown_r && used == grown_used && violation == grown_violation);
    if (r)
        return;
    CHECK(used <= size);
    check_same_head(&whole, &grown);
    for (uint32_t i = 0; i < whole.n_fields; i++)
        CHECK(whole.fields[i].id == HTTP_OTHER && check_no_control(whole.fields[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct outcome whole, cut;
    if (size == 0)
        return 0;
    decode(text, size, size, size, &whole);
    decode(text, size, 1, 1, &cut);
    check_same(&whole, &cut);
    buf_deinit(&cut.content);
    for (size_t at = 1; at < size && size <= 512; at++) {
        decode(text, size, at, size, &cut);
        check_same(&whole, &cut);
        buf_deinit(&cut.content);
    }
    if (whole.result == HTTP1_DONE) {
        check_coded_again(buf_str(&whole.content));
        for (int from_instance = 0; from_instance < 2; from_instance++)
            check_trailers(text + whole.used, size - whole.used, from_instance);
    }
    buf_deinit(&whole.content);
    return 0;
}
