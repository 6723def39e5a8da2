/* Names in a policy: groups, hosts, tags, and the selectors that rules use. */
#include "observe/tailscale_parts.h"

/* ---- addresses ---- */

bool policy_parse_prefix(struct str text, struct relation_range *ret)
{
    struct str rest = text, head = str_split(&rest, '/');
    struct address_prefix prefix = { .bits = 128 };
    if (!address_parse(head, &prefix.address))
        return false;
    if (head.len < text.len) {
        unsigned base = address_is_v4(&prefix.address) ? 96 : 0;
        uint64_t bits;
        bool is_plain = rest.len && (rest.len == 1 || rest.ptr[0] != '0');
        if (!is_plain || !str_to_u64(rest, 128 - base, &bits))
            return false;
        prefix.bits = (uint8_t)(base + bits);
        prefix.address = address_mask(&prefix.address, prefix.bits);
    }
    *ret = relation_range_of_prefix(&prefix);
    return true;
}

/* ---- autogroups ---- */

enum { ON_SOURCE = 1, ON_DESTINATION = 2, ON_TARGET = 4, ON_OWNER = 8, ON_ALL = 15, ON_RULES = 3 };

static const struct {
    const char *name;
    unsigned sides;
} autogroups[AUTOGROUPS] = {
    [AUTOGROUP_MEMBER] = { "member", ON_ALL },
    [AUTOGROUP_TAGGED] = { "tagged", ON_RULES | ON_TARGET },
    [AUTOGROUP_OWNER] = { "owner", ON_ALL },
    [AUTOGROUP_ADMIN] = { "admin", ON_ALL },
    [AUTOGROUP_NETWORK_ADMIN] = { "network-admin", ON_ALL },
    [AUTOGROUP_IT_ADMIN] = { "it-admin", ON_ALL },
    [AUTOGROUP_BILLING_ADMIN] = { "billing-admin", ON_ALL },
    [AUTOGROUP_AUDITOR] = { "auditor", ON_ALL },
    [AUTOGROUP_INTERNET] = { "internet", ON_DESTINATION },
    [AUTOGROUP_SELF] = { "self", ON_DESTINATION },
    [AUTOGROUP_SHARED] = { "shared", ON_SOURCE },
    [AUTOGROUP_DANGER_ALL] = { "danger-all", ON_SOURCE },
    [AUTOGROUP_NONROOT] = { "nonroot", 0 },
};

static const char *const side_names[] = { "the src side of a rule", "the dst side of a rule", "a target", "an owner" };

static bool autogroup_read(struct tailscale_policy *p, struct str text, struct hujson_place at, enum selector_side side,
                           struct selector *ret)
{
    struct str name = str_skip(text, strlen("autogroup:"));
    if (str_equal(name, STR("members")))
        name = STR("member"); /* the older spelling */
    for (unsigned i = 0; i < AUTOGROUPS; i++) {
        if (!str_equal(name, str_of(autogroups[i].name)))
            continue;
        if (!(autogroups[i].sides & (1U << side)))
            return policy_refuse(p, at, "\"autogroup:%s\" is not valid on %s", autogroups[i].name, side_names[side]);
        ret->kind = SELECTOR_AUTOGROUP;
        ret->autogroup = (enum autogroup)i;
        return true;
    }
    return policy_refuse(p, at, "there is no \"%.*s\"", STR_ARG(policy_quote(text)));
}

/* ---- selectors ---- */

bool policy_tag_exists(struct tailscale_policy *p, struct str tag, struct hujson_place at, const char *where)
{
    if (table_get(&p->tags, tag, NULL))
        return true;
    return policy_refuse(p, at, "%s: tag not found: \"%.*s\"; \"tagOwners\" must have it", where, STR_ARG(policy_quote(tag)));
}

static bool group_read(struct tailscale_policy *p, struct str text, struct hujson_place at, struct selector *ret)
{
    ret->kind = SELECTOR_GROUP;
    if (table_get(&p->groups_by_name, text, &ret->index))
        return true;
    if (str_find_char(text, '@') < text.len)
        return policy_refuse(p, at, "\"%.*s\" is synced from elsewhere: who is in it can't be seen in the policy", STR_ARG(policy_quote(text)));
    return policy_refuse(p, at, "group not found: \"%.*s\"", STR_ARG(policy_quote(text)));
}

static bool user_read(struct tailscale_policy *p, struct str text, struct hujson_place at, struct selector *ret)
{
    struct str wildcard = STR("user:*@");
    ret->kind = SELECTOR_USER;
    if (str_starts_with(text, wildcard) && text.len > wildcard.len) {
        ret->kind = SELECTOR_USER_DOMAIN;
        ret->text = str_skip(text, wildcard.len);
        return true;
    }
    size_t sign = str_find_char(text, '@');
    if (sign == 0 || str_find_char(text, '*') < text.len || str_find_char(text, ':') < text.len)
        return policy_refuse(p, at, "\"%.*s\" is no user", STR_ARG(policy_quote(text)));
    return true;
}

static bool ipset_read(struct tailscale_policy *p, struct str text, struct hujson_place at, struct selector *ret)
{
    ret->kind = SELECTOR_IPSET;
    return table_get(&p->ipsets_by_name, text, &ret->index) ||
           policy_refuse(p, at, "ipset not found: \"%.*s\"", STR_ARG(policy_quote(text)));
}

static bool address_read(struct tailscale_policy *p, struct str text, struct hujson_place at, struct selector *ret)
{
    uint32_t host;
    ret->kind = SELECTOR_PREFIX;
    if (table_get(&p->hosts_by_name, text, &host)) {
        ret->range = p->hosts[host];
        return true;
    }
    return policy_parse_prefix(text, &ret->range) ||
           policy_refuse(p, at, "\"%.*s\": invalid address, and no name in \"hosts\"", STR_ARG(policy_quote(text)));
}

bool policy_read_selector(struct tailscale_policy *p, struct str text, struct hujson_place at, enum selector_side side,
                          struct selector *ret)
{
    struct selector selector = { .text = text, .at = at, .index = TAILSCALE_NONE };
    bool is_read;
    if (str_equal(text, STR("*")) && side != SIDE_OWNER) {
        selector.kind = SELECTOR_ANY;
        is_read = true;
    } else if (str_starts_with(text, STR("autogroup:"))) {
        is_read = autogroup_read(p, text, at, side, &selector);
    } else if (str_starts_with(text, STR("group:"))) {
        is_read = group_read(p, text, at, &selector);
    } else if (str_starts_with(text, STR("tag:"))) {
        selector.kind = SELECTOR_TAG;
        is_read = policy_tag_exists(p, text, at, side == SIDE_SOURCE ? "src" : side == SIDE_DESTINATION ? "dst" : side_names[side]);
    } else if (str_find_char(text, '@') < text.len) {
        is_read = user_read(p, text, at, &selector);
    } else if (side == SIDE_OWNER) {
        is_read = policy_refuse(p, at, "\"%.*s\" is no user, group, tag or autogroup", STR_ARG(policy_quote(text)));
    } else if (str_starts_with(text, STR("ipset:")) && side != SIDE_TARGET) {
        is_read = ipset_read(p, text, at, &selector);
    } else if (str_starts_with(text, STR("svc:")) && side == SIDE_DESTINATION) {
        selector.kind = SELECTOR_SERVICE;
        is_read = text.len > 4 || policy_refuse(p, at, "a service needs a name");
    } else {
        is_read = address_read(p, text, at, &selector);
    }
    if (is_read)
        *ret = selector;
    return is_read;
}

bool policy_read_selectors(struct tailscale_policy *p, const struct hujson *list, enum selector_side side, struct selectors *ret)
{
    if (!policy_list(p, list, HUJSON_STRING, "text"))
        return false;
    struct selector *items = arena_array(&p->arena, (size_t)list->n + 1, struct selector);
    if (!items)
        return policy_no_memory(p);
    uint32_t n = 0;
    for (const struct hujson *item = list->first; item; item = item->next)
        if (!policy_read_selector(p, item->text, item->at, side, &items[n++]))
            return false;
    *ret = (struct selectors){ items, n };
    return true;
}

/* ---- groups, hosts, tagOwners ---- */

static bool name_add(struct tailscale_policy *p, struct table *table, const struct hujson *member, uint32_t index)
{
    int added = table_add(table, member->key, index, NULL);
    return added == 0 || (added < 0 ? policy_no_memory(p) : policy_refuse(p, member->key_at, "this name is here already"));
}

static bool group_members_read(struct tailscale_policy *p, const struct hujson *list, struct group *group)
{
    if (!policy_read_selectors(p, list, SIDE_OWNER, &group->members))
        return false;
    for (uint32_t i = 0; i < group->members.n; i++) {
        const struct selector *member = &group->members.items[i];
        if (member->kind != SELECTOR_USER && member->kind != SELECTOR_USER_DOMAIN)
            return policy_refuse(p, member->at, "\"%.*s\" can't be in a group: only users can", STR_ARG(policy_quote(member->text)));
    }
    return true;
}

static bool groups_hold(struct tailscale_policy *p, const struct hujson *value)
{
    p->groups = arena_array(&p->arena, (size_t)value->n + 1, struct group);
    return p->groups || policy_no_memory(p);
}

bool policy_read_groups(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists of users") || !groups_hold(p, value))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        bool is_named = str_starts_with(member->key, STR("group:")) && member->key.len > 6;
        if (!is_named)
            return policy_refuse(p, member->key_at, "a group's name starts with \"group:\"");
        /* Members first: a group that names itself is an unknown group in itself, and no cycle. */
        if (!group_members_read(p, member, &p->groups[p->n_groups]) || !name_add(p, &p->groups_by_name, member, p->n_groups))
            return false;
        p->n_groups++;
    }
    return true;
}

bool policy_read_hosts(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of addresses"))
        return false;
    p->hosts = arena_array(&p->arena, (size_t)value->n + 1, struct relation_range);
    if (!p->hosts)
        return policy_no_memory(p);
    for (const struct hujson *member = value->first; member; member = member->next) {
        if (member->key.len == 0 || str_find_char(member->key, '@') < member->key.len || str_find_char(member->key, ':') < member->key.len)
            return policy_refuse(p, member->key_at, "a host's name is not empty and has no '@' or ':'");
        if (!policy_expect(p, member, HUJSON_STRING, "an address or a prefix"))
            return false;
        if (!policy_parse_prefix(member->text, &p->hosts[p->n_hosts]))
            return policy_refuse(p, member->at, "\"%.*s\" is no address or prefix", STR_ARG(policy_quote(member->text)));
        if (!name_add(p, &p->hosts_by_name, member, p->n_hosts++))
            return false;
    }
    return true;
}

static bool tag_is_well_formed(struct str tag)
{
    struct str name = str_skip(tag, 4);
    if (!str_starts_with(tag, STR("tag:")) || name.len == 0 || str_lower_char(name.ptr[0]) < 'a' || str_lower_char(name.ptr[0]) > 'z')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = str_lower_char(name.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

bool policy_read_tag_owners(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    uint32_t n = 0;
    (void)object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists of owners"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        if (!tag_is_well_formed(member->key))
            return policy_refuse(p, member->key_at, "\"%.*s\" is no tag: \"tag:\", then a letter, then letters, digits and '-'",
                                 STR_ARG(policy_quote(member->key)));
        if (!name_add(p, &p->tags, member, n++))
            return false;
    }
    for (const struct hujson *member = value->first; member; member = member->next) {
        struct selectors owners;
        if (!policy_read_selectors(p, member, SIDE_OWNER, &owners))
            return false;
    }
    return true;
}
