/* Mappings: of known keys, by a table; and of names to things. */
#include "model/read.h"

#include <stdio.h>

static size_t field_find(const struct read_shape *shape, struct str key)
{
    size_t i = 0;
    while (i < shape->n_fields && !str_equal(key, str_of(shape->fields[i].name)))
        i++;
    return i;
}

static struct str key_hint(struct reader *r, const struct read_shape *shape, struct str key)
{
    struct str before_colon = str_first(key, str_find_char(key, ':'));
    if (before_colon.len < key.len && field_find(shape, before_colon) < shape->n_fields)
        return read_hint(r, "a space is missing after '%.*s:'", STR_ARG(before_colon));
    const char *best = NULL;
    unsigned best_distance = key.len > 4 ? 2 : 1;
    for (size_t i = 0; i < shape->n_fields; i++) {
        unsigned distance = str_distance(key, str_of(shape->fields[i].name), best_distance);
        if (distance < best_distance + (best == NULL)) {
            best = shape->fields[i].name;
            best_distance = distance;
        }
    }
    if (best)
        return read_hint(r, "did you mean '%s'?", best);
    char all[400];
    size_t n = 0;
    for (size_t i = 0; i < shape->n_fields && n < sizeof all; i++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", shape->fields[i].name);
    return read_hint(r, "%s has: %s", shape->what, all);
}

static void missing_report(struct reader *r, const struct yaml_node *node, const struct read_shape *shape, const char *name)
{
    const struct yaml_node *at = node->key ? node->key : node;
    struct str hint = shape->example ? read_hint(r, "for example %s", shape->example) : STR_NONE;
    if (node->key)
        read_error(r, at, hint, "%s needs '%s:'", read_quote(r, node->key->text), name);
    else
        read_error(r, at, hint, "%s needs '%s:'", shape->what, name);
}

const struct yaml_node *const *read_mapping(struct reader *r, const struct yaml_node *node, const struct read_shape *shape,
                                            void *object)
{
    if (node->kind != YAML_MAPPING) {
        char what[256];
        snprintf(what, sizeof what, "%s, a mapping such as %s", shape->what, shape->example);
        read_expected(r, node, what);
        return NULL;
    }
    const struct yaml_node **values = arena_array(&r->nodes, shape->n_fields, const struct yaml_node *);
    if (!values) {
        r->error = -ENOMEM;
        return NULL;
    }
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        size_t field = field_find(shape, value->key->text);
        if (field < shape->n_fields)
            values[field] = value;
        else
            read_error(r, value->key, key_hint(r, shape, value->key->text), "%s has no key %s", shape->what,
                       read_quote(r, value->key->text));
    }
    for (size_t i = 0; i < shape->n_fields; i++) {
        if (!values[i] && shape->fields[i].is_required)
            missing_report(r, node, shape, shape->fields[i].name);
        else if (values[i] && !values[i]->is_broken && shape->fields[i].read)
            shape->fields[i].read(r, values[i], object);
    }
    return values;
}

static struct str lower_copy(struct reader *r, struct str text)
{
    char lower[READ_LABEL_MAX + 1];
    size_t n = str_copy(lower, sizeof lower, text);
    for (size_t i = 0; i < n; i++)
        lower[i] = str_lower_char(lower[i]);
    return arena_copy(&r->nodes, str_make(lower, n));
}

static void name_check(struct reader *r, const struct yaml_node *key, const struct read_collection *collection)
{
    const char *what = collection->what;
    if (key->is_plain && yaml_text_is_typed(key->text)) {
        read_error(r, key, read_hint(r, "write %s", diagnose_double_quote(&r->d, key->text)),
                   "%s's name must be text, and other YAML readers take %s for something else", what, read_quote(r, key->text));
        return;
    }
    bool (*is_name)(struct str text) = collection->is_name ? collection->is_name : read_is_label;
    if (is_name(key->text))
        return;
    struct str lower = lower_copy(r, key->text);
    struct str hint = key->text.len <= READ_LABEL_MAX && is_name(lower)
                          ? read_hint(r, "write '%.*s'", STR_ARG(lower))
                          : str_of(collection->is_name ? collection->is_name_hint
                                                       : "it becomes a part of host names: a-z, 0-9 and '-' inside, at most 63");
    read_error(r, key, hint, "%s can't be %s's name", read_quote(r, key->text), what);
}

void *read_collection(struct reader *r, const struct yaml_node *node, const struct read_collection *collection, uint32_t *ret_n)
{
    if (node->kind != YAML_MAPPING) {
        read_expected(r, node, "a mapping from names to what they stand for");
        return NULL;
    }
    if (collection->max && node->n > collection->max) {
        read_error(r, node->key, STR_NONE, "%u are too many, at most %u are possible", node->n, collection->max);
        return NULL;
    }
    char *things = read_alloc(r, node->n, collection->size);
    if (!things)
        return NULL;
    uint32_t n = 0;
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        struct model_text *name = (void *)(things + n * collection->size);
        *name = (struct model_text){ value->key->text, value->key->at };
        name_check(r, value->key, collection);
        if (table_add(&r->names[collection->kind], name->text, n++, NULL) < 0)
            r->error = -ENOMEM;
    }
    *ret_n = n;
    n = 0;
    for (const struct yaml_node *value = node->first; value; value = value->next, n++)
        if (!value->is_broken)
            collection->read(r, value, things + n * collection->size);
    return things;
}
