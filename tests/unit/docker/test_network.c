/* Networks, versions and infos out of the engine's answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>

#include "docker/engine.h"
#include "docker/network.h"

#define ID_A "d62e0e6310eaa335e34debaa3ce6079e85af114b2a1dda732bd9d4fbd7407eac"
#define ID_B "2344a46853df7c3ad01cb2b314da2dceee453d373468e9af1362229e21c3b842"

#define assert_text(s, text) assert_string_equal((s).ptr, (text))

static int set_up(void **state)
{
    struct arena *arena = calloc(1, sizeof *arena);
    arena_init(arena, 1 << 20);
    *state = arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_deinit(*state);
    free(*state);
    return 0;
}

static void test_networks_say_their_bridges_subnets_and_options(void **state)
{
    struct docker_networks found;
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    assert_int_equal(docker_networks_parse(STR(
        "[{\"Name\":\"web_default\",\"Id\":\"" ID_A "\",\"Scope\":\"local\",\"Driver\":\"bridge\",\"EnableIPv6\":true,\"IPAM\":{\"Config\":["
        "{\"Subnet\":\"172.20.0.9/28\",\"Gateway\":\"172.20.0.1\"},{\"Subnet\":\"fd00:1::/64\",\"Gateway\":\"fd00:1::1/64\"},{\"Subnet\":\"x\"}]},"
        "\"Internal\":true,\"Options\":{\"com.docker.network.bridge.enable_icc\":\"false\",\"com.docker.network.bridge.gateway_mode_ipv4\":\"isolated\"},"
        "\"Labels\":{\"com.docker.compose.project\":\"web\",\"com.docker.compose.network\":\"default\"}},"
        "{\"Name\":\"bridge\",\"Id\":\"" ID_B "\",\"Driver\":\"bridge\",\"Options\":{\"com.docker.network.bridge.name\":\"docker0\","
        "\"com.docker.network.bridge.enable_icc\":\"perhaps\"},\"IPAM\":{\"Config\":null}}]"), *state, &found, NULL), 0);
    assert_int_equal(found.n, 2);
    const struct docker_network *bridge = &found.items[0], *web = &found.items[1]; /* by name */
    assert_text(bridge->bridge, "docker0");
    assert_true(bridge->icc && bridge->masquerade && !bridge->is_internal);
    assert_text(bridge->gateway_mode_v4, "nat");
    assert_int_equal(bridge->n_subnets, 0);
    assert_text(web->bridge, "br-d62e0e6310ea");
    assert_true(web->is_internal && !web->icc && web->has_ipv6);
    assert_text(web->gateway_mode_v4, "isolated");
    assert_text(web->project, "web");
    assert_text(web->key, "default");
    assert_int_equal(web->n_subnets, 2);
    assert_string_equal(address_prefix_format(&web->subnets[0].prefix, text), "172.20.0.0/28");
    assert_string_equal(address_prefix_format(&web->subnets[1].prefix, text), "fd00:1::/64");
    assert_true(web->subnets[1].has_gateway);
    assert_ptr_equal(docker_network_find(&found, str_of(ID_A)), web);
    assert_null(docker_network_find(&found, STR("nope")));
}

static void test_other_drivers_have_no_bridge(void **state)
{
    struct docker_network found;
    assert_int_equal(docker_network_parse(STR("{\"Name\":\"lan\",\"Id\":\"" ID_A "\",\"Driver\":\"macvlan\",\"Options\":{\"parent\":\"eth0\","
                                              "\"com.docker.network.bridge.name\":\"br0\"}}"), *state, &found, NULL), 0);
    assert_text(found.bridge, "");
    assert_text(found.parent, "eth0");
}

static void test_what_is_no_network_is_refused(void **state)
{
    static const char *const bad[] = { "", "{}", "[{}]", "[{\"Id\":\"x\"}]", "[" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct docker_networks found = { .n = 7 };
        struct error err = { "" };
        assert_int_equal(docker_networks_parse(str_of(bad[i]), *state, &found, &err), -EINVAL);
        assert_true(found.n == 7 && err.text[0]);
    }
}

static void test_versions_tell_docker_from_podman(void **state)
{
    struct docker_version version;
    assert_int_equal(docker_version_parse(STR("{\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\",\"Components\":["
                                              "{\"Name\":\"Engine\"},{\"Name\":\"containerd\"}]}"), *state, &version, NULL), 0);
    assert_text(version.api_version, "1.41");
    assert_false(version.is_podman);
    assert_int_equal(docker_version_parse(STR("{\"Components\":[{\"Name\":\"Podman Engine\",\"Version\":\"4.3.1\"}],\"Version\":\"4.3.1\"}"),
                                          *state, &version, NULL), 0);
    assert_true(version.is_podman);
    assert_int_equal(docker_version_parse(STR("[]"), *state, &version, NULL), -EINVAL);
}

static void test_infos_tell_what_changes_how_networks_are_seen(void **state)
{
    struct docker_info info;
    assert_int_equal(docker_info_parse(STR("{\"SecurityOptions\":[\"name=seccomp,profile=default\",\"name=rootless\"],\"LiveRestoreEnabled\":true,"
        "\"BridgeNfIptables\":true,\"FirewallBackend\":{\"Driver\":\"nftables\"},\"DockerRootDir\":\"/d\"}"), *state, &info, NULL), 0);
    assert_true(info.is_rootless && info.is_live_restore && info.calls_iptables_for_bridges && !info.has_userns_remap);
    assert_text(info.firewall, "nftables");
    assert_int_equal(docker_info_parse(STR("{\"SecurityOptions\":[\"name=userns\",\"x\",1]}"), *state, &info, NULL), 0);
    assert_true(!info.is_rootless && info.has_userns_remap && info.firewall.len == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_networks_say_their_bridges_subnets_and_options),
        TEST(test_other_drivers_have_no_bridge),
        TEST(test_what_is_no_network_is_refused),
        TEST(test_versions_tell_docker_from_podman),
        TEST(test_infos_tell_what_changes_how_networks_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
