/* One function per thing that is looked for. */
#include "policy/lint.h"

#include <errno.h>

/* Comparisons that finding shadowed grants may take: a file of ten thousand grants for one segment isn't worth a minute. */
enum { LINT_STEPS_MAX = 1 << 23, SSH_PORT = 22 };

static struct str name_of_file(const struct access *a)
{
    return declared_file(a->model);
}

/* ---- ssh ---- */

/* No rule is without a source. */
static bool grants_ssh(const struct access *a, const struct model_host *host)
{
    for (uint32_t i = 0; i < relation_n_rules(&a->relation); i++) {
        const struct relation_rule *rule = relation_rule(&a->relation, i);
        bool is_ssh = rule->protocol_first == RELATION_TCP && rule->port_first <= SSH_PORT && SSH_PORT <= rule->port_last;
        for (uint32_t k = 0; is_ssh && k < host->addresses.n; k++)
            if (relation_selector_contains(relation_selector(&a->relation, rule->destination), &host->addresses.items[k].address))
                return true;
    }
    return false;
}

static void check_ssh(const struct access *a, struct diagnostics *d)
{
    for (uint32_t i = 0; i < a->model->n_hosts; i++) {
        const struct model_host *host = &a->model->hosts[i];
        if (!host->gateway || grants_ssh(a, host))
            continue;
        diagnose_add(d, MODEL_WARNING, host->name.at, host->name.text.len,
                     diagnose_text(d, "such as { from: HOST, to: \"%.*s:22\" }; the host's console stays a way in", STR_ARG(host->name.text)),
                     "nobody is granted ssh to gateway %s: once its firewall is loaded, Ansible and its administrator are cut off",
                     diagnose_quote(d, host->name.text));
    }
}

/* ---- grants that match nothing ---- */

static bool has_families(const struct model_prefixes *addresses, bool v4)
{
    for (uint32_t i = 0; i < addresses->n; i++)
        if (address_is_v4(&addresses->items[i].address) == v4)
            return true;
    return false;
}

/* Whether a principal has an address of the family that isn't the host's own. */
static bool can_speak(const struct model *m, const struct model_principal *p, bool v4, uint32_t but)
{
    if (p->host != MODEL_NONE)
        return p->host != but && has_families(&m->hosts[p->host].addresses, v4);
    if (p->segment == MODEL_NONE)
        return false;
    if (has_families(&m->segments[p->segment].addresses, v4))
        return true;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].segment == p->segment && i != but && has_families(&m->hosts[i].addresses, v4))
            return true;
    return false;
}

static bool can_match_port(const struct model *m, const struct model_principal *p, uint32_t host, const struct model_prefixes *own)
{
    const struct model_prefixes *to = own && own->n ? own : &m->hosts[host].addresses;
    return (has_families(to, true) && can_speak(m, p, true, host)) || (has_families(to, false) && can_speak(m, p, false, host));
}

/* Why nothing of the principal can ever reach the target, or NULL. A pattern without a match is the reader's to report. */
static const char *never_matches(const struct access *a, const struct model_grant *g, const struct model_principal *p, const struct model_target *t)
{
    const struct model *m = a->model;
    bool has_listener = g->over.n == 0;
    for (uint32_t i = 0; i < g->over.n; i++)
        has_listener |= (a->families[g->over.items[i]] & DECLARED_IPV4 && can_speak(m, p, true, MODEL_NONE)) ||
                        (a->families[g->over.items[i]] & DECLARED_IPV6 && can_speak(m, p, false, MODEL_NONE));
    const struct model_service *s = t->kind == MODEL_TARGET_SERVICE ? &m->services[t->service] : NULL;
    if (!can_speak(m, p, true, MODEL_NONE) && !can_speak(m, p, false, MODEL_NONE))
        return "has no address that it could come from";
    if (!has_listener)
        return "has no address of a family (IPv4, IPv6) in which that surface listens";
    if (t->kind == MODEL_TARGET_PATTERN || (s && s->kind != MODEL_KIND_DIRECT))
        return NULL;
    if (t->kind == MODEL_TARGET_HOST_PORT && p->host == t->host)
        return "is the host itself: what stays on a host passes no layer";
    bool matches = t->kind == MODEL_TARGET_HOST_PORT && can_match_port(m, p, t->host, NULL);
    for (uint32_t i = 0; s && i < s->hosts.n && !matches; i++)
        matches = can_match_port(m, p, s->hosts.items[i], &s->addresses);
    return matches ? NULL : "and it have no address of one family (IPv4, IPv6), or it has none";
}

/* A container asks the gateways beside it: one of them must have a way to some instance. What reaches ports is the reader's to check. */
static bool is_reached_beside(const struct model *m, const struct model_grant *g, const struct model_service *asks, const struct model_service *asked)
{
    bool is_afar = model_is_dialled_over_mesh(asked) && !asked->addresses.n;
    for (uint32_t i = 0; model_is_dialled_over_mesh(asked) && i < asked->addresses.n; i++)
        is_afar |= model_is_dialled_from_afar(asked, &asked->addresses.items[i].address);
    for (uint32_t i = 0; i < g->over.n; i++)
        for (uint32_t k = 0; k < asks->hosts.n; k++)
            if (model_runs_on(&m->surfaces[g->over.items[i]].hosts, asks->hosts.items[k]) && (is_afar || model_runs_on(&asked->hosts, asks->hosts.items[k])))
                return true;
    return false;
}

static void check_container_matches(const struct model *m, const struct model_grant *g, const struct model_principal *p, struct diagnostics *d)
{
    const struct model_service *asks = &m->services[p->service];
    for (uint32_t t = 0; t < g->n_to && !d->is_full; t++) {
        const struct model_target *target = &g->to[t];
        const struct model_service *asked = target->kind == MODEL_TARGET_SERVICE ? &m->services[target->service] : NULL;
        if (asked && asked->kind == MODEL_KIND_WEB && !is_reached_beside(m, g, asks, asked))
            diagnose_add(d, MODEL_WARNING, target->text.at, target->text.text.len, STR("a container is served by the gateway beside it"),
                         "this grant to %s can never match: no gateway beside %s has a way to it", diagnose_quote(d, target->text.text),
                         diagnose_quote(d, p->text.text));
    }
}

static int check_projects(const struct model *m, const struct containers *containers, struct diagnostics *d)
{
    struct arena arena;
    arena_init(&arena, 0);
    bool *is_named = arena_array(&arena, m->n_projects, bool);
    for (uint32_t i = 0; is_named && i < containers->n; i++)
        if (containers->items[i].listed != MODEL_NONE)
            is_named[containers->items[i].listed] = true;
    for (uint32_t i = 0; is_named && i < m->n_projects; i++)
        if (!is_named[i])
            diagnose_add(d, MODEL_WARNING, m->projects[i].name.at, m->projects[i].name.text.len,
                         STR("its containers are named PROJECT/SERVICE by container:, and run on the hosts that it names"),
                         "no service runs in a container of project %s", diagnose_quote(d, m->projects[i].name.text));
    arena_deinit(&arena);
    return is_named ? 0 : -ENOMEM;
}

static void check_matches(const struct access *a, struct diagnostics *d)
{
    const struct model *m = a->model;
    for (uint32_t i = 0; i < m->n_grants && !d->is_full; i++)
        for (uint32_t k = 0; k < m->grants[i].n_from; k++) {
            const struct model_principal *p = &m->grants[i].from[k];
            if (p->service != MODEL_NONE)
                check_container_matches(m, &m->grants[i], p, d);
            for (uint32_t t = 0; p->service == MODEL_NONE && t < m->grants[i].n_to; t++) {
                const struct model_target *target = &m->grants[i].to[t];
                const char *why = never_matches(a, &m->grants[i], p, target);
                if (!why)
                    continue;
                diagnose_add(d, MODEL_WARNING, target->text.at, target->text.text.len, STR("give the host an address: or leave the word out"),
                             "this grant to %s can never match: %s %s", diagnose_quote(d, target->text.text), diagnose_quote(d, p->text.text), why);
            }
        }
}

/* ---- grants that others make superfluous ---- */

struct shadows {
    const struct access *a;
    const struct model *m;
    bool *is_shadowed;
    uint64_t n_steps;  /* left */
    uint32_t by;       /* the grant that gave the last answer */
};

static bool list_has(const struct model_indexes *list, uint32_t item)
{
    uint32_t first = 0, end = list->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (list->items[middle] < item)
            first = middle + 1;
        else
            end = middle;
    }
    return first < list->n && list->items[first] == item;
}

static bool gives_web(const struct shadows *s, uint32_t grant, uint32_t service, uint32_t surface)
{
    if (!(s->a->grants.grant_surfaces[grant] >> surface & 1))
        return false;
    for (uint32_t t = 0; t < s->m->grants[grant].n_to; t++)
        if (list_has(grants_target(&s->a->grants, grant, t), service))
            return true;
    return false;
}

static bool gives_port(const struct shadows *s, uint32_t grant, const struct model_target *target)
{
    const struct model_grant *g = &s->m->grants[grant];
    for (uint32_t t = 0; t < g->n_to; t++)
        if (g->to[t].kind == target->kind && g->to[t].host == target->host && g->to[t].service == target->service &&
            g->to[t].transport == target->transport && g->to[t].port == target->port)
            return true;
    return false;
}

/* Whether another grant that stays gives the cursor's principal a web service on a surface, or the target (service MODEL_NONE). */
static bool is_given(struct shadows *s, struct grants_cursor cursor, uint32_t but, const struct model_target *target, uint32_t service, uint32_t surface)
{
    for (uint32_t g; grants_next(&cursor, &g);) {
        s->n_steps -= s->n_steps > 0;
        if (g == but || s->is_shadowed[g] || s->n_steps == 0)
            continue;
        if (service != MODEL_NONE ? gives_web(s, g, service, surface) : gives_port(s, g, target)) {
            s->by = g;
            return true;
        }
    }
    return false;
}

static bool is_target_given(struct shadows *s, struct grants_cursor cursor, uint32_t grant, uint32_t t)
{
    const struct model_target *target = &s->m->grants[grant].to[t];
    const struct model_indexes *services = grants_target(&s->a->grants, grant, t);
    if (target->kind == MODEL_TARGET_HOST_PORT || target->kind == MODEL_TARGET_SERVICE_PORT || target->kind == MODEL_TARGET_INTERNET ||
        (target->kind == MODEL_TARGET_SERVICE && s->m->services[target->service].kind == MODEL_KIND_DIRECT))
        return is_given(s, cursor, grant, target, MODEL_NONE, 0);
    for (uint32_t i = 0; i < services->n; i++)
        for (uint64_t open = s->a->grants.grant_surfaces[grant] & s->a->grants.service_surfaces[services->items[i]]; open; open &= open - 1)
            if (!is_given(s, cursor, grant, target, services->items[i], (uint32_t)__builtin_ctzll(open)))
                return false;
    /* A pattern is also meant for services to come, which only another pattern or the same one covers. */
    if (target->kind != MODEL_TARGET_PATTERN)
        return services->n > 0;
    for (uint32_t g; grants_next(&cursor, &g);)
        for (uint32_t k = 0; g != grant && !s->is_shadowed[g] && k < s->m->grants[g].n_to; k++) {
            const struct model_target *other = &s->m->grants[g].to[k];
            bool is_wide = other->kind == MODEL_TARGET_PATTERN && (str_equal(other->pattern, STR("*")) || str_equal(other->pattern, target->pattern));
            if (is_wide && (s->a->grants.grant_surfaces[grant] & ~s->a->grants.grant_surfaces[g]) == 0)
                return true;
        }
    return false;
}

static bool is_principal_given(struct shadows *s, uint32_t grant, const struct model_principal *p)
{
    const struct grants *grants = &s->a->grants;
    struct grants_cursor cursor = { 0 };
    if (p->host != MODEL_NONE)
        cursor = grants_of_host(grants, p->host);
    else
        cursor.a = p->segment != MODEL_NONE ? grants->by_segment[p->segment] : grants->by_service[p->service];
    for (uint32_t t = 0; t < s->m->grants[grant].n_to; t++)
        if (!is_target_given(s, cursor, grant, t))
            return false;
    return s->m->grants[grant].n_to > 0;
}

/* From the last to the first, so that of two equal grants the later one is superfluous. */
static int check_shadows(const struct access *a, struct diagnostics *d)
{
    struct shadows s = { .a = a, .m = a->model, .n_steps = LINT_STEPS_MAX };
    struct arena arena;
    arena_init(&arena, 0);
    s.is_shadowed = arena_array(&arena, a->model->n_grants, bool);
    for (uint32_t g = a->model->n_grants; s.is_shadowed && g-- > 0;) {
        const struct model_grant *grant = &a->model->grants[g];
        bool is_shadowed = grant->n_from > 0;
        for (uint32_t k = 0; k < grant->n_from && is_shadowed && s.n_steps; k++)
            is_shadowed = is_principal_given(&s, g, &grant->from[k]);
        if (!is_shadowed || !s.n_steps)
            continue;
        s.is_shadowed[g] = true;
        diagnose_add(d, MODEL_WARNING, grant->at, 1, STR("leave it out, or narrow the other"), "other grants give all of this already: %.*s:%u",
                     STR_ARG(name_of_file(a)), a->model->grants[s.by].at.line);
    }
    int r = s.is_shadowed ? 0 : -ENOMEM;
    arena_deinit(&arena);
    return r;
}

/* ---- names that nothing uses ---- */

struct uses {
    bool *hosts, *segments, *surfaces;
};

static void use_principals(const struct model_principal *from, uint32_t n, struct uses *u)
{
    for (uint32_t i = 0; i < n; i++)
        if (from[i].host != MODEL_NONE)
            u->hosts[from[i].host] = true;
        else if (from[i].segment != MODEL_NONE)
            u->segments[from[i].segment] = true;
}

static void use_targets(const struct model_target *to, uint32_t n, struct uses *u)
{
    for (uint32_t i = 0; i < n; i++)
        if (to[i].kind == MODEL_TARGET_HOST_PORT)
            u->hosts[to[i].host] = true;
}

static void find_uses(const struct model *m, struct uses *u)
{
    for (uint32_t i = 0; i < m->n_grants; i++) {
        use_principals(m->grants[i].from, m->grants[i].n_from, u);
        use_targets(m->grants[i].to, m->grants[i].n_to, u);
        for (uint32_t k = 0; k < m->grants[i].over.n; k++)
            u->surfaces[m->grants[i].over.items[k]] = true;
    }
    for (uint32_t i = 0; i < m->n_expectations; i++) {
        use_principals(m->expectations[i].from, m->expectations[i].n_from, u);
        use_targets(m->expectations[i].can, m->expectations[i].n_can, u);
        use_targets(m->expectations[i].cannot, m->expectations[i].n_cannot, u);
    }
    for (uint32_t i = 0; i < m->n_services; i++)
        for (uint32_t k = 0; k < m->services[i].hosts.n; k++)
            u->hosts[m->services[i].hosts.items[k]] = true;
}

static void check_names(const struct model *m, const struct uses *u, struct diagnostics *d)
{
    for (uint32_t i = 0; i < m->n_surfaces; i++)
        if (!u->surfaces[i])
            diagnose_add(d, MODEL_WARNING, m->surfaces[i].name.at, m->surfaces[i].name.text.len, STR("grant something over it, or leave it out"),
                         "no grant is over surface %s: nobody gets past its door", diagnose_quote(d, m->surfaces[i].name.text));
    for (uint32_t i = 0; i < m->n_segments; i++)
        if (!u->segments[i] && m->segments[i].addresses.n)
            diagnose_add(d, MODEL_WARNING, m->segments[i].name.at, m->segments[i].name.text.len,
                         STR("whoever comes from its addresses reaches nothing: grant it something, or leave it out"),
                         "no grant and no expectation names segment %s", diagnose_quote(d, m->segments[i].name.text));
    for (uint32_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        bool is_used = u->hosts[i] || h->gateway || (h->segment != MODEL_NONE && u->segments[h->segment]);
        if (!is_used)
            diagnose_add(d, MODEL_WARNING, h->name.at, h->name.text.len, STR("grant it something, or leave it out"),
                         "host %s is used nowhere: no grant names it or its segment, and nothing runs on it", diagnose_quote(d, h->name.text));
    }
}

static int check_uses(const struct access *a, struct diagnostics *d)
{
    const struct model *m = a->model;
    struct arena arena;
    arena_init(&arena, 0);
    struct uses u = { arena_array(&arena, m->n_hosts, bool), arena_array(&arena, m->n_segments, bool), arena_array(&arena, m->n_surfaces, bool) };
    bool ok = u.hosts && u.segments && u.surfaces;
    if (ok) {
        find_uses(m, &u);
        check_names(m, &u, d);
    }
    arena_deinit(&arena);
    return ok ? 0 : -ENOMEM;
}

int lint_check(const struct access *access, struct diagnostics *d)
{
    check_ssh(access, d);
    check_matches(access, d);
    int r = check_projects(access->model, &access->containers, d);
    if (r == 0)
        r = check_shadows(access, d);
    if (r == 0)
        r = check_uses(access, d);
    return r == 0 ? d->error : r;
}
