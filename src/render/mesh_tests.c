/* Tests of a mesh policy: a square of sources and destinations, by the ports that matter at each destination. */
#include "render/mesh_tests.h"

#include <errno.h>
#include <stdlib.h>

enum { TESTS_WORK_MAX = 1 << 23, TESTS_TARGETS_MAX = 4096, TESTS_MEMORY_MAX = 1 << 28, SSH_PORT = 22 };

struct port {
    struct mesh_service service;
};

struct side {
    struct mesh_selector selector;
    const uint32_t *hosts;
    uint32_t n_hosts;
};

struct tester {
    const struct model *model;
    const struct mesh_text *text;
    const struct flows *flows;
    const struct mesh_grants *grants;
    struct arena arena;
    struct buf sources, destinations;  /* struct side, distinct */
    struct table seen[2];
    struct buf *ports;                 /* struct port, by host: sorted, each once */
    struct model_indexes *members;
    bool is_part;
    uint32_t n_work, n_targets;
};

/* ---- sides ---- */

static int side_add(struct tester *t, struct buf *sides, struct table *seen, const struct mesh_selector *selector)
{
    struct side side = { .selector = *selector };
    if (selector->kind == MESH_RANGE)
        return 0; /* no machine of which anything is known */
    struct str key = arena_copy(&t->arena, str_make((const char *)selector, sizeof *selector));
    int added = key.ptr ? table_add(seen, key, 0, NULL) : -ENOMEM;
    if (added != 0)
        return added < 0 ? added : 0;
    if (selector->kind == MESH_SEGMENT) {
        side.hosts = t->members[selector->index].items;
        side.n_hosts = t->members[selector->index].n;
    } else {
        uint32_t *host = arena_new(&t->arena, uint32_t);
        if (!host)
            return -ENOMEM;
        *host = selector->index;
        side.hosts = host;
        side.n_hosts = 1;
    }
    buf_append(sides, str_make((const char *)&side, sizeof side));
    return sides->error;
}

/* A host by itself; by its address only where no tag or user speaks for it, since who has one is known by it. */
static int host_sides_add(struct tester *t, uint32_t host, struct buf *sides, struct table *seen)
{
    const struct model_host *h = &t->model->hosts[host];
    const struct model_binding *of_segment = h->segment != MODEL_NONE ? &t->model->segments[h->segment].binding : NULL;
    if (h->binding.tag.text.len || h->binding.user.text.len)
        return side_add(t, sides, seen, &(struct mesh_selector){ .kind = MESH_HOST, .index = host });
    if (of_segment && (of_segment->tag.text.len || of_segment->user.text.len))
        return side_add(t, sides, seen, &(struct mesh_selector){ .kind = MESH_SEGMENT, .index = h->segment });
    int r = 0;
    for (uint32_t i = 0; i < h->addresses.n && r == 0; i++)
        r = side_add(t, sides, seen, &(struct mesh_selector){ MESH_ADDRESS, host, i, h->addresses.items[i].address, h->addresses.items[i].address });
    return r;
}

static int sides_make(struct tester *t)
{
    int r = 0;
    for (uint32_t i = 0; i < t->grants->n && r == 0; i++) {
        const struct mesh_grant *grant = &t->grants->items[i];
        for (uint32_t k = 0; k < grant->n_sources && r == 0; k++)
            r = side_add(t, &t->sources, &t->seen[0], &grant->sources[k]);
        for (uint32_t k = 0; k < grant->n_destinations && r == 0; k++)
            r = side_add(t, &t->destinations, &t->seen[1], &grant->destinations[k]);
    }
    for (uint32_t i = 0; i < t->model->n_expectations && r == 0; i++)
        for (uint32_t k = 0; k < t->model->expectations[i].n_from && r == 0; k++)
            if (t->model->expectations[i].from[k].host != MODEL_NONE)
                r = host_sides_add(t, t->model->expectations[i].from[k].host, &t->sources, &t->seen[0]);
    for (uint32_t i = 0; i < t->model->n_hosts && r == 0; i++)
        r = host_sides_add(t, i, &t->destinations, &t->seen[1]);
    return r;
}

/* ---- ports ---- */

static int port_compare(const void *x, const void *y)
{
    const struct port *a = x, *b = y;
    int order = a->service.transport - b->service.transport;
    return order ? order : a->service.port - b->service.port;
}

static void port_add(struct tester *t, uint32_t host, unsigned transport, uint16_t number)
{
    struct port port = { { number, (uint8_t)transport } };
    if (number)
        buf_append(&t->ports[host], str_make((const char *)&port, sizeof port));
}

static void target_ports_add(struct tester *t, const struct model_target *target)
{
    if (target->kind == MODEL_TARGET_HOST_PORT)
        port_add(t, target->host, target->transport, target->port);
    if (target->kind != MODEL_TARGET_SERVICE)
        return;
    const struct model_service *service = &t->model->services[target->service];
    bool is_port = service->where == MODEL_WHERE_HOST && service->addresses.n == 0 && !service->loopback;
    for (uint32_t i = 0; i < service->hosts.n && is_port; i++)
        port_add(t, service->hosts.items[i], service->kind == MODEL_KIND_DIRECT ? service->transport : MODEL_TCP, service->port);
}

static void ports_sort(struct buf *ports)
{
    struct port *items = (void *)ports->ptr;
    size_t n = ports->len / sizeof *items, kept = 0;
    if (n)
        qsort(items, n, sizeof *items, port_compare);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || items[i].service.port != items[kept - 1].service.port || items[i].service.transport != items[kept - 1].service.transport)
            items[kept++] = items[i];
    ports->len = kept * sizeof *items;
}

static int ports_make(struct tester *t)
{
    for (uint32_t i = 0; i < t->model->n_hosts; i++)
        port_add(t, i, MODEL_TCP, SSH_PORT);
    for (uint32_t i = 0; i < t->flows->n; i++) {
        const struct flow *flow = &t->flows->items[i], *last = i ? flow - 1 : NULL;
        bool is_new = !last || last->host != flow->host || last->port != flow->port || last->transport != flow->transport;
        if (flow->host != MODEL_NONE && is_new)
            port_add(t, flow->host, flow->transport, flow->port);
    }
    for (uint32_t i = 0; i < t->model->n_expectations; i++) {
        const struct model_expectation *e = &t->model->expectations[i];
        for (uint32_t k = 0; k < e->n_can; k++)
            target_ports_add(t, &e->can[k]);
        for (uint32_t k = 0; k < e->n_cannot; k++)
            target_ports_add(t, &e->cannot[k]);
    }
    int r = 0;
    for (uint32_t i = 0; i < t->model->n_hosts; i++) {
        ports_sort(&t->ports[i]);
        r = r ? r : t->ports[i].error;
    }
    return r;
}

/* ---- what holds for all ---- */

static int flow_order(const struct flow *flow, const struct address *to, struct mesh_service service, uint32_t source)
{
    int order = address_compare(&flow->destination, to);
    order = order ? order : flow->transport - service.transport;
    order = order ? order : flow->port - service.port;
    return order ? order : flow->source < source ? -1 : flow->source > source;
}

static bool flow_is_declared(const struct tester *t, const struct address *from, const struct address *to, struct mesh_service service)
{
    const struct source_range *range = sources_find(&t->flows->sources, from);
    uint32_t source = range ? (uint32_t)(range - t->flows->sources.items) : MODEL_NONE, low = 0, high = t->flows->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (flow_order(&t->flows->items[middle], to, service, source) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->flows->n && flow_order(&t->flows->items[low], to, service, source) == 0;
}

struct verdict {
    uint32_t n_pairs, n_allowed;
    bool has_self;   /* one machine is on both sides: what it may send to itself nobody declares, and a test would ask */
};

static bool address_is_of(const struct side *side, uint32_t k)
{
    return side->selector.kind != MESH_ADDRESS || side->selector.address == k;
}

static void hosts_judge(struct tester *t, const struct side *from, uint32_t f, const struct side *to, uint32_t d, struct mesh_service service,
                        struct verdict *ret)
{
    const struct model_prefixes *x = &t->model->hosts[f].addresses, *y = &t->model->hosts[d].addresses;
    ret->has_self |= f == d;
    for (uint32_t i = 0; i < x->n && f != d; i++) {
        for (uint32_t k = 0; k < y->n; k++) {
            if (!address_is_of(from, i) || !address_is_of(to, k) || address_is_v4(&x->items[i].address) != address_is_v4(&y->items[k].address))
                continue;
            t->n_work++;
            ret->n_pairs++;
            ret->n_allowed += flow_is_declared(t, &x->items[i].address, &y->items[k].address, service);
        }
    }
}

static struct verdict judge(struct tester *t, const struct side *from, const struct side *to, struct mesh_service service)
{
    struct verdict verdict = { 0 };
    for (uint32_t i = 0; i < from->n_hosts && t->n_work < TESTS_WORK_MAX; i++)
        for (uint32_t k = 0; k < to->n_hosts && t->n_work < TESTS_WORK_MAX; k++)
            hosts_judge(t, from, from->hosts[i], to, to->hosts[k], service, &verdict);
    return verdict;
}

/* ---- what expect: forbids ---- */

static bool target_is(const struct tester *t, const struct model_target *target, uint32_t host, struct mesh_service port)
{
    if (target->kind == MODEL_TARGET_HOST_PORT)
        return target->host == host && target->transport == port.transport && target->port == port.port;
    if (target->kind != MODEL_TARGET_SERVICE || t->model->services[target->service].kind == MODEL_KIND_WEB)
        return false; /* a gateway decides */
    const struct model_service *service = &t->model->services[target->service];
    unsigned transport = service->kind == MODEL_KIND_DIRECT ? service->transport : MODEL_TCP;
    if (service->port != port.port || transport != port.transport)
        return false;
    for (uint32_t i = 0; i < service->hosts.n; i++)
        if (service->hosts.items[i] == host)
            return true;
    return false;
}

static bool expectation_is_of(const struct tester *t, const struct model_expectation *e, uint32_t host)
{
    for (uint32_t i = 0; i < e->n_from; i++)
        if (e->from[i].host == host || (e->from[i].segment != MODEL_NONE && e->from[i].segment == t->model->hosts[host].segment))
            return true;
    return false;
}

static bool is_forbidden(const struct tester *t, const struct side *from, const struct side *to, struct mesh_service port)
{
    for (uint32_t i = 0; i < t->model->n_expectations; i++) {
        const struct model_expectation *e = &t->model->expectations[i];
        bool is_of_all = from->n_hosts > 0, is_it = false;
        for (uint32_t k = 0; k < from->n_hosts && is_of_all; k++)
            is_of_all = expectation_is_of(t, e, from->hosts[k]);
        for (uint32_t k = 0; k < e->n_cannot && is_of_all && !is_it; k++)
            is_it = to->n_hosts == 1 && target_is(t, &e->cannot[k], to->hosts[0], port);
        if (is_it)
            return true;
    }
    return false;
}

/* One grant says it, of these very names. How a control plane judges a machine's address against a rule about its tag, and the like, no
 * document says: what is to be accepted is asked in the words of the rule. */
static bool is_granted_as_named(const struct tester *t, const struct side *from, const struct side *to, struct mesh_service service)
{
    for (uint32_t i = 0; i < t->grants->n; i++) {
        const struct mesh_grant *grant = &t->grants->items[i];
        bool has_from = false, has_to = false, has_service = false;
        for (uint32_t k = 0; k < grant->n_sources && !has_from; k++)
            has_from = mesh_selector_compare(&grant->sources[k], &from->selector) == 0;
        for (uint32_t k = 0; k < grant->n_destinations && has_from && !has_to; k++)
            has_to = mesh_selector_compare(&grant->destinations[k], &to->selector) == 0;
        for (uint32_t k = 0; k < grant->n_services && has_to && !has_service; k++)
            has_service = grant->services[k].port == service.port && grant->services[k].transport == service.transport;
        if (has_service)
            return true;
    }
    return false;
}

/* ---- text ---- */

struct item_context {
    struct buf *out;
    uint16_t port;
};

static void target_write(void *context, struct str item)
{
    const struct item_context *c = context;
    bool is_v6_literal = str_find_char(item, ':') < item.len && !str_starts_with(item, STR("tag:"));
    buf_printf(c->out, "%s\"%s%.*s%s:%u\"", c->out->len ? ", " : "", is_v6_literal ? "[" : "", STR_ARG(item), is_v6_literal ? "]" : "", c->port);
}

static void source_write(void *context, struct str item)
{
    const struct item_context *c = context;
    buf_append_json(c->out, item);
}

/* Tests name tags and hosts; whether they may name users as destinations, no document says. */
static bool may_be_target(const struct tester *t, const struct side *to)
{
    struct str binding = mesh_text_binding(t->text, &to->selector);
    return binding.len == 0 || str_starts_with(binding, STR("tag:"));
}

static void targets_collect(struct tester *t, const struct side *from, const struct side *to, unsigned transport, struct buf *accept, struct buf *deny)
{
    for (uint32_t h = 0; h < to->n_hosts; h++) {
        const struct port *ports = (const void *)t->ports[to->hosts[h]].ptr;
        size_t n = t->ports[to->hosts[h]].len / sizeof *ports;
        for (size_t i = 0; i < n && t->n_targets < TESTS_TARGETS_MAX && t->n_work < TESTS_WORK_MAX; i++) {
            if (ports[i].service.transport != transport)
                continue;
            struct verdict verdict = judge(t, from, to, ports[i].service);
            bool is_deny = verdict.n_allowed == 0 && (!t->is_part || is_forbidden(t, from, to, ports[i].service));
            t->n_work += t->grants->n;
            bool is_accept = verdict.n_allowed == verdict.n_pairs && is_granted_as_named(t, from, to, ports[i].service);
            if (verdict.n_pairs == 0 || verdict.has_self || t->n_work >= TESTS_WORK_MAX || !(is_deny || is_accept))
                continue;
            struct item_context context = { verdict.n_allowed ? accept : deny, ports[i].service.port };
            mesh_text_each(t->text, &to->selector, target_write, &context);
            t->n_targets++;
        }
        if (to->n_hosts > 1)
            break; /* a segment's hosts by the ports of its first: tests are samples, the proof is elsewhere */
    }
}

static void test_write(struct tester *t, const struct side *from, unsigned transport, struct buf *out)
{
    const struct side *to = (const void *)t->destinations.ptr;
    uint32_t n = (uint32_t)(t->destinations.len / sizeof *to);
    struct buf accept, deny;
    buf_init(&accept, TESTS_MEMORY_MAX);
    buf_init(&deny, TESTS_MEMORY_MAX);
    for (uint32_t i = 0; i < n && t->n_work < TESTS_WORK_MAX && t->n_targets < TESTS_TARGETS_MAX; i++)
        if (may_be_target(t, &to[i]))
            targets_collect(t, from, &to[i], transport, &accept, &deny);
    if (accept.len || deny.len) {
        struct item_context context = { .out = out };
        buf_append(out, STR("    { \"src\": "));
        mesh_text_each(t->text, &from->selector, source_write, &context);
        buf_printf(out, ", \"proto\": \"%s\"", transport == MODEL_UDP ? "udp" : "tcp");
        if (accept.len)
            buf_printf(out, ",\n      \"accept\": [%.*s]", STR_ARG(buf_str(&accept)));
        if (deny.len)
            buf_printf(out, ",\n      \"deny\": [%.*s]", STR_ARG(buf_str(&deny)));
        buf_append(out, STR(" },\n"));
    }
    out->error = out->error ? out->error : accept.error ? accept.error : deny.error;
    buf_deinit(&accept);
    buf_deinit(&deny);
}

/* ---- in all ---- */

static int members_make(struct tester *t)
{
    const struct model *model = t->model;
    t->members = arena_array(&t->arena, (size_t)model->n_segments + 1, struct model_indexes);
    t->ports = arena_array(&t->arena, (size_t)model->n_hosts + 1, struct buf);
    uint32_t *items = arena_array(&t->arena, (size_t)model->n_hosts + 1, uint32_t), n = 0;
    if (!t->members || !t->ports || !items)
        return -E2BIG;
    for (uint32_t s = 0; s < model->n_segments; s++) {
        t->members[s].items = items + n;
        for (uint32_t i = 0; i < model->n_hosts; i++)
            if (model->hosts[i].segment == s)
                items[n++] = i;
        t->members[s].n = (uint32_t)(items + n - t->members[s].items);
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        buf_init(&t->ports[i], TESTS_MEMORY_MAX);
    return 0;
}

static int tests_write(struct tester *t, struct buf *out)
{
    int r = ports_make(t);
    if (r == 0)
        r = sides_make(t);
    const struct side *from = (const void *)t->sources.ptr;
    uint32_t n = r ? 0 : (uint32_t)(t->sources.len / sizeof *from);
    for (uint32_t i = 0; i < n; i++) {
        test_write(t, &from[i], MODEL_TCP, out);
        test_write(t, &from[i], MODEL_UDP, out);
    }
    return r ? r : out->error;
}

int mesh_tests_write(const struct mesh_text *text, const struct flows *flows, const struct mesh_grants *grants, bool is_part, struct buf *out)
{
    struct tester t = { .model = text->model, .text = text, .flows = flows, .grants = grants, .is_part = is_part };
    arena_init(&t.arena, TESTS_MEMORY_MAX);
    buf_init(&t.sources, TESTS_MEMORY_MAX);
    buf_init(&t.destinations, TESTS_MEMORY_MAX);
    int r = members_make(&t);
    if (r == 0)
        r = tests_write(&t, out);
    for (uint32_t i = 0; t.ports && i < text->model->n_hosts; i++)
        buf_deinit(&t.ports[i]);
    buf_deinit(&t.sources);
    buf_deinit(&t.destinations);
    table_deinit(&t.seen[0]);
    table_deinit(&t.seen[1]);
    arena_deinit(&t.arena);
    return r;
}
