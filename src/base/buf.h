/* Owned, growable bytes that refuse to pass a cap. Errors stick: after one, every append is a no-op and buf_error says so. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"
#include "base/str.h"

struct buf {
    char *ptr;
    size_t len, cap, max;
    int error; /* 0, -ENOMEM, or -E2BIG when max would be passed */
};

/* max: the most bytes it may ever hold; no default, by intent. */
void buf_init(struct buf *buf, size_t max);
/* Frees; a deinited or zeroed buf may be deinited again. */
void buf_deinit(struct buf *buf);
#define cleanup_buf cleanup(buf_deinit)

void buf_append(struct buf *buf, struct str s);
void buf_append_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) printf_like(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list args) printf_like(2, 0);
/* Room for n more bytes at ptr + len, or NULL (error set). The caller adds to len what it wrote. */
char *buf_reserve(struct buf *buf, size_t n) must_check;
/* Drops the first n bytes. */
void buf_consume(struct buf *buf, size_t n);
void buf_clear(struct buf *buf);
/* Appends as a JSON string with its quotes (RFC 8259 section 7); bytes that are not UTF-8 become U+FFFD. */
void buf_append_json(struct buf *buf, struct str s);

static inline struct str buf_str(const struct buf *buf)
{
    return str_make(buf->ptr, buf->len);
}
