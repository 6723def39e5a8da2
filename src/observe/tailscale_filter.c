/* Each node's packet filter, from resolved rules. */
#include "observe/tailscale_parts.h"

/* ---- making ---- */

static int filter_make(struct tailscale_filter *f)
{
    int r = filter_resolve_rules(f);
    if (r == 0)
        r = filter_run_tests(f);
    if (r == -E2BIG)
        error_set(f->err, "%s: the sets of machines and addresses in it are too many", f->policy->file);
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
    f->err = err;
    arena_init(&f->arena, FILTER_MEMORY_MAX);
    ranges_init(&f->scratch, FILTER_RANGES_MAX);
    ranges_init(&f->scratch_sources, FILTER_RANGES_MAX);
    int r = filter_make(f);
    f->err = NULL;
    if (r == 0)
        *ret = TAKE(f);
    tailscale_filter_free(f);
    return r;
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

int tailscale_filter_visit(struct tailscale_filter *f, uint32_t node, tailscale_visitor visit, void *context)
{
    for (uint32_t i = 0; i < f->policy->n_rules; i++) {
        const struct rule *rule = &f->policy->rules[i];
        for (uint32_t d = 0; d < rule->n_destinations; d++) {
            const struct destination *destination = &rule->destinations[d];
            struct tailscale_pass pass = { .node = node, .rule = i, .sources = f->rules[i].sources.ranges, .n_sources = f->rules[i].sources.n,
                                           .services = destination->services, .n_services = destination->n_services };
            if (!destination->n_services || !pass.n_sources)
                continue;
            int r = filter_work(f, 1) ? destination_at(f, i, d, node, &pass) : -E2BIG;
            if (r)
                return r;
            pass.destinations = f->scratch.items;
            pass.n_destinations = f->scratch.n;
            r = pass.n_sources && pass.n_destinations ? visit(context, &pass) : 0;
            if (r)
                return r;
        }
    }
    return 0;
}

/* ---- as a layer ---- */

struct relation_builder {
    struct tailscale_filter *f;
    const char *file;
    struct relation *relation;
    uint32_t *reasons;           /* of rules, + 1; 0: not made yet */
    struct ranges reached;       /* what the node has behind it: its addresses and routes */
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

static int pass_add(void *context, const struct tailscale_pass *pass)
{
    int r = family_add(context, pass, &relation_all_v4);
    return r ? r : family_add(context, pass, &relation_all_v6);
}

int tailscale_filter_relation(struct tailscale_filter *f, const char *file, struct relation *relation)
{
    struct relation_builder b = { .f = f, .file = file, .relation = relation };
    b.reasons = calloc((size_t)f->policy->n_rules + 1, sizeof *b.reasons);
    ranges_init(&b.reached, FILTER_RANGES_MAX);
    ranges_init(&b.cut, FILTER_RANGES_MAX);
    ranges_init(&b.from, FILTER_RANGES_MAX);
    ranges_init(&b.family, FILTER_RANGES_MAX);
    int r = b.reasons ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < f->nodes->n_nodes && r == 0; i++) {
        const struct tailscale_node *node = &f->nodes->nodes[i];
        b.reached.n = 0;
        ranges_add_all(&b.reached, node->addresses, node->n_addresses);
        ranges_add_all(&b.reached, node->routes, node->n_routes);
        ranges_normalise(&b.reached);
        r = b.reached.error ? b.reached.error : tailscale_filter_visit(f, i, pass_add, &b);
    }
    free(b.reasons);
    ranges_deinit(&b.reached);
    ranges_deinit(&b.cut);
    ranges_deinit(&b.from);
    ranges_deinit(&b.family);
    return r;
}
