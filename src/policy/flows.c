/* Deriving flows: what each principal is granted, then what gateways need; sorted, and of equal ones the first grant's kept. */
#include "policy/flows.h"

#include <errno.h>

#include "base/buf.h"

struct builder {
    const struct grants *grants;
    const struct model *model;
    const struct sources *sources;
    uint32_t only_host;      /* MODEL_NONE: all */
    struct buf items;        /* struct flow */
    bool *is_for_surface;    /* per surface and grant, filled surface by surface */
    uint32_t source;         /* being described */
};

/* ---- one flow ---- */

static void add(struct builder *b, const struct address *destination, enum model_transport transport, uint16_t port, uint32_t grant,
                enum flow_reason reason)
{
    const struct source_range *from = &b->sources->items[b->source], *to = sources_find(b->sources, destination);
    struct flow flow = {
        .source = b->source, .host = to ? to->host : MODEL_NONE, .destination = *destination, .grant = grant, .port = port,
        .transport = (uint8_t)transport, .reason = (uint8_t)reason,
    };
    if (port == 0 || address_is_v4(&from->first) != address_is_v4(destination))
        return;
    if (from->host != MODEL_NONE && from->host == flow.host)
        return;
    buf_append(&b->items, str_make((const char *)&flow, sizeof flow));
}

static void add_all(struct builder *b, uint32_t host, const struct model_prefixes *own, enum model_transport transport, uint16_t port,
                    uint32_t grant, enum flow_reason reason)
{
    if (b->only_host != MODEL_NONE && b->only_host != host)
        return;
    const struct model_prefixes *addresses = own->n ? own : &b->model->hosts[host].addresses;
    for (uint32_t i = 0; i < addresses->n; i++)
        add(b, &addresses->items[i].address, transport, port, grant, reason);
}

/* ---- as granted ---- */

static void add_surface(struct builder *b, uint32_t surface, uint32_t grant)
{
    const struct model_surface *s = &b->model->surfaces[surface];
    for (uint32_t i = 0; i < s->hosts.n; i++) {
        add_all(b, s->hosts.items[i], &s->addresses, MODEL_TCP, s->port, grant, FLOW_SURFACE);
        add_all(b, s->hosts.items[i], &s->addresses, MODEL_TCP, s->redirect_port, grant, FLOW_SURFACE);
    }
}

static void add_targets(struct builder *b, uint32_t grant)
{
    const struct model_grant *g = &b->model->grants[grant];
    static const struct model_prefixes no_others = { NULL, 0 };
    for (uint32_t t = 0; t < g->n_to; t++) {
        const struct model_target *target = &g->to[t];
        if (target->kind == MODEL_TARGET_HOST_PORT)
            add_all(b, target->host, &no_others, target->transport, target->port, grant, FLOW_HOST_PORT);
        if (target->kind != MODEL_TARGET_SERVICE || b->model->services[target->service].kind != MODEL_KIND_DIRECT)
            continue;
        const struct model_service *s = &b->model->services[target->service];
        for (uint32_t i = 0; i < s->hosts.n; i++)
            add_all(b, s->hosts.items[i], &s->addresses, s->transport, s->port, grant, FLOW_DIRECT);
    }
}

/* A surface once per source, by the first grant that makes it a guest there. */
static void add_granted(struct builder *b, struct grants_cursor cursor)
{
    uint64_t done = 0;
    for (uint32_t grant; grants_next(&cursor, &grant);) {
        for (uint64_t open = b->grants->grant_surfaces[grant] & ~done; open; open &= open - 1) {
            uint32_t surface = (uint32_t)__builtin_ctzll(open);
            if (!b->is_for_surface[(size_t)surface * b->model->n_grants + grant])
                continue;
            done |= UINT64_C(1) << surface;
            add_surface(b, surface, grant);
        }
        add_targets(b, grant);
    }
}

static void add_sources(struct builder *b)
{
    for (b->source = 0; b->source < b->sources->n && !b->items.error; b->source++) {
        const struct source_range *from = &b->sources->items[b->source];
        if (from->host != MODEL_NONE)
            add_granted(b, grants_of_host(b->grants, from->host));
        else
            add_granted(b, (struct grants_cursor){ .a = b->grants->by_segment[from->segment] });
    }
}

/* ---- gateways to instances ---- */

/* first[service]: the first grant by which somebody may reach it on the surface at the gateway, + 1. */
static void find_first_grants(const struct grants *g, uint32_t surface, uint32_t gateway, uint32_t *first)
{
    memset(first, 0, g->model->n_services * sizeof *first);
    for (uint32_t i = 0; i < g->model->n_grants; i++) {
        if (!(g->grant_surfaces[i] >> surface & 1) || !grants_has_source_at(g, i, gateway))
            continue;
        for (uint32_t t = 0; t < g->model->grants[i].n_to; t++) {
            const struct model_indexes *services = grants_target(g, i, t);
            for (uint32_t k = 0; k < services->n; k++) {
                uint32_t s = services->items[k];
                if (!first[s] && (g->service_surfaces[s] >> surface & 1))
                    first[s] = i + 1;
            }
        }
    }
}

/* Of an instance on another host: where it says that it listens on a loopback, no gateway elsewhere dials it. */
static void add_instance(struct builder *b, uint32_t host, const struct model_service *s, uint32_t grant)
{
    const struct model_prefixes *addresses = model_instance_addresses(b->model, s, host);
    if (b->only_host != MODEL_NONE && b->only_host != host)
        return;
    for (uint32_t i = 0; i < addresses->n; i++)
        if (model_is_dialled_from_afar(s, &addresses->items[i].address))
            add(b, &addresses->items[i].address, MODEL_TCP, s->port, grant, FLOW_INSTANCE);
}

/* The instances that a gateway dials over the mesh: ports of other hosts. */
static void add_instances(struct builder *b, uint32_t gateway, const uint32_t *first)
{
    for (uint32_t i = 0; i < b->model->n_services; i++) {
        const struct model_service *s = &b->model->services[i];
        if (!first[i] || !model_is_dialled_over_mesh(s))
            continue;
        for (uint32_t k = 0; k < s->hosts.n; k++)
            if (s->hosts.items[k] != gateway)
                add_instance(b, s->hosts.items[k], s, first[i] - 1);
    }
}

static int add_gateways(struct builder *b, struct arena *scratch)
{
    uint32_t *first = arena_array(scratch, b->model->n_services, uint32_t);
    if (!first)
        return -ENOMEM;
    for (uint32_t surface = 0; surface < b->model->n_surfaces; surface++) {
        const struct model_indexes *hosts = &b->model->surfaces[surface].hosts;
        for (uint32_t k = 0; k < hosts->n; k++) {
            if (k == 0 || b->grants->has_containers) /* else they are the same at each */
                find_first_grants(b->grants, surface, hosts->items[k], first);
            const struct model_prefixes *addresses = &b->model->hosts[hosts->items[k]].addresses;
            for (uint32_t i = 0; i < addresses->n; i++) {
                const struct source_range *from = sources_find(b->sources, &addresses->items[i].address);
                if (!from)
                    continue;
                b->source = (uint32_t)(from - b->sources->items);
                add_instances(b, hosts->items[k], first);
            }
        }
    }
    return 0;
}

/* ---- the whole ---- */

static int compare_places(const struct flow *x, const struct flow *y)
{
    int order = address_compare(&x->destination, &y->destination);
    if (order)
        return order;
    if (x->transport != y->transport)
        return x->transport < y->transport ? -1 : 1;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

static int compare_flows(const void *a, const void *b)
{
    const struct flow *x = a, *y = b;
    int order = compare_places(x, y);
    if (order)
        return order;
    if (x->grant != y->grant)
        return x->grant < y->grant ? -1 : 1;
    return (x->reason > y->reason) - (x->reason < y->reason);
}

static int keep_first(struct flows *flows, const struct buf *items)
{
    struct flow *all = (struct flow *)(void *)items->ptr;
    size_t n = items->len / sizeof *all;
    if (n)
        qsort(all, n, sizeof *all, compare_flows);
    flows->items = arena_array(&flows->arena, n, struct flow);
    if (!flows->items)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || compare_places(&all[i - 1], &all[i]) != 0)
            flows->items[flows->n++] = all[i];
    return 0;
}

static int build(struct flows *flows, const struct grants *grants, uint32_t host)
{
    const struct model *m = grants->model;
    struct builder b = { .grants = grants, .model = m, .sources = &flows->sources, .only_host = host };
    int r = sources_init(&flows->sources, m, &flows->arena);
    if (r < 0)
        return r;
    b.is_for_surface = arena_alloc(&flows->arena, (size_t)m->n_surfaces * m->n_grants, sizeof *b.is_for_surface);
    if (!b.is_for_surface)
        return -ENOMEM;
    for (uint32_t s = 0; s < m->n_surfaces; s++)
        for (uint32_t g = 0; g < m->n_grants; g++)
            b.is_for_surface[(size_t)s * m->n_grants + g] = grants_is_for_surface(grants, g, s);
    buf_init(&b.items, (size_t)FLOWS_MAX * sizeof(struct flow));
    add_sources(&b);
    r = add_gateways(&b, &flows->arena);
    if (r == 0)
        r = b.items.error;
    if (r == 0)
        r = keep_first(flows, &b.items);
    buf_deinit(&b.items);
    return r;
}

int flows_init(struct flows *ret, const struct grants *grants, uint32_t host)
{
    struct flows flows = { 0 };
    arena_init(&flows.arena, 0);
    int r = build(&flows, grants, host);
    if (r < 0)
        arena_deinit(&flows.arena);
    else
        *ret = flows;
    return r;
}

void flows_deinit(struct flows *flows)
{
    arena_deinit(&flows->arena);
}
