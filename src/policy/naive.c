/* The naive evaluator. It shares no code with the compiler, by intent: two ways to the same answer. */
#include "policy/naive.h"

static bool has(const struct model_indexes *list, uint32_t index)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (list->items[i] == index)
            return true;
    return false;
}

static bool has_address(const struct model_prefixes *list, const struct address *address)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (address_equal(&list->items[i].address, address))
            return true;
    return false;
}

struct naive_principal naive_identify(const struct model *model, const struct address *address)
{
    struct naive_principal who = { MODEL_NONE, MODEL_NONE };
    int longest = -1;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (has_address(&model->hosts[i].addresses, address))
            return (struct naive_principal){ i, model->hosts[i].segment };
    for (uint32_t i = 0; i < model->n_segments; i++)
        for (uint32_t k = 0; k < model->segments[i].addresses.n; k++) {
            const struct address_prefix *p = &model->segments[i].addresses.items[k];
            if ((int)p->bits > longest && address_prefix_contains(p, address)) {
                longest = p->bits;
                who.segment = i;
            }
        }
    return who;
}

static bool is_from(const struct model_grant *grant, struct naive_principal who)
{
    for (uint32_t i = 0; i < grant->n_from; i++) {
        if (grant->from[i].host != MODEL_NONE ? grant->from[i].host == who.host : who.segment != MODEL_NONE && grant->from[i].segment == who.segment)
            return true;
    }
    return false;
}

static bool is_web_on(const struct model *model, uint32_t service, uint32_t surface)
{
    const struct model_service *s = &model->services[service];
    return s->kind == MODEL_KIND_WEB && (s->surfaces.n == 0 || has(&s->surfaces, surface));
}

static bool is_to(const struct model *model, const struct model_grant *grant, uint32_t service, uint32_t surface)
{
    if (!has(&grant->over, surface) || !is_web_on(model, service, surface))
        return false;
    for (uint32_t i = 0; i < grant->n_to; i++) {
        const struct model_target *t = &grant->to[i];
        if (t->kind == MODEL_TARGET_SERVICE && t->service == service)
            return true;
        if (t->kind == MODEL_TARGET_PATTERN && str_match_wildcard(t->pattern, model->services[service].name.text))
            return grant->labelled || !model->services[service].is_offered;
    }
    return false;
}

static bool invites(const struct model *model, const struct model_grant *grant, uint32_t surface)
{
    if (!has(&grant->over, surface))
        return false;
    for (uint32_t i = 0; i < grant->n_to; i++) {
        const struct model_target *t = &grant->to[i];
        if (t->kind == MODEL_TARGET_PATTERN || (t->kind == MODEL_TARGET_SERVICE && is_web_on(model, t->service, surface)))
            return true;
    }
    return false;
}

uint32_t naive_verdict(const struct model *model, const struct address *from, uint32_t service, uint32_t surface)
{
    struct naive_principal who = naive_identify(model, from);
    for (uint32_t i = 0; i < model->n_grants; i++)
        if (is_from(&model->grants[i], who) && is_to(model, &model->grants[i], service, surface))
            return i;
    return MODEL_NONE;
}

uint32_t naive_direct(const struct model *model, const struct address *from, uint32_t service)
{
    struct naive_principal who = naive_identify(model, from);
    for (uint32_t i = 0; i < model->n_grants; i++)
        for (uint32_t t = 0; is_from(&model->grants[i], who) && t < model->grants[i].n_to; t++)
            if (model->grants[i].to[t].kind == MODEL_TARGET_SERVICE && model->grants[i].to[t].service == service)
                return i;
    return MODEL_NONE;
}

bool naive_is_guest(const struct model *model, const struct address *from, uint32_t surface)
{
    struct naive_principal who = naive_identify(model, from);
    for (uint32_t i = 0; i < model->n_grants; i++)
        if (is_from(&model->grants[i], who) && invites(model, &model->grants[i], surface))
            return true;
    return false;
}

/* ---- flows ---- */

static bool is_at(const struct model *model, const struct model_indexes *hosts, const struct model_prefixes *declared, const struct address *to)
{
    if (hosts->n && declared->n)
        return has_address(declared, to);
    for (uint32_t i = 0; i < hosts->n; i++)
        if (has_address(&model->hosts[hosts->items[i]].addresses, to))
            return true;
    return false;
}

static bool opens(const struct model *model, const struct model_grant *grant, const struct address *to, enum model_transport transport, uint16_t port)
{
    for (uint32_t i = 0; i < model->n_surfaces; i++) {
        const struct model_surface *s = &model->surfaces[i];
        bool is_port = port == s->port || (s->redirect_port && port == s->redirect_port);
        if (transport == MODEL_TCP && is_port && invites(model, grant, i) && is_at(model, &s->hosts, &s->addresses, to))
            return true;
    }
    for (uint32_t i = 0; i < grant->n_to; i++) {
        const struct model_target *t = &grant->to[i];
        if (t->kind == MODEL_TARGET_HOST_PORT && t->transport == transport && t->port == port &&
            has_address(&model->hosts[t->host].addresses, to))
            return true;
        const struct model_service *s = t->kind == MODEL_TARGET_SERVICE ? &model->services[t->service] : NULL;
        if (s && s->kind == MODEL_KIND_DIRECT && s->transport == transport && s->port == port && is_at(model, &s->hosts, &s->addresses, to))
            return true;
    }
    return false;
}

/* Whether somebody can ask by the grant at the gateway. */
static bool is_populated(const struct model *model, const struct model_grant *grant, uint32_t gateway)
{
    for (uint32_t i = 0; i < grant->n_from; i++) {
        const struct model_principal *p = &grant->from[i];
        if (p->service != MODEL_NONE && has(&model->services[p->service].hosts, gateway))
            return true;
        if (p->host != MODEL_NONE ? model->hosts[p->host].addresses.n > 0 : p->segment != MODEL_NONE && model->segments[p->segment].addresses.n > 0)
            return true;
        for (uint32_t k = 0; p->segment != MODEL_NONE && k < model->n_hosts; k++)
            if (model->hosts[k].segment == p->segment && model->hosts[k].addresses.n)
                return true;
    }
    return false;
}

/* Whether the gateway dials the service at that address and port, on some surface it serves and on which the grant reaches it. */
static bool needs(const struct model *model, const struct model_grant *grant, uint32_t gateway, uint32_t service, const struct address *to, uint16_t port)
{
    const struct model_service *s = &model->services[service];
    bool is_dialled = false;
    if (s->where != MODEL_WHERE_HOST || s->port != port || (s->addresses.n ? address_is_loopback(to) : s->loopback))
        return false;
    for (uint32_t i = 0; i < s->hosts.n; i++)
        if (s->hosts.items[i] != gateway)
            is_dialled |= has_address(s->addresses.n ? &s->addresses : &model->hosts[s->hosts.items[i]].addresses, to);
    for (uint32_t i = 0; is_dialled && i < model->n_surfaces; i++)
        if (has(&model->surfaces[i].hosts, gateway) && is_to(model, grant, service, i) && is_populated(model, grant, gateway))
            return true;
    return false;
}

uint32_t naive_flow(const struct model *model, const struct address *from, const struct address *to, enum model_transport transport, uint16_t port)
{
    struct naive_principal who = naive_identify(model, from), whom = naive_identify(model, to);
    if (address_is_v4(from) != address_is_v4(to) || (who.host != MODEL_NONE && who.host == whom.host) || port == 0)
        return MODEL_NONE;
    for (uint32_t i = 0; i < model->n_grants; i++) {
        if (is_from(&model->grants[i], who) && opens(model, &model->grants[i], to, transport, port))
            return i;
        for (uint32_t s = 0; transport == MODEL_TCP && who.host != MODEL_NONE && s < model->n_services; s++)
            if (needs(model, &model->grants[i], who.host, s, to, port))
                return i;
    }
    return MODEL_NONE;
}

/* ---- containers ---- */

static bool is_in(const struct model_service *service, uint32_t host, struct str reference)
{
    return service->where == MODEL_WHERE_CONTAINER && has(&service->hosts, host) && str_equal(service->place.text, reference);
}

static bool is_from_container(const struct model *model, const struct model_grant *grant, uint32_t host, struct str reference)
{
    for (uint32_t i = 0; i < grant->n_from; i++)
        if (grant->from[i].service != MODEL_NONE && is_in(&model->services[grant->from[i].service], host, reference))
            return true;
    return false;
}

uint32_t naive_container_verdict(const struct model *model, uint32_t host, struct str reference, uint32_t service, uint32_t surface)
{
    for (uint32_t i = 0; has(&model->surfaces[surface].hosts, host) && i < model->n_grants; i++)
        if (is_from_container(model, &model->grants[i], host, reference) && is_to(model, &model->grants[i], service, surface))
            return i;
    return MODEL_NONE;
}

bool naive_is_within_reach(const struct model *model, uint32_t service, uint32_t gateway)
{
    const struct model_service *s = &model->services[service];
    bool is_afar = s->where == MODEL_WHERE_HOST && !s->addresses.n && !s->loopback;
    for (uint32_t i = 0; i < s->addresses.n && s->where == MODEL_WHERE_HOST; i++)
        is_afar |= !address_is_loopback(&s->addresses.items[i].address);
    return is_afar || has(&s->hosts, gateway);
}

bool naive_container_is_guest(const struct model *model, uint32_t host, struct str reference, uint32_t surface)
{
    for (uint32_t i = 0; has(&model->surfaces[surface].hosts, host) && i < model->n_grants; i++)
        if (is_from_container(model, &model->grants[i], host, reference) && invites(model, &model->grants[i], surface))
            return true;
    return false;
}

static struct str project_of(struct str reference)
{
    size_t slash = str_find_char(reference, '/');
    return slash < reference.len ? str_first(reference, slash) : STR_NONE;
}

static bool is_open_inside(const struct model *model, uint32_t host, struct str project)
{
    for (uint32_t i = 0; i < model->n_projects; i++)
        if (str_equal(model->projects[i].name.text, project) && has(&model->projects[i].hosts, host))
            return model->projects[i].inside == MODEL_INSIDE_OPEN;
    return true;
}

uint32_t naive_container_flow(const struct model *model, uint32_t host, struct str from, struct str to, enum model_transport transport, uint16_t port,
                              bool *ret_inside)
{
    struct str project = project_of(from);
    *ret_inside = project.len && str_equal(project, project_of(to)) && is_open_inside(model, host, project);
    for (uint32_t i = 0; i < model->n_grants; i++)
        for (uint32_t t = 0; t < model->grants[i].n_to && is_from_container(model, &model->grants[i], host, from); t++) {
            const struct model_target *target = &model->grants[i].to[t];
            if (target->kind == MODEL_TARGET_SERVICE_PORT && target->transport == transport && target->port == port &&
                is_in(&model->services[target->service], host, to))
                return i;
        }
    return MODEL_NONE;
}

uint32_t naive_container_internet(const struct model *model, uint32_t host, struct str from)
{
    for (uint32_t i = 0; i < model->n_grants; i++)
        for (uint32_t t = 0; t < model->grants[i].n_to && is_from_container(model, &model->grants[i], host, from); t++)
            if (model->grants[i].to[t].kind == MODEL_TARGET_INTERNET)
                return i;
    return MODEL_NONE;
}

uint32_t naive_container_port(const struct model *model, uint32_t host, struct str from, const struct address *to, enum model_transport transport,
                              uint16_t port)
{
    for (uint32_t i = 0; i < model->n_grants; i++)
        for (uint32_t k = 0; k < model->n_surfaces && is_from_container(model, &model->grants[i], host, from); k++) {
            const struct model_surface *s = &model->surfaces[k];
            bool is_port = port == s->port || (s->redirect_port && port == s->redirect_port);
            bool is_here = has_address(s->addresses.n ? &s->addresses : &model->hosts[host].addresses, to);
            if (transport == MODEL_TCP && is_port && is_here && has(&s->hosts, host) && invites(model, &model->grants[i], k))
                return i;
        }
    return MODEL_NONE;
}
