/* Growable buffer with a cap and a sticky error. */
#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){ .max = max };
}

void buf_deinit(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){ .max = buf->max };
}

char *buf_reserve(struct buf *buf, size_t n)
{
    if (buf->error)
        return NULL;
    if (n > buf->max || buf->len > buf->max - n) {
        buf->error = -E2BIG;
        return NULL;
    }
    if (buf->cap - buf->len < n) {
        size_t cap = buf->cap ? buf->cap : 256;
        while (cap - buf->len < n)
            cap *= 2;
        char *p = realloc(buf->ptr, cap);
        if (!p) {
            buf->error = -ENOMEM;
            return NULL;
        }
        buf->ptr = p;
        buf->cap = cap;
    }
    return buf->ptr + buf->len;
}

void buf_append(struct buf *buf, struct str s)
{
    char *p = s.len ? buf_reserve(buf, s.len) : NULL;
    if (!p)
        return;
    memcpy(p, s.ptr, s.len);
    buf->len += s.len;
}

void buf_append_char(struct buf *buf, char c)
{
    buf_append(buf, str_make(&c, 1));
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = n < 0 ? NULL : buf_reserve(buf, (size_t)n + 1);
    if (p) {
        vsnprintf(p, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_consume(struct buf *buf, size_t n)
{
    if (n >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->ptr, buf->ptr + n, buf->len - n);
    buf->len -= n;
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->error = 0;
}

/* The length of the UTF-8 sequence at the start of s (RFC 3629), or 0 when it is not one. */
static size_t utf8_length(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || s.len < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f;
    bool too_large = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : n;
}

static void append_json_ascii(struct buf *buf, char c)
{
    switch (c) {
    case '"': buf_append(buf, STR("\\\"")); break;
    case '\\': buf_append(buf, STR("\\\\")); break;
    case '\n': buf_append(buf, STR("\\n")); break;
    case '\r': buf_append(buf, STR("\\r")); break;
    case '\t': buf_append(buf, STR("\\t")); break;
    default:
        if ((unsigned char)c < 0x20 || c == 0x7f)
            buf_printf(buf, "\\u%04x", (unsigned)(unsigned char)c);
        else
            buf_append_char(buf, c);
    }
}

void buf_append_json(struct buf *buf, struct str s)
{
    buf_append_char(buf, '"');
    while (s.len) {
        size_t n = utf8_length(s);
        if (n == 0) {
            buf_append(buf, STR("\\ufffd"));
            n = 1;
        } else if (n == 1) {
            append_json_ascii(buf, s.ptr[0]);
        } else {
            buf_append(buf, str_first(s, n));
        }
        s = str_skip(s, n);
    }
    buf_append_char(buf, '"');
}
