/* One rule per grant and destination: sources are whole selectors, so that a segment of a hundred thousand hosts is one rule too. */
#include "policy/declared.h"

#include <errno.h>

enum { FAMILY_V4, FAMILY_V6, FAMILIES };

/* The ranges of the sources that are one host's or one segment's. */
struct members {
    uint32_t *first; /* by host or segment, n + 1 */
    uint32_t *items; /* indexes in sources */
};

/* A service that gateways of a surface dial on other hosts, and the first grant that needs it. gateway: that one only, since only a container
 * beside it asks; MODEL_NONE: all of them. */
struct need {
    uint32_t grant, surface, service, gateway;
};

struct declaring {
    const struct grants *grants;
    const struct model *model;
    const struct sources *sources;
    const struct containers *containers;
    const struct declared_numbers *numbers;
    struct relation *relation;
    struct arena arena;
    uint32_t *passes, *first_pass;      /* the containers' passes by grant; n_grants + 1 */
    struct members of_host, of_segment;
    uint32_t *host_mark, *segment_mark; /* grant + 1 where the grant's from: names it */
    struct relation_range *ranges;      /* scratch: of a grant's sources, IPv4 first */
    uint32_t n_ranges, n_v4;
    struct relation_range *others;      /* scratch: those but one host's; services' points */
    uint32_t selector[FAMILIES];        /* of the grant's sources by family, and of all of them */
    uint32_t selector_all;
    struct buf needs;                   /* struct need, by grant */
    struct table points;                /* selectors of points, by list and surface */
};

struct str declared_file(const struct model *model)
{
    struct str name = model->file;
    for (struct str rest = name; rest.len;) {
        struct str part = str_split(&rest, '/');
        if (part.len)
            name = part;
    }
    return name;
}

static unsigned families_of(const struct model_prefixes *addresses)
{
    unsigned families = 0;
    for (uint32_t i = 0; i < addresses->n; i++)
        families |= address_is_v4(&addresses->items[i].address) ? DECLARED_IPV4 : DECLARED_IPV6;
    return families;
}

unsigned declared_families(const struct model *model, uint32_t surface)
{
    const struct model_surface *s = &model->surfaces[surface];
    unsigned families = 0;
    for (uint32_t i = 0; i < s->hosts.n; i++)
        families |= families_of(s->addresses.n ? &s->addresses : &model->hosts[s->hosts.items[i]].addresses);
    return families;
}

/* ---- who ---- */

static uint32_t owner_of(const struct source_range *range, bool host)
{
    return host ? range->host : range->segment;
}

static int index_members(struct declaring *d, bool host, uint32_t n, struct members *ret)
{
    const struct sources *s = d->sources;
    ret->first = arena_array(&d->arena, (size_t)n + 2, uint32_t);
    ret->items = arena_array(&d->arena, s->n, uint32_t);
    if (!ret->first || !ret->items)
        return -ENOMEM;
    /* Counted two places up and summed, first[owner + 1] is where the owner's start; filling moves it to where they end. */
    for (uint32_t i = 0; i < s->n; i++)
        if (owner_of(&s->items[i], host) != MODEL_NONE)
            ret->first[owner_of(&s->items[i], host) + 2]++;
    for (uint32_t i = 1; i <= n + 1; i++)
        ret->first[i] += ret->first[i - 1];
    for (uint32_t i = 0; i < s->n; i++)
        if (owner_of(&s->items[i], host) != MODEL_NONE)
            ret->items[ret->first[owner_of(&s->items[i], host) + 1]++] = i;
    return 0;
}

static void take_members(struct declaring *d, const struct members *members, uint32_t index)
{
    for (uint32_t i = members->first[index]; i < members->first[index + 1]; i++) {
        const struct source_range *source = &d->sources->items[members->items[i]];
        struct relation_range range = { source->first, source->last };
        if (relation_range_cut_points(&range))
            d->ranges[d->n_ranges++] = range;
    }
}

static int compare_ranges(const void *a, const void *b)
{
    const struct relation_range *x = a, *y = b;
    bool x4 = address_is_v4(&x->first), y4 = address_is_v4(&y->first);
    return x4 != y4 ? (x4 ? -1 : 1) : address_compare(&x->first, &y->first);
}

/* The sources of a grant, each once, and their selectors. */
static int take_sources(struct declaring *d, uint32_t grant)
{
    const struct model_grant *g = &d->model->grants[grant];
    d->n_ranges = d->n_v4 = 0;
    for (uint32_t i = 0; i < g->n_from; i++)
        if (g->from[i].segment != MODEL_NONE && g->from[i].host == MODEL_NONE && d->segment_mark[g->from[i].segment] != grant + 1) {
            d->segment_mark[g->from[i].segment] = grant + 1;
            take_members(d, &d->of_segment, g->from[i].segment);
        }
    for (uint32_t i = 0; i < g->n_from; i++) {
        uint32_t host = g->from[i].host, segment = host != MODEL_NONE ? d->model->hosts[host].segment : MODEL_NONE;
        if (host == MODEL_NONE || d->host_mark[host] == grant + 1)
            continue;
        d->host_mark[host] = grant + 1;
        if (segment == MODEL_NONE || d->segment_mark[segment] != grant + 1)
            take_members(d, &d->of_host, host);
    }
    qsort(d->ranges, d->n_ranges, sizeof *d->ranges, compare_ranges);
    while (d->n_v4 < d->n_ranges && address_is_v4(&d->ranges[d->n_v4].first))
        d->n_v4++;
    int r = relation_add_selector(d->relation, d->ranges, d->n_v4, &d->selector[FAMILY_V4]);
    if (r == 0)
        r = relation_add_selector(d->relation, d->ranges + d->n_v4, d->n_ranges - d->n_v4, &d->selector[FAMILY_V6]);
    return r == 0 ? relation_add_selector(d->relation, d->ranges, d->n_ranges, &d->selector_all) : r;
}

static bool is_among_sources(const struct declaring *d, uint32_t grant, uint32_t host)
{
    uint32_t segment = host != MODEL_NONE ? d->model->hosts[host].segment : MODEL_NONE;
    return host != MODEL_NONE && (d->host_mark[host] == grant + 1 || (segment != MODEL_NONE && d->segment_mark[segment] == grant + 1));
}

/* The grant's sources of one family but for a host: what stays there is no flow. */
static int select_others(struct declaring *d, unsigned family, uint32_t host, uint32_t *ret)
{
    uint32_t n = 0, end = family == FAMILY_V4 ? d->n_v4 : d->n_ranges;
    for (uint32_t i = family == FAMILY_V4 ? 0 : d->n_v4; i < end; i++) {
        const struct source_range *range = sources_find(d->sources, &d->ranges[i].first);
        if (!range || range->host != host)
            d->others[n++] = d->ranges[i];
    }
    return relation_add_selector(d->relation, d->others, n, ret);
}

/* ---- one rule ---- */

static int add_rule(struct declaring *d, uint32_t source, const struct address *to, uint8_t protocol, uint16_t port, uint32_t reason)
{
    const struct relation_range one = { *to, *to };
    struct relation_rule rule = {
        .source = source, .protocol_first = protocol, .protocol_last = protocol, .port_first = port, .port_last = port, .reason = reason,
    };
    int r = relation_add_selector(d->relation, &one, 1, &rule.destination);
    return r == 0 ? relation_add_rule(d->relation, &rule) : r;
}

static int add_flow(struct declaring *d, uint32_t grant, const struct address *to, uint8_t protocol, uint16_t port, uint32_t reason)
{
    const struct source_range *whose = sources_find(d->sources, to);
    unsigned family = address_is_v4(to) ? FAMILY_V4 : FAMILY_V6;
    uint32_t source = d->selector[family];
    int r = 0;
    if (port == 0)
        return 0;
    if (whose && is_among_sources(d, grant, whose->host))
        r = select_others(d, family, whose->host, &source);
    return r == 0 ? add_rule(d, source, to, protocol, port, reason) : r;
}

static int add_flows(struct declaring *d, uint32_t grant, uint32_t host, const struct model_prefixes *own, uint8_t protocol, uint16_t port,
                     uint32_t reason)
{
    const struct model_prefixes *addresses = own && own->n ? own : &d->model->hosts[host].addresses;
    for (uint32_t i = 0; i < addresses->n; i++) {
        int r = add_flow(d, grant, &addresses->items[i].address, protocol, port, reason);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_reason(struct declaring *d, uint32_t grant, struct str text, uint32_t *ret)
{
    const struct relation_reason reason = { declared_file(d->model), d->model->grants[grant].at.line, text };
    return relation_add_reason(d->relation, reason, ret);
}

/* ---- what a grant says ---- */

static int add_surface(struct declaring *d, uint32_t grant, uint32_t surface)
{
    const struct model_surface *s = &d->model->surfaces[surface];
    struct str text = arena_printf(&d->arena, DECLARED_SURFACE "%.*s", STR_ARG(s->name.text));
    uint32_t reason;
    int r = text.ptr ? add_reason(d, grant, text, &reason) : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < s->hosts.n; i++) {
        r = add_flows(d, grant, s->hosts.items[i], &s->addresses, RELATION_TCP, s->port, reason);
        if (r == 0)
            r = add_flows(d, grant, s->hosts.items[i], &s->addresses, RELATION_TCP, s->redirect_port, reason);
    }
    return r;
}

static int add_port_target(struct declaring *d, uint32_t grant, const struct model_target *target, uint32_t reason)
{
    if (target->kind == MODEL_TARGET_HOST_PORT)
        return add_flows(d, grant, target->host, NULL, target->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, target->port, reason);
    const struct model_service *s = target->kind == MODEL_TARGET_SERVICE ? &d->model->services[target->service] : NULL;
    int r = 0;
    for (uint32_t i = 0; s && r == 0 && s->kind == MODEL_KIND_DIRECT && i < s->hosts.n; i++)
        r = add_flows(d, grant, s->hosts.items[i], &s->addresses, s->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, s->port, reason);
    return r;
}

/* Of the services that a gateway serves beside it: instances here, and those that it dials over the mesh. */
static bool is_within_reach(const struct model_service *service, uint32_t gateway)
{
    bool is_dialled = model_is_dialled_over_mesh(service) && !service->addresses.n;
    for (uint32_t i = 0; !is_dialled && model_is_dialled_over_mesh(service) && i < service->addresses.n; i++)
        is_dialled = model_is_dialled_from_afar(service, &service->addresses.items[i].address);
    return is_dialled || model_runs_on(&service->hosts, gateway);
}

/* The points of a list of services on a surface; gateway: of those that it reaches, MODEL_NONE: that any does. Lists that many grants share
 * (a pattern's) are made once. */
static int select_points(struct declaring *d, const struct model_indexes *services, uint32_t surface, uint32_t gateway, uint32_t *ret)
{
    struct {
        const uint32_t *items;
        uint32_t surface, gateway;
    } key = { services->items, surface, gateway };
    uint32_t n = 0;
    if (services->n > 1 && table_get(&d->points, str_make((const char *)&key, sizeof key), ret))
        return 0;
    for (uint32_t i = 0; i < services->n; i++) {
        uint32_t service = services->items[i];
        if (!(d->grants->service_surfaces[service] >> surface & 1) ||
            (gateway != MODEL_NONE && !is_within_reach(&d->model->services[service], gateway)))
            continue;
        struct address point = relation_service_point(d->numbers ? d->numbers->surfaces[surface] : surface,
                                                      d->numbers ? d->numbers->services[service] : service);
        d->others[n++] = (struct relation_range){ point, point };
    }
    int r = relation_add_selector(d->relation, d->others, n, ret);
    if (r < 0 || services->n <= 1)
        return r;
    struct str copy = arena_copy(&d->arena, str_make((const char *)&key, sizeof key));
    r = copy.ptr ? table_add(&d->points, copy, *ret, NULL) : -ENOMEM;
    return r < 0 ? r : 0;
}

/* From the selector to the services of each of the grant's targets. */
static int add_web_rules(struct declaring *d, uint32_t grant, uint32_t surface, uint32_t gateway, uint32_t source, uint32_t reason)
{
    int r = 0;
    for (uint32_t t = 0; r == 0 && t < d->model->grants[grant].n_to; t++) {
        struct relation_rule rule = {
            .source = source, .protocol_first = RELATION_POINT_PROTOCOL, .protocol_last = RELATION_POINT_PROTOCOL, .port_first = RELATION_POINT_PORT,
            .port_last = RELATION_POINT_PORT, .reason = reason,
        };
        const struct model_indexes *services = grants_target(d->grants, grant, t);
        if (services->n == 0)
            continue;
        r = select_points(d, services, surface, gateway, &rule.destination);
        if (r == 0)
            r = relation_add_rule(d->relation, &rule);
    }
    return r;
}

/* A container that asks, and the host of the gateway beside it. */
struct beside {
    uint32_t gateway, container;
};

static int compare_beside(const void *a, const void *b)
{
    const struct beside *x = a, *y = b;
    if (x->gateway != y->gateway)
        return x->gateway < y->gateway ? -1 : 1;
    return (x->container > y->container) - (x->container < y->container);
}

static void find_beside(const struct declaring *d, uint32_t grant, uint32_t surface, struct buf *ret)
{
    const struct model_grant *g = &d->model->grants[grant];
    for (uint32_t i = 0; i < g->n_from; i++) {
        const struct model_service *s = g->from[i].service != MODEL_NONE ? &d->model->services[g->from[i].service] : NULL;
        for (uint32_t k = 0; s && k < s->hosts.n; k++) {
            const struct beside beside = { s->hosts.items[k], containers_find(d->containers, g->from[i].service, s->hosts.items[k]) };
            if (beside.container != MODEL_NONE && model_runs_on(&d->model->surfaces[surface].hosts, beside.gateway))
                buf_append(ret, str_make((const char *)&beside, sizeof beside));
        }
    }
    if (ret->len)
        qsort(ret->ptr, ret->len / sizeof(struct beside), sizeof(struct beside), compare_beside);
}

/* Containers ask the gateway beside them, and no other. */
static int add_container_points(struct declaring *d, uint32_t grant, uint32_t surface, uint32_t reason)
{
    cleanup_buf struct buf all, ranges;
    buf_init(&all, RELATION_MEMORY_MAX);
    buf_init(&ranges, RELATION_MEMORY_MAX);
    find_beside(d, grant, surface, &all);
    const struct beside *items = (const struct beside *)(const void *)all.ptr;
    size_t n = all.len / sizeof *items;
    int r = all.error;
    for (size_t i = 0, next = 0; r == 0 && i < n; i = next) {
        uint32_t source;
        buf_clear(&ranges);
        for (; next < n && items[next].gateway == items[i].gateway; next++) {
            struct address point = declared_container_point(d->numbers, items[next].container);
            buf_append(&ranges, str_make((const char *)&(struct relation_range){ point, point }, sizeof(struct relation_range)));
        }
        r = ranges.error ? ranges.error : relation_add_selector(d->relation, (const struct relation_range *)(const void *)ranges.ptr,
                                                                (uint32_t)(next - i), &source);
        if (r == 0)
            r = add_web_rules(d, grant, surface, items[i].gateway, source, reason);
    }
    return r;
}

static int add_points(struct declaring *d, uint32_t grant, uint32_t surface, uint32_t reason)
{
    unsigned families = declared_families(d->model, surface);
    uint32_t source = families == DECLARED_IPV4 ? d->selector[FAMILY_V4] : families == DECLARED_IPV6 ? d->selector[FAMILY_V6] : d->selector_all;
    int r = families ? add_web_rules(d, grant, surface, MODEL_NONE, source, reason) : 0;
    return r == 0 && families && d->grants->grant_has_container[grant] ? add_container_points(d, grant, surface, reason) : r;
}

static int add_granted(struct declaring *d, uint32_t grant)
{
    uint32_t reason;
    int r = add_reason(d, grant, STR(DECLARED_GRANT), &reason);
    for (uint64_t open = d->grants->grant_surfaces[grant]; r == 0 && open; open &= open - 1) {
        uint32_t surface = (uint32_t)__builtin_ctzll(open);
        if (grants_is_for_surface(d->grants, grant, surface))
            r = add_surface(d, grant, surface);
        if (r == 0)
            r = add_points(d, grant, surface, reason);
    }
    for (uint32_t t = 0; r == 0 && t < d->model->grants[grant].n_to; t++)
        r = add_port_target(d, grant, &d->model->grants[grant].to[t], reason);
    return r;
}

/* ---- gateways to instances ---- */

static void add_need_of(struct declaring *d, struct need need)
{
    buf_append(&d->needs, str_make((const char *)&need, sizeof need));
}

/* What only containers ask for by a grant, at the gateways beside them, each once. */
static int find_container_needs(struct declaring *d, uint32_t grant, uint32_t service, struct table *seen)
{
    for (uint64_t open = d->grants->grant_surfaces[grant] & d->grants->service_surfaces[service]; open; open &= open - 1) {
        uint32_t surface = (uint32_t)__builtin_ctzll(open);
        const struct model_indexes *gateways = &d->model->surfaces[surface].hosts;
        for (uint32_t i = 0; i < gateways->n; i++) {
            const uint32_t key[3] = { surface, service, gateways->items[i] };
            if (!grants_has_source_at(d->grants, grant, gateways->items[i]) || table_get(seen, str_make((const char *)key, sizeof key), NULL))
                continue;
            struct str copy = arena_copy(&d->arena, str_make((const char *)key, sizeof key));
            int r = copy.ptr ? table_add(seen, copy, grant, NULL) : -ENOMEM;
            if (r < 0)
                return r;
            add_need_of(d, (struct need){ grant, surface, service, gateways->items[i] });
        }
    }
    return 0;
}

static int find_needs(struct declaring *d)
{
    const struct grants *g = d->grants;
    cleanup_table struct table seen_beside = { 0 };
    uint64_t *seen = arena_array(&d->arena, d->model->n_services, uint64_t);
    if (!seen)
        return -ENOMEM;
    for (uint32_t i = 0; i < d->model->n_grants; i++) {
        for (uint32_t t = 0; g->grant_has_container[i] && !g->grant_has_source[i] && t < d->model->grants[i].n_to; t++) {
            const struct model_indexes *services = grants_target(g, i, t);
            for (uint32_t k = 0; k < services->n; k++) {
                int r = model_is_dialled_over_mesh(&d->model->services[services->items[k]]) ? find_container_needs(d, i, services->items[k], &seen_beside) : 0;
                if (r < 0)
                    return r;
            }
        }
        for (uint32_t t = 0; g->grant_has_source[i] && t < d->model->grants[i].n_to; t++) {
            const struct model_indexes *services = grants_target(g, i, t);
            for (uint32_t k = 0; k < services->n; k++) {
                uint32_t s = services->items[k];
                uint64_t fresh = g->grant_surfaces[i] & g->service_surfaces[s] & ~seen[s];
                seen[s] |= fresh;
                for (; fresh && model_is_dialled_over_mesh(&d->model->services[s]); fresh &= fresh - 1)
                    add_need_of(d, (struct need){ i, (uint32_t)__builtin_ctzll(fresh), s, MODEL_NONE });
            }
        }
    }
    return d->needs.error;
}

/* The gateways that a need speaks of but for two hosts. */
static int select_gateways(struct declaring *d, const struct need *need, bool v4, uint32_t but, uint32_t and_but, uint32_t *ret)
{
    const struct model_indexes *hosts = &d->model->surfaces[need->surface].hosts;
    uint32_t n = 0;
    for (uint32_t i = 0; i < hosts->n; i++) {
        const struct model_prefixes *addresses = &d->model->hosts[hosts->items[i]].addresses;
        bool is_meant = hosts->items[i] != but && hosts->items[i] != and_but && (need->gateway == MODEL_NONE || need->gateway == hosts->items[i]);
        for (uint32_t k = 0; k < addresses->n && is_meant; k++)
            if (address_is_v4(&addresses->items[k].address) == v4)
                d->others[n++] = (struct relation_range){ addresses->items[k].address, addresses->items[k].address };
    }
    return relation_add_selector(d->relation, d->others, n, ret);
}

static int add_need(struct declaring *d, const struct need *need)
{
    const struct model_service *s = &d->model->services[need->service];
    uint32_t reason, source;
    int r = add_reason(d, need->grant, STR(DECLARED_INSTANCE), &reason);
    for (uint32_t k = 0; r == 0 && k < s->hosts.n; k++) {
        const struct model_prefixes *addresses = model_instance_addresses(d->model, s, s->hosts.items[k]);
        for (uint32_t i = 0; r == 0 && i < addresses->n; i++) {
            const struct address *to = &addresses->items[i].address;
            const struct source_range *whose = sources_find(d->sources, to);
            r = select_gateways(d, need, address_is_v4(to), s->hosts.items[k], whose ? whose->host : MODEL_NONE, &source);
            if (r == 0 && s->port != 0 && model_is_dialled_from_afar(s, to))
                r = add_rule(d, source, to, RELATION_TCP, s->port, reason);
        }
    }
    return r;
}

/* ---- the whole ---- */

/* As index_members counts and fills. */
static void index_passes(struct declaring *d)
{
    const struct containers *c = d->containers;
    for (uint32_t i = 0; i < c->n_passes; i++)
        d->first_pass[c->passes[i].grant + 2]++;
    for (uint32_t i = 1; i <= d->model->n_grants + 1; i++)
        d->first_pass[i] += d->first_pass[i - 1];
    for (uint32_t i = 0; i < c->n_passes; i++)
        d->passes[d->first_pass[c->passes[i].grant + 1]++] = i;
}

static int prepare(struct declaring *d)
{
    const struct model *m = d->model;
    size_t n_scratch = d->sources->n > m->n_services ? d->sources->n : m->n_services;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        n_scratch += m->hosts[i].gateway ? m->hosts[i].addresses.n : 0;
    d->host_mark = arena_array(&d->arena, m->n_hosts, uint32_t);
    d->segment_mark = arena_array(&d->arena, m->n_segments, uint32_t);
    d->passes = arena_array(&d->arena, d->containers->n_passes, uint32_t);
    d->first_pass = arena_array(&d->arena, (size_t)m->n_grants + 2, uint32_t);
    d->ranges = arena_array(&d->arena, d->sources->n, struct relation_range);
    d->others = arena_array(&d->arena, n_scratch, struct relation_range);
    if (!d->host_mark || !d->segment_mark || !d->ranges || !d->others || !d->passes || !d->first_pass)
        return -ENOMEM;
    index_passes(d);
    int r = index_members(d, true, m->n_hosts, &d->of_host);
    if (r == 0)
        r = index_members(d, false, m->n_segments, &d->of_segment);
    return r == 0 ? find_needs(d) : r;
}

static int declare(struct declaring *d)
{
    int r = prepare(d);
    const struct need *needs = (const struct need *)(const void *)d->needs.ptr;
    size_t at = 0, n = d->needs.len / sizeof *needs;
    for (uint32_t grant = 0; r == 0 && grant < d->model->n_grants; grant++) {
        r = take_sources(d, grant);
        if (r == 0)
            r = add_granted(d, grant);
        if (r == 0)
            r = declared_add_passes(d->containers, d->numbers, d->passes + d->first_pass[grant], d->first_pass[grant + 1] - d->first_pass[grant],
                                    d->relation);
        for (; r == 0 && at < n && needs[at].grant == grant; at++)
            r = add_need(d, &needs[at]);
    }
    return r == 0 ? declared_add_insides(d->containers, d->numbers, d->relation) : r;
}

int declared_add(const struct grants *grants, const struct sources *sources, const struct containers *containers,
                 const struct declared_numbers *numbers, struct relation *relation)
{
    struct declaring d = {
        .grants = grants, .model = grants->model, .sources = sources, .containers = containers, .numbers = numbers, .relation = relation,
    };
    arena_init(&d.arena, RELATION_MEMORY_MAX);
    buf_init(&d.needs, RELATION_MEMORY_MAX);
    int r = declare(&d);
    buf_deinit(&d.needs);
    table_deinit(&d.points);
    arena_deinit(&d.arena);
    return r;
}
