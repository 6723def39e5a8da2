/* What a request asked: its fields, its query, its body's digest. */
#include <errno.h>

#include "standin/standin.h"

void request_init(struct request *request)
{
    *request = (struct request){ 0 };
    buf_init(&request->head, STANDIN_HEAD_MAX);
    buf_init(&request->trailers, STANDIN_HEAD_MAX);
}

void request_deinit(struct request *request)
{
    buf_deinit(&request->head);
    buf_deinit(&request->trailers);
    EVP_MD_CTX_free(request->digest);
    request->digest = NULL;
}

void request_split_target(struct request *request)
{
    struct str rest = request->target;
    request->path = str_split(&rest, '?');
    request->query = rest;
}

struct str request_field(const struct request *request, struct str name)
{
    for (uint32_t i = 0; i < request->n_fields; i++)
        if (str_equal_nocase(request->fields[i].name, name))
            return request->fields[i].value;
    return STR_NONE;
}

void request_body(struct request *request, struct str data)
{
    request->body_length += data.len;
    if (request->digest)
        EVP_DigestUpdate(request->digest, data.ptr, data.len);
}

static bool request_query(const struct request *request, const char *name, struct str *ret)
{
    struct str rest = request->query;
    while (rest.len) {
        struct str value = str_split(&rest, '&');
        struct str key = str_split(&value, '=');
        if (str_equal(key, str_of(name))) {
            *ret = value;
            return true;
        }
    }
    return false;
}

uint64_t request_number(const struct request *request, const char *name, uint64_t fallback, uint64_t max)
{
    struct str text;
    uint64_t value;
    if (request_query(request, name, &text) && str_to_u64(text, max, &value))
        return value;
    return fallback;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = str_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool request_text(const struct request *request, const char *name, struct buf *out)
{
    struct str text;
    if (!request_query(request, name, &text))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%' && i + 2 < text.len && hex_digit(text.ptr[i + 1]) >= 0 && hex_digit(text.ptr[i + 2]) >= 0) {
            buf_append_char(out, (char)(hex_digit(text.ptr[i + 1]) << 4 | hex_digit(text.ptr[i + 2])));
            i += 2;
        } else {
            buf_append_char(out, text.ptr[i] == '+' ? ' ' : text.ptr[i]);
        }
    }
    return true;
}
