/* Bringing together what the engine says and what this host's kernel says. */
#include "observe/engine.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "observe/nftables.h"

enum { ENGINE_TIMEOUT_MS = 10000, SUGGESTED_SIZE = 48 };

static int details_make(struct observe_engine *engine)
{
    uint32_t n = engine->containers.n;
    engine->details = arena_array(&engine->arena, n ? n : 1, struct observe_container);
    if (!engine->details)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const struct docker_container *owner = docker_container_network_owner(&engine->containers, &engine->containers.items[i]);
        engine->details[i].owner = owner ? (uint32_t)(owner - engine->containers.items) : i;
    }
    uint64_t major = 0;
    struct str version = engine->version.version;
    engine->major = str_to_u64(str_split(&version, '.'), 1000, &major) ? (unsigned)major : 0;
    return 0;
}

/* ---- this host ---- */

static bool is_bridge(const struct observe_engine *engine, struct str interface)
{
    for (uint32_t i = 0; i < engine->networks.n; i++)
        if (engine->networks.items[i].bridge.len && str_equal(engine->networks.items[i].bridge, interface))
            return true;
    return false;
}

static int interfaces_look(struct observe_engine *engine)
{
    int r = observe_interfaces_read(&engine->arena, &engine->interfaces);
    if (r < 0)
        return r;
    struct observe_interface *items = arena_array(&engine->arena, engine->interfaces.n + 1, struct observe_interface);
    if (!items)
        return -ENOMEM;
    for (uint32_t i = 0; i < engine->interfaces.n; i++) {
        items[i] = engine->interfaces.items[i];
        if (is_bridge(engine, items[i].name))
            items[i].side = OBSERVE_CONTAINERS;
    }
    engine->interfaces.items = items;
    return 0;
}

/* Not root: a container's process is somebody else's, and its sockets stay unknown. */
static int listeners_look(struct observe_engine *engine)
{
    int r = observe_listeners_read(0, &engine->arena, &engine->listeners);
    if (r < 0)
        return r;
    r = observe_listeners_name((struct observe_listener *)(uintptr_t)engine->listeners.items, engine->listeners.n, &engine->arena);
    for (uint32_t i = 0; i < engine->containers.n && r == 0; i++) {
        const struct docker_container *container = &engine->containers.items[i];
        struct observe_container *detail = &engine->details[i];
        if (!container->is_running || container->pid <= 0 || container->network_mode == DOCKER_NETWORK_HOST)
            continue;
        r = observe_listeners_read(container->pid, &engine->arena, &detail->listeners);
        detail->knows_listeners = r == 0;
        if (r != -ENOMEM)
            r = 0;
    }
    return r;
}

/* Without nft, or without the right to ask, nothing is known to be stopped. */
static int guard_look(struct observe_engine *engine)
{
    cleanup_buf struct buf listing;
    struct error err = { "" };
    buf_init(&listing, OBSERVE_NFTABLES_MAX);
    int r = observe_nftables_list(&listing, &err);
    if (r == 0)
        r = observe_guard_read(buf_str(&listing), &engine->guard, &err);
    return r == -ENOMEM ? r : 0;
}

int observe_engine_ask(const char *socket_path, struct observe_engine *ret, struct error *err)
{
    cleanup_docker_client struct docker_client *client = NULL;
    *ret = (struct observe_engine){ .is_live = true };
    arena_init(&ret->arena, OBSERVE_ENGINE_MEMORY_MAX);
    int r = docker_client_open(socket_path, ENGINE_TIMEOUT_MS, &client, err);
    if (r == 0)
        r = docker_client_version(client, &ret->arena, &ret->version, err);
    if (r == 0)
        r = docker_client_info(client, &ret->arena, &ret->info, err);
    if (r == 0)
        r = docker_client_containers(client, true, &ret->arena, &ret->containers, err);
    if (r == 0)
        r = docker_client_networks(client, &ret->arena, &ret->networks, err);
    if (r < 0)
        return r;
    if (r > 0)
        return -EIO;
    r = details_make(ret);
    /* A rootless engine's bridges are in a namespace of its own: this host's addresses say nothing of them. */
    if (r == 0 && !ret->info.is_rootless)
        r = interfaces_look(ret);
    if (r == 0 && !ret->info.is_rootless)
        r = listeners_look(ret);
    if (r == 0 && !ret->info.is_rootless)
        r = guard_look(ret);
    if (r < 0)
        error_set(err, "can't look at this host's networks: %s", strerror(-r));
    return r;
}

void observe_engine_deinit(struct observe_engine *engine)
{
    observe_guard_deinit(&engine->guard);
    arena_deinit(&engine->arena);
    *engine = (struct observe_engine){ 0 };
}

/* ---- a saved state ---- */

struct saved {
    struct observe_engine *engine;
    uint32_t containers_cap, networks_cap;
};

/* Room for one more at the end of an array in the arena. */
static void *grown(struct arena *arena, const void *items, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return (void *)(uintptr_t)items;
    uint32_t wanted = *cap ? *cap * 2 : 64;
    void *moved = arena_alloc(arena, wanted, size);
    if (!moved)
        return NULL;
    if (n)
        memcpy(moved, items, n * size);
    *cap = wanted;
    return moved;
}

static int container_add(struct saved *saved, struct str text, struct error *err)
{
    struct docker_containers *list = &saved->engine->containers;
    list->items = grown(&saved->engine->arena, list->items, list->n, &saved->containers_cap, sizeof *list->items);
    if (!list->items)
        return -ENOMEM;
    int r = docker_container_parse(text, &saved->engine->arena, &list->items[list->n], err);
    list->n += r == 0;
    return r;
}

static int network_add(struct saved *saved, struct str text, struct error *err)
{
    struct docker_networks *list = &saved->engine->networks;
    list->items = grown(&saved->engine->arena, list->items, list->n, &saved->networks_cap, sizeof *list->items);
    if (!list->items)
        return -ENOMEM;
    int r = docker_network_parse(text, &saved->engine->arena, &list->items[list->n], err);
    list->n += r == 0;
    return r;
}

/* Which of the three an object is, by the fields that only it has. "docker version" of the command line has the engine under Server. */
static int object_add(struct saved *saved, const json_t *object, struct error *err)
{
    const json_t *server = json_object_get(object, "Server");
    const json_t *said = server ? server : object;
    bool is_version = json_object_get(said, "ApiVersion") != NULL;
    bool is_container = json_object_get(object, "HostConfig") && json_object_get(object, "State");
    bool is_network = json_object_get(object, "IPAM") && json_object_get(object, "Driver");
    cleanup_free char *text = json_dumps(said, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return -ENOMEM;
    if (is_version)
        return docker_version_parse(str_of(text), &saved->engine->arena, &saved->engine->version, err);
    if (is_container)
        return container_add(saved, str_of(text), err);
    if (is_network)
        return network_add(saved, str_of(text), err);
    error_set(err, "a JSON object that is neither a container, a network nor a version; write it with: "
                   "docker version -f json; docker inspect $(docker ps -aq); docker network inspect $(docker network ls -q)");
    return -EINVAL;
}

static int value_add(struct saved *saved, const json_t *value, struct error *err)
{
    size_t i;
    const json_t *one;
    int r = 0;
    if (!json_is_array(value))
        return object_add(saved, value, err);
    json_array_foreach(value, i, one) {
        if (r == 0)
            r = object_add(saved, one, err);
    }
    return r;
}

int observe_engine_read(struct str text, struct observe_engine *ret, struct error *err)
{
    struct saved saved = { .engine = ret };
    *ret = (struct observe_engine){ 0 };
    arena_init(&ret->arena, OBSERVE_ENGINE_MEMORY_MAX);
    int r = 0;
    bool has_any = false;
    ret->version.version = ret->version.api_version = ret->version.min_api_version = STR("");
    ret->info.name = ret->info.firewall = STR("");
    while (r == 0) {
        json_error_t why;
        while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t' || text.ptr[0] == '\r' || text.ptr[0] == '\n'))
            text = str_skip(text, 1);
        if (!text.len)
            break;
        json_t *value = json_loadb(text.ptr, text.len, JSON_DISABLE_EOF_CHECK, &why);
        if (!value) {
            error_set(err, "not the JSON of docker inspect: line %d: %s", why.line, why.text);
            return -EINVAL;
        }
        text = str_skip(text, (size_t)why.position);
        r = value_add(&saved, value, err);
        has_any = true;
        json_decref(value);
    }
    if (r == 0 && !has_any) {
        error_set(err, "nothing is in it");
        r = -EINVAL;
    }
    return r == 0 ? details_make(ret) : r;
}

/* ---- looking up ---- */

const struct docker_network *observe_endpoint_network(const struct observe_engine *engine, const struct docker_endpoint *endpoint)
{
    for (uint32_t i = 0; i < engine->networks.n; i++)
        if (endpoint->network_id.len ? str_equal(engine->networks.items[i].id, endpoint->network_id)
                                     : str_equal(engine->networks.items[i].name, endpoint->network))
            return &engine->networks.items[i];
    return NULL;
}

struct str observe_container_name(const struct docker_container *container, struct arena *arena)
{
    if (container->project.len && container->service.len && !container->is_oneoff)
        return arena_printf(arena, "%.*s/%.*s", STR_ARG(container->project), STR_ARG(container->service));
    return container->name;
}

/* A service called so says less than its project does. */
static bool is_generic(struct str service)
{
    static const char *const words[] = { "app", "web", "server", "frontend", "backend", "main", "api", "ui", "service", "webserver", "nginx" };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (str_equal_nocase(service, str_of(words[i])))
            return true;
    return false;
}

struct str observe_suggested_name(const struct docker_container *container, struct arena *arena)
{
    const struct observe_image_kind *kind = observe_image_find(container->image);
    char text[SUGGESTED_SIZE];
    size_t n = 0;
    struct str parts[2] = { container->service, STR("") };
    if (!container->service.len || container->is_oneoff)
        parts[0] = container->name;
    else if (is_generic(container->service))
        parts[0] = container->project;
    else if (kind && kind->kind == OBSERVE_IMAGE_DATABASE && !str_starts_with(container->service, container->project)) {
        parts[0] = container->project;
        parts[1] = container->service;
    }
    for (size_t p = 0; p < ARRAY_SIZE(parts); p++) {
        if (p && parts[p].len && n && n + 1 < sizeof text)
            text[n++] = '-';
        for (size_t i = 0; i < parts[p].len && n < sizeof text; i++) {
            char c = str_lower_char(parts[p].ptr[i]);
            bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
            if (is_plain)
                text[n++] = c;
            else if (n && text[n - 1] != '-')
                text[n++] = '-';
        }
    }
    while (n && text[n - 1] == '-')
        n--;
    struct str copied = arena_copy(arena, n ? str_make(text, n) : STR("service"));
    return copied.ptr ? copied : STR("service");
}

bool observe_same_project(const struct docker_container *a, const struct docker_container *b)
{
    return a->project.len && str_equal(a->project, b->project);
}

static bool port_add(struct observe_port *items, uint32_t *n, uint32_t max, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < *n; i++)
        if (items[i].protocol == protocol && items[i].port == port)
            return true;
    if (*n == max)
        return false;
    items[(*n)++] = (struct observe_port){ protocol, port };
    return true;
}

/* UDP sockets of high ports are those of whoever asks, not of whoever answers (a resolver's, a DHCP client's). */
static bool is_ephemeral(const struct observe_listener *listener)
{
    return listener->protocol == IPPROTO_UDP && listener->port >= 32768;
}

uint32_t observe_container_ports(const struct observe_engine *engine, uint32_t container, struct observe_port *ret, uint32_t max)
{
    uint32_t owner = engine->details[container].owner, n = 0;
    const struct observe_container *detail = &engine->details[owner];
    const struct docker_container *of = &engine->containers.items[container];
    if (detail->knows_listeners) {
        for (uint32_t i = 0; i < detail->listeners.n; i++) {
            const struct observe_listener *listener = &detail->listeners.items[i];
            if (!address_is_loopback(&listener->address) && !is_ephemeral(listener))
                (void)port_add(ret, &n, max, listener->protocol, listener->port);
        }
        return n;
    }
    for (uint32_t i = 0; i < of->n_ports; i++)
        (void)port_add(ret, &n, max, of->ports[i].protocol, of->ports[i].port);
    return n;
}
