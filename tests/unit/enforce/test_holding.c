/* From a declaration and Docker's word to what the tables hold: who is held, who may talk, and what a person should know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "enforce/holding.h"
#include "model/reader.h"

#define HEAD \
    "postern: 1\ndomain: home.example\nsegments: { clients: {}, prod: {} }\nhosts:\n  roc: { segment: prod, address: 100.64.0.1, gateway: true }\n" \
    "  laptop: { segment: clients, address: 100.64.0.10 }\nsurfaces: { main: { port: 443, redirect: 80 } }\nservices:\n" \
    "  grafana: { host: roc, container: monitoring/grafana, port: 3000 }\n  prometheus: { host: roc, container: monitoring/prometheus, port: 9090 }\n" \
    "  notes: { host: roc, container: notes/app, port: 8080 }\n"

#define ENFORCED "projects: { monitoring: { host: roc, mode: enforce } }\n"
#define NETWORK(name, id, project, subnet) \
    "{\"Name\": \"" name "\", \"Id\": \"" id "\", \"Driver\": \"bridge\", \"Scope\": \"local\", \"IPAM\": {\"Config\": [{\"Subnet\": \"" subnet "\"}]}, " \
    "\"Options\": {}, \"Labels\": {\"com.docker.compose.project\": \"" project "\"}}"
#define ENDPOINT(network, id, address) \
    "\"" network "\": {\"NetworkID\": \"" id "\", \"EndpointID\": \"e" address "\", \"IPAddress\": \"" address "\", \"IPPrefixLen\": 28}"
#define CONTAINER(id, name, project, service, endpoints) \
    "{\"Id\": \"" id "\", \"Names\": [\"/" name "\"], \"State\": \"running\", \"Labels\": {\"com.docker.compose.project\": \"" project "\", " \
    "\"com.docker.compose.service\": \"" service "\", \"com.docker.compose.container-number\": \"1\"}, " \
    "\"HostConfig\": {\"NetworkMode\": \"x\"}, \"NetworkSettings\": {\"Networks\": {" endpoints "}}}"

#define ID(digit) digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit
#define A ID("aaaa")
#define B ID("bbbb")
#define C ID("cccc")

static const char usual_networks[] = "[" NETWORK("monitoring_default", A, "monitoring", "10.1.0.0/28") ", "
    NETWORK("notes_default", B, "notes", "10.1.0.16/28") "]";
static const char usual_containers[] = "[" CONTAINER(ID("1111"), "g", "monitoring", "grafana", ENDPOINT("monitoring_default", A, "10.1.0.2")) ", "
    CONTAINER(ID("2222"), "p", "monitoring", "prometheus", ENDPOINT("monitoring_default", A, "10.1.0.3")) ", "
    CONTAINER(ID("3333"), "n", "notes", "app", ENDPOINT("notes_default", B, "10.1.0.18")) "]";

struct held {
    struct model *model;
    struct arena arena;
    struct links links;
    struct container_filter filter;
    struct holding_notes notes;
    struct holding_counts counts;
};

static void add_link(struct held *held, const char *name, int index, int master, bool is_bridge)
{
    struct link link = { .index = index, .master = master, .peer_namespace = LINKS_NO_NAMESPACE, .is_bridge = is_bridge };
    str_copy(link.name, sizeof link.name, str_of(name));
    buf_append(&held->links.links, str_make((const char *)&link, sizeof link));
}

static void hold(struct held *ret, const char *declaration, const char *containers, const char *networks)
{
    struct model_findings findings = { 0 };
    struct docker_containers list;
    struct docker_networks nets;
    struct error err = { "" };
    *ret = (struct held){ .model = NULL };
    arena_init(&ret->arena, 0);
    buf_init(&ret->links.links, 1 << 20);
    buf_init(&ret->links.prefixes, 1 << 20);
    buf_init(&ret->notes.text, 1 << 16);
    add_link(ret, "br-aaaaaaaaaaaa", 1, 0, true);
    add_link(ret, "br-bbbbbbbbbbbb", 2, 0, true);
    add_link(ret, "br-cccccccccccc", 3, 0, true);
    add_link(ret, "virbr0", 4, 0, true);
    add_link(ret, "veth0", 5, 1, false);
    if (model_read(str_of(declaration), STR("postern.yml"), &ret->model, &findings) != 0)
        fail_msg("%.*s", STR_ARG(findings.items[0].message));
    model_findings_deinit(&findings);
    if (docker_containers_parse(str_of(containers), &ret->arena, &list, &err) != 0 || docker_networks_parse(str_of(networks), &ret->arena, &nets, &err) != 0)
        fail_msg("%s", err.text);
    const struct holding_input input = { .model = ret->model, .containers = &list, .networks = &nets, .links = &ret->links };
    if (holding_init(&ret->filter, &input, &ret->notes, &ret->counts, &err) != 0)
        fail_msg("%s", err.text);
}

static void held_deinit(struct held *held)
{
    container_filter_deinit(&held->filter);
    buf_deinit(&held->notes.text);
    links_deinit(&held->links);
    arena_deinit(&held->arena);
    model_free(held->model);
}

static enum container_class class_of(const struct held *held, enum container_set set, const char *name)
{
    for (uint32_t i = 0; i < container_filter_count(&held->filter, set); i++)
        if (strcmp(container_filter_at(&held->filter, set, i)->name, name) == 0)
            return container_filter_at(&held->filter, set, i)->class;
    fail_msg("%s is not in %s", name, container_shapes[set].name);
    return CONTAINER_LEFT;
}

static bool passes(const struct held *held, const char *bridge, const char *from, const char *to, uint16_t port, bool is_local)
{
    struct address source, target;
    assert_true(address_parse(str_of(from), &source) && address_parse(str_of(to), &target));
    return container_filter_passes(&held->filter, bridge, &source, &target, IPPROTO_TCP, port, is_local);
}

static void test_a_project_that_is_not_listed_is_observed_and_bridges_of_others_are_left_alone(void **state)
{
    (void)state;
    struct held held;
    hold(&held, HEAD ENFORCED, usual_containers, usual_networks);
    assert_int_equal(class_of(&held, CONTAINER_BRIDGES, "br-aaaaaaaaaaaa"), CONTAINER_ENFORCED);
    assert_int_equal(class_of(&held, CONTAINER_BRIDGES, "br-bbbbbbbbbbbb"), CONTAINER_OBSERVED);
    assert_int_equal(class_of(&held, CONTAINER_BRIDGES, "virbr0"), CONTAINER_LEFT);
    assert_int_equal(container_filter_count(&held.filter, CONTAINER_HELD), 1);
    assert_true(held.counts.n_enforced == 1 && held.counts.n_observed == 1 && held.counts.n_containers == 2);
    held_deinit(&held);
}

static void test_own_networks_are_open_unless_declared_narrower(void **state)
{
    (void)state;
    static const char *const inside[] = { "open", "declared" };
    for (unsigned i = 0; i < 2; i++) {
        struct held held;
        char text[2048];
        snprintf(text, sizeof text, HEAD "grants: [{ from: grafana, to: \"prometheus:9090\" }]\n"
                 "projects: { monitoring: { host: roc, mode: enforce, inside: %s } }\n", inside[i]);
        hold(&held, text, usual_containers, usual_networks);
        assert_true(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "10.1.0.3", 9090, false));
        assert_int_equal(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "10.1.0.3", 9091, false), i == 0);
        assert_int_equal(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.3", "10.1.0.2", 9090, false), i == 0);
        assert_int_equal(container_filter_count(&held.filter, CONTAINER_PORTS), i); /* only then is table bridge asked */
        assert_int_equal(container_filter_count(&held.filter, CONTAINER_PASSES4), 1);
        held_deinit(&held);
    }
}

static void test_the_internet_is_not_what_is_near(void **state)
{
    (void)state;
    struct held held;
    hold(&held, HEAD "grants: [{ from: grafana, to: internet }]\n" ENFORCED, usual_containers, usual_networks);
    static const char *const near[] = { "10.9.9.9", "172.20.0.1", "192.168.1.1", "100.64.0.10", "169.254.1.1",
                                        "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.1.2.3" };
    for (size_t i = 0; i < ARRAY_SIZE(near); i++)
        assert_false(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", near[i], 443, false));
    assert_true(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "9.9.9.9", 443, false));
    assert_false(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "9.9.9.9", 443, true));
    assert_false(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.3", "9.9.9.9", 443, false));
    held_deinit(&held);
}

static void test_a_surface_is_its_gateways_port_and_the_one_that_redirects(void **state)
{
    (void)state;
    struct held held;
    hold(&held, HEAD "grants: [{ from: grafana, to: notes, over: main }]\n" ENFORCED, usual_containers, usual_networks);
    assert_true(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "100.64.0.1", 443, true));
    assert_true(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "100.64.0.1", 80, true));
    assert_false(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.2", "100.64.0.1", 22, true));
    assert_false(passes(&held, "br-aaaaaaaaaaaa", "10.1.0.3", "100.64.0.1", 443, true));
    held_deinit(&held);
}

static void test_strangers_on_an_enforced_projects_network_are_exempt_and_make_it_judged(void **state)
{
    (void)state;
    static const char containers[] = "[" CONTAINER(ID("1111"), "g", "monitoring", "grafana", ENDPOINT("monitoring_default", A, "10.1.0.2")) ", "
        CONTAINER(ID("2222"), "p", "monitoring", "prometheus", ENDPOINT("monitoring_default", A, "10.1.0.3")) ", "
        CONTAINER(ID("3333"), "n", "notes", "app", ENDPOINT("monitoring_default", A, "10.1.0.4")) "]";
    struct held held;
    hold(&held, HEAD ENFORCED, containers, usual_networks);
    assert_int_equal(container_filter_count(&held.filter, CONTAINER_EXEMPT4), 1);
    assert_int_equal(class_of(&held, CONTAINER_PORTS, "veth0"), CONTAINER_ENFORCED);
    assert_int_equal(container_filter_count(&held.filter, CONTAINER_PAIRS4), 2); /* the project's own two, both ways */
    assert_int_equal(container_filter_count(&held.filter, CONTAINER_JUDGED4), 1);
    held_deinit(&held);
}

static void test_a_network_that_an_enforced_projects_container_joins_is_enforced_before_it_runs(void **state)
{
    (void)state;
    static const char networks[] = "[" NETWORK("shared", C, "", "10.1.0.32/28") "]";
    static const char containers[] = "[{\"Id\": \"" ID("1111") "\", \"Names\": [\"/g\"], \"State\": \"created\", \"Labels\": {\"com.docker.compose.project\": "
        "\"monitoring\", \"com.docker.compose.service\": \"grafana\", \"com.docker.compose.container-number\": \"1\"}, "
        "\"HostConfig\": {\"NetworkMode\": \"shared\"}, \"NetworkSettings\": {\"Networks\": "
        "{\"shared\": {\"NetworkID\": \"\", \"IPAddress\": \"\"}}}}]";
    struct held held;
    hold(&held, HEAD ENFORCED, containers, networks);
    assert_int_equal(class_of(&held, CONTAINER_BRIDGES, "br-cccccccccccc"), CONTAINER_ENFORCED);
    held_deinit(&held);
}

static void test_what_can_not_be_held_is_said(void **state)
{
    (void)state;
    static const char containers[] = "[{\"Id\": \"" ID("1111") "\", \"Names\": [\"/g\"], \"State\": \"running\", \"Labels\": {\"com.docker.compose.project\": "
        "\"monitoring\", \"com.docker.compose.service\": \"grafana\", \"com.docker.compose.container-number\": \"1\"}, "
        "\"HostConfig\": {\"NetworkMode\": \"host\"}, \"NetworkSettings\": {\"Networks\": "
        "{\"host\": {\"NetworkID\": \"" C "\", \"IPAddress\": \"\"}}}}]";
    struct held held;
    hold(&held, HEAD "projects: { monitoring: { host: roc, mode: enforce }, mail: { host: roc } }\n", containers, usual_networks);
    buf_append_char(&held.notes.text, '\0');
    assert_non_null(strstr(held.notes.text.ptr, "uses the host's network"));
    assert_non_null(strstr(held.notes.text.ptr, "no container of project mail yet"));
    held_deinit(&held);
}

static void test_a_grant_between_containers_that_share_no_network_is_said(void **state)
{
    (void)state;
    struct held held;
    hold(&held, HEAD "grants: [{ from: grafana, to: \"notes:8080\" }]\n" ENFORCED, usual_containers, usual_networks);
    buf_append_char(&held.notes.text, '\0');
    assert_non_null(strstr(held.notes.text.ptr, "they share no network"));
    held_deinit(&held);
}

static void test_names_that_only_docker_or_we_give(void **state)
{
    (void)state;
    static const char *const theirs[] = { "br-0123456789ab", "pn-01234567" };
    static const char *const others[] = { "br-lan", "br-0123456789aB", "br-0123456789a", "docker0", "pn-0123456", "" };
    for (size_t i = 0; i < ARRAY_SIZE(theirs); i++)
        assert_true(holding_is_docker_name(str_of(theirs[i])));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(holding_is_docker_name(str_of(others[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_project_that_is_not_listed_is_observed_and_bridges_of_others_are_left_alone),
        cmocka_unit_test(test_own_networks_are_open_unless_declared_narrower),
        cmocka_unit_test(test_the_internet_is_not_what_is_near),
        cmocka_unit_test(test_a_surface_is_its_gateways_port_and_the_one_that_redirects),
        cmocka_unit_test(test_strangers_on_an_enforced_projects_network_are_exempt_and_make_it_judged),
        cmocka_unit_test(test_a_network_that_an_enforced_projects_container_joins_is_enforced_before_it_runs),
        cmocka_unit_test(test_what_can_not_be_held_is_said),
        cmocka_unit_test(test_a_grant_between_containers_that_share_no_network_is_said),
        cmocka_unit_test(test_names_that_only_docker_or_we_give),
    };
    return cmocka_run_group_tests_name("holding", tests, NULL, NULL);
}
