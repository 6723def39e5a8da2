/* The map and all that is drawn from it, on declarations made from seeds: held to the naive evaluator, and to what a picture must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "policy/naive.h"
#include "random_world.h"
#include "render/caddy.h"
#include "render/dot.h"
#include "render/hosts.h"
#include "render/map_json.h"
#include "render/mermaid.h"
#include "render/svg.h"
#include "render/svg_layout.h"

enum { N_WORLDS = 1200, N_DRAWN = 300, OUTPUT_MAX = 64 << 20 };

static uint32_t party_of(const struct map *map, const struct address *from)
{
    struct naive_principal who = naive_identify(map->model, from);
    if (who.host != MODEL_NONE)
        return who.host;
    return who.segment != MODEL_NONE ? map->model->n_hosts + who.segment : MODEL_NONE;
}

static bool some_gateway_serves(const struct map *map, uint32_t surface, uint32_t service)
{
    const struct model_indexes *hosts = &map->model->surfaces[surface].hosts;
    for (uint32_t k = 0; k < hosts->n; k++)
        if (map_is_served_by(map->model, hosts->items[k], &map->model->services[service]))
            return true;
    return false;
}

/* What a party may ask for over surfaces is the naive verdict, wherever some gateway can answer. */
static void compare_reach(const struct map *map, uint64_t seed, const struct address *from, uint64_t *n_allowed)
{
    uint64_t reach[WORLD_MAX];
    uint32_t grants[WORLD_MAX], party = party_of(map, from);
    if (party == MODEL_NONE)
        return;
    map_reach(map, party, reach, grants);
    for (uint32_t s = 0; s < map->model->n_services; s++)
        for (uint32_t surface = 0; surface < map->model->n_surfaces; surface++) {
            bool expected = naive_verdict(map->model, from, s, surface) != MODEL_NONE && some_gateway_serves(map, surface, s);
            if ((reach[s] >> surface & 1) != expected)
                fail_msg("seed %llu: party %u, service %u, surface %u: expected %d", (unsigned long long)seed, party, s, surface, expected);
            if (expected && (grants[s] == MODEL_NONE || !(map->services[s].surfaces >> surface & 1) || map->services[s].grant > grants[s]))
                fail_msg("seed %llu: service %u over surface %u: nobody's, or without its rule", (unsigned long long)seed, s, surface);
            *n_allowed += expected;
        }
}

static void test_reach_is_the_naive_verdict(void **state)
{
    (void)state;
    uint64_t n_allowed = 0;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++) {
        struct world w;
        struct address probes[PROBES_MAX];
        cleanup_map struct map map = { 0 };
        struct error err = { "" };
        random_world(&w, seed);
        uint32_t n = random_probes(&w, seed, probes);
        assert_int_equal(map_init(&map, &w.model, &err), 0);
        for (uint32_t i = 0; i < n; i++)
            compare_reach(&map, seed, &probes[i], &n_allowed);
        map_deinit(&map);
        map = (struct map){ 0 };
        world_deinit(&w);
    }
    assert_true(n_allowed > N_WORLDS);
}

/* Every flow between declared hosts is in exactly one bundle, with its party. */
static void test_every_flow_is_in_the_map(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++) {
        struct world w;
        cleanup_map struct map map = { 0 };
        cleanup_flows struct flows flows = { 0 };
        struct error err = { "" };
        random_world(&w, seed);
        assert_int_equal(map_init(&map, &w.model, &err), 0);
        assert_int_equal(flows_init(&flows, &map.grants, MODEL_NONE), 0);
        for (uint32_t i = 0; i < flows.n; i++) {
            const struct flow *flow = &flows.items[i];
            uint32_t party = party_of(&map, &flows.sources.items[flow->source].first), n_found = 0;
            for (uint32_t k = 0; k < map.n_ports; k++) {
                const struct map_port *port = &map.ports[k];
                n_found += port->host == flow->host && (port->port == flow->port || port->redirect_port == flow->port) &&
                           port->transport == flow->transport && port->reason == flow->reason && map_has(map.bundles[port->bundle].parties, party);
            }
            if (flow->host != MODEL_NONE && n_found == 0)
                fail_msg("seed %llu: flow %u to host %u, port %u is not in the map", (unsigned long long)seed, i, flow->host, flow->port);
        }
        map_deinit(&map);
        map = (struct map){ 0 };
        world_deinit(&w);
    }
}

static bool overlap(const struct svg_box *a, const struct svg_box *b)
{
    return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height && b->y < a->y + a->height;
}

static bool is_inside(const struct svg_box *inner, const struct svg_box *outer)
{
    return inner->x >= outer->x && inner->y >= outer->y && inner->x + inner->width <= outer->x + outer->width &&
           inner->y + inner->height <= outer->y + outer->height;
}

static void check_layout(const struct map *map, uint64_t seed)
{
    struct svg_layout l = { 0 };
    assert_int_equal(svg_layout_init(&l, map), 0);
    const struct svg_box page = { 0, 0, l.width, l.height };
    for (uint32_t i = 0; i < l.n_areas; i++) {
        if (!is_inside(&l.areas[i].box, &page))
            fail_msg("seed %llu: area %u leaves the page", (unsigned long long)seed, i);
        for (uint32_t k = 0; k < i; k++)
            if (overlap(&l.areas[i].box, &l.areas[k].box))
                fail_msg("seed %llu: areas %u and %u overlap", (unsigned long long)seed, k, i);
    }
    for (uint32_t i = 0; i < l.n_hosts; i++)
        assert_true(is_inside(&l.hosts[i].box, &l.areas[l.hosts[i].area].box));
    for (uint32_t i = 0; i < l.n_chips; i++) {
        assert_true(is_inside(&l.chips[i].box, &l.hosts[l.chips[i].host].box));
        for (uint32_t k = 0; k < i; k++)
            assert_false(overlap(&l.chips[i].box, &l.chips[k].box));
        for (uint32_t k = 0; k < l.n_pins; k++)
            if (overlap(&l.chips[i].box, &l.pins[k].box))
                fail_msg("seed %llu: chip %u under pin %u", (unsigned long long)seed, i, k);
    }
    for (uint32_t i = 0; i < l.n_pins; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_false(overlap(&l.pins[i].box, &l.pins[k].box));
    for (uint32_t i = 0; i < l.n_trunks; i++)
        for (uint32_t k = 0; k < l.n_areas; k++) {
            const struct svg_box *box = &l.areas[k].box;
            if (l.trunks[i].x > box->x && l.trunks[i].x < box->x + box->width)
                fail_msg("seed %llu: trunk %u runs through area %u", (unsigned long long)seed, i, k);
        }
    svg_layout_deinit(&l);
}

/* The same bytes twice, and none that can't be in the file. */
static void check_text(const struct buf *first, const struct buf *second)
{
    assert_int_equal(first->error, 0);
    assert_true(first->len > 0 && first->len == second->len && memcmp(first->ptr, second->ptr, first->len) == 0);
    for (size_t i = 0; i < first->len; i++)
        assert_true((unsigned char)first->ptr[i] >= 0x20 || first->ptr[i] == '\n' || first->ptr[i] == '\t');
}

static int render_one(const struct map *map, unsigned what, struct buf *out)
{
    static const uint64_t first[WORLD_MAX] = { 1 };
    struct render_svg_options options = { .revision = STR("feed"), .from = what == 5 ? first : NULL, .from_name = STR("first") };
    struct error err = { "" };
    switch (what) {
    case 0: return render_hosts(map, STR("feed"), out);
    case 1: return render_mermaid(map, STR("feed"), out);
    case 2: return render_dot(map, STR("feed"), out);
    case 3: return render_map_json(map, STR("feed"), out);
    case 6: return render_caddy(map, 0, 0, STR("feed"), out, &err);
    default: return render_svg(map, &options, out);
    }
}

static void test_everything_is_drawn_of_any_declaration(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_DRAWN; seed++) {
        struct world w;
        cleanup_map struct map map = { 0 };
        struct error err = { "" };
        random_world(&w, seed);
        assert_int_equal(map_init(&map, &w.model, &err), 0);
        check_layout(&map, seed);
        for (unsigned what = 0; what <= 6; what++) {
            cleanup_buf struct buf first, second;
            buf_init(&first, OUTPUT_MAX);
            buf_init(&second, OUTPUT_MAX);
            assert_int_equal(render_one(&map, what, &first), 0);
            assert_int_equal(render_one(&map, what, &second), 0);
            check_text(&first, &second);
        }
        map_deinit(&map);
        map = (struct map){ 0 };
        world_deinit(&w);
    }
}

/* A picture of thousands of hosts tells nobody anything, and must not take the machine's memory. */
static void test_too_much_for_a_picture_is_said(void **state)
{
    (void)state;
    struct model model = { .n_hosts = MAP_HOSTS_MAX + 1 };
    struct map map;
    struct error err = { "" };
    assert_int_equal(map_init(&map, &model, &err), -EINVAL);
    assert_non_null(strstr(err.text, "too much for a picture"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reach_is_the_naive_verdict),
        cmocka_unit_test(test_every_flow_is_in_the_map),
        cmocka_unit_test(test_everything_is_drawn_of_any_declaration),
        cmocka_unit_test(test_too_much_for_a_picture_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
