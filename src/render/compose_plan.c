/* Cutting a project's allowed pairs into networks on which every pair is allowed, and finding each an address range and a bridge's name. */
#include "render/compose_plan.h"

#include <errno.h>
#include <stdio.h>

enum { PLAN_MEMORY_MAX = 64 << 20, NEVER_GIVEN = 3 /* the network's own address, the gateway's, the broadcast's */ };

bool compose_text_is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], lower = str_lower_char(c);
        bool is_alphanumeric = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
        if (!is_alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return text.len > 0 && text.len <= 128;
}

/* ---- who may talk to whom ---- */

static bool shares_network(const struct compose_service *a, const struct compose_service *b)
{
    for (uint32_t i = 0; i < a->n_networks; i++)
        for (uint32_t k = 0; k < b->n_networks; k++)
            if (str_equal(a->networks[i], b->networks[k]))
                return true;
    return false;
}

bool compose_is_inside(const struct compose_plan *plan, uint32_t a, uint32_t b)
{
    const struct model *model = plan->input->model;
    if (!shares_network(&plan->input->services[a], &plan->input->services[b]))
        return false;
    for (uint32_t i = 0; i < model->n_projects; i++)
        if (str_equal(model->projects[i].name.text, plan->input->project) && model_runs_on(&model->projects[i].hosts, plan->input->host))
            return model->projects[i].inside == MODEL_INSIDE_OPEN;
    return true;
}

static bool is_granted(const struct compose_plan *plan, uint32_t from, uint32_t to)
{
    const struct containers *containers = &plan->containers;
    if (from == MODEL_NONE || to == MODEL_NONE)
        return false;
    for (uint32_t i = containers->first_of_pass[from]; i < containers->first_of_pass[from + 1]; i++)
        if (containers->passes[i].way == CONTAINER_WAY_CONTAINER && containers->passes[i].to == to)
            return true;
    return false;
}

static bool may_talk(const struct compose_plan *plan, uint32_t a, uint32_t b)
{
    if (plan->input->services[a].mode == COMPOSE_LEFT || plan->input->services[b].mode == COMPOSE_LEFT)
        return false;
    return compose_is_inside(plan, a, b) || is_granted(plan, plan->declared[a], plan->declared[b]) || is_granted(plan, plan->declared[b], plan->declared[a]);
}

/* ---- addresses ---- */

static bool overlaps(const struct address_prefix *a, const struct address_prefix *b)
{
    return address_prefix_contains(a, &b->address) || address_prefix_contains(b, &a->address);
}

static bool is_free(const struct compose_plan *plan, const struct address_prefix *prefix)
{
    for (uint32_t i = 0; i < plan->n_taken; i++)
        if (overlaps(&plan->taken[i].prefix, prefix))
            return false;
    return true;
}

static uint32_t v4_of(const struct address *address)
{
    const uint8_t *b = address->bytes + 12;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static struct address_prefix block_of(const struct address_prefix *pool, unsigned bits, uint32_t index)
{
    struct address_prefix block = { pool->address, (uint8_t)bits };
    uint32_t first = v4_of(&pool->address) + (index << (128 - bits));
    for (unsigned i = 0; i < 4; i++)
        block.address.bytes[12 + i] = (uint8_t)(first >> (24 - 8 * i));
    return block;
}

/* A network that is there keeps its range. Else the one that its name falls on, or the next that is free: the same at every rendering. */
static int subnet_take(struct compose_plan *plan, struct compose_network *network, uint32_t n_hosts, struct error *err)
{
    const struct address_prefix *pool = &plan->input->pool;
    unsigned bits = 124; /* a /28 */
    for (uint32_t i = 0; i < plan->n_taken; i++)
        if (str_equal(plan->taken[i].network, network->name) && address_is_v4(&plan->taken[i].prefix.address)) {
            network->subnet = plan->taken[i].prefix;
            return 0;
        }
    while (bits > pool->bits && (1u << (128 - bits)) < n_hosts + NEVER_GIVEN)
        bits--;
    uint32_t n_blocks = bits >= pool->bits ? 1u << (bits - pool->bits) : 0;
    uint32_t start = n_blocks ? (uint32_t)(str_hash(network->name) % n_blocks) : 0;
    for (uint32_t i = 0; i < n_blocks; i++) {
        struct address_prefix block = block_of(pool, bits, (start + i) % n_blocks);
        if (!is_free(plan, &block))
            continue;
        network->subnet = block;
        plan->taken[plan->n_taken++] = (struct compose_taken){ block, network->name };
        return 0;
    }
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    error_set(err, "no range of %s is left for network %.*s; name a larger one with --pool", address_prefix_format(pool, text), STR_ARG(network->name));
    return -EINVAL;
}

/* ---- networks ---- */

static struct compose_network *network_add(struct compose_plan *plan, enum compose_network_kind kind)
{
    if (plan->n_networks == COMPOSE_NETWORKS_MAX)
        return NULL;
    struct compose_network *network = &plan->networks[plan->n_networks];
    *network = (struct compose_network){ .kind = kind, .peer = MODEL_NONE };
    network->members = arena_array(&plan->arena, plan->input->n_services, uint32_t);
    plan->n_networks += network->members != NULL;
    return network->members ? network : NULL;
}

static int network_name(struct compose_plan *plan, struct compose_network *network, struct str key, bool is_external, struct error *err)
{
    uint32_t n_hosts = 0;
    if (!key.ptr)
        return -ENOMEM;
    network->key = key;
    network->name = is_external ? key : arena_printf(&plan->arena, "%.*s_%.*s", STR_ARG(plan->input->project), STR_ARG(key));
    if (!network->name.ptr)
        return -ENOMEM;
    snprintf(network->bridge, sizeof network->bridge, "pn-%08x", (unsigned)(str_hash(network->name) & UINT32_MAX));
    for (uint32_t i = 0; i < network->n_members; i++)
        n_hosts += plan->input->services[network->members[i]].n_copies ? plan->input->services[network->members[i]].n_copies : 1;
    return subnet_take(plan, network, n_hosts + (is_external ? 1 : 0), err);
}

bool compose_is_on(const struct compose_network *network, uint32_t service)
{
    for (uint32_t i = 0; i < network->n_members; i++)
        if (network->members[i] == service)
            return true;
    return false;
}

static bool fits(const struct compose_plan *plan, const struct compose_network *network, uint32_t service)
{
    for (uint32_t i = 0; i < network->n_members; i++)
        if (network->members[i] == service || !may_talk(plan, network->members[i], service))
            return false;
    return true;
}

static bool is_covered(const struct compose_plan *plan, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < plan->n_networks; i++)
        if (compose_is_on(&plan->networks[i], a) && compose_is_on(&plan->networks[i], b))
            return true;
    return false;
}

/* The first pair that has no network yet begins one, and all that may talk to everybody on it join: no two meet that may not. */
static int inside_make(struct compose_plan *plan, struct error *err)
{
    uint32_t n = plan->input->n_services;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = a + 1; b < n; b++) {
            if (!may_talk(plan, a, b) || is_covered(plan, a, b))
                continue;
            struct compose_network *network = network_add(plan, COMPOSE_INSIDE);
            if (!network)
                return plan->n_networks == COMPOSE_NETWORKS_MAX ? -E2BIG : -ENOMEM;
            network->members[network->n_members++] = a;
            network->members[network->n_members++] = b;
            for (uint32_t c = 0; c < n; c++)
                if (fits(plan, network, c))
                    network->members[network->n_members++] = c;
            int r = network_name(plan, network, plan->n_networks == 1 ? arena_copy(&plan->arena, STR("postern-inside"))
                                                                      : arena_printf(&plan->arena, "postern-inside-%u", plan->n_networks), false, err);
            if (r < 0)
                return r;
        }
    return 0;
}

static struct str reference_plain(struct arena *arena, struct str reference)
{
    struct str copy = arena_copy(arena, reference);
    for (size_t i = 0; i < copy.len && copy.ptr; i++)
        if (copy.ptr[i] == '/')
            ((char *)(uintptr_t)copy.ptr)[i] = '-';
    return copy;
}

static int between_make(struct compose_plan *plan, struct error *err)
{
    const struct containers *containers = &plan->containers;
    for (uint32_t s = 0; s < plan->input->n_services; s++) {
        uint32_t own = plan->declared[s];
        if (own == MODEL_NONE || plan->input->services[s].mode == COMPOSE_LEFT)
            continue;
        for (uint32_t k = containers->first_of_host[plan->input->host]; k < containers->first_of_host[plan->input->host + 1]; k++) {
            bool is_ours = k == own;
            for (uint32_t i = 0; i < plan->input->n_services; i++)
                is_ours |= plan->declared[i] == k;
            if (is_ours || !(is_granted(plan, own, k) || is_granted(plan, k, own)))
                continue;
            struct compose_network *network = network_add(plan, COMPOSE_BETWEEN);
            if (!network)
                return plan->n_networks == COMPOSE_NETWORKS_MAX ? -E2BIG : -ENOMEM;
            network->members[network->n_members++] = s;
            network->peer = k;
            bool is_first = str_compare(containers->items[own].reference, containers->items[k].reference) < 0;
            struct str a = reference_plain(&plan->arena, containers->items[is_first ? own : k].reference);
            struct str b = reference_plain(&plan->arena, containers->items[is_first ? k : own].reference);
            if (!a.ptr || !b.ptr)
                return -ENOMEM;
            int r = network_name(plan, network, arena_printf(&plan->arena, "postern_%.*s_%.*s", STR_ARG(a), STR_ARG(b)), true, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static bool goes_out(const struct compose_plan *plan, uint32_t service)
{
    uint32_t own = plan->declared[service];
    if (own == MODEL_NONE || plan->input->services[service].mode == COMPOSE_LEFT)
        return false;
    for (uint32_t i = plan->containers.first_of_pass[own]; i < plan->containers.first_of_pass[own + 1]; i++)
        if (plan->containers.passes[i].way != CONTAINER_WAY_CONTAINER)
            return true;
    return false;
}

static int out_make(struct compose_plan *plan, struct error *err)
{
    for (uint32_t s = 0; s < plan->input->n_services; s++) {
        if (!goes_out(plan, s))
            continue;
        struct compose_network *network = network_add(plan, COMPOSE_OUT);
        if (!network)
            return plan->n_networks == COMPOSE_NETWORKS_MAX ? -E2BIG : -ENOMEM;
        network->members[network->n_members++] = s;
        int r = network_name(plan, network, arena_printf(&plan->arena, "postern-out-%.*s", STR_ARG(plan->input->services[s].name)), false, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int declared_find(struct compose_plan *plan)
{
    const struct compose_input *input = plan->input;
    for (uint32_t i = 0; i < input->n_services; i++) {
        struct str reference = arena_printf(&plan->arena, "%.*s/%.*s", STR_ARG(input->project), STR_ARG(input->services[i].name));
        if (!reference.ptr)
            return -ENOMEM;
        plan->declared[i] = containers_find_reference(&plan->containers, input->host, reference);
    }
    return 0;
}

static int texts_check(const struct compose_input *input, struct error *err)
{
    if (!compose_text_is_plain(input->project)) {
        error_set(err, "that is no Compose project's name");
        return -EINVAL;
    }
    for (uint32_t i = 0; i < input->n_services; i++)
        if (!compose_text_is_plain(input->services[i].name)) {
            error_set(err, "project %.*s has a service whose name can't be one of Compose's", STR_ARG(input->project));
            return -EINVAL;
        }
    if (!address_is_v4(&input->pool.address) || input->pool.bits < 96 + 8 || input->pool.bits > 96 + 28) {
        error_set(err, "a pool is a range of IPv4 addresses, from /8 to /28");
        return -EINVAL;
    }
    return input->n_services > COMPOSE_SERVICES_MAX ? -E2BIG : 0;
}

int compose_plan_make(struct compose_plan *ret, const struct compose_input *input, struct error *err)
{
    struct compose_plan *plan = ret;
    *plan = (struct compose_plan){ .input = input };
    arena_init(&plan->arena, PLAN_MEMORY_MAX);
    int r = texts_check(input, err);
    if (r == 0)
        r = containers_init(&plan->containers, input->model);
    if (r < 0)
        return r;
    plan->declared = arena_array(&plan->arena, input->n_services + 1, uint32_t);
    plan->networks = arena_array(&plan->arena, COMPOSE_NETWORKS_MAX, struct compose_network);
    plan->taken = arena_array(&plan->arena, input->n_taken + COMPOSE_NETWORKS_MAX, struct compose_taken);
    if (!plan->declared || !plan->networks || !plan->taken)
        return -ENOMEM;
    if (input->n_taken)
        memcpy(plan->taken, input->taken, input->n_taken * sizeof *plan->taken);
    plan->n_taken = input->n_taken;
    r = declared_find(plan);
    if (r == 0)
        r = inside_make(plan, err);
    if (r == 0)
        r = between_make(plan, err);
    return r == 0 ? out_make(plan, err) : r;
}

void compose_plan_deinit(struct compose_plan *plan)
{
    containers_deinit(&plan->containers);
    arena_deinit(&plan->arena);
}
