/* Transports: writes that are larger than what is gathered, behind a socket that takes nothing; who is handed large pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/gateway.h"
#include "gateway/transport.h"

static struct gateway gw;

static uint32_t seen_events;

static void stop(struct io_timer *timer)
{
    (void)timer;
    io_loop_stop(&gw.loop);
}

static void ignore(struct io_source *source, uint32_t events)
{
    (void)source, (void)events;
}

static void note(struct io_source *source, uint32_t events)
{
    (void)source;
    seen_events |= events;
    io_loop_stop(&gw.loop);
}

/* What one round brings; 0: nothing within 50 ms. */
static uint32_t a_round(void)
{
    struct io_timer timer = { .fire = stop };
    seen_events = 0;
    gw.loop.stopping = false;
    gw.loop.now_ms = io_now_us() / 1000;
    io_timer_set(&gw.loop, &timer, 50);
    assert_int_equal(io_loop_run(&gw.loop), 0);
    io_timer_clear(&gw.loop, &timer);
    return seen_events;
}

static int set_up(void **state)
{
    (void)state;
    gw.rx_scratch = malloc(TRANSPORT_SCRATCH);
    gw.tx_scratch = malloc(TRANSPORT_GATHER);
    return io_loop_init(&gw.loop);
}

static int tear_down(void **state)
{
    (void)state;
    free(gw.rx_scratch);
    free(gw.tx_scratch);
    io_loop_deinit(&gw.loop);
    return 0;
}

static size_t fill(int fd)
{
    char bytes[4096] = { 0 };
    size_t filled = 0;
    ssize_t n;
    while ((n = write(fd, bytes, sizeof bytes)) > 0)
        filled += (size_t)n;
    while ((n = write(fd, bytes, 1)) > 0)
        filled += (size_t)n;
    return filled;
}

static void test_a_large_piece_behind_a_full_socket_overflows_nothing_and_arrives_in_order(void **state)
{
    (void)state;
    int ends[2];
    struct transport t;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(transport_init(&t, &gw, ends[0], NULL, ignore), 0);
    size_t filled = fill(ends[0]);
    size_t large = 2 * (size_t)TRANSPORT_GATHER;
    char *piece = malloc(large), *got = malloc(filled + large);
    memset(piece, 'x', large);
    assert_int_equal(transport_write(&t, STR("size\r\n")), 0); /* gathered; found not to fit when the piece comes */
    assert_int_equal(transport_write(&t, str_make(piece, large)), 0);
    assert_int_equal(transport_flush(&t), 1);
    size_t have = 0;
    while (have < filled + 6 + large) {
        ssize_t n = read(ends[1], got, filled + large);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            size_t at = have + (size_t)i;
            assert_int_equal(got[i], at < filled ? 0 : at < filled + 6 ? "size\r\n"[at - filled] : 'x');
        }
        have += (size_t)n;
        t.writable = true;
        assert_true(transport_flush(&t) >= 0);
    }
    assert_int_equal(transport_flush(&t), 0);
    transport_close(&t);
    close(ends[1]);
    free(piece);
    free(got);
}

/* A reader with a socket of its own, and what the gateway wrote to it. */
struct reader {
    struct transport t;
    int end;
};

static void reader_init(struct reader *r, int size)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    assert_int_equal(transport_init(&r->t, &gw, ends[0], NULL, ignore), 0);
    r->end = ends[1];
}

static void reader_read(struct reader *r)
{
    static char bytes[65536];
    while (read(r->end, bytes, sizeof bytes) > 0)
        ;
}

/* As a relay does: large pieces to who is fluent, ordinary ones to others, none to who is congested. */
static size_t reader_send(struct reader *r)
{
    static char piece[GATEWAY_BULK_SIZE];
    size_t n = transport_is_fluent(&r->t) ? GATEWAY_BULK_SIZE : GATEWAY_PLAIN_SIZE;
    assert_int_equal(transport_write(&r->t, str_make(piece, n)), 0);
    assert_true(transport_flush(&r->t) >= 0);
    return n;
}

static void reader_become_fluent(struct reader *r)
{
    for (int i = 0; i < 8; i++) {
        reader_send(r);
        reader_read(r);
    }
}

static void reader_deinit(struct reader *r)
{
    transport_close(&r->t);
    close(r->end);
}

static void test_large_pieces_are_for_who_took_the_last_ones_whole(void **state)
{
    (void)state;
    struct reader r;
    reader_init(&r, 1 << 20);
    assert_int_equal(reader_send(&r), GATEWAY_PLAIN_SIZE);
    reader_become_fluent(&r);
    assert_int_equal(reader_send(&r), GATEWAY_BULK_SIZE);
    while (!transport_is_congested(&r.t))
        reader_send(&r);
    assert_false(transport_is_fluent(&r.t));
    while (transport_is_congested(&r.t)) {
        reader_read(&r);
        r.t.writable = true;
        assert_true(transport_flush(&r.t) >= 0);
    }
    assert_int_equal(gw.tx_held, 0);
    assert_int_equal(reader_send(&r), GATEWAY_PLAIN_SIZE); /* trust is earned again */
    reader_deinit(&r);
}

static void test_many_fast_readers_that_stall_prevent_no_bound_on_what_is_held(void **state)
{
    (void)state;
    enum { READERS = 240 };
    static struct reader readers[READERS];
    int n = 0;
    for (; n < READERS && gw.tx_held < TRANSPORT_HELD_FLUENT; n++) {
        reader_init(&readers[n], 192 * 1024);
        reader_become_fluent(&readers[n]);
        while (!transport_is_congested(&readers[n].t))
            reader_send(&readers[n]);
    }
    assert_true(n < READERS - 1);
    assert_true(gw.tx_held < TRANSPORT_HELD_FLUENT + 2 * GATEWAY_BULK_SIZE);
    reader_init(&readers[n], 192 * 1024);
    reader_become_fluent(&readers[n]);
    assert_int_equal(reader_send(&readers[n]), GATEWAY_PLAIN_SIZE); /* from here on all cost what any reader may cost */
    n++;
    while (n-- > 0)
        reader_deinit(&readers[n]);
    assert_int_equal(gw.tx_held, 0);
}

static void test_a_slow_reader_of_the_first_bytes_is_not_taken_for_one_that_stopped(void **state)
{
    (void)state;
    struct reader r;
    char bytes[40 * 1024]; /* at least one of the kernel's pieces */
    reader_init(&r, 192 * 1024);
    while (!transport_is_congested(&r.t))
        reader_send(&r);
    assert_true(read(r.end, bytes, sizeof bytes) > 0); /* too little for the socket to say that it takes more */
    assert_true(transport_was_read(&r.t));
    assert_false(transport_was_read(&r.t));
    assert_true(read(r.end, bytes, sizeof bytes) > 0);
    assert_true(transport_was_read(&r.t));
    assert_false(transport_was_read(&r.t));
    reader_deinit(&r);
}

/* A round of the loop for each new connection is what telling its being writable would cost. */
static void test_room_is_told_to_who_lacked_it_and_to_no_other(void **state)
{
    (void)state;
    struct reader r;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(transport_init(&r.t, &gw, ends[0], NULL, note), 0);
    r.end = ends[1];
    assert_int_equal(a_round(), 0);
    assert_int_equal(transport_write(&r.t, STR("short")), 0);
    assert_int_equal(transport_flush(&r.t), 0);
    assert_int_equal(a_round(), 0);
    while (!transport_is_congested(&r.t))
        reader_send(&r);
    for (int turn = 0; turn < 2; turn++) { /* not only the first time */
        assert_int_equal(a_round() & EPOLLOUT, 0);
        reader_read(&r);
        assert_int_equal(a_round() & EPOLLOUT, EPOLLOUT);
        transport_note_events(&r.t, EPOLLOUT);
        while (transport_flush(&r.t) == 0)
            reader_send(&r);
    }
    reader_deinit(&r);
}

/* The broker closes its descriptor of a socket that it dialled after it has sent it: an instance that answers and is gone at once may be quicker. */
static void test_what_happens_to_a_socket_that_its_dialler_still_has_comes_to_no_freed_connection(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    int diallers = dup(ends[0]);
    struct transport *t = malloc(sizeof *t);
    assert_int_equal(transport_init(t, &gw, ends[0], NULL, note), 0);
    a_round();
    transport_close(t);
    t->io.fd = INT_MAX; /* memory that is used again */
    close(ends[1]);
    assert_int_equal(a_round(), 0);
    free(t);
    close(diallers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_piece_behind_a_full_socket_overflows_nothing_and_arrives_in_order),
        cmocka_unit_test(test_large_pieces_are_for_who_took_the_last_ones_whole),
        cmocka_unit_test(test_many_fast_readers_that_stall_prevent_no_bound_on_what_is_held),
        cmocka_unit_test(test_room_is_told_to_who_lacked_it_and_to_no_other),
        cmocka_unit_test(test_a_slow_reader_of_the_first_bytes_is_not_taken_for_one_that_stopped),
        cmocka_unit_test(test_what_happens_to_a_socket_that_its_dialler_still_has_comes_to_no_freed_connection),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
