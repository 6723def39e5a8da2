/* Gathering findings and putting the worst first; what all parts of the search ask about a container. */
#include "observe/findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "observe/findings_parts.h"

static const char *const severity_texts[] = { "critical", "high", "medium", "low", "note" };

static const char *const kind_texts[FINDING_N_KINDS] = {
    [FINDING_SOCKET] = "docker-socket", [FINDING_ENGINE_TCP] = "docker-on-tcp", [FINDING_PRIVILEGED] = "privileged",
    [FINDING_CAPABILITY] = "capability", [FINDING_HOST_FILES] = "host-files", [FINDING_HOST_PID] = "host-pid",
    [FINDING_HOST_NETWORK] = "host-network", [FINDING_PUBLISHED] = "published", [FINDING_PUBLISHED_AT] = "published-at-address",
    [FINDING_PUBLISHED_LOOPBACK] = "published-on-loopback", [FINDING_OWN_ADDRESS] = "own-lan-address", [FINDING_ROUTED] = "routed-network",
    [FINDING_SHARED_NETWORK] = "shared-network", [FINDING_PROJECT_NETWORK] = "project-network", [FINDING_HOST_REACHED] = "host-reached",
    [FINDING_ROOTLESS] = "rootless", [FINDING_ABSENT] = "absent", [FINDING_SILENT] = "silent", [FINDING_UNDECLARED] = "undeclared",
};

const char *finding_severity_text(enum finding_severity severity)
{
    return severity_texts[severity];
}

const char *finding_kind_text(enum finding_kind kind)
{
    return kind_texts[kind];
}

/* ---- building ---- */

static void fail(struct finding_search *search, int r)
{
    if (search->findings->error == 0)
        search->findings->error = r;
}

struct str finding_text(struct finding_search *search, const char *format, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, FINDINGS_MEMORY_MAX);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    return finding_text_of(search, &text);
}

struct str finding_text_of(struct finding_search *search, struct buf *text)
{
    struct str copied = text->error ? STR_NONE : arena_copy(search->findings->arena, buf_str(text));
    if (!copied.ptr)
        fail(search, text->error ? text->error : -ENOMEM);
    buf_deinit(text);
    return copied.ptr ? copied : STR("");
}

struct finding *finding_begin(struct finding_search *search, enum finding_severity severity, enum finding_kind kind, uint32_t container)
{
    struct finding begun = {
        .severity = severity, .kind = kind, .container = container, .network = UINT32_MAX,
        .title = STR(""), .who = STR(""), .why = STR(""), .service = STR(""), .file = STR(""),
    };
    if (container != UINT32_MAX) {
        const struct docker_container *of = &search->engine->containers.items[container];
        begun.service = of->service;
        begun.file = of->project_files;
    }
    buf_append(&search->findings->items, str_make((const char *)&begun, sizeof begun));
    if (search->findings->items.error) {
        fail(search, search->findings->items.error);
        return NULL;
    }
    return (struct finding *)(void *)(search->findings->items.ptr + search->findings->items.len) - 1;
}

void finding_line_add(struct finding_search *search, struct finding *finding, enum finding_mark mark, const char *format, ...)
{
    struct buf text;
    va_list args;
    if (finding->n_lines == FINDING_LINES_MAX)
        return;
    buf_init(&text, FINDINGS_MEMORY_MAX);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    finding->lines[finding->n_lines++] = (struct finding_line){ mark, finding_text_of(search, &text) };
}

struct str finding_name(struct finding_search *search, uint32_t container)
{
    struct str name = observe_container_name(&search->engine->containers.items[container], search->findings->arena);
    if (!name.ptr)
        fail(search, -ENOMEM);
    return name.ptr ? name : STR("");
}

const char *finding_protocol_text(uint8_t protocol)
{
    return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "sctp";
}

bool finding_is_database(const struct observe_engine *engine, uint32_t container)
{
    const struct observe_image_kind *kind = observe_image_find(engine->containers.items[container].image);
    return kind && kind->kind == OBSERVE_IMAGE_DATABASE;
}

/* ---- who reaches a container ---- */

bool finding_side_has(const struct observe_engine *engine, const struct address *address, enum observe_side side, const bool *stopped)
{
    bool any = observe_address_is_any(address);
    for (uint32_t i = 0; i < engine->interfaces.n; i++) {
        const struct observe_interface *one = &engine->interfaces.items[i];
        if (one->side == side && (any || address_equal(&one->address, address)) && !(stopped && stopped[i]))
            return true;
    }
    /* Of a saved state the addresses aren't known: everywhere is everywhere, and an address is what it looks like. */
    if (engine->interfaces.n == 0)
        return any ? side == OBSERVE_LAN || side == OBSERVE_MESH : observe_side_of(STR(""), address) == side;
    return false;
}

struct finding_reach finding_reach_of(const struct observe_engine *engine, uint32_t container)
{
    const struct docker_container *of = &engine->containers.items[engine->details[container].owner];
    struct address everywhere = { { 0 } };
    struct finding_reach reach = { .any = of->network_mode == DOCKER_NETWORK_HOST };
    for (uint32_t i = 0; i < of->n_ports; i++) {
        const struct docker_port *port = &of->ports[i];
        if (!port->is_published)
            continue;
        if (observe_address_is_any(&port->host_address))
            reach.any = true;
        else if (address_is_loopback(&port->host_address))
            reach.loopback = true;
        else {
            reach.at_address = true;
            reach.lan |= finding_side_has(engine, &port->host_address, OBSERVE_LAN, NULL);
            reach.mesh |= finding_side_has(engine, &port->host_address, OBSERVE_MESH, NULL);
            reach.internet |= finding_side_has(engine, &port->host_address, OBSERVE_INTERNET, NULL);
        }
    }
    reach.lan |= reach.any && finding_side_has(engine, &everywhere, OBSERVE_LAN, NULL);
    reach.mesh |= reach.any && finding_side_has(engine, &everywhere, OBSERVE_MESH, NULL);
    reach.internet |= reach.any && finding_side_has(engine, &everywhere, OBSERVE_INTERNET, NULL);
    return reach;
}

struct str finding_reach_text(struct finding_search *search, uint32_t container)
{
    struct finding_reach reach = finding_reach_of(search->engine, container);
    const char *parts[4];
    size_t n = 0;
    if (reach.internet)
        parts[n++] = "the internet";
    if (reach.lan)
        parts[n++] = "the LAN";
    if (reach.mesh)
        parts[n++] = "the mesh";
    if (reach.any || reach.at_address)
        parts[n++] = "other containers";
    switch (n) {
    case 0: return STR("");
    case 1: return str_of(parts[0]);
    case 2: return finding_text(search, "%s and %s", parts[0], parts[1]);
    case 3: return finding_text(search, "%s, %s and %s", parts[0], parts[1], parts[2]);
    default: return finding_text(search, "%s, %s, %s and %s", parts[0], parts[1], parts[2], parts[3]);
    }
}

static void side_write(const struct observe_engine *engine, const struct address *address, const bool *stopped, enum observe_side side, const char *words,
                       struct buf *out)
{
    bool any = observe_address_is_any(address);
    for (uint32_t i = 0; i < engine->interfaces.n; i++) {
        const struct observe_interface *one = &engine->interfaces.items[i];
        char text[ADDRESS_PREFIX_TEXT_SIZE];
        if (one->side != side || !(any || address_equal(&one->address, address)) || (stopped && stopped[i]))
            continue;
        struct address_prefix subnet = { address_mask(&one->address, one->bits), one->bits };
        buf_printf(out, "%s%s", out->len ? ", " : "", words);
        if (side == OBSERVE_LAN)
            buf_printf(out, " %s", address_prefix_format(&subnet, text));
        else if (side == OBSERVE_INTERNET)
            buf_printf(out, " by %s", address_format(&one->address, text));
        buf_printf(out, " (%.*s)", STR_ARG(one->name));
        if (side == OBSERVE_MESH) /* its addresses of both families are one way in */
            return;
    }
}

void finding_sides_write(const struct observe_engine *engine, const struct address *address, const bool *stopped, struct buf *out)
{
    size_t before = out->len;
    if (engine->interfaces.n == 0) {
        buf_append(out, observe_address_is_any(address) ? STR("whoever reaches any address of this host: its LAN, its mesh")
                        : observe_side_of(STR(""), address) == OBSERVE_MESH ? STR("the mesh") : STR("the LAN"));
        return;
    }
    side_write(engine, address, stopped, OBSERVE_INTERNET, "the internet", out);
    side_write(engine, address, stopped, OBSERVE_LAN, "the LAN", out);
    side_write(engine, address, stopped, OBSERVE_MESH, "the mesh", out);
    if (out->len == before)
        buf_append(out, stopped ? STR("nobody from outside, whom this host's rules stop") : STR("whoever can send to this host"));
}

void finding_neighbours_write(const struct observe_engine *engine, struct buf *out)
{
    struct address everywhere = { { 0 } };
    if (engine->interfaces.n)
        side_write(engine, &everywhere, NULL, OBSERVE_LAN, out->len ? "neighbours on" : "whoever is a neighbour on", out);
    if (!out->len)
        buf_append(out, STR("whoever is on the same link as this host"));
}

/* It has a way out of its networks: from one that isn't internal, or as the host. */
static bool reaches_host_ports(const struct observe_engine *engine, const struct docker_container *container)
{
    if (container->network_mode == DOCKER_NETWORK_HOST)
        return true;
    for (uint32_t i = 0; i < container->n_endpoints; i++) {
        const struct docker_network *network = observe_endpoint_network(engine, &container->endpoints[i]);
        if (network && !network->is_internal && !str_equal(network->driver, STR("null")) && !observe_guard_holds(&engine->guard, network->bridge))
            return true;
    }
    return false;
}

uint32_t finding_n_others(const struct observe_engine *engine, uint32_t container)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->containers.n; i++)
        n += i != container && engine->containers.items[i].is_running && engine->details[i].owner != engine->details[container].owner &&
             reaches_host_ports(engine, &engine->containers.items[engine->details[i].owner]);
    return n;
}

/* ---- all of them ---- */

static int finding_compare(const void *left, const void *right)
{
    const struct finding *a = left, *b = right;
    if (a->severity != b->severity)
        return a->severity < b->severity ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return str_compare(a->title, b->title);
}

int findings_find(struct observe_engine *engine, struct str gateway, struct findings *ret)
{
    struct finding_search search = { engine, ret, gateway };
    *ret = (struct findings){ .arena = &engine->arena };
    buf_init(&ret->items, FINDINGS_MEMORY_MAX);
    for (uint32_t i = 0; i < engine->containers.n; i++) {
        if (!engine->containers.items[i].is_running)
            continue;
        finding_search_powers(&search, i);
        finding_search_published(&search, i);
    }
    finding_search_networks(&search);
    finding_search_host(&search);
    findings_sort(ret);
    return ret->error;
}

void findings_sort(struct findings *findings)
{
    if (findings->items.len)
        qsort(findings->items.ptr, findings_n(findings), sizeof(struct finding), finding_compare);
}

void findings_deinit(struct findings *findings)
{
    buf_deinit(&findings->items);
}
