/* The host itself: what it listens on is open to its containers, from internal networks, too; and the engine's own ways in. */
#include "observe/findings_parts.h"

#include <netinet/in.h>

enum { LISTENERS_SHOWN_MAX = 10, NAMES_SHOWN_MAX = 6 };

/* Docker's own listener for a published port, which has its own finding. */
static bool is_docker_proxy(const struct observe_listener *listener)
{
    return str_equal(listener->program, STR("docker-proxy")) || str_equal(listener->program, STR("rootlesskit"));
}

/* Whether containers can send to it: what is bound to a bridge's, a LAN's or the mesh's address answers there for them, too. */
static bool is_reached(const struct observe_listener *listener)
{
    bool is_resolver_like = listener->protocol == IPPROTO_UDP && listener->port >= 32768;
    return !address_is_loopback(&listener->address) && !is_docker_proxy(listener) && !is_resolver_like;
}

/* Whether this host's rules keep every container on a bridge off it. */
static bool is_stopped(const struct observe_engine *engine, const struct observe_listener *listener)
{
    uint32_t n_asked = 0;
    for (uint32_t i = 0; i < engine->containers.n && engine->guard.is_known; i++)
        for (uint32_t e = 0; e < engine->containers.items[i].n_endpoints; e++) {
            const struct docker_endpoint *end = &engine->containers.items[i].endpoints[e];
            const struct docker_network *network = observe_endpoint_network(engine, end);
            if (!network || !network->bridge.len || !end->has_v4)
                continue;
            n_asked++;
            if (!observe_guard_stops_to_host(&engine->guard, network->bridge, &end->v4, &end->gateway_v4, listener->protocol, listener->port))
                return false;
        }
    return n_asked > 0;
}

static uint32_t listeners_write(const struct observe_engine *engine, struct buf *out)
{
    uint32_t n = 0;
    const struct observe_listener *before = NULL;
    for (uint32_t i = 0; i < engine->listeners.n; i++) {
        const struct observe_listener *one = &engine->listeners.items[i];
        if (!is_reached(one) || is_stopped(engine, one) || (before && before->protocol == one->protocol && before->port == one->port))
            continue;
        before = one;
        if (n++ >= LISTENERS_SHOWN_MAX)
            continue;
        buf_printf(out, "%s%s %u", n > 1 ? ", " : "", finding_protocol_text(one->protocol), one->port);
        if (one->program.len)
            buf_printf(out, " (%.*s)", STR_ARG(one->program));
    }
    if (n > LISTENERS_SHOWN_MAX)
        buf_printf(out, " and %u more", n - LISTENERS_SHOWN_MAX);
    return n;
}

/* A running container with a bridge that has an address of the host's; internal: on internal networks only. */
static bool is_bridged(const struct observe_engine *engine, const struct docker_container *container, bool internal)
{
    bool has_any = false;
    for (uint32_t i = 0; i < container->n_endpoints && container->is_running; i++) {
        const struct docker_network *network = observe_endpoint_network(engine, &container->endpoints[i]);
        if (!network || !network->bridge.len || str_equal(network->gateway_mode_v4, STR("isolated")) ||
            observe_guard_holds(&engine->guard, network->bridge))
            continue;
        if (internal && !network->is_internal)
            return false;
        has_any = true;
    }
    return has_any;
}

static void find_reached(struct finding_search *search)
{
    struct buf listens, names;
    uint32_t n_all = 0, n_internal = 0;
    buf_init(&listens, FINDINGS_MEMORY_MAX);
    buf_init(&names, FINDINGS_MEMORY_MAX);
    uint32_t n = listeners_write(search->engine, &listens);
    for (uint32_t i = 0; i < search->engine->containers.n; i++) {
        n_all += is_bridged(search->engine, &search->engine->containers.items[i], false);
        if (!is_bridged(search->engine, &search->engine->containers.items[i], true))
            continue;
        if (n_internal++ < NAMES_SHOWN_MAX)
            buf_printf(&names, "%s%.*s", n_internal > 1 ? ", " : "", STR_ARG(finding_name(search, i)));
    }
    struct str ports = finding_text_of(search, &listens), internal = finding_text_of(search, &names);
    if (n == 0 || n_all == 0)
        return;
    struct finding *finding = finding_begin(search, n_internal ? FINDING_MEDIUM : FINDING_LOW, FINDING_HOST_REACHED, UINT32_MAX);
    if (!finding)
        return;
    struct str how = n_internal ? finding_text(search, "also those on internal networks only (%.*s)", STR_ARG(internal)) : STR("by any address of this host");
    finding->title = finding_text(search, "this host: containers reach what it listens on itself%s", n_internal ? ", from internal networks, too" : "");
    finding->who = finding_text(search, "%u container%s, %.*s: %.*s", n_all, n_all == 1 ? "" : "s", STR_ARG(how), STR_ARG(ports));
    finding->why = STR("each bridge is an interface of the host, and \"internal: true\" only cuts the way past it");
    finding_line_add(search, finding, FINDING_TEXT, "postern apply drops it, but for what is granted; or bind each program to the address it is for");
    if (n_internal)
        finding_line_add(search, finding, FINDING_TEXT, "from Docker 27.1 on, for an internal network without an address of the host:");
    if (n_internal)
        finding_line_add(search, finding, FINDING_ADD, "driver_opts: { com.docker.network.bridge.gateway_mode_ipv4: isolated }");
}

static void find_engine_tcp(struct finding_search *search)
{
    const struct observe_engine *engine = search->engine;
    for (uint32_t i = 0; i < engine->listeners.n; i++) {
        const struct observe_listener *one = &engine->listeners.items[i];
        if (one->protocol != IPPROTO_TCP || !str_equal(one->program, STR("dockerd")) || (one->port != 2375 && one->port != 2376))
            continue;
        bool is_plain = one->port == 2375, is_here = address_is_loopback(&one->address);
        struct finding *finding = finding_begin(search, is_plain ? FINDING_CRITICAL : FINDING_MEDIUM, FINDING_ENGINE_TCP, UINT32_MAX);
        struct buf who;
        char address[ADDRESS_TEXT_SIZE];
        if (!finding)
            return;
        buf_init(&who, FINDINGS_MEMORY_MAX);
        if (is_here)
            buf_append(&who, STR("every program and every host-networked container of this host"));
        else {
            finding_sides_write(engine, &one->address, NULL, &who);
            buf_append(&who, STR(", and every container"));
        }
        finding->title = finding_text(search, "dockerd listens on tcp %u of %s%s", one->port, address_format(&one->address, address),
                                      is_plain ? ", without asking who asks" : "");
        finding->who = finding_text_of(search, &who);
        finding->why = STR("who may ask Docker is root on this host");
        finding->file = STR("/etc/docker/daemon.json, or dockerd's command line");
        finding_line_add(search, finding, FINDING_REMOVE, "\"hosts\": [\"tcp://%s:%u\"]", address, one->port);
        finding_line_add(search, finding, FINDING_TEXT, "from elsewhere: docker -H ssh://USER@HOST");
    }
}

static void find_rootless(struct finding_search *search)
{
    struct finding *finding = search->engine->info.is_rootless ? finding_begin(search, FINDING_NOTE, FINDING_ROOTLESS, UINT32_MAX) : NULL;
    if (!finding)
        return;
    finding->title = STR("this engine is rootless: its networks are in a namespace of its own");
    finding->who = STR("published ports are told; who is behind which address of this host is not");
    finding->why = STR("containers see every client as one address, and this host's firewall can't tell containers apart");
}

void finding_search_host(struct finding_search *search)
{
    find_engine_tcp(search);
    find_reached(search);
    find_rootless(search);
}
