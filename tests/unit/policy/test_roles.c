/* What the other roles are told: the broker's targets, the authorities of instances, the parent's plan, the keeper's certificates. */
#include "asking.h"

#include <errno.h>
#include <stdio.h>

/* ---- the dial block ---- */

static void assert_addresses(const struct image_target *t, const char *expected)
{
    char all[512] = "", text[ADDRESS_TEXT_SIZE];
    for (uint32_t i = 0; i < t->n_addresses; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? "," : "", address_format(&t->addresses[i], text));
    assert_string_equal(all, expected);
}

static void test_only_surfaces_that_may_are_told_to_the_broker(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    struct image dial = world_attach(out.dial, IMAGE_DIAL);
    assert_int_equal(target_of(dial, "grafana@roc")->surfaces, 1 << MAIN);
    assert_int_equal(target_of(dial, "registry@roc")->surfaces, 1 << MAIN | 1 << AGENTS);
    w.model.grants[0].n_to = 0; /* clients get nothing: grafana is nobody's */
    compile_output_deinit(&out);
    world_compile(&w, "roc", &out);
    assert_false(mentions(&out.dial, "grafana"));
    assert_int_equal(target_of(world_attach(out.dial, IMAGE_DIAL), "registry@roc")->surfaces, 1 << AGENTS);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_where_instances_are(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    struct error err = { "" };
    world_homelab(&w);
    struct model_service *s = world_service(&w, "socket", "roc", 0);
    s->where = MODEL_WHERE_UNIX;
    s->place.text = STR("/run/app.sock");
    s = world_service(&w, "far-socket", "bluejay", 0);
    s->where = MODEL_WHERE_UNIX;
    s->place.text = STR("/run/app.sock");
    s = world_service(&w, "space", "roc", 81);
    s->where = MODEL_WHERE_NETNS;
    s->place.text = STR("/run/netns/space");
    s->loopback = true;
    s = world_service(&w, "numbered", "roc", 82);
    s->where = MODEL_WHERE_NETNS;
    s->place.text = STR("/run/netns/numbered");
    s->addresses = world_prefixes(&w, "10.0.0.2");
    world_service(&w, "local", "roc", 83)->loopback = true;
    world_service(&w, "own", "roc", 84);
    world_service(&w, "elsewhere", "robin", 85)->loopback = true;
    s = world_service(&w, "nas", "robin", 86);
    s->addresses = world_prefixes(&w, "192.168.1.50,2001:db8::1,10.1.1.1,10.1.1.2,10.1.1.3");
    world_service(&w, "their-own", "bluejay", 87)->addresses = world_prefixes(&w, "127.0.0.1,::1");
    world_service(&w, "partly-own", "bluejay", 88)->addresses = world_prefixes(&w, "127.0.0.1,192.168.1.60");
    world_service(&w, "partly-ours", "roc", 89)->addresses = world_prefixes(&w, "127.0.0.1,192.168.1.61");
    struct compile_input input = { .model = &w.model, .gateway = 0, .container_directory = STR("/run/lab") };
    assert_int_equal(compile_model(&input, &out, &err), 0);
    struct image dial = world_attach(out.dial, IMAGE_DIAL);
    const struct image_target *t = target_of(dial, "grafana@roc");
    assert_int_equal(t->kind, IMAGE_TARGET_NETNS);
    assert_text(dial, t->path, "/run/lab/grafana");
    assert_addresses(t, "");
    char text[ADDRESS_TEXT_SIZE];
    assert_string_equal(address_format(&t->sources[0], text), "100.64.0.1");
    assert_string_equal(address_format(&t->sources[1], text), "fd7a:115c:a1e0::1");
    t = target_of(dial, "backrest@bluejay");
    assert_int_equal(t->kind, IMAGE_TARGET_UNRESOLVED);
    assert_text(dial, t->path, "is on bluejay");
    assert_int_equal(target_of(dial, "backrest@roc") - image_target(dial, 0) + 1, t - image_target(dial, 0));
    t = target_of(dial, "whisper@robin");
    assert_int_equal(t->kind, IMAGE_TARGET_ADDRESS);
    assert_addresses(t, "100.64.0.3,fd7a:115c:a1e0::3");
    assert_int_equal(t->port, 9000);
    t = target_of(dial, "socket@roc");
    assert_int_equal(t->kind, IMAGE_TARGET_UNIX);
    assert_text(dial, t->path, "/run/app.sock");
    assert_int_equal(target_of(dial, "far-socket@bluejay")->kind, IMAGE_TARGET_UNRESOLVED);
    assert_addresses(target_of(dial, "space@roc"), "127.0.0.1,::1");
    assert_addresses(target_of(dial, "numbered@roc"), "10.0.0.2");
    assert_addresses(target_of(dial, "local@roc"), "127.0.0.1,::1");
    assert_addresses(target_of(dial, "own@roc"), "100.64.0.1,fd7a:115c:a1e0::1");
    assert_text(dial, target_of(dial, "elsewhere@robin")->path, "is on the loopback of robin");
    assert_addresses(target_of(dial, "nas@robin"), "192.168.1.50,2001:db8::1,10.1.1.1,10.1.1.2");
    /* Or the gateway would take what listens on its own loopback for bluejay's. */
    assert_text(dial, target_of(dial, "their-own@bluejay")->path, "is on the loopback of bluejay");
    assert_int_equal(target_of(dial, "their-own@bluejay")->kind, IMAGE_TARGET_UNRESOLVED);
    assert_addresses(target_of(dial, "partly-own@bluejay"), "192.168.1.60");
    assert_addresses(target_of(dial, "partly-ours@roc"), "127.0.0.1,192.168.1.61");
    compile_output_deinit(&out);
    input.container_directory = STR_NONE;
    assert_int_equal(compile_model(&input, &out, &err), 0);
    dial = world_attach(out.dial, IMAGE_DIAL);
    assert_int_equal(target_of(dial, "grafana@roc")->kind, IMAGE_TARGET_CONTAINER);
    assert_text(dial, target_of(dial, "grafana@roc")->path, "grafana");
    assert_int_equal(target_of(dial, "grafana@roc")->container, image_container_number(STR("grafana")));
    compile_output_deinit(&out);
    world_deinit(&w);
}

/* Nothing that nobody may reach, nothing of another host, each container once; and what the engine is asked for is all that it says. */
static void test_the_docker_role_is_told_the_containers_that_are_dialled_here_and_no_others(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    struct error err;
    struct compile_input input = { .model = &w.model, .gateway = 0, .container_directory = STR("/run/lab") };
    assert_int_equal(compile_model(&input, &out, &err), 0);
    assert_null(out.docker.data); /* with a directory of namespaces no engine is asked */
    compile_output_deinit(&out);
    input.container_directory = STR_NONE;
    assert_int_equal(compile_model(&input, &out, &err), 0);
    struct image dial = world_attach(out.dial, IMAGE_DIAL), docker = world_attach(out.docker, IMAGE_DOCKER);
    uint32_t n_dialled = 0;
    for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++) {
        const struct image_target *target = image_target(dial, i);
        if (target->kind != IMAGE_TARGET_CONTAINER)
            continue;
        uint32_t found = image_find_container(docker, target->container);
        assert_int_not_equal(found, IMAGE_NONE);
        assert_true(str_equal(image_str(docker, image_container(docker, found)->reference), image_str(dial, target->path)));
        assert_true(image_container(docker, found)->flags & IMAGE_CONTAINER_DIALLED);
        n_dialled++;
    }
    assert_true(n_dialled > 0);
    for (uint32_t i = 0; i < image_count(docker, IMAGE_CONTAINERS); i++)
        assert_int_equal(image_find_container(docker, image_container(docker, i)->number), i);
    assert_int_equal(image_find_container(docker, 0), IMAGE_NONE);
    assert_int_equal(image_find_container(docker, UINT64_MAX), IMAGE_NONE);
    assert_false(mentions(&out.docker, "bluejay"));
    assert_false(mentions(&out.docker, "home.example"));
    assert_text(docker, image_engine(docker, 0)->socket, "/run/docker.sock");
    compile_output_deinit(&out);
    world_deinit(&w);
}

/* How an instance would be dialled after the change, as a number. */
static uint64_t identity_of(struct world *w, const char *name)
{
    struct compile_output out;
    world_compile(w, "roc", &out);
    uint64_t identity = target_of(world_attach(out.dial, IMAGE_DIAL), name)->identity;
    compile_output_deinit(&out);
    return identity;
}

static void test_identity_changes_with_how_it_is_dialled_and_with_nothing_else(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    struct model_service *s = &w.model.services[world_find_service(&w, "whisper")];
    uint64_t before = identity_of(&w, "whisper@robin");
    world_service(&w, "aaa-new", "roc", 1234);
    world_grant(&w, 60, "robin", "whisper", "agents");
    assert_true(identity_of(&w, "whisper@robin") == before);
    s->port++;
    assert_true(identity_of(&w, "whisper@robin") != before);
    s->port--;
    s->protocol = MODEL_PROTOCOL_H2C;
    assert_true(identity_of(&w, "whisper@robin") != before);
    s->protocol = MODEL_PROTOCOL_HTTPS;
    uint64_t https = identity_of(&w, "whisper@robin");
    assert_true(https != before);
    s->tls_name = STR("other.example");
    assert_true(identity_of(&w, "whisper@robin") != https);
    s->tls_name = STR_NONE;
    s->tls_pin = STR("AAAA");
    assert_true(identity_of(&w, "whisper@robin") != https);
    s->tls_pin = STR_NONE;
    s->tls_insecure = true;
    assert_true(identity_of(&w, "whisper@robin") != https);
    s->tls_insecure = false;
    assert_true(identity_of(&w, "whisper@robin") == https);
    w.model.hosts[world_find_host(&w, "robin")].addresses = world_prefixes(&w, "100.64.0.33");
    assert_true(identity_of(&w, "whisper@robin") != https);
    world_deinit(&w);
}

/* ---- certificate authorities of instances ---- */

struct authorities {
    unsigned n_read;
    bool is_broken;
};

static int read_authorities(void *context, struct str path, struct str *ret_pem, struct error *err)
{
    struct authorities *a = context;
    a->n_read++;
    if (a->is_broken) {
        error_set(err, "no such file");
        return -1;
    }
    *ret_pem = path.len ? STR("PEM of the file") : STR("PEM of the system");
    return 0;
}

static const struct image_service *service_of(struct image view, const char *name)
{
    const struct image_name_slot *slot = image_find_name(view, str_of(name));
    assert_non_null(slot);
    return image_service(view, slot->service);
}

static void assert_authorities(struct image view, const char *name, const char *expected)
{
    const struct image_service *s = service_of(view, name);
    struct str pem = str_make((const char *)image_section(view, IMAGE_BLOBS) + s->tls_ca_offset, s->tls_ca_length);
    assert_true(str_equal(pem, str_of(expected)));
}

static void test_authorities_are_read_once_and_only_where_they_count(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    struct error err = { "" };
    struct authorities authorities = { 0 };
    struct model_service *s;
    world_homelab(&w);
    static const char *const names[] = { "one", "two", "three", "four", "five" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        s = world_service(&w, names[i], "robin", (uint16_t)(7000 + i));
        s->protocol = MODEL_PROTOCOL_HTTPS;
    }
    s[0].tls_pin = STR("AAAA"); /* five: the pin alone */
    s[-1].tls_insecure = true;
    s[-2].tls_ca_file = STR("/etc/ca.pem");
    s[-2].tls_pin = STR("BBBB");
    struct compile_input input = { .model = &w.model, .gateway = 0, .read_ca = read_authorities, .context = &authorities };
    assert_int_equal(compile_model(&input, &out, &err), 0);
    assert_int_equal(authorities.n_read, 2);
    struct image view = world_attach(out.views[MAIN], IMAGE_VIEW);
    assert_authorities(view, "one.home.example", "PEM of the system");
    assert_authorities(view, "two.home.example", "PEM of the system");
    assert_authorities(view, "three.home.example", "PEM of the file");
    assert_authorities(view, "four.home.example", "");
    assert_authorities(view, "five.home.example", "");
    assert_int_equal(image_count(view, IMAGE_BLOBS), strlen("PEM of the system") + strlen("PEM of the file"));
    assert_text(view, service_of(view, "one.home.example")->tls_name, "one.home.example");
    assert_int_equal(service_of(view, "four.home.example")->flags, IMAGE_SERVICE_TLS_INSECURE);
    assert_int_equal(world_attach(out.views[AGENTS], IMAGE_VIEW).header->sections[IMAGE_BLOBS].count, 0);
    compile_output_deinit(&out);
    authorities.is_broken = true;
    assert_int_equal(compile_model(&input, &out, &err), -EINVAL);
    assert_non_null(strstr(err.text, "certificate authorities of service one: no such file"));
    world_deinit(&w);
}

/* ---- plan and keys ---- */

static void test_plan_listens_on_the_mesh_addresses(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.surfaces[MAIN].redirect_port = 80;
    w.model.surfaces[AGENTS].addresses = world_prefixes(&w, "10.0.0.1");
    w.model.log_to = MODEL_LOG_FILE;
    w.model.log_file = STR("/var/log/postern.log");
    world_compile(&w, "roc", &out);
    struct image plan = world_attach(out.plan, IMAGE_PLAN);
    static const struct {
        const char *address;
        uint16_t port;
        uint32_t kind, surface;
    } expected[] = {
        { "100.64.0.1", 443, IMAGE_LISTENER_TLS, MAIN },
        { "100.64.0.1", 80, IMAGE_LISTENER_REDIRECT, MAIN },
        { "fd7a:115c:a1e0::1", 443, IMAGE_LISTENER_TLS, MAIN },
        { "fd7a:115c:a1e0::1", 80, IMAGE_LISTENER_REDIRECT, MAIN },
        { "10.0.0.1", 8443, IMAGE_LISTENER_TLS, AGENTS },
    };
    assert_int_equal(image_count(plan, IMAGE_LISTENERS), ARRAY_SIZE(expected));
    for (uint32_t i = 0; i < ARRAY_SIZE(expected); i++) {
        const struct image_listener *l = image_listener(plan, i);
        char text[ADDRESS_TEXT_SIZE];
        assert_string_equal(address_format(&l->address, text), expected[i].address);
        assert_int_equal(l->port, expected[i].port);
        assert_int_equal(l->kind, expected[i].kind);
        assert_int_equal(l->surface, expected[i].surface);
    }
    assert_text(plan, image_settings(plan, 0)->host, "roc");
    assert_text(plan, image_settings(plan, 0)->log_file, "/var/log/postern.log");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_gateway_knows_nothing_of_surfaces_that_it_does_not_serve(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.surfaces[AGENTS].hosts.n = 1; /* roc only */
    world_compile(&w, "bluejay", &out);
    assert_non_null(out.views[MAIN].data);
    assert_null(out.views[AGENTS].data);
    assert_int_equal(out.n_views, 2);
    assert_int_equal(image_count(world_attach(out.plan, IMAGE_PLAN), IMAGE_LISTENERS), 2);
    assert_int_equal(image_surface(world_attach(out.keys, IMAGE_KEYS), AGENTS)->n_certificates, 0);
    assert_int_equal(target_of(world_attach(out.dial, IMAGE_DIAL), "registry@roc")->surfaces, 1 << MAIN);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_certificates_that_a_surface_needs(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.services[world_find_service(&w, "grafana")].names =
        world_texts(&w, "graphs.example.org,g.home.example,a.b.home.example,home.example,graphs.example.org");
    w.model.services[world_find_service(&w, "notes-db")].names = world_texts(&w, "secret.example.org");
    w.model.tls.source = MODEL_TLS_FILES;
    w.model.tls.certificate_file = STR("/etc/cert.pem");
    w.model.tls.key_file = STR("/etc/key.pem");
    world_compile(&w, "roc", &out);
    struct image keys = world_attach(out.keys, IMAGE_KEYS);
    const struct image_surface *s = image_surface(keys, MAIN);
    assert_int_equal(s->n_certificates, 3);
    assert_text(keys, image_certificate(keys, s->first_certificate)->name, "*.home.example");
    assert_text(keys, image_certificate(keys, s->first_certificate + 1)->name, "graphs.example.org");
    assert_text(keys, image_certificate(keys, s->first_certificate + 2)->name, "a.b.home.example");
    assert_int_equal(image_certificate(keys, s->first_certificate)->source, IMAGE_CERTIFICATE_FILES);
    assert_text(keys, image_certificate(keys, s->first_certificate)->key_file, "/etc/key.pem");
    assert_int_equal(image_surface(keys, AGENTS)->n_certificates, 1);
    assert_false(mentions(&out.keys, "secret.example.org"));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_only_surfaces_that_may_are_told_to_the_broker),
    cmocka_unit_test(test_where_instances_are),
    cmocka_unit_test(test_the_docker_role_is_told_the_containers_that_are_dialled_here_and_no_others),
    cmocka_unit_test(test_identity_changes_with_how_it_is_dialled_and_with_nothing_else),
    cmocka_unit_test(test_authorities_are_read_once_and_only_where_they_count),
    cmocka_unit_test(test_plan_listens_on_the_mesh_addresses),
    cmocka_unit_test(test_a_gateway_knows_nothing_of_surfaces_that_it_does_not_serve),
    cmocka_unit_test(test_certificates_that_a_surface_needs),
};

int main(void)
{
    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
