/* Making text safe to print, and breaking it into lines. */
#include "cli/paragraph.h"

#include <sys/ioctl.h>

unsigned paragraph_width(FILE *stream)
{
    struct winsize size;
    if (!isatty(fileno(stream)) || ioctl(fileno(stream), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return PARAGRAPH_WIDTH;
    return size.ws_col < PARAGRAPH_WIDTH_MIN ? PARAGRAPH_WIDTH_MIN : size.ws_col > PARAGRAPH_WIDTH_MAX ? PARAGRAPH_WIDTH_MAX : size.ws_col;
}

/* The character at the text's beginning: its length in bytes, 0 where it is no UTF-8 (RFC 3629 section 4). */
static size_t character_read(struct str text, uint32_t *ret_code)
{
    const uint8_t *s = (const uint8_t *)text.ptr;
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    uint32_t code = n == 1 ? s[0] : n == 2 ? s[0] & 0x1f : n == 3 ? s[0] & 0x0f : s[0] & 0x07;
    if (n == 0 || n > text.len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    bool is_overlong = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
    if (is_overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    *ret_code = code;
    return n;
}

/* C0, DEL, C1, and what changes how others are laid out: zero width, direction, line separators, tags, variation, the byte order mark. */
static bool is_unsafe(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0x061c || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) || code >= 0xe0000 ||
           (code >= 0x300 && code < 0x370) || (code >= 0xfe00 && code <= 0xfe0f);
}

void paragraph_append_safe(struct buf *out, struct str text, size_t max)
{
    size_t used = 0;
    while (text.len && used < max) {
        uint32_t code = 0;
        size_t n = character_read(text, &code);
        if (n == 0 || is_unsafe(code))
            buf_append_char(out, '?');
        else
            buf_append(out, str_first(text, n));
        used += n ? n : 1;
        text = str_skip(text, n ? n : 1);
    }
    if (text.len)
        buf_append(out, STR("..."));
}

static unsigned columns_of(struct str text)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((uint8_t)text.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* The longest beginning of at most n columns. */
static struct str columns_first(struct str text, unsigned n)
{
    size_t i = 0;
    while (i < text.len && (n > 0 || ((uint8_t)text.ptr[i] & 0xc0) == 0x80)) {
        n -= ((uint8_t)text.ptr[i] & 0xc0) != 0x80;
        i++;
    }
    return str_first(text, i);
}

void paragraph_append(struct buf *out, struct str text, unsigned at, unsigned indent, unsigned width)
{
    cleanup_buf struct buf safe;
    unsigned n_blanks = 0;
    buf_init(&safe, PARAGRAPH_TEXT_MAX * 4);
    paragraph_append_safe(&safe, text, PARAGRAPH_TEXT_MAX);
    struct str rest = buf_str(&safe);
    while (rest.len) {
        struct str word = str_split(&rest, ' ');
        if (n_blanks && word.len && at + n_blanks + columns_of(word) > width) {
            buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
            n_blanks = 0;
        }
        while (word.len) {
            struct str piece = columns_first(word, width > at + n_blanks ? width - at - n_blanks : 1);
            buf_printf(out, "%*s%.*s", (int)n_blanks, "", STR_ARG(piece));
            at += n_blanks + columns_of(piece);
            word = str_skip(word, piece.len);
            n_blanks = 0;
            if (word.len) {
                buf_printf(out, "\n%*s", (int)indent, "");
                at = indent;
            }
        }
        n_blanks++;
    }
    buf_append_char(out, '\n');
}
