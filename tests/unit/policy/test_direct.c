/* Direct ports of containers: what the relay's view, the broker's table and the plan say of them, and that nobody else is told. */
#include "asking.h"

#include "exercise_image.h"

static void compile_on_bluejay(struct world *w, struct compile_output *out)
{
    world_homelab(w);
    struct model_service *luanti = &w->model.services[world_find_service(w, "luanti")];
    luanti->where = MODEL_WHERE_CONTAINER;
    luanti->place.text = STR("luanti");
    struct model_service *ssh = &w->model.services[world_find_service(w, "notes-db")];
    ssh->kind = MODEL_KIND_DIRECT; /* on roc: not relayed on bluejay, and nobody is granted it */
    ssh->where = MODEL_WHERE_CONTAINER;
    ssh->place.text = STR("notes");
    world_compile(w, "bluejay", out);
}

static void test_the_relay_is_told_of_its_ports_and_their_guests_only(void **state)
{
    (void)state;
    static const char *const others[] = { "grafana", "registry", "notes-db", "robin", "kobo", "postern.yml:40" };
    struct world w;
    struct compile_output out;
    compile_on_bluejay(&w, &out);
    struct image view = world_attach(out.views[IMAGE_SURFACE_DIRECT], IMAGE_VIEW);
    assert_true(exercise_block(out.views[IMAGE_SURFACE_DIRECT].data, out.views[IMAGE_SURFACE_DIRECT].size, IMAGE_VIEW));
    assert_int_equal(image_surface(view, 0)->index, IMAGE_SURFACE_DIRECT);
    assert_string_equal(ask(view, "100.64.0.13", "udp/30000"), "postern.yml:42");
    assert_string_equal(ask(view, "fd7a:115c:a1e0::11", "udp/30000"), "postern.yml:42");
    assert_string_equal(ask(view, "100.64.0.13", "tcp/30000"), "404");
    assert_string_equal(ask(view, "100.64.0.12", "udp/30000"), "nobody");
    assert_string_equal(ask(view, "192.0.2.1", "udp/30000"), "nobody");
    assert_int_equal(image_count(view, IMAGE_SERVICES), 1);
    assert_int_equal(image_service(view, 0)->protocol, IMAGE_PROTOCOL_UDP);
    assert_int_equal(image_service(view, 0)->n_instances, 1);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(mentions(&out.views[IMAGE_SURFACE_DIRECT], others[i]));
    for (uint32_t i = 0; i < out.n_views; i++)
        assert_false(out.views[i].data && mentions(&out.views[i], "luanti"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_the_target_of_a_direct_port_is_no_surface_s(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    compile_on_bluejay(&w, &out);
    struct image dial = world_attach(out.dial, IMAGE_DIAL), view = world_attach(out.views[IMAGE_SURFACE_DIRECT], IMAGE_VIEW);
    const struct image_target *target = target_of(dial, "luanti@bluejay");
    assert_int_equal(target->direct, IMAGE_DIRECT_UDP);
    assert_true(target->surfaces == 0);
    assert_int_equal(target->port, 30000);
    assert_ptr_equal(image_target(dial, image_instance(view, 0)->target), target);
    assert_true(image_instance(view, 0)->identity == target->identity);
    for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++)
        assert_true(image_target(dial, i) == target || image_target(dial, i)->direct == IMAGE_DIRECT_NOT);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_the_gateway_listens_for_it_on_its_mesh_addresses(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    compile_on_bluejay(&w, &out);
    struct image plan = world_attach(out.plan, IMAGE_PLAN);
    uint32_t n = 0;
    for (uint32_t i = 0; i < image_count(plan, IMAGE_LISTENERS); i++) {
        const struct image_listener *l = image_listener(plan, i);
        if (l->surface != IMAGE_SURFACE_DIRECT)
            continue;
        assert_int_equal(l->kind, IMAGE_LISTENER_DIRECT_UDP);
        assert_int_equal(l->port, 30000);
        assert_true(address_equal(&l->address, &w.model.hosts[world_find_host(&w, "bluejay")].addresses.items[n].address));
        n++;
    }
    assert_int_equal(n, w.model.hosts[world_find_host(&w, "bluejay")].addresses.n);
    compile_output_deinit(&out);
    world_compile(&w, "roc", &out);
    assert_null(out.views[IMAGE_SURFACE_DIRECT].data);
    assert_false(mentions(&out.dial, "luanti"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_port_of_the_host_itself_or_granted_to_nobody_is_not_relayed(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    compile_on_bluejay(&w, &out);
    compile_output_deinit(&out);
    struct model_service *luanti = &w.model.services[world_find_service(&w, "luanti")];
    luanti->where = MODEL_WHERE_HOST;
    world_compile(&w, "bluejay", &out);
    assert_null(out.views[IMAGE_SURFACE_DIRECT].data);
    compile_output_deinit(&out);
    luanti->where = MODEL_WHERE_CONTAINER;
    w.model.n_grants = 2;
    world_compile(&w, "bluejay", &out);
    assert_null(out.views[IMAGE_SURFACE_DIRECT].data);
    assert_false(mentions(&out.dial, "luanti"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_relay_is_told_of_its_ports_and_their_guests_only),
        cmocka_unit_test(test_the_target_of_a_direct_port_is_no_surface_s),
        cmocka_unit_test(test_the_gateway_listens_for_it_on_its_mesh_addresses),
        cmocka_unit_test(test_a_port_of_the_host_itself_or_granted_to_nobody_is_not_relayed),
    };
    return cmocka_run_group_tests_name("direct", tests, NULL, NULL);
}
