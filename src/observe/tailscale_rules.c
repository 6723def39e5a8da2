/* The rules of a policy: acls and grants, both as sources, destinations and services. */
#include "observe/tailscale_parts.h"

enum { PORT_MAX = 65535 };

/* ---- protocols and ports ---- */

static const struct {
    const char *name;
    uint8_t number;
    bool has_ports;
} protocols[] = {
    { "icmp", 1, false },  { "igmp", 2, false },      { "ipv4", 4, false }, { "ip-in-ip", 4, false }, { "tcp", 6, true },
    { "egp", 8, false },   { "igp", 9, false },       { "udp", 17, true },  { "gre", 47, false },     { "esp", 50, false },
    { "ah", 51, false },   { "ipv6-icmp", 58, false }, { "sctp", 132, true }, { "fc", 133, false },
};

bool policy_parse_protocol(struct str text, uint8_t *ret)
{
    uint64_t number;
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
        if (!str_equal_nocase(text, str_of(protocols[i].name)))
            continue;
        *ret = protocols[i].number;
        return true;
    }
    if (text.len == 0 || text.ptr[0] == '0' || !str_to_u64(text, 255, &number))
        return false;
    *ret = (uint8_t)number;
    return true;
}

static bool protocol_has_ports(uint8_t number)
{
    return number == 6 || number == 17 || number == 132;
}

static bool port_range_parse(struct str text, uint16_t *ret_first, uint16_t *ret_last)
{
    struct str rest = text, head = str_split(&rest, '-');
    uint64_t first, last;
    if (!str_to_u64(head, PORT_MAX, &first) || first == 0)
        return false;
    last = first;
    if (head.len < text.len && (!str_to_u64(rest, PORT_MAX, &last) || last < first))
        return false;
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return true;
}

/* "22", "80-443", "22,80-443", "*", of the protocols in the service given. */
static bool services_read(struct tailscale_policy *p, struct str ports, struct hujson_place at, struct tailscale_service service,
                          const struct tailscale_service **ret, uint32_t *ret_n)
{
    uint32_t n_max = 1, n = 0;
    for (size_t i = 0; i < ports.len; i++)
        n_max += ports.ptr[i] == ',';
    struct tailscale_service *items = arena_array(&p->arena, n_max, struct tailscale_service);
    if (!items)
        return policy_no_memory(p);
    if (str_equal(ports, STR("*"))) {
        service.port_last = PORT_MAX;
        items[n++] = service;
    }
    struct str rest = ports;
    for (uint32_t i = 0; i < n_max && n < n_max; i++) {
        struct str part = str_split(&rest, ',');
        if (!port_range_parse(part, &service.port_first, &service.port_last))
            return policy_refuse(p, at, "port range \"%.*s\": expected ports from 1 to 65535, such as 22, 80-443, or *",
                                 STR_ARG(policy_quote(part)));
        items[n++] = service;
    }
    *ret = items;
    *ret_n = n;
    return true;
}

static const struct tailscale_service default_service = { { 6, 17, 1, 58 }, 4, 0, 0 };

bool policy_split_ports(struct str text, struct str *ret_host, struct str *ret_ports)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':' && text.ptr[colon - 1] != ']')
        colon--;
    if (colon == 0 || text.ptr[colon - 1] != ':')
        return false;
    struct str host = str_first(text, colon - 1);
    *ret_ports = str_skip(text, colon);
    size_t close = str_find_char(host, ']');
    if (host.len && host.ptr[0] == '[' && close < host.len) {
        /* [fd7a::1], or [fd7a::]/48 */
        struct str inner = str_make(host.ptr + 1, close - 1), after = str_skip(host, close + 1);
        if (after.len && after.ptr[0] != '/')
            return false;
        if (after.len == 0)
            host = inner;
    }
    *ret_host = host;
    return host.len > 0;
}

/* ---- what both kinds share ---- */

struct rule_draft {
    struct rule *rule;
    bool is_grant, has_sources, has_destinations, may_be_self;
    const struct hujson *destinations, *ip, *app, *protocol;
    struct tailscale_service service;         /* acl: the protocols of its proto */
    const struct tailscale_service *services; /* grant: of ip, for every destination */
    uint32_t n_services;
};

static bool draft_source(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    if (draft->has_sources)
        return policy_refuse(p, value->at, "\"src\" and \"users\" are one thing: keep one");
    draft->has_sources = value->kind != HUJSON_NULL;
    return policy_read_selectors(p, value, SIDE_SOURCE, &draft->rule->sources);
}

static bool draft_destination(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    if (draft->destinations)
        return policy_refuse(p, value->at, "\"dst\" and \"ports\" are one thing: keep one");
    draft->has_destinations = value->kind != HUJSON_NULL;
    draft->destinations = value;
    return policy_list(p, value, HUJSON_STRING, "text");
}

static bool is_role(const struct selector *s)
{
    return s->kind == SELECTOR_AUTOGROUP && s->autogroup != AUTOGROUP_TAGGED && s->autogroup != AUTOGROUP_DANGER_ALL &&
           s->autogroup != AUTOGROUP_SHARED;
}

/* "self" is the machines of whoever asks: it takes sources that are persons. */
static bool self_check(struct tailscale_policy *p, struct rule_draft *draft, const struct selector *destination)
{
    const struct selectors *sources = &draft->rule->sources;
    for (uint32_t i = 0; i < sources->n && !draft->may_be_self; i++) {
        const struct selector *s = &sources->items[i];
        bool is_person = s->kind == SELECTOR_USER || s->kind == SELECTOR_USER_DOMAIN || s->kind == SELECTOR_GROUP || is_role(s);
        if (!is_person && !(s->kind == SELECTOR_ANY && !draft->is_grant))
            return policy_refuse(p, destination->at, "autogroup:self can only be used with users, groups, or supported autogroups");
    }
    draft->may_be_self = true; /* once for all destinations */
    return true;
}

static bool range_is(const struct relation_range *a, const struct relation_range *b)
{
    return address_equal(&a->first, &b->first) && address_equal(&a->last, &b->last);
}

static bool destination_check(struct tailscale_policy *p, struct rule_draft *draft, const struct selector *s)
{
    bool is_autogroup = s->kind == SELECTOR_AUTOGROUP;
    if (is_autogroup && s->autogroup == AUTOGROUP_SELF)
        return self_check(p, draft, s);
    if (is_autogroup && s->autogroup == AUTOGROUP_INTERNET && draft->app)
        return policy_refuse(p, s->at, "cannot use app grants with autogroup:internet");
    static const struct address any_v6 = { { 0 } };
    bool is_whole = s->kind == SELECTOR_PREFIX && (range_is(&s->range, &relation_all_v4) || range_is(&s->range, &relation_all_v6));
    bool is_any = s->kind == SELECTOR_PREFIX && address_equal(&s->range.first, &s->range.last) &&
                  (address_equal(&s->range.first, &relation_all_v4.first) || address_equal(&s->range.first, &any_v6));
    bool is_refused = is_any || (is_whole && draft->is_grant);
    return !is_refused || policy_refuse(p, s->at, "dst \"%.*s\": to allow all IP addresses, use \"*\" or \"autogroup:internet\"",
                                    STR_ARG(policy_quote(s->text)));
}

/* IPv6 prefixes in brackets keep the part after them: [fd7a::]/48. */
static bool destination_host(struct tailscale_policy *p, struct str *host)
{
    size_t close = str_find_char(*host, ']');
    if (host->len == 0 || host->ptr[0] != '[' || close == host->len)
        return true;
    struct str joined = arena_printf(&p->arena, "%.*s%.*s", (int)(close - 1), host->ptr + 1, (int)(host->len - close - 1), host->ptr + close + 1);
    if (!joined.ptr)
        return policy_no_memory(p);
    *host = joined;
    return true;
}

static bool destination_read(struct tailscale_policy *p, struct rule_draft *draft, const struct hujson *item,
                             struct destination *ret)
{
    struct str host = item->text, ports = STR_NONE;
    ret->services = draft->services;
    ret->n_services = draft->n_services;
    if (!draft->is_grant) {
        if (!policy_split_ports(item->text, &host, &ports))
            return policy_refuse(p, item->at, "\"%.*s\" needs ports, such as \"%.*s:22\"", STR_ARG(policy_quote(item->text)),
                                 STR_ARG(policy_quote(item->text)));
        bool may_have_ports = draft->service.n_protocols > 1 || protocol_has_ports(draft->service.protocols[0]);
        if (!may_have_ports && !str_equal(ports, STR("*")))
            return policy_refuse(p, item->at, "this protocol has no ports: write \"%.*s:*\"", STR_ARG(policy_quote(host)));
        if (!services_read(p, ports, item->at, draft->service, &ret->services, &ret->n_services))
            return false;
    }
    return destination_host(p, &host) && policy_read_selector(p, host, item->at, SIDE_DESTINATION, &ret->selector) &&
           destination_check(p, draft, &ret->selector);
}

static bool destinations_read(struct tailscale_policy *p, struct rule_draft *draft)
{
    struct destination *items = arena_array(&p->arena, (size_t)draft->destinations->n + 1, struct destination);
    if (!items)
        return policy_no_memory(p);
    uint32_t n = 0;
    for (const struct hujson *item = draft->destinations->first; item; item = item->next)
        if (!destination_read(p, draft, item, &items[n++]))
            return false;
    draft->rule->destinations = items;
    draft->rule->n_destinations = n;
    return true;
}

static bool draft_complete(struct tailscale_policy *p, const struct rule_draft *draft)
{
    if (!draft->has_sources)
        return policy_refuse(p, draft->rule->at, "this rule has no \"src\"");
    return draft->has_destinations || policy_refuse(p, draft->rule->at, "this rule has no \"dst\"");
}

/* ---- acls ---- */

static bool acl_action(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    bool is_accept = value->kind == HUJSON_STRING && str_equal(value->text, STR("accept"));
    return is_accept || policy_refuse(p, value->at, "expected \"accept\": rules only ever allow");
}

static bool acl_protocol(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    if (!policy_expect(p, value, HUJSON_STRING, "a protocol's name or number as text"))
        return false;
    if (value->text.len == 0)
        return true;
    draft->service.n_protocols = 1;
    return policy_parse_protocol(value->text, &draft->service.protocols[0]) ||
           policy_refuse(p, value->at, "\"%.*s\" is no protocol", STR_ARG(policy_quote(value->text)));
}

static bool acl_read(struct tailscale_policy *p, const struct hujson *value, struct rule *rule)
{
    static const struct policy_field fields[] = {
        { "action", acl_action },      { "proto", acl_protocol },    { "src", draft_source },
        { "users", draft_source },     { "dst", draft_destination }, { "ports", draft_destination },
        { "srcPosture", policy_read_posture_names },
    };
    struct rule_draft draft = { .rule = rule, .service = default_service };
    if (!policy_read_object(p, value, fields, ARRAY_SIZE(fields), &draft))
        return false;
    if (!hujson_find_nocase(value, STR("action")))
        return policy_refuse(p, value->at, "this rule has no \"action\": \"accept\"");
    return draft_complete(p, &draft) && destinations_read(p, &draft);
}

/* ---- grants ---- */

static bool grant_via(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    if (!policy_list(p, value, HUJSON_STRING, "text"))
        return false;
    struct str *via = arena_array(&p->arena, (size_t)value->n + 1, struct str);
    if (!via)
        return policy_no_memory(p);
    uint32_t n = 0;
    for (const struct hujson *item = value->first; item; item = item->next) {
        if (!str_starts_with(item->text, STR("tag:")))
            return policy_refuse(p, item->at, "\"via\" takes tags only");
        if (!policy_tag_exists(p, item->text, item->at, "via"))
            return false;
        via[n++] = item->text;
    }
    draft->rule->via = via;
    draft->rule->n_via = n;
    return true;
}

/* The names that Tailscale lets policies use of its own domain. */
static bool capability_is_open(struct str name)
{
    static const char *const open[] = { "drive", "relay", "webui", "kubernetes", "tsidp", "secrets" };
    struct str prefix = STR("tailscale.com/cap/");
    for (size_t i = 0; i < ARRAY_SIZE(open); i++)
        if (str_starts_with(name, prefix) && str_equal(str_skip(name, prefix.len), str_of(open[i])))
            return true;
    return false;
}

static bool capability_check(struct tailscale_policy *p, const struct hujson *member)
{
    struct str path = member->key, domain = str_split(&path, '/');
    bool is_plain = domain.len > 0 && path.len > 0 && str_find_char(domain, ':') == domain.len && str_find_char(domain, '.') < domain.len;
    if (!is_plain)
        return policy_refuse(p, member->key_at, "capability name must have the form {domain}/{path}");
    bool is_reserved = str_equal_nocase(domain, STR("tailscale.com")) && !capability_is_open(member->key);
    if (is_reserved)
        return policy_refuse(p, member->key_at, "capability name must not be in the tailscale.com domain");
    return member->kind == HUJSON_NULL || policy_expect(p, member, HUJSON_ARRAY, "a list of what the capability carries");
}

static bool grant_app(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of capabilities"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next)
        if (!capability_check(p, member))
            return false;
    draft->app = value->n ? value : NULL;
    return true;
}

static bool grant_ip(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct rule_draft *draft = object;
    draft->ip = value;
    return policy_list(p, value, HUJSON_STRING, "text");
}

/* "*", "443", "80-443", "tcp:443", "icmp:*" */
static bool ip_item_read(struct tailscale_policy *p, const struct hujson *item, const struct tailscale_service **ret, uint32_t *ret_n)
{
    struct tailscale_service service = default_service;
    struct str ports = item->text;
    size_t colon = str_find_char(item->text, ':');
    if (colon < item->text.len) {
        struct str protocol = str_first(item->text, colon);
        ports = str_skip(item->text, colon + 1);
        service.n_protocols = 1;
        if (!policy_parse_protocol(protocol, &service.protocols[0]))
            return policy_refuse(p, item->at, "\"%.*s\" is no protocol", STR_ARG(policy_quote(protocol)));
    }
    return services_read(p, ports, item->at, service, ret, ret_n);
}

static bool ip_read(struct tailscale_policy *p, struct rule_draft *draft)
{
    struct buf all;
    buf_init(&all, HUJSON_SIZE_MAX);
    bool is_read = true;
    for (const struct hujson *item = draft->ip ? draft->ip->first : NULL; item && is_read; item = item->next) {
        const struct tailscale_service *items;
        uint32_t n;
        is_read = ip_item_read(p, item, &items, &n);
        if (is_read)
            buf_append(&all, str_make((const char *)items, n * sizeof *items));
    }
    struct tailscale_service *copy = is_read && all.len ? arena_alloc(&p->arena, all.len, 1) : NULL;
    if (all.error || (is_read && all.len && !copy))
        is_read = policy_no_memory(p);
    if (copy)
        memcpy(copy, all.ptr, all.len);
    draft->services = copy;
    draft->n_services = (uint32_t)(all.len / sizeof *copy);
    buf_deinit(&all);
    return is_read;
}

static bool grant_read(struct tailscale_policy *p, const struct hujson *value, struct rule *rule)
{
    static const struct policy_field fields[] = {
        { "src", draft_source }, { "dst", draft_destination }, { "ip", grant_ip }, { "app", grant_app }, { "via", grant_via },
        { "srcPosture", policy_read_posture_names },
    };
    struct rule_draft draft = { .rule = rule, .is_grant = true };
    if (!policy_read_object(p, value, fields, ARRAY_SIZE(fields), &draft) || !draft_complete(p, &draft))
        return false;
    if ((!draft.ip || draft.ip->n == 0) && !draft.app)
        return policy_refuse(p, rule->at, "ip and app can not both be empty");
    return ip_read(p, &draft) && destinations_read(p, &draft);
}

/* ---- the lists ---- */

/* The line above, where it is a // comment and nothing else; what it says. item is in the text from start on. */
static struct str comment_above(struct str text, const char *item)
{
    size_t at = (size_t)(item - text.ptr);
    while (at > 0 && (text.ptr[at - 1] == ' ' || text.ptr[at - 1] == '\t'))
        at--;
    if (at == 0 || text.ptr[at - 1] != '\n')
        return STR_NONE;
    size_t end = --at;
    while (at > 0 && text.ptr[at - 1] != '\n')
        at--;
    struct str line = str_trim(str_make(text.ptr + at, end - at));
    return str_starts_with(line, STR("//")) ? policy_quote(str_trim(str_skip(line, 2))) : STR_NONE;
}

static bool rule_name(struct tailscale_policy *p, struct rule *rule, const char *name, uint32_t number, const struct hujson *item)
{
    struct str comment = comment_above(p->text, item->source.ptr);
    rule->name = rule->title = arena_printf(&p->arena, "%s %u", name, number);
    if (comment.len && rule->name.ptr)
        rule->title = arena_printf(&p->arena, "%s %u (%.*s)", name, number, STR_ARG(comment));
    return (rule->name.ptr && rule->title.ptr) || policy_no_memory(p);
}

static bool rules_read(struct tailscale_policy *p, const struct hujson *list, const char *name,
                       bool (*read)(struct tailscale_policy *p, const struct hujson *value, struct rule *rule))
{
    if (!policy_list(p, list, HUJSON_OBJECT, "a rule"))
        return false;
    struct rule *rules = arena_array(&p->arena, (size_t)p->n_rules + list->n + 1, struct rule);
    if (!rules)
        return policy_no_memory(p);
    if (p->n_rules)
        memcpy(rules, p->rules, p->n_rules * sizeof *rules);
    p->rules = rules;
    uint32_t number = 0;
    for (const struct hujson *item = list->first; item; item = item->next) {
        struct rule *rule = &rules[p->n_rules++];
        rule->at = item->at;
        if (!rule_name(p, rule, name, ++number, item) || !read(p, item, rule))
            return false;
    }
    return true;
}

bool policy_read_acls(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return rules_read(p, value, "acl", acl_read);
}

bool policy_read_grants(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return rules_read(p, value, "grant", grant_read);
}
