/* The container tables on paper: against the naive evaluator on declarations made from seeds, and with entries that somebody changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "cli/container_layer.h"
#include "policy/naive.h"
#include "random_world.h"

enum { N_WORLDS = 1500 };

static const uint16_t ports[] = { 443, 1000, 1001, 1002, 9999 };

struct scene {
    struct world world;
    struct access access;
    struct container_layer layer;
};

static void scene_finish(struct scene *s)
{
    struct error err = { "" };
    assert_int_equal(access_init(&s->access, &s->world.model, NULL), 0);
    if (container_layer_init(&s->layer, &s->access, &err) != 0)
        fail_msg("%s", err.text);
}

static void scene_deinit(struct scene *s)
{
    container_layer_deinit(&s->layer);
    access_deinit(&s->access);
    world_deinit(&s->world);
}

/* What must be: nothing is held, or exactly what is granted passes. */
static enum container_answer expected_between(const struct scene *s, uint32_t from, uint32_t to, bool udp, uint16_t port)
{
    const struct container *a = &s->access.containers.items[from], *b = &s->access.containers.items[to];
    bool inside;
    if (!containers_is_enforced(&s->access.containers, from) && !containers_is_enforced(&s->access.containers, to))
        return CONTAINER_UNHELD;
    uint32_t grant = naive_container_flow(&s->world.model, a->host, a->reference, b->reference, udp ? MODEL_UDP : MODEL_TCP, port, &inside);
    return grant != MODEL_NONE || inside ? CONTAINER_YES : CONTAINER_NO;
}

/* A segment of every address leaves no internet: what is granted of it is missing then, and the proof says so. */
static bool has_no_internet(const struct model *m)
{
    for (uint32_t i = 0; i < m->n_segments; i++)
        for (uint32_t k = 0; k < m->segments[i].addresses.n; k++) {
            const struct address_prefix *p = &m->segments[i].addresses.items[k];
            if (p->bits == 0 || (p->bits == 96 && address_is_v4(&p->address)))
                return true;
        }
    return false;
}

static void compare_container(const struct scene *s, uint64_t seed, uint32_t from, uint32_t tally[static 3])
{
    const struct containers *c = &s->access.containers;
    const struct model *m = &s->world.model;
    uint32_t host = c->items[from].host;
    bool is_held = containers_is_enforced(c, from);
    for (uint32_t to = c->first_of_host[host]; to < c->first_of_host[host + 1]; to++)
        for (unsigned i = 0; i < ARRAY_SIZE(ports) * 4 && to != from; i++) {
            uint16_t port = ports[i / 4];
            enum container_answer expected = expected_between(s, from, to, i & 1, port);
            enum container_answer got = container_layer_ask_container(&s->layer, from, to, i & 1 ? RELATION_UDP : RELATION_TCP, port, i & 2, NULL);
            tally[expected]++;
            if (got != expected)
                fail_msg("seed %llu: %.*s to %.*s, %s %u, %s: got %d, expected %d", (unsigned long long)seed, STR_ARG(c->items[from].reference),
                         STR_ARG(c->items[to].reference), i & 1 ? "udp" : "tcp", port, i & 2 ? "any" : "all", (int)got, (int)expected);
        }
    bool granted = naive_container_internet(m, host, c->items[from].reference) != MODEL_NONE;
    for (unsigned any = 0; any < 2 && !has_no_internet(m); any++)
        assert_int_equal(container_layer_ask_internet(&s->layer, from, any, NULL), !is_held ? CONTAINER_UNHELD : granted ? CONTAINER_YES : CONTAINER_NO);
    for (uint32_t h = 0; h < m->n_hosts; h++)
        for (uint32_t k = 0; k < m->hosts[h].addresses.n; k++)
            for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
                const struct address *to = &m->hosts[h].addresses.items[k].address;
                bool passes = naive_container_port(m, host, c->items[from].reference, to, MODEL_TCP, ports[i]) != MODEL_NONE;
                enum container_answer got = container_layer_ask_address(&s->layer, from, to, RELATION_TCP, ports[i], NULL);
                if (got != (!is_held ? CONTAINER_UNHELD : passes ? CONTAINER_YES : CONTAINER_NO))
                    fail_msg("seed %llu: %.*s to host %u port %u: %d", (unsigned long long)seed, STR_ARG(c->items[from].reference), h, ports[i], (int)got);
            }
}

static void test_the_tables_let_pass_what_the_naive_evaluator_says(void **state)
{
    uint32_t tally[3] = { 0 };
    (void)state;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++) {
        struct scene s = { 0 };
        cleanup(container_proof_deinit) struct container_proof proof = { 0 };
        random_world(&s.world, seed);
        scene_finish(&s);
        for (uint32_t from = 0; from < s.access.containers.n; from++)
            compare_container(&s, seed, from, tally);
        assert_int_equal(container_layer_prove(&s.layer, &proof), 0);
        for (uint32_t i = 0; i < proof.n; i++)
            if (!has_no_internet(&s.world.model) || proof.items[i].kind != CONTAINER_MISSING || proof.items[i].protocol != 0)
                fail_msg("seed %llu: the proof finds a difference", (unsigned long long)seed);
        scene_deinit(&s);
    }
    print_message("%u denied, %u passed, %u not held\n", tally[CONTAINER_NO], tally[CONTAINER_YES], tally[CONTAINER_UNHELD]);
    assert_true(tally[CONTAINER_NO] > 1000 && tally[CONTAINER_YES] > 300 && tally[CONTAINER_UNHELD] > 500);
}

/* ---- what somebody changed is found ---- */

static void make_scene(struct scene *s, enum model_inside inside)
{
    *s = (struct scene){ 0 };
    struct world *w = &s->world;
    world_init(w);
    world_segment(w, "prod", "");
    world_gateway(w, "roc", "prod", "100.64.0.1,fd00::1");
    world_host(w, "robin", "prod", "100.64.0.3");
    world_surface(w, "main", 443);
    world_project(w, "monitoring", "roc", MODEL_MODE_ENFORCE, inside);
    world_container(w, "grafana", "roc", "monitoring/grafana", 3000);
    world_container(w, "prometheus", "roc", "monitoring/prometheus", 9090);
    world_container(w, "notes", "roc", "notes/app", 80);
    world_grant(w, 40, "grafana", "prometheus:9090,notes:80,internet", "");
    world_grant(w, 41, "grafana", "notes", "main");
    scene_finish(s);
}

static void prove(const struct scene *s, struct container_proof *ret)
{
    assert_int_equal(container_layer_prove(&s->layer, ret), 0);
}

static bool is_from_to(const struct scene *s, const struct container_difference *d, const char *from, const char *to)
{
    const struct container *items = s->access.containers.items;
    return str_equal(items[d->from].reference, str_of(from)) && (d->to == MODEL_NONE ? !*to : str_equal(items[d->to].reference, str_of(to)));
}

static bool finds(const struct scene *s, const struct container_proof *proof, enum container_difference_kind kind, const char *from, const char *to,
                  uint16_t port)
{
    for (uint32_t i = 0; i < proof->n; i++)
        if (proof->items[i].kind == kind && proof->items[i].port == port && is_from_to(s, &proof->items[i], from, to))
            return true;
    return false;
}

static void remove_element(struct scene *s, enum container_set set, uint32_t k)
{
    struct buf *items = &s->layer.filters[0]->sets[set];
    size_t size = sizeof(struct container_element);
    memmove(items->ptr + k * size, items->ptr + (k + 1) * size, items->len - (k + 1) * size);
    items->len -= size;
}

static void test_every_entry_that_is_missing_is_missed(void **state)
{
    static const enum container_set sets[] = { CONTAINER_GRANTED4, CONTAINER_GRANTED6, CONTAINER_INTERNET4, CONTAINER_INTERNET6, CONTAINER_PASSES4,
                                               CONTAINER_PASSES6 };
    uint32_t n_tried = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        for (uint32_t k = 0, n = 1; k < n; k++) {
            struct scene s;
            cleanup(container_proof_deinit) struct container_proof proof = { 0 };
            make_scene(&s, MODEL_INSIDE_DECLARED);
            n = container_filter_count(s.layer.filters[0], sets[i]);
            if (n) {
                remove_element(&s, sets[i], k);
                prove(&s, &proof);
                assert_true(proof.n > 0 && proof.items[0].kind == CONTAINER_MISSING && (proof.items[0].line == 40 || proof.items[0].line == 41));
                n_tried++;
            }
            scene_deinit(&s);
        }
    assert_true(n_tried > 8);
}

static void add_flow(struct scene *s, enum container_set set, uint32_t from, const struct address *to, uint16_t port)
{
    const struct container_place *place = &s->layer.places[from];
    struct container_element element = { .from = place->addresses[0], .to = *to, .protocol = RELATION_TCP, .port = port, .comment = STR("by hand") };
    if (set == CONTAINER_GRANTED4)
        memcpy(element.name, place->bridge, sizeof element.name);
    container_filter_add(s->layer.filters[0], set, &element);
    assert_int_equal(container_filter_seal(s->layer.filters[0]), 0);
}

static void test_an_entry_too_many_is_found_with_its_comment(void **state)
{
    struct scene s;
    cleanup(container_proof_deinit) struct container_proof proof = { 0 };
    (void)state;
    make_scene(&s, MODEL_INSIDE_DECLARED);
    uint32_t prometheus = containers_find_reference(&s.access.containers, 0, STR("monitoring/prometheus"));
    uint32_t notes = containers_find_reference(&s.access.containers, 0, STR("notes/app"));
    prove(&s, &proof);
    assert_int_equal(proof.n, 0);
    assert_int_equal(proof.n_enforced, 2);
    assert_int_equal(proof.n_unheld, 1);
    container_proof_deinit(&proof);
    add_flow(&s, CONTAINER_GRANTED4, prometheus, &s.layer.places[notes].addresses[0], 81);
    add_flow(&s, CONTAINER_GRANTED4, prometheus, &s.world.model.hosts[0].addresses.items[0].address, 22);
    prove(&s, &proof);
    assert_int_equal(proof.n, 2);
    assert_true(finds(&s, &proof, CONTAINER_EXTRA, "monitoring/prometheus", "notes/app", 81));
    assert_true(finds(&s, &proof, CONTAINER_EXTRA, "monitoring/prometheus", "", 22));
    assert_true(str_equal(proof.items[0].rule, STR("by hand")));
    scene_deinit(&s);
}

static void test_a_project_that_is_not_held_any_more_is_found(void **state)
{
    struct scene s;
    cleanup(container_proof_deinit) struct container_proof proof = { 0 };
    (void)state;
    make_scene(&s, MODEL_INSIDE_DECLARED);
    struct container_element *bridges = (struct container_element *)(void *)s.layer.filters[0]->sets[CONTAINER_BRIDGES].ptr;
    for (uint32_t i = 0; i < container_filter_count(s.layer.filters[0], CONTAINER_BRIDGES); i++)
        bridges[i].class = CONTAINER_OBSERVED;
    prove(&s, &proof);
    assert_true(finds(&s, &proof, CONTAINER_EXTRA, "monitoring/prometheus", "notes/app", 0));
    assert_true(finds(&s, &proof, CONTAINER_EXTRA, "monitoring/prometheus", "", 0));
    scene_deinit(&s);
}

static void test_a_network_that_is_open_inside_and_should_not_be_is_found(void **state)
{
    struct scene s;
    cleanup(container_proof_deinit) struct container_proof proof = { 0 };
    (void)state;
    make_scene(&s, MODEL_INSIDE_DECLARED);
    s.layer.filters[0]->sets[CONTAINER_PORTS].len = 0;
    s.layer.filters[0]->sets[CONTAINER_JUDGED4].len = 0;
    s.layer.filters[0]->sets[CONTAINER_JUDGED6].len = 0;
    prove(&s, &proof);
    assert_true(finds(&s, &proof, CONTAINER_EXTRA, "monitoring/prometheus", "monitoring/grafana", 0));
    scene_deinit(&s);
    container_proof_deinit(&proof);
    make_scene(&s, MODEL_INSIDE_OPEN);
    prove(&s, &proof);
    assert_int_equal(proof.n, 0);
    s.layer.filters[0]->sets[CONTAINER_INSIDE4].len = 0;
    container_proof_deinit(&proof);
    prove(&s, &proof);
    assert_true(finds(&s, &proof, CONTAINER_MISSING, "monitoring/prometheus", "monitoring/grafana", 0));
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tables_let_pass_what_the_naive_evaluator_says),
        cmocka_unit_test(test_every_entry_that_is_missing_is_missed),
        cmocka_unit_test(test_an_entry_too_many_is_found_with_its_comment),
        cmocka_unit_test(test_a_project_that_is_not_held_any_more_is_found),
        cmocka_unit_test(test_a_network_that_is_open_inside_and_should_not_be_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
