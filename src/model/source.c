/* The file as bytes: what is refused before YAML is thought of. */
#include "model/read.h"

/* libfyaml reads ahead for as long as a line, or an open bracket, may turn out to be a key: 16 MB of either cost it gigabytes. */
enum { SOURCE_LINE_MAX = 256 << 10, SOURCE_BRACKETS_MAX = 1000 };

struct character {
    uint32_t value;
    size_t length; /* 0: not UTF-8 */
};

/* RFC 3629 section 4: shortest forms, no surrogates, up to U+10FFFF. */
static struct character character_decode(struct str s)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (n == 1)
        return (struct character){ p[0], 1 };
    if (p[0] < 0xc2 || p[0] > 0xf4 || s.len < n)
        return (struct character){ 0, 0 };
    uint32_t value = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return (struct character){ 0, 0 };
        value = value << 6 | (p[i] & 0x3fu);
    }
    bool is_surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < smallest[n] || value > 0x10ffff || is_surrogate)
        return (struct character){ 0, 0 };
    return (struct character){ value, n };
}

/* Characters that make a line look like another one: those that reverse text, and those that break it for some readers only. */
static bool is_deceptive(uint32_t c)
{
    bool is_control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0);
    bool is_direction = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x061c;
    bool is_break = c == 0x2028 || c == 0x2029;
    return is_control || is_direction || is_break || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

static bool source_report(struct diagnostics *d, struct model_place at, struct character c)
{
    if (c.length == 0)
        diagnose_add(d, MODEL_ERROR, at, 1, STR("save the file as UTF-8"), "this byte is not UTF-8");
    else
        diagnose_add(d, MODEL_ERROR, at, c.length, STR("remove it; it doesn't show, or makes text look like other text"),
                     "the character U+%04X is not allowed here", c.value);
    return false;
}

bool source_check(struct diagnostics *d, struct str source)
{
    struct model_place at = { 1, 1 };
    size_t line_start = 0, n_open = 0;
    if (source.len > MODEL_FILE_SIZE_MAX) {
        diagnose_add(d, MODEL_ERROR, (struct model_place){ 0, 0 }, 1, STR_NONE, "the file is larger than %d MB",
                     MODEL_FILE_SIZE_MAX >> 20);
        return false;
    }
    for (size_t i = 0; i < source.len;) {
        unsigned char byte = (unsigned char)source.ptr[i];
        struct character c = byte < 0x80 ? (struct character){ byte, 1 } : character_decode(str_skip(source, i));
        if (c.length == 0 || is_deceptive(c.value))
            return source_report(d, at, c);
        i += c.length;
        n_open += byte == '[' || byte == '{';
        n_open -= n_open && (byte == ']' || byte == '}');
        if (n_open > SOURCE_BRACKETS_MAX || i - line_start > SOURCE_LINE_MAX) {
            diagnose_add(d, MODEL_ERROR, at, 1, STR_NONE,
                         n_open > SOURCE_BRACKETS_MAX ? "nested too deeply" : "this line is longer than 256 KB");
            return false;
        }
        bool is_break = byte == '\n' || (byte == '\r' && (i == source.len || source.ptr[i] != '\n'));
        line_start = is_break ? i : line_start;
        at = is_break ? (struct model_place){ at.line + 1, 1 } : (struct model_place){ at.line, at.column + 1 };
    }
    return true;
}
