/* Asking the layers one by one, in the order in which a packet meets them. */
#include "policy/explain.h"

static uint32_t host_of(const struct verify_layers *l, const struct address *address)
{
    const struct source_range *range = sources_find(l->sources, address);
    return range ? range->host : MODEL_NONE;
}

/* The host with that LAN address, or MODEL_NONE. */
static uint32_t lan_host_of(const struct verify_layers *l, const struct address *address)
{
    for (uint32_t i = 0; i < l->model->n_hosts; i++)
        for (uint32_t k = 0; k < l->model->hosts[i].lan.n; k++)
            if (address_prefix_contains(&l->model->hosts[i].lan.items[k], address))
                return i;
    return MODEL_NONE;
}

static const struct relation_reason *find_reason(const struct relation *relation, const struct address *from, const struct address *to,
                                                 uint8_t protocol, uint16_t port)
{
    uint32_t rule = relation ? relation_find_rule(relation, from, to, protocol, port) : UINT32_MAX;
    return rule == UINT32_MAX ? NULL : relation_reason(relation, relation_rule(relation, rule)->reason);
}

static struct explain_hop *add_hop(struct explain_path *path, enum explain_layer layer, uint32_t asker, uint32_t host)
{
    struct explain_hop *hop = &path->hops[path->n_hops++];
    *hop = (struct explain_hop){ .layer = layer, .asker = asker, .host = host, .service = MODEL_NONE, .answer = EXPLAIN_NOT_ASKED };
    return hop;
}

static void set_answer(struct explain_path *path, struct explain_hop *hop, enum explain_answer answer)
{
    if (!path->is_open)
        return;
    hop->answer = answer;
    path->is_open = answer != EXPLAIN_NO;
    path->n_passed += path->is_open;
}

/* A network layer's hop: asked only while the way is open. */
static void ask_network(const struct verify_layers *l, struct explain_path *path, enum explain_layer layer, const struct relation *relation,
                        uint32_t asker, uint32_t host, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    struct explain_hop *hop = add_hop(path, layer, asker, host);
    hop->to = *to;
    hop->protocol = protocol;
    hop->port = port;
    hop->declared = find_reason(l->declared, from, to, protocol, port);
    if (relation)
        hop->rule = find_reason(relation, from, to, protocol, port);
    set_answer(path, hop, relation ? (hop->rule ? EXPLAIN_YES : EXPLAIN_NO) : EXPLAIN_ABSENT);
}

static void pass_network(const struct verify_layers *l, struct explain_path *path, uint32_t asker, const struct address *from,
                         const struct address *to, uint8_t protocol, uint16_t port)
{
    uint32_t host = host_of(l, to), lan = host == MODEL_NONE ? lan_host_of(l, to) : MODEL_NONE;
    const struct relation *const *firewalls = lan != MODEL_NONE ? l->firewalls_lan : l->firewalls;
    if (lan != MODEL_NONE) {
        /* The mesh has no say in what goes by the LAN. */
        struct explain_hop *hop = add_hop(path, EXPLAIN_LAN, asker, lan);
        hop->to = *to;
        set_answer(path, hop, EXPLAIN_ABSENT);
        host = lan;
    } else {
        ask_network(l, path, EXPLAIN_MESH, l->mesh, asker, host, from, to, protocol, port);
    }
    if (host != MODEL_NONE)
        ask_network(l, path, EXPLAIN_FIREWALL, firewalls ? firewalls[host] : NULL, asker, host, from, to, protocol, port);
}

/* ---- web services ---- */

static void pass_gateway(const struct verify_layers *l, struct explain_path *path, const struct gateway_layer *gateway, uint32_t service,
                         uint32_t surface)
{
    const struct address point = relation_service_point(surface, service);
    struct explain_hop *hop = add_hop(path, EXPLAIN_GATEWAY, MODEL_NONE, gateway->host);
    hop->service = service;
    hop->declared = find_reason(l->declared, &path->from, &point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT);
    hop->rule = find_reason(&gateway->relation, &path->from, &point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT);
    set_answer(path, hop, hop->rule ? EXPLAIN_YES : EXPLAIN_NO);
}

/* The better of two ways that share their beginning. */
static bool is_better(const struct explain_path *a, const struct explain_path *b)
{
    if (a->is_open != b->is_open)
        return a->is_open;
    return !a->is_open && a->n_passed > b->n_passed;
}

static void pass_way(const struct verify_layers *l, struct explain_path *path, const struct gateway_layer *gateway, const struct gateway_way *way)
{
    if (way->kind != GATEWAY_WAY_NETWORK) {
        struct explain_hop *hop = add_hop(path, EXPLAIN_INSTANCE, gateway->host, gateway->host);
        hop->service = way->service;
        hop->way = way;
        set_answer(path, hop, way->kind == GATEWAY_WAY_HERE ? EXPLAIN_YES : EXPLAIN_NO);
        return;
    }
    struct explain_path start = *path, best = *path;
    bool has_any = false;
    const struct model_prefixes *own = &l->model->hosts[gateway->host].addresses;
    for (uint32_t k = 0; k < way->n_to; k++)
        for (uint32_t i = 0; i < own->n; i++) {
            struct explain_path next = start;
            if (address_is_v4(&own->items[i].address) != address_is_v4(&way->to[k]))
                continue;
            pass_network(l, &next, gateway->host, &own->items[i].address, &way->to[k], RELATION_TCP, way->port);
            struct explain_hop *hop = add_hop(&next, EXPLAIN_INSTANCE, gateway->host, host_of(l, &way->to[k]));
            hop->service = way->service;
            hop->way = way;
            hop->to = way->to[k];
            hop->port = way->port;
            set_answer(&next, hop, EXPLAIN_YES);
            if (!has_any || is_better(&next, &best))
                best = next;
            has_any = true;
        }
    *path = best;
    if (!has_any) {
        struct explain_hop *hop = add_hop(path, EXPLAIN_INSTANCE, gateway->host, MODEL_NONE);
        hop->service = way->service;
        hop->way = way;
        set_answer(path, hop, EXPLAIN_NO);
    }
}

/* ---- one flow ---- */

/* A direct port that a gateway relays. */
static void pass_relay(const struct verify_layers *l, struct explain_path *path, const struct address *to, uint8_t protocol, uint16_t port)
{
    for (uint32_t g = 0; g < l->n_gateways; g++) {
        const struct gateway_layer *gateway = &l->gateways[g];
        const struct gateway_port *relayed = gateway_layer_find_port(gateway, to, protocol, port);
        if (!relayed)
            continue;
        struct explain_hop *hop = add_hop(path, EXPLAIN_GATEWAY, MODEL_NONE, gateway->host);
        hop->service = relayed->service;
        hop->to = *to;
        hop->protocol = protocol;
        hop->port = port;
        hop->declared = find_reason(l->declared, &path->from, to, protocol, port);
        hop->rule = find_reason(&gateway->relation, &path->from, to, protocol, port);
        set_answer(path, hop, hop->rule ? EXPLAIN_YES : EXPLAIN_NO);
        for (uint32_t i = 0; i < gateway->n_ways; i++)
            if (gateway->ways[i].service == relayed->service && gateway->ways[i].surfaces == 0)
                pass_way(l, path, gateway, &gateway->ways[i]);
    }
}

void explain_flow(const struct verify_layers *layers, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port,
                  struct explain_path *ret)
{
    struct explain_path path = { .from = *from, .gateway = MODEL_NONE, .is_open = true };
    uint32_t host = host_of(layers, from), whose = host_of(layers, to);
    path.stays_on_host = host != MODEL_NONE && (host == whose || (whose == MODEL_NONE && host == lan_host_of(layers, to)));
    if (!path.stays_on_host) {
        pass_network(layers, &path, MODEL_NONE, from, to, protocol, port);
        pass_relay(layers, &path, to, protocol, port);
    }
    *ret = path;
}

/* ---- a web service, by all ways ---- */

static void pass_ways(const struct verify_layers *l, struct explain_path *path, const struct gateway_layer *gateway, uint32_t service,
                      uint32_t surface)
{
    struct explain_path best = *path;
    bool has_any = false;
    for (uint32_t i = 0; i < gateway->n_ways; i++) {
        struct explain_path next = *path;
        if (gateway->ways[i].service != service || !(gateway->ways[i].surfaces >> surface & 1))
            continue;
        pass_way(l, &next, gateway, &gateway->ways[i]);
        if (!has_any || is_better(&next, &best))
            best = next;
        has_any = true;
    }
    *path = best;
    if (!has_any) {
        struct explain_hop *hop = add_hop(path, EXPLAIN_INSTANCE, gateway->host, MODEL_NONE);
        hop->service = service;
        set_answer(path, hop, EXPLAIN_NO);
    }
}

void explain_web(const struct verify_layers *layers, const struct address *from, uint32_t service, uint32_t surface, struct explain_path *ret)
{
    struct explain_path best = { .from = *from, .gateway = MODEL_NONE };
    bool has_any = false;
    uint32_t asker = host_of(layers, from);
    for (uint32_t g = 0; g < layers->n_gateways; g++) {
        const struct gateway_layer *gateway = &layers->gateways[g];
        for (uint32_t i = 0; i < gateway->n_listeners; i++) {
            const struct gateway_listener *listener = &gateway->listeners[i];
            struct explain_path path = { .from = *from, .gateway = gateway->host, .is_open = true };
            if (listener->surface != surface || address_is_v4(&listener->address) != address_is_v4(from))
                continue;
            if (asker == MODEL_NONE || asker != gateway->host)
                pass_network(layers, &path, MODEL_NONE, from, &listener->address, RELATION_TCP, listener->port);
            pass_gateway(layers, &path, gateway, service, surface);
            pass_ways(layers, &path, gateway, service, surface);
            if (!has_any || is_better(&path, &best))
                best = path;
            has_any = true;
        }
    }
    *ret = best;
}

void explain_web_beside(const struct verify_layers *layers, const struct address *from, const struct explain_hop *way_in, uint32_t service,
                        uint32_t surface, struct explain_path *ret)
{
    struct explain_path path = { .from = *from, .gateway = MODEL_NONE, .is_open = true };
    struct explain_hop *hop = add_hop(&path, EXPLAIN_CONTAINER, MODEL_NONE, way_in->host);
    enum explain_answer answer = way_in->answer;
    *hop = *way_in;
    hop->answer = EXPLAIN_NOT_ASKED;
    set_answer(&path, hop, answer);
    for (uint32_t g = 0; g < layers->n_gateways; g++) {
        if (layers->gateways[g].host != way_in->host)
            continue;
        path.gateway = way_in->host;
        pass_gateway(layers, &path, &layers->gateways[g], service, surface);
        pass_ways(layers, &path, &layers->gateways[g], service, surface);
    }
    *ret = path;
}

const struct explain_hop *explain_closed(const struct explain_path *path)
{
    for (uint32_t i = 0; i < path->n_hops; i++)
        if (path->hops[i].answer == EXPLAIN_NO)
            return &path->hops[i];
    return NULL;
}
