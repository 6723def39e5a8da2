/* Writing HTTP/1 heads: fields in order, into memory of a known size. */
#pragma once

#include <stdbool.h>

#include "http/head.h"

struct head_writer {
    char *ptr;
    size_t len, cap;
    bool overflowed; /* nothing more is written; checked once at the end */
};

static inline void head_write(struct head_writer *w, struct str s)
{
    if (unlikely(s.len > w->cap - w->len)) {
        w->overflowed = true;
        return;
    }
    if (s.len) /* an empty slice may be of nothing */
        memcpy(w->ptr + w->len, s.ptr, s.len);
    w->len += s.len;
}

static inline void head_write_field(struct head_writer *w, struct str name, struct str value)
{
    head_write(w, name);
    head_write(w, STR(": "));
    head_write(w, value);
    head_write(w, STR("\r\n"));
}

static inline void head_write_number(struct head_writer *w, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    head_write(w, str_make(digits + at, sizeof digits - at));
}
