/* The chunked transfer coding (RFC 9112 section 7.1), decoded in place and byte-exactly.
 *
 *   SIZE_FIRST ─digit─▶ SIZE ─';'─▶ EXTENSION ⇄ QUOTED ⇄ QUOTED_PAIR     SIZE, EXTENSION ─CR─▶ LINE_LF
 *   LINE_LF ─▶ DATA ─▶ DATA_CR ─▶ DATA_LF ─▶ SIZE_FIRST …                 LINE_LF of size 0 ─▶ ENDED
 */
#include "http/chars.h"
#include "http/h1.h"

enum {
    SIZE_DIGITS_MAX = 13,      /* below 2^52, as far as any peer goes */
    LINE_MAX = 256,            /* a size line with its extensions */
    OVERHEAD_MAX = 16 * 1024,  /* of extensions beyond what the content pays for */
    OVERHEAD_FREE = 16,        /* of each size line */
};

enum chunked_state { SIZE_FIRST, SIZE, EXTENSION, QUOTED, QUOTED_PAIR, LINE_LF, DATA, DATA_CR, DATA_LF, ENDED };

void http1_chunked_init(struct http1_chunked *chunked)
{
    *chunked = (struct http1_chunked){ .state = SIZE_FIRST };
}

static unsigned hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* A size line is over: long extensions on small chunks cost us more than they carry, so they run into a cap. */
static enum http_violation end_line(struct http1_chunked *chunked)
{
    uint64_t paid = OVERHEAD_FREE + 2 * chunked->left;
    uint64_t overhead = (uint64_t)chunked->overhead + chunked->line_len;
    chunked->overhead = overhead > paid ? (uint32_t)(overhead - paid) : 0;
    chunked->line_len = 0;
    chunked->state = chunked->left ? DATA : ENDED;
    return chunked->overhead > OVERHEAD_MAX ? HTTP_BAD_CHUNK_EXTENSION : HTTP_FINE;
}

static bool is_extension_char(char c)
{
    return c == ' ' || c == '\t' || c == ';' || c == '=' || http_char_is(c, HTTP_CHAR_TOKEN | HTTP_CHAR_UNDERSCORE);
}

/* One byte of a size line: chunk-size [ chunk-ext ] CRLF. Extensions are read over, never kept. */
static enum http_violation take_line_byte(struct http1_chunked *chunked, char c)
{
    bool is_extending = chunked->state == EXTENSION || chunked->state == QUOTED || chunked->state == QUOTED_PAIR;
    if (++chunked->line_len > LINE_MAX)
        return is_extending ? HTTP_BAD_CHUNK_EXTENSION : HTTP_BAD_CHUNK_SIZE;
    if (c == '\n' && chunked->state != LINE_LF)
        return HTTP_BARE_LF;
    switch ((enum chunked_state)chunked->state) {
    case SIZE_FIRST:
    case SIZE:
        if (chunked->state == SIZE && (c == '\r' || c == ';')) {
            chunked->state = c == ';' ? EXTENSION : LINE_LF;
            return HTTP_FINE;
        }
        if (!http_char_is(c, HTTP_CHAR_HEX) || chunked->line_len > SIZE_DIGITS_MAX)
            return HTTP_BAD_CHUNK_SIZE;
        chunked->left = chunked->left << 4 | hex_value(c);
        chunked->state = SIZE;
        return HTTP_FINE;
    case EXTENSION:
        if (c == '\r')
            chunked->state = LINE_LF;
        else if (c == '"')
            chunked->state = QUOTED;
        else if (!is_extension_char(c))
            return HTTP_BAD_CHUNK_EXTENSION;
        return HTTP_FINE;
    case QUOTED:
    case QUOTED_PAIR:
        if (((uint8_t)c < 0x20 && c != '\t') || c == 0x7f)
            return HTTP_BAD_CHUNK_EXTENSION;
        chunked->state = chunked->state == QUOTED_PAIR ? QUOTED : c == '"' ? EXTENSION : c == '\\' ? QUOTED_PAIR : QUOTED;
        return HTTP_FINE;
    case LINE_LF:
        return c == '\n' ? end_line(chunked) : HTTP_BARE_CR;
    default:
        return HTTP_BAD_CHUNK_SIZE;
    }
}

/* The CRLF after a chunk's data. */
static enum http_violation take_end_byte(struct http1_chunked *chunked, char c)
{
    if (chunked->state == DATA_CR) {
        chunked->state = DATA_LF;
        return c == '\r' ? HTTP_FINE : c == '\n' ? HTTP_BARE_LF : HTTP_BAD_CHUNK_END;
    }
    chunked->state = SIZE_FIRST;
    return c == '\n' ? HTTP_FINE : HTTP_BAD_CHUNK_END;
}

int http1_chunked_decode(struct http1_chunked *chunked, const char *data, size_t len, size_t *ret_used, struct str *ret_data,
                         enum http_violation *ret_violation)
{
    struct str piece = { data, 0 };
    size_t i = 0;
    while (i < len && chunked->state != ENDED) {
        if (chunked->state == DATA) {
            size_t n = chunked->left < len - i ? (size_t)chunked->left : len - i;
            piece = str_make(data + i, n);
            i += n;
            chunked->left -= n;
            if (chunked->left)
                break;
            chunked->state = DATA_CR;
            continue;
        }
        bool is_after_data = chunked->state == DATA_CR || chunked->state == DATA_LF;
        if (piece.len && !is_after_data)
            break;
        enum http_violation violation = is_after_data ? take_end_byte(chunked, data[i]) : take_line_byte(chunked, data[i]);
        if (violation != HTTP_FINE) {
            *ret_violation = violation;
            return HTTP1_REFUSED;
        }
        i++;
    }
    *ret_used = i;
    *ret_data = piece;
    return chunked->state == ENDED ? HTTP1_DONE : 0;
}

size_t http1_format_chunk_line(char text[static HTTP1_CHUNK_LINE_MAX], uint64_t size)
{
    static const char digits[] = "0123456789abcdef";
    unsigned n = 1;
    while (n < 16 && size >> (4 * n))
        n++;
    for (unsigned i = 0; i < n; i++)
        text[i] = digits[size >> (4 * (n - 1 - i)) & 0xf];
    text[n] = '\r';
    text[n + 1] = '\n';
    return n + 2;
}
