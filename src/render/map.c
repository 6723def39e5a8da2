/* Building the graph: flows without their addresses, then ports with the same parties put together. */
#include "render/map.h"

#include <errno.h>

/* ---- what gateways can hand on ---- */

static bool is_beyond_loopback(const struct model_prefixes *addresses)
{
    for (uint32_t i = 0; i < addresses->n; i++)
        if (!address_is_loopback(&addresses->items[i].address))
            return true;
    return false;
}

bool map_gateway_reaches(const struct model *model, uint32_t gateway, const struct model_service *service, uint32_t instance_host)
{
    if (!model->hosts[gateway].gateway)
        return false;
    if (gateway == instance_host)
        return true;
    if (service->where != MODEL_WHERE_HOST)
        return false;
    return service->addresses.n ? is_beyond_loopback(&service->addresses) : !service->loopback && model->hosts[instance_host].addresses.n;
}

bool map_is_served_by(const struct model *model, uint32_t gateway, const struct model_service *service)
{
    for (uint32_t k = 0; k < service->hosts.n; k++)
        if (map_gateway_reaches(model, gateway, service, service->hosts.items[k]))
            return true;
    return false;
}

bool map_is_handed(const struct map *map, uint32_t service, uint32_t instance_host, uint64_t surfaces)
{
    const struct model *m = map->model;
    for (uint32_t i = 0; i < m->n_surfaces; i++)
        for (uint32_t k = 0; surfaces >> i & 1 && k < m->surfaces[i].hosts.n; k++)
            if (map_gateway_reaches(m, m->surfaces[i].hosts.items[k], &m->services[service], instance_host))
                return true;
    return false;
}

/* ---- reach ---- */

static struct grants_cursor grants_of_party(const struct map *map, uint32_t party)
{
    if (party < map->model->n_hosts)
        return grants_of_host(&map->grants, party);
    return (struct grants_cursor){ .a = map->grants.by_segment[party - map->model->n_hosts] };
}

/* Surfaces that some gateway has from which the service can be reached. */
static uint64_t surfaces_that_serve(const struct map *map, const struct model_service *service)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < map->model->n_surfaces; i++) {
        const struct model_indexes *hosts = &map->model->surfaces[i].hosts;
        for (uint32_t k = 0; k < hosts->n; k++)
            if (map_is_served_by(map->model, hosts->items[k], service))
                bits |= UINT64_C(1) << i;
    }
    return bits;
}

void map_reach(const struct map *map, uint32_t party, uint64_t *ret, uint32_t *ret_grants)
{
    const struct model *m = map->model;
    struct grants_cursor cursor = grants_of_party(map, party);
    memset(ret, 0, m->n_services * sizeof *ret);
    for (uint32_t i = 0; ret_grants && i < m->n_services; i++)
        ret_grants[i] = MODEL_NONE;
    for (uint32_t grant; grants_next(&cursor, &grant);)
        for (uint32_t t = 0; t < m->grants[grant].n_to; t++) {
            const struct model_indexes *services = grants_target(&map->grants, grant, t);
            for (uint32_t k = 0; k < services->n; k++) {
                uint32_t s = services->items[k];
                uint64_t bits = map->grants.grant_surfaces[grant] & map->grants.service_surfaces[s] & map->services[s].surfaces;
                if (bits && ret_grants && ret_grants[s] == MODEL_NONE)
                    ret_grants[s] = grant;
                ret[s] |= bits;
            }
        }
}

uint32_t map_party_segment(const struct map *map, uint32_t party)
{
    return party < map->model->n_hosts ? map->model->hosts[party].segment : party - map->model->n_hosts;
}

struct str map_party_name(const struct map *map, uint32_t party, struct arena *arena)
{
    if (party < map->model->n_hosts)
        return map->model->hosts[party].name.text;
    return arena_printf(arena, "others in %.*s", STR_ARG(map->model->segments[party - map->model->n_hosts].name.text));
}

/* A party without an address can't be told from nobody, so that it reaches nothing. */
static bool party_is_known(const struct model *m, uint32_t party)
{
    return party < m->n_hosts ? m->hosts[party].addresses.n > 0 : m->segments[party - m->n_hosts].addresses.n > 0;
}

static int find_services(struct map *map)
{
    const struct model *m = map->model;
    uint64_t *reach = arena_array(&map->arena, m->n_services, uint64_t), *any = arena_array(&map->arena, m->n_services, uint64_t);
    uint32_t *grants = arena_array(&map->arena, m->n_services, uint32_t);
    map->services = arena_array(&map->arena, m->n_services, struct map_service);
    if (!reach || !any || !grants || !map->services)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++)
        map->services[i] = (struct map_service){ .surfaces = surfaces_that_serve(map, &m->services[i]), .grant = MODEL_NONE };
    for (uint32_t party = 0; party < map->n_parties; party++) {
        if (!party_is_known(m, party))
            continue;
        map_reach(map, party, reach, grants);
        for (uint32_t i = 0; i < m->n_services; i++) {
            any[i] |= reach[i];
            if (reach[i] && grants[i] < map->services[i].grant)
                map->services[i].grant = grants[i];
        }
    }
    for (uint32_t i = 0; i < m->n_services; i++)
        map->services[i].surfaces = any[i];
    return 0;
}

/* ---- ports ---- */

static bool contains(const struct model_indexes *list, uint32_t index)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (list->items[i] == index)
            return true;
    return false;
}

static bool listens_at(const struct model_prefixes *own, const struct address *address)
{
    for (uint32_t i = 0; i < own->n; i++)
        if (address_equal(&own->items[i].address, address))
            return true;
    return own->n == 0;
}

static uint32_t find_surface(const struct model *m, const struct flow *flow)
{
    for (uint32_t i = 0; i < m->n_surfaces; i++) {
        const struct model_surface *s = &m->surfaces[i];
        if ((s->port == flow->port || s->redirect_port == flow->port) && contains(&s->hosts, flow->host) && listens_at(&s->addresses, &flow->destination))
            return i;
    }
    return MODEL_NONE;
}

static void find_services_at(const struct model *m, const struct flow *flow, struct map_port *port)
{
    enum model_kind kind = flow->reason == FLOW_DIRECT ? MODEL_KIND_DIRECT : MODEL_KIND_WEB;
    for (uint32_t i = 0; i < m->n_services; i++) {
        const struct model_service *s = &m->services[i];
        if (s->kind != kind || s->port != flow->port || (kind == MODEL_KIND_DIRECT ? s->transport != flow->transport : s->where != MODEL_WHERE_HOST))
            continue;
        if (!contains(&s->hosts, flow->host) || !listens_at(&s->addresses, &flow->destination))
            continue;
        if (port->service == MODEL_NONE)
            port->service = i;
        port->n_services++;
    }
}

/* The same port for flows that differ in address, family or source only. A redirecting port is its surface's. */
static struct map_port port_of(const struct model *m, const struct flow *flow)
{
    struct map_port port = { .host = flow->host, .port = flow->port, .transport = flow->transport, .reason = flow->reason,
                             .surface = MODEL_NONE, .service = MODEL_NONE, .grant = flow->grant };
    if (flow->reason == FLOW_SURFACE && (port.surface = find_surface(m, flow)) != MODEL_NONE) {
        port.port = m->surfaces[port.surface].port;
        port.redirect_port = m->surfaces[port.surface].redirect_port;
    }
    if (flow->reason == FLOW_DIRECT || flow->reason == FLOW_INSTANCE)
        find_services_at(m, flow, &port);
    return port;
}

struct found {
    struct map_port port;
    uint64_t *parties;
};

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static const uint8_t reason_order[] = { [FLOW_SURFACE] = 0, [FLOW_DIRECT] = 1, [FLOW_HOST_PORT] = 2, [FLOW_INSTANCE] = 3 };

static int compare_places(const struct map_port *a, const struct map_port *b)
{
    int order = compare_numbers(reason_order[a->reason], reason_order[b->reason]);
    order = order ? order : compare_numbers(a->surface, b->surface);
    order = order ? order : compare_numbers(a->host, b->host);
    order = order ? order : compare_numbers(a->transport, b->transport);
    return order ? order : compare_numbers(a->port, b->port);
}

static int compare_found(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    return compare_places(&a->port, &b->port);
}

static int add_flow(struct map *map, struct buf *found, const struct flows *flows, const struct flow *flow)
{
    const struct source_range *from = &flows->sources.items[flow->source];
    uint32_t party = from->host != MODEL_NONE ? from->host : map->model->n_hosts + from->segment;
    struct found new = { .port = port_of(map->model, flow) };
    struct found *items = (struct found *)(void *)found->ptr;
    size_t n = found->len / sizeof *items, at = n;
    while (at > 0 && compare_places(&items[at - 1].port, &new.port) != 0)
        at--;
    if (at == 0) {
        new.parties = arena_array(&map->arena, map->n_words, uint64_t);
        if (!new.parties)
            return -ENOMEM;
        buf_append(found, str_make((const char *)&new, sizeof new));
        if (found->error)
            return found->error;
        items = (struct found *)(void *)found->ptr;
        at = n + 1;
    }
    struct found *f = &items[at - 1];
    if (new.port.grant < f->port.grant)
        f->port.grant = new.port.grant;
    f->parties[party / 64] |= UINT64_C(1) << party % 64;
    map->asks[party / 64] |= UINT64_C(1) << party % 64;
    return 0;
}

/* ---- bundles ---- */

static bool is_same_bundle(const struct map *map, const struct found *a, const struct found *b)
{
    return a->port.reason == b->port.reason && a->port.surface == b->port.surface && memcmp(a->parties, b->parties, map->n_words * sizeof *a->parties) == 0;
}

static uint32_t count_parties(const struct map *map, const uint64_t *parties)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < map->n_words; i++)
        n += (uint32_t)__builtin_popcountll(parties[i]);
    return n;
}

/* found is sorted: bundles come in its order, each with all of its ports, which stay in that order. */
static int make_bundles(struct map *map, const struct found *found, uint32_t n)
{
    bool *taken = arena_array(&map->arena, n, bool);
    map->ports = arena_array(&map->arena, n, struct map_port);
    map->bundles = arena_array(&map->arena, n, struct map_bundle);
    if (!taken || !map->ports || !map->bundles)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (taken[i])
            continue;
        struct map_bundle *bundle = &map->bundles[map->n_bundles];
        *bundle = (struct map_bundle){ .parties = found[i].parties, .n_parties = count_parties(map, found[i].parties), .first_port = map->n_ports,
                                       .surface = found[i].port.surface, .reason = found[i].port.reason };
        for (uint32_t k = i; k < n; k++) {
            if (taken[k] || !is_same_bundle(map, &found[i], &found[k]))
                continue;
            taken[k] = true;
            map->ports[map->n_ports] = found[k].port;
            map->ports[map->n_ports++].bundle = map->n_bundles;
            bundle->n_ports++;
        }
        map->n_bundles++;
    }
    return 0;
}

static int find_ports(struct map *map)
{
    cleanup_flows struct flows flows = { 0 };
    cleanup_buf struct buf found;
    buf_init(&found, 64 << 20);
    int r = flows_init(&flows, &map->grants, MODEL_NONE);
    for (uint32_t i = 0; r == 0 && i < flows.n; i++)
        if (flows.items[i].host != MODEL_NONE)
            r = add_flow(map, &found, &flows, &flows.items[i]);
    if (r < 0)
        return r;
    uint32_t n = (uint32_t)(found.len / sizeof(struct found));
    if (n)
        qsort(found.ptr, n, sizeof(struct found), compare_found);
    return make_bundles(map, (const struct found *)(const void *)found.ptr, n);
}

/* ---- groups ---- */

static bool is_port_of_its_own(const struct map *map, uint32_t service, uint32_t host)
{
    for (uint32_t i = 0; i < map->n_ports; i++) {
        const struct map_port *port = &map->ports[i];
        const struct model_service *s = &map->model->services[service];
        if (port->host == host && port->service != MODEL_NONE && port->port == s->port && (s->kind == MODEL_KIND_DIRECT) == (port->reason == FLOW_DIRECT))
            return s->kind == MODEL_KIND_DIRECT || (s->where == MODEL_WHERE_HOST && !map->model->hosts[host].gateway);
    }
    return false;
}

/* Every instance on the host that has these surfaces. */
static void fill_group(struct map *map, uint32_t host, uint64_t surfaces, bool *taken)
{
    const struct model *m = map->model;
    struct map_group *group = &map->groups[map->n_groups++];
    *group = (struct map_group){ .surfaces = surfaces, .host = host, .first_service = map->n_grouped };
    for (uint32_t i = 0; i < m->n_services; i++)
        if (!taken[i] && map->services[i].surfaces == surfaces) {
            taken[i] = true;
            map->group_services[map->n_grouped++] = i;
            group->n_services++;
        }
}

static int make_groups(struct map *map)
{
    const struct model *m = map->model;
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_services; i++)
        n += m->services[i].hosts.n;
    bool *taken = arena_array(&map->arena, m->n_services, bool);
    map->groups = arena_array(&map->arena, n, struct map_group);
    map->group_services = arena_array(&map->arena, n, uint32_t);
    if (!taken || !map->groups || !map->group_services)
        return -ENOMEM;
    for (uint32_t host = 0; host < m->n_hosts; host++) {
        for (uint32_t i = 0; i < m->n_services; i++)
            taken[i] = !contains(&m->services[i].hosts, host) || is_port_of_its_own(map, i, host);
        for (uint32_t i = 0; i < m->n_services; i++)
            if (!taken[i])
                fill_group(map, host, map->services[i].surfaces, taken);
    }
    return 0;
}

bool map_host_serves(const struct map *map, uint32_t host)
{
    for (uint32_t i = 0; i < map->n_ports; i++)
        if (map->ports[i].host == host)
            return true;
    for (uint32_t i = 0; i < map->n_groups; i++)
        if (map->groups[i].host == host)
            return true;
    return false;
}

void map_port_label(const struct map *map, const struct map_port *port, struct buf *out)
{
    const char *transport = port->transport == MODEL_UDP ? "udp/" : "tcp/";
    struct str name = STR("");
    if (port->surface != MODEL_NONE)
        name = map->model->surfaces[port->surface].name.text;
    else if (port->service != MODEL_NONE)
        name = map->model->services[port->service].name.text;
    buf_printf(out, "%.*s", STR_ARG(name));
    if (port->n_services > 1)
        buf_printf(out, " +%u", port->n_services - 1);
    buf_printf(out, "%s%s%u", name.len ? " " : "", port->reason == FLOW_DIRECT || port->reason == FLOW_HOST_PORT ? transport : "", port->port);
}

static int build(struct map *map)
{
    int r = grants_init(&map->grants, map->model);
    if (r < 0)
        return r;
    map->n_parties = map->model->n_hosts + map->model->n_segments;
    map->n_words = map->n_parties / 64 + 1;
    map->asks = arena_array(&map->arena, map->n_words, uint64_t);
    if (!map->asks)
        return -ENOMEM;
    r = find_services(map);
    if (r == 0)
        r = find_ports(map);
    return r < 0 ? r : make_groups(map);
}

int map_init(struct map *ret, const struct model *model, struct error *err)
{
    struct map map = { .model = model };
    if (model->n_hosts > MAP_HOSTS_MAX || model->n_segments > MAP_HOSTS_MAX || model->n_services > MAP_SERVICES_MAX) {
        error_set(err, "too much for a picture: %u hosts and %u services; up to %d and %d are drawn", model->n_hosts, model->n_services, MAP_HOSTS_MAX,
                  MAP_SERVICES_MAX);
        return -EINVAL;
    }
    arena_init(&map.arena, (size_t)1 << 28);
    int r = build(&map);
    if (r < 0) {
        map_deinit(&map);
        return r;
    }
    *ret = map;
    return 0;
}

void map_deinit(struct map *map)
{
    grants_deinit(&map->grants);
    arena_deinit(&map->arena);
}
