/* Measuring and escaping text. */
#include "render/svg_text.h"

#include <stdarg.h>

/* Advance widths of ' ' to '~', in thousandths of the size: those of a wide face, so that narrower ones leave room and none overflows. */
static const uint16_t advances[95] = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838,
    838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611,
    685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592,
    818, 592, 592, 525, 636, 337, 636, 838,
};
enum { ADVANCE_OTHER = 1000, BOLD_PERCENT = 112 };

int svg_text_width(struct str text, int size_px, bool bold)
{
    long sum = 0;
    for (size_t i = 0; i < text.len && i < 4096; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= ' ' && c <= '~')
            sum += advances[c - ' '];
        else if ((c & 0xc0) != 0x80) /* a character, not one of its further bytes */
            sum += ADVANCE_OTHER;
    }
    return (int)((sum * size_px * (bold ? BOLD_PERCENT : 100) + 99999) / 100000);
}

/* Bytes of the character at s, or 0 when it is none that XML 1.0 may hold (RFC 3629 section 4; XML 1.0 section 2.2). */
static size_t character_length(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > s.len || (n == 1 && (p[0] < 0x20 || p[0] == 0x7f) && p[0] != '\t' && p[0] != '\n'))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool is_no_character = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe) || (p[0] == 0xf4 && p[1] > 0x8f);
    return is_overlong || is_no_character ? 0 : n;
}

void svg_text_write(struct buf *out, struct str text)
{
    while (text.len) {
        size_t n = character_length(text);
        switch (n ? text.ptr[0] : 0) {
        case 0: buf_append(out, STR("\xef\xbf\xbd")); break;
        case '&': buf_append(out, STR("&amp;")); break;
        case '<': buf_append(out, STR("&lt;")); break;
        case '>': buf_append(out, STR("&gt;")); break;
        case '"': buf_append(out, STR("&quot;")); break;
        default: buf_append(out, str_first(text, n)); break;
        }
        text = str_skip(text, n ? n : 1);
    }
}

void svg_text_printf(struct buf *out, const char *format, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, 1 << 20);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    svg_text_write(out, buf_str(&text));
    if (text.error)
        out->error = text.error;
    buf_deinit(&text);
}
