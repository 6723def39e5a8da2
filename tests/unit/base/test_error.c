/* Error texts, wrapped from the cause outwards, cut where they don't fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/error.h"

static void test_wrapping_puts_the_outer_first(void **state)
{
    (void)state;
    struct error err;
    error_set(&err, "no such file: %s", "x");
    error_wrap(&err, "tls of %s", "main");
    error_wrap(&err, "reload");
    assert_string_equal(err.text, "reload: tls of main: no such file: x");
    error_set(NULL, "nobody asked");
    error_wrap(NULL, "nobody asked");
}

static void test_long_texts_are_cut_and_terminated(void **state)
{
    (void)state;
    struct error err;
    char text[2000];
    memset(text, 'a', sizeof text);
    error_set(&err, "%.*s", (int)sizeof text, text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    error_wrap(&err, "%.*s", (int)sizeof text, text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    error_set(&err, "short");
    error_wrap(&err, "%.*s", (int)sizeof err.text - 3, text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 4, "a: "); /* what fits of it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrapping_puts_the_outer_first),
        cmocka_unit_test(test_long_texts_are_cut_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
