/* What HTTP/2 sessions hold in all: who is told to stop when it is too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/exchange.h"
#include "gateway/front_h2.h"

static void test_uploads_that_no_instance_takes_prevent_no_bound_on_memory(void **state)
{
    (void)state;
    static struct gateway gw;
    static struct h2_session sessions[1024];
    size_t n_refused = 0;
    gw.h2 = h2_shared_new();
    assert_non_null(gw.h2);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        sessions[i].gw = &gw;
        /* As much as the connection's window lets a client send, a frame at a time. */
        for (size_t sent = 0; sent < H2_CONNECTION_WINDOW; sent += 16384)
            n_refused += !h2_hold(&sessions[i], 16384, H2_HELD_UPLOADS);
    }
    assert_true(n_refused > 0);
    assert_true(gw.h2->held <= H2_HELD_WORKER + ARRAY_SIZE(sessions) * (H2_HELD_UPLOADS + 16384ull));
    struct h2_session late = { .gw = &gw };
    assert_true(h2_hold(&late, 16384, H2_HELD_UPLOADS)); /* who holds little may still begin */
    h2_let_go(&late, 16384);
    assert_int_equal(late.held, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++)
        h2_let_go(&sessions[i], sessions[i].held);
    assert_int_equal(gw.h2->held, 0);
    free(gw.h2);
}

static unsigned n_bodies, n_cancels;

static bool back_body(void *self, struct str piece, bool end)
{
    (void)self, (void)piece, (void)end;
    n_bodies++;
    return true;
}

static void back_cancel(void *self)
{
    (void)self;
    n_cancels++;
}

static void say_nothing(struct io_deferred *deferred)
{
    (void)deferred;
}

/* A piece is dropped, and the instance takes data again before the client's stream is reset. */
static void test_an_upload_with_a_dropped_piece_is_not_told_to_its_instance_as_the_whole(void **state)
{
    (void)state;
    static const struct back_ops back = { .body = back_body, .cancel = back_cancel };
    static struct metrics_page metrics;
    static struct gateway gw;
    static struct client client = { .gw = &gw, .again = { .run = say_nothing } };
    static struct front_h2 h2 = { .client = &client, .s = { .gw = &gw, .t = &client.t } };
    char piece[100] = "", self;
    struct front_stream stream = { .h2 = &h2, .out = { .session = &h2.s, .stream_id = 1 } };
    struct exchange *x = calloc(1, sizeof *x), *exchanges = x;
    assert_int_equal(io_loop_init(&gw.loop), 0);
    gw.metrics = &metrics;
    gw.recorder.pipe = -1;
    gw.h2 = h2_shared_new();
    assert_int_equal(h2_session_init(&h2.s, front_h2_callbacks(), true), 0);
    *x = (struct exchange){ .gw = &gw, .back_ops = &back, .back = &self, .back_congested = true, .front = &stream, .link = &exchanges,
                            .state = EXCHANGE_SENDING };
    stream.x = x;
    h2.streams = &stream;
    assert_int_equal(spill_append(&stream.in, str_make(piece, sizeof piece), 1000), 0);
    h2.s.held = H2_HELD_UPLOADS + 1;
    gw.h2->held = H2_HELD_WORKER;

    h2.collecting = &stream;
    h2.collected = piece;
    h2.n_collected = sizeof piece;
    assert_int_equal(front_h2_pass_collected(&h2, true), 0);
    x->back_congested = false;
    stream.resume = h2.resume = true;
    front_h2_deliver_resumed(&h2);
    assert_int_equal(n_bodies, 0);
    assert_int_equal(n_cancels, 1);
    assert_null(stream.x);
    assert_int_equal(h2.s.held, H2_HELD_UPLOADS + 1 - sizeof piece); /* nobody waits for the rest of it */
    h2_session_deinit(&h2.s);
    io_loop_deinit(&gw.loop);
    exchange_free_spares(&gw);
    free(gw.h2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uploads_that_no_instance_takes_prevent_no_bound_on_memory),
        cmocka_unit_test(test_an_upload_with_a_dropped_piece_is_not_told_to_its_instance_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
