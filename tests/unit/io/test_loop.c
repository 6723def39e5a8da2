/* The event loop: timers in order and moved, deferred work, frees that wait for the round's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/eventfd.h>

#include "io/loop.h"

struct probe {
    struct io_loop *loop;
    struct io_timer timer;
    struct io_deferred deferred;
    struct io_source source;
    struct io_grave grave;
    int *order, *n_order, mark;
    struct probe *moves;      /* a timer that this one puts off when it fires */
    bool stops, released;
    unsigned n_runs;
};

static void timer_fired(struct io_timer *timer)
{
    struct probe *p = container_of(timer, struct probe, timer);
    p->order[(*p->n_order)++] = p->mark;
    if (p->moves)
        io_timer_set(p->loop, &p->moves->timer, 200);
    if (p->stops)
        io_loop_stop(p->loop);
}

static void test_timers_fire_in_order_and_a_moved_one_fires_late(void **state)
{
    (void)state;
    struct io_loop loop;
    int order[8], n = 0;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe p[3];
    for (int i = 0; i < 3; i++)
        p[i] = (struct probe){ .loop = &loop, .timer = { .fire = timer_fired }, .order = order, .n_order = &n, .mark = i };
    p[2].stops = true;
    io_timer_set(&loop, &p[2].timer, 400);
    io_timer_set(&loop, &p[1].timer, 100);
    io_timer_set(&loop, &p[0].timer, 50);
    io_timer_set(&loop, &p[0].timer, 200); /* later: found early in its old slot, and put off */
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(n, 3);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 0);
    assert_int_equal(order[2], 2);
    assert_int_equal(loop.n_timers, 0);
    io_loop_deinit(&loop);
}

static void test_a_timer_put_off_by_one_that_fires_before_it_in_the_same_sweep_does_not_fire_early(void **state)
{
    (void)state;
    struct io_loop loop;
    int order[8], n = 0;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe a = { .loop = &loop, .timer = { .fire = timer_fired }, .order = order, .n_order = &n, .mark = 1 };
    struct probe b = a, stop = a;
    b.mark = 2;
    stop.mark = 3;
    stop.stops = true;
    a.moves = &b;
    b.moves = &a;
    io_timer_set(&loop, &a.timer, 40);
    io_timer_set(&loop, &b.timer, 40);
    io_timer_set(&loop, &stop.timer, 150);
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(n, 2); /* whichever came first put the other off to after the stop */
    assert_int_equal(order[1], 3);
    io_timer_clear(&loop, &a.timer);
    io_timer_clear(&loop, &b.timer);
    assert_int_equal(loop.n_timers, 0);
    io_loop_deinit(&loop);
}

static void timer_buries(struct io_grave *grave)
{
    container_of(grave, struct probe, grave)->released = true;
}

static void deferred_ran(struct io_deferred *deferred)
{
    struct probe *p = container_of(deferred, struct probe, deferred);
    p->n_runs++;
    io_bury(p->loop, &p->grave, timer_buries);
    assert_false(p->released);
    io_loop_stop(p->loop);
}

static void source_ready(struct io_source *source, uint32_t events)
{
    struct probe *p = container_of(source, struct probe, source);
    (void)events;
    io_defer(p->loop, &p->deferred);
    io_defer(p->loop, &p->deferred);
}

static void test_deferred_work_runs_once_and_the_dead_are_freed_after_the_round(void **state)
{
    (void)state;
    struct io_loop loop;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe p = { .loop = &loop, .deferred = { .run = deferred_ran }, .source = { .fd = eventfd(1, EFD_CLOEXEC), .ready = source_ready } };
    assert_int_equal(io_watch(&loop, &p.source, EPOLLIN), 0);
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(p.n_runs, 1);
    assert_true(p.released);
    close(p.source.fd);
    io_loop_deinit(&loop);
}

static void deferred_goes_on(struct io_deferred *deferred)
{
    struct probe *p = container_of(deferred, struct probe, deferred);
    p->n_runs++;
    io_defer(p->loop, deferred);
}

static void source_stops(struct io_source *source, uint32_t events)
{
    struct probe *p = container_of(source, struct probe, source);
    (void)events;
    io_loop_stop(p->loop);
}

static void test_work_that_puts_itself_off_again_does_not_starve_events(void **state)
{
    (void)state;
    struct io_loop loop;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe p = { .loop = &loop, .deferred = { .run = deferred_goes_on }, .source = { .fd = eventfd(1, EFD_CLOEXEC), .ready = source_stops } };
    assert_int_equal(io_watch(&loop, &p.source, EPOLLIN), 0);
    io_defer(&loop, &p.deferred);
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(p.n_runs, 1);
    close(p.source.fd);
    io_loop_deinit(&loop);
}

enum { CROWD = 400 };

/* The first that fires brings an event; who is behind it in the crowd must not all come before that. */
static void crowd_fired(struct io_timer *timer)
{
    struct probe *p = container_of(timer, struct probe, timer);
    if ((*p->n_order)++ == 0)
        assert_int_equal(eventfd_write(p->source.fd, 1), 0);
}

static void test_a_crowd_of_due_timers_does_not_hold_up_events_and_all_of_it_fires(void **state)
{
    (void)state;
    static struct probe crowd[CROWD];
    struct io_loop loop;
    int n = 0, order[2], n_last = 0;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe p = { .loop = &loop, .source = { .fd = eventfd(0, EFD_CLOEXEC), .ready = source_stops } };
    assert_int_equal(io_watch(&loop, &p.source, EPOLLIN | EPOLLET), 0);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = (struct probe){ .timer = { .fire = crowd_fired }, .n_order = &n, .source = p.source };
        io_timer_set(&loop, &crowd[i].timer, 1);
    }
    assert_int_equal(io_loop_run(&loop), 0);
    assert_in_range(n, 1, CROWD / 4);
    for (int i = 0; i < 10; i++) /* taken back while they wait for their turn */
        io_timer_clear(&loop, loop.due);
    struct probe last = { .loop = &loop, .timer = { .fire = timer_fired }, .order = order, .n_order = &n_last, .stops = true };
    io_timer_set(&loop, &last.timer, 100);
    loop.stopping = false;
    int n_left = (int)loop.n_timers - 1, n_before = n;
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(n - n_before, n_left);
    assert_int_equal(loop.n_timers, 0);
    close(p.source.fd);
    io_loop_deinit(&loop);
}

static void stop_after_round(struct io_loop *loop)
{
    io_loop_stop(loop);
}

static void count_fired(struct io_timer *timer)
{
    struct probe *p = container_of(timer, struct probe, timer);
    (*p->n_order)++;
}

/* How many of a crowd fire in a round that begins so long after they were due. */
static int fired_when_late(uint64_t late_ms)
{
    static struct probe crowd[CROWD];
    struct io_loop loop;
    int n = 0;
    assert_int_equal(io_loop_init(&loop), 0);
    loop.round_over = stop_after_round;
    loop.now_ms -= late_ms + 2 * IO_TICK_MS;
    loop.tick = loop.now_ms / IO_TICK_MS;
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = (struct probe){ .timer = { .fire = count_fired }, .n_order = &n };
        io_timer_set(&loop, &crowd[i].timer, 0);
    }
    assert_int_equal(io_loop_run(&loop), 0);
    for (int i = 0; i < CROWD; i++)
        io_timer_clear(&loop, &crowd[i].timer);
    io_loop_deinit(&loop);
    return n;
}

static void test_a_flood_of_timers_in_long_rounds_prevents_no_timer_from_ever_firing(void **state)
{
    (void)state;
    int few = fired_when_late(0), many = fired_when_late(3000);
    assert_in_range(few, 1, CROWD / 4);
    assert_true(many >= 4 * few);
    assert_true(many < CROWD);
}

static void test_undeferred_work_does_not_run(void **state)
{
    (void)state;
    struct io_loop loop;
    int order[2], n = 0;
    assert_int_equal(io_loop_init(&loop), 0);
    struct probe first = { .loop = &loop, .deferred = { .run = deferred_ran } }, second = first;
    struct probe stop = { .loop = &loop, .timer = { .fire = timer_fired }, .order = order, .n_order = &n, .stops = true };
    io_defer(&loop, &first.deferred);
    io_defer(&loop, &second.deferred);
    io_undefer(&loop, &second.deferred);
    io_undefer(&loop, &first.deferred);
    io_timer_set(&loop, &stop.timer, 1);
    assert_int_equal(io_loop_run(&loop), 0);
    assert_int_equal(first.n_runs + second.n_runs, 0);
    io_loop_deinit(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_in_order_and_a_moved_one_fires_late),
        cmocka_unit_test(test_a_timer_put_off_by_one_that_fires_before_it_in_the_same_sweep_does_not_fire_early),
        cmocka_unit_test(test_deferred_work_runs_once_and_the_dead_are_freed_after_the_round),
        cmocka_unit_test(test_work_that_puts_itself_off_again_does_not_starve_events),
        cmocka_unit_test(test_a_crowd_of_due_timers_does_not_hold_up_events_and_all_of_it_fires),
        cmocka_unit_test(test_a_flood_of_timers_in_long_rounds_prevents_no_timer_from_ever_firing),
        cmocka_unit_test(test_undeferred_work_does_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
