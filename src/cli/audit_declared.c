/* The containers of a host and what a declaration says of them, both ways. */
#include "cli/audit_declared.h"

#include <errno.h>
#include <netinet/in.h>

#include "observe/findings_parts.h"
#include "policy/containers.h"

enum { PAIRS_SHOWN_MAX = 12, NAMES_SHOWN_MAX = 12, PORTS_MAX = 64, NEAR_MAX = 3 };

struct holding {
    const struct model *model;
    uint32_t host;
    struct finding_search search;
    struct containers containers;
    uint32_t *declared;          /* of each of the engine's containers: its number in containers; MODEL_NONE */
};

/* ---- which is which ---- */

static int containers_match(struct holding *holding)
{
    const struct docker_containers *list = &holding->search.engine->containers;
    const struct containers *containers = &holding->containers;
    holding->declared = arena_array(&holding->search.engine->arena, list->n + 1, uint32_t);
    if (!holding->declared)
        return -ENOMEM;
    for (uint32_t i = 0; i < list->n; i++) {
        holding->declared[i] = MODEL_NONE;
        for (uint32_t k = containers->first_of_host[holding->host]; k < containers->first_of_host[holding->host + 1]; k++)
            if (docker_container_is_called(&list->items[i], containers->items[k].reference))
                holding->declared[i] = k;
    }
    return 0;
}

static struct str place_text(struct holding *holding, struct model_place at)
{
    return finding_text(&holding->search, "%.*s:%u", STR_ARG(holding->model->file), at.line);
}

/* ---- networks ---- */

/* Both are of one project, on a network of its own, and the declaration doesn't say narrower. */
static bool is_inside(const struct holding *holding, uint32_t a, uint32_t b, const struct docker_network *network)
{
    const struct docker_container *one = &holding->search.engine->containers.items[a], *other = &holding->search.engine->containers.items[b];
    if (!observe_same_project(one, other) || (network->project.len && !str_equal(network->project, one->project)))
        return false;
    for (uint32_t i = 0; i < holding->model->n_projects; i++) {
        const struct model_project *project = &holding->model->projects[i];
        if (str_equal(project->name.text, one->project) && model_runs_on(&project->hosts, holding->host))
            return project->inside == MODEL_INSIDE_OPEN;
    }
    return true;
}

static bool passes(const struct holding *holding, uint32_t a, uint32_t b, struct observe_port port)
{
    const struct containers *containers = &holding->containers;
    uint32_t from = holding->declared[a], to = holding->declared[b];
    if (from == MODEL_NONE || to == MODEL_NONE)
        return false;
    for (uint32_t i = containers->first_of_pass[from]; i < containers->first_of_pass[from + 1]; i++) {
        const struct container_pass *pass = &containers->passes[i];
        if (pass->way == CONTAINER_WAY_CONTAINER && pass->to == to && pass->port == port.port &&
            (pass->transport == MODEL_UDP) == (port.protocol == IPPROTO_UDP))
            return true;
    }
    return false;
}

static bool is_on(const struct observe_engine *engine, uint32_t container, const struct docker_network *network)
{
    const struct docker_container *one = &engine->containers.items[container];
    for (uint32_t i = 0; i < one->n_endpoints && one->is_running; i++)
        if (observe_endpoint_network(engine, &one->endpoints[i]) == network)
            return true;
    return false;
}

/* "grafana reaches prometheus (tcp 9090)": what passes from one to the other and no grant says. Returns whether there is something. */
static bool pair_write(struct holding *holding, uint32_t a, uint32_t b, bool is_shown, struct buf *out)
{
    struct observe_port ports[PORTS_MAX];
    struct buf gained;
    buf_init(&gained, FINDINGS_MEMORY_MAX);
    uint32_t n = observe_container_ports(holding->search.engine, b, ports, PORTS_MAX), n_gained = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!passes(holding, a, b, ports[i]))
            buf_printf(&gained, "%s%s %u", n_gained++ ? ", " : "", finding_protocol_text(ports[i].protocol), ports[i].port);
    bool knows = holding->search.engine->details[holding->search.engine->details[b].owner].knows_listeners;
    struct str text = finding_text_of(&holding->search, &gained);
    bool is_gained = n_gained > 0 || (n == 0 && !knows);
    if (is_gained && is_shown)
        buf_printf(out, "%s%.*s reaches %.*s (%.*s)", out->len ? ", " : "", STR_ARG(finding_name(&holding->search, a)),
                   STR_ARG(finding_name(&holding->search, b)), n_gained ? (int)text.len : 14, n_gained ? text.ptr : "any port it has");
    return is_gained;
}

/* What the network lets through and no grant says; "" where that is nothing. */
static struct str gained_text(struct holding *holding, const struct docker_network *network)
{
    const struct observe_engine *engine = holding->search.engine;
    struct buf who;
    uint32_t n = 0;
    buf_init(&who, FINDINGS_MEMORY_MAX);
    for (uint32_t a = 0; a < engine->containers.n; a++)
        for (uint32_t b = 0; b < engine->containers.n && is_on(engine, a, network); b++)
            if (a != b && is_on(engine, b, network) && !is_inside(holding, a, b, network))
                n += pair_write(holding, a, b, n < PAIRS_SHOWN_MAX, &who);
    if (n > PAIRS_SHOWN_MAX)
        buf_printf(&who, " and %u more pairs", n - PAIRS_SHOWN_MAX);
    struct str text = finding_text_of(&holding->search, &who);
    return text.len ? finding_text(&holding->search, "no grant says: %.*s", STR_ARG(text)) : text;
}

/* Projects that are declared narrower than their networks are. */
static void find_wider(struct holding *holding)
{
    const struct observe_engine *engine = holding->search.engine;
    for (uint32_t i = 0; i < engine->networks.n; i++) {
        const struct docker_network *network = &engine->networks.items[i];
        bool is_shared = !network->bridge.len || !network->icc;
        for (uint32_t k = 0; k < findings_n(holding->search.findings) && !is_shared; k++)
            is_shared = findings_at(holding->search.findings, k)->kind == FINDING_SHARED_NETWORK && findings_at(holding->search.findings, k)->network == i;
        struct str who = is_shared ? STR("") : gained_text(holding, network);
        struct finding *finding = who.len ? finding_begin(&holding->search, FINDING_MEDIUM, FINDING_PROJECT_NETWORK, UINT32_MAX) : NULL;
        if (!finding)
            continue;
        finding->network = i;
        finding->title = finding_text(&holding->search, "network %.*s lets through more than is declared", STR_ARG(network->name));
        finding->who = who;
        finding->why = STR("\"inside: declared\" says that a project's containers need grants, too");
        if (network->project.len)
            finding_line_add(&holding->search, finding, FINDING_TEXT, "postern render compose %.*s writes an override file with the networks that each needs",
                             STR_ARG(network->project));
        finding_line_add(&holding->search, finding, FINDING_TEXT, "or have it held: mode: enforce under projects:, and postern apply");
    }
}

/* ---- published ports ---- */

/* A port of the host that the declaration speaks of: granted as HOST:PORT, or a service's that gateways dial there. */
static bool host_port_is_declared(const struct holding *holding, const struct docker_port *port, struct model_place *ret)
{
    const struct model *model = holding->model;
    enum model_transport transport = port->protocol == IPPROTO_UDP ? MODEL_UDP : MODEL_TCP;
    for (uint32_t g = 0; g < model->n_grants; g++)
        for (uint32_t t = 0; t < model->grants[g].n_to; t++) {
            const struct model_target *to = &model->grants[g].to[t];
            if (to->kind == MODEL_TARGET_HOST_PORT && to->host == holding->host && to->port == port->host_port && to->transport == transport) {
                *ret = model->grants[g].at;
                return true;
            }
        }
    for (uint32_t s = 0; s < model->n_services; s++) {
        const struct model_service *service = &model->services[s];
        if (service->where == MODEL_WHERE_HOST && model_runs_on(&service->hosts, holding->host) && service->port == port->host_port &&
            service->transport == transport) {
            *ret = service->name.at;
            return true;
        }
    }
    return false;
}

static bool is_declared_internal(const struct holding *holding, uint32_t container)
{
    uint32_t declared = holding->declared[container];
    if (declared == MODEL_NONE)
        return false;
    const struct container *one = &holding->containers.items[declared];
    for (uint32_t i = 0; i < one->n_services; i++)
        if (holding->model->services[one->services[i]].kind == MODEL_KIND_INTERNAL)
            return true;
    return false;
}

/* It is a service already: nothing is to be added for it. */
static void lines_hold(struct holding *holding, struct finding *finding)
{
    uint32_t declared = holding->declared[finding->container];
    if (declared == MODEL_NONE)
        return;
    const struct model_service *service = &holding->model->services[holding->containers.items[declared].services[0]];
    for (uint32_t i = 0; i < finding->n_lines; i++)
        if (str_ends_with(finding->lines[i].text, STR("# in postern.yml"))) {
            finding->lines[i].mark = FINDING_TEXT;
            finding->lines[i].text = finding_text(&holding->search, "service %.*s (%.*s) needs no published port", STR_ARG(service->name.text),
                                                  STR_ARG(place_text(holding, service->name.at)));
        }
}

/* Published on the mesh alone and spoken of: as declared, as far as the mesh's policy is. */
static bool published_hold(struct holding *holding, struct finding *finding)
{
    const struct docker_container *of = &holding->search.engine->containers.items[finding->container];
    struct model_place at = { 0 };
    bool all_declared = true, is_mesh = finding->kind == FINDING_PUBLISHED_AT;
    for (uint32_t i = 0; i < of->n_ports; i++) {
        const struct docker_port *port = &of->ports[i];
        if (!port->is_published || address_is_loopback(&port->host_address))
            continue;
        all_declared &= host_port_is_declared(holding, port, &at);
        is_mesh &= !observe_address_is_any(&port->host_address) && finding_side_has(holding->search.engine, &port->host_address, OBSERVE_MESH, NULL);
    }
    if (is_mesh && all_declared)
        return false;
    lines_hold(holding, finding);
    if (at.line)
        finding->who = finding_text(&holding->search, "%.*s; %.*s speaks of that port of the host, and this is wider", STR_ARG(finding->who),
                                    STR_ARG(place_text(holding, at)));
    else
        finding->who = finding_text(&holding->search, "%.*s; no grant says so", STR_ARG(finding->who));
    if (is_declared_internal(holding, finding->container) && finding->severity > FINDING_HIGH) {
        finding->severity = FINDING_HIGH;
        finding->who = finding_text(&holding->search, "%.*s, and it is declared internal", STR_ARG(finding->who));
    }
    return true;
}

/* ---- what is declared in vain ---- */

static void near_write(struct holding *holding, struct str reference, struct buf *out)
{
    const struct docker_containers *list = &holding->search.engine->containers;
    uint32_t n = 0;
    struct str rest = reference, part = str_split(&rest, '/');
    part = rest.len ? rest : part;
    for (uint32_t i = 0; i < list->n && n < NEAR_MAX; i++) {
        struct str name = finding_name(&holding->search, i), tail = name, head = str_split(&tail, '/');
        tail = tail.len ? tail : head;
        if (str_distance(name, reference, 2) <= 2 || str_equal(tail, part) || str_equal(list->items[i].name, part) || str_equal(list->items[i].service, part))
            buf_printf(out, "%s%.*s", n++ ? ", " : "", STR_ARG(name));
    }
}

static void find_absent(struct holding *holding, const struct container *container, bool is_there)
{
    const struct model_service *service = &holding->model->services[container->services[0]];
    struct finding *finding = finding_begin(&holding->search, FINDING_MEDIUM, FINDING_ABSENT, UINT32_MAX);
    struct buf near;
    if (!finding)
        return;
    buf_init(&near, FINDINGS_MEMORY_MAX);
    if (!is_there)
        near_write(holding, container->reference, &near);
    struct str names = finding_text_of(&holding->search, &near);
    finding->title = finding_text(&holding->search, "service %.*s: %s %.*s", STR_ARG(service->name.text),
                                  is_there ? "its container does not run:" : "no container here is called", STR_ARG(container->reference));
    finding->who = STR("nobody, until there is one");
    finding->file = place_text(holding, service->place.at);
    if (is_there)
        finding_line_add(&holding->search, finding, FINDING_TEXT, "start it, or take the service out of the declaration");
    else if (names.len)
        finding_line_add(&holding->search, finding, FINDING_TEXT, "did you mean %.*s?", STR_ARG(names));
    else
        finding_line_add(&holding->search, finding, FINDING_TEXT, "PROJECT/SERVICE of a Compose project, or a NAME as 'docker ps' shows it");
}

static bool listens(const struct observe_container *detail, const struct model_service *service)
{
    uint8_t protocol = service->kind == MODEL_KIND_DIRECT && service->transport == MODEL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
    for (uint32_t i = 0; i < detail->listeners.n; i++)
        if (detail->listeners.items[i].port == service->port && detail->listeners.items[i].protocol == protocol)
            return true;
    return false;
}

static void find_silent(struct holding *holding, uint32_t container, const struct model_service *service)
{
    const struct observe_engine *engine = holding->search.engine;
    const struct observe_container *detail = &engine->details[engine->details[container].owner];
    struct observe_port ports[NAMES_SHOWN_MAX];
    struct buf others;
    if (!detail->knows_listeners || listens(detail, service))
        return;
    struct finding *finding = finding_begin(&holding->search, FINDING_MEDIUM, FINDING_SILENT, container);
    if (!finding)
        return;
    buf_init(&others, FINDINGS_MEMORY_MAX);
    uint32_t n = observe_container_ports(engine, container, ports, NAMES_SHOWN_MAX);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&others, "%s%s %u", i ? ", " : "", finding_protocol_text(ports[i].protocol), ports[i].port);
    struct str text = finding_text_of(&holding->search, &others);
    bool is_udp = service->kind == MODEL_KIND_DIRECT && service->transport == MODEL_UDP;
    finding->title = finding_text(&holding->search, "service %.*s: nobody listens on %s %u in %.*s", STR_ARG(service->name.text), is_udp ? "udp" : "tcp",
                                  service->port, STR_ARG(service->place.text));
    finding->who = n ? finding_text(&holding->search, "nobody; what listens there is %.*s", STR_ARG(text)) : STR("nobody; nothing listens there");
    finding->file = place_text(holding, service->name.at);
    finding->service = STR("");
    finding_line_add(&holding->search, finding, FINDING_TEXT, "say the port that it listens on, or have it listen");
}

static void find_in_vain(struct holding *holding)
{
    const struct docker_containers *list = &holding->search.engine->containers;
    const struct containers *containers = &holding->containers;
    for (uint32_t k = containers->first_of_host[holding->host]; k < containers->first_of_host[holding->host + 1]; k++) {
        uint32_t running = MODEL_NONE, found = MODEL_NONE;
        for (uint32_t i = 0; i < list->n; i++) {
            if (holding->declared[i] != k)
                continue;
            found = i;
            running = list->items[i].is_running && running == MODEL_NONE ? i : running;
        }
        if (running == MODEL_NONE)
            find_absent(holding, &containers->items[k], found != MODEL_NONE);
        for (uint32_t s = 0; s < containers->items[k].n_services && running != MODEL_NONE; s++)
            find_silent(holding, running, &holding->model->services[containers->items[k].services[s]]);
    }
}

static void find_undeclared(struct holding *holding)
{
    const struct docker_containers *list = &holding->search.engine->containers;
    struct buf names;
    uint32_t n = 0;
    buf_init(&names, FINDINGS_MEMORY_MAX);
    for (uint32_t i = 0; i < list->n; i++) {
        if (!list->items[i].is_running || holding->declared[i] != MODEL_NONE)
            continue;
        if (n++ < NAMES_SHOWN_MAX)
            buf_printf(&names, "%s%.*s", n > 1 ? ", " : "", STR_ARG(finding_name(&holding->search, i)));
    }
    if (n > NAMES_SHOWN_MAX)
        buf_printf(&names, " and %u more", n - NAMES_SHOWN_MAX);
    struct str text = finding_text_of(&holding->search, &names);
    struct finding *finding = n ? finding_begin(&holding->search, FINDING_NOTE, FINDING_UNDECLARED, UINT32_MAX) : NULL;
    if (!finding)
        return;
    finding->title = finding_text(&holding->search, "%u running container%s no service names", n, n == 1 ? " that" : "s that");
    finding->who = finding_text(&holding->search, "nobody by postern: %.*s", STR_ARG(text));
    finding->file = holding->model->file;
    finding_line_add(&holding->search, finding, FINDING_TEXT, "postern init -o - writes lines for them");
}

/* ---- all of it ---- */

static bool finding_hold(struct holding *holding, struct finding *finding)
{
    switch (finding->kind) {
    case FINDING_SHARED_NETWORK:
        finding->who = gained_text(holding, &holding->search.engine->networks.items[finding->network]);
        return finding->who.len > 0;
    case FINDING_PROJECT_NETWORK: return false; /* what a project's own network may let through is declared: see find_wider */
    case FINDING_PUBLISHED: case FINDING_PUBLISHED_AT: case FINDING_PUBLISHED_LOOPBACK: return published_hold(holding, finding);
    default: return true;
    }
}

static void findings_hold(struct holding *holding)
{
    struct findings *findings = holding->search.findings;
    struct finding *items = (struct finding *)(void *)findings->items.ptr;
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < findings_n(findings); i++)
        if (finding_hold(holding, &items[i]))
            items[n_kept++] = items[i];
    findings->items.len = n_kept * sizeof *items;
}

int cli_audit_declared(const struct model *model, uint32_t host, struct observe_engine *engine, struct findings *findings)
{
    struct holding holding = { .model = model, .host = host, .search = { engine, findings, model->hosts[host].name.text } };
    int r = containers_init(&holding.containers, model);
    if (r < 0)
        return r;
    r = containers_match(&holding);
    if (r == 0) {
        findings_hold(&holding);
        find_wider(&holding);
        find_in_vain(&holding);
        find_undeclared(&holding);
        findings_sort(findings);
    }
    containers_deinit(&holding.containers);
    return r < 0 ? r : findings->error;
}
