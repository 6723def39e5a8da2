/* What a surface's workers are told: views of compiled declarations; and what can't be compiled. */
#include "asking.h"

#include <errno.h>
#include <stdio.h>

/* ---- views ---- */

static void test_homelab_verdicts(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    struct image main_view = world_attach(out.views[MAIN], IMAGE_VIEW), agents = world_attach(out.views[AGENTS], IMAGE_VIEW);
    assert_string_equal(ask(main_view, "100.64.0.13", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "fd7a:115c:a1e0::13", "whisper.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "::ffff:100.64.0.12", "backrest-bluejay.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "100.64.0.3", "grafana.home.example"), "nobody");
    assert_string_equal(ask(main_view, "100.64.0.13", "notes-db.home.example"), "404");
    assert_string_equal(ask(main_view, "100.64.0.13", "luanti.home.example"), "404");
    assert_string_equal(ask(main_view, "100.64.0.13", "home.example"), "404");
    assert_string_equal(ask(agents, "100.64.0.3", "registry.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "100.64.0.3", "mcp-git-roc.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "100.64.0.3", "grafana.home.example"), "404");
    assert_string_equal(ask(agents, "100.64.0.13", "registry.home.example"), "nobody");
    assert_string_equal(ask(agents, "100.64.0.99", "registry.home.example"), "nobody");
    assert_int_equal(image_surface(agents, 0)->port, 8443);
    assert_int_equal(image_surface(agents, 0)->index, AGENTS);
    assert_int_equal(agents.header->generation, 7);
    assert_string_equal(agents.header->revision, "0123abcd");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_hijacked_agents_worker_finds_no_other_name_in_its_view(void **state)
{
    (void)state;
    static const char *const secrets[] = { "grafana", "backrest", "whisper", "luanti", "notes-db", "clients", "macbook", "postern.yml:40", "main" };
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    assert_true(mentions(&out.views[AGENTS], "registry"));
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
        assert_false(mentions(&out.views[AGENTS], secrets[i]));
    for (size_t i = 0; i < 6; i++)
        assert_true(mentions(&out.views[MAIN], secrets[i]) == (i < 3 || i == 5));
    compile_output_deinit(&out);
    world_deinit(&w);
}


static void test_the_first_grant_in_the_file_is_the_rule(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_grant(&w, 50, "macbook", "grafana", "main");
    world_grant(&w, 51, "robin,roc", "grafana", "main");
    world_grant(&w, 52, "ai", "grafana,whisper", "main");
    w.model.file = STR("/etc/postern/postern.yml");
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_string_equal(ask(view, "100.64.0.13", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(view, "100.64.0.3", "grafana.home.example"), "postern.yml:51");
    assert_string_equal(ask(view, "100.64.0.3", "whisper.home.example"), "postern.yml:52");
    assert_string_equal(ask(view, "100.64.0.1", "grafana.home.example"), "postern.yml:51");
    assert_string_equal(ask(view, "100.64.0.1", "whisper.home.example"), "404");
    assert_string_equal(ask(view, "100.64.0.2", "grafana.home.example"), "nobody");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_hosts_with_equal_verdicts_share_a_row(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_int_equal(image_count(view, IMAGE_PRINCIPALS), 3);
    assert_int_equal(image_surface(view, 0)->n_classes, 1);
    compile_output_deinit(&out);
    world_grant(&w, 50, "kobo", "grafana", "main"); /* nothing new: line 40 comes first */
    world_compile(&w, "roc", &out);
    assert_int_equal(image_surface(world_attach(out.views[MAIN], IMAGE_VIEW), 0)->n_classes, 1);
    compile_output_deinit(&out);
    world_grant(&w, 39, "kobo", "grafana", "main");
    struct model_grant last = w.model.grants[w.model.n_grants - 1];
    memmove(w.model.grants + 1, w.model.grants, (w.model.n_grants - 1) * sizeof last);
    w.model.grants[0] = last;
    world_compile(&w, "roc", &out);
    assert_int_equal(image_surface(world_attach(out.views[MAIN], IMAGE_VIEW), 0)->n_classes, 2);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_prefix_of_guests_does_not_let_in_others_that_lie_in_it(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.segments[0].addresses = world_prefixes(&w, "100.64.0.0/16,fd7a:115c:a1e0::/64");
    w.model.segments[1].addresses = world_prefixes(&w, "100.64.7.0/24");
    w.model.segments[2].addresses = world_prefixes(&w, "100.64.7.128/25,203.0.113.0/24");
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_string_equal(ask(view, "100.64.200.1", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(view, "100.64.0.3", "grafana.home.example"), "nobody");
    assert_string_equal(ask(view, "fd7a:115c:a1e0::3", "grafana.home.example"), "nobody");
    assert_string_equal(ask(view, "fd7a:115c:a1e0::4", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(view, "100.64.7.1", "grafana.home.example"), "nobody");
    assert_string_equal(ask(view, "100.64.7.200", "grafana.home.example"), "nobody");
    assert_string_equal(ask(view, "203.0.113.5", "grafana.home.example"), "nobody");
    uint32_t n_prefixes = image_count(view, IMAGE_PREFIXES);
    assert_int_equal(n_prefixes, 4); /* what lies outside of the guests' prefixes is not told */
    assert_text(view, image_principal(view, who(view, "100.64.200.1"))->segment, "clients");
    assert_int_equal(image_principal(view, who(view, "100.64.200.1"))->host.length, 0);
    assert_text(view, image_principal(view, who(view, "100.64.0.11"))->host, "iphone");
    struct image agents = world_attach(out.views[AGENTS], IMAGE_VIEW);
    assert_string_equal(ask(agents, "100.64.7.200", "registry.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "100.64.7.100", "registry.home.example"), "nobody");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_prefix_is_of_one_family(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.segments[0].addresses = world_prefixes(&w, "::/0");
    w.model.segments[2].addresses = world_prefixes(&w, "0.0.0.0/0");
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW), agents = world_attach(out.views[AGENTS], IMAGE_VIEW);
    assert_string_equal(ask(view, "2001:db8::1", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(view, "203.0.113.5", "grafana.home.example"), "nobody");
    assert_string_equal(ask(view, "::ffff:203.0.113.5", "grafana.home.example"), "nobody");
    assert_string_equal(ask(agents, "203.0.113.5", "registry.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "2001:db8::1", "registry.home.example"), "nobody");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_service_kept_to_some_surfaces_is_on_no_other(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.services[world_find_service(&w, "whisper")].surfaces = world_surfaces(&w, "agents");
    world_grant(&w, 50, "ai", "whisper", "main,agents");
    world_compile(&w, "roc", &out);
    struct image main_view = world_attach(out.views[MAIN], IMAGE_VIEW), agents = world_attach(out.views[AGENTS], IMAGE_VIEW);
    assert_string_equal(ask(main_view, "100.64.0.13", "whisper.home.example"), "404");
    assert_false(mentions(&out.views[MAIN], "whisper"));
    assert_string_equal(ask(main_view, "100.64.0.3", "whisper.home.example"), "nobody");
    assert_string_equal(ask(agents, "100.64.0.3", "whisper.home.example"), "postern.yml:50");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_star_means_no_direct_and_no_internal_service(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    assert_false(mentions(&out.views[MAIN], "luanti"));
    assert_false(mentions(&out.views[MAIN], "notes-db"));
    assert_false(mentions(&out.dial, "luanti"));
    assert_false(mentions(&out.dial, "notes-db"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_extra_names_and_names_of_instances(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.services[world_find_service(&w, "grafana")].names = world_texts(&w, "graphs.example.org,grafana.home.example");
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_string_equal(ask(view, "100.64.0.13", "graphs.example.org"), "postern.yml:40");
    assert_string_equal(ask(view, "100.64.0.13", "graphs-roc.example.org"), "404");
    const struct image_name_slot *any = image_find_name(view, STR("backrest.home.example"));
    const struct image_name_slot *one = image_find_name(view, STR("backrest-bluejay.home.example"));
    assert_int_equal(any->instance, IMAGE_NONE);
    assert_int_equal(one->service, any->service);
    assert_text(view, image_instance(view, one->instance)->name, "backrest@bluejay");
    /* roc's own comes first, though the declaration names bluejay first */
    assert_text(view, image_instance(view, image_service(view, any->service)->first_instance)->name, "backrest@roc");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_nothing_granted_is_an_empty_view(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.n_grants = 0;
    world_compile(&w, "roc", &out);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_string_equal(ask(view, "100.64.0.13", "grafana.home.example"), "nobody");
    assert_null(image_find_name(view, STR("grafana.home.example")));
    assert_int_equal(image_count(view, IMAGE_SERVICES), 0);
    assert_int_equal(image_count(world_attach(out.dial, IMAGE_DIAL), IMAGE_TARGETS), 0);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_grant_that_names_nothing_yet_still_makes_a_guest(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.n_grants = 0;
    world_grant(&w, 60, "robin", "later-*", "agents");
    world_compile(&w, "roc", &out);
    assert_string_equal(ask(world_attach(out.views[AGENTS], IMAGE_VIEW), "100.64.0.3", "registry.home.example"), "404");
    compile_output_deinit(&out);
    world_deinit(&w);
}

/* ---- limits and refusals ---- */

static void test_sixty_four_surfaces(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    struct error err = { "" };
    world_init(&w);
    world_segment(&w, "all", "10.0.0.0/8");
    world_gateway(&w, "gate", "all", "10.0.0.1");
    world_service(&w, "app", "gate", 80);
    for (uint32_t i = 0; i < IMAGE_SURFACES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        world_surface(&w, name, (uint16_t)(1000 + i));
    }
    world_grant(&w, 9, "all", "app", "s0,s63");
    world_compile(&w, "gate", &out);
    assert_true(target_of(world_attach(out.dial, IMAGE_DIAL), "app@gate")->surfaces == ((UINT64_C(1) << 63) | 1));
    assert_string_equal(ask(world_attach(out.views[63], IMAGE_VIEW), "10.1.2.3", "app.home.example"), "postern.yml:9");
    assert_string_equal(ask(world_attach(out.views[62], IMAGE_VIEW), "10.1.2.3", "app.home.example"), "nobody");
    compile_output_deinit(&out);
    world_surface(&w, "too-many", 2000);
    struct compile_input input = { .model = &w.model, .gateway = 0 };
    assert_int_equal(compile_model(&input, &out, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than 64 surfaces"));
    world_deinit(&w);
}

static void expect_refusal(struct world *w, uint32_t gateway, const char *why)
{
    struct compile_output untouched = { .n_views = 77 };
    struct error err = { "" };
    struct compile_input input = { .model = &w->model, .gateway = gateway };
    assert_int_equal(compile_model(&input, &untouched, &err), -EINVAL);
    if (!strstr(err.text, why))
        fail_msg("expected '%s' in '%s'", why, err.text);
    assert_int_equal(untouched.n_views, 77);
    world_deinit(w);
    world_homelab(w);
}

static void test_what_cannot_be_served_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    expect_refusal(&w, 99, "no host of the declaration");
    expect_refusal(&w, 2, "host robin is no gateway");
    w.model.hosts[3].addresses = world_prefixes(&w, "100.64.0.13");
    expect_refusal(&w, 0, "address 100.64.0.13 belongs to two hosts");
    w.model.segments[0].addresses = world_prefixes(&w, "10.0.0.0/8");
    w.model.segments[1].addresses = world_prefixes(&w, "10.0.0.0/8");
    world_grant(&w, 60, "prod", "*", "main");
    expect_refusal(&w, 0, "10.0.0.0/8 belong to two segments");
    world_service(&w, "backrest-roc", "roc", 1);
    expect_refusal(&w, 0, "backrest-roc.home.example stands for services backrest and backrest-roc");
    w.model.surfaces[AGENTS].port = 443;
    expect_refusal(&w, 0, "port 443 of 100.64.0.1, which is taken by surface main");
    w.model.hosts[0].addresses.n = 0;
    expect_refusal(&w, 0, "gateway roc has no address to listen on");
    w.model.services[0].place.text = STR("../../etc");
    expect_refusal(&w, 0, "is no container's name");
    w.model.services[0].place.text = STR("..");
    expect_refusal(&w, 0, "is no container's name");
    w.model.services[0].where = MODEL_WHERE_UNIX;
    w.model.services[0].place.text =
        STR("/a-path-that-is-longer-than-the-one-hundred-and-seven-bytes-that-a-socket-address-has-room-for-so-it-cannot-be-dialled");
    expect_refusal(&w, 0, "is no path of a socket");
    w.model.services[0].where = MODEL_WHERE_NETNS;
    w.model.services[0].place.text = STR("run/netns/x");
    expect_refusal(&w, 0, "is no absolute path of a network namespace");
    world_deinit(&w);
}

static void test_equal_input_gives_equal_bytes(void **state)
{
    (void)state;
    struct world w;
    struct compile_output a, b;
    world_homelab(&w);
    world_compile(&w, "roc", &a);
    world_compile(&w, "roc", &b);
    assert_int_equal(a.views[MAIN].size, b.views[MAIN].size);
    assert_memory_equal(a.views[MAIN].data, b.views[MAIN].data, a.views[MAIN].size);
    assert_memory_equal(a.dial.data, b.dial.data, a.dial.size);
    assert_memory_equal(a.plan.data, b.plan.data, a.plan.size);
    assert_memory_equal(a.keys.data, b.keys.data, a.keys.size);
    compile_output_deinit(&a);
    compile_output_deinit(&b);
    world_deinit(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_homelab_verdicts),
    cmocka_unit_test(test_a_hijacked_agents_worker_finds_no_other_name_in_its_view),
    cmocka_unit_test(test_the_first_grant_in_the_file_is_the_rule),
    cmocka_unit_test(test_hosts_with_equal_verdicts_share_a_row),
    cmocka_unit_test(test_a_prefix_of_guests_does_not_let_in_others_that_lie_in_it),
    cmocka_unit_test(test_a_prefix_is_of_one_family),
    cmocka_unit_test(test_a_service_kept_to_some_surfaces_is_on_no_other),
    cmocka_unit_test(test_a_star_means_no_direct_and_no_internal_service),
    cmocka_unit_test(test_extra_names_and_names_of_instances),
    cmocka_unit_test(test_nothing_granted_is_an_empty_view),
    cmocka_unit_test(test_a_grant_that_names_nothing_yet_still_makes_a_guest),
    cmocka_unit_test(test_sixty_four_surfaces),
    cmocka_unit_test(test_what_cannot_be_served_is_refused_with_the_reason),
    cmocka_unit_test(test_equal_input_gives_equal_bytes),
};

int main(void)
{
    return cmocka_run_group_tests_name("compile", tests, NULL, NULL);
}
