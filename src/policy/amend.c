/* Amending the text of a declaration: a word at the end of a list, or a line above the first grant; nothing else of it is touched. */
#include "policy/amend.h"

#include <errno.h>

enum { SOURCE_MAX = (16 << 20) + 4096 };

/* ---- places in the text ---- */

static const struct str byte_order_mark = { "\xef\xbb\xbf", 3 };

/* The byte at a place, which counts characters and not a byte order mark; source.len when it is not in the text. */
static size_t offset_of(struct str source, struct model_place at)
{
    size_t i = str_starts_with(source, byte_order_mark) ? byte_order_mark.len : 0;
    for (uint32_t line = 1; line < at.line && i < source.len; i++)
        line += source.ptr[i] == '\n' || (source.ptr[i] == '\r' && !(i + 1 < source.len && source.ptr[i + 1] == '\n'));
    for (uint32_t column = 1; column < at.column && i < source.len; column++)
        for (i++; i < source.len && ((unsigned char)source.ptr[i] & 0xc0) == 0x80; i++)
            ;
    return i;
}

static size_t line_start(struct str source, size_t at)
{
    while (at > 0 && source.ptr[at - 1] != '\n' && source.ptr[at - 1] != '\r')
        at--;
    return at;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What stands before a place on its line is "- ", maybe indented: an item of a list that has a line for each. */
static bool is_block_item(struct str source, size_t at, size_t *ret_line, size_t *ret_dash)
{
    size_t start = line_start(source, at), end = at;
    while (end > start && is_space(source.ptr[end - 1]))
        end--;
    if (end == start || end == at || source.ptr[end - 1] != '-')
        return false;
    for (size_t i = start; i < end - 1; i++)
        if (source.ptr[i] != ' ')
            return false;
    *ret_line = start;
    *ret_dash = end - 1;
    return true;
}

/* Where the scalar whose text is placed there begins: a place is that of the text, behind its quote. */
static size_t scalar_start(struct str source, size_t at)
{
    return at > 0 && at < source.len && (source.ptr[at - 1] == '"' || source.ptr[at - 1] == '\'') ? at - 1 : at;
}

/* Past the end of the scalar that starts there and means text. */
static size_t scalar_end(struct str source, size_t at, struct str text)
{
    char quote = at < source.len ? source.ptr[at] : '\0';
    if (quote != '"' && quote != '\'')
        return at + text.len;
    for (size_t i = at + 1; i < source.len; i++) {
        if (source.ptr[i] == '\\' && quote == '"')
            i++;
        else if (source.ptr[i] == quote)
            return i + 1;
    }
    return source.len;
}

static int replace(struct str source, size_t from, size_t to, struct str with, struct buf *out)
{
    buf_clear(out);
    buf_append(out, str_first(source, from));
    buf_append(out, with);
    buf_append(out, str_skip(source, to));
    return out->error;
}

/* ---- names ---- */

static bool is_plain(struct str name)
{
    static const char *const words[] = { "true", "false", "yes", "no", "on", "off", "null", "y", "n" };
    if (name.len == 0 || name.ptr[0] < 'a' || name.ptr[0] > 'z')
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (str_equal(name, str_of(words[i])))
            return false;
    return true;
}

static void append_name(struct buf *out, const char *kind, struct str name)
{
    if (*kind)
        buf_printf(out, "%s/%.*s", kind, STR_ARG(name));
    else
        buf_printf(out, is_plain(name) ? "%.*s" : "\"%.*s\"", STR_ARG(name));
}

static bool is_host(const struct model *m, struct str name)
{
    return model_find_host(m, name) != MODEL_NONE;
}

static bool is_segment(const struct model *m, struct str name)
{
    return model_find_segment(m, name) != MODEL_NONE;
}

static bool is_service(const struct model *m, struct str name)
{
    return model_find_service(m, name) != MODEL_NONE;
}

static void append_asker(struct buf *out, const struct model *m, const struct amend_want *want)
{
    if (want->asking != MODEL_NONE) {
        struct str service = m->services[want->asking].name.text;
        append_name(out, is_host(m, service) || is_segment(m, service) ? "service" : "", service);
        return;
    }
    struct str name = want->host != MODEL_NONE ? m->hosts[want->host].name.text :
                      want->segment != MODEL_NONE ? m->segments[want->segment].name.text : STR("newcomer");
    if (want->host != MODEL_NONE)
        append_name(out, is_segment(m, name) || is_service(m, name) ? "host" : "", name);
    else
        append_name(out, want->segment != MODEL_NONE && (is_host(m, name) || is_service(m, name)) ? "segment" : "", name);
}

static void append_target(struct buf *out, const struct model *m, const struct amend_want *want)
{
    if (want->what == AMEND_INTERNET) {
        buf_append(out, STR("internet"));
        return;
    }
    if (want->what == AMEND_CONTAINER_PORT) {
        struct str service = m->services[want->service].name.text;
        buf_printf(out, "\"%s%.*s:%s%u\"", is_host(m, service) ? "service/" : "", STR_ARG(service), want->transport == MODEL_UDP ? "udp/" : "", want->port);
        return;
    }
    if (want->service == MODEL_NONE) {
        buf_printf(out, "\"%.*s:%s%u\"", STR_ARG(m->hosts[want->to_host].name.text), want->transport == MODEL_UDP ? "udp/" : "", want->port);
        return;
    }
    struct str name = m->services[want->service].name.text;
    append_name(out, is_host(m, name) || is_segment(m, name) ? "service" : "", name);
}

/* ---- grants that only need a word ---- */

static bool is_over(const struct model_grant *g, uint32_t surface)
{
    return surface == MODEL_NONE ? g->over.n == 0 : g->over.n == 1 && g->over.items[0] == surface;
}

static bool is_from_alone(const struct model_grant *g, const struct amend_want *want)
{
    if (want->asking != MODEL_NONE)
        return g->n_from == 1 && g->from[0].service == want->asking;
    return g->n_from == 1 && g->from[0].service == MODEL_NONE && (want->host != MODEL_NONE || want->segment != MODEL_NONE) && g->from[0].host == want->host &&
           (want->host != MODEL_NONE || g->from[0].segment == want->segment);
}

static bool is_to_alone(const struct model_grant *g, const struct amend_want *want)
{
    const struct model_target *t = g->to;
    if (g->n_to != 1)
        return false;
    if (want->what == AMEND_INTERNET)
        return t->kind == MODEL_TARGET_INTERNET;
    if (want->what == AMEND_CONTAINER_PORT)
        return t->kind == MODEL_TARGET_SERVICE_PORT && t->service == want->service && t->transport == want->transport && t->port == want->port;
    if (want->service != MODEL_NONE)
        return t->kind == MODEL_TARGET_SERVICE && t->service == want->service;
    return t->kind == MODEL_TARGET_HOST_PORT && t->host == want->to_host && t->transport == want->transport && t->port == want->port;
}

/* A word at the end of the list that ends with that item, or beside the only item where there is no list. */
static int add_word(struct str source, const struct model_text *last, struct str word, struct buf *out)
{
    size_t at = scalar_start(source, offset_of(source, last->at)), end = scalar_end(source, at, last->text), line, dash, before = at;
    cleanup_buf struct buf with;
    buf_init(&with, 4096);
    if (at >= source.len || end > source.len)
        return AMEND_E_NONE;
    while (before > 0 && is_space(source.ptr[before - 1]))
        before--;
    char c = before ? source.ptr[before - 1] : '\0';
    if (c == '[' || c == ',') {
        buf_printf(&with, ", %.*s", STR_ARG(word));
        return with.error ? with.error : replace(source, end, end, buf_str(&with), out);
    }
    if (is_block_item(source, at, &line, &dash)) {
        buf_printf(&with, "%.*s- %.*s\n", (int)(dash - line), source.ptr + line, STR_ARG(word));
        return with.error ? with.error : replace(source, line, line, buf_str(&with), out);
    }
    if (c != ':')
        return AMEND_E_NONE;
    buf_printf(&with, "[%.*s, %.*s]", (int)(end - at), source.ptr + at, STR_ARG(word));
    return with.error ? with.error : replace(source, at, end, buf_str(&with), out);
}

static int find_word(const struct model *m, struct str source, const struct amend_want *want, struct amend *a)
{
    cleanup_buf struct buf word;
    buf_init(&word, 4096);
    for (uint32_t i = 0; i < m->n_grants; i++) {
        const struct model_grant *g = &m->grants[i];
        bool is_from = is_from_alone(g, want), is_to = is_to_alone(g, want);
        if (!is_over(g, want->surface) || is_from == is_to)
            continue;
        if (is_from)
            append_target(&word, m, want);
        else
            append_asker(&word, m, want);
        if (word.error)
            return word.error;
        a->kind = is_from ? AMEND_GRANT_TO : AMEND_GRANT_FROM;
        a->grant = i;
        return add_word(source, is_from ? &g->to[g->n_to - 1].text : &g->from[g->n_from - 1].text, buf_str(&word), &a->source);
    }
    return AMEND_E_NONE;
}

/* ---- a grant of its own ---- */

/* A line above the first of a list, in the list's form. */
static int add_item(struct str source, struct model_place first, struct str item, struct buf *out)
{
    size_t at = offset_of(source, first), line, dash;
    cleanup_buf struct buf with;
    buf_init(&with, 4096);
    if (at >= source.len)
        return AMEND_E_NONE;
    if (is_block_item(source, at, &line, &dash)) {
        buf_printf(&with, "%.*s- %.*s\n", (int)(dash - line), source.ptr + line, STR_ARG(item));
        return with.error ? with.error : replace(source, line, line, buf_str(&with), out);
    }
    buf_printf(&with, "%.*s, ", STR_ARG(item));
    return with.error ? with.error : replace(source, at, at, buf_str(&with), out);
}

static int add_grant(const struct model *m, struct str source, const struct amend_want *want, struct amend *a)
{
    cleanup_buf struct buf item, end;
    buf_init(&item, 4096);
    buf_init(&end, 4096);
    buf_append(&item, STR("{ from: "));
    append_asker(&item, m, want);
    buf_append(&item, STR(", to: "));
    append_target(&item, m, want);
    if (want->surface != MODEL_NONE) {
        buf_append(&item, STR(", over: "));
        append_name(&item, "", m->surfaces[want->surface].name.text);
    }
    buf_append(&item, STR(" }"));
    a->kind = AMEND_NEW_GRANT;
    buf_printf(&a->grant_text, "- %.*s", (int)item.len, item.ptr);
    if (item.error || a->grant_text.error)
        return -ENOMEM;
    if (m->n_grants)
        return add_item(source, m->grants[0].at, buf_str(&item), &a->source);
    buf_printf(&end, "%sgrants:\n  - %.*s\n", source.len && source.ptr[source.len - 1] != '\n' ? "\n" : "", (int)item.len, item.ptr);
    return end.error ? end.error : replace(source, source.len, source.len, buf_str(&end), &a->source);
}

/* ---- what else has to change ---- */

/* Takes "internal: true" out of a service: with the comma beside it, or with its line. */
static int remove_internal(const struct model *m, struct str source, uint32_t service, struct buf *out)
{
    static const char key[] = "internal: true";
    size_t at = offset_of(source, m->services[service].name.at);
    const char *found = at < source.len ? memmem(source.ptr + at, source.len - at, key, sizeof key - 1) : NULL;
    if (!found)
        return AMEND_E_NONE;
    size_t from = (size_t)(found - source.ptr), to = from + sizeof key - 1, line = line_start(source, from), before = from;
    while (before > line && source.ptr[before - 1] == ' ')
        before--;
    if (before > line && source.ptr[before - 1] == ',')
        return replace(source, before - 1, to, STR_NONE, out);
    if (to < source.len && source.ptr[to] == ',')
        return replace(source, from, to + 1, STR_NONE, out);
    if (before == line && to < source.len && source.ptr[to] == '\n')
        return replace(source, line, to + 1, STR_NONE, out);
    return AMEND_E_NONE;
}

/* The segment that a newcomer gets least by: one that no grant names, or the first. */
static struct str least_segment(const struct model *m)
{
    for (uint32_t s = 0; s < m->n_segments; s++) {
        bool is_named = false;
        for (uint32_t i = 0; i < m->n_grants; i++)
            for (uint32_t k = 0; k < m->grants[i].n_from; k++)
                is_named |= m->grants[i].from[k].segment == s && m->grants[i].from[k].host == MODEL_NONE;
        if (!is_named)
            return m->segments[s].name.text;
    }
    return m->n_segments ? m->segments[0].name.text : STR("newcomers");
}

/* "newcomer: { segment: prod, address: 100.64.0.50 }" above the first host. */
static int add_host(const struct model *m, struct str source, const struct address *address, struct buf *out)
{
    char text[ADDRESS_TEXT_SIZE];
    cleanup_buf struct buf with;
    buf_init(&with, 4096);
    size_t at = m->n_hosts ? offset_of(source, m->hosts[0].name.at) : source.len, line = line_start(source, at);
    if (at >= source.len || is_host(m, STR("newcomer")) || is_segment(m, STR("newcomer")))
        return AMEND_E_NONE;
    bool is_alone = true;
    for (size_t i = line; i < at; i++)
        is_alone = is_alone && source.ptr[i] == ' ';
    buf_append(&with, STR("newcomer: { segment: "));
    append_name(&with, "", least_segment(m));
    buf_printf(&with, ", address: \"%s\" }", address_format(address, text));
    if (is_alone)
        buf_printf(&with, "\n%.*s", (int)(at - line), source.ptr + line);
    else
        buf_append(&with, STR(", "));
    return with.error ? with.error : replace(source, at, at, buf_str(&with), out);
}

/* Later places in the text first, so that earlier ones stay where the model has them: grants stand below services, and those below hosts, or
 * the trial fails and the change is not offered. */
static int find(const struct model *m, const struct amend_want *want, struct amend *a)
{
    cleanup_buf struct buf before;
    buf_init(&before, SOURCE_MAX);
    int r = find_word(m, m->source, want, a);
    if (r == AMEND_E_NONE)
        r = add_grant(m, m->source, want, a);
    if (r == 0 && want->what == AMEND_BY_NAME && want->service != MODEL_NONE && m->services[want->service].kind == MODEL_KIND_INTERNAL) {
        a->opens_internal = true;
        r = replace(STR_NONE, 0, 0, buf_str(&a->source), &before);
        if (r == 0)
            r = remove_internal(m, buf_str(&before), want->service, &a->source);
    }
    if (r == 0 && want->host == MODEL_NONE && want->segment == MODEL_NONE && want->asking == MODEL_NONE) {
        a->declares_host = true;
        r = replace(STR_NONE, 0, 0, buf_str(&a->source), &before);
        if (r == 0)
            r = add_host(m, buf_str(&before), &want->address, &a->source);
    }
    return r;
}

int amend_find(const struct model *model, const struct amend_want *want, struct amend *ret)
{
    struct amend a = { .grant = MODEL_NONE };
    buf_init(&a.source, SOURCE_MAX);
    buf_init(&a.grant_text, 4096);
    int r = find(model, want, &a);
    if (r != 0)
        amend_deinit(&a);
    else
        *ret = a;
    return r;
}

void amend_deinit(struct amend *amend)
{
    buf_deinit(&amend->source);
    buf_deinit(&amend->grant_text);
}
