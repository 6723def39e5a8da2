/* Direct ports that this gateway relays: which they are, and where it listens for them. */
#include <errno.h>

#include "policy/compiler.h"

static bool is_on(const struct model_service *service, uint32_t host)
{
    for (uint32_t i = 0; i < service->hosts.n; i++)
        if (service->hosts.items[i] == host)
            return true;
    return false;
}

/* A port of the host itself is what the network's layers let through to it: nothing stands between. */
static bool may_be_relayed(const struct compiler *c, const struct model_service *service)
{
    return service->kind == MODEL_KIND_DIRECT && service->where != MODEL_WHERE_HOST && is_on(service, c->input->gateway);
}

int compiler_find_relayed(struct compiler *c)
{
    const struct model *m = c->model;
    c->is_relayed = arena_array(&c->arena, m->n_services, bool);
    if (!c->is_relayed)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_grants; i++)
        for (uint32_t t = 0; c->grants.grant_has_source[i] && t < m->grants[i].n_to; t++) {
            const struct model_target *target = &m->grants[i].to[t];
            if (target->kind != MODEL_TARGET_SERVICE || !may_be_relayed(c, &m->services[target->service]))
                continue;
            c->is_relayed[target->service] = c->has_relayed = true;
        }
    return 0;
}

uint32_t compiler_n_targets(const struct compiler *c, uint32_t service)
{
    return c->is_relayed[service] ? 1 : c->reach[service] ? c->model->services[service].hosts.n : 0;
}

int compiler_add_direct_listeners(struct compiler *c, struct block *plan)
{
    const struct model_host *host = &c->model->hosts[c->input->gateway];
    for (uint32_t i = 0; i < c->model->n_services; i++) {
        const struct model_service *s = &c->model->services[i];
        if (c->is_relayed[i] && host->addresses.n == 0)
            return compiler_refuse(c, s->name.at, "direct service %.*s needs an address of %.*s to listen on; give the host one with address:",
                                   STR_ARG(s->name.text), STR_ARG(host->name.text));
        for (uint32_t k = 0; c->is_relayed[i] && k < host->addresses.n; k++) {
            const struct image_listener listener = {
                .surface = IMAGE_SURFACE_DIRECT, .address = host->addresses.items[k].address, .port = s->port,
                .kind = s->transport == MODEL_UDP ? IMAGE_LISTENER_DIRECT_UDP : IMAGE_LISTENER_DIRECT_TCP,
            };
            block_add(plan, IMAGE_LISTENERS, &listener);
        }
    }
    return 0;
}
