/* Finding the containers that services name, and what each grant from one of those services lets its containers reach. */
#include "policy/containers.h"

#include <errno.h>

#include "base/buf.h"

/* ---- containers ---- */

struct named {
    uint32_t host, service;
    struct str reference;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    if (x->host != y->host)
        return x->host < y->host ? -1 : 1;
    int order = str_compare(x->reference, y->reference);
    return order ? order : (x->service > y->service) - (x->service < y->service);
}

static int compare_instances(const void *a, const void *b)
{
    const struct container_instance *x = a, *y = b;
    if (x->service != y->service)
        return x->service < y->service ? -1 : 1;
    return (x->host > y->host) - (x->host < y->host);
}

static void add_container(struct containers *c, const struct named *first, const uint32_t *services, uint32_t n)
{
    const struct model_service *s = &c->model->services[first->service];
    struct container *container = &c->items[c->n];
    *container = (struct container){
        .host = first->host, .reference = first->reference, .project = model_service_project(s), .listed = s->project, .services = services,
        .n_services = n,
    };
    if (s->project != MODEL_NONE && !model_runs_on(&c->model->projects[s->project].hosts, first->host))
        container->listed = MODEL_NONE;
    for (uint32_t i = 0; i < n; i++)
        c->instances[c->n_instances++] = (struct container_instance){ services[i], first->host, c->n };
    c->n++;
}

static int find_containers(struct containers *c)
{
    const struct model *m = c->model;
    size_t n = 0, at = 0;
    for (uint32_t i = 0; i < m->n_services; i++)
        n += m->services[i].where == MODEL_WHERE_CONTAINER ? m->services[i].hosts.n : 0;
    struct named *named = arena_array(&c->arena, n, struct named);
    uint32_t *services = arena_array(&c->arena, n, uint32_t);
    c->items = arena_array(&c->arena, n, struct container);
    c->instances = arena_array(&c->arena, n, struct container_instance);
    c->first_of_host = arena_array(&c->arena, (size_t)m->n_hosts + 1, uint32_t);
    if (!named || !services || !c->items || !c->instances || !c->first_of_host)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++)
        for (uint32_t k = 0; m->services[i].where == MODEL_WHERE_CONTAINER && k < m->services[i].hosts.n; k++)
            named[at++] = (struct named){ m->services[i].hosts.items[k], i, m->services[i].place.text };
    qsort(named, n, sizeof *named, compare_named);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && named[next].host == named[i].host && str_equal(named[next].reference, named[i].reference); next++)
            services[next] = named[next].service;
        add_container(c, &named[i], &services[i], (uint32_t)(next - i));
    }
    for (uint32_t i = 0; i < c->n; i++)
        c->first_of_host[c->items[i].host + 1] = i + 1;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (c->first_of_host[i + 1] < c->first_of_host[i])
            c->first_of_host[i + 1] = c->first_of_host[i];
    qsort(c->instances, c->n_instances, sizeof *c->instances, compare_instances);
    return 0;
}

static uint32_t first_instance(const struct containers *c, uint32_t service, uint32_t host)
{
    const struct container_instance wanted = { service, host, 0 };
    uint32_t first = 0, end = c->n_instances;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (compare_instances(&c->instances[middle], &wanted) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

uint32_t containers_find(const struct containers *c, uint32_t service, uint32_t host)
{
    uint32_t i = first_instance(c, service, host);
    return i < c->n_instances && c->instances[i].service == service && c->instances[i].host == host ? c->instances[i].container : MODEL_NONE;
}

uint32_t containers_find_reference(const struct containers *c, uint32_t host, struct str reference)
{
    uint32_t first = c->first_of_host[host], end = c->first_of_host[host + 1], stop = end;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (str_compare(c->items[middle].reference, reference) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first < stop && str_equal(c->items[first].reference, reference) ? first : MODEL_NONE;
}

bool containers_is_enforced(const struct containers *c, uint32_t container)
{
    uint32_t listed = c->items[container].listed;
    return listed != MODEL_NONE && c->model->projects[listed].mode == MODEL_MODE_ENFORCE;
}

bool containers_is_inside(const struct containers *c, uint32_t a, uint32_t b)
{
    const struct container *x = &c->items[a], *y = &c->items[b];
    bool is_narrower = x->listed != MODEL_NONE && c->model->projects[x->listed].inside == MODEL_INSIDE_DECLARED;
    return a != b && x->host == y->host && x->project.len && str_equal(x->project, y->project) && !is_narrower;
}

/* ---- what they may reach ---- */

struct passing {
    struct containers *c;
    struct buf passes; /* struct container_pass */
    uint32_t grant;
};

static void add_pass(struct passing *p, uint32_t from, enum container_way way, uint32_t to, enum model_transport transport, uint16_t port)
{
    const struct container_pass pass = {
        .from = from, .to = to, .way = (uint8_t)way, .transport = (uint8_t)transport, .port = port, .grant = p->grant,
    };
    buf_append(&p->passes, str_make((const char *)&pass, sizeof pass));
}

/* Whether the target is one of that surface, so that who is granted it is a guest there. */
static bool is_on_surface(const struct model *m, const struct model_target *t, uint32_t surface)
{
    const struct model_service *s = t->kind == MODEL_TARGET_SERVICE ? &m->services[t->service] : NULL;
    return t->kind == MODEL_TARGET_PATTERN || (s && s->kind == MODEL_KIND_WEB && (s->surfaces.n == 0 || model_runs_on(&s->surfaces, surface)));
}

static void pass_surfaces(struct passing *p, uint32_t from)
{
    const struct model *m = p->c->model;
    const struct model_grant *g = &m->grants[p->grant];
    for (uint32_t i = 0; i < g->over.n; i++) {
        const struct model_surface *surface = &m->surfaces[g->over.items[i]];
        bool is_guest = false;
        for (uint32_t t = 0; t < g->n_to && !is_guest; t++)
            is_guest = is_on_surface(m, &g->to[t], g->over.items[i]);
        if (!is_guest || !model_runs_on(&surface->hosts, p->c->items[from].host))
            continue;
        add_pass(p, from, CONTAINER_WAY_SURFACE, g->over.items[i], MODEL_TCP, surface->port);
        if (surface->redirect_port)
            add_pass(p, from, CONTAINER_WAY_SURFACE, g->over.items[i], MODEL_TCP, surface->redirect_port);
    }
}

static void pass_grant(struct passing *p, uint32_t from)
{
    const struct model_grant *g = &p->c->model->grants[p->grant];
    pass_surfaces(p, from);
    for (uint32_t t = 0; t < g->n_to && !p->passes.error; t++) {
        const struct model_target *target = &g->to[t];
        uint32_t to = target->kind == MODEL_TARGET_SERVICE_PORT ? containers_find(p->c, target->service, p->c->items[from].host) : MODEL_NONE;
        if (to != MODEL_NONE && to != from)
            add_pass(p, from, CONTAINER_WAY_CONTAINER, to, target->transport, target->port);
        if (target->kind == MODEL_TARGET_INTERNET)
            add_pass(p, from, CONTAINER_WAY_INTERNET, MODEL_NONE, MODEL_TCP, 0);
    }
}

static int compare_passes(const void *a, const void *b)
{
    const struct container_pass *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->way != y->way)
        return x->way < y->way ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    if (x->transport != y->transport)
        return x->transport < y->transport ? -1 : 1;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return (x->grant > y->grant) - (x->grant < y->grant);
}

static bool is_same_pass(const struct container_pass *x, const struct container_pass *y)
{
    return x->from == y->from && x->way == y->way && x->to == y->to && x->transport == y->transport && x->port == y->port;
}

static int take_passes(struct containers *c, const struct buf *passes)
{
    struct container_pass *all = (struct container_pass *)(void *)passes->ptr;
    size_t n = passes->len / sizeof *all;
    if (n)
        qsort(all, n, sizeof *all, compare_passes);
    c->passes = arena_array(&c->arena, n, struct container_pass);
    c->first_of_pass = arena_array(&c->arena, (size_t)c->n + 1, uint32_t);
    if (!c->passes || !c->first_of_pass)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !is_same_pass(&all[i - 1], &all[i])) {
            c->passes[c->n_passes++] = all[i];
            c->first_of_pass[all[i].from + 1] = c->n_passes;
        }
    for (uint32_t i = 0; i < c->n; i++)
        if (c->first_of_pass[i + 1] < c->first_of_pass[i])
            c->first_of_pass[i + 1] = c->first_of_pass[i];
    return 0;
}

static int find_passes(struct containers *c)
{
    struct passing p = { .c = c };
    buf_init(&p.passes, (size_t)CONTAINERS_PASSES_MAX * sizeof(struct container_pass));
    for (p.grant = 0; p.grant < c->model->n_grants && !p.passes.error; p.grant++)
        for (uint32_t k = 0; k < c->model->grants[p.grant].n_from; k++) {
            uint32_t service = c->model->grants[p.grant].from[k].service;
            for (uint32_t i = service == MODEL_NONE ? c->n_instances : first_instance(c, service, 0);
                 i < c->n_instances && c->instances[i].service == service; i++)
                pass_grant(&p, c->instances[i].container);
        }
    int r = p.passes.error ? p.passes.error : take_passes(c, &p.passes);
    buf_deinit(&p.passes);
    return r;
}

/* ---- the whole ---- */

int containers_init(struct containers *ret, const struct model *model)
{
    struct containers c = { .model = model };
    arena_init(&c.arena, 0);
    int r = find_containers(&c);
    if (r == 0)
        r = find_passes(&c);
    if (r < 0)
        arena_deinit(&c.arena);
    else
        *ret = c;
    return r;
}

void containers_deinit(struct containers *containers)
{
    arena_deinit(&containers->arena);
}
