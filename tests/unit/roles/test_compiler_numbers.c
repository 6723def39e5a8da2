/* Numbers of surfaces over changes of the file: what stays keeps its number, and no number means another surface at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "model/reader.h"
#include "policy/compile.h"
#include "roles/compiler_numbers.h"

struct compiled {
    struct model *model;
    struct compile_output output;
    struct image plan;
};

/* A gateway whose surfaces are the names given, in that order; the macbook may reach grafana over the last. */
static struct model *declare(const char *const *names, unsigned n)
{
    struct buf text;
    struct model *model = NULL;
    struct model_findings findings;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "postern: 1\ndomain: home.example\nsegments: { prod: {}, clients: {} }\nhosts:\n"
                      "  roc: { segment: prod, address: 100.64.0.1, gateway: true }\n  mac: { segment: clients, address: 100.64.0.2 }\nsurfaces:\n");
    for (unsigned i = 0; i < n; i++)
        buf_printf(&text, "  %s: { port: %u }\n", names[i], 1000 + i);
    buf_printf(&text, "services: { grafana: { host: roc, port: 3000 } }\ngrants: [{ from: mac, to: grafana, over: %s }]\n", names[n - 1]);
    assert_int_equal(model_read(buf_str(&text), STR("postern.yml"), &model, &findings), 0);
    model_findings_deinit(&findings);
    buf_deinit(&text);
    return model;
}

/* As the compiler does it: numbers kept from the plan before, if there is one. */
static struct compiled compile(const char *const *names, unsigned n, const struct compiled *before)
{
    struct compiled c = { .model = declare(names, n) };
    struct error err = { "" };
    if (before)
        assert_int_equal(numbers_keep(c.model, before->plan), 0);
    struct compile_input input = { .model = c.model, .gateway = 0, .generation = 1, .revision = STR("0123456789ab") };
    if (compile_model(&input, &c.output, &err) != 0)
        fail_msg("%s", err.text);
    if (image_attach(c.output.plan.data, c.output.plan.size, IMAGE_PLAN, &c.plan, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static void discard(struct compiled *c)
{
    compile_output_deinit(&c->output);
    model_free(c->model);
}

static uint32_t number_of(const struct compiled *c, const char *name)
{
    for (uint32_t i = 0; i < image_count(c->plan, IMAGE_SURFACES); i++)
        if (str_equal(image_str(c->plan, image_surface(c->plan, i)->name), str_of(name)))
            return image_surface(c->plan, i)->index;
    return IMAGE_NONE;
}

static bool is_served(const struct compiled *c, uint32_t number)
{
    for (uint32_t i = 0; i < image_count(c->plan, IMAGE_LISTENERS); i++)
        if (image_listener(c->plan, i)->surface == number)
            return true;
    return false;
}

static void surfaces_keep_their_numbers_and_new_ones_get_fresh_ones(void **state)
{
    (void)state;
    static const char *const first[] = { "main", "agents" }, *const second[] = { "early", "agents", "late" }, *const third[] = { "late", "main" };
    struct compiled a = compile(first, 2, NULL), b = compile(second, 3, &a), c = compile(third, 2, &b);
    assert_int_equal(number_of(&a, "main"), 0);
    assert_int_equal(number_of(&a, "agents"), 1);
    assert_int_equal(number_of(&b, "agents"), 1);
    assert_int_equal(number_of(&b, "early"), 2);
    assert_int_equal(number_of(&b, "late"), 3);
    assert_false(is_served(&b, 0));
    assert_null(b.output.views[0].data);
    assert_int_equal(number_of(&c, "main"), 0);
    assert_int_equal(number_of(&c, "late"), 3);
    assert_true(is_served(&c, 0) && is_served(&c, 3));
    assert_false(is_served(&c, 1) || is_served(&c, 2));
    discard(&a);
    discard(&b);
    discard(&c);
}

/* The broker knows a worker by its surface's number: who may ask for a target must have moved along. */
static void the_grants_move_along(void **state)
{
    (void)state;
    static const char *const first[] = { "main", "agents" }, *const second[] = { "early", "main", "agents" };
    struct compiled a = compile(first, 2, NULL), b = compile(second, 3, &a);
    struct error err;
    struct image dial, view;
    assert_int_equal(image_attach(b.output.dial.data, b.output.dial.size, IMAGE_DIAL, &dial, &err), 0);
    assert_int_equal(image_count(dial, IMAGE_TARGETS), 1);
    assert_int_equal(image_target(dial, 0)->surfaces, 1U << number_of(&b, "agents"));
    assert_int_equal(image_attach(b.output.views[1].data, b.output.views[1].size, IMAGE_VIEW, &view, &err), 0);
    assert_true(str_equal(image_str(view, image_surface(view, 0)->name), STR("agents")));
    assert_non_null(image_find_name(view, STR("grafana.home.example")));
    discard(&a);
    discard(&b);
}

static void a_number_is_given_away_only_when_they_run_out(void **state)
{
    (void)state;
    static char texts[2][IMAGE_SURFACES_MAX][8];
    const char *old[IMAGE_SURFACES_MAX], *new[IMAGE_SURFACES_MAX];
    for (unsigned i = 0; i < IMAGE_SURFACES_MAX; i++) {
        snprintf(texts[0][i], sizeof texts[0][i], "a%u", i);
        snprintf(texts[1][i], sizeof texts[1][i], "%c%u", i % 2 ? 'a' : 'b', i);
        old[i] = texts[0][i];
        new[i] = texts[1][i];
    }
    struct compiled a = compile(old, IMAGE_SURFACES_MAX, NULL), b = compile(new, IMAGE_SURFACES_MAX, &a);
    for (unsigned i = 0; i < IMAGE_SURFACES_MAX; i++) {
        if (i % 2)
            assert_int_equal(number_of(&b, new[i]), i);
        assert_true(is_served(&b, i));
    }
    discard(&a);
    discard(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surfaces_keep_their_numbers_and_new_ones_get_fresh_ones),
        cmocka_unit_test(the_grants_move_along),
        cmocka_unit_test(a_number_is_given_away_only_when_they_run_out),
    };
    return cmocka_run_group_tests_name("numbers of surfaces", tests, NULL, NULL);
}
