/* pf's rules, written and read back: they mean what the same host's nftables would, and what isn't understood is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <time.h>

#include "observe/pf.h"
#include "random_world.h"
#include "render/pf.h"
#include "same.h"

static void relation_of(const struct packet_filter *filter, struct str interface, const struct buf *own, struct relation *open)
{
    const struct packet_arrival arrival = { .interface = interface };
    struct relation unknown;
    relation_init(open);
    relation_init(&unknown);
    assert_int_equal(packet_filter_relation(filter, PACKET_TO_HOST, &arrival, (const struct relation_range *)(const void *)own->ptr,
                                            (uint32_t)(own->len / sizeof(struct relation_range)), open, &unknown), 0);
    assert_int_equal(relation_n_rules(&unknown), 0);
    relation_deinit(&unknown);
}

static void compare(const struct packet_filter *a, const struct packet_filter *b, const struct buf *own, struct str interface, uint64_t seed)
{
    struct relation x, y;
    relation_of(a, interface, own, &x);
    relation_of(b, interface, own, &y);
    same_assert(&x, &y, seed);
    relation_deinit(&x);
    relation_deinit(&y);
}

static void test_what_is_written_reads_back_and_is_what_nftables_would_be(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed <= 150; seed++) {
        const struct render_nftables_options options = { .mesh_interface = seed % 3 ? STR("utun4") : STR_NONE, .mesh_transport_port = seed % 2 ? 41641 : 0,
                                                         .keep_lan = seed % 4 == 3 };
        struct packet_filter built, read, nftables;
        struct error err = { "" };
        struct buf text, own;
        struct world w;
        if (seed)
            random_world(&w, seed);
        else
            world_homelab(&w);
        uint32_t host = seed ? 0 : world_find_host(&w, "robin");
        w.model.hosts[host].lan = world_prefixes(&w, "192.168.1.10,fd00:1::10");
        buf_init(&text, 1 << 24);
        buf_init(&own, 1 << 24);
        render_nftables_own(&w.model, host, &own);
        w.model.hosts[host].os = MODEL_OS_LINUX;
        assert_int_equal(render_nftables_filter(&w.model, host, &options, &nftables, &err), 0);
        w.model.hosts[host].os = MODEL_OS_MACOS;
        assert_int_equal(render_pf_filter(&w.model, host, &options, &built, &err), 0);
        assert_int_equal(render_pf_host(&w.model, host, &options, &text, &err), 0);
        if (observe_pf_read(buf_str(&text), STR("pf on h"), &read, &err) != 0)
            fail_msg("seed %llu: %s\n%.*s", (unsigned long long)seed, err.text, STR_ARG(buf_str(&text)));
        const struct str interfaces[] = { STR("utun4"), STR_NONE };
        for (size_t i = 0; i < ARRAY_SIZE(interfaces); i++) {
            compare(&built, &read, &own, interfaces[i], seed);
            compare(&built, &nftables, &own, interfaces[i], seed);
        }
        packet_filter_deinit(&built);
        packet_filter_deinit(&read);
        packet_filter_deinit(&nftables);
        buf_deinit(&text);
        buf_deinit(&own);
        world_deinit(&w);
    }
}

static void test_the_text_says_where_it_is_from_and_what_it_lets_in(void **state)
{
    (void)state;
    const struct render_nftables_options options = { .revision = STR("0123abcd"), .mesh_interface = STR("utun4") };
    struct error err = { "" };
    struct buf text;
    struct world w;
    world_homelab(&w);
    uint32_t robin = world_find_host(&w, "robin");
    w.model.hosts[robin].os = MODEL_OS_MACOS;
    buf_init(&text, 1 << 20);
    assert_int_equal(render_pf_host(&w.model, robin, &options, &text, &err), 0);
    buf_append_char(&text, '\0');
    static const char *const parts[] = {
        "# From postern.yml, revision 0123abcd, by postern render. For host robin.",
        "pass in quick inet proto tcp from { 100.64.0.1, 100.64.0.2 } to 100.64.0.3 port 9000 keep state label \"postern.yml:40, a gateway to its instance\"\n",
        "block drop in quick on ! utun4 inet6 from <postern_mesh6> to any label",
        "block drop in quick inet from any to <postern_here4> label \"no grant\"\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strstr(text.ptr, parts[i]))
            fail_msg("'%s' is not in:\n%s", parts[i], text.ptr);
    assert_null(strstr(text.ptr, "100.64.0.11"));
    assert_int_equal(render_pf_host(&w.model, 0, &options, &text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "runs Linux"));
    buf_deinit(&text);
    world_deinit(&w);
}

/* ---- single rules ---- */

static enum packet_answer ask(const char *text, const char *from, uint8_t protocol, uint16_t port)
{
    const struct packet_arrival arrival = { .interface = STR("en0") };
    struct packet_filter filter;
    struct error err = { "" };
    struct address source, destination;
    assert_true(address_parse(str_of(from), &source) && address_parse(address_is_v4(&source) ? STR("10.1.0.1") : STR("fd00::1"), &destination));
    if (observe_pf_read(str_of(text), STR("pf on h"), &filter, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    enum packet_answer answer = packet_filter_decide(&filter, PACKET_TO_HOST, &arrival, &source, &destination, protocol, port, NULL);
    packet_filter_deinit(&filter);
    return answer;
}

static void test_the_last_rule_decides_where_none_is_quick(void **state)
{
    (void)state;
    assert_int_equal(ask("block in all\npass in proto tcp from any to any port 22", "10.0.0.1", IPPROTO_TCP, 22), PACKET_ADMITTED);
    assert_int_equal(ask("block in all\npass in proto tcp from any to any port 22", "10.0.0.1", IPPROTO_TCP, 23), PACKET_DENIED);
    assert_int_equal(ask("pass in proto tcp from any to any port 22\nblock in all", "10.0.0.1", IPPROTO_TCP, 22), PACKET_DENIED);
    assert_int_equal(ask("pass in quick proto tcp from any to any port 20:22\nblock in all", "10.0.0.1", IPPROTO_TCP, 21), PACKET_ADMITTED);
    assert_int_equal(ask("block in all\npass in all\nblock in quick inet6 all", "10.0.0.1", IPPROTO_UDP, 1), PACKET_ADMITTED);
    assert_int_equal(ask("block in all\npass in all\nblock in quick inet6 all", "fd00::5", IPPROTO_UDP, 1), PACKET_DENIED);
    assert_int_equal(ask("block out all", "10.0.0.1", IPPROTO_UDP, 1), PACKET_ADMITTED);
}

static void test_tables_lists_and_negation(void **state)
{
    (void)state;
    static const char *const text = "table <a> const { 10.0.0.0/8, \\\n fd00::/8 \n 11.0.0.1 } # mixed\nblock in quick on ! lo0 from ! <a> to any\n"
                                    "block in quick on en0 proto { tcp, udp } from { 10.0.0.1 10.0.0.2 } to any port { 1, 5:7 }";
    assert_int_equal(ask(text, "10.0.0.9", IPPROTO_TCP, 1), PACKET_ADMITTED);
    assert_int_equal(ask(text, "11.0.0.2", IPPROTO_TCP, 1), PACKET_DENIED);
    assert_int_equal(ask(text, "11.0.0.1", IPPROTO_TCP, 1), PACKET_ADMITTED);
    assert_int_equal(ask(text, "10.0.0.2", IPPROTO_UDP, 6), PACKET_DENIED);
    assert_int_equal(ask(text, "10.0.0.2", IPPROTO_UDP, 8), PACKET_ADMITTED);
    assert_int_equal(ask(text, "fe00::1", IPPROTO_UDP, 8), PACKET_DENIED);
}

static void refuse(struct str text, int expected, const char *why)
{
    struct packet_filter filter;
    struct error err = { "" };
    clock_t before = clock();
    int r = observe_pf_read(text, STR("pf on h"), &filter, &err);
    if (r != expected || !strstr(err.text, why))
        fail_msg("%d '%s' instead of %d '%s'", r, err.text, expected, why);
    assert_true(clock() - before < 10 * CLOCKS_PER_SEC);
}

static void test_what_is_not_understood_is_an_error_with_its_line(void **state)
{
    (void)state;
    refuse(STR("pass in all\nscrub in all\n"), -EINVAL, "line 2: 'scrub' where a table");
    refuse(STR("pass sideways"), -EINVAL, "line 1: 'sideways' where in or out");
    refuse(STR("pass in from <x> to any"), -EINVAL, "'x' where the name of a table above");
    refuse(STR("table <x> { 10.0.0.0/33 }"), -EINVAL, "an address or a prefix");
    refuse(STR("table <x> { 10.0.0.1"), -EINVAL, "the line ends");
    refuse(STR("table <x> { }\ntable <x> { }"), -EINVAL, "line 2: table <x> is there twice");
    refuse(STR("pass in proto tcp from any to any port 99999"), -EINVAL, "a port");
    refuse(STR("pass in proto tcp from any to any port 9:5"), -EINVAL, "a port");
    refuse(STR("pass in on \"\""), -EINVAL, "an interface");
    refuse(STR("pass in all keep moving"), -EINVAL, "state");
    refuse(STR("anchor \"other\""), -EINVAL, "'anchor'");
}

static void test_large_texts_end_in_bounded_time(void **state)
{
    (void)state;
    size_t size = 100 << 20;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '{', size);
    refuse(str_make(text, size), -E2BIG, "more than 32 MB");
    refuse(str_make(text, 30 << 20), -EINVAL, "line 1");
    memcpy(text, "table <x> {", 11);
    refuse(str_make(text, 30 << 20), -EINVAL, "an address or a prefix");
    for (size_t i = 0; i < 30 << 20; i += 12)
        memcpy(text + i, "pass in all\n", 12);
    refuse(str_make(text, 30 << 20), -E2BIG, "more rules than can be judged");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_reads_back_and_is_what_nftables_would_be),
        cmocka_unit_test(test_the_text_says_where_it_is_from_and_what_it_lets_in),
        cmocka_unit_test(test_the_last_rule_decides_where_none_is_quick),
        cmocka_unit_test(test_tables_lists_and_negation),
        cmocka_unit_test(test_what_is_not_understood_is_an_error_with_its_line),
        cmocka_unit_test(test_large_texts_end_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
