/* Names to addresses: what the selectors of a policy mean among given machines. */
#include "observe/tailscale_parts.h"

/* ---- users ---- */

static int user_key_add(struct tailscale_filter *f, struct str name, const char *suffix, uint32_t user)
{
    struct str key = arena_printf(&f->arena, "%.*s%s", STR_ARG(name), suffix);
    if (!key.ptr)
        return -ENOMEM;
    char *lower = (char *)(uintptr_t)key.ptr; /* the arena's, so ours */
    for (size_t i = 0; i < key.len; i++)
        lower[i] = str_lower_char(lower[i]);
    int added = table_add(&f->users, key, user, NULL);
    return added < 0 ? added : 0;
}

static int users_index(struct tailscale_filter *f)
{
    for (uint32_t i = 0; i < f->nodes->n_users; i++) {
        const struct tailscale_user *user = &f->nodes->users[i];
        int r = user->login.len ? user_key_add(f, user->login, "", i) : 0;
        if (r == 0 && user->name.len)
            r = user_key_add(f, user->name, "@", i);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool user_is_of_domain(const struct tailscale_user *user, struct str domain)
{
    size_t at = str_find_char(user->login, '@');
    return at < user->login.len && str_equal_nocase(str_skip(user->login, at + 1), domain);
}

/* Marks the users that the selector names. */
static int users_mark(struct tailscale_filter *f, const struct selector *s, bool *marks)
{
    uint32_t user;
    if (s->kind == SELECTOR_USER) {
        char key[256];
        size_t n = str_copy(key, sizeof key, s->text);
        for (size_t i = 0; i < n; i++)
            key[i] = str_lower_char(key[i]);
        if (n == s->text.len && table_get(&f->users, str_make(key, n), &user))
            marks[user] = true;
        return 0;
    }
    if (!filter_work(f, f->nodes->n_users))
        return -E2BIG;
    for (user = 0; user < f->nodes->n_users; user++)
        marks[user] |= user_is_of_domain(&f->nodes->users[user], s->text);
    return 0;
}

static int group_mark(struct tailscale_filter *f, const struct selector *s, bool *marks)
{
    if (s->kind != SELECTOR_GROUP)
        return users_mark(f, s, marks);
    const struct group *group = &f->policy->groups[s->index];
    int r = filter_work(f, group->members.n) ? 0 : -E2BIG;
    for (uint32_t i = 0; i < group->members.n && r == 0; i++)
        r = users_mark(f, &group->members.items[i], marks);
    return r;
}

static int role_mark(struct tailscale_filter *f, const struct selector *s, bool *marks)
{
    struct str role = str_skip(s->text, strlen("autogroup:"));
    if (!f->nodes->has_roles) {
        error_set(f->err, "%s:%u:%u: who is in %.*s depends on roles, and the nodes don't tell the \"role\" of any user", f->policy->file,
                  s->at.line, s->at.column, STR_ARG(policy_quote(s->text)));
        return -ENOTSUP;
    }
    for (uint32_t i = 0; i < f->nodes->n_users; i++)
        marks[i] = str_equal_nocase(f->nodes->users[i].role, role);
    return 0;
}

/* ---- nodes ---- */

static bool node_has_tag(const struct tailscale_node *node, struct str tag)
{
    for (uint32_t i = 0; i < node->n_tags; i++)
        if (str_equal(node->tags[i], tag))
            return true;
    return false;
}

static bool node_matches(const struct tailscale_node *node, const struct selector *s, const bool *marks)
{
    if (s->kind == SELECTOR_TAG)
        return node_has_tag(node, s->text);
    if (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_TAGGED)
        return node->n_tags > 0;
    if (node->n_tags)
        return false; /* a tagged machine is nobody's */
    if (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_MEMBER)
        return true;
    return node->user != TAILSCALE_NONE && marks[node->user];
}

int filter_keep(struct tailscale_filter *f, struct ranges *ranges, struct resolved *ret)
{
    ranges_normalise(ranges);
    if (ranges->error)
        return ranges->error;
    struct relation_range *copy = arena_array(&f->arena, (size_t)ranges->n + 1, struct relation_range);
    if (!copy)
        return -E2BIG;
    if (ranges->n)
        memcpy(copy, ranges->items, ranges->n * sizeof *copy);
    ret->ranges = copy;
    ret->n = ranges->n;
    return 0;
}

static int nodes_collect(struct tailscale_filter *f, const struct selector *s, const bool *marks, struct resolved *ret)
{
    cleanup_ranges struct ranges ranges;
    ranges_init(&ranges, FILTER_RANGES_MAX);
    uint32_t *nodes = arena_array(&f->arena, (size_t)f->nodes->n_nodes + 1, uint32_t), n = 0;
    if (!nodes || !filter_work(f, f->nodes->n_nodes))
        return -E2BIG;
    for (uint32_t i = 0; i < f->nodes->n_nodes; i++) {
        const struct tailscale_node *node = &f->nodes->nodes[i];
        if (!node_matches(node, s, marks))
            continue;
        nodes[n++] = i;
        ranges_add_all(&ranges, node->addresses, node->n_addresses);
    }
    *ret = (struct resolved){ .nodes = nodes, .n_nodes = n, .is_identity = true };
    return filter_keep(f, &ranges, ret);
}

static int identity_resolve(struct tailscale_filter *f, const struct selector *s, struct resolved *ret)
{
    cleanup_free bool *marks = calloc((size_t)f->nodes->n_users + 1, sizeof *marks);
    if (!marks || !filter_work(f, f->nodes->n_users))
        return marks ? -E2BIG : -ENOMEM;
    bool is_role = s->kind == SELECTOR_AUTOGROUP && s->autogroup != AUTOGROUP_MEMBER && s->autogroup != AUTOGROUP_TAGGED;
    int r = 0;
    if (is_role)
        r = role_mark(f, s, marks);
    else if (s->kind == SELECTOR_USER || s->kind == SELECTOR_USER_DOMAIN || s->kind == SELECTOR_GROUP)
        r = group_mark(f, s, marks);
    return r ? r : nodes_collect(f, s, marks, ret);
}

static int memo_add(struct tailscale_filter *f, const struct selector *s, const struct resolved *resolved)
{
    if (f->n_memoised == f->n_memo_held) {
        uint32_t n_held = f->n_memo_held ? f->n_memo_held * 2 : 64;
        struct resolved *items = reallocarray(f->memoised, n_held, sizeof *items);
        if (!items)
            return -ENOMEM;
        f->memoised = items;
        f->n_memo_held = n_held;
    }
    f->memoised[f->n_memoised] = *resolved;
    return table_add(&f->memo, s->text, f->n_memoised++, NULL);
}

int filter_resolve(struct tailscale_filter *f, const struct selector *s, struct resolved *ret)
{
    uint32_t memo;
    if (s->kind == SELECTOR_PREFIX) {
        *ret = (struct resolved){ .ranges = &s->range, .n = 1 };
        return 0;
    }
    if (s->kind == SELECTOR_IPSET) {
        const struct ipset *set = &f->policy->ipsets[s->index];
        *ret = (struct resolved){ .ranges = set->ranges, .n = set->n_ranges };
        return 0;
    }
    bool is_nobody = s->kind == SELECTOR_SERVICE || (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_SHARED);
    if (is_nobody) {
        *ret = (struct resolved){ 0 }; /* a service's addresses and other networks' machines are not among the nodes */
        return 0;
    }
    if (table_get(&f->memo, s->text, &memo)) {
        *ret = f->memoised[memo];
        return 0;
    }
    struct resolved resolved = { 0 };
    int r = identity_resolve(f, s, &resolved);
    if (r == 0)
        r = memo_add(f, s, &resolved);
    if (r == 0)
        *ret = resolved;
    return r;
}

/* ---- rules ---- */

static int source_add(struct tailscale_filter *f, const struct selector *s, struct ranges *ranges)
{
    if (s->kind == SELECTOR_ANY) {
        ranges_add_all(ranges, f->wildcard.ranges, f->wildcard.n);
        return ranges->error;
    }
    if (s->kind == SELECTOR_AUTOGROUP && s->autogroup == AUTOGROUP_DANGER_ALL) {
        ranges_add(ranges, relation_all_v4);
        ranges_add(ranges, relation_all_v6);
        return ranges->error;
    }
    struct resolved resolved;
    int r = filter_resolve(f, s, &resolved);
    if (r)
        return r;
    ranges_add_all(ranges, resolved.ranges, resolved.n);
    return filter_work(f, resolved.n) ? ranges->error : -E2BIG;
}

static int rule_resolve(struct tailscale_filter *f, const struct rule *rule, struct resolved_rule *ret)
{
    cleanup_ranges struct ranges ranges;
    ranges_init(&ranges, FILTER_RANGES_MAX);
    int r = 0;
    for (uint32_t i = 0; i < rule->sources.n && r == 0; i++)
        r = source_add(f, &rule->sources.items[i], &ranges);
    if (r == 0)
        r = filter_keep(f, &ranges, &ret->sources);
    ret->destinations = arena_array(&f->arena, (size_t)rule->n_destinations + 1, struct resolved);
    if (r == 0 && !ret->destinations)
        r = -E2BIG;
    for (uint32_t i = 0; i < rule->n_destinations && r == 0; i++) {
        const struct selector *s = &rule->destinations[i].selector;
        bool has_own = s->kind == SELECTOR_ANY ||
                       (s->kind == SELECTOR_AUTOGROUP && (s->autogroup == AUTOGROUP_SELF || s->autogroup == AUTOGROUP_INTERNET));
        if (!has_own)
            r = filter_resolve(f, s, &ret->destinations[i]);
    }
    return r;
}

/* '*' as a source: the mesh's addresses, and the networks that are routed into it. */
static int wildcard_make(struct tailscale_filter *f)
{
    cleanup_ranges struct ranges ranges;
    ranges_init(&ranges, FILTER_RANGES_MAX);
    tailscale_add_mesh(&ranges);
    for (uint32_t i = 0; i < f->nodes->n_nodes; i++)
        ranges_add_all(&ranges, f->nodes->nodes[i].routes, f->nodes->nodes[i].n_routes);
    return ranges.error ? ranges.error : filter_keep(f, &ranges, &f->wildcard);
}

int filter_resolve_rules(struct tailscale_filter *f)
{
    int r = users_index(f);
    if (r == 0)
        r = wildcard_make(f);
    f->rules = arena_array(&f->arena, (size_t)f->policy->n_rules + 1, struct resolved_rule);
    if (r == 0 && !f->rules)
        r = -E2BIG;
    for (uint32_t i = 0; i < f->policy->n_rules && r == 0; i++)
        r = rule_resolve(f, &f->policy->rules[i], &f->rules[i]);
    return r;
}
