/* What is derived from a declaration as relations and names, against the naive evaluators, on declarations made from seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "policy/access.h"
#include "policy/change.h"
#include "policy/gateway_layer.h"
#include "policy/naive.h"
#include "random_world.h"

enum { N_WORLDS = 400, N_CHANGES = 300 };

static const uint16_t ports[] = { 80, 81, 443, 444, 446, 1000, 1001, 1002, 9999 };

static void fail_at(uint64_t seed, const char *what, const struct address *from, const struct address *to, unsigned port, uint32_t got, uint32_t expected)
{
    char a[ADDRESS_TEXT_SIZE], b[ADDRESS_TEXT_SIZE];
    fail_msg("seed %llu: %s: %s to %s port %u: got %d, expected %d", (unsigned long long)seed, what, address_format(from, a), address_format(to, b),
             port, (int)got, (int)expected);
}

static uint32_t line_of(const struct relation *relation, uint32_t rule)
{
    return rule == UINT32_MAX ? MODEL_NONE : relation_reason(relation, relation_rule(relation, rule)->reason)->line;
}

static uint32_t grant_line(const struct world *w, uint32_t grant)
{
    return grant == MODEL_NONE ? MODEL_NONE : w->model.grants[grant].at.line;
}

/* ---- the declaration as a relation ---- */

static void compare_flows(const struct world *w, uint64_t seed, const struct relation *relation, const struct address *probes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++)
            for (size_t p = 0; p < ARRAY_SIZE(ports); p++)
                for (unsigned udp = 0; udp < 2; udp++) {
                    uint32_t got = line_of(relation, relation_find_rule(relation, &probes[i], &probes[k], udp ? RELATION_UDP : RELATION_TCP, ports[p]));
                    uint32_t expected = grant_line(w, naive_flow(&w->model, &probes[i], &probes[k], udp ? MODEL_UDP : MODEL_TCP, ports[p]));
                    if (got != expected)
                        fail_at(seed, udp ? "udp flow" : "tcp flow", &probes[i], &probes[k], ports[p], got, expected);
                }
}

/* ---- containers ---- */

static const struct str *reference_of(const struct access *a, uint32_t container)
{
    return &a->containers.items[container].reference;
}

static uint32_t expected_between(const struct world *w, const struct access *a, uint32_t from, uint32_t to, unsigned udp, uint16_t port, bool *ret_inside)
{
    uint32_t host = a->containers.items[from].host;
    return naive_container_flow(&w->model, host, *reference_of(a, from), *reference_of(a, to), udp ? MODEL_UDP : MODEL_TCP, port, ret_inside);
}

/* Every pair of containers of a host, the internet, and every address of every host. */
static void compare_containers(const struct world *w, uint64_t seed, const struct access *a, const struct address *probes, uint32_t n, uint32_t tally[static 3])
{
    const struct containers *c = &a->containers;
    for (uint32_t from = 0; from < c->n; from++) {
        const struct address point = relation_container_point(from), internet = relation_internet_point();
        uint32_t host = c->items[from].host;
        for (uint32_t to = 0; to < c->n; to++)
            for (unsigned p = 0; p < ARRAY_SIZE(ports) * 2 && to != from; p++) {
                const struct address other = relation_container_point(to);
                bool inside = false;
                uint32_t grant = c->items[to].host == host ? expected_between(w, a, from, to, p % 2, ports[p / 2], &inside) : MODEL_NONE;
                uint32_t rule = relation_find_rule(&a->relation, &point, &other, p % 2 ? RELATION_UDP : RELATION_TCP, ports[p / 2]);
                tally[0] += grant != MODEL_NONE;
                tally[1] += inside;
                if (grant != MODEL_NONE ? line_of(&a->relation, rule) != w->model.grants[grant].at.line : (rule != UINT32_MAX) != inside)
                    fail_at(seed, "between containers", &point, &other, ports[p / 2], line_of(&a->relation, rule), grant);
            }
        uint32_t got = line_of(&a->relation, relation_find_rule(&a->relation, &point, &internet, RELATION_TCP, 443));
        uint32_t expected = grant_line(w, naive_container_internet(&w->model, host, c->items[from].reference));
        tally[2] += expected != MODEL_NONE;
        if (got != expected)
            fail_at(seed, "to the internet", &point, &internet, 443, got, expected);
        for (uint32_t k = 0; k < n; k++)
            for (size_t p = 0; p < ARRAY_SIZE(ports); p++) {
                got = line_of(&a->relation, relation_find_rule(&a->relation, &point, &probes[k], RELATION_TCP, ports[p]));
                expected = grant_line(w, naive_container_port(&w->model, host, c->items[from].reference, &probes[k], MODEL_TCP, ports[p]));
                if (got != expected)
                    fail_at(seed, "container to host", &point, &probes[k], ports[p], got, expected);
            }
    }
}

static void compare_container_points(const struct world *w, uint64_t seed, const struct relation *relation, const struct containers *c, uint32_t only_host)
{
    for (uint32_t from = 0; from < c->n; from++)
        for (uint32_t surface = 0; surface < w->model.n_surfaces; surface++)
            for (uint32_t s = 0; s < w->model.n_services; s++) {
                const struct address point = relation_container_point(from), to = relation_service_point(surface, s);
                uint32_t got = line_of(relation, relation_find_rule(relation, &point, &to, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT));
                bool is_out = only_host != MODEL_NONE ? c->items[from].host != only_host : !naive_is_within_reach(&w->model, s, c->items[from].host);
                uint32_t expected = is_out ? MODEL_NONE :
                    grant_line(w, naive_container_verdict(&w->model, c->items[from].host, c->items[from].reference, s, surface));
                if (got != expected)
                    fail_at(seed, "container to service", &point, &to, surface, got, expected);
            }
}

/* is_reached: only where the surface listens in the address's family at all. */
static void compare_points(const struct world *w, uint64_t seed, const struct relation *relation, const struct address *probes, uint32_t n, bool is_reached)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t surface = 0; surface < w->model.n_surfaces; surface++)
            for (uint32_t s = 0; s < w->model.n_services; s++) {
                struct address point = relation_service_point(surface, s);
                uint32_t got = line_of(relation, relation_find_rule(relation, &probes[i], &point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT));
                uint32_t expected = grant_line(w, naive_verdict(&w->model, &probes[i], s, surface));
                if (is_reached && !world_listens(&w->model, surface, &probes[i]))
                    expected = MODEL_NONE;
                if (got != expected)
                    fail_at(seed, "service", &probes[i], &point, surface, got, expected);
            }
}

/* But for those that nobody sends from. */
static uint32_t sending_probes(const struct world *w, uint64_t seed, struct address probes[static PROBES_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0, all = random_probes(w, seed, probes); i < all; i++)
        if (address_compare(&probes[i], &relation_all_v6.last) <= 0)
            probes[n++] = probes[i];
    return n;
}

static void test_the_declared_relation_is_what_the_naive_evaluator_says(void **state)
{
    uint32_t tally[3] = { 0 };
    (void)state;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++) {
        struct world w;
        struct address probes[PROBES_MAX];
        cleanup_access struct access access = { 0 };
        random_world(&w, seed);
        uint32_t n = sending_probes(&w, seed, probes);
        assert_int_equal(access_init(&access, &w.model, NULL), 0);
        compare_points(&w, seed, &access.relation, probes, n, true);
        compare_container_points(&w, seed, &access.relation, &access.containers, MODEL_NONE);
        compare_containers(&w, seed, &access, probes, n, tally);
        /* Flows are probed pair by pair: every seventh world, and some addresses of it, is a million of them. */
        if (seed % 7 == 0)
            compare_flows(&w, seed, &access.relation, probes, n < 40 ? n : 40);
        world_deinit(&w);
    }
    print_message("%u by grants, %u inside projects, %u to the internet\n", tally[0], tally[1], tally[2]);
    assert_true(tally[0] > 60 && tally[1] > 200 && tally[2] > 50);
}

/* ---- gateways' images, read back ---- */

/* What is granted to a direct service in a container of this gateway, at its port and nowhere else. */
static void compare_ports(const struct world *w, uint64_t seed, const struct gateway_layer *layer, const struct address *probes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < layer->n_ports; k++)
            for (unsigned udp = 0; udp < 2; udp++) {
                const struct gateway_port *p = &layer->ports[k];
                const struct relation *relation = &layer->relation;
                uint8_t protocol = udp ? RELATION_UDP : RELATION_TCP;
                const struct gateway_port *there = gateway_layer_find_port(layer, &p->address, protocol, p->port);
                uint32_t got = line_of(relation, relation_find_rule(relation, &probes[i], &p->address, protocol, p->port));
                uint32_t expected = there ? grant_line(w, naive_direct(&w->model, &probes[i], there->service)) : MODEL_NONE;
                if (got != expected)
                    fail_at(seed, "direct port", &probes[i], &p->address, p->port, got, expected);
            }
}

static void test_a_gateway_s_image_reads_back_as_its_verdicts(void **state)
{
    (void)state;
    uint64_t n_ports = 0;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++) {
        struct world w;
        struct address probes[PROBES_MAX];
        struct compile_output out;
        struct gateway_layer layer;
        struct error err = { "" };
        random_world(&w, seed);
        uint32_t n = sending_probes(&w, seed, probes);
        struct compile_input input = { .model = &w.model, .gateway = 0, .generation = 1, .revision = STR("feed"), .container_directory = STR("/run/netns") };
        if (compile_model(&input, &out, &err) != 0 || gateway_layer_init(&layer, &w.model, 0, &out, &err) != 0)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
        compare_points(&w, seed, &layer.relation, probes, n, false);
        cleanup_containers struct containers containers = { 0 };
        assert_int_equal(containers_init(&containers, &w.model), 0);
        compare_container_points(&w, seed, &layer.relation, &containers, 0);
        compare_ports(&w, seed, &layer, probes, n);
        n_ports += layer.n_ports;
        for (uint32_t i = 0; i < layer.n_ways; i++) {
            const struct model_service *s = &w.model.services[layer.ways[i].service];
            assert_true(s->kind == MODEL_KIND_WEB ? layer.ways[i].surfaces != 0 : s->kind == MODEL_KIND_DIRECT && layer.ways[i].surfaces == 0);
            assert_true(layer.ways[i].kind != GATEWAY_WAY_NETWORK || layer.ways[i].n_to > 0);
        }
        gateway_layer_deinit(&layer);
        compile_output_deinit(&out);
        world_deinit(&w);
    }
    assert_true(n_ports > 20);
}

/* ---- changes ---- */

/* The entry for these names, or NULL. */
static const struct change_entry *find_entry(const struct change *c, bool is_gain, const struct naive_principal *who, const struct access_object *what)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct change_entry *e = &c->items[i];
        const struct access *side = change_side(c, e);
        const struct access_subject *s = &side->subjects[e->subject];
        const struct access_object *o = &side->objects[e->object];
        bool is_side = (e->is_gain == is_gain || e->is_moved) && s->container == MODEL_NONE;
        if (is_side && s->host == who->host && (who->host != MODEL_NONE || s->segment == who->segment) && o->kind == what->kind && o->port == what->port &&
            o->service == what->service && o->surface == what->surface && o->host == what->host && o->protocol == what->protocol)
            return e;
    }
    return NULL;
}

static bool can_reach(const struct model *model, const struct address *from, uint32_t service, uint32_t surface)
{
    return naive_verdict(model, from, service, surface) != MODEL_NONE && world_listens(model, surface, from);
}

/* Every address's every gain and loss of a web service is an entry, and nothing else is. */
static void compare_change(const struct world *before, const struct world *after, uint64_t seed, const struct change *c, const struct address *probes,
                           uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = 0; s < after->model.n_services; s++)
            for (uint32_t surface = 0; surface < after->model.n_surfaces; surface++) {
                bool was = can_reach(&before->model, &probes[i], s, surface), is = can_reach(&after->model, &probes[i], s, surface);
                const struct access_object what = { .kind = ACCESS_WEB, .service = s, .surface = surface, .host = MODEL_NONE, .protocol = RELATION_TCP,
                                                    .port = RELATION_POINT_PORT };
                struct naive_principal who = naive_identify(is ? &after->model : &before->model, &probes[i]);
                if (was == is)
                    continue;
                const struct change_entry *e = find_entry(c, is, &who, &what);
                if (!e)
                    fail_at(seed, is ? "a gain that is not told" : "a loss that is not told", &probes[i], &probes[i], s, 0, 1);
            }
}

/* Whether a model lets a container reach address k of an object of another's access: the worlds that are compared have the same things at the
 * same numbers. */
static bool container_reaches_at(const struct model *m, const struct access *side, uint32_t container, const struct access_object *o, uint32_t k)
{
    const struct container *c = &side->containers.items[container];
    bool inside = false;
    uint32_t grant = MODEL_NONE;
    if (o->kind == ACCESS_WEB)
        grant = naive_is_within_reach(m, o->service, c->host) ? naive_container_verdict(m, c->host, c->reference, o->service, o->surface) : MODEL_NONE;
    else if (o->kind == ACCESS_INTERNET)
        grant = naive_container_internet(m, c->host, c->reference);
    else if (o->kind == ACCESS_CONTAINER_PORT || o->kind == ACCESS_CONTAINER)
        grant = naive_container_flow(m, c->host, c->reference, side->containers.items[o->container].reference,
                                     o->protocol == RELATION_UDP ? MODEL_UDP : MODEL_TCP, o->port, &inside);
    else if (o->kind == ACCESS_SURFACE)
        grant = naive_container_port(m, c->host, c->reference, &o->to[k], MODEL_TCP, o->port);
    return grant != MODEL_NONE || inside;
}

static bool container_gains(const struct model *m, const struct model *other, const struct access *side, uint32_t container, const struct access_object *o)
{
    for (uint32_t k = 0; k < o->n_to; k++)
        if (container_reaches_at(m, side, container, o, k) && !container_reaches_at(other, side, container, o, k))
            return true;
    return false;
}

static void compare_container_entry(const struct world *before, const struct world *after, uint64_t seed, const struct change *c,
                                    const struct change_entry *e)
{
    const struct access *side = change_side(c, e);
    uint32_t container = side->subjects[e->subject].container;
    const struct access_object *o = &side->objects[e->object];
    if (!container_gains(e->is_gain ? &after->model : &before->model, e->is_gain ? &before->model : &after->model, side, container, o))
        fail_msg("seed %llu: a container's %s is told and isn't so (kind %d)", (unsigned long long)seed, e->is_gain ? "gain" : "loss", (int)o->kind);
}

/* What moved stands once, in the numbers of the side to come. */
static bool is_same_entry(const struct change *c, const struct change_entry *e, const struct access *side, uint32_t subject, const struct access_object *o)
{
    const struct access *other = change_side(c, e);
    const struct access_object *p = &other->objects[e->object];
    uint32_t container = other->subjects[e->subject].container;
    return container != MODEL_NONE && str_equal(*reference_of(other, container), *reference_of(side, side->subjects[subject].container)) &&
           o->kind == p->kind && o->host == p->host && o->port == p->port && o->surface == p->surface;
}

/* Every container's every gain and loss is an entry. */
static void compare_container_change(uint64_t seed, const struct change *c, const struct model *m, const struct model *other, bool is_gain)
{
    const struct access *side = is_gain ? &c->after : &c->before;
    for (uint32_t s = 0; s < side->n_subjects; s++)
        for (uint32_t k = 0; side->subjects[s].container != MODEL_NONE && k < side->n_objects; k++) {
            const struct access_object *o = &side->objects[k];
            uint32_t container = side->subjects[s].container, host = side->containers.items[container].host;
            bool is_container = o->kind == ACCESS_CONTAINER || o->kind == ACCESS_CONTAINER_PORT, is_told = false;
            if ((is_container && (o->host != host || o->container == container)) || o->kind == ACCESS_DIRECT || o->kind == ACCESS_HOST_PORT ||
                o->kind == ACCESS_INSTANCE)
                continue;
            for (uint32_t i = 0; i < c->n; i++)
                is_told |= (c->items[i].is_gain == is_gain && c->items[i].subject == s && c->items[i].object == k) ||
                           (c->items[i].is_moved && is_same_entry(c, &c->items[i], side, s, o));
            if (!is_told && container_gains(m, other, side, container, o))
                fail_msg("seed %llu: a container's %s is not told (kind %d)", (unsigned long long)seed, is_gain ? "gain" : "loss", (int)o->kind);
        }
}

/* Nothing is told that no address of the subject gains or loses. */
static void compare_entries(const struct world *before, const struct world *after, uint64_t seed, const struct change *c, const struct address *probes,
                            uint32_t n)
{
    for (uint32_t k = 0; k < c->n; k++) {
        const struct change_entry *e = &c->items[k];
        const struct access *side = change_side(c, e);
        const struct access_object *o = &side->objects[e->object];
        const struct model *m = e->is_gain ? &after->model : &before->model, *other = e->is_gain ? &before->model : &after->model;
        const struct access_subject *subject = &side->subjects[e->subject];
        if (subject->container != MODEL_NONE) {
            compare_container_entry(before, after, seed, c, e);
            continue;
        }
        bool is_seen = o->kind != ACCESS_WEB;
        for (uint32_t i = 0; i < n && !is_seen; i++) {
            struct naive_principal who = naive_identify(m, &probes[i]);
            const struct access_subject *s = &side->subjects[e->subject];
            is_seen = who.host == s->host && who.segment == s->segment && can_reach(m, &probes[i], o->service, o->surface) &&
                      !can_reach(other, &probes[i], o->service, o->surface);
        }
        if (!is_seen)
            fail_msg("seed %llu: entry %u is told and isn't so", (unsigned long long)seed, k);
    }
}

/* Another world with the same things in it and one or two grants, a host's segment or its address changed. */
static void vary(struct world *w, uint64_t seed)
{
    uint64_t s = seed * 31;
    uint32_t n = 1 + random_below(&s, 2);
    while (n--) {
        uint32_t what = random_below(&s, 4);
        if (what == 0 && w->model.n_grants)
            w->model.n_grants--;
        else if (what == 1 && w->model.n_grants) {
            struct model_grant *g = &w->model.grants[random_below(&s, w->model.n_grants)];
            g->n_from = g->n_from > 1 ? g->n_from - 1 : g->n_from;
        } else if (what == 2)
            w->model.hosts[random_below(&s, w->model.n_hosts)].segment = random_below(&s, w->model.n_segments);
        else if (w->model.hosts[0].addresses.n)
            w->model.hosts[0].addresses.items[0].address.bytes[15] = 200;
    }
}

static void test_a_change_is_told_whole_and_nothing_else(void **state)
{
    (void)state;
    uint32_t n_gains = 0, n_losses = 0;
    for (uint64_t seed = 1; seed <= N_CHANGES; seed++) {
        struct world before, after;
        struct address probes[PROBES_MAX * 2];
        random_world(&before, seed);
        random_world(&after, seed);
        vary(&after, seed);
        if (seed % 2) { /* both ways */
            struct world swap = before;
            before = after;
            after = swap;
        }
        uint32_t n = sending_probes(&before, seed, probes);
        n += sending_probes(&after, seed, probes + n);
        cleanup_change struct change change = { 0 };
        assert_int_equal(change_init(&change, &before.model, &after.model), 0);
        compare_change(&before, &after, seed, &change, probes, n);
        compare_entries(&before, &after, seed, &change, probes, n);
        compare_container_change(seed, &change, &after.model, &before.model, true);
        compare_container_change(seed, &change, &before.model, &after.model, false);
        for (uint32_t i = 0; i < change.n; i++) {
            n_gains += change.items[i].is_gain;
            n_losses += !change.items[i].is_gain;
        }
        world_deinit(&before);
        world_deinit(&after);
    }
    assert_true(n_gains > 100 && n_losses > 100);
}

static void test_the_same_declaration_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world a, b;
        random_world(&a, seed);
        random_world(&b, seed);
        cleanup_change struct change change = { 0 };
        assert_int_equal(change_init(&change, &a.model, &b.model), 0);
        assert_int_equal(change.n, 0);
        world_deinit(&a);
        world_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_declared_relation_is_what_the_naive_evaluator_says),
        cmocka_unit_test(test_a_gateway_s_image_reads_back_as_its_verdicts),
        cmocka_unit_test(test_a_change_is_told_whole_and_nothing_else),
        cmocka_unit_test(test_the_same_declaration_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
