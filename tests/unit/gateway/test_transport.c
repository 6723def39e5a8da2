/* Transports: writes that are larger than what is gathered, behind a socket that takes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>

#include "gateway/gateway.h"
#include "gateway/transport.h"

static struct gateway gw;

static void ignore(struct io_source *source, uint32_t events)
{
    (void)source, (void)events;
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
    size_t large = 3 * (size_t)TRANSPORT_GATHER;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_piece_behind_a_full_socket_overflows_nothing_and_arrives_in_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
