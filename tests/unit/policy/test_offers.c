/* What labels of containers may add to a declaration, and what they may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "world.h"

static void make_world(struct world *w)
{
    world_init(w);
    world_segment(w, "clients", "");
    world_segment(w, "ai", "");
    world_gateway(w, "roc", "clients", "100.64.0.1");
    world_gateway(w, "bluejay", "clients", "100.64.0.2");
    world_host(w, "robin", "ai", "100.64.0.3");
    world_host(w, "macbook", "clients", "100.64.0.13");
    world_surface(w, "main", 443);
    world_surface(w, "agents", 8443);
    world_container(w, "grafana", "roc", "monitoring/grafana", 3000);
    world_container(w, "backrest", "roc,bluejay", "backrest", 9898)->names = world_texts(w, "backups.home.example");
    world_container(w, "notes-db", "roc", "notes/db", 5432)->kind = MODEL_KIND_INTERNAL;
    world_grant(w, 40, "clients", "*", "main");
    world_grant(w, 41, "ai", "mcp-*", "agents");
    w->model.grants[1].labelled = true;
}

static struct offer offer(const char *name, const char *reference, uint16_t port)
{
    return (struct offer){ str_of(name), str_of(reference), port, MODEL_PROTOCOL_HTTP };
}

static void judge(const struct world *w, const struct offer *list, uint32_t n, struct offers *ret)
{
    assert_int_equal(offers_init(ret, &w->model, 0, list, n), 0);
}

static void expect_refused(const struct world *w, struct offer one, const char *why)
{
    cleanup_offers struct offers offers = { 0 };
    judge(w, &one, 1, &offers);
    char text[500];
    str_copy(text, sizeof text, offers.verdicts[0].why);
    assert_false(offers.verdicts[0].is_taken);
    if (!strstr(text, why))
        fail_msg("'%s' doesn't say '%s'", text, why);
    assert_int_equal(offers.model.n_services, w->model.n_services);
}

static void test_a_label_takes_no_name_that_is_anothers(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    w.model.grants[0].labelled = true; /* so that only the name stands against it */
    expect_refused(&w, offer("grafana", "evil/x", 80), "is that of service grafana (postern.yml:101)");
    expect_refused(&w, offer("grafana-roc", "evil/x", 80), "is that of service grafana");
    expect_refused(&w, offer("backrest-bluejay", "evil/x", 80), "is that of service backrest");
    expect_refused(&w, offer("backups", "evil/x", 80), "is that of service backrest");
    expect_refused(&w, offer("notes-db", "evil/x", 80), "is that of service notes-db");
    /* Its instance's name would be the other's. */
    world_container(&w, "x-roc", "bluejay", "x", 1);
    expect_refused(&w, offer("x", "evil/x", 80), "the name x-roc is that of service x-roc");
    world_deinit(&w);
}

static void test_a_label_is_a_name_and_nothing_else(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    static const char *const names[] = { "", "Mcp-a", "mcp_a", "mcp-", "-mcp", "mcp-a.evil", "mcp-*", "mcp-\n", "internet", "mcp-\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        expect_refused(&w, offer(names[i], "c", 80), "can be no service's");
    static const char *const references[] = { "", "/", "a/", "/b", "a/b/c", "../x", "a/../b", "a b", "a\n" };
    for (size_t i = 0; i < ARRAY_SIZE(references); i++)
        expect_refused(&w, offer("mcp-a", references[i], 80), "is none that a declaration could have");
    expect_refused(&w, offer("mcp-a", "c", 0), "says no port");
    char longest[64] = "";
    memset(longest, 'm', 63);
    memcpy(longest, "mcp-", 4);
    expect_refused(&w, offer(longest, "c", 80), "at most 63 letters");
    world_deinit(&w);
}

static void test_a_label_opens_nothing_that_is_internal_or_that_no_grant_names(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    expect_refused(&w, offer("mcp-db", "notes/db", 5432), "that of service notes-db, which is internal (postern.yml:103)");
    expect_refused(&w, offer("wiki", "wiki", 80), "no grant with 'labelled: true' names it");
    w.model.grants[1].labelled = false;
    expect_refused(&w, offer("mcp-a", "c", 80), "no grant with 'labelled: true' names it");
    world_deinit(&w);
}

static void test_who_offered_a_name_first_holds_it(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    const struct offer list[] = {
        offer("mcp-a", "one", 80), offer("mcp-a", "two", 80), offer("mcp-a", "one", 80), offer("mcp-a", "one", 81), offer("mcp-a-roc", "two", 80),
        offer("mcp-b", "two", 80),
    };
    cleanup_offers struct offers offers = { 0 };
    judge(&w, list, ARRAY_SIZE(list), &offers);
    const bool taken[] = { true, false, true, false, false, true };
    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        assert_int_equal(offers.verdicts[i].is_taken, taken[i]);
    assert_true(str_equal(offers.verdicts[1].why, STR("container one offers the name mcp-a already")));
    assert_int_equal(offers.n_taken, 2);
    assert_int_equal(offers.model.n_services, w.model.n_services + 2);
    world_deinit(&w);
}

/* The principal of an address and a host name on a surface: the line of the grant, or 0. */
static uint32_t verdict(const struct compile_output *out, uint32_t surface, const char *from, const char *name)
{
    struct image view = world_attach(out->views[surface], IMAGE_VIEW);
    struct address address;
    uint64_t line = 0;
    assert_true(address_parse(str_of(from), &address));
    const struct image_name_slot *slot = image_find_name(view, str_of(name));
    uint32_t rule = slot ? image_verdict(view, image_find_principal(view, &address), slot->service) : IMAGE_NONE;
    if (rule == IMAGE_NONE)
        return 0;
    struct str place = image_str(view, image_rule(view, rule)->place);
    str_split(&place, ':');
    assert_true(str_to_u64(place, UINT32_MAX, &line));
    return (uint32_t)line;
}

static void test_only_grants_that_say_so_match_what_is_offered(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    struct offer list[] = { offer("mcp-a", "agents/a", 8000), offer("grafana", "evil", 80), offer("mcp-\"\x01", "evil\n", 80) };
    struct compile_input input = { .model = &w.model, .gateway = 0, .generation = 1, .revision = STR("feed"), .offers = list, .n_offers = ARRAY_SIZE(list) };
    struct compile_output out;
    struct error err = { "" };
    if (compile_model(&input, &out, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(verdict(&out, 1, "100.64.0.3", "mcp-a.home.example"), 41);
    assert_int_equal(verdict(&out, 1, "100.64.0.3", "mcp-a-roc.home.example"), 41);
    assert_int_equal(verdict(&out, 0, "100.64.0.13", "mcp-a.home.example"), 0); /* "*" without labelled */
    assert_int_equal(verdict(&out, 0, "100.64.0.13", "grafana.home.example"), 40);
    struct image dial = world_attach(out.dial, IMAGE_DIAL);
    bool is_dialled = false;
    for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++) {
        const struct image_target *t = image_target(dial, i);
        assert_false(str_equal(image_str(dial, t->path), STR("evil")));
        if (str_equal(image_str(dial, t->name), STR("mcp-a@roc"))) {
            is_dialled = true;
            assert_true(t->kind == IMAGE_TARGET_CONTAINER && t->container == image_container_number(STR("agents/a")) && t->port == 8000);
            assert_int_equal(t->surfaces, 1 << 1); /* agents only: main's broker doesn't dial it */
        }
    }
    assert_true(is_dialled);
    struct image docker = world_attach(out.docker, IMAGE_DOCKER);
    assert_int_equal(image_engine(docker, 0)->wants_offers, 1);
    char refused[1000];
    str_copy(refused, sizeof refused, buf_str(&out.refused));
    assert_non_null(strstr(refused, "\"grafana\" of container \"evil\": the name grafana is that of service grafana"));
    assert_non_null(strstr(refused, "\"mcp-\\\"\\u0001\" of container \"evil\\n\": its name can be no service's"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_flood_of_offers_is_cut_and_ends_nothing(void **state)
{
    (void)state;
    struct world w;
    make_world(&w);
    enum { N = OFFERS_MAX + 500 };
    static struct offer list[N];
    static char names[N][16];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "mcp-%u", i);
        list[i] = offer(names[i], names[i], 80);
    }
    struct compile_input input = { .model = &w.model, .gateway = 0, .generation = 1, .revision = STR("feed"), .offers = list, .n_offers = N };
    struct compile_output out;
    struct error err = { "" };
    assert_int_equal(compile_model(&input, &out, &err), 0);
    assert_int_equal(verdict(&out, 1, "100.64.0.3", "mcp-1023.home.example"), 41);
    assert_int_equal(verdict(&out, 1, "100.64.0.3", "mcp-1024.home.example"), 0);
    assert_non_null(memmem(out.refused.ptr, out.refused.len, "there are more than 1024 offers", 31));
    compile_output_deinit(&out);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_label_takes_no_name_that_is_anothers),
        cmocka_unit_test(test_a_label_is_a_name_and_nothing_else),
        cmocka_unit_test(test_a_label_opens_nothing_that_is_internal_or_that_no_grant_names),
        cmocka_unit_test(test_who_offered_a_name_first_holds_it),
        cmocka_unit_test(test_only_grants_that_say_so_match_what_is_offered),
        cmocka_unit_test(test_a_flood_of_offers_is_cut_and_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
