/* Values: texts, numbers, truth values, paths, addresses, and lists of them. */
#include "model/read.h"

#include <stdio.h>

static const char *node_describe(struct reader *r, const struct yaml_node *node)
{
    if (node->kind == YAML_SEQUENCE)
        return "a list";
    if (node->kind == YAML_MAPPING)
        return "a mapping";
    if (node->is_plain && yaml_text_is_null(node->text))
        return "nothing";
    return read_quote(r, node->text);
}

void read_expected(struct reader *r, const struct yaml_node *node, const char *what)
{
    if (!node->is_broken)
        read_error(r, node, STR_NONE, "expected %s, found %s", what, node_describe(r, node));
}

/* C0, DEL and C1, which escapes in double quotes make: what is read here ends up in logs, terminals and other programs' files. */
static bool text_has_control(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || is_c1)
            return true;
    }
    return false;
}

/* Text in quotes, or text that no YAML reader takes for anything else. */
bool read_text(struct reader *r, const struct yaml_node *node, const char *what, struct str *ret)
{
    if (node->is_broken)
        return false;
    if (node->kind != YAML_SCALAR || node->text.len == 0 || (node->is_plain && yaml_text_is_null(node->text))) {
        read_expected(r, node, what);
        return false;
    }
    if (node->is_plain && yaml_text_is_typed(node->text)) {
        const char *quoted = read_quote(r, node->text);
        read_error(r, node, read_hint(r, "if it is meant, put it in quotes: %s", diagnose_double_quote(&r->d, node->text)),
                   "expected %s, and %s without quotes is a number, a date or a truth value to YAML readers", what, quoted);
        return false;
    }
    if (text_has_control(node->text)) {
        read_error(r, node, STR_NONE, "expected %s, on one line and without control characters", what);
        return false;
    }
    *ret = node->text;
    return true;
}

bool read_number(struct reader *r, const struct yaml_node *node, uint32_t min, uint32_t max, uint32_t *ret)
{
    char what[64];
    uint64_t value = 0;
    snprintf(what, sizeof what, "a number from %u to %u", min, max);
    if (node->is_broken)
        return false;
    bool is_digits = node->kind == YAML_SCALAR && str_to_u64(node->text, UINT64_MAX, &value);
    if (is_digits && !node->is_plain) {
        read_error(r, node, read_hint(r, "write it without quotes: %.*s", STR_ARG(str_first(node->text, 10))),
                   "expected %s, found text", what);
        return false;
    }
    bool has_zero = is_digits && node->text.len > 1 && node->text.ptr[0] == '0';
    if (has_zero) {
        read_error(r, node, STR("leave out the leading zero: some readers take it for octal"), "expected %s, found %s", what,
                   read_quote(r, node->text));
        return false;
    }
    if (!is_digits || value < min || value > max) {
        read_expected(r, node, what);
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

bool read_port(struct reader *r, const struct yaml_node *node, uint16_t *ret)
{
    uint32_t port;
    if (!read_number(r, node, 1, UINT16_MAX, &port))
        return false;
    *ret = (uint16_t)port;
    return true;
}

bool read_bool(struct reader *r, const struct yaml_node *node, bool *ret)
{
    if (node->is_broken)
        return false;
    bool is_true = node->kind == YAML_SCALAR && node->is_plain && str_equal(node->text, STR("true"));
    if (!is_true && !(node->kind == YAML_SCALAR && node->is_plain && str_equal(node->text, STR("false")))) {
        read_expected(r, node, "true or false, without quotes");
        return false;
    }
    *ret = is_true;
    return true;
}

/* No "", "." or ".." between the slashes: one way to write a path, and none to leave it. */
static bool path_is_plain(struct str path)
{
    if (path.len < 2 || path.ptr[0] != '/')
        return false;
    struct str rest = str_skip(path, 1);
    while (rest.len || path.ptr[path.len - 1] == '/') {
        struct str part = str_split(&rest, '/');
        if (part.len == 0 || str_equal(part, STR(".")) || str_equal(part, STR("..")))
            return false;
    }
    return true;
}

bool read_path(struct reader *r, const struct yaml_node *node, size_t max, struct str *ret)
{
    struct str path;
    if (!read_text(r, node, "an absolute path", &path))
        return false;
    if (!path_is_plain(path)) {
        read_error(r, node, STR("it starts with '/', without '//', '.' or '..' on the way and '/' at the end"),
                   "expected an absolute path, found %s", read_quote(r, path));
        return false;
    }
    if (path.len > max) {
        read_error(r, node, STR_NONE, "the path is %zu bytes long, at most %zu are possible", path.len, max);
        return false;
    }
    *ret = path;
    return true;
}

bool read_word(struct reader *r, const struct yaml_node *node, const char *const *words, size_t n_words, uint32_t *ret)
{
    char what[128];
    size_t n = 0;
    for (uint32_t i = 0; i < n_words; i++) {
        if (node->kind == YAML_SCALAR && !node->is_broken && str_equal(node->text, str_of(words[i]))) {
            *ret = i;
            return true;
        }
        n += (size_t)snprintf(what + n, sizeof what - n, "%s%s", i == 0 ? "" : i + 1 == n_words ? " or " : ", ", words[i]);
    }
    read_expected(r, node, what);
    return false;
}

static void duplicate_item_report(struct reader *r, struct yaml_node *item)
{
    read_error(r, item, STR("once is enough"), "%s is in the list already", read_quote(r, item->text));
    item->is_broken = true;
}

/* A list says each thing once; what is there twice is mostly a slip for something else. */
static void list_check_duplicates(struct reader *r, const struct yaml_node *list)
{
    enum { FEW = 12 };
    cleanup_table struct table seen = { 0 };
    for (struct yaml_node *item = list->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR || item->is_broken)
            continue;
        if (list->n > FEW) {
            int added = table_add(&seen, item->text, 0, NULL);
            if (added < 0)
                r->error = added;
            else if (added == TABLE_E_EXISTS)
                duplicate_item_report(r, item);
            continue;
        }
        const struct yaml_node *same = list->first;
        while (same != item && (same->kind != YAML_SCALAR || !str_equal(same->text, item->text)))
            same = same->next;
        if (same != item)
            duplicate_item_report(r, item);
    }
}

const struct yaml_node *read_items(struct reader *r, const struct yaml_node *node, const char *what, uint32_t max, uint32_t *ret_n)
{
    if (node->is_broken)
        return NULL;
    if (node->kind == YAML_MAPPING || (node->kind == YAML_SCALAR && node->is_plain && yaml_text_is_null(node->text))) {
        char expected[128];
        snprintf(expected, sizeof expected, "%s, or a list", what);
        read_expected(r, node, expected);
        return NULL;
    }
    if (node->kind == YAML_SEQUENCE) {
        if (node->n == 0) {
            read_error(r, node, STR_NONE, "expected %s, found an empty list", what);
            return NULL;
        }
        if (max && node->n > max) {
            read_error(r, node, STR_NONE, "%u are too many, at most %u are possible", node->n, max);
            return NULL;
        }
        list_check_duplicates(r, node);
    }
    *ret_n = node->kind == YAML_SEQUENCE ? node->n : 1;
    return node->kind == YAML_SEQUENCE ? node->first : node;
}

const struct yaml_node *read_list(struct reader *r, const struct yaml_node *node, const char *what, uint32_t *ret_n)
{
    if (node->kind != YAML_SEQUENCE) {
        read_expected(r, node, what);
        return NULL;
    }
    *ret_n = node->n;
    return node->first;
}

static void address_report(struct reader *r, const struct yaml_node *node, struct str text, enum read_address form)
{
    struct address_prefix prefix;
    size_t slash = str_find_char(text, '/');
    if (form == READ_ADDRESS_WHOLE && address_prefix_parse(text, &prefix)) {
        read_error(r, node, STR("leave out what starts with '/'"), "expected one address, found the range %s", read_quote(r, text));
    } else if (slash < text.len && address_parse(str_first(text, slash), &prefix.address)) {
        read_error(r, node, STR("the bits after the prefix must be zero, as in 100.64.0.0/24"), "%s is no range of addresses",
                   read_quote(r, text));
    } else {
        read_error(r, node, STR_NONE, "expected a numeric address%s such as %s, found %s",
                   form == READ_ADDRESS_PREFIX ? " or range" : "",
                   form == READ_ADDRESS_PREFIX ? "100.64.0.0/24" : "100.64.0.1", read_quote(r, text));
    }
}

static bool address_read(struct reader *r, const struct yaml_node *node, enum read_address form, struct address_prefix *ret)
{
    struct str text;
    if (!read_text(r, node, "an address", &text))
        return false;
    if (form == READ_ADDRESS_WHOLE ? !address_parse(text, &ret->address) : !address_prefix_parse(text, ret)) {
        address_report(r, node, text, form);
        return false;
    }
    if (form == READ_ADDRESS_WHOLE)
        ret->bits = 128;
    return true;
}

bool read_once(struct reader *r, const struct yaml_node *node, struct table *seen, struct str key, const char *hint)
{
    uint32_t line = 0;
    int added = table_add(seen, key, node->at.line, &line);
    if (added < 0)
        r->error = added;
    if (added == TABLE_E_EXISTS)
        read_error(r, node, str_of(hint), "%s is there already, at line %u", read_quote(r, node->text), line);
    return added == 0;
}

void read_addresses(struct reader *r, const struct yaml_node *node, enum read_address form, uint32_t max, read_address_check check,
                    struct model_prefixes *ret)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_items(r, node, "an address", max, &n);
    struct address_prefix *prefixes = item ? read_alloc(r, n, sizeof *prefixes) : NULL;
    if (!prefixes)
        return;
    uint32_t n_good = 0;
    for (uint32_t i = 0; i < n; i++, item = item->next) {
        struct address_prefix *prefix = &prefixes[n_good];
        n_good += address_read(r, item, form, prefix) && (!check || check(r, item, prefix));
    }
    *ret = (struct model_prefixes){ prefixes, n_good };
}
