/* Exchanges between a front and a back that only count what they are told: timers, and what passes when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/exchange.h"

static struct gateway gw;
static unsigned n_bodies, n_resumes;

static void front_resume(void *self)
{
    (void)self;
    n_resumes++;
}

static int back_start(void *self, struct exchange *x)
{
    (void)self, (void)x;
    return 0;
}

static bool back_body(void *self, struct str piece, bool end)
{
    (void)self, (void)piece, (void)end;
    n_bodies++;
    return true;
}

static const struct front_ops front = { .resume = front_resume };
static const struct back_ops back = { .start = back_start, .body = back_body };

static int set_up(void **state)
{
    (void)state;
    n_bodies = n_resumes = 0;
    return io_loop_init(&gw.loop);
}

static int tear_down(void **state)
{
    (void)state;
    io_loop_deinit(&gw.loop);
    return 0;
}

static void never(struct io_timer *timer)
{
    (void)timer;
    fail();
}

static void test_an_upload_that_goes_on_is_not_ended_by_the_timer_for_the_answer(void **state)
{
    (void)state;
    int self;
    struct exchange x = { .gw = &gw, .front_ops = &front, .front = &self, .timer = { .fire = never }, .n_candidates = 1 };
    exchange_back_ready(&x, &back, &self);
    assert_int_equal(n_resumes, 1);
    for (int minute = 0; minute < 20; minute++) {
        gw.loop.now_ms += 60000;
        exchange_request_body(&x, STR("piece"), false);
        assert_true(x.timer.due_ms >= gw.loop.now_ms + GATEWAY_FIRST_BYTE_MS);
    }
    gw.loop.now_ms += 60000;
    exchange_request_body(&x, STR_NONE, true);
    assert_true(x.timer.due_ms >= gw.loop.now_ms + GATEWAY_FIRST_BYTE_MS);
    assert_int_equal(n_bodies, 21);
    io_timer_clear(&gw.loop, &x.timer);
}

static void test_what_follows_an_upgrade_is_for_the_tunnel_only(void **state)
{
    (void)state;
    int self;
    struct exchange x = { .gw = &gw, .back_ops = &back, .back = &self, .upgrade = true };
    for (x.state = EXCHANGE_DIALLING; x.state < EXCHANGE_OVER; x.state++)
        assert_int_equal(exchange_takes_body(&x), x.state == EXCHANGE_TUNNEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_upload_that_goes_on_is_not_ended_by_the_timer_for_the_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_follows_an_upgrade_is_for_the_tunnel_only, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
