/* A strict, bounded, recursive reader of HuJSON. */
#include "observe/hujson.h"

#include <errno.h>

#include "base/table.h"

struct parser {
    struct str text;
    size_t at;
    uint32_t line;
    size_t line_start;
    const char *file;
    struct arena *arena;
    struct error *err;
    uint32_t n_values, depth;
    int result;               /* 0, HUJSON_E_INVALID or -ENOMEM; sticks */
};

static struct hujson_place place_of(const struct parser *p)
{
    return (struct hujson_place){ p->line, (uint32_t)(p->at - p->line_start) + 1 };
}

static bool fail_at(struct parser *p, struct hujson_place at, const char *what)
{
    if (!p->result) {
        error_set(p->err, "%s:%u:%u: %s", p->file, at.line, at.column, what);
        p->result = HUJSON_E_INVALID;
    }
    return false;
}

static bool fail(struct parser *p, const char *what)
{
    return fail_at(p, place_of(p), what);
}

static bool fail_memory(struct parser *p)
{
    if (!p->result)
        p->result = -ENOMEM;
    return false;
}

/* The next byte, or -1 at the end. */
static int peek(const struct parser *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.ptr[p->at] : -1;
}

/* ---- UTF-8 (RFC 3629) ---- */

/* Length of the sequence that starts at i, 0 where there is none. */
static size_t sequence_length(struct str s, size_t i)
{
    const unsigned char *c = (const unsigned char *)s.ptr + i;
    size_t left = s.len - i;
    if (c[0] < 0x80)
        return 1;
    size_t n = c[0] >= 0xc2 && c[0] < 0xe0 ? 2 : c[0] >= 0xe0 && c[0] < 0xf0 ? 3 : c[0] >= 0xf0 && c[0] < 0xf5 ? 4 : 0;
    if (n == 0 || left < n)
        return 0;
    for (size_t k = 1; k < n; k++)
        if ((c[k] & 0xc0) != 0x80)
            return 0;
    bool is_bad = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0) || (c[0] == 0xf0 && c[1] < 0x90) ||
                  (c[0] == 0xf4 && c[1] >= 0x90);
    return is_bad ? 0 : n;
}

static bool utf8_check(struct parser *p)
{
    struct parser scan = *p;
    while (scan.at < scan.text.len) {
        size_t n = sequence_length(scan.text, scan.at);
        if (n == 0)
            return fail_at(p, place_of(&scan), "this is not UTF-8");
        if (scan.text.ptr[scan.at] == '\n') {
            scan.line++;
            scan.line_start = scan.at + 1;
        }
        scan.at += n;
    }
    return true;
}

static size_t utf8_encode(uint32_t c, char out[static 4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((c >> 6) & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* ---- white space and comments ---- */

static void step(struct parser *p)
{
    if (p->text.ptr[p->at++] == '\n') {
        p->line++;
        p->line_start = p->at;
    }
}

static bool comment_skip(struct parser *p)
{
    struct hujson_place start = place_of(p);
    char second = p->at + 1 < p->text.len ? p->text.ptr[p->at + 1] : 0;
    if (second == '/') {
        while (p->at < p->text.len && p->text.ptr[p->at] != '\n')
            p->at++;
        return true;
    }
    if (second != '*')
        return fail(p, "a lone '/'; comments start with // or /*");
    p->at += 2;
    while (p->at < p->text.len) {
        if (p->text.ptr[p->at] == '*' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] == '/') {
            p->at += 2;
            return true;
        }
        step(p);
    }
    return fail_at(p, start, "this comment has no end");
}

static bool space_skip(struct parser *p)
{
    for (;;) {
        int c = peek(p);
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            step(p);
        else if (c != '/')
            return true;
        else if (!comment_skip(p))
            return false;
    }
}

/* ---- values ---- */

static bool hex4(struct parser *p, uint32_t *ret)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        int c = peek(p);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return fail(p, "\\u takes four hexadecimal digits");
        value = value << 4 | (uint32_t)digit;
    }
    *ret = value;
    return true;
}

/* After "\u". Surrogates come in pairs (RFC 8259 section 7). */
static bool unicode_read(struct parser *p, char *out, size_t *n)
{
    struct hujson_place at = place_of(p);
    uint32_t high, low;
    if (!hex4(p, &high))
        return false;
    if (high >= 0xd800 && high < 0xe000) {
        bool has_second = high < 0xdc00 && p->at + 1 < p->text.len && p->text.ptr[p->at] == '\\' && p->text.ptr[p->at + 1] == 'u';
        if (!has_second)
            return fail_at(p, at, "half of a surrogate pair");
        p->at += 2;
        if (!hex4(p, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000)
            return fail_at(p, at, "half of a surrogate pair");
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    *n += utf8_encode(high, out + *n);
    return true;
}

static bool escape_read(struct parser *p, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    p->at++;
    int c = peek(p);
    const char *found = c > 0 ? strchr(from, c) : NULL;
    if (c == 'u') {
        p->at++;
        return unicode_read(p, out, n);
    }
    if (!found)
        return fail(p, "there is no such escape in JSON");
    out[(*n)++] = to[found - from];
    p->at++;
    return true;
}

/* From the opening quote to after the closing one. Without escapes the text is borrowed. An escaped form is never shorter than what it
 * stands for. */
static bool string_read(struct parser *p, struct str *ret)
{
    struct hujson_place start = place_of(p);
    size_t first = ++p->at;
    bool has_escape = false;
    while (p->at < p->text.len && p->text.ptr[p->at] != '"') {
        unsigned char c = (unsigned char)p->text.ptr[p->at];
        if (c < 0x20)
            return fail(p, "a control character in a text; write an escape");
        has_escape |= c == '\\';
        p->at += c == '\\' ? 2 : 1;
    }
    if (p->at >= p->text.len)
        return fail_at(p, start, "this text has no closing quote");
    size_t end = p->at;
    if (!has_escape) {
        *ret = str_make(p->text.ptr + first, end - first);
        p->at++;
        return true;
    }
    char *out = arena_alloc(p->arena, end - first + 1, 1);
    if (!out)
        return fail_memory(p);
    size_t n = 0;
    p->at = first;
    while (p->at < end) {
        if (p->text.ptr[p->at] != '\\')
            out[n++] = p->text.ptr[p->at++];
        else if (!escape_read(p, out, &n))
            return false;
    }
    p->at++;
    *ret = str_make(out, n);
    return true;
}

static size_t digits_skip(struct parser *p)
{
    size_t n = 0;
    while (peek(p) >= '0' && peek(p) <= '9') {
        p->at++;
        n++;
    }
    return n;
}

/* RFC 8259 section 6. The text is kept as written: identifiers of 64 bits are numbers, too. */
static bool number_read(struct parser *p, struct hujson *value)
{
    size_t first = p->at;
    if (peek(p) == '-')
        p->at++;
    bool has_zero = peek(p) == '0';
    size_t n = digits_skip(p);
    if (n == 0 || (has_zero && n > 1))
        return fail_at(p, value->at, "this is no number");
    if (peek(p) == '.') {
        p->at++;
        if (digits_skip(p) == 0)
            return fail_at(p, value->at, "this is no number");
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        p->at++;
        if (peek(p) == '+' || peek(p) == '-')
            p->at++;
        if (digits_skip(p) == 0)
            return fail_at(p, value->at, "this is no number");
    }
    if (p->at - first > HUJSON_NUMBER_MAX)
        return fail_at(p, value->at, "a number with too many digits");
    value->kind = HUJSON_NUMBER;
    value->text = str_make(p->text.ptr + first, p->at - first);
    return true;
}

static bool word_read(struct parser *p, struct hujson *value)
{
    struct str rest = str_skip(p->text, p->at);
    static const struct { const char *word; enum hujson_kind kind; bool truth; } words[] = {
        { "true", HUJSON_BOOL, true }, { "false", HUJSON_BOOL, false }, { "null", HUJSON_NULL, false }
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!str_starts_with(rest, str_of(words[i].word)))
            continue;
        p->at += strlen(words[i].word);
        value->kind = words[i].kind;
        value->truth = words[i].truth;
        return true;
    }
    return fail(p, rest.len ? "expected a value" : "the text ends where a value is expected");
}

static bool value_read(struct parser *p, struct hujson **ret);

/* Few names are compared in turn, many by a table: neither is quadratic in what a hostile file can hold. */
enum { NAMES_FEW = 8 };

struct names {
    struct table seen;
};

static bool name_is_new(struct parser *p, struct names *names, const struct hujson *object, const struct hujson *value)
{
    int added = 0;
    if (object->n < NAMES_FEW) {
        for (const struct hujson *other = object->first; other; other = other->next)
            if (str_equal(other->key, value->key))
                return fail_at(p, value->key_at, "this name is in the object already");
        return true;
    }
    if (object->n == NAMES_FEW)
        for (const struct hujson *other = object->first; other && added == 0; other = other->next)
            added = table_add(&names->seen, other->key, 0, NULL);
    if (added == 0)
        added = table_add(&names->seen, value->key, 0, NULL);
    if (added < 0)
        return fail_memory(p);
    return added == 0 || fail_at(p, value->key_at, "this name is in the object already");
}

static bool member_name_read(struct parser *p, struct str *ret, struct hujson_place *ret_at)
{
    *ret_at = place_of(p);
    if (peek(p) != '"')
        return fail(p, "expected a name in double quotes");
    if (!string_read(p, ret) || !space_skip(p))
        return false;
    if (peek(p) != ':')
        return fail(p, "expected ':' after the name");
    p->at++;
    return space_skip(p);
}

/* One element with its name, or false. */
static bool element_read(struct parser *p, struct hujson *parent, struct names *names, struct hujson **ret)
{
    struct str key = STR_NONE;
    struct hujson_place key_at = { 0, 0 };
    if (parent->kind == HUJSON_OBJECT && !member_name_read(p, &key, &key_at))
        return false;
    struct hujson *value;
    if (!value_read(p, &value))
        return false;
    value->key = key;
    value->key_at = key_at;
    if (parent->kind == HUJSON_OBJECT && !name_is_new(p, names, parent, value))
        return false;
    *ret = value;
    return true;
}

static bool elements_read(struct parser *p, struct hujson *parent, struct names *names)
{
    int close = parent->kind == HUJSON_OBJECT ? '}' : ']';
    struct hujson *last = NULL;
    for (;;) {
        if (!space_skip(p))
            return false;
        if (peek(p) == close)
            return true;
        struct hujson *value;
        if (!element_read(p, parent, names, &value))
            return false;
        if (last)
            last->next = value;
        else
            parent->first = value;
        last = value;
        parent->n++;
        if (!space_skip(p))
            return false;
        if (peek(p) == ',')
            p->at++;
        else if (peek(p) != close)
            return fail(p, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    }
}

static bool composite_read(struct parser *p, struct hujson *value)
{
    if (++p->depth > HUJSON_DEPTH_MAX)
        return fail(p, "nested too deeply");
    p->at++;
    struct names names = { 0 };
    bool is_read = elements_read(p, value, &names);
    table_deinit(&names.seen);
    p->at++;
    p->depth--;
    return is_read;
}

static bool value_read(struct parser *p, struct hujson **ret)
{
    if (++p->n_values > HUJSON_VALUES_MAX)
        return fail(p, "too many values");
    struct hujson *value = arena_new(p->arena, struct hujson);
    if (!value)
        return fail_memory(p);
    value->at = place_of(p);
    size_t first = p->at;
    int c = peek(p);
    bool is_read;
    if (c == '{' || c == '[') {
        value->kind = c == '{' ? HUJSON_OBJECT : HUJSON_ARRAY;
        is_read = composite_read(p, value);
    } else if (c == '"') {
        value->kind = HUJSON_STRING;
        is_read = string_read(p, &value->text);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        is_read = number_read(p, value);
    } else {
        is_read = word_read(p, value);
    }
    if (!is_read)
        return false;
    value->source = str_make(p->text.ptr + first, p->at - first);
    *ret = value;
    return true;
}

int hujson_read(struct str text, const char *file, struct arena *arena, struct hujson **ret, struct error *err)
{
    struct parser p = { .text = text, .line = 1, .file = file, .arena = arena, .err = err };
    if (text.len > HUJSON_SIZE_MAX) {
        error_set(err, "%s: %zu bytes are too many, at most %d are read", file, text.len, HUJSON_SIZE_MAX);
        return HUJSON_E_INVALID;
    }
    struct hujson *value = NULL;
    bool is_read = utf8_check(&p) && space_skip(&p) && value_read(&p, &value) && space_skip(&p);
    if (is_read && p.at < text.len)
        is_read = fail(&p, "there is more after the value");
    if (!is_read)
        return p.result;
    *ret = value;
    return 0;
}

struct hujson *hujson_find(const struct hujson *object, struct str key)
{
    struct hujson *value = object && object->kind == HUJSON_OBJECT ? object->first : NULL;
    while (value && !str_equal(value->key, key))
        value = value->next;
    return value;
}

struct hujson *hujson_find_nocase(const struct hujson *object, struct str key)
{
    struct hujson *value = object && object->kind == HUJSON_OBJECT ? object->first : NULL;
    while (value && !str_equal_nocase(value->key, key))
        value = value->next;
    return value;
}

const char *hujson_kind_name(enum hujson_kind kind)
{
    static const char *const names[] = { "null", "true or false", "a number", "text", "a list", "an object" };
    return names[kind];
}
