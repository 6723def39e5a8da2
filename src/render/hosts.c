/* Writing names and the addresses of the gateways that serve them. */
#include "render/hosts.h"

#include <stdio.h>

#include "render/origin.h"

struct writer {
    const struct map *map;
    struct buf *out;
    uint32_t service;
    uint32_t instance_host; /* MODEL_NONE: any */
};

static bool serves(const struct writer *w, uint32_t gateway)
{
    const struct model *m = w->map->model;
    const struct model_service *s = &m->services[w->service];
    return w->instance_host == MODEL_NONE ? map_is_served_by(m, gateway, s) : map_gateway_reaches(m, gateway, s, w->instance_host);
}

static bool is_first(const struct buf *out, size_t from, struct str line)
{
    for (struct str rest = str_make(out->ptr + from, out->len - from); rest.len;)
        if (str_equal(str_split(&rest, '\n'), line))
            return false;
    return true;
}

/* A gateway's address once for all surfaces that share it. */
static void write_addresses(struct writer *w, const struct model_prefixes *addresses, struct str name, size_t from)
{
    for (uint32_t i = 0; i < addresses->n; i++) {
        char text[ADDRESS_TEXT_SIZE];
        struct buf line;
        buf_init(&line, 1024);
        buf_printf(&line, "%-24s %.*s", address_format(&addresses->items[i].address, text), STR_ARG(name));
        if (line.error)
            w->out->error = line.error;
        else if (is_first(w->out, from, buf_str(&line)))
            buf_printf(w->out, "%.*s\n", STR_ARG(buf_str(&line)));
        buf_deinit(&line);
    }
}

static void write_name(struct writer *w, struct str name)
{
    const struct model *m = w->map->model;
    size_t from = w->out->len;
    for (uint32_t h = 0; h < m->n_hosts; h++)
        for (uint32_t i = 0; i < m->n_surfaces && serves(w, h); i++) {
            const struct model_surface *s = &m->surfaces[i];
            bool is_here = false;
            for (uint32_t k = 0; k < s->hosts.n; k++)
                is_here |= s->hosts.items[k] == h;
            if (is_here && w->map->services[w->service].surfaces >> i & 1)
                write_addresses(w, s->addresses.n ? &s->addresses : &m->hosts[h].addresses, name, from);
        }
}

static void write_service(struct writer *w)
{
    const struct model *m = w->map->model;
    const struct model_service *s = &m->services[w->service];
    char name[512];
    w->instance_host = MODEL_NONE;
    snprintf(name, sizeof name, "%.*s.%.*s", STR_ARG(s->name.text), STR_ARG(m->domain.text));
    write_name(w, str_of(name));
    for (uint32_t i = 0; i < s->names.n; i++)
        write_name(w, s->names.items[i].text);
    for (uint32_t k = 0; k < s->hosts.n && s->hosts.n > 1; k++) {
        w->instance_host = s->hosts.items[k];
        snprintf(name, sizeof name, "%.*s-%.*s.%.*s", STR_ARG(s->name.text), STR_ARG(m->hosts[w->instance_host].name.text), STR_ARG(m->domain.text));
        write_name(w, str_of(name));
    }
}

int render_hosts(const struct map *map, struct str revision, struct buf *out)
{
    struct writer w = { .map = map, .out = out };
    buf_append(out, STR("# "));
    render_origin_write(out, map->model, revision);
    buf_append(out, STR(" Written over at the next change: edit the declaration instead.\n"
                        "# Every service's names, and its instances' where it has several, at each gateway that serves them. Who may not ask for a\n"
                        "# name gets the same 404 there as for any other.\n\n"));
    for (w.service = 0; w.service < map->model->n_services; w.service++)
        if (map->services[w.service].surfaces)
            write_service(&w);
    return out->error;
}
