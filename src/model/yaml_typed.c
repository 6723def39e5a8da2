/* Which plain scalars are text to every YAML reader, and which turn into something else (YAML 1.1 types, YAML 1.2 section 10.3). */
#include "model/yaml.h"

static bool equals_any(struct str text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_equal_nocase(text, str_of(words[i])))
            return true;
    return false;
}

bool yaml_text_is_null(struct str text)
{
    return text.len == 0 || str_equal(text, STR("~")) || str_equal_nocase(text, STR("null"));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Drops digits and underscores from the front; returns how many. */
static size_t skip_digits(struct str *text)
{
    size_t n = 0;
    while (n < text->len && (is_digit(text->ptr[n]) || text->ptr[n] == '_'))
        n++;
    *text = str_skip(*text, n);
    return n;
}

static bool skip_char(struct str *text, const char *set)
{
    if (text->len == 0 || !strchr(set, text->ptr[0]) || text->ptr[0] == '\0')
        return false;
    *text = str_skip(*text, 1);
    return true;
}

/* 0x1f, 0b101, 0o17, with underscores. */
static bool is_based_number(struct str text)
{
    if (!skip_char(&text, "0") || !skip_char(&text, "xXbBoO") || text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_digit(text.ptr[i]) && !strchr("abcdefABCDEF_", text.ptr[i]))
            return false;
    return true;
}

/* 12, 1_000, 1.5, .5, 1e3, 22:30 (base sixty), 22:30.5 */
static bool is_number(struct str text)
{
    size_t n_digits = skip_digits(&text);
    bool is_sixty = false;
    while (n_digits && text.len > 1 && text.ptr[0] == ':' && is_digit(text.ptr[1])) {
        text = str_skip(text, 1);
        skip_digits(&text);
        is_sixty = true;
    }
    if (skip_char(&text, "."))
        n_digits += skip_digits(&text);
    if (n_digits == 0)
        return false;
    if (!is_sixty && skip_char(&text, "eE")) {
        skip_char(&text, "+-");
        if (skip_digits(&text) == 0)
            return false;
    }
    return text.len == 0;
}

/* 2026-01-31, with or without a time after it. */
static bool is_date(struct str text)
{
    if (text.len < 8 || skip_digits(&text) != 4 || !skip_char(&text, "-"))
        return false;
    size_t month = skip_digits(&text);
    if (month < 1 || month > 2 || !skip_char(&text, "-"))
        return false;
    size_t day = skip_digits(&text);
    return day >= 1 && day <= 2 && (text.len == 0 || strchr("tT \t", text.ptr[0]));
}

bool yaml_text_is_typed(struct str text)
{
    static const char *const words[] = {
        "y", "n", "yes", "no", "on", "off", "true", "false", "=", ".nan", ".inf", "-.inf", "+.inf"
    };
    if (yaml_text_is_null(text) || equals_any(text, words, ARRAY_SIZE(words)) || is_date(text))
        return true;
    skip_char(&text, "+-");
    return is_based_number(text) || is_number(text);
}
