/* What rendered filters say, and that the kernel takes every one of them. Whether they then do it is tried in tests/e2e/firewall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random_world.h"
#include "render/nftables.h"

static const struct render_nftables_options usual = { .revision = STR("0123abcd"), .mesh_interface = STR("tailscale0"), .mesh_transport_port = 41641 };

/* The host's filter, or the mesh's with a NULL host, NUL-terminated; the caller's to free. */
static char *render(struct world *w, const char *host, const struct render_nftables_options *options)
{
    struct buf out;
    struct error err = { "" };
    buf_init(&out, 1 << 20);
    int r = host ? render_nftables_host(&w->model, world_find_host(w, host), options, &out, &err) :
                   render_nftables_mesh(&w->model, options, &out, &err);
    if (r != 0)
        fail_msg("%d %s", r, err.text);
    buf_append_char(&out, '\0');
    assert_int_equal(out.error, 0);
    return out.ptr ? out.ptr : strdup("");
}

static void assert_says(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("'%s' is not in:\n%s", part, text ? text : "");
}

static void assert_silent_of(const char *text, const char *part)
{
    if (!text || strstr(text, part))
        fail_msg("'%s' is in:\n%s", part, text ? text : "");
}

static void test_a_gateway_lets_in_its_guests_and_nobody_else(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    w.model.surfaces[0].redirect_port = 80;
    char *text = render(&w, "roc", &usual);
    assert_says(text, "# From postern.yml, revision 0123abcd, for host roc,");
    assert_says(text, "table inet postern\ndelete table inet postern\ntable inet postern {\n");
    assert_says(text, "100.64.0.13 . 100.64.0.1 . tcp . 443 comment \"postern.yml:40\"");
    assert_says(text, "100.64.0.12 . 100.64.0.1 . tcp . 80 comment \"postern.yml:40\"");
    assert_says(text, "fd7a:115c:a1e0::3 . fd7a:115c:a1e0::1 . tcp . 8443 comment \"postern.yml:41\"");
    assert_says(text, "100.64.0.13 . 100.64.0.1 . tcp . 22 comment \"postern.yml:43\"");
    assert_silent_of(text, "100.64.0.3 . 100.64.0.1 . tcp . 443");
    assert_silent_of(text, "100.64.0.13 . 100.64.0.1 . tcp . 8443");
    assert_silent_of(text, "100.64.0.12 . 100.64.0.1 . tcp . 22");
    assert_silent_of(text, "100.64.0.1 . tcp . 5432"); /* an internal service is nobody's; its port is only closed on the LAN */
    assert_silent_of(text, "chain output");
    free(text);
    world_deinit(&w);
}

static void test_the_mesh_knows_what_gateways_need(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    char *text = render(&w, NULL, &usual);
    assert_says(text, "100.64.0.1 . 100.64.0.3 . tcp . 9000 comment \"postern.yml:40, a gateway to its instance\"");
    assert_says(text, "100.64.0.2 . 100.64.0.3 . tcp . 4096 comment \"postern.yml:40, a gateway to its instance\"");
    assert_says(text, "100.64.0.11 . 100.64.0.2 . udp . 30000 comment \"postern.yml:42\"");
    assert_silent_of(text, "100.64.0.12 . 100.64.0.2 . udp");
    assert_silent_of(text, "100.64.0.1 . 100.64.0.2 . "); /* containers on another gateway are not dialled over the mesh */
    assert_silent_of(text, "100.64.0.11 . 100.64.0.3 . ");
    assert_says(text, "policy drop;");
    free(text);
    world_deinit(&w);
}

static void test_a_segments_prefix_is_cut_around_other_hosts(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    w.model.segments[0].addresses = world_prefixes(&w, "100.64.0.0/28");
    char *text = render(&w, "roc", &usual);
    assert_says(text, "flags interval\n\t\tcounter");
    assert_says(text, "100.64.0.4-100.64.0.10 . 100.64.0.1 . tcp . 443");
    assert_says(text, "100.64.0.0 . 100.64.0.1 . tcp . 443");
    assert_silent_of(text, "100.64.0.0/28");
    assert_silent_of(text, "100.64.0.0-");
    assert_silent_of(text, "100.64.0.3 . 100.64.0.1 . tcp . 443");
    free(text);
    world_deinit(&w);
}

static void test_options_change_what_they_say(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    w.model.hosts[0].lan = world_prefixes(&w, "192.168.1.10");
    char *text = render(&w, "roc", &usual);
    assert_says(text, "elements = { 192.168.1.10 }");
    assert_says(text, "udp dport 41641 accept");
    assert_says(text, "iifname != \"tailscale0\" ip saddr @mesh4 counter drop");
    assert_says(text, "iifname != \"tailscale0\" ip6 saddr @mesh6 counter drop");
    free(text);
    struct render_nftables_options other = { .keep_lan = true, .worker_uid_first = 900, .worker_uid_last = 907 };
    text = render(&w, "roc", &other);
    assert_silent_of(text, "192.168.1.10");
    assert_silent_of(text, "41641");
    assert_silent_of(text, "tailscale0");
    assert_silent_of(text, "revision");
    assert_says(text, "meta skuid 900-907 ct state new counter drop");
    free(text);
    world_deinit(&w);
}

static void test_addresses_outside_the_usual_prefixes_are_the_meshs_too(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    w.model.hosts[3].addresses = world_prefixes(&w, "10.7.0.11,2001:db8::11");
    char *text = render(&w, "roc", &usual);
    assert_says(text, "elements = { 100.64.0.0/10,\n\t\t\t     10.7.0.11 }");
    assert_says(text, "elements = { fd7a:115c:a1e0::/48,\n\t\t\t     2001:db8::11 }");
    free(text);
    world_deinit(&w);
}

static void test_no_text_of_the_declaration_can_end_a_comment(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    w.model.file = STR("x\" } chain evil { }\n#.yml");
    w.model.hosts[0].name.text = STR("roc\nadd table inet evil");
    struct render_nftables_options options = usual;
    options.revision = STR("1\n2\"3");
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(render_nftables_host(&w.model, 0, &options, &out, NULL), 0);
    buf_append_char(&out, '\0');
    assert_silent_of(out.ptr, "x\"");
    assert_silent_of(out.ptr, "\nadd table");
    assert_silent_of(out.ptr, "\n2");
    assert_says(out.ptr, "comment \"x_ _ chain evil _ __");
    buf_deinit(&out);
    world_deinit(&w);
}

static void expect_refusal(struct world *w, uint32_t host, const struct render_nftables_options *options, const char *why)
{
    struct buf out;
    struct error err = { "" };
    buf_init(&out, 1 << 20);
    assert_int_equal(render_nftables_host(&w->model, host, options, &out, &err), -EINVAL);
    assert_says(err.text, why);
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
}

static void test_what_has_no_filter_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_homelab(&w);
    struct render_nftables_options options = usual;
    expect_refusal(&w, world_find_host(&w, "robin"), &usual, "robin runs no Linux");
    expect_refusal(&w, 99, &usual, "no such host");
    options.mesh_interface = STR("x\" accept; #");
    expect_refusal(&w, 0, &options, "is no name of an interface");
    options.mesh_interface = STR("sixteen-letters-");
    expect_refusal(&w, 0, &options, "is no name of an interface");
    options = usual;
    options.worker_uid_last = 10;
    expect_refusal(&w, 0, &options, "is no range of user ids");
    options.worker_uid_first = 11;
    expect_refusal(&w, 0, &options, "is no range of user ids");
    world_deinit(&w);
}

static void test_equal_input_gives_equal_text(void **state)
{
    (void)state;
    struct world w;
    random_world(&w, 7);
    char *a = render(&w, "h0", &usual), *b = render(&w, "h0", &usual);
    assert_string_equal(a, b);
    free(a);
    free(b);
    world_deinit(&w);
}

static void test_a_full_buffer_is_an_error(void **state)
{
    (void)state;
    struct world w;
    struct buf out;
    world_homelab(&w);
    buf_init(&out, 1000);
    assert_int_equal(render_nftables_mesh(&w.model, &usual, &out, NULL), -E2BIG);
    buf_deinit(&out);
    world_deinit(&w);
}

/* Loads the text in a network namespace of its own. 0: taken; 1: refused; 77: this can't be tried here. */
static int load(const char *text)
{
    static const char *const script = "command -v nft >/dev/null && unshare --user --map-root-user --net nft list ruleset >/dev/null 2>&1 || exit 77\n"
                                      "exec unshare --user --map-root-user --net nft -f - || exit 1";
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[0], STDIN_FILENO);
        execl("/bin/sh", "sh", "-c", script, NULL);
        _exit(77);
    }
    close(ends[0]);
    for (size_t len = strlen(text), done = 0; done < len;) {
        ssize_t n = write(ends[1], text + done, len - done);
        if (n < 0)
            break; /* whoever reads has ended, and says why */
        done += (size_t)n;
    }
    close(ends[1]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Overlapping elements of a set are what the kernel refuses; a changed order or a prefix too many would do it. */
static void test_the_kernel_takes_filters_of_any_declaration(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        random_world(&w, seed);
        char *text = render(&w, seed % 2 ? "h0" : NULL, &usual);
        int r = load(text);
        if (r == 77) {
            free(text);
            world_deinit(&w);
            skip();
        }
        if (r != 0)
            fail_msg("seed %llu is refused:\n%s", (unsigned long long)seed, text);
        free(text);
        world_deinit(&w);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_gateway_lets_in_its_guests_and_nobody_else),
    cmocka_unit_test(test_the_mesh_knows_what_gateways_need),
    cmocka_unit_test(test_a_segments_prefix_is_cut_around_other_hosts),
    cmocka_unit_test(test_options_change_what_they_say),
    cmocka_unit_test(test_addresses_outside_the_usual_prefixes_are_the_meshs_too),
    cmocka_unit_test(test_no_text_of_the_declaration_can_end_a_comment),
    cmocka_unit_test(test_what_has_no_filter_is_refused),
    cmocka_unit_test(test_equal_input_gives_equal_text),
    cmocka_unit_test(test_a_full_buffer_is_an_error),
    cmocka_unit_test(test_the_kernel_takes_filters_of_any_declaration),
};

int main(void)
{
    return cmocka_run_group_tests_name("nftables", tests, NULL, NULL);
}
