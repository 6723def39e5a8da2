/* An engine on paper for each host, the tables that hold it, and what their rules let pass. */
#include "cli/container_layer.h"

#include <errno.h>
#include <stdio.h>

#include "cli/container_rules.h"
#include "enforce/holding.h"

enum { V4, V6 };

/* ---- the engine on paper ---- */

/* One host's containers as Docker would list them: a network for each project, and one for those without. */
struct paper {
    struct container_layer *layer;
    const struct containers *known;
    uint32_t host, first, n;           /* its containers */
    uint32_t n_bridges;
    uint32_t at;                       /* of 198.18.0.0/15, what is given away */
    struct docker_containers containers;
    struct docker_networks networks;
    struct links links;
    int *namespaces;
};

/* Nobody's: a range for benchmarks (RFC 2544, appendix C.2.2), and a unique local one. */
static struct address v4_address(uint32_t n)
{
    const uint32_t value = (198u << 24 | 18u << 16) + n;
    return (struct address){ { [10] = 0xff, [11] = 0xff, [12] = (uint8_t)(value >> 24), [13] = (uint8_t)(value >> 16), [14] = (uint8_t)(value >> 8),
                               [15] = (uint8_t)value } };
}

static struct address v6_address(uint32_t bridge, uint32_t n)
{
    return (struct address){ { 0xfd, 0x5a, 0x7c, 0x31, 0x90, 0xe2, (uint8_t)(bridge >> 8), (uint8_t)bridge, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n } };
}

static struct str paper_text(struct paper *p, const char *prefix, uint32_t n)
{
    return arena_printf(&p->layer->arena, "%s%u", prefix, n);
}

static void add_link(struct paper *p, const struct link *link)
{
    buf_append(&p->links.links, str_make((const char *)link, sizeof *link));
}

/* The bridge has the first address. Returns the subnet's first, as numbers of v4_address. */
static int add_network(struct paper *p, struct str project, uint32_t n_members, uint32_t *ret_first)
{
    struct docker_network *network = &p->networks.items[p->n_bridges];
    struct docker_subnet *subnets = arena_array(&p->layer->arena, 2, struct docker_subnet);
    uint32_t size = 4;
    unsigned bits = 126;
    for (; size < n_members + 3; size *= 2)
        bits--;
    uint32_t base = (p->at + size - 1) / size * size;
    *network = (struct docker_network){
        .id = paper_text(p, "n", p->n_bridges), .name = paper_text(p, "network-", p->n_bridges), .driver = STR("bridge"), .scope = STR("local"),
        .project = project, .bridge = paper_text(p, "pb", p->n_bridges), .icc = true, .masquerade = true, .has_ipv6 = true, .n_subnets = 2, .subnets = subnets,
    };
    struct link link = { .index = (int)p->n_bridges + 1, .peer_namespace = LINKS_NO_NAMESPACE, .is_bridge = true };
    if (!subnets || !network->id.ptr || !network->name.ptr || !network->bridge.ptr)
        return -ENOMEM;
    str_copy(link.name, sizeof link.name, network->bridge);
    add_link(p, &link);
    subnets[V4] = (struct docker_subnet){ { v4_address(base), (uint8_t)bits }, true, v4_address(base + 1) };
    subnets[V6] = (struct docker_subnet){ { v6_address(p->n_bridges, 0), 64 }, true, v6_address(p->n_bridges, 1) };
    for (unsigned i = 0; i < 2; i++)
        buf_append(&p->links.prefixes, str_make((const char *)&subnets[i].prefix, sizeof subnets[i].prefix));
    p->at = base + size;
    *ret_first = base + 2;
    return p->links.links.error ? p->links.links.error : p->links.prefixes.error;
}

static int add_container(struct paper *p, uint32_t number, uint32_t first, uint32_t member)
{
    const struct container *known = &p->known->items[number];
    uint32_t i = p->containers.n++;
    struct docker_endpoint *endpoint = arena_new(&p->layer->arena, struct docker_endpoint);
    const struct docker_network *network = &p->networks.items[p->n_bridges];
    struct docker_container *container = &p->containers.items[i];
    struct container_place *place = &p->layer->places[number];
    struct link veth = { .index = (int)(p->n * 2 + i), .master = (int)p->n_bridges + 1, .peer_namespace = (int)i };
    if (!endpoint)
        return -ENOMEM;
    snprintf(veth.name, sizeof veth.name, "veth%u", i);
    add_link(p, &veth);
    p->namespaces[i] = (int)i;
    *place = (struct container_place){ .addresses = { v4_address(first + member), v6_address(p->n_bridges, 2 + member) } };
    str_copy(place->bridge, sizeof place->bridge, network->bridge);
    str_copy(place->port, sizeof place->port, str_of(veth.name));
    *endpoint = (struct docker_endpoint){
        .network = network->name, .network_id = network->id, .has_v4 = true, .has_v6 = true, .v4 = place->addresses[V4], .v6 = place->addresses[V6],
        .gateway_v4 = network->subnets[V4].gateway, .gateway_v6 = network->subnets[V6].gateway, .v4_bits = network->subnets[V4].prefix.bits, .v6_bits = 64,
    };
    *container = (struct docker_container){
        .id = paper_text(p, "c", i), .name = known->project.len ? paper_text(p, "container-", i) : known->reference, .project = known->project,
        .service = known->project.len ? str_skip(known->reference, known->project.len + 1) : STR(""), .number = 1, .state = DOCKER_RUNNING,
        .is_running = true, .network_mode = DOCKER_NETWORKS, .n_endpoints = 1, .endpoints = endpoint,
    };
    return container->id.ptr && container->name.ptr ? p->links.links.error : -ENOMEM;
}

struct sorted {
    struct str project;
    uint32_t container;
};

static int compare_sorted(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int order = str_compare(x->project, y->project);
    return order ? order : (x->container > y->container) - (x->container < y->container);
}

static int draw(struct paper *p)
{
    struct arena *arena = &p->layer->arena;
    struct sorted *sorted = arena_array(arena, p->n, struct sorted);
    p->containers.items = arena_array(arena, p->n, struct docker_container);
    p->networks.items = arena_array(arena, p->n, struct docker_network);
    p->namespaces = arena_array(arena, p->n, int);
    if (!sorted || !p->containers.items || !p->networks.items || !p->namespaces)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->n; i++)
        sorted[i] = (struct sorted){ p->known->items[p->first + i].project, p->first + i };
    qsort(sorted, p->n, sizeof *sorted, compare_sorted);
    int r = 0;
    for (uint32_t i = 0, end = 0; r == 0 && i < p->n; i = end, p->n_bridges++) {
        uint32_t first = 0;
        while (end < p->n && str_equal(sorted[end].project, sorted[i].project))
            end++;
        r = add_network(p, sorted[i].project, end - i, &first);
        for (uint32_t k = i; r == 0 && k < end; k++)
            r = add_container(p, sorted[k].container, first, k - i);
    }
    p->networks.n = p->n_bridges;
    return r;
}

/* ---- the tables ---- */

static int hold(struct paper *p, struct error *err)
{
    struct holding_notes notes = { 0 };
    struct holding_counts counts = { 0 };
    struct container_filter *filter = arena_new(&p->layer->arena, struct container_filter);
    const struct holding_input input = {
        .model = p->layer->access->model, .host = p->host, .containers = &p->containers, .networks = &p->networks, .links = &p->links,
        .namespaces = p->namespaces,
    };
    if (!filter)
        return -ENOMEM;
    buf_init(&notes.text, 1 << 24);
    int r = holding_init(filter, &input, &notes, &counts, err);
    buf_deinit(&notes.text);
    if (r == 0)
        p->layer->filters[p->host] = filter;
    return r;
}

static bool enforces_any(const struct model *m, uint32_t host)
{
    for (uint32_t i = 0; i < m->n_projects; i++)
        if (m->projects[i].mode == MODEL_MODE_ENFORCE && model_runs_on(&m->projects[i].hosts, host))
            return true;
    return false;
}

static int read_host(struct container_layer *layer, uint32_t host, struct error *err)
{
    const struct containers *known = &layer->access->containers;
    struct paper p = { .layer = layer, .known = known, .host = host, .first = known->first_of_host[host] };
    p.n = known->first_of_host[host + 1] - p.first;
    if (p.n == 0 || !enforces_any(layer->access->model, host))
        return 0;
    if ((uint64_t)p.n * p.n > CONTAINER_LAYER_WORK_MAX) {
        error_set(err, "%u containers of %.*s are too many to judge each pair of them", p.n, STR_ARG(layer->access->model->hosts[host].name.text));
        return -E2BIG;
    }
    buf_init(&p.links.links, 1 << 24);
    buf_init(&p.links.prefixes, 1 << 24);
    int r = draw(&p);
    if (r == 0)
        r = hold(&p, err);
    links_deinit(&p.links);
    return r;
}

int container_layer_init(struct container_layer *ret, const struct access *access, struct error *err)
{
    struct container_layer layer = { .access = access };
    arena_init(&layer.arena, 0);
    layer.filters = arena_array(&layer.arena, access->model->n_hosts, struct container_filter *);
    layer.places = arena_array(&layer.arena, access->containers.n, struct container_place);
    int r = layer.filters && layer.places ? 0 : -ENOMEM;
    for (uint32_t host = 0; r == 0 && host < access->model->n_hosts; host++)
        r = read_host(&layer, host, err);
    if (r < 0)
        container_layer_deinit(&layer);
    else
        *ret = layer;
    return r;
}

void container_layer_deinit(struct container_layer *layer)
{
    for (uint32_t i = 0; layer->filters && i < layer->access->model->n_hosts; i++)
        if (layer->filters[i])
            container_filter_deinit(layer->filters[i]);
    arena_deinit(&layer->arena);
    layer->filters = NULL;
}

/* ---- asking ---- */

static struct container_packet packet_from(const struct container_layer *layer, uint32_t from, unsigned family, uint8_t protocol, uint16_t port)
{
    const struct container_place *place = &layer->places[from];
    return (struct container_packet){
        .bridge = place->bridge, .port = place->port, .from = &place->addresses[family], .protocol = protocol, .number = port,
    };
}

static const struct container_filter *filter_of(const struct container_layer *layer, uint32_t container)
{
    return layer->filters[layer->access->containers.items[container].host];
}

/* By each family that the packet has, with br_netfilter and without: any of them, or all. */
struct gathering {
    bool any, all;
    const struct container_element *entry;
};

static void gather(struct gathering *g, const struct container_filter *filter, const struct container_packet *packet)
{
    for (unsigned br_netfilter = 0; br_netfilter < 2; br_netfilter++) {
        const struct container_element *entry = NULL;
        bool passes = container_rules_pass(filter, packet, br_netfilter, &entry);
        g->any |= passes;
        g->all &= passes;
        if (passes && entry)
            g->entry = entry;
    }
}

static enum container_answer conclude(const struct gathering *g, bool is_any, struct str *ret_rule)
{
    bool passes = is_any ? g->any : g->all;
    if (ret_rule)
        *ret_rule = passes && g->entry ? g->entry->comment : STR_NONE;
    return passes ? CONTAINER_YES : CONTAINER_NO;
}

enum container_answer container_layer_ask_container(const struct container_layer *layer, uint32_t from, uint32_t to, uint8_t protocol, uint16_t port,
                                                    bool is_any, struct str *ret_rule)
{
    const struct containers *known = &layer->access->containers;
    const struct container_filter *filter = filter_of(layer, from);
    struct gathering g = { .all = true };
    if (ret_rule)
        *ret_rule = STR_NONE;
    if (!filter || (!containers_is_enforced(known, from) && !containers_is_enforced(known, to)))
        return CONTAINER_UNHELD;
    for (unsigned family = 0; family < 2; family++) {
        struct container_packet packet = packet_from(layer, from, family, protocol, port);
        packet.to = &layer->places[to].addresses[family];
        packet.to_bridge = layer->places[to].bridge;
        gather(&g, filter, &packet);
    }
    return conclude(&g, is_any, ret_rule);
}

enum container_answer container_layer_ask_internet(const struct container_layer *layer, uint32_t from, bool is_any, struct str *ret_rule)
{
    /* Of blocks for documentation, which no host can have and no table knows (RFC 5737, RFC 3849). */
    static const struct address outside[2] = {
        { { [10] = 0xff, [11] = 0xff, [12] = 203, [14] = 113, [15] = 1 } },
        { { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } },
    };
    struct gathering g = { .all = true };
    if (ret_rule)
        *ret_rule = STR_NONE;
    if (!containers_is_enforced(&layer->access->containers, from))
        return CONTAINER_UNHELD;
    for (unsigned family = 0; family < 2; family++) {
        struct container_packet packet = packet_from(layer, from, family, RELATION_TCP, 443);
        packet.to = &outside[family];
        gather(&g, filter_of(layer, from), &packet);
    }
    return conclude(&g, is_any, ret_rule);
}

static bool has_address(const struct model_prefixes *prefixes, const struct address *address)
{
    for (uint32_t i = 0; i < prefixes->n; i++)
        if (address_prefix_contains(&prefixes->items[i], address))
            return true;
    return false;
}

static bool is_of_host(const struct model *m, uint32_t host, const struct address *address)
{
    bool is_own = has_address(&m->hosts[host].addresses, address) || has_address(&m->hosts[host].lan, address);
    for (uint32_t i = 0; !is_own && i < m->n_surfaces; i++)
        is_own = model_runs_on(&m->surfaces[i].hosts, host) && has_address(&m->surfaces[i].addresses, address);
    return is_own;
}

enum container_answer container_layer_ask_address(const struct container_layer *layer, uint32_t from, const struct address *to, uint8_t protocol,
                                                  uint16_t port, struct str *ret_rule)
{
    const struct containers *known = &layer->access->containers;
    struct gathering g = { .all = true };
    if (ret_rule)
        *ret_rule = STR_NONE;
    if (!containers_is_enforced(known, from))
        return CONTAINER_UNHELD;
    struct container_packet packet = packet_from(layer, from, address_is_v4(to) ? V4 : V6, protocol, port);
    packet.to = to;
    packet.is_local = is_of_host(layer->access->model, known->items[from].host, to);
    gather(&g, filter_of(layer, from), &packet);
    return conclude(&g, true, ret_rule);
}

/* ---- proving ---- */

struct proving {
    const struct container_layer *layer;
    const struct containers *known;
    struct container_proof *proof;
    struct buf items;          /* struct container_difference */
    struct buf keys;           /* uint32_t: protocol << 16 | port, of one pair */
    uint32_t from;
    /* What is asked of now: */
    uint32_t to;               /* MODEL_NONE: the address, or the internet */
    const struct address *address;
};

static uint32_t line_of_grant(const struct proving *p, uint32_t grant)
{
    return p->known->model->grants[grant].at.line;
}

/* What the declaration says to it, and where. Protocol 0: of every port. */
static bool is_declared(const struct proving *p, uint8_t protocol, uint16_t port, uint32_t *ret_line)
{
    const struct model *m = p->known->model;
    uint32_t host = p->known->items[p->from].host;
    *ret_line = 0;
    if (p->to != MODEL_NONE && containers_is_inside(p->known, p->from, p->to)) {
        uint32_t listed = p->known->items[p->from].listed;
        *ret_line = listed != MODEL_NONE ? m->projects[listed].name.at.line : 0;
        return true;
    }
    for (uint32_t i = p->known->first_of_pass[p->from]; i < p->known->first_of_pass[p->from + 1]; i++) {
        const struct container_pass *pass = &p->known->passes[i];
        bool is_port = pass->port == port && (pass->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP) == protocol;
        bool is_it = false;
        if (pass->way == CONTAINER_WAY_CONTAINER)
            is_it = p->to != MODEL_NONE && pass->to == p->to && is_port;
        else if (pass->way == CONTAINER_WAY_INTERNET)
            is_it = p->to == MODEL_NONE && !p->address;
        else
            is_it = p->to == MODEL_NONE && p->address && is_port &&
                    has_address(m->surfaces[pass->to].addresses.n ? &m->surfaces[pass->to].addresses : &m->hosts[host].addresses, p->address);
        if (is_it) {
            *ret_line = line_of_grant(p, pass->grant);
            return true;
        }
    }
    return false;
}

static void add_difference(struct proving *p, enum container_difference_kind kind, uint8_t protocol, uint16_t port, uint32_t line, struct str rule)
{
    if (p->to == MODEL_NONE && !p->address)
        protocol = 0;
    struct container_difference d = { .kind = kind, .from = p->from, .to = p->to, .protocol = protocol, .port = port, .line = line, .rule = rule };
    if (p->address)
        d.address = *p->address;
    if (p->items.len / sizeof d >= CONTAINER_DIFFERENCES_MAX)
        p->proof->is_cut = true;
    else
        buf_append(&p->items, str_make((const char *)&d, sizeof d));
}

/* One port, or with probe one that stands for all that nobody names. */
static void compare(struct proving *p, uint8_t protocol, uint16_t port, bool is_rest)
{
    struct str rule = STR_NONE;
    uint32_t line = 0;
    bool declared = is_declared(p, protocol, port, &line);
    for (unsigned any = 0; any < 2; any++) {
        enum container_answer answer = p->to != MODEL_NONE ? container_layer_ask_container(p->layer, p->from, p->to, protocol, port, any, &rule) :
                                       p->address ? container_layer_ask_address(p->layer, p->from, p->address, protocol, port, &rule) :
                                                    container_layer_ask_internet(p->layer, p->from, any, &rule);
        if (answer == CONTAINER_UNHELD)
            return;
        if (any ? answer == CONTAINER_YES && !declared : answer == CONTAINER_NO && declared) {
            add_difference(p, any ? CONTAINER_EXTRA : CONTAINER_MISSING, protocol, is_rest ? 0 : port, line, rule);
            return;
        }
    }
}

static void name_port(struct proving *p, uint8_t protocol, uint16_t port)
{
    const uint32_t key = (uint32_t)protocol << 16 | port;
    buf_append(&p->keys, str_make((const char *)&key, sizeof key));
}

static void name_entries(struct proving *p, enum container_set set, const char *bridge, const struct address *from, const struct address *to)
{
    uint32_t n;
    const struct container_element *element = container_rules_grants(filter_of(p->layer, p->from), set, bridge, from, to, &n);
    for (uint32_t i = 0; i < n; i++)
        name_port(p, element[i].protocol, element[i].port);
}

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Every port that tables or declaration name for it, each once, and one of each protocol that they don't. */
static int compare_ports(struct proving *p)
{
    const struct container_place *place = &p->layer->places[p->from];
    buf_clear(&p->keys);
    for (unsigned family = 0; family < 2; family++) {
        const struct address *to = p->to != MODEL_NONE ? &p->layer->places[p->to].addresses[family] : p->address;
        if (address_is_v4(to) != (family == V4))
            continue;
        name_entries(p, CONTAINER_GRANTED4, place->bridge, &place->addresses[family], to);
        name_entries(p, CONTAINER_PASSES4, "", &place->addresses[family], to);
    }
    for (uint32_t i = p->known->first_of_pass[p->from]; i < p->known->first_of_pass[p->from + 1]; i++)
        if (p->known->passes[i].way != CONTAINER_WAY_INTERNET)
            name_port(p, p->known->passes[i].transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, p->known->passes[i].port);
    uint32_t *keys = (uint32_t *)(void *)p->keys.ptr, n = (uint32_t)(p->keys.len / sizeof *keys);
    if (p->keys.error)
        return p->keys.error;
    if (n)
        qsort(keys, n, sizeof *keys, compare_numbers);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || keys[i] != keys[i - 1])
            compare(p, (uint8_t)(keys[i] >> 16), (uint16_t)keys[i], false);
    for (unsigned udp = 0; udp < 2; udp++) {
        uint32_t key = (uint32_t)(udp ? RELATION_UDP : RELATION_TCP) << 16 | 1;
        while (n && bsearch(&key, keys, n, sizeof *keys, compare_numbers))
            key++;
        compare(p, (uint8_t)(key >> 16), (uint16_t)key, true);
    }
    return p->items.error;
}

static int compare_addresses(struct proving *p, const struct model_prefixes *addresses)
{
    int r = 0;
    p->to = MODEL_NONE;
    for (uint32_t i = 0; r == 0 && i < addresses->n; i++) {
        p->address = &addresses->items[i].address;
        r = compare_ports(p);
    }
    p->address = NULL;
    return r;
}

static int prove_container(struct proving *p)
{
    const struct model *m = p->known->model;
    uint32_t host = p->known->items[p->from].host;
    bool is_enforced = containers_is_enforced(p->known, p->from);
    int r = 0;
    if (!filter_of(p->layer, p->from))
        return 0;
    for (p->to = p->known->first_of_host[host]; r == 0 && p->to < p->known->first_of_host[host + 1]; p->to++)
        if (p->to != p->from && (is_enforced || containers_is_enforced(p->known, p->to)))
            r = compare_ports(p);
    p->to = MODEL_NONE;
    if (!is_enforced)
        return r;
    compare(p, RELATION_TCP, 443, true);
    for (uint32_t i = 0; r == 0 && i < m->n_hosts; i++) {
        r = compare_addresses(p, &m->hosts[i].addresses);
        if (r == 0)
            r = compare_addresses(p, &m->hosts[i].lan);
    }
    for (uint32_t i = 0; r == 0 && i < m->n_surfaces; i++)
        if (model_runs_on(&m->surfaces[i].hosts, host))
            r = compare_addresses(p, &m->surfaces[i].addresses);
    return r;
}

static int take(struct proving *p)
{
    struct container_proof *proof = p->proof;
    proof->n = (uint32_t)(p->items.len / sizeof *proof->items);
    proof->items = arena_array(&proof->arena, proof->n, struct container_difference);
    proof->unheld = arena_array(&proof->arena, p->known->n, uint32_t);
    if (!proof->items || !proof->unheld)
        return -ENOMEM;
    if (proof->n)
        memcpy(proof->items, p->items.ptr, p->items.len);
    for (uint32_t i = 0; i < p->known->n; i++)
        if (containers_is_enforced(p->known, i))
            proof->n_enforced++;
        else
            proof->unheld[proof->n_unheld++] = i;
    return 0;
}

int container_layer_prove(const struct container_layer *layer, struct container_proof *ret)
{
    struct container_proof proof = { 0 };
    struct proving p = { .layer = layer, .known = &layer->access->containers, .proof = &proof };
    uint64_t work = 0;
    arena_init(&proof.arena, 0);
    buf_init(&p.items, (size_t)CONTAINER_DIFFERENCES_MAX * sizeof(struct container_difference));
    buf_init(&p.keys, 64 << 20);
    for (uint32_t i = 0; i < p.known->n; i++)
        work += containers_is_enforced(p.known, i) ? p.known->model->n_hosts : 0;
    int r = work > CONTAINER_LAYER_WORK_MAX ? -E2BIG : 0;
    for (p.from = 0; r == 0 && p.from < p.known->n; p.from++)
        r = prove_container(&p);
    if (r == 0)
        r = take(&p);
    buf_deinit(&p.items);
    buf_deinit(&p.keys);
    if (r < 0)
        arena_deinit(&proof.arena);
    else
        *ret = proof;
    return r;
}

void container_proof_deinit(struct container_proof *proof)
{
    arena_deinit(&proof->arena);
}
