/* Composing the layers and comparing them with the declaration, all as matrices of one space. */
#include "policy/verify.h"

#include <errno.h>

#include "policy/verify_proof.h"

/* ---- layers that come in parts ---- */

/* One relation of what hosts have each; without any, an empty one. */
static int merge(struct relation *merged, const struct relation *const *by_host, uint32_t n_hosts, const struct relation **ret)
{
    const struct relation *last = NULL;
    int r = 0;
    *ret = merged;
    for (uint32_t i = 0; by_host && r == 0 && i < n_hosts; i++) {
        if (!by_host[i] || by_host[i] == last)
            continue;
        if (!last) {
            *ret = by_host[i];
        } else {
            if (*ret != merged)
                r = relation_append(merged, *ret);
            *ret = merged;
            r = r == 0 ? relation_append(merged, by_host[i]) : r;
        }
        last = by_host[i];
    }
    return r;
}

static int merge_layers(struct proof *p)
{
    const struct verify_layers *l = p->layers;
    const struct {
        const struct relation *const *by_host;
        const struct relation **ret;
    } parts[ARRAY_SIZE(p->result->merged)] = {
        { l->firewalls, &p->firewall }, { l->firewalls_lan, &p->firewall_lan },
        { l->firewalls_unknown, &p->unknown }, { l->firewalls_lan_unknown, &p->unknown_lan },
    };
    int r = 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
        r = merge(&p->result->merged[i], parts[i].by_host, l->model->n_hosts, parts[i].ret);
    p->has_unknown = r == 0 && relation_n_rules(p->unknown) + relation_n_rules(p->unknown_lan) > 0;
    return r;
}

/* ---- where destinations are ---- */

static bool has(const struct relation *const *by_host, uint32_t host)
{
    return by_host && by_host[host];
}

/* The addresses of hosts, sorted out by what is known of them: first counted, then listed. */
struct placing {
    struct relation_range *ranges[PROOF_PLACES];  /* NULL: they are being counted */
    uint32_t n[PROOF_PLACES];
};

static void place(struct placing *placing, struct relation_range range, unsigned place)
{
    if (placing->ranges[place])
        placing->ranges[place][placing->n[place]] = range;
    placing->n[place]++;
}

static void place_prefixes(struct placing *placing, const struct model_prefixes *prefixes, unsigned at)
{
    for (uint32_t i = 0; i < prefixes->n; i++)
        place(placing, relation_range_of_prefix(&prefixes->items[i]), at);
}

/* The mesh's addresses in the order of the axis, so that large selectors are sorted already. */
static void place_hosts(struct placing *placing, const struct verify_layers *l)
{
    for (uint32_t i = 0; i < l->sources->n; i++) {
        const struct source_range *source = &l->sources->items[i];
        if (source->host != MODEL_NONE)
            place(placing, (struct relation_range){ source->first, source->last },
                  PROOF_IS_MESH | (has(l->firewalls, source->host) ? PROOF_HAS_FIREWALL : 0));
    }
    for (uint32_t i = 0; i < l->model->n_hosts; i++)
        place_prefixes(placing, &l->model->hosts[i].lan,
                       (has(l->firewalls, i) ? PROOF_HAS_FIREWALL : 0) | (has(l->firewalls_lan, i) ? 0 : PROOF_LAN_OPEN));
    for (uint32_t g = 0; g < l->n_gateways; g++)
        for (uint32_t i = 0; i < l->gateways[g].n_listeners; i++) {
            const struct address *own = &l->gateways[g].listeners[i].address;
            if (has(l->firewalls, l->gateways[g].host) && !proof_is_of_host(&l->model->hosts[l->gateways[g].host], own))
                place(placing, (struct relation_range){ *own, *own }, PROOF_HAS_FIREWALL);
        }
}

/* A rule that nobody sends by: only where its selectors begin and end counts. */
static int cut_at(struct proof *p, uint32_t source, uint32_t destination)
{
    const struct address nowhere = relation_service_point(UINT32_MAX, UINT32_MAX);
    const struct relation_range range = { nowhere, nowhere };
    struct relation_rule rule = { .source = source, .destination = destination };
    uint32_t nobody;
    int r = relation_add_selector(&p->shape, &range, 1, &nobody);
    if (source == UINT32_MAX)
        rule.source = nobody;
    if (destination == UINT32_MAX)
        rule.destination = nobody;
    return r == 0 ? relation_add_rule(&p->shape, &rule) : r;
}

static int shape_places(struct proof *p)
{
    cleanup(arena_deinit) struct arena arena;
    struct placing placing = { 0 };
    int r = 0;
    arena_init(&arena, 0);
    place_hosts(&placing, p->layers);
    for (unsigned i = 0; r == 0 && i < PROOF_PLACES; i++) {
        placing.ranges[i] = arena_array(&arena, placing.n[i], struct relation_range);
        placing.n[i] = 0;
        r = placing.ranges[i] ? 0 : -ENOMEM;
    }
    if (r == 0)
        place_hosts(&placing, p->layers);
    for (unsigned i = 0; r == 0 && i < PROOF_PLACES; i++) {
        r = relation_add_selector(&p->shape, placing.ranges[i], placing.n[i], &p->place_selectors[i]);
        if (r == 0)
            r = cut_at(p, UINT32_MAX, p->place_selectors[i]);
    }
    return r;
}

/* Below the mapped addresses and among the multicast groups nobody sends, though a segment's ::/0 has them. */
static int shape_senders(struct proof *p)
{
    const struct relation_range ranges[] = { relation_all_v4, relation_all_v6 };
    uint32_t senders;
    int r = relation_add_selector(&p->shape, ranges, ARRAY_SIZE(ranges), &senders);
    return r == 0 ? cut_at(p, senders, UINT32_MAX) : r;
}

/* Gateways reach their own listeners by no network: they are senders of their own. */
static int shape_gateways(struct proof *p)
{
    int r = 0;
    for (uint32_t g = 0; r == 0 && g < p->layers->n_gateways; g++) {
        const struct model_host *host = &p->layers->model->hosts[p->layers->gateways[g].host];
        for (uint32_t i = 0; r == 0 && i < host->addresses.n + host->lan.n; i++) {
            struct relation_range range =
                relation_range_of_prefix(i < host->addresses.n ? &host->addresses.items[i] : &host->lan.items[i - host->addresses.n]);
            uint32_t own;
            r = relation_add_selector(&p->shape, &range, 1, &own);
            if (r == 0)
                r = cut_at(p, own, UINT32_MAX);
        }
    }
    return r;
}

bool proof_is_of_host(const struct model_host *host, const struct address *address)
{
    for (uint32_t i = 0; i < host->addresses.n; i++)
        if (address_prefix_contains(&host->addresses.items[i], address))
            return true;
    for (uint32_t i = 0; i < host->lan.n; i++)
        if (address_prefix_contains(&host->lan.items[i], address))
            return true;
    return false;
}

static int mark_places(struct proof *p)
{
    uint32_t n = space_n_classes(p->space, SPACE_DESTINATION);
    struct relation_range range;
    p->place_of = calloc(n, sizeof *p->place_of);
    p->has_firewall = calloc(n, sizeof *p->has_firewall);
    p->is_not_mesh = calloc(n, sizeof *p->is_not_mesh);
    p->is_network = calloc(n, sizeof *p->is_network);
    if (!p->place_of || !p->has_firewall || !p->is_not_mesh || !p->is_network)
        return -ENOMEM;
    for (uint32_t k = 0; k < n; k++) {
        bool any = space_class_range(p->space, SPACE_DESTINATION, k, 0, &range);
        for (unsigned i = 0; any && i < PROOF_PLACES; i++)
            if (relation_selector_contains(relation_selector(&p->shape, p->place_selectors[i]), &range.first))
                p->place_of[k] |= (uint8_t)i;
        p->has_firewall[k] = p->place_of[k] & PROOF_HAS_FIREWALL;
        p->is_network[k] = any && (address_is_v4(&range.first) || address_compare(&range.first, &relation_all_v6.last) <= 0);
        p->is_not_mesh[k] = !(p->place_of[k] & PROOF_IS_MESH);
    }
    return 0;
}

static bool is_within(const struct relation_range *all, const struct address *address)
{
    return address_compare(&all->first, address) <= 0 && address_compare(address, &all->last) <= 0;
}

static int mark_senders(struct proof *p)
{
    uint32_t n = space_n_classes(p->space, SPACE_SOURCE), n_to = space_n_classes(p->space, SPACE_DESTINATION), number;
    struct relation_range range;
    p->is_sender = calloc(n, sizeof *p->is_sender);
    if (!p->is_sender)
        return -ENOMEM;
    p->is_container = calloc(n, sizeof *p->is_container);
    p->is_service = calloc(n_to, sizeof *p->is_service);
    if (!p->is_container || !p->is_service)
        return -ENOMEM;
    for (uint32_t k = 0; k < n; k++) {
        bool has = space_class_range(p->space, SPACE_SOURCE, k, 0, &range);
        p->is_sender[k] = has && (is_within(&relation_all_v4, &range.first) || is_within(&relation_all_v6, &range.first));
        p->is_container[k] = has && p->layers->containers && relation_is_container_point(&range.first, &number);
        p->has_containers |= p->is_container[k];
    }
    for (uint32_t k = 0; k < n_to; k++)
        p->is_service[k] = space_class_range(p->space, SPACE_DESTINATION, k, 0, &range) && relation_is_service_point(&range.first, &number, &number);
    return 0;
}

static int make_space(struct proof *p)
{
    const struct relation *const layers[] = { p->layers->declared, p->mesh, p->firewall, p->firewall_lan, p->unknown, p->unknown_lan, &p->shape,
                                              &p->direct_ports };
    const struct relation **all = malloc((ARRAY_SIZE(layers) + p->layers->n_gateways) * sizeof *all);
    int r = all ? shape_places(p) : -ENOMEM;
    if (r == 0)
        r = shape_senders(p);
    if (r == 0)
        r = shape_gateways(p);
    if (r == 0)
        r = proof_shape_web(p);
    if (r == 0)
        r = proof_shape_direct(p);
    if (r == 0) {
        memcpy(all, layers, sizeof layers);
        for (uint32_t g = 0; g < p->layers->n_gateways; g++)
            all[ARRAY_SIZE(layers) + g] = &p->layers->gateways[g].relation;
        r = space_init(&p->space, all, (uint32_t)ARRAY_SIZE(layers) + p->layers->n_gateways);
    }
    free(all);
    if (r == 0)
        r = mark_senders(p);
    return r == 0 ? mark_places(p) : r;
}

/* ---- composing ---- */

/* Of the network's layers, only what they say of addresses: a rule for all of multicast speaks of no web service. */
static int read_matrix(const struct proof *p, const struct relation *relation, bool is_network, struct matrix *ret)
{
    cleanup_matrix struct matrix all = { 0 };
    bool is_beyond = false;
    for (uint32_t i = 0; is_network && i < relation_n_rules(relation) && !is_beyond; i++) {
        struct relation_selector to = relation_selector(relation, relation_rule(relation, i)->destination);
        is_beyond = address_compare(&to.items[to.n - 1].last, &relation_all_v6.last) > 0;
    }
    if (!is_beyond)
        return matrix_of(p->space, relation, ret);
    int r = matrix_of(p->space, relation, &all);
    return r == 0 ? matrix_restrict(&all, NULL, p->is_network, ret) : r;
}

static int read_matrices(struct proof *p)
{
    const struct {
        const struct relation *relation;
        struct matrix *ret;
    } all[] = {
        { p->layers->declared, &p->declared }, { p->mesh, &p->mesh_rows }, { p->firewall, &p->firewall_rows },
        { p->firewall_lan, &p->firewall_lan_rows }, { p->unknown, &p->unknown_rows }, { p->unknown_lan, &p->unknown_lan_rows },
    };
    int r = 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
        r = read_matrix(p, all[i].relation, all[i].relation != p->layers->declared, all[i].ret);
    p->verdicts = calloc((size_t)p->layers->n_gateways + 1, sizeof *p->verdicts);
    if (!p->verdicts)
        r = -ENOMEM;
    for (uint32_t g = 0; r == 0 && g < p->layers->n_gateways; g++)
        r = matrix_of(p->space, &p->layers->gateways[g].relation, &p->verdicts[g]);
    return r == 0 ? proof_read_direct(p) : r;
}

/* What the mesh and the firewalls behind it let pass, and what comes in by the LAN: to addresses that aren't on the mesh, or to any. */
static int unite_ways(struct proof *p)
{
    cleanup_matrix struct matrix by_mesh = { 0 }, by_lan = { 0 };
    p->is_lan_closed = matrix_is_empty(&p->firewall_lan_rows);
    if (p->is_lan_closed)
        return matrix_intersect_marked(&p->mesh_rows, &p->firewall_rows, p->has_firewall, &p->low.network);
    int r = matrix_intersect_marked(&p->mesh_rows, &p->firewall_rows, p->has_firewall, &by_mesh);
    if (r == 0)
        r = matrix_restrict(&p->firewall_lan_rows, NULL, p->is_not_mesh, &by_lan);
    if (r == 0)
        r = matrix_unite(&by_mesh, &by_lan, &p->low.network);
    return r == 0 ? matrix_unite(&by_mesh, &p->firewall_lan_rows, &p->high.network) : r;
}

static int compose_network(struct proof *p)
{
    int r = unite_ways(p);
    if (r == 0)
        r = proof_refuse_direct(p, &p->low.network);
    return r == 0 && !p->is_lan_closed ? proof_refuse_direct(p, &p->high.network) : r;
}

static const struct proof_reach *surely_by_any_way(const struct proof *p)
{
    return p->is_lan_closed ? &p->low : &p->high;
}

/* The same if all that can't be told lets pass. */
static int unite_unknown(struct proof *p)
{
    cleanup_matrix struct matrix by_mesh = { 0 }, by_lan = { 0 }, low = { 0 };
    int r = matrix_intersect(&p->mesh_rows, &p->unknown_rows, &by_mesh);
    if (r == 0)
        r = matrix_restrict(&p->unknown_lan_rows, NULL, p->is_not_mesh, &by_lan);
    if (r == 0)
        r = matrix_unite(&by_mesh, &by_lan, &low);
    if (r == 0)
        r = matrix_unite(&low, &p->low.network, &p->maybe_low.network);
    matrix_deinit(&low);
    low = (struct matrix){ 0 };
    if (r == 0)
        r = matrix_unite(&by_mesh, &p->unknown_lan_rows, &low);
    return r == 0 ? matrix_unite(&low, &surely_by_any_way(p)->network, &p->maybe_high.network) : r;
}

static int compose_unknown(struct proof *p)
{
    int r = unite_unknown(p);
    if (r == 0)
        r = proof_refuse_direct(p, &p->maybe_low.network);
    return r == 0 ? proof_refuse_direct(p, &p->maybe_high.network) : r;
}

static int reach_web(struct proof *p, struct proof_reach *reach)
{
    return proof_reach_web(p, &reach->network, &reach->all);
}

static int subtract_both(const struct matrix *a, const struct matrix *b, const struct matrix *c, struct matrix *ret)
{
    cleanup_matrix struct matrix rest = { 0 };
    int r = matrix_subtract(a, b, &rest);
    return r == 0 ? matrix_subtract(&rest, c, ret) : r;
}

static int compare_unknown(struct proof *p)
{
    cleanup_matrix struct matrix missing = { 0 };
    int r = compose_unknown(p);
    if (r == 0)
        r = reach_web(p, &p->maybe_low);
    if (r == 0)
        r = reach_web(p, &p->maybe_high);
    if (r == 0)
        r = matrix_subtract(&p->declared, &p->low.all, &missing);
    if (r == 0)
        r = matrix_subtract(&missing, &p->maybe_low.all, &p->missing);
    if (r == 0)
        r = matrix_intersect(&missing, &p->maybe_low.all, &p->unproved_missing);
    return r == 0 ? subtract_both(&p->maybe_high.all, &surely_by_any_way(p)->all, &p->declared, &p->unproved_extra) : r;
}

static int compare(struct proof *p)
{
    int r = compose_network(p);
    if (r == 0)
        r = reach_web(p, &p->low);
    if (r == 0 && !p->is_lan_closed)
        r = reach_web(p, &p->high);
    if (r == 0)
        r = matrix_subtract(&surely_by_any_way(p)->all, &p->declared, &p->extra);
    if (r < 0)
        return r;
    return p->has_unknown ? compare_unknown(p) : matrix_subtract(&p->declared, &p->low.all, &p->missing);
}

/* From addresses anything, from containers what is asked of gateways. */
static int restrict_sent(const struct proof *p, const struct matrix *all, struct matrix *ret)
{
    cleanup_matrix struct matrix sent = { 0 }, asked = { 0 };
    if (!p->has_containers)
        return matrix_restrict(all, p->is_sender, NULL, ret);
    int r = matrix_restrict(all, p->is_sender, NULL, &sent);
    if (r == 0)
        r = matrix_restrict(all, p->is_container, p->is_service, &asked);
    return r == 0 ? matrix_unite(&sent, &asked, ret) : r;
}

static int keep_sent(struct proof *p)
{
    struct matrix *const differences[] = { &p->missing, &p->extra, &p->unproved_missing, &p->unproved_extra };
    int r = 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(differences); i++) {
        struct matrix kept;
        if (matrix_is_empty(differences[i]))
            continue;
        r = restrict_sent(p, differences[i], &kept);
        if (r < 0)
            break;
        matrix_deinit(differences[i]);
        *differences[i] = kept;
    }
    return r;
}

/* ---- the whole ---- */

static int list_unproved(const struct verify_layers *l, struct verify_result *result)
{
    result->unproved = arena_array(&result->arena, l->model->n_hosts, struct verify_unproved_host);
    if (!result->unproved)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->model->n_hosts; i++)
        if (!has(l->firewalls, i) || !has(l->firewalls_lan, i))
            result->unproved[result->n_unproved++] = (struct verify_unproved_host){ i, l->model->hosts[i].lan.n > 0 };
    return 0;
}

static int prove(struct proof *p, struct verify_result *result)
{
    int r = merge_layers(p);
    if (r == 0)
        r = make_space(p);
    if (r == 0)
        r = read_matrices(p);
    if (r == 0)
        r = compare(p);
    if (r == 0)
        r = keep_sent(p);
    if (r == 0)
        r = list_unproved(p->layers, result);
    if (r < 0)
        return r;
    result->n_source_classes = space_n_classes(p->space, SPACE_SOURCE);
    result->n_destination_classes = space_n_classes(p->space, SPACE_DESTINATION);
    return proof_report(p, result);
}

static void reach_deinit(struct proof_reach *reach)
{
    matrix_deinit(&reach->network);
    matrix_deinit(&reach->all);
}

static void proof_deinit(struct proof *p)
{
    struct matrix *const matrices[] = {
        &p->declared, &p->mesh_rows, &p->firewall_rows, &p->firewall_lan_rows, &p->unknown_rows, &p->unknown_lan_rows, &p->missing, &p->extra,
        &p->unproved_missing, &p->unproved_extra,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(matrices); i++)
        matrix_deinit(matrices[i]);
    for (uint32_t g = 0; p->verdicts && g < p->layers->n_gateways; g++)
        matrix_deinit(&p->verdicts[g]);
    free(p->verdicts);
    reach_deinit(&p->low);
    reach_deinit(&p->high);
    reach_deinit(&p->maybe_low);
    reach_deinit(&p->maybe_high);
    relation_deinit(&p->shape);
    relation_deinit(&p->direct_ports);
    matrix_deinit(&p->refused);
    free(p->place_of);
    free(p->has_firewall);
    free(p->is_not_mesh);
    free(p->is_network);
    free(p->is_sender);
    free(p->is_container);
    free(p->is_service);
    space_free(p->space);
}

int verify(const struct verify_layers *layers, struct verify_result *ret)
{
    struct verify_result result = { 0 };
    struct proof p = { .layers = layers, .result = &result, .mesh = layers->mesh };
    arena_init(&result.arena, 0);
    relation_init(&result.ranges);
    relation_init(&p.shape);
    relation_init(&p.direct_ports);
    for (unsigned i = 0; i < ARRAY_SIZE(result.merged); i++)
        relation_init(&result.merged[i]);
    int r = prove(&p, &result);
    proof_deinit(&p);
    if (r < 0)
        verify_result_deinit(&result);
    else
        *ret = result;
    return r;
}

void verify_result_deinit(struct verify_result *result)
{
    for (unsigned i = 0; i < ARRAY_SIZE(result->merged); i++)
        relation_deinit(&result->merged[i]);
    relation_deinit(&result->ranges);
    arena_deinit(&result->arena);
}
