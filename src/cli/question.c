/* Asking by every address, and the words for what was answered. */
#include "cli/question.h"

#include <errno.h>

/* ---- the layers on the way ---- */

static void want_lan_host(const struct model *m, const struct party_asked *asked, bool *wanted)
{
    for (uint32_t i = 0; i < m->n_hosts; i++)
        for (uint32_t k = 0; k < m->hosts[i].lan.n; k++)
            wanted[i] |= asked->n_to && address_prefix_contains(&m->hosts[i].lan.items[k], &asked->to[0]);
}

int question_layers_init(struct layers *ret, const struct access *access, const struct parties *parties, struct error *err)
{
    const struct model *m = access->model;
    struct arena arena;
    arena_init(&arena, 0);
    bool *wanted = arena_array(&arena, m->n_hosts, bool);
    for (uint32_t i = 0; wanted && i < m->n_hosts; i++)
        wanted[i] = m->hosts[i].gateway;
    for (uint32_t i = 0; wanted && i < parties->n_asked; i++) {
        const struct party_asked *asked = &parties->asked[i];
        const struct model_indexes none = { 0 }, *hosts = asked->service != MODEL_NONE ? &m->services[asked->service].hosts : &none;
        for (uint32_t k = 0; k < hosts->n; k++)
            wanted[hosts->items[k]] = true;
        if (asked->host != MODEL_NONE)
            wanted[asked->host] = true;
        else if (!asked->is_web)
            want_lan_host(m, asked, wanted);
    }
    int r = wanted ? layers_init(ret, access, wanted, err) : -ENOMEM;
    arena_deinit(&arena);
    return r;
}

/* ---- asking ---- */

static void take(struct question_result *result, const struct explain_path *path)
{
    bool is_first = result->n_asked == 0;
    result->n_asked++;
    result->n_open += path->is_open;
    /* What is shown is what is closed; of closed ways the one that comes furthest. */
    if (is_first || (result->path.is_open && !path->is_open) ||
        (!result->path.is_open && !path->is_open && path->n_passed > result->path.n_passed))
        result->path = *path;
}

static void conclude(struct question_result *result)
{
    result->answer = result->n_asked == 0 ? QUESTION_UNKNOWN : result->n_open == 0 ? QUESTION_NO :
                     result->n_open == result->n_asked ? QUESTION_YES : QUESTION_MIXED;
}

static void ask_surface(const struct layers *l, const struct party_asker *asker, uint32_t service, uint32_t surface, struct question_result *ret)
{
    struct question_result result = { .surface = surface };
    for (uint32_t i = 0; i < asker->n_addresses; i++) {
        struct explain_path path;
        explain_web(&l->all, &asker->addresses[i], service, surface, &path);
        if (path.gateway != MODEL_NONE)
            take(&result, &path);
    }
    conclude(&result);
    *ret = result;
}

static unsigned rank(const struct question_result *result)
{
    static const unsigned ranks[] = { [QUESTION_UNKNOWN] = 0, [QUESTION_NO] = 1, [QUESTION_MIXED] = 200, [QUESTION_YES] = 201 };
    return ranks[result->answer] + (result->answer == QUESTION_NO ? result->path.n_passed : 0);
}

static void ask_web(const struct layers *l, const struct party_asker *asker, const struct party_asked *asked, uint32_t over, struct question_result *ret)
{
    struct question_result best = { .answer = QUESTION_UNKNOWN, .surface = over };
    uint64_t open = over != MODEL_NONE ? UINT64_C(1) << over : l->access->grants.service_surfaces[asked->service];
    bool is_first = true;
    for (; open; open &= open - 1) {
        struct question_result result;
        ask_surface(l, asker, asked->service, (uint32_t)__builtin_ctzll(open), &result);
        if (is_first || rank(&result) > rank(&best))
            best = result;
        is_first = false;
    }
    *ret = best;
}

/* ---- containers ---- */

static const struct relation_reason *find_declared(const struct layers *l, const struct address *from, const struct address *to, uint8_t protocol,
                                                   uint16_t port)
{
    const struct relation *declared = &l->access->relation;
    uint32_t rule = relation_find_rule(declared, from, to, protocol, port);
    return rule == UINT32_MAX ? NULL : relation_reason(declared, relation_rule(declared, rule)->reason);
}

/* What the container layer of its host says. */
static struct explain_hop ask_container_layer(const struct layers *l, uint32_t from, const struct address *to, uint8_t protocol, uint16_t port)
{
    const struct address point = relation_container_point(from);
    struct explain_hop hop = {
        .layer = EXPLAIN_CONTAINER, .asker = MODEL_NONE, .host = l->access->containers.items[from].host, .service = MODEL_NONE, .to = *to,
        .protocol = protocol, .port = port, .declared = find_declared(l, &point, to, protocol, port),
    };
    uint32_t other;
    enum container_answer answer =
        relation_is_internet_point(to) ? container_layer_ask_internet(&l->containers, from, false, NULL) :
        relation_is_container_point(to, &other) ? container_layer_ask_container(&l->containers, from, other, protocol, port, false, NULL) :
                                                  container_layer_ask_address(&l->containers, from, to, protocol, port, NULL);
    hop.answer = answer == CONTAINER_YES ? EXPLAIN_YES : answer == CONTAINER_NO ? EXPLAIN_NO : EXPLAIN_ABSENT;
    return hop;
}

static void ask_beside(const struct layers *l, uint32_t from, const struct address *point, uint32_t service, uint32_t surface, struct question_result *ret)
{
    const struct model *m = l->access->model;
    uint32_t host = l->access->containers.items[from].host;
    const struct model_surface *s = &m->surfaces[surface];
    const struct model_prefixes *addresses = s->addresses.n ? &s->addresses : &m->hosts[host].addresses;
    struct question_result result = { .surface = surface };
    for (uint32_t i = 0; model_runs_on(&s->hosts, host) && i < addresses->n; i++) {
        struct explain_path path;
        struct explain_hop way_in = ask_container_layer(l, from, &addresses->items[i].address, RELATION_TCP, s->port);
        explain_web_beside(&l->all, point, &way_in, service, surface, &path);
        take(&result, &path);
    }
    conclude(&result);
    *ret = result;
}

static void ask_web_beside(const struct layers *l, const struct party_asker *asker, uint32_t service, uint32_t over, struct question_result *ret)
{
    struct question_result best = { .answer = QUESTION_UNKNOWN, .surface = over };
    uint64_t open = over != MODEL_NONE ? UINT64_C(1) << over : l->access->grants.service_surfaces[service];
    bool is_first = true;
    for (; open; open &= open - 1) {
        struct question_result result;
        uint32_t surface = (uint32_t)__builtin_ctzll(open);
        if (surface >= l->access->model->n_surfaces)
            break;
        ask_beside(l, asker->container, &asker->addresses[0], service, surface, &result);
        if (is_first || rank(&result) > rank(&best))
            best = result;
        is_first = false;
    }
    *ret = best;
}

static void ask_of_container(const struct layers *l, const struct party_asker *asker, const struct party_asked *asked, uint32_t over,
                             struct question_result *ret)
{
    const struct containers *known = &l->access->containers;
    struct question_result result = { .surface = MODEL_NONE };
    if (asked->is_web) {
        ask_web_beside(l, asker, asked->service, over, ret);
        return;
    }
    result.stays_on_host = asked->container == asker->container;
    for (uint32_t k = 0; k < asked->n_to && !result.stays_on_host; k++) {
        struct explain_path path = { .from = asker->addresses[0], .gateway = MODEL_NONE, .n_hops = 1 };
        struct explain_hop *hop = &path.hops[0];
        if (asked->container != MODEL_NONE && known->items[asked->container].host != known->items[asker->container].host)
            continue;
        *hop = ask_container_layer(l, asker->container, &asked->to[k], asked->protocol, asked->port);
        path.is_open = hop->answer != EXPLAIN_NO;
        path.n_passed = path.is_open;
        result.is_unheld |= hop->answer == EXPLAIN_ABSENT && !hop->declared;
        take(&result, &path);
    }
    conclude(&result);
    if (result.is_unheld)
        result.answer = QUESTION_UNKNOWN;
    *ret = result;
}

void question_ask(const struct layers *layers, const struct party_asker *asker, const struct party_asked *asked, uint32_t over,
                  struct question_result *ret)
{
    struct question_result result = { .surface = MODEL_NONE };
    if (asker->container != MODEL_NONE) {
        ask_of_container(layers, asker, asked, over, ret);
        return;
    }
    if (asked->is_web) {
        ask_web(layers, asker, asked, over, ret);
        return;
    }
    for (uint32_t i = 0; i < asker->n_addresses; i++)
        for (uint32_t k = 0; k < asked->n_to; k++) {
            struct explain_path path;
            if (address_is_v4(&asker->addresses[i]) != address_is_v4(&asked->to[k]))
                continue;
            explain_flow(&layers->all, &asker->addresses[i], &asked->to[k], asked->protocol, asked->port, &path);
            result.stays_on_host |= path.stays_on_host;
            if (!path.stays_on_host)
                take(&result, &path);
        }
    conclude(&result);
    *ret = result;
}

/* ---- words ---- */

const char *question_layer_name(enum explain_layer layer)
{
    static const char *const names[] = {
        [EXPLAIN_MESH] = "mesh", [EXPLAIN_LAN] = "lan", [EXPLAIN_FIREWALL] = "firewall", [EXPLAIN_CONTAINER] = "container",
        [EXPLAIN_GATEWAY] = "gateway", [EXPLAIN_INSTANCE] = "instance",
    };
    return names[layer];
}

const char *question_answer_name(enum question_answer answer)
{
    static const char *const names[] = {
        [QUESTION_NO] = "no", [QUESTION_YES] = "yes", [QUESTION_MIXED] = "mixed", [QUESTION_UNKNOWN] = "unknown",
    };
    return names[answer];
}

void question_write_asked(struct buf *out, const struct layers *layers, const struct party_asked *asked, uint32_t surface)
{
    buf_append(out, asked->text);
    if (asked->is_web && surface != MODEL_NONE)
        buf_printf(out, " over %.*s", STR_ARG(layers->access->model->surfaces[surface].name.text));
}

static struct str host_name(const struct layers *l, uint32_t host)
{
    return host == MODEL_NONE ? STR("?") : l->access->model->hosts[host].name.text;
}

static void write_port(struct buf *out, const struct layers *l, const struct explain_hop *hop)
{
    char text[ADDRESS_TEXT_SIZE];
    buf_printf(out, "%sport %u of ", hop->protocol == RELATION_UDP ? "UDP " : "", hop->port);
    if (hop->host != MODEL_NONE)
        buf_append(out, host_name(l, hop->host));
    else
        buf_printf(out, "%s", address_format(&hop->to, text));
}

static void write_container(struct buf *out, const struct layers *l, const struct explain_hop *hop)
{
    uint32_t container;
    if (hop->answer == EXPLAIN_ABSENT) {
        buf_append(out, STR("no project here is enforced: nothing is dropped, and nothing vouches for it"));
        return;
    }
    buf_printf(out, "%.*s ", STR_ARG(host_name(l, hop->host)));
    buf_append(out, hop->answer == EXPLAIN_NO ? STR("drops what goes to ") : STR("lets it to "));
    if (relation_is_internet_point(&hop->to)) {
        buf_append(out, STR("the internet"));
    } else if (relation_is_container_point(&hop->to, &container)) {
        if (hop->port)
            buf_printf(out, "%sport %u of ", hop->protocol == RELATION_UDP ? "UDP " : "", hop->port);
        access_write_container(out, &l->access->containers, container);
    } else {
        const struct source_range *whose = sources_find(&l->access->sources, &hop->to);
        struct explain_hop there = *hop;
        there.host = whose ? whose->host : MODEL_NONE;
        write_port(out, l, &there);
    }
    if (hop->answer == EXPLAIN_NO)
        buf_append(out, STR(": no grant says it"));
}

static void write_network(struct buf *out, const struct layers *l, const struct explain_hop *hop)
{
    const struct model *m = l->access->model;
    struct str who = hop->asker == MODEL_NONE ? STR("it") : host_name(l, hop->asker);
    if (hop->layer == EXPLAIN_LAN) {
        buf_append(out, STR("it comes by the LAN, where the mesh has no say"));
    } else if (hop->layer == EXPLAIN_MESH) {
        bool is_absent = hop->answer == EXPLAIN_ABSENT;
        buf_printf(out, is_absent ? "no policy is known; %.*s wants to " : hop->answer == EXPLAIN_NO ? "nothing lets %.*s to " : "lets %.*s to ", STR_ARG(who));
        write_port(out, l, hop);
    } else if (hop->answer == EXPLAIN_ABSENT) {
        bool is_mac = hop->host != MODEL_NONE && m->hosts[hop->host].os == MODEL_OS_MACOS;
        buf_printf(out, "%.*s has none%s: nothing here vouches for it", STR_ARG(host_name(l, hop->host)), is_mac ? " (macOS)" : "");
    } else {
        buf_printf(out, "of %.*s %s %.*s%s", STR_ARG(host_name(l, hop->host)), hop->answer == EXPLAIN_NO ? "drops" : "lets", STR_ARG(who),
                   hop->answer == EXPLAIN_NO ? "" : " in");
    }
}

static void write_instance(struct buf *out, const struct layers *l, const struct explain_hop *hop)
{
    const struct model_service *s = &l->access->model->services[hop->service];
    if (!hop->way) {
        buf_printf(out, "%.*s doesn't know how to reach %.*s over it", STR_ARG(host_name(l, hop->asker)), STR_ARG(s->name.text));
        return;
    }
    buf_append(out, hop->way->text);
    if (hop->way->kind == GATEWAY_WAY_NONE)
        buf_printf(out, " %.*s, out of %.*s's reach", STR_ARG(hop->way->why), STR_ARG(host_name(l, hop->asker)));
    else if (s->where == MODEL_WHERE_CONTAINER)
        buf_printf(out, ": port %u in container %.*s", s->port, STR_ARG(s->place.text));
    else if (s->where == MODEL_WHERE_UNIX)
        buf_printf(out, ": socket %.*s", STR_ARG(s->place.text));
    else if (s->where == MODEL_WHERE_NETNS)
        buf_printf(out, ": port %u in namespace %.*s", s->port, STR_ARG(s->place.text));
    else
        buf_printf(out, ": port %u of %.*s", s->port, STR_ARG(host_name(l, hop->host)));
}

void question_write_hop(struct buf *out, const struct layers *layers, const struct question_result *result, const struct explain_hop *hop)
{
    const struct model *m = layers->access->model;
    if (hop->layer == EXPLAIN_INSTANCE) {
        write_instance(out, layers, hop);
    } else if (hop->layer == EXPLAIN_GATEWAY && hop->port) {
        buf_printf(out, "%.*s %s %.*s", STR_ARG(host_name(layers, hop->host)),
                   hop->answer == EXPLAIN_NO ? "relays nothing: no grant to it names" : "relays it to",
                   STR_ARG(m->services[hop->service].name.text));
    } else if (hop->layer == EXPLAIN_CONTAINER) {
        write_container(out, layers, hop);
    } else if (hop->layer == EXPLAIN_GATEWAY) {
        struct str service = m->services[hop->service].name.text, surface = m->surfaces[result->surface].name.text;
        if (hop->answer == EXPLAIN_NO)
            buf_printf(out, "%.*s answers 404: no grant to it names %.*s over %.*s", STR_ARG(host_name(layers, hop->host)), STR_ARG(service), STR_ARG(surface));
        else
            buf_printf(out, "%.*s serves it %.*s over %.*s", STR_ARG(host_name(layers, hop->host)), STR_ARG(service), STR_ARG(surface));
    } else {
        write_network(out, layers, hop);
    }
}

void question_write_place(struct buf *out, const struct layers *layers, const struct explain_hop *hop)
{
    const struct model *m = layers->access->model;
    bool has_own = hop->rule || hop->layer == EXPLAIN_CONTAINER; /* whose rules are of one kind */
    const struct relation_reason *rule = hop->declared && (has_own || hop->answer == EXPLAIN_NOT_ASKED) ? hop->declared : hop->rule;
    if (hop->layer == EXPLAIN_INSTANCE) {
        buf_printf(out, "%.*s:%u", STR_ARG(declared_file(m)), m->services[hop->service].name.at.line);
    } else if (rule && rule->line) {
        buf_printf(out, "%.*s:%u", STR_ARG(rule->file), rule->line);
    } else if (rule) {
        buf_printf(out, "%.*s, %.*s", STR_ARG(rule->file), STR_ARG(rule->text));
    }
}
