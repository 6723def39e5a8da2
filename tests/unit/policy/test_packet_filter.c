/* Whole relations of packet filters against the walk of one packet, over filters made from seeds; and what single constructs mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "policy/packet_filter.h"
#include "random_filter.h"

static const struct str interfaces[] = { STR("mesh0"), STR("lo"), STR("eth1"), STR("") };

static struct address address(const char *text)
{
    struct address a = { 0 };
    if (!address_parse(str_of(text), &a))
        fail_msg("%s", text);
    return a;
}

static struct relation_range prefix(const char *text)
{
    struct address_prefix p;
    if (!address_prefix_parse(str_of(text), &p))
        fail_msg("%s", text);
    return relation_range_of_prefix(&p);
}

struct answers {
    struct relation open, unknown;
};

static void answers_of(const struct packet_filter *filter, enum packet_path path, struct str interface, struct answers *ret)
{
    const struct packet_arrival arrival = { .interface = interface, .uid = 901 };
    relation_init(&ret->open);
    relation_init(&ret->unknown);
    assert_int_equal(packet_filter_relation(filter, path, &arrival, NULL, 0, &ret->open, &ret->unknown), 0);
}

static enum packet_answer answer(const struct answers *a, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    bool is_open = relation_find_rule(&a->open, from, to, protocol, port) != UINT32_MAX;
    bool is_unknown = relation_find_rule(&a->unknown, from, to, protocol, port) != UINT32_MAX;
    assert_false(is_open && is_unknown);
    return is_open ? PACKET_ADMITTED : is_unknown ? PACKET_UNKNOWN : PACKET_DENIED;
}

static void answers_deinit(struct answers *a)
{
    relation_deinit(&a->open);
    relation_deinit(&a->unknown);
}

static void compare(const struct packet_filter *filter, uint64_t seed, uint64_t made_from, unsigned *n_of)
{
    for (unsigned path = PACKET_TO_HOST; path <= PACKET_FROM_HOST; path++) {
        struct answers answers;
        struct str interface = interfaces[random_below(&seed, ARRAY_SIZE(interfaces))];
        const struct packet_arrival arrival = { .interface = interface, .uid = 901 };
        answers_of(filter, path, interface, &answers);
        for (unsigned i = 0; i < 300; i++) {
            struct address from = random_filter_address(&seed), to = random_filter_address(&seed);
            uint8_t protocol = random_below(&seed, 2) ? IPPROTO_TCP : IPPROTO_UDP;
            uint16_t port = random_filter_port(&seed);
            if (address_is_v4(&from) != address_is_v4(&to))
                continue;
            enum packet_answer expected = packet_filter_decide(filter, path, &arrival, &from, &to, protocol, port, NULL);
            n_of[expected]++;
            if (answer(&answers, &from, &to, protocol, port) != expected) {
                char a[ADDRESS_TEXT_SIZE], b[ADDRESS_TEXT_SIZE];
                fail_msg("seed %llu: %s to %s %u/%u by '%.*s', path %u: expected %u", (unsigned long long)made_from, address_format(&from, a),
                         address_format(&to, b), protocol, port, STR_ARG(interface), path, expected);
            }
        }
        answers_deinit(&answers);
    }
}

static void test_the_whole_relation_is_what_each_packet_meets(void **state)
{
    (void)state;
    unsigned n_of[3] = { 0 };
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct packet_filter filter;
        random_filter(&filter, seed, RANDOM_FILTER_UNKNOWN);
        compare(&filter, seed * 977, seed, n_of);
        packet_filter_deinit(&filter);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(n_of[i] > 50000); /* no answer is rare */
}

/* ---- single constructs ---- */

struct small {
    struct packet_filter filter;
    uint32_t table, input;
};

static void small_init(struct small *s, uint8_t family, enum packet_verdict policy)
{
    assert_int_equal(packet_filter_init(&s->filter, STR("nftables on roc")), 0);
    s->table = packet_filter_add_table(&s->filter, family, STR("t"));
    s->input = packet_filter_add_chain(&s->filter, s->table, STR("input"));
    packet_filter_set_hook(&s->filter, s->input, PACKET_HOOK_INPUT, 0, policy);
}

static enum packet_answer ask(struct small *s, const char *from, const char *to, uint16_t port, uint32_t *ret_reason)
{
    const struct packet_arrival arrival = { .interface = STR("mesh0") };
    struct address f = address(from), t = address(to);
    struct answers answers;
    enum packet_answer decided = packet_filter_decide(&s->filter, PACKET_TO_HOST, &arrival, &f, &t, IPPROTO_TCP, port, ret_reason);
    answers_of(&s->filter, PACKET_TO_HOST, arrival.interface, &answers);
    assert_int_equal(answer(&answers, &f, &t, IPPROTO_TCP, port), decided);
    answers_deinit(&answers);
    return decided;
}

static void test_a_negated_address_is_of_its_family_only(void **state)
{
    (void)state;
    struct small s;
    small_init(&s, PACKET_ANY_FAMILY, PACKET_ACCEPT);
    packet_filter_add_rule(&s.filter, s.input, PACKET_DROP, PACKET_NONE);
    packet_filter_add_simple(&s.filter, PACKET_SOURCE, prefix("10.0.0.0/8"), PACKET_IPV4, true);
    assert_int_equal(packet_filter_seal(&s.filter, NULL), 0);
    uint32_t reason;
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 1, NULL), PACKET_ADMITTED);
    assert_int_equal(ask(&s, "11.1.1.1", "10.0.0.1", 1, &reason), PACKET_DENIED);
    assert_string_equal(packet_filter_reason(&s.filter, reason)->text.ptr, "t, chain input, rule 1");
    assert_int_equal(ask(&s, "fd00::1", "fd00::2", 1, &reason), PACKET_ADMITTED);
    assert_string_equal(packet_filter_reason(&s.filter, reason)->text.ptr, "t, chain input, its policy: accept");
    packet_filter_deinit(&s.filter);
}

static void test_a_table_of_one_family_says_nothing_of_the_other(void **state)
{
    (void)state;
    struct small s;
    small_init(&s, PACKET_IPV4, PACKET_DROP);
    assert_int_equal(packet_filter_seal(&s.filter, NULL), 0);
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 1, NULL), PACKET_DENIED);
    assert_int_equal(ask(&s, "fd00::1", "fd00::2", 1, NULL), PACKET_ADMITTED);
    packet_filter_deinit(&s.filter);
}

static void test_an_accept_ends_its_base_chain_only(void **state)
{
    (void)state;
    struct small s;
    small_init(&s, PACKET_ANY_FAMILY, PACKET_ACCEPT);
    packet_filter_add_rule(&s.filter, s.input, PACKET_ACCEPT, PACKET_NONE);
    uint32_t later = packet_filter_add_chain(&s.filter, s.table, STR("later"));
    packet_filter_set_hook(&s.filter, later, PACKET_HOOK_INPUT, 10, PACKET_ACCEPT);
    packet_filter_add_rule(&s.filter, later, PACKET_DROP, PACKET_NONE);
    packet_filter_add_simple(&s.filter, PACKET_PORT, packet_number(22, 23), PACKET_ANY_FAMILY, false);
    assert_int_equal(packet_filter_seal(&s.filter, NULL), 0);
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 22, NULL), PACKET_DENIED);
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 24, NULL), PACKET_ADMITTED);
    packet_filter_deinit(&s.filter);
}

static void test_what_cannot_be_told_touches_what_depends_on_it_only(void **state)
{
    (void)state;
    struct small s;
    small_init(&s, PACKET_ANY_FAMILY, PACKET_DROP);
    packet_filter_add_rule(&s.filter, s.input, PACKET_ACCEPT, PACKET_NONE);
    packet_filter_add_simple(&s.filter, PACKET_PORT, packet_number(22, 22), PACKET_ANY_FAMILY, false);
    packet_filter_add_rule(&s.filter, s.input, PACKET_ACCEPT, PACKET_NONE);
    packet_filter_add_simple(&s.filter, PACKET_PORT, packet_number(20, 30), PACKET_ANY_FAMILY, false);
    packet_filter_add_simple(&s.filter, PACKET_OTHER, packet_number(0, 0), PACKET_ANY_FAMILY, false);
    packet_filter_add_rule(&s.filter, s.input, PACKET_DROP, PACKET_NONE);
    packet_filter_add_simple(&s.filter, PACKET_OTHER, packet_number(0, 0), PACKET_ANY_FAMILY, true);
    assert_int_equal(packet_filter_seal(&s.filter, NULL), 0);
    uint32_t reason;
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 22, NULL), PACKET_ADMITTED);
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 25, &reason), PACKET_UNKNOWN);
    assert_string_equal(packet_filter_reason(&s.filter, reason)->text.ptr, "t, chain input, rule 2");
    assert_int_equal(ask(&s, "10.1.1.1", "10.0.0.1", 31, NULL), PACKET_DENIED); /* dropped by the third rule or by the policy */
    packet_filter_deinit(&s.filter);
}

/* ---- what no kernel takes ---- */

static void test_a_circle_of_jumps_is_refused(void **state)
{
    (void)state;
    struct small s;
    struct error err = { "" };
    small_init(&s, PACKET_ANY_FAMILY, PACKET_ACCEPT);
    uint32_t other = packet_filter_add_chain(&s.filter, s.table, STR("other"));
    packet_filter_add_rule(&s.filter, s.input, PACKET_JUMP, other);
    packet_filter_add_rule(&s.filter, other, PACKET_GOTO, s.input);
    assert_int_equal(packet_filter_seal(&s.filter, &err), -EINVAL);
    assert_non_null(strstr(err.text, "leads back to itself"));
    packet_filter_deinit(&s.filter);
}

static void test_jumps_that_are_too_deep_are_refused(void **state)
{
    (void)state;
    for (unsigned deep = 0; deep < 2; deep++) {
        struct small s;
        struct error err = { "" };
        small_init(&s, PACKET_ANY_FAMILY, PACKET_ACCEPT);
        uint32_t last = s.input;
        for (unsigned i = 0; i < 15 + deep; i++) {
            uint32_t next = packet_filter_add_chain(&s.filter, s.table, STR("next"));
            packet_filter_add_rule(&s.filter, last, PACKET_JUMP, next);
            last = next;
        }
        assert_int_equal(packet_filter_seal(&s.filter, &err), deep ? -EINVAL : 0);
        packet_filter_deinit(&s.filter);
    }
}

static void test_jumps_that_multiply_end_in_bounded_time(void **state)
{
    (void)state;
    struct small s;
    small_init(&s, PACKET_ANY_FAMILY, PACKET_ACCEPT);
    uint32_t chains[15];
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++)
        chains[i] = packet_filter_add_chain(&s.filter, s.table, STR("next"));
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++)
        for (unsigned k = 0; k < 12; k++) {
            packet_filter_add_rule(&s.filter, i ? chains[i - 1] : s.input, PACKET_JUMP, chains[i]);
            packet_filter_add_simple(&s.filter, PACKET_PORT, packet_number(k, 100 + k), PACKET_ANY_FAMILY, false);
        }
    assert_int_equal(packet_filter_seal(&s.filter, NULL), 0);
    const struct packet_arrival arrival = { .interface = STR("mesh0") };
    struct relation open;
    relation_init(&open);
    assert_int_equal(packet_filter_relation(&s.filter, PACKET_TO_HOST, &arrival, NULL, 0, &open, NULL), -E2BIG);
    struct address from = address("10.0.0.1"), to = address("10.0.0.2");
    assert_int_equal(packet_filter_decide(&s.filter, PACKET_TO_HOST, &arrival, &from, &to, IPPROTO_TCP, 50, NULL), PACKET_UNKNOWN);
    relation_deinit(&open);
    packet_filter_deinit(&s.filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_whole_relation_is_what_each_packet_meets),
        cmocka_unit_test(test_a_negated_address_is_of_its_family_only),
        cmocka_unit_test(test_a_table_of_one_family_says_nothing_of_the_other),
        cmocka_unit_test(test_an_accept_ends_its_base_chain_only),
        cmocka_unit_test(test_what_cannot_be_told_touches_what_depends_on_it_only),
        cmocka_unit_test(test_a_circle_of_jumps_is_refused),
        cmocka_unit_test(test_jumps_that_are_too_deep_are_refused),
        cmocka_unit_test(test_jumps_that_multiply_end_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
