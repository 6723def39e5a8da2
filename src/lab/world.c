/* From the declaration to the things a lab consists of. */
#include "lab/world.h"

#include <errno.h>

#include "policy/compile.h"

struct str world_below_run(struct str path)
{
    struct str rest = path;
    if (str_starts_with(rest, STR("/var/run/")))
        rest = str_skip(rest, 9);
    else if (str_starts_with(rest, STR("/run/")))
        rest = str_skip(rest, 5);
    else
        return STR_NONE;
    struct str walk = rest;
    while (walk.len)
        if (str_equal(str_split(&walk, '/'), STR("..")))
            return STR_NONE;
    return rest;
}

static void listen_on(struct world_instance *instance, const struct address *address)
{
    if (instance->n_listen < WORLD_LISTEN_MAX)
        instance->listen[instance->n_listen++] = *address;
}

static void listen_on_all(struct world_instance *instance, const struct model_prefixes *addresses)
{
    for (uint32_t i = 0; i < addresses->n; i++)
        listen_on(instance, &addresses->items[i].address);
}

static void listen_on_loopback(struct world_instance *instance)
{
    struct address address;
    if (address_parse(STR("127.0.0.1"), &address))
        listen_on(instance, &address);
    if (address_parse(STR("::1"), &address))
        listen_on(instance, &address);
}

/* The same thing under another service's name needs no second stand-in. */
static bool is_taken(const struct world *world, const struct world_instance *wanted)
{
    for (uint32_t i = 0; i < world->n_instances; i++) {
        const struct world_instance *have = &world->instances[i];
        if (have->host != wanted->host || have->port != wanted->port || have->transport != wanted->transport)
            continue;
        if ((have->place == wanted->place && str_equal(have->path, wanted->path)) || (have->relayed && wanted->place == WORLD_HOST))
            return true;
    }
    return false;
}

static int add_service_instance(struct world *world, uint32_t s, uint32_t host)
{
    const struct model_service *service = &world->model->services[s];
    struct world_instance instance = { .service = s, .host = host, .name = service->name.text, .port = service->port, .protocol = service->protocol };
    bool is_direct = service->kind == MODEL_KIND_DIRECT;
    if (is_direct) {
        instance.echo = true;
        instance.transport = service->transport;
        instance.relayed = service->where != MODEL_WHERE_HOST && world->model->hosts[host].gateway;
    }
    if (is_direct && !instance.relayed) {
        instance.place = WORLD_HOST;
        listen_on_all(&instance, &world->model->hosts[host].addresses);
    } else if (service->where == MODEL_WHERE_HOST) {
        instance.place = WORLD_HOST;
        if (service->loopback)
            listen_on_loopback(&instance);
        else
            listen_on_all(&instance, model_instance_addresses(world->model, service, host));
    } else if (service->where == MODEL_WHERE_UNIX) {
        instance.place = WORLD_UNIX;
        instance.path = service->place.text;
        if (!world_below_run(instance.path).len)
            instance.unserved = STR("the lab makes sockets below /run only");
    } else {
        instance.place = WORLD_NAMESPACE;
        if (service->where == MODEL_WHERE_CONTAINER) {
            cleanup_buf struct buf path;
            buf_init(&path, 4096);
            buf_append(&path, STR("containers/"));
            compile_container_file(&path, service->place.text);
            instance.path = path.error ? STR_NONE : arena_copy(&world->arena, buf_str(&path));
            if (!instance.path.ptr)
                return -ENOMEM;
        } else {
            instance.path = world_below_run(service->place.text);
            if (!instance.path.len)
                instance.unserved = STR("the lab makes namespaces below /run only");
        }
        listen_on_loopback(&instance);
        listen_on_all(&instance, &service->addresses);
    }
    if (!is_taken(world, &instance))
        world->instances[world->n_instances++] = instance;
    return 0;
}

static bool is_gateway_port(const struct model *model, uint32_t host, uint16_t port)
{
    if (!model->hosts[host].gateway)
        return false;
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (port == model->surfaces[i].port || port == model->surfaces[i].redirect_port)
            return true;
    return false;
}

/* Something listens on every port of a host that is spoken of, so that where a connection fails it is not for want of a listener. */
static int add_port(struct world *world, const struct model_target *target)
{
    struct world_instance instance = {
        .service = MODEL_NONE, .host = target->host, .place = WORLD_HOST, .transport = target->transport, .port = target->port, .echo = true,
    };
    if (target->kind != MODEL_TARGET_HOST_PORT || (target->transport == MODEL_TCP && is_gateway_port(world->model, target->host, target->port)))
        return 0;
    instance.name = arena_printf(&world->arena, "port-%u", target->port);
    if (!instance.name.ptr)
        return -ENOMEM;
    listen_on_all(&instance, &world->model->hosts[target->host].addresses);
    if (!is_taken(world, &instance))
        world->instances[world->n_instances++] = instance;
    return 0;
}

static int add_instances(struct world *world)
{
    const struct model *model = world->model;
    size_t n_max = 0;
    for (uint32_t i = 0; i < model->n_services; i++)
        n_max += model->services[i].hosts.n;
    for (uint32_t i = 0; i < model->n_grants; i++)
        n_max += model->grants[i].n_to;
    for (uint32_t i = 0; i < model->n_expectations; i++)
        n_max += model->expectations[i].n_can + model->expectations[i].n_cannot;
    world->instances = arena_array(&world->arena, n_max + 1, struct world_instance);
    if (!world->instances)
        return -ENOMEM;

    int r = 0;
    for (uint32_t i = 0; i < model->n_services && r == 0; i++)
        for (uint32_t k = 0; k < model->services[i].hosts.n && r == 0; k++)
            r = add_service_instance(world, i, model->services[i].hosts.items[k]);
    for (uint32_t i = 0; i < model->n_grants && r == 0; i++)
        for (uint32_t k = 0; k < model->grants[i].n_to && r == 0; k++)
            r = add_port(world, &model->grants[i].to[k]);
    for (uint32_t i = 0; i < model->n_expectations && r == 0; i++) {
        for (uint32_t k = 0; k < model->expectations[i].n_can && r == 0; k++)
            r = add_port(world, &model->expectations[i].can[k]);
        for (uint32_t k = 0; k < model->expectations[i].n_cannot && r == 0; k++)
            r = add_port(world, &model->expectations[i].cannot[k]);
    }
    return r;
}

static int add_names(struct world *world)
{
    const struct model *model = world->model;
    size_t n_max = 0;
    for (uint32_t i = 0; i < model->n_services; i++)
        n_max += 1 + model->services[i].hosts.n + model->services[i].names.n;
    world->names = arena_array(&world->arena, n_max + 1, struct world_name);
    if (!world->names)
        return -ENOMEM;
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        if (service->kind != MODEL_KIND_WEB)
            continue;
        world->names[world->n_names++] = (struct world_name){
            arena_printf(&world->arena, "%.*s.%.*s", STR_ARG(service->name.text), STR_ARG(model->domain.text)), i, MODEL_NONE
        };
        for (uint32_t k = 0; k < service->hosts.n; k++)
            world->names[world->n_names++] = (struct world_name){
                arena_printf(&world->arena, "%.*s-%.*s.%.*s", STR_ARG(service->name.text), STR_ARG(model->hosts[service->hosts.items[k]].name.text),
                             STR_ARG(model->domain.text)),
                i, service->hosts.items[k]
            };
        for (uint32_t k = 0; k < service->names.n; k++)
            world->names[world->n_names++] = (struct world_name){ service->names.items[k].text, i, MODEL_NONE };
    }
    for (uint32_t i = 0; i < world->n_names; i++)
        if (!world->names[i].name.ptr)
            return -ENOMEM;
    return 0;
}

unsigned world_lan_bits(const struct address *address)
{
    return address_is_v4(address) ? 96 + 24 : 64;
}

bool world_has_lan(const struct model_host *host)
{
    for (uint32_t i = 0; i < host->lan.n; i++)
        if (world_is_lan_address(&host->lan.items[i]))
            return true;
    return false;
}

static bool lan_address_is_declared(const struct model *model, const struct address *address)
{
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].lan.n; k++)
            if (address_equal(&model->hosts[i].lan.items[k].address, address))
                return true;
    return false;
}

/* A neighbour's address: in the LAN of the first host that has one of that family, and nobody's. */
static void add_guest_lan(struct world *world, bool v4)
{
    for (uint32_t i = 0; i < world->model->n_hosts; i++) {
        const struct model_prefixes *lan = &world->model->hosts[i].lan;
        for (uint32_t k = 0; k < lan->n; k++) {
            if (!world_is_lan_address(&lan->items[k]) || address_is_v4(&lan->items[k].address) != v4)
                continue;
            struct address candidate = lan->items[k].address;
            for (unsigned last = 254; last > 1; last--) {
                candidate.bytes[15] = (uint8_t)last;
                if (!lan_address_is_declared(world->model, &candidate)) {
                    world->guest_lan[world->n_guest_lan++] = (struct address_prefix){ candidate, 128 };
                    return;
                }
            }
        }
    }
}

static void add_guest(struct world *world)
{
    static const char *const names[] = { "lan-guest", "lan-guest-2", "lan-guest-3" };
    add_guest_lan(world, true);
    add_guest_lan(world, false);
    for (size_t i = 0; i < ARRAY_SIZE(names) && world->n_guest_lan && !world->guest.len; i++) {
        bool is_declared = false;
        for (uint32_t h = 0; h < world->model->n_hosts; h++)
            is_declared |= str_equal(world->model->hosts[h].name.text, str_of(names[i]));
        if (!is_declared)
            world->guest = str_of(names[i]);
    }
}

int world_init(struct world *ret, const struct model *model)
{
    struct world world = { .model = model };
    arena_init(&world.arena, 64 << 20);
    int r = add_instances(&world);
    if (r == 0)
        r = add_names(&world);
    if (r < 0) {
        arena_deinit(&world.arena);
        return r;
    }
    add_guest(&world);
    *ret = world;
    return 0;
}

void world_deinit(struct world *world)
{
    arena_deinit(&world->arena);
}

bool world_gateway_serves(const struct world *world, uint32_t gateway, uint32_t s, uint32_t host)
{
    const struct model_service *service = &world->model->services[s];
    if (!world->model->hosts[gateway].gateway)
        return false;
    for (uint32_t i = 0; i < service->hosts.n; i++) {
        uint32_t at = service->hosts.items[i];
        if (host != MODEL_NONE && at != host)
            continue;
        if (at == gateway || (service->where == MODEL_WHERE_HOST && !service->loopback))
            return true;
    }
    return false;
}

void world_write_hosts_file(const struct world *world, struct buf *out)
{
    const struct model *model = world->model;
    char text[ADDRESS_TEXT_SIZE];
    buf_append(out, STR("127.0.0.1 localhost\n::1 localhost\n"));
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].addresses.n; k++)
            buf_printf(out, "%s %.*s\n", address_format(&model->hosts[i].addresses.items[k].address, text), STR_ARG(model->hosts[i].name.text));
    for (uint32_t n = 0; n < world->n_names; n++)
        for (uint32_t i = 0; i < model->n_hosts; i++)
            for (uint32_t k = 0; world_gateway_serves(world, i, world->names[n].service, world->names[n].host) && k < model->hosts[i].addresses.n; k++)
                buf_printf(out, "%s %.*s\n", address_format(&model->hosts[i].addresses.items[k].address, text), STR_ARG(world->names[n].name));
}
