/* Names: what may be one, what it stands for, and which one was probably meant. */
#include "model/read.h"

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool read_is_label(struct str text)
{
    if (text.len == 0 || text.len > READ_LABEL_MAX || text.ptr[0] == '-' || text.ptr[text.len - 1] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_label_char(text.ptr[i]))
            return false;
    return true;
}

bool read_is_host_name(struct str text, size_t max)
{
    if (text.len == 0 || text.len > max || text.ptr[text.len - 1] == '.')
        return false;
    struct str rest = text, label = STR_NONE;
    while (rest.len) {
        label = str_split(&rest, '.');
        if (!read_is_label(label))
            return false;
    }
    return label.ptr[0] >= 'a' && label.ptr[0] <= 'z';
}

bool read_host_name(struct reader *r, const struct yaml_node *node, size_t max, struct model_text *ret)
{
    struct str text;
    if (!read_text(r, node, "a host name", &text))
        return false;
    char lower[READ_HOST_NAME_MAX + 1];
    size_t n = str_copy(lower, sizeof lower, text);
    for (size_t i = 0; i < n; i++)
        lower[i] = str_lower_char(lower[i]);
    if (text.len > max || !read_is_host_name(str_make(lower, n), max)) {
        read_error(r, node, STR("labels of a-z, 0-9 and '-' with dots between them, such as home.example"), "%s is no host name",
                   read_quote(r, text));
        return false;
    }
    struct str copy = arena_copy(&r->model->arena, str_make(lower, n));
    if (!copy.ptr) {
        r->error = -ENOMEM;
        return false;
    }
    *ret = (struct model_text){ copy, node->at };
    return true;
}

const char *read_kind_name(enum read_kind kind)
{
    static const char *const names[] = { "host", "segment", "service", "surface", "project" };
    return names[kind];
}

struct model_text *read_name_of(struct reader *r, enum read_kind kind, uint32_t index)
{
    switch (kind) {
    case READ_HOST: return &r->model->hosts[index].name;
    case READ_SEGMENT: return &r->model->segments[index].name;
    case READ_SERVICE: return &r->model->services[index].name;
    case READ_PROJECT: return &r->model->projects[index].name;
    default: return &r->model->surfaces[index].name;
    }
}

static uint32_t kind_count(const struct reader *r, enum read_kind kind)
{
    const uint32_t n[] = { r->model->n_hosts, r->model->n_segments, r->model->n_services, r->model->n_surfaces, r->model->n_projects };
    return n[kind];
}

struct str read_suggestion(struct reader *r, struct str name, unsigned kinds)
{
    struct str best = STR_NONE;
    unsigned limit = name.len > 4 ? 2 : 1;
    for (enum read_kind kind = 0; kind < READ_KINDS; kind++) {
        uint32_t n = kinds & 1u << kind ? kind_count(r, kind) : 0;
        for (uint32_t i = 0; i < n && r->n_comparisons && limit; i++) {
            struct str other = read_name_of(r, kind, i)->text;
            if (other.len + limit < name.len || name.len + limit < other.len)
                continue;
            r->n_comparisons--;
            unsigned distance = str_distance(name, other, limit);
            if (distance <= limit) {
                best = other;
                limit = distance ? distance - 1 : 0; /* only a nearer one from here on; 0: another case */
            }
        }
    }
    return best.ptr ? read_hint(r, "did you mean '%.*s'?", STR_ARG(best)) : STR_NONE;
}

uint32_t read_reference(struct reader *r, const struct yaml_node *node, enum read_kind kind)
{
    struct str name;
    uint32_t index;
    const char *kind_name = read_kind_name(kind);
    if (!read_text(r, node, "a name", &name))
        return MODEL_NONE;
    if (table_get(&r->names[kind], name, &index))
        return index;
    struct str hint = read_suggestion(r, name, 1u << kind);
    if (!read_is_label(name)) {
        read_error(r, node, hint, "expected the name of a %s, found %s", kind_name, read_quote(r, name));
        return MODEL_NONE;
    }
    for (enum read_kind other = 0; other < READ_KINDS && !hint.ptr; other++)
        if (table_get(&r->names[other], name, NULL))
            hint = read_hint(r, "it is a %s", read_kind_name(other));
    if (!hint.ptr)
        hint = read_hint(r, "declare it under %ss:", kind_name);
    read_error(r, node, hint, "there is no %s %s", kind_name, read_quote(r, name));
    return MODEL_NONE;
}

void read_references(struct reader *r, const struct yaml_node *node, enum read_kind kind, uint32_t max, struct model_indexes *ret)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_items(r, node, "a name", max, &n);
    uint32_t *indexes = item ? read_alloc(r, n, sizeof *indexes) : NULL;
    if (!indexes)
        return;
    uint32_t n_good = 0;
    for (uint32_t i = 0; i < n; i++, item = item->next) {
        indexes[n_good] = read_reference(r, item, kind);
        n_good += indexes[n_good] != MODEL_NONE;
    }
    *ret = (struct model_indexes){ indexes, n_good };
}
