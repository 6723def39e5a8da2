/* Warnings about who reaches what: services that nobody reaches, segments nobody is in, grants that containers have too. */
#include "model/read.h"

/* ---- services ---- */

static void mark_pattern(const struct model *model, struct str pattern, uint64_t over, bool *reached)
{
    for (uint32_t i = 0; i < model->n_services; i++)
        if (!reached[i] && model->services[i].kind == MODEL_KIND_WEB && read_service_surfaces(&model->services[i]) & over)
            reached[i] = str_match_wildcard(pattern, model->services[i].name.text);
}

/* Patterns were counted when they were read: the product of patterns and services is bounded. "*" is one mask for all. */
static void mark_reached(const struct model *model, bool *reached, uint64_t *ret_star)
{
    *ret_star = 0;
    for (uint32_t i = 0; i < model->n_grants; i++) {
        const struct model_grant *grant = &model->grants[i];
        uint64_t over = read_surfaces_mask(&grant->over);
        for (uint32_t k = 0; k < grant->n_to; k++) {
            const struct model_target *target = &grant->to[k];
            if (target->kind == MODEL_TARGET_SERVICE || target->kind == MODEL_TARGET_SERVICE_PORT)
                reached[target->service] = true;
            else if (target->kind == MODEL_TARGET_PATTERN && str_equal(target->pattern, STR("*")))
                *ret_star |= over;
            else if (target->kind == MODEL_TARGET_PATTERN)
                mark_pattern(model, target->pattern, over, reached);
        }
    }
}

static void check_reached(struct reader *r)
{
    const struct model *model = r->model;
    bool *reached = arena_array(&r->nodes, model->n_services, bool);
    uint64_t star;
    if (!reached) {
        r->error = -ENOMEM;
        return;
    }
    mark_reached(model, reached, &star);
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        bool is_starred = service->kind == MODEL_KIND_WEB && read_service_surfaces(service) & star;
        if (reached[i] || is_starred || service->kind == MODEL_KIND_INTERNAL)
            continue;
        read_warning_at(r, service->name,
                        service->surfaces.n && star ? STR("a '*' over another surface doesn't mean it")
                                                    : STR("grant it, or say 'internal: true' if that is meant"),
                        "no grant lets anybody reach %s", read_quote(r, service->name.text));
    }
}

/* ---- segments ---- */

static void check_segments(struct reader *r)
{
    const struct model *model = r->model;
    bool *populated = arena_array(&r->nodes, model->n_segments, bool);
    if (!populated) {
        r->error = -ENOMEM;
        return;
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (model->hosts[i].segment != MODEL_NONE)
            populated[model->hosts[i].segment] = true;
    for (uint32_t i = 0; i < model->n_segments; i++)
        if (!populated[i] && model->segments[i].addresses.n == 0)
            read_warning_at(r, model->segments[i].name, STR("put a host in it, or give it an address: range"),
                            "nobody is in segment %s",
                            read_quote(r, model->segments[i].name.text));
}

/* ---- sources that containers share ---- */

/* What an enforced project's containers send out is dropped unless it is granted to them. */
static bool is_enforced(const struct model *model, const struct model_service *service, uint32_t host)
{
    const struct model_project *project = service->project == MODEL_NONE ? NULL : &model->projects[service->project];
    return project && project->mode == MODEL_MODE_ENFORCE && model_runs_on(&project->hosts, host);
}

static void mark_container_hosts(const struct model *model, uint32_t *host_service)
{
    for (uint32_t i = 0; i < model->n_hosts; i++)
        host_service[i] = MODEL_NONE;
    for (uint32_t i = 0; i < model->n_services; i++)
        for (uint32_t k = 0; k < model->services[i].hosts.n && model->services[i].where == MODEL_WHERE_CONTAINER; k++)
            if (!is_enforced(model, &model->services[i], model->services[i].hosts.items[k]))
                host_service[model->services[i].hosts.items[k]] = i;
}

static void warn_of_containers(struct reader *r, const struct model_principal *from, uint32_t host, uint32_t service)
{
    read_warning_at(r, from->text,
                    STR("a container that goes out has its host's address, unless its project is enforced (projects:)"),
                    "containers on %s, such as that of %s, get this grant too", read_quote(r, r->model->hosts[host].name.text),
                    read_quote(r, r->model->services[service].name.text));
}

static void check_container_sources(struct reader *r)
{
    const struct model *model = r->model;
    uint32_t *host_service = arena_array(&r->nodes, model->n_hosts, uint32_t);
    uint32_t *segment_host = arena_array(&r->nodes, model->n_segments, uint32_t);
    if (!host_service || !segment_host) {
        r->error = -ENOMEM;
        return;
    }
    mark_container_hosts(model, host_service);
    for (uint32_t i = 0; i < model->n_segments; i++)
        segment_host[i] = MODEL_NONE;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (host_service[i] != MODEL_NONE && model->hosts[i].segment != MODEL_NONE)
            segment_host[model->hosts[i].segment] = i;
    for (uint32_t i = 0; i < model->n_grants; i++) {
        for (uint32_t k = 0; k < model->grants[i].n_from; k++) {
            const struct model_principal *from = &model->grants[i].from[k];
            uint32_t host = from->host != MODEL_NONE ? from->host : from->segment != MODEL_NONE ? segment_host[from->segment] : MODEL_NONE;
            if (host != MODEL_NONE && host_service[host] != MODEL_NONE)
                warn_of_containers(r, from, host, host_service[host]);
        }
    }
}

void check_reach(struct reader *r)
{
    /* Of a file with errors, half of what would be said here follows from them. */
    if (r->d.found.n_errors)
        return;
    check_reached(r);
    check_segments(r);
    check_container_sources(r);
}
