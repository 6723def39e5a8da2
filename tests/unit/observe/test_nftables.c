/* nft's own listings, read back: rendered filters mean what they meant before, foreign rules what the kernel does with them, and what is no
 * listing is refused in bounded time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <time.h>

#include "nft_space.h"
#include "same.h"
#include "observe/nftables.h"
#include "random_world.h"
#include "render/nftables.h"

enum { TCP = IPPROTO_TCP, UDP = IPPROTO_UDP };

/* ---- round trip ---- */

static void relation_of(const struct packet_filter *filter, enum packet_path path, struct str interface, struct relation *open, struct relation *unknown)
{
    const struct packet_arrival arrival = { .interface = interface };
    relation_init(open);
    relation_init(unknown);
    assert_int_equal(packet_filter_relation(filter, path, &arrival, NULL, 0, open, unknown), 0);
}

static void compare_filters(const struct packet_filter *built, const struct packet_filter *read, enum packet_path path, struct str interface, uint64_t seed)
{
    struct relation open, unknown, read_open, read_unknown;
    relation_of(built, path, interface, &open, &unknown);
    relation_of(read, path, interface, &read_open, &read_unknown);
    assert_int_equal(relation_n_rules(&unknown), 0);
    assert_int_equal(relation_n_rules(&read_unknown), 0);
    same_assert(&open, &read_open, seed);
    relation_deinit(&open);
    relation_deinit(&unknown);
    relation_deinit(&read_open);
    relation_deinit(&read_unknown);
}

/* False: can't be tried here. */
static bool round_trip(const struct model *model, uint32_t host, const struct render_nftables_options *options, uint64_t seed)
{
    struct packet_filter built, read;
    struct error err = { "" };
    struct buf text, listing;
    bool failed;
    buf_init(&text, 1 << 24);
    buf_init(&listing, 1 << 24);
    assert_int_equal(render_nftables_filter(model, host, options, &built, &err), 0);
    int r = host == MODEL_NONE ? render_nftables_mesh(model, options, &text, &err) : render_nftables_host(model, host, options, &text, &err);
    assert_int_equal(r, 0);
    bool is_there = nft_space_list(buf_str(&text), &listing, &failed);
    assert_false(failed);
    if (is_there) {
        if (observe_nftables_read(buf_str(&listing), STR("nftables on h"), &read, &err) != 0)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
        enum packet_path path = host == MODEL_NONE ? PACKET_THROUGH_HOST : PACKET_TO_HOST;
        compare_filters(&built, &read, path, options->mesh_interface, seed);
        compare_filters(&built, &read, path, STR_NONE, seed);
        compare_filters(&built, &read, path, STR("lo"), seed);
        compare_filters(&built, &read, PACKET_FROM_HOST, STR_NONE, seed);
        packet_filter_deinit(&read);
    }
    packet_filter_deinit(&built);
    buf_deinit(&text);
    buf_deinit(&listing);
    return is_there;
}

static void test_a_rendered_filter_that_the_kernel_holds_is_what_was_rendered(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed <= 40; seed++) {
        const struct render_nftables_options options = { .mesh_interface = seed % 3 ? STR("tailscale0") : STR_NONE, .mesh_transport_port = seed % 2 ? 41641 : 0,
                                                         .keep_lan = seed % 4 == 3, .worker_uid_first = 900, .worker_uid_last = 907 };
        struct world w;
        if (seed)
            random_world(&w, seed);
        else
            world_homelab(&w);
        w.model.hosts[0].lan = world_prefixes(&w, "192.168.1.10");
        bool is_there = round_trip(&w.model, seed % 5 == 4 ? MODEL_NONE : 0, &options, seed);
        world_deinit(&w);
        if (!is_there)
            skip();
    }
}

/* ---- foreign rules ---- */

struct expectation {
    const char *rules;      /* of an input chain with policy drop, or whole tables where it begins with "table" */
    const char *from, *to, *interface;
    uint8_t protocol;
    uint16_t port;
    enum packet_answer answer;
};

#define A "10.0.0.1", "10.1.0.1", "eth0"
#define A6 "fd00::1", "fd00::2", "eth0"

#define INPUT(policy, rules) "chain a {\ntype filter hook input priority 0; policy " policy ";\n" rules "\n}\n"
#define REDIRECT "chain p {\ntype nat hook prerouting priority -100;\ntcp dport 8080 redirect to :80\n}\n"
#define INGRESS(rules) "chain a {\ntype filter hook ingress device lo priority 0; policy accept;\n" rules "\n}\n"

static const struct expectation expectations[] = {
    { "tcp dport { 1-5, 7 } accept", A, TCP, 5, PACKET_ADMITTED },
    { "tcp dport { 1-5, 7 } accept", A, TCP, 6, PACKET_DENIED },
    { "tcp dport { 1-5, 7 } accept", A, UDP, 5, PACKET_DENIED },
    { "tcp dport != 22 accept", A, TCP, 23, PACKET_ADMITTED },
    { "tcp dport != 22 accept", A, UDP, 23, PACKET_DENIED },
    { "tcp dport > 1023 accept", A, TCP, 1023, PACKET_DENIED },
    { "tcp dport > 1023 accept", A, TCP, 1024, PACKET_ADMITTED },
    { "ip saddr != { 1.1.1.1, 10.0.0.0/24 } accept", A, TCP, 1, PACKET_DENIED },
    { "ip saddr != 10.0.0.2-10.0.0.9 accept", A, TCP, 1, PACKET_ADMITTED },
    { "ip saddr != 10.0.0.2-10.0.0.9 accept", A6, TCP, 1, PACKET_DENIED },
    { "ip saddr . tcp dport { 10.0.0.1 . 5, 10.0.0.0-10.0.0.3 . 7-9 } accept", A, TCP, 8, PACKET_ADMITTED },
    { "ip saddr . tcp dport { 10.0.0.1 . 5, 10.0.0.0-10.0.0.3 . 7-9 } accept", A, TCP, 6, PACKET_DENIED },
    { "ip saddr . meta l4proto . th dport vmap { 10.0.0.1 . tcp . 5 : drop, 10.0.0.1 . udp . 6 : accept }\naccept", A, TCP, 5, PACKET_DENIED },
    { "ip saddr . meta l4proto . th dport vmap { 10.0.0.1 . tcp . 5 : drop, 10.0.0.1 . udp . 6 : accept }\naccept", A, TCP, 6, PACKET_ADMITTED },
    { "iifname vmap { \"lo\" : accept, \"eth0\" : drop }\naccept", A, TCP, 1, PACKET_DENIED },
    { "iifname \"eth*\" accept", A, TCP, 1, PACKET_ADMITTED },
    { "iifname \"et\" accept", A, TCP, 1, PACKET_DENIED },
    { "iifname != \"tailscale0\" ip saddr 10.0.0.0/8 drop\naccept", A, TCP, 1, PACKET_DENIED },
    { "oifname \"eth0\" accept", A, TCP, 1, PACKET_DENIED },
    { "oifname != \"eth0\" accept", A, TCP, 1, PACKET_DENIED }, /* there is none yet, so that neither holds */
    { "ct state established,related accept", A, TCP, 1, PACKET_DENIED },
    { "ct state established,new accept", A, TCP, 1, PACKET_ADMITTED },
    { "ct state vmap { established : accept, new : accept, invalid : drop }", A, TCP, 1, PACKET_ADMITTED },
    { "ct state != new drop\naccept", A, TCP, 1, PACKET_ADMITTED },
    { "ct state { new, related } accept", A, TCP, 1, PACKET_ADMITTED },
    { "meta nfproto ipv6 accept", A, TCP, 1, PACKET_DENIED },
    { "meta nfproto ipv6 accept", A6, TCP, 1, PACKET_ADMITTED },
    { "meta l4proto { tcp, sctp } accept", A, UDP, 1, PACKET_DENIED },
    { "ip protocol udp accept", A, UDP, 1, PACKET_ADMITTED },
    { "ip protocol udp accept", A6, UDP, 1, PACKET_DENIED },
    { "icmp type echo-request accept", A, TCP, 1, PACKET_DENIED },
    { "icmp type != echo-request accept", A, TCP, 1, PACKET_DENIED },
    { "fib daddr type local accept", A, TCP, 1, PACKET_ADMITTED },
    { "fib daddr type != local drop\naccept", A, TCP, 1, PACKET_ADMITTED },
    { "meta skuid 0 accept", A, TCP, 1, PACKET_DENIED },
    { "tcp dport 22 log prefix \"x\" counter reject with tcp reset\naccept", A, TCP, 22, PACKET_DENIED },
    { "meta mark set 5\nct mark set 6\naccept", A, TCP, 22, PACKET_ADMITTED },
    /* what can't be told */
    { "meta mark 5 accept", A, TCP, 1, PACKET_UNKNOWN },
    { "tcp dport 1 accept\nmeta mark 5 drop\naccept", A, TCP, 1, PACKET_ADMITTED },
    { "tcp sport 53 accept", A, TCP, 1, PACKET_UNKNOWN },
    { "tcp sport 53 accept", A, UDP, 1, PACKET_DENIED },
    { "limit rate 5/second accept", A, TCP, 1, PACKET_UNKNOWN },
    { "tcp flags & (fin | syn) == syn accept", A, TCP, 1, PACKET_UNKNOWN },
    { "tcp flags & (fin | syn) == syn accept", A, UDP, 1, PACKET_DENIED },
    { "fib saddr . iif oif missing drop\naccept", A, TCP, 1, PACKET_UNKNOWN },
    { "ip6 nexthdr tcp accept", A6, TCP, 1, PACKET_UNKNOWN },
    { "ip6 nexthdr tcp accept", A, TCP, 1, PACKET_DENIED },
    { "ip saddr 10.0.0.0/24 meta mark 5 accept", "10.0.1.1", "10.1.0.1", "eth0", TCP, 1, PACKET_DENIED },
    /* whole tables */
    { "table ip t {\n" INPUT("accept", "tcp dport 5 accept") "chain b {\ntype filter hook input priority 5; policy drop;\ntcp dport 6 accept\n}\n}",
      A, TCP, 5, PACKET_DENIED },
    { "table ip t {\n" INPUT("drop", "tcp dport 5 accept") "}", A6, TCP, 6, PACKET_ADMITTED },
    { "table ip t {\nchain c {\ntcp dport 5 return\ntcp dport 6 accept\n}\nchain d {\njump c\n}\n" INPUT("drop", "jump d\ntcp dport 5 accept") "}",
      A, TCP, 5, PACKET_ADMITTED },
    { "table ip t {\nchain c {\ntcp dport 6 accept\n}\n" INPUT("drop", "goto c\naccept") "}", A, TCP, 5, PACKET_DENIED },
    { "table ip t {\nset s {\ntype ipv4_addr . inet_service\nflags interval\nelements = { 10.0.0.0/8 . 80-90, 1.1.1.1 . 22 }\n}\n"
      INPUT("drop", "ip saddr . tcp dport @s accept") "}", A, TCP, 81, PACKET_ADMITTED },
    { "table ip t {\nset s {\ntype ipv4_addr\nelements = { 10.0.0.1 }\n}\n" INPUT("drop", "ip daddr @s drop\nip saddr @s accept") "}",
      A, TCP, 81, PACKET_ADMITTED },
    { "table ip t {\nset s {\ntype ipv4_addr\nflags dynamic,timeout\ntimeout 5s\n}\n" INPUT("drop", "tcp dport 1 accept\nip saddr @s accept") "}",
      A, TCP, 81, PACKET_UNKNOWN },
    { "table ip t {\nmap m {\ntype ifname : verdict\nelements = { \"eth0\" : jump y, \"lo\" : accept }\n}\nchain y {\ntcp dport 9 accept\n}\n"
      INPUT("drop", "iifname vmap @m") "}", A, TCP, 9, PACKET_ADMITTED },
    { "table ip t {\n" REDIRECT "}", A, TCP, 8080, PACKET_UNKNOWN },
    { "table ip t {\n" REDIRECT "}", A, TCP, 8081, PACKET_ADMITTED },
    { "table ip t {\n" REDIRECT "chain a {\ntype filter hook prerouting priority -110;\ntcp dport 8080 drop\n}\n}", A, TCP, 8080, PACKET_DENIED },
    { "table bridge t {\n" INPUT("drop", "") "}", A, TCP, 1, PACKET_UNKNOWN },
    { "table netdev t {\n" INGRESS("ip saddr 10.0.0.1 drop") "}", A, TCP, 1, PACKET_UNKNOWN },
    { "table netdev t {\n" INGRESS("ip saddr 10.0.0.2 drop") "}", A, TCP, 1, PACKET_ADMITTED },
    { "table arp t {\n" INPUT("drop", "") "}", A, TCP, 1, PACKET_ADMITTED },
};

static void check(const struct expectation *e, const struct packet_filter *filter)
{
    const struct packet_arrival arrival = { .interface = str_of(e->interface) };
    struct address from, to;
    struct relation open, unknown;
    assert_true(address_parse(str_of(e->from), &from) && address_parse(str_of(e->to), &to));
    relation_of(filter, PACKET_TO_HOST, arrival.interface, &open, &unknown);
    enum packet_answer at_once = relation_find_rule(&open, &from, &to, e->protocol, e->port) != UINT32_MAX ? PACKET_ADMITTED :
        relation_find_rule(&unknown, &from, &to, e->protocol, e->port) != UINT32_MAX ? PACKET_UNKNOWN : PACKET_DENIED;
    enum packet_answer alone = packet_filter_decide(filter, PACKET_TO_HOST, &arrival, &from, &to, e->protocol, e->port, NULL);
    if (alone != e->answer || at_once != e->answer)
        fail_msg("%s\n%s to %s %u/%u: expected %u, not %u and %u", e->rules, e->from, e->to, e->protocol, e->port, e->answer, alone, at_once);
    relation_deinit(&open);
    relation_deinit(&unknown);
}

static void test_foreign_rules_mean_what_the_kernel_does_with_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(expectations); i++) {
        const struct expectation *e = &expectations[i];
        struct packet_filter filter;
        struct error err = { "" };
        struct buf text, listing;
        bool failed, is_whole = strncmp(e->rules, "table", 5) == 0;
        buf_init(&text, 1 << 16);
        buf_init(&listing, 1 << 20);
        buf_printf(&text, is_whole ? "%s\n" : "table inet t {\nchain input {\ntype filter hook input priority 0; policy drop;\n%s\n}\n}\n", e->rules);
        if (!nft_space_list(buf_str(&text), &listing, &failed)) {
            if (failed)
                fail_msg("nft refused:\n%.*s", STR_ARG(buf_str(&text)));
            skip();
        }
        if (observe_nftables_read(buf_str(&listing), STR("nftables on h"), &filter, &err) != 0)
            fail_msg("%s\n%s", e->rules, err.text);
        check(e, &filter);
        packet_filter_deinit(&filter);
        buf_deinit(&text);
        buf_deinit(&listing);
    }
}

/* What iptables-nft and Tailscale make: extensions of which the listing says no more than the name. */
static void test_iptables_rules_are_told_as_far_as_they_can_be(void **state)
{
    (void)state;
    static const char *const script =
        "iptables=$(command -v iptables-nft) || exit 0\n"
        "$iptables -P INPUT DROP && $iptables -N ts-input && $iptables -A INPUT -j ts-input &&"
        "$iptables -A ts-input -i tailscale0 -j ACCEPT && $iptables -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP &&"
        "$iptables -A INPUT -p tcp --dport 22 -j ACCEPT && $iptables -A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT &&"
        "$iptables -A INPUT -p udp --dport 53 -m comment --comment dns -j ACCEPT && $iptables -A INPUT -p udp --dport 9 -j REJECT &&"
        "nft -j list ruleset";
    static const struct expectation cases[] = {
        { "ts-input", "100.64.0.9", "100.64.0.1", "tailscale0", TCP, 4000, PACKET_ADMITTED },
        { "guard", "100.64.0.9", "100.64.0.1", "eth0", TCP, 22, PACKET_DENIED },
        { "dport", "10.0.0.9", "100.64.0.1", "eth0", TCP, 22, PACKET_ADMITTED },
        { "multiport", "10.0.0.9", "100.64.0.1", "eth0", TCP, 23, PACKET_UNKNOWN },
        { "multiport", "10.0.0.9", "100.64.0.1", "eth0", UDP, 23, PACKET_DENIED },
        { "comment", "10.0.0.9", "100.64.0.1", "eth0", UDP, 53, PACKET_ADMITTED },
        { "reject", "10.0.0.9", "100.64.0.1", "eth0", UDP, 9, PACKET_DENIED },
    };
    struct packet_filter filter;
    struct error err = { "" };
    struct buf listing;
    bool failed;
    buf_init(&listing, 1 << 20);
    if (!nft_space_run(script, STR_NONE, &listing, &failed) || !listing.len)
        skip();
    if (observe_nftables_read(buf_str(&listing), STR("nftables on h"), &filter, &err) != 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check(&cases[i], &filter);
    packet_filter_deinit(&filter);
    buf_deinit(&listing);
}

static void test_a_set_elements_comment_names_the_grant(void **state)
{
    (void)state;
    struct packet_filter filter;
    struct error err = { "" };
    struct buf listing;
    bool failed;
    uint32_t reason;
    struct address from, to;
    const struct packet_arrival arrival = { .interface = STR("mesh0") };
    buf_init(&listing, 1 << 20);
    if (!nft_space_list(STR("table inet t {\nset a {\ntype ipv4_addr\n"
                            "elements = { 10.0.0.1 comment \"postern.yml:40, a gateway to its instance\", 10.0.0.2 }\n}\n"
                            "chain c {\ntype filter hook input priority 0; policy drop;\nip saddr @a accept comment \"known\"\n}\n}\n"), &listing, &failed))
        skip();
    assert_int_equal(observe_nftables_read(buf_str(&listing), STR("nftables on h"), &filter, &err), 0);
    assert_true(address_parse(STR("10.0.0.1"), &from) && address_parse(STR("10.0.0.9"), &to));
    assert_int_equal(packet_filter_decide(&filter, PACKET_TO_HOST, &arrival, &from, &to, TCP, 1, &reason), PACKET_ADMITTED);
    assert_string_equal(packet_filter_reason(&filter, reason)->file.ptr, "postern.yml");
    assert_int_equal(packet_filter_reason(&filter, reason)->line, 40);
    assert_string_equal(packet_filter_reason(&filter, reason)->text.ptr, "a gateway to its instance");
    assert_true(address_parse(STR("10.0.0.2"), &from));
    assert_int_equal(packet_filter_decide(&filter, PACKET_TO_HOST, &arrival, &from, &to, TCP, 1, &reason), PACKET_ADMITTED);
    assert_string_equal(packet_filter_reason(&filter, reason)->file.ptr, "nftables on h");
    assert_string_equal(packet_filter_reason(&filter, reason)->text.ptr, "t, chain c, rule 1: known");
    packet_filter_deinit(&filter);
    buf_deinit(&listing);
}

/* ---- what no nft writes ---- */

static void refuse(struct str text, int expected, const char *why)
{
    struct packet_filter filter;
    struct error err = { "" };
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    int r = observe_nftables_read(text, STR("nftables on h"), &filter, &err);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    if (r != expected || !strstr(err.text, why))
        fail_msg("%d '%s' instead of %d '%s' for %.*s", r, err.text, expected, why, STR_ARG(str_first(text, 200)));
    assert_true(after.tv_sec - before.tv_sec < 20);
}

static void test_what_is_no_listing_is_refused(void **state)
{
    (void)state;
    refuse(STR(""), -EINVAL, "line ");
    refuse(STR("{}"), -EINVAL, "no output of 'nft -j list ruleset'");
    refuse(STR("{\"nftables\": [}"), -EINVAL, "line 1");
    refuse(STR("{\"nftables\": [], \"nftables\": []}"), -EINVAL, "duplicate");
    refuse(STR("{\"nftables\": [{\"table\": {\"family\": \"ip\", \"name\": 5}}]}"), -EINVAL, "not as nft lists it");
    refuse(STR("{\"nftables\": [{\"chain\": {\"family\": \"ip\", \"table\": \"x\", \"name\": \"y\"}}]}"), -EINVAL, "not listed: table 'x'");
    refuse(STR("{\"nftables\": [{\"table\": {\"family\": \"ip\", \"name\": \"x\"}}, {\"table\": {\"family\": \"ip\", \"name\": \"x\"}}]}"), -EINVAL,
           "listed twice");
#define IN_CHAIN(rules) "{\"nftables\": [{\"table\": {\"family\": \"ip\", \"name\": \"t\"}}," \
                        "{\"chain\": {\"family\": \"ip\", \"table\": \"t\", \"name\": \"c\"}}," rules "]}"
#define SADDR "\"left\": {\"payload\": {\"protocol\": \"ip\", \"field\": \"saddr\"}}"
#define RULE(expr) "{\"rule\": {\"family\": \"ip\", \"table\": \"t\", \"chain\": \"c\", \"expr\": " expr "}}"
    refuse(STR(IN_CHAIN(RULE("5"))), -EINVAL, "a rule without expr");
    refuse(STR(IN_CHAIN(RULE("[{\"jump\": {\"target\": \"d\"}}]"))), -EINVAL, "a jump to a chain 'd' that isn't listed");
    refuse(STR(IN_CHAIN(RULE("[{\"jump\": {\"target\": \"c\"}}]"))), -EINVAL, "leads back to itself");
    refuse(STR(IN_CHAIN(RULE("[{\"match\": {\"op\": \"==\"}}]"))), -EINVAL, "a match without op, left and right");
    refuse(STR(IN_CHAIN(RULE("[{\"match\": {\"op\": \"==\", " SADDR ", \"right\": \"@s\"}}]"))), -EINVAL, "a set 's' that isn't listed");
    refuse(STR(IN_CHAIN(RULE("[{\"match\": {\"op\": \"==\", " SADDR ", \"right\": 99999999999999999999999}}]"))), -EINVAL,
           "line 1");
}

static void test_deep_nesting_ends_at_once(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 8 << 20);
    for (unsigned i = 0; i < 1000000; i++)
        buf_append(&text, STR("[{\"&\":"));
    refuse(buf_str(&text), -EINVAL, "depth");
    buf_clear(&text);
#define TABLE "{\"table\": {\"family\": \"ip\", \"name\": \"t\"}}, {\"chain\": {\"family\": \"ip\", \"table\": \"t\", \"name\": \"c\"}}"
    buf_append(&text, STR("{\"nftables\": [" TABLE ", {\"rule\": {\"family\": \"ip\", \"table\": \"t\", \"chain\": \"c\", \"expr\": [{\"match\": "
                          "{\"op\": \"==\", \"right\": 5, \"left\": "));
    for (unsigned i = 0; i < 1000; i++)
        buf_append(&text, STR("{\"&\": ["));
    buf_append(&text, STR("5"));
    for (unsigned i = 0; i < 1000; i++)
        buf_append(&text, STR("]}"));
    buf_append(&text, STR("}}]}}]}"));
    struct packet_filter filter;
    assert_int_equal(observe_nftables_read(buf_str(&text), STR("nftables on h"), &filter, NULL), 0);
    packet_filter_deinit(&filter);
    buf_deinit(&text);
}

static void test_a_hundred_megabytes_are_refused_unread(void **state)
{
    (void)state;
    size_t size = 100 << 20;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    refuse(str_make(text, size), -E2BIG, "more than 32 MB");
    /* What fits, but would take fifty times its size to hold. */
    size = 30 << 20;
    text[0] = '[';
    for (size_t i = 1; i + 3 <= size; i += 3)
        memcpy(text + i, "[],", 3);
    refuse(str_make(text, size), -E2BIG, "more memory than");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rendered_filter_that_the_kernel_holds_is_what_was_rendered),
        cmocka_unit_test(test_foreign_rules_mean_what_the_kernel_does_with_them),
        cmocka_unit_test(test_iptables_rules_are_told_as_far_as_they_can_be),
        cmocka_unit_test(test_a_set_elements_comment_names_the_grant),
        cmocka_unit_test(test_what_is_no_listing_is_refused),
        cmocka_unit_test(test_deep_nesting_ends_at_once),
        cmocka_unit_test(test_a_hundred_megabytes_are_refused_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
