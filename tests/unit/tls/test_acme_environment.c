/* The DNS provider's token: read as systemd reads such files, and blotted out of whatever is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roles/acme.h"

static int parse(const char *text, struct acme_environment *ret, struct error *err)
{
    char *copy = calloc(1, ACME_ENVIRONMENT_MAX);
    str_copy(copy, ACME_ENVIRONMENT_MAX, str_of(text));
    int r = acme_environment_parse(copy, ret, err);
    if (r < 0)
        free(copy);
    return r;
}

static void test_lines_are_read(void **state)
{
    (void)state;
    struct acme_environment e;
    struct error err = { "" };
    assert_int_equal(parse("# a comment\n; another\n\n  A_KEY = x\nexport B=\"quoted value\"\r\nC='it''s'\nD=\nPOSTERN_ACME_RESOLVERS=9.9.9.9:53\n"
                           "POSTERN_ACME_PROPAGATION_CHECK=no",
                           &e, &err),
                     -EINVAL); /* a blank before "=" is none of systemd's */
    assert_non_null(strstr(err.text, "line 4"));
    assert_int_equal(parse("# a comment\n; another\n\n  A_KEY=x\nexport B=\"quoted value\"\r\nC='it'\nD=\nPOSTERN_ACME_RESOLVERS=9.9.9.9:53\n"
                           "POSTERN_ACME_PROPAGATION_CHECK=no",
                           &e, &err),
                     0);
    assert_int_equal(e.n_variables, 4);
    assert_string_equal(e.variables[0], "A_KEY=x");
    assert_string_equal(e.variables[1], "B=quoted value");
    assert_string_equal(e.variables[2], "C=it");
    assert_string_equal(e.variables[3], "D=");
    assert_string_equal(e.resolvers, "9.9.9.9:53");
    assert_true(e.skip_propagation_check);
    acme_environment_deinit(&e);
}

static void test_what_steers_the_loader_is_refused(void **state)
{
    (void)state;
    struct acme_environment e;
    struct error err = { "" };
    static const char *const texts[] = { "LD_PRELOAD=/tmp/x.so", "LD_LIBRARY_PATH=/tmp", "=x", "1A=x", "A B=x", "no equals" };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(parse(texts[i], &e, &err), -EINVAL);
}

static void test_a_complaint_holds_no_value(void **state)
{
    (void)state;
    struct acme_environment e;
    struct error err = { "" };
    assert_int_equal(parse("TOKEN secret-token-without-equals\n", &e, &err), -EINVAL);
    assert_null(strstr(err.text, "secret"));
}

static void test_the_token_is_blotted_out_in_plain_and_in_base64(void **state)
{
    (void)state;
    struct acme_environment e;
    struct error err = { "" };
    static const char token[] = "tok3n-of-some-length";
    assert_int_equal(parse("A=tok3n-of-some-length\nB=abc\n", &e, &err), 0);
    char plain[] = "lego: tok3n-of-some-length and tok3n-of-some-length, abc";
    acme_environment_redact(&e, plain);
    assert_string_equal(plain, "lego: .................... and ...................., abc");
    for (size_t before = 0; before < 9; before++) {
        char credentials[64], encoded[128], said[160];
        int n = snprintf(credentials, sizeof credentials, "%.*s%s", (int)before, "user12345", token);
        EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)credentials, n);
        snprintf(said, sizeof said, "bad Basic %s", encoded);
        acme_environment_redact(&e, said);
        /* All but the characters that are shared with what is around it, two at each end. */
        size_t dots = 0;
        for (const char *c = said; *c; c++)
            dots += *c == '.';
        assert_true(dots >= strlen(token) * 4 / 3 - 4);
    }
    acme_environment_deinit(&e);
}

static void test_variables_are_bounded(void **state)
{
    (void)state;
    struct acme_environment e;
    struct error err = { "" };
    char text[ACME_VARIABLES_MAX * 8 + 64] = "";
    for (size_t i = 0, at = 0; i <= ACME_VARIABLES_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "A%zu=x\n", i);
    assert_int_equal(parse(text, &e, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_read),
        cmocka_unit_test(test_what_steers_the_loader_is_refused),
        cmocka_unit_test(test_a_complaint_holds_no_value),
        cmocka_unit_test(test_the_token_is_blotted_out_in_plain_and_in_base64),
        cmocka_unit_test(test_variables_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
