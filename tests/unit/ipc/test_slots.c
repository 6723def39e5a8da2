/* A worker's low descriptors: none is ever free for a connection, and what the parent sends lands there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ipc/slots.h"

static int ours, theirs;

static int lowest_free(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

static void give_channel(int fd)
{
    struct ipc_channel channel = { .header = IPC_HEADER(IPC_PARENT_CHANNEL, channel), .peer = IPC_ROLE_BROKER };
    assert_int_equal(ipc_send(ours, &channel, &fd, 1), 0);
}

static void no_low_number_is_left_for_a_connection(void **state)
{
    (void)state;
    assert_true(lowest_free() >= IPC_SLOTS_END);
}

static void a_channel_lands_low_and_its_close_leaves_no_hole(void **state)
{
    (void)state;
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    give_channel(ours);
    assert_int_equal(slots_receive(theirs, IPC_ROLE_WORKER, &buffer, fds, &n), 0);
    assert_int_equal(n, 1);
    assert_true(fds[0] < IPC_SLOTS_END);
    assert_true(lowest_free() >= IPC_SLOTS_END);
    assert_int_equal(slots_close(fds[0]), 0);
    assert_true(lowest_free() >= IPC_SLOTS_END);
}

static void a_receive_that_brings_nothing_leaves_no_hole(void **state)
{
    (void)state;
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 1;
    struct ipc_drain drain = { .header = IPC_HEADER(IPC_PARENT_DRAIN, drain) };
    assert_int_equal(slots_receive(theirs, IPC_ROLE_WORKER, &buffer, fds, &n), -EAGAIN);
    assert_true(lowest_free() >= IPC_SLOTS_END);
    assert_int_equal(ipc_send(ours, &drain, NULL, 0), 0);
    assert_int_equal(slots_receive(theirs, IPC_ROLE_WORKER, &buffer, fds, &n), 0);
    assert_int_equal(n, 0);
    assert_true(lowest_free() >= IPC_SLOTS_END);
}

static void more_than_the_slots_hold_is_refused_and_not_put_high(void **state)
{
    (void)state;
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX], taken[IPC_SLOTS_END], n_taken = 0, r;
    size_t n = 0;
    for (;;) {
        give_channel(ours);
        r = slots_receive(theirs, IPC_ROLE_WORKER, &buffer, fds, &n);
        if (r < 0)
            break;
        assert_true(fds[0] < IPC_SLOTS_END);
        assert_true(n_taken < IPC_SLOTS_END);
        taken[n_taken++] = fds[0];
    }
    assert_int_equal(r, -EMFILE);
    while (n_taken > 0)
        assert_int_equal(slots_close(taken[--n_taken]), 0);
    assert_int_equal(slots_receive(theirs, IPC_ROLE_WORKER, &buffer, fds, &n), 0);
    assert_int_equal(slots_close(fds[0]), 0);
    assert_true(lowest_free() >= IPC_SLOTS_END);
}

static int reserve(void **state)
{
    (void)state;
    return ipc_pair(&ours, &theirs) == 0 && slots_reserve() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_low_number_is_left_for_a_connection),
        cmocka_unit_test(a_channel_lands_low_and_its_close_leaves_no_hole),
        cmocka_unit_test(a_receive_that_brings_nothing_leaves_no_hole),
        cmocka_unit_test(more_than_the_slots_hold_is_refused_and_not_put_high),
    };
    return cmocka_run_group_tests_name("ipc slots", tests, reserve, NULL);
}
