/* A Tailscale policy among its machines as one layer: every node's filter, cut to what the node has. */
#include "observe/tailscale_parts.h"

#include <stdlib.h>

struct place {
    struct address address;
    uint32_t node;
};

struct relation_builder {
    struct tailscale_filter *f;
    const char *file;
    struct relation *relation;
    uint32_t *reasons;           /* of rules, + 1; 0: not made yet */
    struct ranges reached;       /* what the node at hand has behind it: its addresses and routes */
    uint32_t at;                 /* that node, + 1 */
    struct place *places;        /* nodes' addresses, ascending */
    uint32_t n_places;
    uint32_t *routers, n_routers; /* nodes with routes */
    bool has_networks;           /* some node's address is a whole prefix: no place can be found by search */
    struct ranges family, cut, from; /* scratch */
};

static int reason_of(struct relation_builder *b, uint32_t rule, uint32_t *ret)
{
    if (b->reasons[rule] == 0) {
        const struct rule *r = &b->f->policy->rules[rule];
        uint32_t reason;
        int added = relation_add_reason(b->relation, (struct relation_reason){ str_of(b->file), r->at.line, r->title }, &reason);
        if (added)
            return added;
        b->reasons[rule] = reason + 1;
    }
    *ret = b->reasons[rule] - 1;
    return 0;
}

static int service_add(struct relation_builder *b, const struct tailscale_service *service, struct relation_rule rule)
{
    int r = 0;
    for (uint32_t i = 0; i < service->n_protocols && r == 0; i++) {
        uint8_t protocol = service->protocols[i];
        bool has_ports = protocol == 6 || protocol == 17 || protocol == 132;
        rule.protocol_first = rule.protocol_last = protocol;
        rule.port_first = has_ports ? service->port_first : 0;
        rule.port_last = has_ports ? service->port_last : RELATION_PORT_MAX;
        r = relation_add_rule(b->relation, &rule);
    }
    return r;
}

/* Of one family: an address of the other one is no address to send from. What a node sends to itself is no flow. */
static int family_add(struct relation_builder *b, const struct tailscale_pass *pass, const struct relation_range *family)
{
    const struct tailscale_node *node = &b->f->nodes->nodes[pass->node];
    struct relation_rule rule = { 0 };
    b->cut.n = b->from.n = b->family.n = 0;
    ranges_intersect(pass->destinations, pass->n_destinations, b->reached.items, b->reached.n, &b->family);
    ranges_intersect(b->family.items, b->family.n, family, 1, &b->cut);
    ranges_intersect(pass->sources, pass->n_sources, family, 1, &b->from);
    ranges_subtract(&b->from, node->addresses, node->n_addresses);
    int r = b->cut.error ? b->cut.error : b->from.error ? b->from.error : b->family.error;
    if (r || b->cut.n == 0 || b->from.n == 0)
        return r;
    r = relation_add_selector(b->relation, b->from.items, b->from.n, &rule.source);
    if (r == 0)
        r = relation_add_selector(b->relation, b->cut.items, b->cut.n, &rule.destination);
    if (r == 0)
        r = reason_of(b, pass->rule, &rule.reason);
    for (uint32_t i = 0; i < pass->n_services && r == 0; i++)
        r = service_add(b, &pass->services[i], rule);
    return r;
}

static int reach(struct relation_builder *b, uint32_t node_index)
{
    const struct tailscale_node *node = &b->f->nodes->nodes[node_index];
    if (b->at == node_index + 1)
        return 0;
    b->at = node_index + 1;
    b->reached.n = 0;
    ranges_add_all(&b->reached, node->addresses, node->n_addresses);
    ranges_add_all(&b->reached, node->routes, node->n_routes);
    ranges_normalise(&b->reached);
    return b->reached.error;
}

static int pass_add(void *context, const struct tailscale_pass *pass)
{
    int r = reach(context, pass->node);
    if (r)
        return r;
    r = family_add(context, pass, &relation_all_v4);
    return r ? r : family_add(context, pass, &relation_all_v6);
}

/* ---- which nodes a destination can be at ---- */

static int place_compare(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    int order = address_compare(&a->address, &b->address);
    return order ? order : a->node < b->node ? -1 : a->node > b->node;
}

static int places_make(struct relation_builder *b)
{
    const struct tailscale_nodes *nodes = b->f->nodes;
    size_t n = 0;
    for (uint32_t i = 0; i < nodes->n_nodes; i++)
        n += nodes->nodes[i].n_addresses;
    b->places = calloc(n + 1, sizeof *b->places);
    b->routers = calloc((size_t)nodes->n_nodes + 1, sizeof *b->routers);
    if (!b->places || !b->routers)
        return -ENOMEM;
    for (uint32_t i = 0; i < nodes->n_nodes; i++) {
        const struct tailscale_node *node = &nodes->nodes[i];
        for (uint32_t k = 0; k < node->n_addresses; k++) {
            b->has_networks |= !address_equal(&node->addresses[k].first, &node->addresses[k].last);
            b->places[b->n_places++] = (struct place){ node->addresses[k].first, i };
        }
        if (node->n_routes)
            b->routers[b->n_routers++] = i;
    }
    qsort(b->places, b->n_places, sizeof *b->places, place_compare);
    return 0;
}

static uint32_t place_from(const struct relation_builder *b, const struct address *first)
{
    uint32_t low = 0, high = b->n_places;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address_compare(&b->places[middle].address, first) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int node_compare(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

/* Fills candidates with the nodes that hold an address of the set, or route, ascending and each once. */
static int candidates_find(struct relation_builder *b, const struct resolved *to, struct buf *candidates)
{
    buf_clear(candidates);
    for (uint32_t i = 0; i < to->n; i++)
        for (uint32_t p = place_from(b, &to->ranges[i].first);
             p < b->n_places && address_compare(&b->places[p].address, &to->ranges[i].last) <= 0; p++)
            buf_append(candidates, str_make((const char *)&b->places[p].node, sizeof b->places[p].node));
    buf_append(candidates, str_make((const char *)b->routers, b->n_routers * sizeof *b->routers));
    uint32_t *nodes = (void *)candidates->ptr, n = (uint32_t)(candidates->len / sizeof *nodes), kept = 0;
    if (n)
        qsort(nodes, n, sizeof *nodes, node_compare);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || nodes[i] != nodes[kept - 1])
            nodes[kept++] = nodes[i];
    candidates->len = kept * sizeof *nodes;
    return candidates->error;
}

static int destination_add(struct relation_builder *b, uint32_t rule, uint32_t d, struct buf *candidates)
{
    const struct selector *s = &b->f->policy->rules[rule].destinations[d].selector;
    const struct resolved *to = &b->f->rules[rule].destinations[d];
    const uint32_t *nodes = to->nodes;
    uint32_t n = to->n_nodes;
    bool is_anywhere = s->kind == SELECTOR_ANY || (s->kind == SELECTOR_AUTOGROUP && !to->is_identity);
    int r = 0;
    if (is_anywhere || (b->has_networks && !to->is_identity)) {
        for (uint32_t i = 0; i < b->f->nodes->n_nodes && r == 0; i++)
            r = filter_visit_destination(b->f, i, rule, d, pass_add, b);
        return r;
    }
    if (!to->is_identity) {
        r = candidates_find(b, to, candidates);
        nodes = (const void *)candidates->ptr;
        n = (uint32_t)(candidates->len / sizeof *nodes);
    }
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = filter_visit_destination(b->f, nodes[i], rule, d, pass_add, b);
    return r;
}

int tailscale_filter_relation(struct tailscale_filter *f, const char *file, struct relation *relation)
{
    struct relation_builder b = { .f = f, .file = file, .relation = relation };
    struct ranges *scratch[] = { &b.reached, &b.cut, &b.from, &b.family };
    struct buf candidates;
    buf_init(&candidates, FILTER_MEMORY_MAX);
    b.reasons = calloc((size_t)f->policy->n_rules + 1, sizeof *b.reasons);
    for (size_t i = 0; i < ARRAY_SIZE(scratch); i++)
        ranges_init(scratch[i], FILTER_RANGES_MAX);
    int r = b.reasons ? places_make(&b) : -ENOMEM;
    for (uint32_t i = 0; i < f->policy->n_rules && r == 0; i++)
        for (uint32_t d = 0; d < f->policy->rules[i].n_destinations && r == 0; d++)
            r = destination_add(&b, i, d, &candidates);
    for (size_t i = 0; i < ARRAY_SIZE(scratch); i++)
        ranges_deinit(scratch[i]);
    buf_deinit(&candidates);
    free(b.reasons);
    free(b.places);
    free(b.routers);
    return r;
}
