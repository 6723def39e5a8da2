/* Addresses: one value for both forms of a peer, prefixes without stray bits, and nothing but numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "base/address.h"

static struct address parsed(const char *text)
{
    struct address address;
    assert_true(address_parse(str_of(text), &address));
    return address;
}

static struct address_prefix prefix(const char *text)
{
    struct address_prefix result;
    assert_true(address_prefix_parse(str_of(text), &result));
    return result;
}

static void test_texts_come_back(void **state)
{
    static const char *const texts[] = { "100.64.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "fd7a:115c:a1e0::1", "2001:db8::ff00:42:8329" };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct address address = parsed(texts[i]);
        char text[ADDRESS_TEXT_SIZE];
        assert_string_equal(address_format(&address, text), texts[i]);
    }
}

static void test_a_mapped_address_is_the_ipv4_one(void **state)
{
    (void)state;
    struct address plain = parsed("100.64.0.1"), mapped = parsed("::ffff:100.64.0.1"), hex = parsed("::ffff:6440:1");
    assert_true(address_equal(&plain, &mapped) && address_equal(&plain, &hex));
    assert_true(address_is_v4(&mapped));
    assert_true(address_hash(&plain) == address_hash(&mapped));
    struct address compatible = parsed("::100.64.0.1"); /* another thing (RFC 4291 section 2.5.5.1) */
    assert_false(address_equal(&plain, &compatible));
}

static void test_only_whole_numeric_addresses(void **state)
{
    static const char *const refused[] = {
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4/32", "0x7f.1.1.1", "::g", ":::", "1::2::3",
        "fe80::1%eth0", "localhost", "[::1]", "1:2:3:4:5:6:7:8:9", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    struct address address = parsed("10.0.0.1"), before = address;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        if (address_parse(str_of(refused[i]), &address))
            fail_msg("'%s' was taken", refused[i]);
    assert_false(address_parse(str_make("1.2.3.4\0x", 9), &address));
    assert_false(address_parse(str_make("1.2.3.4\0", 8), &address));
    assert_true(address_equal(&address, &before));
    assert_true(address_parse(str_make("1.2.3.45", 7), &address)); /* not a byte past the length */
    assert_true(address_equal(&address, &(struct address){ { [10] = 0xff, [11] = 0xff, [12] = 1, [13] = 2, [14] = 3, [15] = 4 } }));
}

static void test_prefixes(void **state)
{
    static const struct {
        const char *text, *formatted;
        unsigned bits;
    } cases[] = {
        { "100.64.0.0/10", "100.64.0.0/10", 106 }, { "10.0.0.1", "10.0.0.1", 128 }, { "10.0.0.1/32", "10.0.0.1", 128 }, { "0.0.0.0/0", "0.0.0.0/0", 96 },
        { "::/0", "::/0", 0 }, { "fd00::/8", "fd00::/8", 8 }, { "fd00::1/128", "fd00::1", 128 }, { "128.0.0.0/1", "128.0.0.0/1", 97 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address_prefix p = prefix(cases[i].text);
        char text[ADDRESS_PREFIX_TEXT_SIZE];
        assert_int_equal(p.bits, cases[i].bits);
        assert_string_equal(address_prefix_format(&p, text), cases[i].formatted);
    }
}

static void test_prefixes_with_host_bits_or_odd_lengths_are_refused(void **state)
{
    static const char *const refused[] = {
        "100.64.0.1/10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8", "fd00::1/64", "fd00::/129", "/8", "10.0.0.0/a",
        "10.0.0.0/255.0.0.0",
    };
    struct address_prefix p = prefix("10.0.0.0/8"), before = p;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        if (address_prefix_parse(str_of(refused[i]), &p))
            fail_msg("'%s' was taken", refused[i]);
    assert_memory_equal(&p, &before, sizeof p);
}

static void test_contains(void **state)
{
    (void)state;
    struct address_prefix mesh = prefix("100.64.0.0/10"), all_v4 = prefix("0.0.0.0/0"), all = prefix("::/0");
    struct address inside = parsed("100.127.255.255"), outside = parsed("100.128.0.0"), v6 = parsed("fd00::1");
    assert_true(address_prefix_contains(&mesh, &inside));
    assert_false(address_prefix_contains(&mesh, &outside));
    assert_true(address_prefix_contains(&all_v4, &outside));
    assert_false(address_prefix_contains(&all_v4, &v6));
    assert_true(address_prefix_contains(&all, &v6));
    assert_false(address_prefix_contains(&all, &inside)); /* though IPv4 is held within it */
}

static void test_loopback(void **state)
{
    static const char *const loops[] = { "127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1" };
    static const char *const others[] = { "128.0.0.1", "::", "::2", "126.255.255.255" };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(loops); i++) {
        struct address loop = parsed(loops[i]), other = parsed(others[i]);
        assert_true(address_is_loopback(&loop));
        assert_false(address_is_loopback(&other));
    }
}

static void test_neighbours_on_the_axis(void **state)
{
    (void)state;
    struct address at, expected;
    assert_true(address_parse(STR("10.0.255.255"), &at) && address_parse(STR("10.1.0.0"), &expected));
    assert_true(address_advance(&at));
    assert_true(address_equal(&at, &expected));
    assert_true(address_retreat(&at));
    assert_true(address_parse(STR("10.0.255.255"), &expected) && address_equal(&at, &expected));
    struct address first = { { 0 } }, last;
    memset(&last, 0xff, sizeof last);
    at = last;
    assert_false(address_advance(&at));
    assert_true(address_equal(&at, &first));
    assert_false(address_retreat(&at));
    assert_true(address_equal(&at, &last));
}

static void test_socket_addresses_go_both_ways(void **state)
{
    (void)state;
    struct address v4 = parsed("100.64.0.1"), v6 = parsed("fd00::1"), back;
    struct sockaddr_storage sa;
    assert_int_equal(address_to_sockaddr(&v4, 443, &sa), sizeof(struct sockaddr_in));
    assert_int_equal(((struct sockaddr_in *)&sa)->sin_port, htons(443));
    assert_true(address_from_sockaddr((struct sockaddr *)&sa, &back) && address_equal(&v4, &back));
    assert_int_equal(address_to_sockaddr(&v6, 80, &sa), sizeof(struct sockaddr_in6));
    assert_true(address_from_sockaddr((struct sockaddr *)&sa, &back) && address_equal(&v6, &back));
    sa.ss_family = AF_UNIX;
    assert_false(address_from_sockaddr((struct sockaddr *)&sa, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_come_back),
        cmocka_unit_test(test_a_mapped_address_is_the_ipv4_one),
        cmocka_unit_test(test_only_whole_numeric_addresses),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_prefixes_with_host_bits_or_odd_lengths_are_refused),
        cmocka_unit_test(test_contains),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_neighbours_on_the_axis),
        cmocka_unit_test(test_socket_addresses_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
