/* Parsing whole literals in tests, from memory of exactly their size so that a sanitizer sees a byte read too far. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/h1.h"

static char *parse_copy; /* what the last head borrows from */

static inline const char *parse_keep(struct str text)
{
    free(parse_copy);
    parse_copy = malloc(text.len ? text.len : 1);
    assert_non_null(parse_copy);
    memcpy(parse_copy, text.ptr, text.len);
    return parse_copy;
}

static inline int parse_forget(void **state)
{
    (void)state;
    free(parse_copy);
    parse_copy = NULL;
    return 0;
}

/* The violation of a request; HTTP_FINE when *ret holds it whole. */
static inline enum http_violation parse_request(struct str text, struct http_head *ret)
{
    size_t scanned = 0, used = 0;
    enum http_violation violation = HTTP_FINE;
    int r = http1_parse_request(parse_keep(text), text.len, &scanned, ret, &used, &violation);
    assert_int_not_equal(r, HTTP1_MORE);
    if (r == 0)
        assert_int_equal(used, text.len);
    assert_int_equal(r == 0, violation == HTTP_FINE);
    return violation;
}

static inline enum http_violation parse_response(struct str text, bool request_is_head, struct http_head *ret)
{
    size_t scanned = 0, used = 0;
    enum http_violation violation = HTTP_FINE;
    int r = http1_parse_response(parse_keep(text), text.len, &scanned, request_is_head, ret, &used, &violation);
    assert_int_not_equal(r, HTTP1_MORE);
    if (r == 0)
        assert_int_equal(used, text.len);
    assert_int_equal(r == 0, violation == HTTP_FINE);
    return violation;
}

static inline void assert_text(struct str actual, const char *expected)
{
    if (!str_equal(actual, str_of(expected)))
        fail_msg("\"%.*s\" is not \"%s\"", STR_ARG(actual), expected);
}

static inline void assert_violation(enum http_violation actual, enum http_violation expected, const char *input)
{
    if (actual != expected)
        fail_msg("\"%s\" where \"%s\" was due, for: %s", http_violation_text(actual), http_violation_text(expected), input);
}

#define TEST(function) cmocka_unit_test_teardown(function, parse_forget)
