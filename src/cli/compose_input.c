/* What runs of a Compose project, and which addresses are taken, for its override file. */
#include "cli/compose_input.h"

#include <errno.h>
#include <string.h>

#include "cli/audit_engine.h"
#include "cli/files.h"
#include "cli/here.h"

enum { FILE_MAX = 16 << 20, NAMES_SHOWN_MAX = 8, OLD_MAJOR = 28 };

/* ---- from what runs ---- */

/* The network's key in the file. Compose's own label says it; a network from elsewhere is known by its name. */
static struct str key_of(const struct observe_engine *engine, const struct docker_endpoint *endpoint)
{
    const struct docker_network *network = observe_endpoint_network(engine, endpoint);
    return network && network->key.len ? network->key : endpoint->network;
}

/* Names that Docker gives by itself are none that the file has. */
static bool is_own_alias(const struct docker_container *of, struct str alias)
{
    return !str_equal(alias, of->service) && !str_equal(alias, of->name) && !str_equal(alias, str_first(of->id, 12)) && alias.len > 0;
}

static void list_add(struct str *items, uint32_t *n, struct str what)
{
    for (uint32_t i = 0; i < *n; i++)
        if (str_equal(items[i], what))
            return;
    items[(*n)++] = what;
}

static int service_of(struct observe_engine *engine, const struct docker_container *of, struct compose_service *ret)
{
    uint32_t n_aliases = 0;
    for (uint32_t i = 0; i < of->n_endpoints; i++)
        n_aliases += of->endpoints[i].n_aliases;
    struct str *networks = arena_array(&engine->arena, of->n_endpoints + 1, struct str), *aliases = arena_array(&engine->arena, n_aliases + 1, struct str);
    if (!networks || !aliases)
        return -ENOMEM;
    *ret = (struct compose_service){ .name = of->service, .mode_text = of->network_mode_text, .networks = networks, .aliases = aliases, .n_copies = 1 };
    ret->mode = of->network_mode == DOCKER_NETWORKS ? COMPOSE_ON_NETWORKS : of->network_mode == DOCKER_NETWORK_NONE ? COMPOSE_ON_NONE : COMPOSE_LEFT;
    for (uint32_t i = 0; i < of->n_endpoints && ret->mode == COMPOSE_ON_NETWORKS; i++) {
        struct str key = key_of(engine, &of->endpoints[i]);
        list_add(networks, &ret->n_networks, key);
        ret->names_networks |= !str_equal(key, STR("default"));
        for (uint32_t k = 0; k < of->endpoints[i].n_aliases; k++)
            if (is_own_alias(of, of->endpoints[i].aliases[k]))
                list_add(aliases, &ret->n_aliases, of->endpoints[i].aliases[k]);
    }
    ret->publishes = of->n_ports > 0; /* on an internal network they are asked for in vain, and wouldn't be on another */
    return 0;
}

static int service_compare(const void *left, const void *right)
{
    const struct compose_service *a = left, *b = right;
    return str_compare(a->name, b->name);
}

static void projects_write(const struct observe_engine *engine, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->containers.n && n < NAMES_SHOWN_MAX; i++) {
        const struct docker_container *one = &engine->containers.items[i];
        bool is_new = compose_text_is_plain(one->project);
        for (uint32_t k = 0; k < i && is_new; k++)
            is_new = !observe_same_project(one, &engine->containers.items[k]);
        if (is_new)
            buf_printf(out, "%s%.*s", n++ ? ", " : "; there are ", STR_ARG(one->project));
    }
}

static int services_of_engine(struct observe_engine *engine, struct str project, struct compose_file *ret, struct error *err)
{
    struct compose_service *items = arena_array(&engine->arena, engine->containers.n + 1, struct compose_service);
    uint32_t n = 0;
    int r = items ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < engine->containers.n && r == 0; i++) {
        const struct docker_container *one = &engine->containers.items[i];
        uint32_t k = 0;
        if (!str_equal(one->project, project) || !one->service.len || one->is_oneoff)
            continue;
        while (k < n && !str_equal(items[k].name, one->service))
            k++;
        if (k < n)
            items[k].n_copies++;
        else
            r = service_of(engine, one, &items[n++]);
    }
    if (r == 0 && n == 0) {
        cleanup_buf struct buf names;
        buf_init(&names, FILE_MAX);
        projects_write(engine, &names);
        error_set(err, "the engine has no container of a Compose project '%.*s'%.*s", STR_ARG(str_first(project, compose_text_is_plain(project) ? 80 : 0)),
                  STR_ARG(buf_str(&names)));
        return -EINVAL;
    }
    if (r == 0)
        qsort(items, n, sizeof *items, service_compare);
    *ret = (struct compose_file){ items, n };
    return r;
}

/* ---- what is taken ---- */

struct taken {
    struct compose_taken *items;
    uint32_t n;
};

static void prefix_add(struct taken *taken, struct address_prefix prefix, struct str network)
{
    prefix.address = address_mask(&prefix.address, prefix.bits);
    taken->items[taken->n++] = (struct compose_taken){ prefix, network };
}

static void declared_add(struct taken *taken, const struct model_prefixes *prefixes)
{
    for (uint32_t i = 0; i < prefixes->n; i++)
        prefix_add(taken, prefixes->items[i], STR(""));
}

/* Networks of the engine, interfaces of this host, and every address that the declaration speaks of. */
static int taken_find(const struct model *model, const struct observe_engine *engine, struct arena *arena, struct taken *ret)
{
    size_t n = engine->interfaces.n;
    for (uint32_t i = 0; i < engine->networks.n; i++)
        n += engine->networks.items[i].n_subnets;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        n += (size_t)model->hosts[i].addresses.n + model->hosts[i].lan.n;
    for (uint32_t i = 0; i < model->n_segments; i++)
        n += model->segments[i].addresses.n;
    ret->items = arena_array(arena, n + 1, struct compose_taken);
    if (!ret->items)
        return -ENOMEM;
    for (uint32_t i = 0; i < engine->networks.n; i++)
        for (uint32_t k = 0; k < engine->networks.items[i].n_subnets; k++)
            prefix_add(ret, engine->networks.items[i].subnets[k].prefix, engine->networks.items[i].name);
    for (uint32_t i = 0; i < engine->interfaces.n; i++)
        if (engine->interfaces.items[i].side != OBSERVE_CONTAINERS && engine->interfaces.items[i].side != OBSERVE_LOOPBACK)
            prefix_add(ret, (struct address_prefix){ engine->interfaces.items[i].address, engine->interfaces.items[i].bits }, STR(""));
    for (uint32_t i = 0; i < model->n_hosts; i++) {
        declared_add(ret, &model->hosts[i].addresses);
        declared_add(ret, &model->hosts[i].lan);
    }
    for (uint32_t i = 0; i < model->n_segments; i++)
        declared_add(ret, &model->segments[i].addresses);
    return 0;
}

/* ---- both ---- */

static bool pool_read(const struct render_given *given, struct address_prefix *ret, struct error *err)
{
    const char *text = given->pool ? given->pool : COMPOSE_POOL;
    if (address_prefix_parse(str_of(text), ret))
        return true;
    error_set(err, "--pool %s is no range of addresses, such as " COMPOSE_POOL, text);
    return false;
}

static int file_of(const struct render_given *given, struct observe_engine *engine, struct compose_file *ret, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, FILE_MAX);
    if (!cli_file_read("render", given->compose_path, &text))
        return -EIO;
    return compose_file_read(buf_str(&text), given->compose_path, &engine->arena, ret, err);
}

/* A Compose file alone is enough; the engine is asked where it is named, or where there is no file. */
static int engine_of(const struct render_given *given, struct observe_engine *ret)
{
    if (given->docker || !given->compose_path)
        return cli_engine_load("render", given->docker ? given->docker : "engine", ret) ? 0 : -EIO;
    arena_init(&ret->arena, OBSERVE_ENGINE_MEMORY_MAX);
    return 0;
}

int cli_compose_write(const struct render_given *given, struct buf *out, struct error *err)
{
    cleanup_observe_engine struct observe_engine engine = { 0 };
    struct compose_file file = { 0 };
    struct taken taken = { 0 };
    struct compose_input input = { .model = given->model, .project = str_of(given->project), .revision = given->revision };
    if (!pool_read(given, &input.pool, err))
        return -EINVAL;
    input.host = cli_host_here("render", given->model, given->host_name);
    if (input.host == MODEL_NONE)
        return -EIO;
    int r = engine_of(given, &engine);
    if (r == 0)
        r = given->compose_path ? file_of(given, &engine, &file, err) : services_of_engine(&engine, input.project, &file, err);
    if (r == 0)
        r = taken_find(given->model, &engine, &engine.arena, &taken);
    if (r < 0)
        return r;
    input.services = file.services;
    input.n_services = file.n_services;
    input.taken = taken.items;
    input.n_taken = taken.n;
    input.isolates = engine.major >= OLD_MAJOR && !engine.version.is_podman;
    return render_compose(&input, out, err);
}
