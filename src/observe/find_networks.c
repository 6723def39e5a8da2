/* Networks: who shares a bridge with whom, on which ports they listen, and which networks others can be routed into. */
#include "observe/findings_parts.h"

#include <errno.h>
#include <netinet/in.h>

enum { MEMBERS_SHOWN_MAX = 12, PORTS_SHOWN_MAX = 6, CHANGES_SHOWN_MAX = 6 };

struct members {
    uint32_t *items, n, n_projects, n_databases; /* n_projects: how many parties, a container of no project being its own */
};

static bool is_on(const struct observe_engine *engine, const struct docker_container *container, const struct docker_network *network)
{
    for (uint32_t i = 0; i < container->n_endpoints; i++)
        if (observe_endpoint_network(engine, &container->endpoints[i]) == network)
            return true;
    return false;
}

static bool members_find(struct finding_search *search, const struct docker_network *network, struct members *ret)
{
    const struct observe_engine *engine = search->engine;
    *ret = (struct members){ .items = arena_array(search->findings->arena, engine->containers.n + 1, uint32_t) };
    if (!ret->items) {
        search->findings->error = -ENOMEM;
        return false;
    }
    for (uint32_t i = 0; i < engine->containers.n; i++) {
        const struct docker_container *one = &engine->containers.items[i];
        bool is_first = true;
        if (!one->is_running || !is_on(engine, one, network))
            continue;
        for (uint32_t k = 0; k < ret->n && is_first; k++)
            is_first = !observe_same_project(one, &engine->containers.items[ret->items[k]]);
        ret->n_projects += is_first;
        ret->n_databases += finding_is_database(engine, i);
        ret->items[ret->n++] = i;
    }
    return true;
}

/* "tcp 3000, udp 53"; "" where nothing is known to listen. */
static void ports_write(const struct observe_engine *engine, uint32_t container, struct buf *out)
{
    struct observe_port ports[PORTS_SHOWN_MAX];
    uint32_t n = observe_container_ports(engine, container, ports, PORTS_SHOWN_MAX);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out, "%s%s %u", i ? ", " : "", finding_protocol_text(ports[i].protocol), ports[i].port);
}

static struct str members_text(struct finding_search *search, const struct members *members)
{
    struct buf out;
    buf_init(&out, FINDINGS_MEMORY_MAX);
    for (uint32_t i = 0; i < members->n && i < MEMBERS_SHOWN_MAX; i++) {
        struct buf ports;
        buf_init(&ports, FINDINGS_MEMORY_MAX);
        ports_write(search->engine, members->items[i], &ports);
        buf_printf(&out, "%s%.*s", i ? ", " : "", STR_ARG(finding_name(search, members->items[i])));
        if (ports.len)
            buf_printf(&out, " (%.*s)", STR_ARG(buf_str(&ports)));
        buf_deinit(&ports);
    }
    if (members->n > MEMBERS_SHOWN_MAX)
        buf_printf(&out, " and %u more", members->n - MEMBERS_SHOWN_MAX);
    return finding_text_of(search, &out);
}

static void find_shared(struct finding_search *search, const struct docker_network *network, const struct members *members)
{
    struct finding *finding = finding_begin(search, members->n_databases ? FINDING_HIGH : FINDING_MEDIUM, FINDING_SHARED_NETWORK, UINT32_MAX);
    bool is_default = str_equal(network->name, STR("bridge"));
    if (!finding)
        return;
    finding->network = (uint32_t)(network - search->engine->networks.items);
    finding->title = finding_text(search, "network %.*s: %u containers of %u %s reach each other on every port", STR_ARG(network->name), members->n,
                                  members->n_projects, is_default ? "parties" : "projects");
    finding->who = finding_text(search, "each of these the others: %.*s", STR_ARG(members_text(search, members)));
    finding->why = STR("a network that projects share for their proxy's sake is one on which the weakest of them reaches all the others");
    for (uint32_t i = 0; i < members->n && i < CHANGES_SHOWN_MAX; i++) {
        const struct docker_container *one = &search->engine->containers.items[members->items[i]];
        if (is_default && !one->service.len)
            finding_line_add(search, finding, FINDING_ADD, "docker run --network none --name %.*s   # or a network of its own", STR_ARG(one->name));
        else if (one->service.len)
            finding_line_add(search, finding, FINDING_REMOVE, "networks: [%.*s]   # service %.*s, %.*s", STR_ARG(network->name), STR_ARG(one->service),
                             STR_ARG(one->project_files));
        else
            finding_line_add(search, finding, FINDING_REMOVE, "docker run --network %.*s --name %.*s", STR_ARG(network->name), STR_ARG(one->name));
    }
    finding_line_add(search, finding, FINDING_TEXT, "postern reaches a container without sharing a network with it: container: %.*s",
                     STR_ARG(finding_name(search, members->items[0])));
}

/* Whether the label of Compose's says that a needs b: "db:service_started:false,cache:...". */
static bool depends_on(const struct docker_container *a, const struct docker_container *b)
{
    struct str list = docker_container_label(a, STR("com.docker.compose.depends_on"));
    while (list.len) {
        struct str one = str_split(&list, ',');
        if (str_equal(str_first(one, str_find_char(one, ':')), b->service))
            return true;
    }
    return false;
}

/* Pairs on it that neither names in depends_on: "cache and web". */
static uint32_t strangers_write(const struct observe_engine *engine, const struct members *members, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t a = 0; a < members->n; a++)
        for (uint32_t b = a + 1; b < members->n; b++) {
            const struct docker_container *one = &engine->containers.items[members->items[a]];
            const struct docker_container *other = &engine->containers.items[members->items[b]];
            if (str_equal(one->service, other->service) || depends_on(one, other) || depends_on(other, one))
                continue;
            if (n++ < MEMBERS_SHOWN_MAX)
                buf_printf(out, "%s%.*s and %.*s", n > 1 ? ", " : "", STR_ARG(one->service), STR_ARG(other->service));
        }
    return n;
}

static void find_project(struct finding_search *search, const struct docker_network *network, const struct members *members)
{
    struct buf strangers;
    const struct docker_container *first = &search->engine->containers.items[members->items[0]];
    buf_init(&strangers, FINDINGS_MEMORY_MAX);
    uint32_t n = strangers_write(search->engine, members, &strangers);
    struct str pairs = finding_text_of(search, &strangers);
    if (n == 0 || members->n < 3) /* two on a network are there for each other */
        return;
    struct finding *finding = finding_begin(search, members->n_databases ? FINDING_LOW : FINDING_NOTE, FINDING_PROJECT_NETWORK, UINT32_MAX);
    if (!finding)
        return;
    finding->network = (uint32_t)(network - search->engine->networks.items);
    finding->file = first->project_files;
    finding->title = finding_text(search, "%.*s: its %u containers reach each other on every port, over %.*s", STR_ARG(first->project), members->n,
                                  STR_ARG(network->name));
    finding->who = finding_text(search, "each of these the others: %.*s; no depends_on is between %.*s", STR_ARG(members_text(search, members)),
                                STR_ARG(pairs));
    finding->why = STR("Compose puts all services of a project on one network, whether they need each other or not");
    finding_line_add(search, finding, FINDING_TEXT, "postern render compose %.*s writes an override file with the networks that each needs",
                     STR_ARG(first->project));
}

/* macvlan, ipvlan: past the host's rules altogether. */
static void find_own_addresses(struct finding_search *search, const struct docker_network *network)
{
    for (uint32_t i = 0; i < search->engine->containers.n; i++) {
        const struct docker_container *one = &search->engine->containers.items[i];
        if (!one->is_running || !is_on(search->engine, one, network))
            continue;
        struct finding *finding = finding_begin(search, finding_is_database(search->engine, i) ? FINDING_HIGH : FINDING_MEDIUM, FINDING_OWN_ADDRESS, i);
        struct buf ports;
        if (!finding)
            return;
        buf_init(&ports, FINDINGS_MEMORY_MAX);
        ports_write(search->engine, i, &ports);
        struct str listens = finding_text_of(search, &ports);
        finding->network = (uint32_t)(network - search->engine->networks.items);
        finding->title = finding_text(search, "%.*s is a machine of its own on %.*s (%.*s)", STR_ARG(finding_name(search, i)), STR_ARG(network->parent),
                                      STR_ARG(network->driver));
        finding->who = finding_text(search, "everybody on that network, every port%s%.*s%s", listens.len ? ", among them " : "", STR_ARG(listens),
                                    listens.len ? "" : " it listens on");
        finding->why = STR("its packets don't pass this host's rules");
        finding_line_add(search, finding, FINDING_REMOVE, "networks: [%.*s]", STR_ARG(network->name));
    }
}

static void find_routed(struct finding_search *search, const struct docker_network *network, const struct members *members)
{
    bool is_open = str_equal(network->gateway_mode_v4, STR("routed")) || str_equal(network->gateway_mode_v4, STR("nat-unprotected")) ||
                   str_equal(network->gateway_mode_v6, STR("routed")) || str_equal(network->gateway_mode_v6, STR("nat-unprotected"));
    bool is_old = search->engine->guard.forwards_all && search->engine->major && search->engine->major < 28;
    if (!members->n || network->is_internal || !(is_open || is_old || network->trusted_interfaces.len))
        return;
    struct finding *finding = finding_begin(search, members->n_databases ? FINDING_HIGH : FINDING_MEDIUM, FINDING_ROUTED, UINT32_MAX);
    struct buf who;
    if (!finding)
        return;
    buf_init(&who, FINDINGS_MEMORY_MAX);
    finding_neighbours_write(search->engine, &who);
    if (network->trusted_interfaces.len && !is_open && !is_old) {
        buf_clear(&who);
        buf_printf(&who, "whoever comes by %.*s", STR_ARG(network->trusted_interfaces));
    }
    buf_printf(&who, ", by the container's own address: %.*s", STR_ARG(members_text(search, members)));
    finding->network = (uint32_t)(network - search->engine->networks.items);
    finding->title = finding_text(search, "network %.*s: its containers can be routed to, published or not", STR_ARG(network->name));
    finding->who = finding_text_of(search, &who);
    finding->why = is_open || network->trusted_interfaces.len
                       ? STR("the network's gateway mode or its trusted interfaces say so")
                       : STR("before Docker 28, where this host's FORWARD chain has the policy accept, nothing stops it");
    if (is_open)
        finding_line_add(search, finding, FINDING_REMOVE, "driver_opts: { com.docker.network.bridge.gateway_mode_ipv4: %.*s }",
                         STR_ARG(network->gateway_mode_v4));
    else if (network->trusted_interfaces.len)
        finding_line_add(search, finding, FINDING_REMOVE, "driver_opts: { com.docker.network.bridge.trusted_host_interfaces: \"%.*s\" }",
                         STR_ARG(network->trusted_interfaces));
    else
        finding_line_add(search, finding, FINDING_ADD, "iptables -P FORWARD DROP   # or upgrade to Docker 28");
}

void finding_search_networks(struct finding_search *search)
{
    for (uint32_t i = 0; i < search->engine->networks.n && search->findings->error == 0; i++) {
        const struct docker_network *network = &search->engine->networks.items[i];
        struct members members;
        if (str_equal(network->driver, STR("macvlan")) || str_equal(network->driver, STR("ipvlan"))) {
            find_own_addresses(search, network);
            continue;
        }
        if (!network->bridge.len || !members_find(search, network, &members))
            continue;
        find_routed(search, network, &members);
        if (members.n < 2 || !network->icc || observe_guard_holds(&search->engine->guard, network->bridge))
            continue;
        if (members.n_projects > 1)
            find_shared(search, network, &members);
        else
            find_project(search, network, &members);
    }
}
