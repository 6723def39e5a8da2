/* Patience: a fast sender's socket waits for much, and nothing that came waits for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "gateway/gateway.h"
#include "gateway/transport.h"

enum { MUCH = 1 << 30 };

static struct gateway gw;
static struct transport t;
static int client;
static size_t n_read;
static char bytes[65536];

static void ready(struct io_source *source, uint32_t events)
{
    (void)source;
    transport_note_events(&t, events);
    ssize_t n;
    while ((n = transport_read(&t, bytes, sizeof bytes)) > 0)
        n_read += (size_t)n;
    io_loop_stop(&gw.loop);
}

static int set_up(void **state)
{
    (void)state;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (io_loop_init(&gw.loop) < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) < 0 || connect(client, (struct sockaddr *)&address, len) < 0)
        return -1;
    n_read = 0;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listener);
    return transport_init(&t, &gw, fd, NULL, ready);
}

static int tear_down(void **state)
{
    (void)state;
    transport_close(&t);
    assert_null(gw.patient);
    io_timer_clear(&gw.loop, &gw.patience);
    close(client);
    io_loop_deinit(&gw.loop);
    return 0;
}

static int low_water(void)
{
    int n = 0;
    socklen_t len = sizeof n;
    assert_int_equal(getsockopt(t.io.fd, SOL_SOCKET, SO_RCVLOWAT, &n, &len), 0);
    return n;
}

/* How many full readings it takes until the socket waits. */
static unsigned readings_until_patient(void)
{
    unsigned n = 0;
    for (; low_water() == 1; n++) {
        assert_true(n < 1000);
        patience_note(&t, GATEWAY_PLAIN_SIZE, MUCH);
    }
    return n;
}

static void test_a_client_that_sends_little_at_a_time_is_never_waited_for(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++)
        patience_note(&t, i % 7 ? GATEWAY_PLAIN_SIZE : 1000, MUCH);
    assert_int_equal(low_water(), 1);
}

static void test_a_fast_sender_that_pauses_does_not_wait_for_ever(void **state)
{
    (void)state;
    assert_true(readings_until_patient() > 2);
    assert_int_equal(write(client, bytes, 1000), 1000); /* much less than the socket waits for */
    while (n_read < 1000) {
        gw.loop.stopping = false;
        assert_int_equal(io_loop_run(&gw.loop), 0);
    }
    assert_int_equal(low_water(), 1);
    assert_null(gw.patient);
}

static void test_who_disappoints_must_send_more_before_it_is_trusted_again(void **state)
{
    (void)state;
    unsigned first = readings_until_patient();
    assert_int_equal(write(client, bytes, 1000), 1000);
    while (n_read < 1000) {
        gw.loop.stopping = false;
        assert_int_equal(io_loop_run(&gw.loop), 0);
    }
    assert_true(readings_until_patient() >= 2 * first - 1);
}

static void test_the_end_of_a_body_is_not_waited_for(void **state)
{
    (void)state;
    readings_until_patient();
    uint64_t left = 4 * 1024 * 1024;
    /* The largest readings, until less could be to come than the socket waits for. */
    for (; left >= GATEWAY_BULK_SIZE; left -= GATEWAY_BULK_SIZE) {
        patience_note(&t, GATEWAY_BULK_SIZE, left);
        assert_true(low_water() == 1 || left - GATEWAY_BULK_SIZE >= (uint64_t)low_water());
    }
    assert_int_equal(low_water(), 1);
}

static void test_a_connection_that_closes_while_waited_for_leaves_nothing_behind(void **state)
{
    (void)state;
    readings_until_patient();
    assert_ptr_equal(gw.patient, &t);
    transport_close(&t);
    assert_null(gw.patient);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_client_that_sends_little_at_a_time_is_never_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_fast_sender_that_pauses_does_not_wait_for_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_disappoints_must_send_more_before_it_is_trusted_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_of_a_body_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_connection_that_closes_while_waited_for_leaves_nothing_behind, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
