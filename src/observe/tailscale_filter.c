/* Each node's packet filter, from resolved rules. */
#include "observe/tailscale_parts.h"

/* ---- making ---- */

static int with_error(struct tailscale_filter *f, int (*work)(struct tailscale_filter *f), struct error *err)
{
    f->err = err;
    int r = work(f);
    if (r == -E2BIG)
        error_set(err, "%s: the sets of machines and addresses in it are too many", f->policy->file);
    f->err = NULL;
    return r;
}

int tailscale_filter_make(const struct tailscale_policy *policy, const struct tailscale_nodes *nodes, struct tailscale_filter **ret,
                          struct error *err)
{
    struct tailscale_filter *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->policy = policy;
    f->nodes = nodes;
    arena_init(&f->arena, FILTER_MEMORY_MAX);
    ranges_init(&f->scratch, FILTER_RANGES_MAX);
    ranges_init(&f->scratch_sources, FILTER_RANGES_MAX);
    int r = with_error(f, filter_resolve_rules, err);
    if (r == 0)
        *ret = TAKE(f);
    tailscale_filter_free(f);
    return r;
}

int tailscale_filter_test(struct tailscale_filter *filter, struct error *err)
{
    return with_error(filter, filter_run_tests, err);
}

struct tailscale_filter *tailscale_filter_free(struct tailscale_filter *filter)
{
    if (!filter)
        return NULL;
    ranges_deinit(&filter->scratch);
    ranges_deinit(&filter->scratch_sources);
    table_deinit(&filter->memo);
    table_deinit(&filter->users);
    arena_deinit(&filter->arena);
    free(filter->memoised);
    free(filter);
    return NULL;
}

/* ---- visiting ---- */

static bool node_has_via(const struct tailscale_node *node, const struct rule *rule)
{
    for (uint32_t i = 0; i < rule->n_via; i++)
        for (uint32_t k = 0; k < node->n_tags; k++)
            if (str_equal(rule->via[i], node->tags[k]))
                return true;
    return false;
}

static bool overlaps_any(const struct relation_range *range, const struct relation_range *items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (ranges_overlap(range, &items[i]))
            return true;
    return false;
}

static bool is_of(const struct resolved *identity, uint32_t node)
{
    uint32_t low = 0, high = identity->n_nodes;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (identity->nodes[middle] < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < identity->n_nodes && identity->nodes[low] == node;
}

/* The control plane sends a node what is for itself, or for a network that it was approved to route; "via" only the latter, at nodes with
 * the tag. What it sends is not cut to size: the node itself drops what it doesn't route. */
static bool ranges_for_node(struct tailscale_filter *f, const struct resolved *to, const struct tailscale_node *node, bool is_via)
{
    for (uint32_t i = 0; i < to->n; i++) {
        bool is_own = !is_via && overlaps_any(&to->ranges[i], node->addresses, node->n_addresses);
        if (is_own || overlaps_any(&to->ranges[i], node->routes, node->n_routes))
            ranges_add(&f->scratch, to->ranges[i]);
    }
    return filter_work(f, (uint64_t)to->n * (node->n_addresses + node->n_routes));
}

/* Sources of a rule with destination autogroup:self at a person's node: that person's other nodes, as far as the rule is for them. */
static int self_sources(struct tailscale_filter *f, uint32_t rule, const struct tailscale_node *node)
{
    cleanup_ranges struct ranges own;
    ranges_init(&own, FILTER_RANGES_MAX);
    if (!filter_work(f, f->nodes->n_nodes))
        return -E2BIG;
    for (uint32_t i = 0; i < f->nodes->n_nodes; i++) {
        const struct tailscale_node *other = &f->nodes->nodes[i];
        if (other->n_tags == 0 && other->user == node->user)
            ranges_add_all(&own, other->addresses, other->n_addresses);
    }
    ranges_normalise(&own);
    f->scratch_sources.n = 0;
    ranges_intersect(own.items, own.n, f->rules[rule].sources.ranges, f->rules[rule].sources.n, &f->scratch_sources);
    return own.error ? own.error : f->scratch_sources.error;
}

/* Fills the scratch with what the destination means at the node. */
static int destination_at(struct tailscale_filter *f, uint32_t rule_index, uint32_t d, uint32_t node_index, struct tailscale_pass *pass)
{
    const struct rule *rule = &f->policy->rules[rule_index];
    const struct selector *s = &rule->destinations[d].selector;
    const struct resolved *to = &f->rules[rule_index].destinations[d];
    const struct tailscale_node *node = &f->nodes->nodes[node_index];
    bool is_self = s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_SELF;
    f->scratch.n = 0;
    if (rule->n_via) {
        bool is_routed = node_has_via(node, rule) && !to->is_identity;
        return is_routed && !ranges_for_node(f, to, node, true) ? -E2BIG : f->scratch.error;
    }
    if (s->kind == SELECTOR_ANY) {
        /* Ascending: the IPv4-mapped block lies below every unicast IPv6 address but the first few. */
        ranges_add(&f->scratch, relation_all_v4);
        ranges_add(&f->scratch, relation_all_v6);
        return f->scratch.error;
    }
    if (is_self) {
        if (node->n_tags || node->user == TAILSCALE_NONE)
            return 0;
        ranges_add_all(&f->scratch, node->addresses, node->n_addresses);
        int r = self_sources(f, rule_index, node);
        pass->sources = f->scratch_sources.items;
        pass->n_sources = f->scratch_sources.n;
        return r;
    }
    if (to->is_identity) {
        if (is_of(to, node_index))
            ranges_add_all(&f->scratch, node->addresses, node->n_addresses);
        return f->scratch.error;
    }
    return ranges_for_node(f, to, node, false) ? f->scratch.error : -E2BIG;
}

int filter_visit_destination(struct tailscale_filter *f, uint32_t node, uint32_t rule, uint32_t d, tailscale_visitor visit, void *context)
{
    const struct destination *destination = &f->policy->rules[rule].destinations[d];
    const struct resolved *sources = &f->rules[rule].sources;
    struct tailscale_pass pass = { .node = node, .rule = rule, .sources = sources->ranges, .n_sources = sources->n,
                                   .services = destination->services, .n_services = destination->n_services };
    if (!destination->n_services || !pass.n_sources)
        return 0;
    int r = filter_work(f, 1) ? destination_at(f, rule, d, node, &pass) : -E2BIG;
    if (r)
        return r;
    pass.destinations = f->scratch.items;
    pass.n_destinations = f->scratch.n;
    return pass.n_sources && pass.n_destinations ? visit(context, &pass) : 0;
}

int tailscale_filter_visit(struct tailscale_filter *f, uint32_t node, tailscale_visitor visit, void *context)
{
    int r = 0;
    for (uint32_t i = 0; i < f->policy->n_rules && r == 0; i++)
        for (uint32_t d = 0; d < f->policy->rules[i].n_destinations && r == 0; d++)
            r = filter_visit_destination(f, node, i, d, visit, context);
    return r;
}
