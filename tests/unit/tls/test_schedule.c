/* Renewal and retry times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tls/schedule.h"

static void test_renewal_is_before_two_thirds_of_the_life(void **state)
{
    (void)state;
    static const int64_t lives[] = { 30, 3600, 90 * 86400, 10LL * 365 * 86400 };
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        for (uint64_t seed = 0; seed < 1000; seed++) {
            int64_t at = tls_renewal_time(1000, 1000 + lives[i], seed);
            assert_true(at <= 1000 + lives[i] * 2 / 3);
            assert_true(at >= 1000 + lives[i] * 6 / 10 - 2);
            assert_int_equal(at, tls_renewal_time(1000, 1000 + lives[i], seed));
        }
    }
}

static void test_renewals_are_spread(void **state)
{
    (void)state;
    unsigned early = 0;
    int64_t life = 90 * 86400, middle = life * 19 / 30;
    for (uint64_t seed = 0; seed < 1000; seed++)
        early += tls_renewal_time(0, life, seed) < middle;
    assert_in_range(early, 400, 600);
}

static void test_a_life_of_nothing_is_due_at_once(void **state)
{
    (void)state;
    assert_int_equal(tls_renewal_time(500, 500, 1), 500);
    assert_int_equal(tls_renewal_time(500, 400, 1), 500);
}

static void test_retries_back_off_to_a_limit(void **state)
{
    (void)state;
    int64_t before = 0;
    for (uint32_t n = 1; n < 8; n++) {
        int64_t delay = tls_retry_delay(n, 300, 21600, 7);
        assert_true(delay > before);
        before = delay;
    }
    for (uint32_t n = 8; n < 100; n++) {
        assert_true(tls_retry_delay(n, 300, 21600, n) >= 21600);
        assert_true(tls_retry_delay(n, 300, 21600, n) <= 21600 * 5 / 4);
    }
    assert_true(tls_retry_delay(UINT32_MAX, 300, 21600, 1) <= 21600 * 5 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewal_is_before_two_thirds_of_the_life),
        cmocka_unit_test(test_renewals_are_spread),
        cmocka_unit_test(test_a_life_of_nothing_is_due_at_once),
        cmocka_unit_test(test_retries_back_off_to_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
