/* Borrowed strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/str.h"

static void test_split_leaves_the_rest(void **state)
{
    (void)state;
    struct str rest = STR("a/b//c");
    assert_true(str_equal(str_split(&rest, '/'), STR("a")));
    assert_true(str_equal(str_split(&rest, '/'), STR("b")));
    assert_true(str_equal(str_split(&rest, '/'), STR("")));
    assert_true(str_equal(str_split(&rest, '/'), STR("c")));
    assert_int_equal(rest.len, 0);
    assert_true(str_equal(str_split(&rest, '/'), STR("")));
}

static void test_nothing_is_equal_to_empty(void **state)
{
    (void)state;
    assert_true(str_equal(STR_NONE, STR("")));
    assert_true(str_starts_with(STR("x"), STR_NONE));
    assert_true(str_ends_with(STR_NONE, STR_NONE));
    assert_int_equal(str_compare(STR_NONE, STR("")), 0);
    assert_int_equal(str_find_char(STR_NONE, 'x'), 0);
    assert_int_equal(str_of(NULL).len, 0);
    assert_int_equal(str_trim(STR(" \t ")).len, 0);
    assert_int_equal(str_skip(STR("ab"), 5).len, 0);
}

static void test_case_is_that_of_ascii_only(void **state)
{
    (void)state;
    assert_true(str_equal_nocase(STR("Grafana"), STR("gRAFANA")));
    assert_false(str_equal_nocase(STR("[x"), STR("{x"))); /* 0x20 apart, and no letters */
    assert_false(str_equal_nocase(STR("\xc4"), STR("\xe4")));
}

static void test_compare_orders_a_prefix_first(void **state)
{
    (void)state;
    assert_true(str_compare(STR("a"), STR("ab")) < 0);
    assert_true(str_compare(STR("b"), STR("ab")) > 0);
    assert_true(str_compare(STR("\xff"), STR("a")) > 0);
}

static void test_numbers_are_digits_within_the_limit(void **state)
{
    static const char *const refused[] = { "", " 1", "1 ", "+1", "-1", "0x1", "1e3", "65536", "18446744073709551616", "99999999999999999999999" };
    (void)state;
    uint64_t value = 7;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_false(str_to_u64(str_of(refused[i]), 65535, &value));
        assert_int_equal(value, 7);
    }
    assert_true(str_to_u64(STR("65535"), 65535, &value));
    assert_int_equal(value, 65535);
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_true(str_to_u64(STR("000"), 1, &value));
    assert_int_equal(value, 0);
}

static void test_copy_cuts_and_terminates(void **state)
{
    (void)state;
    char text[4] = "xyz";
    assert_int_equal(str_copy(text, sizeof text, STR("grafana")), 3);
    assert_string_equal(text, "gra");
    assert_int_equal(str_copy(text, sizeof text, STR_NONE), 0);
    assert_string_equal(text, "");
    assert_int_equal(str_copy(text, 1, STR("a")), 0);
    assert_string_equal(text, "");
}

static void test_wildcards(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        { "*", "", true }, { "*", "grafana", true }, { "mcp-*", "mcp-files", true }, { "mcp-*", "mcp-", true }, { "mcp-*", "mcp", false },
        { "*-git", "mcp-git", true }, { "*-git", "git", false }, { "m*g*t", "mcp-git", true }, { "m*x*t", "mcp-git", false }, { "", "", true },
        { "", "a", false }, { "a", "A", false }, { "**", "x", true }, { "a*a", "a", false }, { "a*a", "aa", true }, { "*aab", "aaab", true },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (str_match_wildcard(str_of(cases[i].pattern), str_of(cases[i].text)) != cases[i].matches)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
}

/* Patterns come from a file, names too: stars must not multiply. */
static void test_wildcards_of_many_stars_stay_cheap(void **state)
{
    (void)state;
    char pattern[2001], text[4000];
    for (size_t i = 0; i + 1 < sizeof pattern; i += 2) {
        pattern[i] = 'a';
        pattern[i + 1] = '*';
    }
    pattern[2000] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(str_match_wildcard(str_make(pattern, sizeof pattern), str_make(text, sizeof text)));
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(str_distance(STR("grafana"), STR("grafana"), 2), 0);
    assert_int_equal(str_distance(STR("grafana"), STR("Grafana"), 2), 0);
    assert_int_equal(str_distance(STR("grafnaa"), STR("grafana"), 2), 1); /* two neighbours swapped */
    assert_int_equal(str_distance(STR("grfana"), STR("grafana"), 2), 1);
    assert_int_equal(str_distance(STR("garfanna"), STR("grafana"), 2), 2);
    assert_int_equal(str_distance(STR("registry"), STR("grafana"), 2), 3); /* more than the limit */
    assert_int_equal(str_distance(STR(""), STR("ab"), 2), 2);
    char long_name[65];
    memset(long_name, 'a', sizeof long_name);
    assert_int_equal(str_distance(str_make(long_name, 65), str_make(long_name, 65), 2), 3);
    assert_int_equal(str_distance(str_make(long_name, 64), str_make(long_name, 63), 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_leaves_the_rest),
        cmocka_unit_test(test_nothing_is_equal_to_empty),
        cmocka_unit_test(test_case_is_that_of_ascii_only),
        cmocka_unit_test(test_compare_orders_a_prefix_first),
        cmocka_unit_test(test_numbers_are_digits_within_the_limit),
        cmocka_unit_test(test_copy_cuts_and_terminates),
        cmocka_unit_test(test_wildcards),
        cmocka_unit_test(test_wildcards_of_many_stars_stay_cheap),
        cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
