/* The rendered mesh policy, read back with the declaration's hosts as its machines, lets pass what is declared and nothing else: on
 * declarations made from seeds, with and without tags and users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "cli/mesh.h"
#include "policy/flows.h"
#include "policy/matrix.h"
#include "random_world.h"

enum { N_WORLDS = 1500, TEXT_MAX = 64 << 20 };

static const char *bind_text(struct world *w, const char *prefix, unsigned i, const char *suffix)
{
    char text[32];
    snprintf(text, sizeof text, "%s%u%s", prefix, i, suffix);
    return world_text(w, text).ptr;
}

/* As the reader allows it: a machine is tagged or a user's. */
static void bind_names(struct world *w, uint64_t *seed)
{
    struct model *model = &w->model;
    for (unsigned i = 0; i < model->n_segments; i++) {
        uint32_t kind = random_below(seed, 3);
        if (kind == 1)
            model->segments[i].binding.tag.text = str_of(bind_text(w, "tag:s", i, ""));
        if (kind == 2)
            model->segments[i].binding.user.text = str_of(bind_text(w, "s", i, "@home.example"));
    }
    for (unsigned i = 0; i < model->n_hosts; i++) {
        struct model_host *host = &model->hosts[i];
        const struct model_binding *segment = host->segment == MODEL_NONE ? NULL : &model->segments[host->segment].binding;
        uint32_t kind = random_below(seed, 4);
        if (segment && segment->user.text.len)
            continue;
        if (kind == 1)
            host->binding.tag.text = str_of(bind_text(w, "tag:h", i, ""));
        if (kind == 2 && !(segment && segment->tag.text.len))
            host->binding.user.text = str_of(bind_text(w, "h", i, "@"));
    }
}

/* Flows to declared hosts' mesh addresses, each a rule: what the mesh is to let pass. */
static void flows_relation(const struct model *model, struct relation *relation)
{
    cleanup_grants struct grants grants;
    cleanup_flows struct flows flows;
    assert_int_equal(grants_init(&grants, model), 0);
    assert_int_equal(flows_init(&flows, &grants, MODEL_NONE), 0);
    for (uint32_t i = 0; i < flows.n; i++) {
        const struct flow *flow = &flows.items[i];
        const struct source_range *source = &flows.sources.items[flow->source];
        struct relation_rule rule = { .port_first = flow->port, .port_last = flow->port };
        struct relation_range from = { source->first, source->last };
        const struct relation_range *all = address_is_v4(&from.first) ? &relation_all_v4 : &relation_all_v6;
        if (address_compare(&from.first, &all->first) < 0)
            from.first = all->first;
        if (address_compare(&from.last, &all->last) > 0)
            from.last = all->last;
        if (flow->host == MODEL_NONE || address_compare(&from.first, &from.last) > 0)
            continue; /* what a relation doesn't hold: no sender is there */
        rule.protocol_first = rule.protocol_last = flow->transport == MODEL_UDP ? 17 : 6;
        assert_int_equal(relation_add_selector(relation, &from, 1, &rule.source), 0);
        assert_int_equal(relation_add_selector(relation, &(struct relation_range){ flow->destination, flow->destination }, 1, &rule.destination), 0);
        assert_int_equal(relation_add_reason(relation, (struct relation_reason){ STR("declared"), 0, STR("") }, &rule.reason), 0);
        assert_int_equal(relation_add_rule(relation, &rule), 0);
    }
}

static void difference_show(const struct matrix *matrix, const char *what, uint64_t seed, struct str text)
{
    for (uint32_t s = 0; s < space_n_classes(matrix->space, SPACE_SOURCE); s++) {
        const struct matrix_row *row = matrix_row(matrix, s);
        struct relation_range from, to;
        char x[ADDRESS_TEXT_SIZE], y[ADDRESS_TEXT_SIZE];
        if (row->n == 0 || !space_class_range(matrix->space, SPACE_SOURCE, s, 0, &from) ||
            !space_class_range(matrix->space, SPACE_DESTINATION, row->items[0].destination, 0, &to))
            continue;
        print_error("%.*s", (int)(text.len > 6000 ? 6000 : text.len), text.ptr);
        fail_msg("seed %llu: %s: %s to %s, protocol %u port %u", (unsigned long long)seed, what, address_format(&from.first, x),
                 address_format(&to.first, y), row->items[0].first >> 16, row->items[0].first & 0xffff);
    }
}

static void compare(const struct relation *declared, const struct relation *mesh, uint64_t seed, struct str text)
{
    const struct relation *both[] = { declared, mesh };
    struct space *space = NULL;
    struct matrix a, b, missing, extra;
    assert_int_equal(space_init(&space, both, 2), 0);
    assert_int_equal(matrix_of(space, declared, &a), 0);
    assert_int_equal(matrix_of(space, mesh, &b), 0);
    assert_int_equal(matrix_subtract(&a, &b, &missing), 0);
    assert_int_equal(matrix_subtract(&b, &a, &extra), 0);
    difference_show(&missing, "declared and not let through", seed, text);
    difference_show(&extra, "let through and not declared", seed, text);
    matrix_deinit(&a);
    matrix_deinit(&b);
    matrix_deinit(&missing);
    matrix_deinit(&extra);
    space_free(space);
}

static void run_world(uint64_t seed, bool is_bound)
{
    struct world w;
    uint64_t s = seed;
    random_world(&w, seed);
    if (is_bound)
        bind_names(&w, &s);
    struct relation declared, mesh;
    relation_init(&declared);
    relation_init(&mesh);
    cleanup_buf struct buf text;
    cleanup_buf struct buf again;
    struct error err = { "" };
    buf_init(&text, TEXT_MAX);
    buf_init(&again, TEXT_MAX);
    assert_int_equal(render_headscale(&w.model, STR_NONE, &text, &err), 0);
    assert_int_equal(render_headscale(&w.model, STR_NONE, &again, &err), 0);
    assert_true(str_equal(buf_str(&text), buf_str(&again)));
    int r = cli_mesh_relation(&w.model, buf_str(&text), "tailscale.hujson", &mesh, &err);
    if (r)
        print_error("%.*s", STR_ARG(buf_str(&text)));
    if (r)
        fail_msg("seed %llu: %d %s", (unsigned long long)seed, r, err.text);
    flows_relation(&w.model, &declared);
    compare(&declared, &mesh, seed, buf_str(&text));
    relation_deinit(&declared);
    relation_deinit(&mesh);
    world_deinit(&w);
}

static void test_addresses_let_pass_what_is_declared(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++)
        run_world(seed, false);
}

static void test_tags_and_users_let_pass_what_is_declared(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++)
        run_world(seed, true);
}

static void test_a_rendered_rule_names_its_line_and_the_declaration(void **state)
{
    (void)state;
    struct world w;
    struct relation mesh;
    struct error err = { "" };
    world_homelab(&w);
    world_grant(&w, 941, "macbook", "roc:2222", "");
    relation_init(&mesh);
    assert_int_equal(cli_mesh_rendered_relation(&w.model, &mesh, &err), 0);
    struct address macbook, roc;
    assert_true(address_parse(STR("100.64.0.13"), &macbook) && address_parse(STR("100.64.0.1"), &roc));
    uint32_t rule = relation_find_rule(&mesh, &macbook, &roc, RELATION_TCP, 2222);
    assert_true(rule != UINT32_MAX);
    const struct relation_reason *reason = relation_reason(&mesh, relation_rule(&mesh, rule)->reason);
    assert_true(str_equal(reason->file, STR("tailscale.hujson")));
    assert_true(reason->line > 3);
    assert_true(str_starts_with(reason->text, STR("grant ")) && str_ends_with(reason->text, STR("941)")));
    assert_true(relation_find_rule(&mesh, &macbook, &roc, RELATION_UDP, 2222) == UINT32_MAX);
    relation_deinit(&mesh);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_let_pass_what_is_declared),
        cmocka_unit_test(test_tags_and_users_let_pass_what_is_declared),
        cmocka_unit_test(test_a_rendered_rule_names_its_line_and_the_declaration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
