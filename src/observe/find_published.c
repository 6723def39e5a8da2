/* Published ports: at which addresses, who is behind those, and how the same is had without. */
#include "observe/findings_parts.h"

#include <netinet/in.h>

enum { RANGES_SHOWN_MAX = 6, OLD_MAJOR = 28 };

enum binding { BOUND_ANYWHERE, BOUND_AT, BOUND_LOOPBACK };

static enum binding binding_of(const struct docker_port *port)
{
    return observe_address_is_any(&port->host_address) ? BOUND_ANYWHERE : address_is_loopback(&port->host_address) ? BOUND_LOOPBACK : BOUND_AT;
}

/* Ports of one container with one binding (and, at an address, that one), consecutive ones as one. */
struct ports {
    const struct docker_container *container;
    enum binding binding;
    const struct address *address; /* BOUND_AT */
};

static bool ports_has(const struct ports *ports, uint32_t i)
{
    const struct docker_port *port = &ports->container->ports[i];
    if (!port->is_published || binding_of(port) != ports->binding)
        return false;
    if (ports->binding == BOUND_AT && !address_equal(&port->host_address, ports->address))
        return false;
    /* 0.0.0.0 and :: are two lines of the engine's and one of the user's. */
    for (uint32_t k = 0; k < i; k++) {
        const struct docker_port *before = &ports->container->ports[k];
        if (before->is_published && binding_of(before) == ports->binding && before->protocol == port->protocol && before->port == port->port &&
            before->host_port == port->host_port && (ports->binding != BOUND_AT || address_equal(&before->host_address, &port->host_address)))
            return false;
    }
    return true;
}

struct range {
    const struct docker_port *first;
    uint32_t n;
};

/* From *i on. False: there is no more. */
static bool range_next(const struct ports *ports, uint32_t *i, struct range *ret)
{
    struct range range = { 0 };
    for (; *i < ports->container->n_ports; ++*i) {
        const struct docker_port *port = &ports->container->ports[*i];
        if (!ports_has(ports, *i))
            continue;
        if (range.first && (port->protocol != range.first->protocol || port->port != range.first->port + range.n ||
                            port->host_port != range.first->host_port + range.n))
            break;
        if (!range.first)
            range.first = port;
        range.n++;
    }
    *ret = range;
    return range.first != NULL;
}

/* "tcp 3000, udp 2456-2458": as others see them. */
static struct str numbers_text(struct finding_search *search, const struct ports *ports)
{
    struct buf out;
    struct range range;
    uint32_t n = 0, n_more = 0;
    buf_init(&out, FINDINGS_MEMORY_MAX);
    for (uint32_t i = 0; range_next(ports, &i, &range);) {
        if (n++ >= RANGES_SHOWN_MAX) {
            n_more += range.n;
            continue;
        }
        buf_printf(&out, "%s%s %u", n > 1 ? ", " : "", finding_protocol_text(range.first->protocol), range.first->host_port);
        if (range.n > 1)
            buf_printf(&out, "-%u", range.first->host_port + range.n - 1);
    }
    if (n_more)
        buf_printf(&out, " and %u more", n_more);
    return finding_text_of(search, &out);
}

/* ports: ["3000:3000", "2456-2458:2456-2458/udp"], as a Compose file has them, or docker run's -p; at: the address to bind them to, "" as they
 * are. */
static struct str ports_text(struct finding_search *search, const struct ports *ports, struct str at)
{
    struct buf out;
    struct range range;
    uint32_t n = 0;
    bool is_compose = ports->container->service.len > 0;
    buf_init(&out, FINDINGS_MEMORY_MAX);
    buf_append(&out, is_compose ? STR("ports: [") : STR("docker run"));
    for (uint32_t i = 0; range_next(ports, &i, &range) && n < RANGES_SHOWN_MAX; n++) {
        char text[ADDRESS_TEXT_SIZE];
        struct str address = at.len ? at : ports->binding == BOUND_ANYWHERE ? STR("") : str_of(address_format(&range.first->host_address, text));
        bool brackets = str_find_char(address, ':') < address.len;
        buf_printf(&out, "%s%s%.*s%s%s%u", !is_compose ? " -p " : n ? ", \"" : "\"", brackets ? "[" : "", STR_ARG(address), brackets ? "]" : "",
                   address.len ? ":" : "", range.first->host_port);
        if (range.n > 1)
            buf_printf(&out, "-%u:%u-%u", range.first->host_port + range.n - 1, range.first->port, range.first->port + range.n - 1);
        else
            buf_printf(&out, ":%u", range.first->port);
        if (range.first->protocol != IPPROTO_TCP)
            buf_printf(&out, "/%s", finding_protocol_text(range.first->protocol));
        buf_append(&out, is_compose ? STR("\"") : STR(""));
    }
    if (n == RANGES_SHOWN_MAX)
        buf_append(&out, is_compose ? STR(", ...") : STR(" ..."));
    buf_append(&out, is_compose ? STR("]") : STR(""));
    return finding_text_of(search, &out);
}

static const struct docker_port *first_of(const struct ports *ports)
{
    for (uint32_t i = 0; i < ports->container->n_ports; i++)
        if (ports_has(ports, i))
            return &ports->container->ports[i];
    return NULL;
}

/* ---- the line to change ---- */

/* The project's services that are on one of the database's own networks: they need no published port. */
static struct str neighbours_text(struct finding_search *search, const struct docker_container *of)
{
    const struct observe_engine *engine = search->engine;
    struct buf out;
    buf_init(&out, FINDINGS_MEMORY_MAX);
    for (uint32_t i = 0; i < engine->containers.n; i++) {
        const struct docker_container *other = &engine->containers.items[i];
        bool shares = false;
        if (other == of || !observe_same_project(of, other) || !other->is_running)
            continue;
        for (uint32_t a = 0; a < of->n_endpoints; a++)
            for (uint32_t b = 0; b < other->n_endpoints; b++)
                shares |= str_equal(of->endpoints[a].network, other->endpoints[b].network);
        if (shares)
            buf_printf(&out, "%s%.*s", out.len ? ", " : "", STR_ARG(other->service));
    }
    return finding_text_of(search, &out);
}

static struct str mesh_address_text(struct finding_search *search)
{
    const struct observe_interfaces *interfaces = &search->engine->interfaces;
    char text[ADDRESS_TEXT_SIZE];
    for (uint32_t i = 0; i < interfaces->n; i++)
        if (interfaces->items[i].side == OBSERVE_MESH && address_is_v4(&interfaces->items[i].address))
            return finding_text(search, "%s", address_format(&interfaces->items[i].address, text));
    return STR("");
}

/* The port that postern would serve by name: the image's usual one, else the first of TCP where nothing is known. NULL: none is a web port. */
static const struct docker_port *web_port_of(const struct ports *ports)
{
    const struct observe_image_kind *kind = observe_image_find(ports->container->image);
    for (uint32_t i = 0; i < ports->container->n_ports; i++) {
        const struct docker_port *port = &ports->container->ports[i];
        if (ports_has(ports, i) && port->protocol == IPPROTO_TCP && (!kind || (kind->kind == OBSERVE_IMAGE_WEB && kind->port == port->port)))
            return port;
    }
    return NULL;
}

static void change_ports(struct finding_search *search, struct finding *finding, uint32_t container, const struct ports *ports)
{
    const struct docker_port *first = first_of(ports), *web = web_port_of(ports);
    struct str mesh = mesh_address_text(search), reference = finding_name(search, container);
    struct str service = observe_suggested_name(ports->container, search->findings->arena);
    struct str begin = finding_text(search, "%.*s: { host: %.*s, container: %.*s", STR_ARG(service), STR_ARG(search->gateway), STR_ARG(reference));
    finding_line_add(search, finding, FINDING_REMOVE, "%.*s", STR_ARG(ports_text(search, ports, STR(""))));
    if (finding_is_database(search->engine, container)) {
        struct str neighbours = neighbours_text(search, ports->container);
        finding_line_add(search, finding, FINDING_ADD, "%.*s, port: %u, internal: true }   # in postern.yml", STR_ARG(begin), first->port);
        if (neighbours.len)
            finding_line_add(search, finding, FINDING_TEXT, "its own project needs no published port: %.*s and it share a network", STR_ARG(neighbours));
        return;
    }
    if (web) {
        finding_line_add(search, finding, FINDING_ADD, "%.*s, port: %u }   # in postern.yml", STR_ARG(begin), web->port);
        if (search->engine->major >= OLD_MAJOR && ports->binding != BOUND_LOOPBACK)
            finding_line_add(search, finding, FINDING_TEXT, "or for this host's own programs only: %.*s",
                             STR_ARG(ports_text(search, ports, STR("127.0.0.1"))));
        return;
    }
    finding_line_add(search, finding, FINDING_ADD, "%.*s, direct: \"%s/%u\" }   # in postern.yml", STR_ARG(begin),
                     finding_protocol_text(first->protocol), first->port);
    if (mesh.len && ports->binding == BOUND_ANYWHERE)
        finding_line_add(search, finding, FINDING_TEXT, "or on the mesh only: %.*s", STR_ARG(ports_text(search, ports, mesh)));
}

/* ---- the findings ---- */

/* "Grafana (tcp 3000)"; the image's title where it is known. */
static struct str what_text(struct finding_search *search, uint32_t container, const struct ports *ports)
{
    const struct observe_image_kind *kind = observe_image_find(search->engine->containers.items[container].image);
    struct str numbers = numbers_text(search, ports);
    return kind ? finding_text(search, "%s (%.*s)", kind->title, STR_ARG(numbers)) : numbers;
}

static void others_write(struct finding_search *search, uint32_t container, struct str how, struct buf *out)
{
    uint32_t n = finding_n_others(search->engine, container);
    if (n)
        buf_printf(out, ", and %u other container%s %.*s", n, n == 1 ? "" : "s", STR_ARG(how));
}

/* By interface: whether this host's rules keep whoever is behind it off all of these ports, at every address of the container. NULL: nothing is
 * known to be stopped. */
static const bool *stopped_find(struct finding_search *search, const struct ports *ports)
{
    const struct observe_engine *engine = search->engine;
    bool *stopped = engine->guard.is_known ? arena_array(search->findings->arena, engine->interfaces.n + 1, bool) : NULL;
    bool any = false;
    for (uint32_t i = 0; stopped && i < engine->interfaces.n; i++) {
        const struct observe_interface *by = &engine->interfaces.items[i];
        bool stops = by->side != OBSERVE_LOOPBACK && by->side != OBSERVE_CONTAINERS;
        uint32_t n_asked = 0;
        for (uint32_t p = 0; p < ports->container->n_ports && stops; p++)
            for (uint32_t e = 0; e < ports->container->n_endpoints && stops && ports_has(ports, p); e++) {
                const struct docker_endpoint *end = &ports->container->endpoints[e];
                const struct address *to = address_is_v4(&by->address) ? &end->v4 : &end->v6;
                if (!(address_is_v4(&by->address) ? end->has_v4 : end->has_v6))
                    continue;
                n_asked++;
                stops = observe_guard_stops(&engine->guard, by, to, ports->container->ports[p].protocol, ports->container->ports[p].port);
            }
        stopped[i] = stops && n_asked > 0;
        any |= stopped[i];
    }
    return any ? stopped : NULL;
}

static void find_anywhere(struct finding_search *search, uint32_t container, const struct ports *ports)
{
    struct address everywhere = { { 0 } };
    bool is_database = finding_is_database(search->engine, container);
    const bool *stopped = stopped_find(search, ports);
    bool by_internet = finding_side_has(search->engine, &everywhere, OBSERVE_INTERNET, stopped);
    bool by_any = by_internet || finding_side_has(search->engine, &everywhere, OBSERVE_LAN, stopped) ||
                  finding_side_has(search->engine, &everywhere, OBSERVE_MESH, stopped);
    enum finding_severity severity = is_database ? (by_internet ? FINDING_CRITICAL : FINDING_HIGH) : by_internet ? FINDING_HIGH : FINDING_MEDIUM;
    if (stopped && !by_any)
        severity = is_database ? FINDING_MEDIUM : FINDING_LOW;
    struct finding *finding = finding_begin(search, severity, FINDING_PUBLISHED, container);
    struct buf who;
    if (!finding)
        return;
    buf_init(&who, FINDINGS_MEMORY_MAX);
    finding_sides_write(search->engine, &everywhere, stopped, &who);
    others_write(search, container, STR("by any address of this host"), &who);
    finding->title = finding_text(search, "%.*s: %.*s at 0.0.0.0, every address of this host", STR_ARG(finding_name(search, container)),
                                  STR_ARG(what_text(search, container, ports)));
    finding->who = finding_text_of(search, &who);
    finding->why = STR("Docker passes published ports on before ufw, firewalld or an input chain sees them");
    change_ports(search, finding, container, ports);
}

static void find_at(struct finding_search *search, uint32_t container, const struct ports *ports)
{
    const bool *stopped = stopped_find(search, ports);
    bool is_database = finding_is_database(search->engine, container);
    bool by_internet = finding_side_has(search->engine, ports->address, OBSERVE_INTERNET, stopped);
    bool by_mesh = finding_side_has(search->engine, ports->address, OBSERVE_MESH, stopped);
    bool by_lan = finding_side_has(search->engine, ports->address, OBSERVE_LAN, stopped);
    enum finding_severity severity = by_internet || (is_database && (by_lan || by_mesh)) ? FINDING_HIGH : by_lan ? FINDING_MEDIUM : FINDING_LOW;
    struct finding *finding = finding_begin(search, severity, FINDING_PUBLISHED_AT, container);
    struct buf who;
    char address[ADDRESS_TEXT_SIZE];
    if (!finding)
        return;
    buf_init(&who, FINDINGS_MEMORY_MAX);
    finding_sides_write(search->engine, ports->address, stopped, &who);
    others_write(search, container, STR("by that address"), &who);
    if (by_mesh && search->engine->is_live)
        buf_append(&who, STR("; a neighbour on the LAN that sends it here, too: Docker doesn't ask by which interface it came"));
    finding->title = finding_text(search, "%.*s: %.*s at %s", STR_ARG(finding_name(search, container)), STR_ARG(what_text(search, container, ports)),
                                  address_format(ports->address, address));
    finding->who = finding_text_of(search, &who);
    finding->why = STR("an address to publish at says where to send to, not who may");
    change_ports(search, finding, container, ports);
}

static void find_loopback(struct finding_search *search, uint32_t container, const struct ports *ports)
{
    unsigned major = search->engine->major;
    bool is_old = major > 0 && major < OLD_MAJOR && !search->engine->version.is_podman && !search->engine->info.is_rootless;
    struct finding *finding;
    struct buf who;
    if (!is_old)
        return;
    finding = finding_begin(search, finding_is_database(search->engine, container) ? FINDING_HIGH : FINDING_MEDIUM, FINDING_PUBLISHED_LOOPBACK, container);
    if (!finding)
        return;
    buf_init(&who, FINDINGS_MEMORY_MAX);
    finding_neighbours_write(search->engine, &who);
    finding->title = finding_text(search, "%.*s: %.*s at 127.0.0.1, which Docker %u leaves open to neighbours", STR_ARG(finding_name(search, container)),
                                  STR_ARG(what_text(search, container, ports)), major);
    finding->who = finding_text_of(search, &who);
    finding->why = STR("before Docker 28 whoever is on the same link may send to 127.0.0.1 or to the container's own address through this host");
    change_ports(search, finding, container, ports);
    finding_line_add(search, finding, FINDING_TEXT, "or upgrade to Docker 28 or later");
}

void finding_search_published(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    struct ports ports = { .container = of, .binding = BOUND_ANYWHERE };
    if (first_of(&ports))
        find_anywhere(search, container, &ports);
    ports.binding = BOUND_LOOPBACK;
    if (first_of(&ports))
        find_loopback(search, container, &ports);
    ports.binding = BOUND_AT;
    for (uint32_t i = 0; of->ports && i < of->n_ports; i++) {
        bool is_new = of->ports[i].is_published && binding_of(&of->ports[i]) == BOUND_AT;
        for (uint32_t k = 0; k < i && is_new; k++)
            is_new = !of->ports[k].is_published || !address_equal(&of->ports[k].host_address, &of->ports[i].host_address);
        ports.address = &of->ports[i].host_address;
        if (is_new)
            find_at(search, container, &ports);
    }
}
