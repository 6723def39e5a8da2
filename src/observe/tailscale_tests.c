/* A policy's own tests: who must reach what, and who must not. One that fails refuses the policy.
 *
 * Every address of the source is tried against every address of the destination of its family: a test that only some of a group's
 * machines pass is a test that fails. */
#include "observe/tailscale_parts.h"

/* ---- reading ---- */

struct test_draft {
    struct test *test;
    const struct hujson *source, *accept, *deny;
};

static bool draft_set(struct tailscale_policy *p, const struct hujson *value, const struct hujson **ret)
{
    if (*ret)
        return policy_refuse(p, value->at, "this is said already, at line %u", (*ret)->at.line);
    *ret = value;
    return true;
}

static bool test_source(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct test_draft *draft = object;
    return draft_set(p, value, &draft->source) && policy_expect(p, value, HUJSON_STRING, "who");
}

static bool test_accept(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct test_draft *draft = object;
    return draft_set(p, value, &draft->accept) && policy_list(p, value, HUJSON_STRING, "\"HOST:PORT\"");
}

static bool test_deny(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct test_draft *draft = object;
    return draft_set(p, value, &draft->deny) && policy_list(p, value, HUJSON_STRING, "\"HOST:PORT\"");
}

static bool test_protocol(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct test_draft *draft = object;
    if (!policy_expect(p, value, HUJSON_STRING, "a protocol's name or number as text"))
        return false;
    if (value->text.len == 0)
        return true;
    draft->test->n_protocols = 1;
    return policy_parse_protocol(value->text, &draft->test->protocols[0]) ||
           policy_refuse(p, value->at, "\"%.*s\" is no protocol", STR_ARG(policy_quote(value->text)));
}

static bool test_attributes(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return policy_expect(p, value, HUJSON_OBJECT, "an object of attributes");
}

static bool target_port(const struct test *test, struct str text, uint16_t *ret)
{
    bool has_ports = test->n_protocols > 1 || test->protocols[0] == 6 || test->protocols[0] == 17 || test->protocols[0] == 132;
    uint64_t port;
    if (!str_to_u64(text, UINT16_MAX, &port) || (port == 0) == has_ports)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* One machine, person, group or tag, and one port of it. */
static bool target_read(struct tailscale_policy *p, const struct test *test, const struct hujson *item, struct test_target *ret)
{
    struct str host, port;
    ret->at = item->at;
    ret->text = item->text;
    if (!policy_split_ports(item->text, &host, &port) || !target_port(test, port, &ret->port))
        return policy_refuse(p, item->at, "test(s) failed: \"%.*s\" is not one host and one port of it", STR_ARG(policy_quote(item->text)));
    if (!policy_read_selector(p, host, item->at, SIDE_DESTINATION, &ret->selector))
        return false;
    const struct selector *s = &ret->selector;
    bool is_one = s->kind != SELECTOR_ANY && s->kind != SELECTOR_AUTOGROUP && s->kind != SELECTOR_IPSET &&
                  !(s->kind == SELECTOR_PREFIX && (str_find_char(host, '/') < host.len || !address_equal(&s->range.first, &s->range.last)));
    return is_one || policy_refuse(p, item->at, "test(s) failed: \"%.*s\" is not one host", STR_ARG(policy_quote(host)));
}

static bool targets_read(struct tailscale_policy *p, struct test_draft *draft)
{
    struct test *test = draft->test;
    const struct hujson *lists[] = { draft->accept, draft->deny };
    uint32_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        n += lists[i] ? lists[i]->n : 0;
    if (n == 0)
        return policy_refuse(p, test->at, "test(s) failed: a test has \"accept\" or \"deny\"");
    test->targets = arena_array(&p->arena, n, struct test_target);
    if (!test->targets)
        return policy_no_memory(p);
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (const struct hujson *item = lists[i] ? lists[i]->first : NULL; item; item = item->next) {
            struct test_target *target = &test->targets[test->n_targets++];
            target->is_deny = i == 1;
            if (!target_read(p, test, item, target))
                return false;
        }
    }
    return true;
}

static bool test_read(struct tailscale_policy *p, const struct hujson *value, struct test *test)
{
    static const struct policy_field fields[] = {
        { "proto", test_protocol }, { "src", test_source },  { "user", test_source }, { "accept", test_accept },
        { "allow", test_accept },   { "deny", test_deny }, { "srcPostureAttrs", test_attributes },
    };
    struct test_draft draft = { .test = test };
    *test = (struct test){ .at = value->at, .protocols = { 6, 17 }, .n_protocols = 2 };
    if (!policy_read_object(p, value, fields, ARRAY_SIZE(fields), &draft))
        return false;
    if (!draft.source || draft.source->text.len == 0)
        return policy_refuse(p, value->at, "test(s) failed: a test has a \"src\"");
    if (!policy_read_selector(p, draft.source->text, draft.source->at, SIDE_SOURCE, &test->source))
        return false;
    const struct selector *source = &test->source;
    bool is_autogroup = source->kind == SELECTOR_AUTOGROUP && source->autogroup >= AUTOGROUP_INTERNET;
    bool is_set = source->kind == SELECTOR_ANY || is_autogroup || str_find_char(source->text, '/') < source->text.len;
    if (is_set)
        return policy_refuse(p, draft.source->at, "test(s) failed: \"%.*s\" is nobody that a test can be about",
                             STR_ARG(policy_quote(draft.source->text)));
    return targets_read(p, &draft);
}

bool policy_read_tests(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (!policy_list(p, value, HUJSON_OBJECT, "a test"))
        return false;
    p->tests = arena_array(&p->arena, (size_t)value->n + 1, struct test);
    if (!p->tests)
        return policy_no_memory(p);
    for (const struct hujson *item = value->first; item; item = item->next)
        if (!test_read(p, item, &p->tests[p->n_tests++]))
            return false;
    return true;
}

/* ---- running ---- */

struct flow {
    struct address from, to;
    uint32_t node_from, node_to; /* TAILSCALE_NONE: of no machine */
    uint16_t port;
    uint8_t protocol;
};

static uint32_t node_of(struct tailscale_filter *f, const struct address *address)
{
    for (uint32_t i = 0; i < f->nodes->n_nodes; i++)
        if (ranges_contain(f->nodes->nodes[i].addresses, f->nodes->nodes[i].n_addresses, address))
            return i;
    return TAILSCALE_NONE;
}

static bool service_allows(const struct tailscale_service *services, uint32_t n, const struct flow *flow)
{
    for (uint32_t i = 0; i < n; i++) {
        if (flow->port < services[i].port_first || flow->port > services[i].port_last)
            continue;
        for (uint32_t k = 0; k < services[i].n_protocols; k++)
            if (services[i].protocols[k] == flow->protocol)
                return true;
    }
    return false;
}

static bool is_internet(const struct address *address)
{
    cleanup_ranges struct ranges internet;
    ranges_init(&internet, 32);
    tailscale_add_internet(&internet);
    ranges_normalise(&internet);
    return ranges_contain(internet.items, internet.n, address);
}

static bool destination_holds(struct tailscale_filter *f, const struct selector *s, const struct resolved *to, const struct flow *flow)
{
    const struct tailscale_node *nodes = f->nodes->nodes;
    if (s->kind == SELECTOR_ANY)
        return true;
    if (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_INTERNET)
        return is_internet(&flow->to);
    if (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_SELF)
        return flow->node_from != TAILSCALE_NONE && flow->node_to != TAILSCALE_NONE && nodes[flow->node_from].n_tags == 0 &&
               nodes[flow->node_to].n_tags == 0 && nodes[flow->node_to].user != TAILSCALE_NONE &&
               nodes[flow->node_from].user == nodes[flow->node_to].user;
    return ranges_contain(to->ranges, to->n, &flow->to);
}

static int flow_allowed(struct tailscale_filter *f, const struct flow *flow, bool *ret)
{
    for (uint32_t i = 0; i < f->policy->n_rules; i++) {
        const struct rule *rule = &f->policy->rules[i];
        const struct resolved_rule *resolved = &f->rules[i];
        if (!filter_work(f, 8 + (uint64_t)rule->n_destinations * 4))
            return -E2BIG;
        if (!ranges_contain(resolved->sources.ranges, resolved->sources.n, &flow->from))
            continue;
        for (uint32_t d = 0; d < rule->n_destinations; d++) {
            const struct destination *destination = &rule->destinations[d];
            if (!filter_work(f, destination->n_services))
                return -E2BIG;
            *ret = service_allows(destination->services, destination->n_services, flow) &&
                   destination_holds(f, &destination->selector, &resolved->destinations[d], flow);
            if (*ret)
                return 0;
        }
    }
    *ret = false;
    return 0;
}

static int test_fail(struct tailscale_filter *f, const struct test *test, const struct test_target *target, const char *what)
{
    error_set(f->err, "%s:%u:%u: test(s) failed: %.*s %s %.*s", f->policy->file, target->at.line, target->at.column,
              STR_ARG(policy_quote(test->source.text)), what, STR_ARG(policy_quote(target->text)));
    return TAILSCALE_E_INVALID;
}

/* Without a protocol, TCP or UDP will do to be accepted, and neither may do to be denied. */
static int pair_run(struct tailscale_filter *f, const struct test *test, const struct test_target *target, struct flow *flow)
{
    bool is_allowed = false;
    for (uint32_t i = 0; i < test->n_protocols && !is_allowed; i++) {
        flow->protocol = test->protocols[i];
        int r = flow_allowed(f, flow, &is_allowed);
        if (r)
            return r;
    }
    if (is_allowed == !target->is_deny)
        return 0;
    return test_fail(f, test, target, is_allowed ? "reaches" : "does not reach");
}

/* Calls for each address of the set; sets of networks are not what a test is about. */
static int sources_run(struct tailscale_filter *f, const struct test *test, const struct test_target *target, const struct resolved *from,
                       struct flow *flow, uint32_t *n_pairs)
{
    for (uint32_t i = 0; i < from->n; i++) {
        const struct relation_range *range = &from->ranges[i];
        for (struct address at = range->first;; address_advance(&at)) {
            if (address_is_v4(&at) == address_is_v4(&flow->to)) {
                flow->from = at;
                flow->node_from = node_of(f, &at);
                (*n_pairs)++;
                int r = filter_work(f, f->nodes->n_nodes) ? pair_run(f, test, target, flow) : -E2BIG;
                if (r)
                    return r;
            }
            if (address_equal(&at, &range->last))
                break;
            if (!filter_work(f, 1))
                return -E2BIG;
        }
    }
    return 0;
}

static int target_run(struct tailscale_filter *f, const struct test *test, const struct test_target *target, const struct resolved *from)
{
    struct resolved to;
    int r = filter_resolve(f, &target->selector, &to);
    uint32_t n_pairs = 0;
    for (uint32_t i = 0; r == 0 && i < to.n; i++) {
        for (struct address at = to.ranges[i].first;; address_advance(&at)) {
            struct flow flow = { .to = at, .node_to = node_of(f, &at), .port = target->port };
            r = filter_work(f, 1 + f->nodes->n_nodes) ? sources_run(f, test, target, from, &flow, &n_pairs) : -E2BIG;
            if (r || address_equal(&at, &to.ranges[i].last))
                break;
        }
    }
    if (r == 0 && n_pairs == 0 && !target->is_deny)
        r = test_fail(f, test, target, "has no machine, or no address of one family with");
    return r;
}

int filter_run_tests(struct tailscale_filter *f)
{
    for (uint32_t i = 0; i < f->policy->n_tests; i++) {
        const struct test *test = &f->policy->tests[i];
        struct resolved from;
        int r = filter_resolve(f, &test->source, &from);
        for (uint32_t k = 0; k < test->n_targets && r == 0; k++)
            r = target_run(f, test, &test->targets[k], &from);
        if (r)
            return r;
    }
    return 0;
}
