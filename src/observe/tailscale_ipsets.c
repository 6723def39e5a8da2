/* Sets of addresses in a policy: built in steps, from each other, never in circles. */
#include "observe/tailscale_parts.h"

enum { IPSET_RANGES_MAX = 1 << 20, IPSET_DEPTH_MAX = 64, IPSET_WORK_MAX = 1 << 26 };

static struct relation_range range_of(const char *text)
{
    struct relation_range range = { 0 };
    (void)policy_parse_prefix(str_of(text), &range);
    return range;
}

void tailscale_add_mesh(struct ranges *ret)
{
    struct relation_range chromeos = range_of("100.115.92.0/23");
    struct ranges mesh;
    ranges_init(&mesh, 8);
    ranges_add(&mesh, range_of("100.64.0.0/10"));
    ranges_add(&mesh, range_of("fd7a:115c:a1e0::/48"));
    ranges_normalise(&mesh);
    ranges_subtract(&mesh, &chromeos, 1);
    ranges_add_all(ret, mesh.items, mesh.n);
    ret->error = ret->error ? ret->error : mesh.error;
    ranges_deinit(&mesh);
}

void tailscale_add_internet(struct ranges *ret)
{
    static const char *const not[] = { "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
                                       "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3" };
    struct ranges internet, out;
    ranges_init(&internet, 32);
    ranges_init(&out, 32);
    for (size_t i = 0; i < ARRAY_SIZE(not); i++)
        ranges_add(&out, range_of(not[i]));
    ranges_normalise(&out);
    ranges_add(&internet, relation_all_v4);
    ranges_add(&internet, range_of("2000::/3"));
    ranges_normalise(&internet);
    ranges_subtract(&internet, out.items, out.n);
    ranges_add_all(ret, internet.items, internet.n);
    ret->error = ret->error ? ret->error : internet.error ? internet.error : out.error;
    ranges_deinit(&internet);
    ranges_deinit(&out);
}

static bool ipset_build(struct tailscale_policy *p, struct ipset *set, unsigned depth);

static bool add_ipset(struct tailscale_policy *p, const struct hujson *step, struct str name, unsigned depth, struct ranges *ret)
{
    uint32_t index;
    if (!table_get(&p->ipsets_by_name, name, &index))
        return policy_refuse(p, step->at, "ipset not found: \"%.*s\"", STR_ARG(policy_quote(name)));
    struct ipset *other = &p->ipsets[index];
    if (other->state == IPSET_OPEN)
        return policy_refuse(p, step->at, "\"%.*s\" is made of itself, by way of this", STR_ARG(policy_quote(name)));
    if (other->state == IPSET_NEW && !ipset_build(p, other, depth + 1))
        return false;
    p->n_ipset_work += other->n_ranges;
    ranges_add_all(ret, other->ranges, other->n_ranges);
    return true;
}

static bool add_range(struct tailscale_policy *p, const struct hujson *step, struct str text, struct ranges *ret)
{
    struct relation_range range, last;
    struct str rest = text, head = str_split(&rest, '-');
    bool is_pair = head.len < text.len;
    if (!policy_parse_prefix(is_pair ? head : text, &range) || (is_pair && !policy_parse_prefix(rest, &last)))
        return policy_refuse(p, step->at, "\"%.*s\" is no address, prefix, range, host: or ipset:", STR_ARG(policy_quote(text)));
    bool is_wrong = is_pair && (str_find_char(text, '/') < text.len || address_is_v4(&range.first) != address_is_v4(&last.first) ||
                                address_compare(&range.first, &last.first) > 0);
    if (is_wrong)
        return policy_refuse(p, step->at, "\"%.*s\" is no range: two addresses of one family, the lower one first",
                             STR_ARG(policy_quote(text)));
    if (is_pair)
        range.last = last.last;
    ranges_add(ret, range);
    return true;
}

/* What comes after "add" or "remove". */
static bool add_operand(struct tailscale_policy *p, const struct hujson *step, struct str text, unsigned depth, struct ranges *ret)
{
    uint32_t host;
    if (str_equal(text, STR("autogroup:internet"))) {
        tailscale_add_internet(ret);
        return true;
    }
    if (str_starts_with(text, STR("ipset:")))
        return add_ipset(p, step, text, depth, ret);
    if (!str_starts_with(text, STR("host:")))
        return add_range(p, step, text, ret);
    if (!table_get(&p->hosts_by_name, str_skip(text, 5), &host))
        return policy_refuse(p, step->at, "\"%.*s\": no such name in \"hosts\"", STR_ARG(policy_quote(text)));
    ranges_add(ret, p->hosts[host]);
    return true;
}

static bool step_is_removal(const struct hujson *step, struct str *ret_operand)
{
    bool is_removal = str_starts_with(step->text, STR("remove "));
    bool is_addition = str_starts_with(step->text, STR("add "));
    *ret_operand = str_trim(str_skip(step->text, is_removal ? 7 : is_addition ? 4 : 0));
    return is_removal;
}

/* Runs of additions and of removals are each done at once. */
static bool run_steps(struct tailscale_policy *p, const struct hujson **at, struct ranges *ret, unsigned depth)
{
    cleanup_ranges struct ranges run;
    ranges_init(&run, IPSET_RANGES_MAX);
    struct str operand;
    bool is_removal = step_is_removal(*at, &operand);
    while (*at && step_is_removal(*at, &operand) == is_removal) {
        if (!add_operand(p, *at, operand, depth, &run))
            return false;
        *at = (*at)->next;
    }
    ranges_normalise(&run);
    p->n_ipset_work += ret->n + run.n;
    if (is_removal) {
        ranges_subtract(ret, run.items, run.n);
    } else {
        ranges_add_all(ret, run.items, run.n);
        ranges_normalise(ret);
    }
    ret->error = ret->error ? ret->error : run.error;
    return true;
}

static bool ipset_keep(struct tailscale_policy *p, struct ipset *set, const struct ranges *ranges)
{
    if (ranges->error == -E2BIG || p->n_ipset_work > IPSET_WORK_MAX)
        return policy_refuse(p, set->at, "\"%.*s\" takes too many addresses", STR_ARG(policy_quote(set->name)));
    struct relation_range *copy = arena_array(&p->arena, (size_t)ranges->n + 1, struct relation_range);
    if (ranges->error || !copy)
        return policy_no_memory(p);
    if (ranges->n)
        memcpy(copy, ranges->items, ranges->n * sizeof *copy);
    set->ranges = copy;
    set->n_ranges = ranges->n;
    set->state = IPSET_DONE;
    return true;
}

static bool ipset_build(struct tailscale_policy *p, struct ipset *set, unsigned depth)
{
    if (depth > IPSET_DEPTH_MAX)
        return policy_refuse(p, set->at, "ipsets of ipsets, nested too deeply");
    if (!policy_list(p, set->steps, HUJSON_STRING, "text"))
        return false;
    set->state = IPSET_OPEN;
    cleanup_ranges struct ranges ranges;
    ranges_init(&ranges, IPSET_RANGES_MAX);
    for (const struct hujson *step = set->steps->first; step;)
        if (!run_steps(p, &step, &ranges, depth))
            return false;
    return ipset_keep(p, set, &ranges);
}

bool policy_read_ipsets(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists"))
        return false;
    p->ipsets = arena_array(&p->arena, (size_t)value->n + 1, struct ipset);
    if (!p->ipsets)
        return policy_no_memory(p);
    for (const struct hujson *member = value->first; member; member = member->next) {
        if (!str_starts_with(member->key, STR("ipset:")) || member->key.len == 6)
            return policy_refuse(p, member->key_at, "an ipset's name starts with \"ipset:\"");
        p->ipsets[p->n_ipsets] = (struct ipset){ .name = member->key, .at = member->key_at, .steps = member };
        if (table_add(&p->ipsets_by_name, member->key, p->n_ipsets++, NULL) < 0)
            return policy_no_memory(p);
    }
    for (uint32_t i = 0; i < p->n_ipsets; i++)
        if (p->ipsets[i].state == IPSET_NEW && !ipset_build(p, &p->ipsets[i], 0))
            return false;
    return true;
}
