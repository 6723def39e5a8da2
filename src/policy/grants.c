/* Indexing the grants: two passes that count and fill, and patterns that are matched once each, on the names sorted. */
#include "policy/grants.h"

#include <errno.h>

/* ---- by principal ---- */

enum { BY_HOST, BY_SEGMENT, BY_SERVICE, BY_KINDS };

/* All principals of one kind: their lists, and the grant + 1 that named each last. */
struct principal_lists {
    struct model_indexes *lists;
    uint32_t *last;
    uint32_t n;
};

/* Counts, then fills. A principal named twice in one grant is kept once. */
static void visit_principals(struct grants *g, bool fill, const struct principal_lists kinds[static BY_KINDS])
{
    for (uint32_t i = 0; i < g->model->n_grants; i++) {
        const struct model_grant *grant = &g->model->grants[i];
        for (uint32_t k = 0; k < grant->n_from; k++) {
            const struct model_principal *p = &grant->from[k];
            unsigned kind = p->host != MODEL_NONE ? BY_HOST : p->segment != MODEL_NONE ? BY_SEGMENT : BY_SERVICE;
            uint32_t who = kind == BY_HOST ? p->host : kind == BY_SEGMENT ? p->segment : p->service;
            struct model_indexes *list = &kinds[kind].lists[who];
            if (kinds[kind].last[who] == i + 1)
                continue;
            kinds[kind].last[who] = i + 1;
            if (fill)
                list->items[list->n] = i;
            list->n++;
        }
    }
}

static int index_principals(struct grants *g)
{
    struct principal_lists kinds[BY_KINDS] = { { .n = g->model->n_hosts }, { .n = g->model->n_segments }, { .n = g->model->n_services } };
    for (unsigned kind = 0; kind < BY_KINDS; kind++) {
        kinds[kind].lists = arena_array(&g->arena, kinds[kind].n, struct model_indexes);
        kinds[kind].last = arena_array(&g->arena, kinds[kind].n, uint32_t);
        if (!kinds[kind].lists || !kinds[kind].last)
            return -ENOMEM;
    }
    visit_principals(g, false, kinds);
    for (unsigned kind = 0; kind < BY_KINDS; kind++) {
        for (uint32_t i = 0; i < kinds[kind].n; i++) {
            struct model_indexes *list = &kinds[kind].lists[i];
            if (list->n && !(list->items = arena_array(&g->arena, list->n, uint32_t)))
                return -ENOMEM;
            list->n = 0;
        }
        memset(kinds[kind].last, 0, kinds[kind].n * sizeof *kinds[kind].last);
    }
    visit_principals(g, true, kinds);
    g->by_host = kinds[BY_HOST].lists;
    g->by_segment = kinds[BY_SEGMENT].lists;
    g->by_service = kinds[BY_SERVICE].lists;
    return 0;
}

static int find_sources(struct grants *g)
{
    const struct model *m = g->model;
    bool *populated = arena_array(&g->arena, m->n_segments, bool);
    g->grant_has_source = arena_array(&g->arena, m->n_grants, bool);
    g->grant_has_container = arena_array(&g->arena, m->n_grants, bool);
    if (!populated || !g->grant_has_source || !g->grant_has_container)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_segments; i++)
        populated[i] = m->segments[i].addresses.n > 0;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].addresses.n && m->hosts[i].segment != MODEL_NONE)
            populated[m->hosts[i].segment] = true;
    for (uint32_t i = 0; i < m->n_grants; i++)
        for (uint32_t k = 0; k < m->grants[i].n_from; k++) {
            const struct model_principal *p = &m->grants[i].from[k];
            g->grant_has_source[i] |= p->host != MODEL_NONE ? m->hosts[p->host].addresses.n > 0 :
                                      p->segment != MODEL_NONE && populated[p->segment];
            g->grant_has_container[i] |= p->service != MODEL_NONE;
            g->has_containers |= p->service != MODEL_NONE;
        }
    return 0;
}

/* ---- by target ---- */

struct name_order {
    struct str name;
    uint32_t service;
};

/* Web services by name, and room for those that match. */
struct pattern_names {
    struct name_order *items;
    uint32_t n;
    uint32_t *matched;
};

static int compare_names(const void *a, const void *b)
{
    const struct name_order *x = a, *y = b;
    int order = str_compare(x->name, y->name);
    return order ? order : (x->service > y->service) - (x->service < y->service);
}

static int compare_indexes(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t first_at_least(const struct name_order *names, uint32_t n, struct str name)
{
    uint32_t first = 0, end = n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (str_compare(names[middle].name, name) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* Only names that start with what is before the first '*' can match: a run of the sorted names. */
static int match_pattern(struct grants *g, const struct pattern_names *names, struct str pattern, bool labelled, struct model_indexes *ret)
{
    struct str prefix = str_first(pattern, str_find_char(pattern, '*'));
    uint32_t first = first_at_least(names->items, names->n, prefix), n = 0;
    for (uint32_t i = first; i < names->n && str_starts_with(names->items[i].name, prefix); i++)
        if ((labelled || !g->model->services[names->items[i].service].is_offered) && str_match_wildcard(pattern, names->items[i].name))
            names->matched[n++] = names->items[i].service;
    uint32_t *items = arena_array(&g->arena, n, uint32_t);
    if (!items)
        return -ENOMEM;
    if (n)
        memcpy(items, names->matched, n * sizeof *items);
    qsort(items, n, sizeof *items, compare_indexes);
    *ret = (struct model_indexes){ items, n };
    return 0;
}

static int sort_web_services(struct grants *g, struct pattern_names *ret)
{
    const struct model *m = g->model;
    struct pattern_names names = { .items = arena_array(&g->arena, m->n_services, struct name_order),
                                   .matched = arena_array(&g->arena, m->n_services, uint32_t) };
    if (!names.items || !names.matched)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++)
        if (m->services[i].kind == MODEL_KIND_WEB)
            names.items[names.n++] = (struct name_order){ m->services[i].name.text, i };
    qsort(names.items, names.n, sizeof *names.items, compare_names);
    *ret = names;
    return 0;
}

static int expand_pattern(struct grants *g, const struct pattern_names *names, struct table *seen, struct str pattern, bool labelled, uint32_t at)
{
    uint32_t before;
    int r = table_add(seen, pattern, at, &before);
    if (r == TABLE_E_EXISTS) {
        g->targets[at] = g->targets[before];
        return 0;
    }
    return r < 0 ? r : match_pattern(g, names, pattern, labelled, &g->targets[at]);
}

static int expand_targets(struct grants *g)
{
    const struct model *m = g->model;
    cleanup_table struct table seen = { 0 }, seen_labelled = { 0 };
    struct pattern_names names;
    uint32_t n_targets = 0;
    int r = sort_web_services(g, &names);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < m->n_grants; i++)
        n_targets += m->grants[i].n_to;
    g->first_target = arena_array(&g->arena, m->n_grants, uint32_t);
    g->targets = arena_array(&g->arena, n_targets, struct model_indexes);
    if (!g->first_target || !g->targets)
        return -ENOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->n_grants; i++) {
        bool labelled = m->grants[i].labelled;
        g->first_target[i] = at;
        for (uint32_t k = 0; k < m->grants[i].n_to; k++, at++) {
            struct model_target *target = &m->grants[i].to[k];
            if (target->kind == MODEL_TARGET_SERVICE)
                g->targets[at] = (struct model_indexes){ &target->service, 1 };
            else if (target->kind == MODEL_TARGET_PATTERN &&
                     (r = expand_pattern(g, &names, labelled ? &seen_labelled : &seen, target->pattern, labelled, at)) < 0)
                return r;
        }
    }
    return 0;
}

/* ---- surfaces ---- */

static uint64_t surface_bits(const struct model_indexes *surfaces)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < surfaces->n; i++)
        bits |= UINT64_C(1) << surfaces->items[i];
    return bits;
}

static int index_surfaces(struct grants *g)
{
    const struct model *m = g->model;
    g->service_surfaces = arena_array(&g->arena, m->n_services, uint64_t);
    g->grant_surfaces = arena_array(&g->arena, m->n_grants, uint64_t);
    if (!g->service_surfaces || !g->grant_surfaces)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++)
        if (m->services[i].kind == MODEL_KIND_WEB)
            g->service_surfaces[i] = m->services[i].surfaces.n ? surface_bits(&m->services[i].surfaces) : UINT64_MAX;
    for (uint32_t i = 0; i < m->n_grants; i++)
        g->grant_surfaces[i] = surface_bits(&m->grants[i].over);
    return 0;
}

int grants_init(struct grants *ret, const struct model *model)
{
    struct grants g = { .model = model };
    arena_init(&g.arena, GRANTS_MEMORY_MAX);
    int r = index_principals(&g);
    if (r == 0)
        r = find_sources(&g);
    if (r == 0)
        r = expand_targets(&g);
    if (r == 0)
        r = index_surfaces(&g);
    if (r < 0) {
        arena_deinit(&g.arena);
        return r;
    }
    *ret = g;
    return 0;
}

void grants_deinit(struct grants *grants)
{
    arena_deinit(&grants->arena);
}

bool grants_has_source_at(const struct grants *grants, uint32_t g, uint32_t gateway)
{
    const struct model_grant *grant = &grants->model->grants[g];
    bool has = grants->grant_has_source[g];
    for (uint32_t i = 0; !has && grants->grant_has_container[g] && i < grant->n_from; i++)
        has = grant->from[i].service != MODEL_NONE && model_runs_on(&grants->model->services[grant->from[i].service].hosts, gateway);
    return has;
}

bool grants_is_for_surface(const struct grants *grants, uint32_t g, uint32_t surface)
{
    const struct model_grant *grant = &grants->model->grants[g];
    if (!(grants->grant_surfaces[g] >> surface & 1))
        return false;
    for (uint32_t t = 0; t < grant->n_to; t++) {
        const struct model_target *target = &grant->to[t];
        if (target->kind == MODEL_TARGET_PATTERN)
            return true;
        if (target->kind == MODEL_TARGET_SERVICE && (grants->service_surfaces[target->service] >> surface & 1))
            return true;
    }
    return false;
}

bool grants_next(struct grants_cursor *c, uint32_t *ret_grant)
{
    bool has_a = c->at_a < c->a.n, has_b = c->at_b < c->b.n;
    if (!has_a && !has_b)
        return false;
    uint32_t a = has_a ? c->a.items[c->at_a] : UINT32_MAX, b = has_b ? c->b.items[c->at_b] : UINT32_MAX;
    c->at_a += a <= b;
    c->at_b += b <= a;
    *ret_grant = a < b ? a : b;
    return true;
}

struct grants_cursor grants_of_host(const struct grants *grants, uint32_t host)
{
    uint32_t segment = grants->model->hosts[host].segment;
    struct grants_cursor cursor = { .a = grants->by_host[host] };
    if (segment != MODEL_NONE)
        cursor.b = grants->by_segment[segment];
    return cursor;
}
