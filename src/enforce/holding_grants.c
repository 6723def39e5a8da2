/* From what the declaration lets each container reach, and from where the containers are, to elements. */
#include <errno.h>
#include <netinet/in.h>

#include "enforce/holding_parts.h"
#include "policy/containers.h"
#include "render/origin.h"

struct granting {
    struct holding *holding;
    const struct places *places;
    struct containers declared;
    bool **at;                         /* of each declared container: whether it is at a place; NULL: not asked yet */
    /* The pass that is written: */
    const struct container_pass *pass;
    const struct container *from;
    const bool *is_from;               /* of each place */
    bool has_elements;
};

/* The container itself, or one that uses its namespace. */
static bool is_instance_at(const struct holding *h, struct str reference, const struct place *place)
{
    const struct docker_containers *list = h->in->containers;
    for (uint32_t i = 0; i < list->n; i++)
        if (docker_container_is_called(&list->items[i], reference) && holding_owner(h, &list->items[i]) == place->member->container &&
            (list->items[i].is_running || &list->items[i] == place->member->container))
            return true;
    return false;
}

/* Of each place, whether that container is there; NULL: no memory. */
static const bool *places_of(struct granting *g, uint32_t container)
{
    bool **at = &g->at[container];
    if (!*at) {
        *at = arena_array(&g->holding->arena, g->places->n + 1, bool);
        for (uint32_t i = 0; *at && i < g->places->n; i++)
            (*at)[i] = is_instance_at(g->holding, g->declared.items[container].reference, &g->places->items[i]);
    }
    return *at;
}

static void add_granted(struct granting *g, const struct place *from, const struct address *to, uint8_t protocol, uint16_t port, struct str what)
{
    struct holding *h = g->holding;
    struct container_element element = holding_at(from);
    if (address_is_v4(&from->address) != address_is_v4(to) || address_equal(&from->address, to))
        return;
    element.to = *to;
    element.protocol = protocol;
    element.port = port;
    element.comment = arena_printf(&h->arena, "%.*s to %.*s, %.*s:%u", STR_ARG(g->from->reference), STR_ARG(what),
                                   STR_ARG(render_file_name(h->in->model)), h->in->model->grants[g->pass->grant].at.line);
    container_filter_add(h->filter, CONTAINER_GRANTED4, &element);
    g->has_elements = true;
}

static uint8_t protocol_of(const struct container_pass *pass)
{
    return pass->transport == MODEL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
}

static int grant_container(struct granting *g)
{
    struct holding *h = g->holding;
    const struct container *to = &g->declared.items[g->pass->to];
    const bool *is_to = places_of(g, g->pass->to);
    bool has_source = false, has_target = false, meets = false;
    if (!is_to)
        return -ENOMEM;
    for (uint32_t i = 0; i < g->places->n; i++) {
        const struct place *there = &g->places->items[i];
        has_target |= is_to[i];
        has_source |= g->is_from[i];
        for (uint32_t k = 0; is_to[i] && k < g->places->n; k++) {
            const struct place *from = &g->places->items[k];
            const struct container_element element = { .from = from->address, .to = there->address, .protocol = protocol_of(g->pass), .port = g->pass->port };
            if (!g->is_from[k])
                continue;
            add_granted(g, from, &there->address, element.protocol, element.port, to->reference);
            meets |= from->net == there->net;
            if (from->net == there->net && address_is_v4(&from->address) == address_is_v4(&there->address))
                container_filter_add(h->filter, CONTAINER_PASSES4, &element);
        }
    }
    if (has_target && has_source && !meets)
        holding_note(h, "%.*s may reach %.*s (%.*s:%u), but they share no network, and Docker keeps its networks apart: put both on one",
                     STR_ARG(g->from->reference), STR_ARG(to->reference), STR_ARG(render_file_name(h->in->model)),
                     h->in->model->grants[g->pass->grant].at.line);
    return 0;
}

/* The gateway's own addresses for the surface, from each of the container's. */
static void grant_surface(struct granting *g)
{
    const struct model *model = g->holding->in->model;
    const struct model_surface *surface = &model->surfaces[g->pass->to];
    const struct model_prefixes *addresses = surface->addresses.n ? &surface->addresses : &model->hosts[g->holding->in->host].addresses;
    for (uint32_t i = 0; i < g->places->n; i++)
        for (uint32_t k = 0; g->is_from[i] && k < addresses->n; k++)
            add_granted(g, &g->places->items[i], &addresses->items[k].address, protocol_of(g->pass), g->pass->port, surface->name.text);
}

static void grant_internet(struct granting *g)
{
    struct holding *h = g->holding;
    for (uint32_t i = 0; i < g->places->n; i++) {
        struct container_element element = holding_at(&g->places->items[i]);
        if (!g->is_from[i])
            continue;
        element.comment = arena_printf(&h->arena, "%.*s to internet, %.*s:%u", STR_ARG(g->from->reference),
                                       STR_ARG(render_file_name(h->in->model)), h->in->model->grants[g->pass->grant].at.line);
        container_filter_add(h->filter, CONTAINER_INTERNET4, &element);
        g->has_elements = true;
    }
}

/* Whoever may use the internet, or a service by its name, may ask for names where Docker sends questions. */
static void grant_names(struct granting *g)
{
    const struct holding_input *in = g->holding->in;
    for (uint32_t i = 0; i < g->places->n; i++) {
        const struct place *from = &g->places->items[i];
        const struct docker_container *container = from->member->container;
        if (!g->is_from[i])
            continue;
        for (uint32_t k = 0; k < (container->n_dns ? container->n_dns : in->n_resolvers); k++) {
            struct address resolver;
            if (container->n_dns && !address_parse(container->dns[k], &resolver))
                continue;
            resolver = container->n_dns ? resolver : in->resolvers[k];
            add_granted(g, from, &resolver, IPPROTO_UDP, 53, STR("names"));
            add_granted(g, from, &resolver, IPPROTO_TCP, 53, STR("names"));
        }
    }
}

static int grant(struct granting *g, bool *is_used)
{
    int r = 0;
    g->has_elements = false;
    switch ((enum container_way)g->pass->way) {
    case CONTAINER_WAY_CONTAINER: r = grant_container(g); break;
    case CONTAINER_WAY_SURFACE: grant_surface(g); break;
    case CONTAINER_WAY_INTERNET: grant_internet(g); break;
    }
    if (g->pass->way != CONTAINER_WAY_CONTAINER)
        grant_names(g);
    is_used[g->pass->grant] |= g->has_elements;
    return r;
}

static int grant_all(struct granting *g, uint32_t *ret_n)
{
    const struct holding_input *in = g->holding->in;
    bool *is_used = arena_array(&g->holding->arena, in->model->n_grants + 1, bool);
    int r = is_used ? 0 : -ENOMEM;
    g->at = arena_array(&g->holding->arena, g->declared.n + 1, bool *);
    if (!g->at)
        return -ENOMEM;
    for (uint32_t c = g->declared.first_of_host[in->host]; r == 0 && c < g->declared.first_of_host[in->host + 1]; c++) {
        g->from = &g->declared.items[c];
        g->is_from = places_of(g, c);
        for (uint32_t p = g->declared.first_of_pass[c]; r == 0 && p < g->declared.first_of_pass[c + 1]; p++) {
            g->pass = &g->declared.passes[p];
            r = g->is_from ? grant(g, is_used) : -ENOMEM;
        }
    }
    for (uint32_t i = 0; r == 0 && i < in->model->n_grants; i++)
        *ret_n += is_used[i];
    return r;
}

int holding_add_grants(struct holding *h, const struct places *places, uint32_t *ret_n)
{
    struct granting g = { .holding = h, .places = places };
    int r = containers_init(&g.declared, h->in->model);
    if (r < 0)
        return r;
    *ret_n = 0;
    r = grant_all(&g, ret_n);
    containers_deinit(&g.declared);
    return r;
}
