/* Web services within the proof: by which gateways, over what network, to which instances. */
#include <errno.h>

#include "policy/verify_proof.h"

/* ---- classes ---- */

static int cut_points(struct proof *p, const struct relation_range *points, uint32_t n)
{
    const struct address nowhere = relation_service_point(UINT32_MAX, UINT32_MAX);
    const struct relation_range range = { nowhere, nowhere };
    struct relation_rule rule = { 0 };
    int r = relation_add_selector(&p->shape, &range, 1, &rule.source);
    if (r == 0)
        r = relation_add_selector(&p->shape, points, n, &rule.destination);
    return r == 0 ? relation_add_rule(&p->shape, &rule) : r;
}

/* What a gateway has on itself is reached alike, surface by surface; what it dials, each service by itself. */
static int shape_gateway(struct proof *p, const struct gateway_layer *gateway, struct relation_range *points)
{
    int r = 0;
    for (uint32_t surface = 0; r == 0 && surface < p->layers->model->n_surfaces; surface++) {
        uint32_t n = 0;
        for (uint32_t i = 0; r == 0 && i < gateway->n_ways; i++) {
            const struct gateway_way *way = &gateway->ways[i];
            struct address point = relation_service_point(surface, way->service);
            if (!(way->surfaces >> surface & 1) || way->kind == GATEWAY_WAY_NONE)
                continue;
            points[n] = (struct relation_range){ point, point };
            if (way->kind == GATEWAY_WAY_NETWORK)
                r = cut_points(p, &points[n], 1);
            else
                n++;
        }
        if (r == 0)
            r = cut_points(p, points, n);
    }
    return r;
}

int proof_shape_web(struct proof *proof)
{
    int r = 0;
    for (uint32_t g = 0; r == 0 && g < proof->layers->n_gateways; g++) {
        const struct gateway_layer *gateway = &proof->layers->gateways[g];
        struct relation_range *points = malloc(((size_t)gateway->n_ways + 1) * sizeof *points);
        r = points ? shape_gateway(proof, gateway, points) : -ENOMEM;
        free(points);
    }
    return r;
}

/* ---- reach ---- */

bool proof_passes(const struct proof *proof, const struct matrix *network, const struct address *from, const struct address *to,
                  uint8_t protocol, uint16_t port)
{
    if (proof->place_of[space_class_of(proof->space, SPACE_DESTINATION, to)] & PROOF_LAN_OPEN)
        return true;
    return matrix_allows(network, from, to, protocol, port);
}

const struct model_prefixes *proof_dials_from(const struct proof *proof, const struct gateway_layer *gateway, const struct address *to)
{
    const struct model_host *host = &proof->layers->model->hosts[gateway->host];
    bool is_mesh = proof->place_of[space_class_of(proof->space, SPACE_DESTINATION, to)] & PROOF_IS_MESH;
    return is_mesh || host->lan.n == 0 || proof_host_of(proof, to) == MODEL_NONE ? &host->addresses : &host->lan;
}

bool proof_way_is_open(const struct proof *proof, const struct matrix *network, const struct gateway_layer *gateway,
                       const struct gateway_way *way)
{
    if (way->kind != GATEWAY_WAY_NETWORK)
        return way->kind == GATEWAY_WAY_HERE;
    for (uint32_t k = 0; k < way->n_to; k++) {
        const struct model_prefixes *own = proof_dials_from(proof, gateway, &way->to[k]);
        for (uint32_t i = 0; i < own->n; i++)
            if (address_is_v4(&own->items[i].address) == address_is_v4(&way->to[k]) &&
                proof_passes(proof, network, &own->items[i].address, &way->to[k], RELATION_TCP, way->port))
                return true;
    }
    return false;
}

/* One gateway over one network. */
struct reaching {
    const struct proof *p;
    const struct matrix *network;
    const struct gateway_layer *gateway;
    uint64_t *open;        /* by service: the surfaces on which an instance can be dialled */
    bool *rows, *sources;  /* by the network's row, by source class: whether it reaches a listener of the surface */
    bool *points;          /* by destination class */
};

static void find_open(struct reaching *r)
{
    memset(r->open, 0, r->p->layers->model->n_services * sizeof *r->open);
    for (uint32_t i = 0; i < r->gateway->n_ways; i++) {
        const struct gateway_way *way = &r->gateway->ways[i];
        if ((way->surfaces & ~r->open[way->service]) && proof_way_is_open(r->p, r->network, r->gateway, way))
            r->open[way->service] |= way->surfaces;
    }
}

static bool is_of_family(const struct proof *p, uint32_t source, bool v4)
{
    struct relation_range range;
    for (uint32_t k = 0; space_class_range(p->space, SPACE_SOURCE, source, k, &range); k++)
        if (address_is_v4(&range.first) == v4)
            return true;
    return false;
}

static void reach_listener(struct reaching *r, const struct gateway_listener *listener)
{
    const struct proof *p = r->p;
    uint32_t to = space_class_of(p->space, SPACE_DESTINATION, &listener->address);
    uint32_t key = (uint32_t)RELATION_TCP << 16 | listener->port;
    bool is_open = p->place_of[to] & PROOF_LAN_OPEN;
    for (uint32_t i = 0; i < r->network->n_rows; i++) {
        const struct matrix_row *row = &r->network->rows[i];
        uint32_t at = matrix_row_find(row, to, key);
        r->rows[i] = at < row->n && row->items[at].destination == to && row->items[at].first <= key;
    }
    for (uint32_t k = 0; k < space_n_classes(p->space, SPACE_SOURCE); k++)
        if (!r->sources[k])
            r->sources[k] = r->rows[r->network->row_of[k]] || (is_open && is_of_family(p, k, address_is_v4(&listener->address)));
}

/* The gateway's own addresses reach its listeners without any network. */
static void reach_itself(struct reaching *r, uint32_t surface)
{
    const struct model_host *host = &r->p->layers->model->hosts[r->gateway->host];
    for (uint32_t i = 0; i < host->addresses.n + host->lan.n; i++) {
        const struct address *own = i < host->addresses.n ? &host->addresses.items[i].address : &host->lan.items[i - host->addresses.n].address;
        for (uint32_t k = 0; k < r->gateway->n_listeners; k++)
            if (r->gateway->listeners[k].surface == surface && address_is_v4(&r->gateway->listeners[k].address) == address_is_v4(own))
                r->sources[space_class_of(r->p->space, SPACE_SOURCE, own)] = true;
    }
}

/* So do the containers beside it. */
static void reach_beside(struct reaching *r)
{
    const struct containers *c = r->p->layers->containers;
    for (uint32_t i = c ? c->first_of_host[r->gateway->host] : 0; c && i < c->first_of_host[r->gateway->host + 1]; i++) {
        const struct address point = relation_container_point(i);
        r->sources[space_class_of(r->p->space, SPACE_SOURCE, &point)] = true;
    }
}

static void mark_points(struct reaching *r, uint32_t surface)
{
    struct relation_range range;
    uint32_t on, service;
    for (uint32_t k = 0; k < space_n_classes(r->p->space, SPACE_DESTINATION); k++)
        r->points[k] = space_class_range(r->p->space, SPACE_DESTINATION, k, 0, &range) && relation_is_service_point(&range.first, &on, &service) &&
                       on == surface && service < r->p->layers->model->n_services && (r->open[service] >> surface & 1);
}

static int unite_into(struct matrix *total, const struct matrix *more)
{
    struct matrix sum;
    int r = matrix_unite(total, more, &sum);
    if (r < 0)
        return r;
    matrix_deinit(total);
    *total = sum;
    return 0;
}

static int reach_surface(struct reaching *r, const struct matrix *verdicts, uint32_t surface, struct matrix *total)
{
    cleanup_matrix struct matrix reached = { 0 };
    bool is_served = false;
    memset(r->sources, 0, space_n_classes(r->p->space, SPACE_SOURCE) * sizeof *r->sources);
    for (uint32_t i = 0; i < r->gateway->n_listeners; i++)
        if (r->gateway->listeners[i].surface == surface) {
            reach_listener(r, &r->gateway->listeners[i]);
            is_served = true;
        }
    if (!is_served)
        return 0;
    reach_itself(r, surface);
    reach_beside(r);
    mark_points(r, surface);
    int e = matrix_restrict(verdicts, r->sources, r->points, &reached);
    return e == 0 ? unite_into(total, &reached) : e;
}

static int reach_gateway(struct reaching *r, const struct matrix *verdicts, struct matrix *total)
{
    int e = 0;
    find_open(r);
    for (uint32_t surface = 0; e == 0 && surface < r->p->layers->model->n_surfaces; surface++)
        e = reach_surface(r, verdicts, surface, total);
    return e;
}

int proof_reach_web(const struct proof *proof, const struct matrix *network, struct matrix *ret)
{
    struct matrix total = { 0 };
    struct reaching r = {
        .p = proof, .network = network,
        .open = calloc((size_t)proof->layers->model->n_services + 1, sizeof *r.open),
        .rows = malloc((size_t)network->n_rows + 1),
        .sources = calloc((size_t)space_n_classes(proof->space, SPACE_SOURCE) + 1, sizeof *r.sources),
        .points = malloc((size_t)space_n_classes(proof->space, SPACE_DESTINATION) + 1),
    };
    /* From nothing: the network is united with all of it at once. */
    int e = r.open && r.rows && r.sources && r.points ? matrix_restrict(network, r.sources, NULL, &total) : -ENOMEM;
    for (uint32_t g = 0; e == 0 && g < proof->layers->n_gateways; g++) {
        r.gateway = &proof->layers->gateways[g];
        e = reach_gateway(&r, &proof->verdicts[g], &total);
    }
    free(r.open);
    free(r.rows);
    free(r.sources);
    free(r.points);
    if (e == 0)
        e = matrix_unite(network, &total, ret);
    matrix_deinit(&total);
    return e;
}
