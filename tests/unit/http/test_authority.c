/* Authorities: one spelling of a host name comes out, or nothing. */
#include "parse.h"

static void test_host_names_come_out_in_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *authority, *host;
    } cases[] = {
        { "grafana.home.example", "grafana.home.example" },
        { "Grafana.HOME.example:8443", "grafana.home.example" },
        { "grafana.home.example.", "grafana.home.example" },
        { "grafana.home.example.:443", "grafana.home.example" },
        { "my_app", "my_app" },
        { "10.0.0.1:80", "10.0.0.1" },
        { "[::1]", "[::1]" },
        { "[FD7A:115C:A1E0::1]:443", "[fd7a:115c:a1e0::1]" },
        { "a:65535", "a" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char host[256];
        struct str name = STR_NONE;
        assert_true(http_authority_host(str_of(cases[i].authority), host, &name));
        assert_text(name, cases[i].host);
        assert_true(http_authority_is_valid(str_of(cases[i].authority)));
    }
}

static void test_malformed_authorities_prevent_confused_routing(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "", ":", ":80", ".", "..", "a..b", ".a", "a..", "a:", "a:0", "a:65536", "a:123456", "a:80:80", "a:+80", "a: 80", "a b", "a@b", "u:p@a",
        "a/b", "a?b", "a#b", "a,b", "a%2eb", "a\\b", "a\tb", "\xc3\xa9", "[", "[]", "[::1", "::1", "[::1]80", "[::1]:", "[::1]a", "[1.2.3.4]",
        "[fe80::1%eth0]", "[::g]", "a[::1]", "http://a",
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char host[256];
        struct str name = STR_NONE;
        if (http_authority_host(str_of(cases[i]), host, &name) || http_authority_is_valid(str_of(cases[i])))
            fail_msg("accepted: %s", cases[i]);
    }
}

static void test_long_names_prevent_overflow(void **state)
{
    (void)state;
    char text[300], host[256];
    struct str name;
    memset(text, 'a', sizeof text);
    assert_true(http_authority_host(str_make(text, 63), host, &name));
    assert_false(http_authority_host(str_make(text, 64), host, &name));
    for (size_t i = 63; i < sizeof text; i += 64)
        text[i] = '.';
    assert_true(http_authority_host(str_make(text, 253), host, &name));
    assert_int_equal(name.len, 253);
    assert_false(http_authority_host(str_make(text, 254), host, &name));
    text[253] = '.';
    assert_true(http_authority_host(str_make(text, 254), host, &name));
    assert_int_equal(name.len, 253);
    assert_false(http_authority_host(str_make(text, 300), host, &name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_host_names_come_out_in_one_spelling),
        TEST(test_malformed_authorities_prevent_confused_routing),
        TEST(test_long_names_prevent_overflow),
    };
    return cmocka_run_group_tests_name("http authority", tests, NULL, NULL);
}
