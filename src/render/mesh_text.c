/* Selectors of a mesh policy as text: tags and users as they are bound, addresses by names in "hosts". */
#include "render/mesh_text.h"

#include <stdio.h>

int mesh_text_init(struct mesh_text *ret, const struct model *model)
{
    struct mesh_text text = { .model = model };
    for (uint32_t i = 0; i < model->n_hosts; i++) {
        int added = table_add(&text.host_names, model->hosts[i].name.text, i, NULL);
        if (added < 0) {
            mesh_text_deinit(&text);
            return added;
        }
    }
    *ret = text;
    return 0;
}

void mesh_text_deinit(struct mesh_text *text)
{
    table_deinit(&text->host_names);
}

struct str mesh_text_binding(const struct mesh_text *text, const struct mesh_selector *selector)
{
    if (selector->kind != MESH_SEGMENT && selector->kind != MESH_HOST)
        return STR_NONE;
    const struct model_binding *binding = selector->kind == MESH_SEGMENT ? &text->model->segments[selector->index].binding
                                                                         : &text->model->hosts[selector->index].binding;
    return binding->tag.text.len ? binding->tag.text : binding->user.text;
}

bool mesh_text_alias(const struct mesh_text *text, const struct mesh_selector *selector, char ret[static 80])
{
    struct str name = text->model->hosts[selector->index].name.text;
    if (selector->address == 0) {
        str_copy(ret, 80, name);
        return true;
    }
    int n = snprintf(ret, 80, "%.*s-%u", STR_ARG(name), selector->address + 1);
    return !table_get(&text->host_names, str_make(ret, (size_t)n), NULL);
}

void mesh_text_each(const struct mesh_text *text, const struct mesh_selector *selector, void (*call)(void *context, struct str item), void *context)
{
    char item[80];
    struct str binding = mesh_text_binding(text, selector);
    if (binding.len) {
        call(context, binding);
        return;
    }
    if (selector->kind == MESH_ADDRESS && mesh_text_alias(text, selector, item)) {
        call(context, str_of(item));
        return;
    }
    struct address first = selector->first;
    for (bool is_more = true; is_more;) {
        struct address_prefix prefix;
        is_more = address_take_prefix(&first, &selector->last, &prefix);
        call(context, str_of(address_prefix_format(&prefix, item)));
    }
}
