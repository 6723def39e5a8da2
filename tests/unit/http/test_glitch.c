/* The glitch score: floods end the connection, ordinary clients never notice it, patience buys nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "http/glitch.h"

/* How many events in a row, gap_ms apart, until the verdict; 0 when n pass without it. */
static unsigned until(enum glitch_event event, enum glitch_verdict verdict, uint64_t gap_ms, unsigned n)
{
    struct glitch glitch = { 0 };
    uint64_t now_ms = 1000000;
    for (unsigned i = 1; i <= n; i++, now_ms += gap_ms)
        if (glitch_add(&glitch, event, now_ms) >= verdict)
            return i;
    return 0;
}

static void test_rapid_resets_prevent_instance_exhaustion(void **state)
{
    (void)state;
    assert_int_equal(until(GLITCH_RESET, GLITCH_END, 0, 1000), 150);
    assert_int_equal(until(GLITCH_RESET, GLITCH_CUT, 0, 1000), 200);
    assert_int_not_equal(until(GLITCH_RESET, GLITCH_CUT, 10, 10000), 0); /* 100 a second, for ever */
}

static void test_a_page_left_behind_is_no_attack(void **state)
{
    (void)state;
    assert_int_equal(until(GLITCH_RESET, GLITCH_END, 0, 100), 0); /* all streams at once */
    assert_int_equal(until(GLITCH_RESET, GLITCH_END, 60, 100000), 0);
    assert_int_equal(until(GLITCH_PING, GLITCH_END, 15, 100000), 0);
}

static void test_each_flood_prevents_cpu_exhaustion(void **state)
{
    (void)state;
    for (unsigned event = 0; event < GLITCH_EVENT_COUNT; event++) {
        unsigned n = until((enum glitch_event)event, GLITCH_CUT, 0, 2000);
        assert_in_range(n, 1, 1000);
        assert_in_range(until((enum glitch_event)event, GLITCH_END, 0, 2000), 1, n - 1);
    }
}

static void test_kinds_of_flood_add_up(void **state)
{
    (void)state;
    struct glitch glitch = { 0 };
    enum glitch_verdict verdict = GLITCH_FINE;
    unsigned n = 0;
    while (verdict != GLITCH_CUT && n < 10000)
        verdict = glitch_add(&glitch, (enum glitch_event)(n++ % GLITCH_EVENT_COUNT), 5);
    assert_in_range(n, 10, 200);
}

static void test_time_prevents_a_grudge(void **state)
{
    (void)state;
    struct glitch glitch = { 0 };
    for (unsigned i = 0; i < 149; i++)
        assert_int_equal(glitch_add(&glitch, GLITCH_RESET, 1000), GLITCH_FINE);
    assert_int_equal(glitch_add(&glitch, GLITCH_RESET, 1000), GLITCH_END);
    assert_int_equal(glitch_add(&glitch, GLITCH_RESET, 1000 + 10000), GLITCH_FINE);
    assert_int_equal(glitch.score, 50);
}

static void test_waiting_prevents_no_saving_up(void **state)
{
    (void)state;
    struct glitch glitch = { 0 };
    assert_int_equal(glitch_add(&glitch, GLITCH_RESET, 0), GLITCH_FINE);
    unsigned n = 1;
    while (glitch_add(&glitch, GLITCH_RESET, 3600000) != GLITCH_CUT)
        n++;
    assert_in_range(n, 198, 200);
}

static void test_tiny_window_updates_prevent_cpu_exhaustion(void **state)
{
    (void)state;
    struct glitch glitch = { 0 };
    unsigned n = 1;
    while (glitch_add_window_update(&glitch, 1000) != GLITCH_CUT)
        n++;
    assert_int_equal(n, 1000);
}

static void test_a_client_that_answers_every_event_is_no_attack(void **state)
{
    (void)state;
    struct glitch glitch = { 0 };
    for (unsigned i = 0; i < 100000; i++) { /* a stream of small events: two updates for each, at once */
        glitch_earn_updates(&glitch);
        assert_int_equal(glitch_add_window_update(&glitch, 1000), GLITCH_FINE);
        assert_int_equal(glitch_add_window_update(&glitch, 1000), GLITCH_FINE);
    }
    for (unsigned i = 0; i < 1000000; i++)
        glitch_earn_updates(&glitch);
    unsigned n = 1;
    while (glitch_add_window_update(&glitch, 1000) != GLITCH_CUT)
        n++;
    assert_in_range(n, 1000, 2002); /* a long download earns no more than that */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rapid_resets_prevent_instance_exhaustion),
        cmocka_unit_test(test_a_page_left_behind_is_no_attack),
        cmocka_unit_test(test_each_flood_prevents_cpu_exhaustion),
        cmocka_unit_test(test_kinds_of_flood_add_up),
        cmocka_unit_test(test_time_prevents_a_grudge),
        cmocka_unit_test(test_waiting_prevents_no_saving_up),
        cmocka_unit_test(test_tiny_window_updates_prevent_cpu_exhaustion),
        cmocka_unit_test(test_a_client_that_answers_every_event_is_no_attack),
    };
    return cmocka_run_group_tests_name("http glitch", tests, NULL, NULL);
}
