/* Containers out of list and inspect answers, old and new, whole and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/buf.h"
#include "docker/container.h"

#define ID_A "63001d8afbf1621c02ffc50405bba2a18c56838fb73afbe941bc5e599e5073f8"
#define ID_B "871930ff7bece975d12f231757f044b625db90ea4f1c334b6fcf162c58afe910"

#define assert_text(s, text) assert_string_equal((s).ptr, (text))

static struct docker_containers list(struct arena *arena, const char *json)
{
    struct docker_containers found = { 0 };
    struct error err = { "" };
    int r = docker_containers_parse(str_of(json), arena, &found, &err);
    if (r < 0)
        fail_msg("%d: %s", r, err.text);
    return found;
}

static struct docker_container inspect(struct arena *arena, const char *json)
{
    struct docker_container found = { 0 };
    struct error err = { "" };
    int r = docker_container_parse(str_of(json), arena, &found, &err);
    if (r < 0)
        fail_msg("%d: %s", r, err.text);
    return found;
}

static int set_up(void **state)
{
    struct arena *arena = calloc(1, sizeof *arena);
    arena_init(arena, 32 << 20);
    *state = arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_deinit(*state);
    free(*state);
    return 0;
}

/* ---- list ---- */

static void test_a_list_says_names_networks_ports_and_labels(void **state)
{
    struct docker_containers found = list(*state, "[{\"Id\":\"" ID_A "\",\"Names\":[\"/other/alias\",\"/web\"],\"Image\":\"i\",\"ImageID\":\"sha256:1\","
        "\"Ports\":[{\"IP\":\"::\",\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"udp\"},{\"PrivatePort\":99,\"Type\":\"tcp\"},"
        "{\"IP\":\"127.0.0.1\",\"PrivatePort\":81,\"PublicPort\":81,\"Type\":\"tcp\"}],"
        "\"Labels\":{\"com.docker.compose.project\":\"p\",\"com.docker.compose.service\":\"s\",\"com.docker.compose.container-number\":\"2\",\"a\":\"\"},"
        "\"State\":\"running\",\"HostConfig\":{\"NetworkMode\":\"p_default\"},"
        "\"NetworkSettings\":{\"Networks\":{\"p_default\":{\"NetworkID\":\"n\",\"EndpointID\":\"e\",\"Gateway\":\"10.0.0.1\",\"IPAddress\":\"10.0.0.2\","
        "\"IPPrefixLen\":28,\"IPv6Gateway\":\"\",\"GlobalIPv6Address\":\"fd00::2\",\"GlobalIPv6PrefixLen\":64}}},"
        "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/a\",\"Destination\":\"/b\",\"RW\":true}]}]");
    assert_int_equal(found.n, 1);
    const struct docker_container *c = &found.items[0];
    char text[ADDRESS_TEXT_SIZE];
    assert_text(c->name, "web");
    assert_text(c->image_id, "sha256:1");
    assert_text(c->project, "p");
    assert_text(c->service, "s");
    assert_int_equal(c->number, 2);
    assert_true(c->is_running && !c->is_inspected && !c->is_oneoff);
    assert_int_equal(c->network_mode, DOCKER_NETWORKS);
    assert_int_equal(c->n_endpoints, 1);
    assert_text(c->endpoints[0].network, "p_default");
    assert_true(c->endpoints[0].has_v4 && c->endpoints[0].has_v6);
    assert_string_equal(address_format(&c->endpoints[0].v4, text), "10.0.0.2");
    assert_int_equal(c->endpoints[0].v4_bits, 124);
    assert_string_equal(address_format(&c->endpoints[0].gateway_v4, text), "10.0.0.1");
    assert_int_equal(c->endpoints[0].v6_bits, 64);
    assert_int_equal(c->n_ports, 3);
    assert_int_equal(c->ports[0].port, 81);
    assert_true(c->ports[0].is_published && !c->ports[1].is_published);
    assert_int_equal(c->ports[1].port, 99);
    assert_int_equal(c->ports[2].protocol, IPPROTO_UDP);
    assert_int_equal(c->ports[2].host_port, 8080);
    assert_int_equal(c->n_mounts, 1);
    assert_true(c->mounts[0].is_writable);
    struct str empty = docker_container_label(c, STR("a"));
    assert_true(empty.ptr && empty.len == 0);
    assert_null(docker_container_label(c, STR("b")).ptr);
}

static void test_fields_that_are_unknown_missing_or_of_another_kind_do_no_harm(void **state)
{
    struct docker_containers found = list(*state, "[{\"Id\":\"" ID_A "\"},{\"Id\":\"" ID_B "\",\"Names\":{\"x\":1},\"Ports\":[1,{},{\"PrivatePort\":70000,"
        "\"Type\":\"tcp\"},{\"PrivatePort\":1,\"Type\":\"dccp\"}],\"Labels\":[\"a\"],\"State\":{\"Running\":true},\"HostConfig\":7,\"NetworkSettings\":"
        "{\"Networks\":{\"n\":3,\"m\":{\"IPAddress\":\"::1\",\"GlobalIPv6Address\":\"10.0.0.1\",\"IPPrefixLen\":-1}}},\"Mounts\":{},\"Health\":{\"a\":[]}}]");
    assert_int_equal(found.n, 2);
    assert_text(found.items[0].name, "");
    assert_int_equal(found.items[1].n_ports, 0);
    assert_int_equal(found.items[1].n_labels, 0);
    assert_int_equal(found.items[1].state, DOCKER_STATE_UNKNOWN);
    assert_int_equal(found.items[1].n_endpoints, 2);
    assert_false(found.items[1].endpoints[0].has_v4 || found.items[1].endpoints[0].has_v6);
}

static void test_what_is_no_list_of_containers_is_refused(void **state)
{
    static const char *const bad[] = { "", "{}", "null", "[1]", "[{}]", "[{\"Id\":\"short\"}]", "[{\"Id\":\"" ID_A "\"}", "\xff\xfe",
                                       "[{\"Id\":\"../../containers/x/json?a=................................................\"}]",
                                       "[{\"Id\":\"63001D8AFBF1621C02FFC50405BBA2A18C56838FB73AFBE941BC5E599E5073F8\"}]" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct docker_containers found = { .n = 7 };
        struct error err = { "" };
        assert_int_equal(docker_containers_parse(str_of(bad[i]), *state, &found, &err), -EINVAL);
        assert_int_equal(found.n, 7);
        assert_true(err.text[0]);
    }
}

static void test_one_image_with_a_hostile_label_hides_no_container(void **state)
{
    struct docker_containers found = list(*state, "[{\"Id\":\"" ID_A "\",\"Names\":[\"/a\"],\"Labels\":{"
        "\"x\":\"a\\u0000b\",\"esc\\u001b[2J\":\"v\",\"postern.service\":\"ok\"}},"
        "{\"Id\":\"" ID_B "\",\"Names\":[\"/b\"],\"Labels\":{\"com.docker.compose.project\":\"p/q\\n\",\"com.docker.compose.service\":\"s\","
        "\"com.docker.compose.container-number\":\"1\"}}]");
    assert_int_equal(found.n, 2);
    assert_text(found.items[1].name, "b");
    assert_text(docker_container_label(&found.items[0], STR("x")), "");
    assert_text(docker_container_label(&found.items[0], STR("postern.service")), "ok");
    assert_int_equal(found.items[0].n_labels, 2);
    assert_text(found.items[1].project, "");
}

static void test_a_dense_answer_is_refused_before_it_takes_the_memory(void **state)
{
    struct buf json;
    struct docker_containers found;
    struct error err = { "" };
    buf_init(&json, 32 << 20);
    buf_append_char(&json, '[');
    while (json.len < (15 << 20))
        buf_append(&json, STR("{},{},{},{},"));
    buf_append(&json, STR("{}]"));
    assert_int_equal(docker_containers_parse(buf_str(&json), *state, &found, &err), -E2BIG);
    buf_deinit(&json);
}

static void test_what_nests_without_end_is_refused(void **state)
{
    struct buf json;
    struct docker_containers found;
    struct error err = { "" };
    buf_init(&json, 1 << 20);
    for (int i = 0; i < 500000; i++)
        buf_append_char(&json, '[');
    assert_int_equal(docker_containers_parse(buf_str(&json), *state, &found, &err), -EINVAL);
    buf_deinit(&json);
}

static void test_a_full_arena_is_told(void **state)
{
    (void)state;
    struct arena small;
    struct docker_containers found;
    struct error err = { "" };
    arena_init(&small, 16);
    assert_int_equal(docker_containers_parse(STR("[{\"Id\":\"" ID_A "\",\"Names\":[\"/a\"]}]"), &small, &found, &err), -ENOMEM);
    arena_deinit(&small);
}

/* ---- inspect ---- */

static void test_inspect_says_whose_process_it_is_and_what_it_may(void **state)
{
    struct docker_container c = inspect(*state, "{\"Id\":\"" ID_A "\",\"Name\":\"/web\",\"Image\":\"sha256:2\",\"RestartCount\":3,"
        "\"State\":{\"Status\":\"running\",\"Running\":true,\"Pid\":4711,\"StartedAt\":\"2026-11-25T03:56:02.38527799Z\"},"
        "\"Config\":{\"Image\":\"i\",\"Hostname\":\"h\",\"User\":\"1000\",\"Labels\":{\"l\":\"v\"},\"ExposedPorts\":{\"80/tcp\":{},\"99/udp\":{}}},"
        "\"HostConfig\":{\"NetworkMode\":\"container:" ID_B "\",\"Privileged\":true,\"CapAdd\":[\"NET_ADMIN\",7],\"PidMode\":\"host\","
        "\"SecurityOpt\":null,\"ReadonlyRootfs\":true,\"RestartPolicy\":{\"Name\":\"always\"}},"
        "\"NetworkSettings\":{\"SandboxID\":\"b\",\"SandboxKey\":\"/run/docker/netns/b\",\"IPAddress\":\"9.9.9.9\","
        "\"Ports\":{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8080\"},{\"HostIp\":\"::\",\"HostPort\":\"8080\"}]},\"Networks\":{}}}");
    assert_true(c.is_inspected && c.is_running && c.is_privileged && c.is_read_only);
    assert_int_equal(c.pid, 4711);
    assert_text(c.started_at, "2026-11-25T03:56:02.38527799Z");
    assert_text(c.sandbox_key, "/run/docker/netns/b");
    assert_int_equal(c.network_mode, DOCKER_NETWORK_CONTAINER);
    assert_text(c.network_peer, ID_B);
    assert_int_equal(c.n_cap_add, 1);
    assert_text(c.cap_add[0], "NET_ADMIN");
    assert_text(c.pid_mode, "host");
    assert_text(c.restart_policy, "always");
    assert_int_equal(c.restart_count, 3);
    assert_int_equal(c.n_endpoints, 0); /* the address at the top is a field of old that says nothing about networks */
    assert_int_equal(c.n_ports, 3);
    assert_int_equal(c.ports[0].host_port, 8080);
    assert_int_equal(c.ports[2].port, 99);
    assert_false(c.ports[2].is_published);
}

static void test_a_stopped_container_says_what_it_would_publish(void **state)
{
    struct docker_container c = inspect(*state, "{\"Id\":\"" ID_A "\",\"State\":{\"Status\":\"exited\",\"Running\":false,\"Pid\":0},"
        "\"Config\":{\"ExposedPorts\":{\"80/tcp\":{},\"81/tcp\":{}}},\"HostConfig\":{\"PublishAllPorts\":true,"
        "\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000-8010\"}],\"90/sctp\":[{\"HostPort\":\"\"}]}}}");
    assert_false(c.is_running);
    assert_int_equal(c.n_ports, 3);
    assert_true(c.ports[0].is_range && c.ports[0].host_port == 8000 && c.ports[0].host_port_last == 8010);
    assert_true(c.ports[1].port == 81 && c.ports[1].is_published && c.ports[1].host_port == 0);
    assert_int_equal(c.ports[2].protocol, IPPROTO_SCTP);
}

static void test_an_image_that_exposes_every_port_costs_no_time(void **state)
{
    struct buf json;
    buf_init(&json, 16 << 20);
    buf_append(&json, STR("{\"Id\":\"" ID_A "\",\"State\":{\"Running\":true,\"Pid\":1},\"NetworkSettings\":{\"Ports\":{\"1/tcp\":null"));
    for (unsigned i = 2; i < 32000; i++)
        buf_printf(&json, ",\"%u/tcp\":null", i);
    buf_append(&json, STR("}},\"Config\":{\"ExposedPorts\":{\"1/udp\":{}"));
    for (unsigned i = 1; i < 65536; i++)
        buf_printf(&json, ",\"%u/tcp\":{}", i);
    buf_append(&json, STR("}}}"));
    assert_int_equal(json.error, 0);
    buf_append_char(&json, 0);
    struct docker_container c = inspect(*state, json.ptr);
    assert_int_equal(c.n_ports, 65536);
    buf_deinit(&json);
}

static void test_a_restarting_container_has_no_process(void **state)
{
    struct docker_container c = inspect(*state, "{\"Id\":\"" ID_A "\",\"State\":{\"Status\":\"restarting\",\"Running\":true,\"Restarting\":true,\"Pid\":0}}");
    assert_false(c.is_running);
    assert_int_equal(c.state, DOCKER_RESTARTING);
}

/* ---- questions ---- */

static void test_a_container_is_called_by_its_name_or_by_project_and_service(void **state)
{
    static const char format[] = "[{\"Id\":\"" ID_A "\",\"Names\":[\"/p-s-1\"],\"Labels\":{"
                                 "\"com.docker.compose.project\":\"p\",\"com.docker.compose.service\":\"s\"%s}}]";
    char json[512];
    snprintf(json, sizeof json, format, ",\"com.docker.compose.container-number\":\"1\",\"com.docker.compose.oneoff\":\"False\"");
    struct docker_containers found = list(*state, json);
    assert_true(docker_container_is_called(&found.items[0], STR("p/s")));
    assert_true(docker_container_is_called(&found.items[0], STR("p-s-1")));
    assert_false(docker_container_is_called(&found.items[0], STR("p")));
    assert_false(docker_container_is_called(&found.items[0], STR("p/")));
    assert_false(docker_container_is_called(&found.items[0], STR("/s")));
    assert_false(docker_container_is_called(&found.items[0], STR("")));

    snprintf(json, sizeof json, format, ",\"com.docker.compose.container-number\":\"1\",\"com.docker.compose.oneoff\":\"True\"");
    found = list(*state, json);
    assert_false(docker_container_is_called(&found.items[0], STR("p/s"))); /* compose run */

    snprintf(json, sizeof json, format, ""); /* docker run of an image that Compose built */
    found = list(*state, json);
    assert_false(docker_container_is_called(&found.items[0], STR("p/s")));
}

static void test_a_shared_namespace_is_its_owners_and_a_circle_is_nobodys(void **state)
{
    struct docker_containers found = list(*state, "[{\"Id\":\"" ID_A "\",\"Names\":[\"/a\"],\"HostConfig\":{\"NetworkMode\":\"container:b\"}},"
                                                  "{\"Id\":\"" ID_B "\",\"Names\":[\"/b\"],\"HostConfig\":{\"NetworkMode\":\"none\"}}]");
    assert_ptr_equal(docker_container_network_owner(&found, &found.items[0]), &found.items[1]);
    assert_ptr_equal(docker_container_network_owner(&found, &found.items[1]), &found.items[1]);
    found = list(*state, "[{\"Id\":\"" ID_A "\",\"Names\":[\"/a\"],\"HostConfig\":{\"NetworkMode\":\"container:" ID_B "\"}},"
                         "{\"Id\":\"" ID_B "\",\"Names\":[\"/b\"],\"HostConfig\":{\"NetworkMode\":\"container:a\"}}]");
    assert_null(docker_container_network_owner(&found, &found.items[0]));
    found.n = 1;
    assert_null(docker_container_network_owner(&found, &found.items[0]));
}

static void test_the_engines_socket_is_seen_wherever_it_is_mounted_from(void **state)
{
    static const struct {
        const char *source;
        bool holds;
    } rows[] = { { "/var/run/docker.sock", true }, { "/run/docker.sock", true }, { "/run", true }, { "/run/", true }, { "/", true },
                 { "/var/run", true }, { "/run/docker", false }, { "/run/docker.sock.d", false }, { "/var", false }, { "", false } };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char json[256];
        snprintf(json, sizeof json, "{\"Id\":\"" ID_A "\",\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"%s\",\"Destination\":\"/x\"}]}", rows[i].source);
        struct docker_container c = inspect(*state, json);
        if ((docker_container_socket_mount(&c, STR("/run/docker.sock")) != NULL) != rows[i].holds)
            fail_msg("%s", rows[i].source);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_list_says_names_networks_ports_and_labels),
        TEST(test_fields_that_are_unknown_missing_or_of_another_kind_do_no_harm),
        TEST(test_what_is_no_list_of_containers_is_refused),
        TEST(test_one_image_with_a_hostile_label_hides_no_container),
        TEST(test_a_dense_answer_is_refused_before_it_takes_the_memory),
        TEST(test_what_nests_without_end_is_refused),
        TEST(test_a_full_arena_is_told),
        TEST(test_inspect_says_whose_process_it_is_and_what_it_may),
        TEST(test_a_stopped_container_says_what_it_would_publish),
        TEST(test_an_image_that_exposes_every_port_costs_no_time),
        TEST(test_a_restarting_container_has_no_process),
        TEST(test_a_container_is_called_by_its_name_or_by_project_and_service),
        TEST(test_a_shared_namespace_is_its_owners_and_a_circle_is_nobodys),
        TEST(test_the_engines_socket_is_seen_wherever_it_is_mounted_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
