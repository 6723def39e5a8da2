/* Channels: what a hostile sender tries ends in -EBADMSG, and no descriptor is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/message.h"

struct pair {
    int a, b;
};

static int make_pair(void **state)
{
    static struct pair pair;
    *state = &pair;
    return ipc_pair(&pair.a, &pair.b);
}

static int close_pair(void **state)
{
    struct pair *pair = *state;
    close(pair->a);
    close(pair->b);
    return 0;
}

static unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void send_raw(int channel, const void *bytes, size_t size, int fd, size_t n_fds)
{
    int fds[16];
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fds)] = { 0 };
    struct iovec part = { (void *)(uintptr_t)bytes, size };
    struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1 };
    for (size_t i = 0; i < n_fds; i++)
        fds[i] = fd;
    if (n_fds) {
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
        *rights = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * n_fds) };
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * n_fds);
    }
    assert_int_equal(sendmsg(channel, &packet, 0), size);
}

static int receive(int channel, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *n)
{
    return ipc_receive(channel, buffer, sizeof *buffer, fds, n);
}

static void a_message_arrives_with_its_descriptor(void **state)
{
    struct pair *pair = *state;
    struct ipc_image image = { .header = IPC_HEADER(IPC_PARENT_IMAGE, image), .generation = 7, .block_size = 99 };
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    assert_int_equal(receive(pair->b, &buffer, fds, &n), -EAGAIN);
    assert_int_equal(ipc_send(pair->a, &image, &pair->a, 1), 0);
    assert_int_equal(receive(pair->b, &buffer, fds, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(&buffer, &image, sizeof image);
    assert_int_equal(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fds[0]);
}

static void the_end_is_told_after_what_was_said(void **state)
{
    struct pair *pair = *state;
    struct ipc_reload reload = { .header = IPC_HEADER(IPC_WATCHER_RELOAD, reload) };
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    /* Something is unread on a, so that b's end is a reset on the other side: what b said must arrive all the same. */
    assert_int_equal(ipc_send(pair->a, &reload, NULL, 0), 0);
    assert_int_equal(ipc_send(pair->b, &reload, NULL, 0), 0);
    close(pair->b);
    assert_int_equal(receive(pair->a, &buffer, fds, &n), 0);
    assert_int_equal(receive(pair->a, &buffer, fds, &n), -EPIPE);
    assert_int_equal(ipc_send(pair->a, &reload, NULL, 0), -EPIPE);
    pair->b = dup(pair->a);
}

static void a_size_that_is_not_the_types_is_refused(void **state)
{
    struct pair *pair = *state;
    struct ipc_dial dial = { .header = IPC_HEADER(IPC_BROKER_DIAL, dial) };
    struct ipc_buffer buffer = { 0 };
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    send_raw(pair->a, &dial, sizeof dial - 1, -1, 0);
    assert_int_equal(receive(pair->b, &buffer, fds, &n), -EBADMSG);
    dial.header.size--;
    send_raw(pair->a, &dial, sizeof dial, -1, 0);
    assert_int_equal(receive(pair->b, &buffer, fds, &n), -EBADMSG);
    char long_one[IPC_MESSAGE_MAX + 1] = { 0 };
    send_raw(pair->a, long_one, sizeof long_one, -1, 0);
    assert_int_equal(receive(pair->b, &buffer, fds, &n), -EBADMSG);
    send_raw(pair->a, "", 1, -1, 0);
    assert_int_equal(receive(pair->b, &buffer, fds, &n), -EBADMSG);
}

static void descriptors_that_are_not_the_types_are_closed(void **state)
{
    struct pair *pair = *state;
    struct ipc_dial dial = { .header = IPC_HEADER(IPC_BROKER_DIAL, dial) };
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    unsigned before = count_descriptors();
    for (size_t n_fds = 1; n_fds <= 16; n_fds++) {
        send_raw(pair->a, &dial, sizeof dial, pair->a, n_fds);
        assert_int_equal(receive(pair->b, &buffer, fds, &n), -EBADMSG);
        assert_int_equal(n, 0);
    }
    assert_int_equal(count_descriptors(), before);
}

static void a_type_the_sender_may_not_say_is_refused_with_its_descriptor(void **state)
{
    struct pair *pair = *state;
    struct ipc_block block = { .header = IPC_HEADER(IPC_COMPILER_BLOCK, block) };
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    unsigned before = count_descriptors();
    assert_int_equal(ipc_send(pair->a, &block, &pair->a, 1), 0);
    assert_int_equal(ipc_receive_from(pair->b, IPC_ROLE_WORKER, IPC_ROLE_PARENT, &buffer, fds, &n), -EBADMSG);
    assert_int_equal(count_descriptors(), before);
}

static void a_text_without_its_end_is_refused(void **state)
{
    (void)state;
    struct ipc_channel message = { .header = IPC_HEADER(IPC_PARENT_CHANNEL, message) };
    assert_int_equal(ipc_check_shape(&message, sizeof message, 1), 0);
    memset(message.surface_name, 'x', sizeof message.surface_name);
    assert_int_equal(ipc_check_shape(&message, sizeof message, 1), -EBADMSG);
}

static void a_length_past_the_message_is_refused(void **state)
{
    (void)state;
    struct ipc_sign sign = { .header = IPC_HEADER(IPC_KEEPER_SIGN, sign), .length = IPC_SIGN_INPUT_MAX };
    assert_int_equal(ipc_check_shape(&sign, sizeof sign, 0), 0);
    sign.length++;
    assert_int_equal(ipc_check_shape(&sign, sizeof sign, 0), -EBADMSG);
}

/* The table, read from the worst seat: what a hijacked worker can say at all. */
static void a_worker_asks_keeper_and_broker_and_reports_to_the_parent_only(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++)
        for (unsigned receiver = 0; receiver < IPC_ROLE_COUNT; receiver++) {
            bool expected = (receiver == IPC_ROLE_KEEPER && type == IPC_KEEPER_SIGN) || (receiver == IPC_ROLE_BROKER && type == IPC_BROKER_DIAL)
                || (receiver == IPC_ROLE_PARENT && (type == IPC_ROLE_READY || type == IPC_ROLE_IMAGE_TAKEN || type == IPC_ROLE_DRAINED));
            assert_int_equal(ipc_may_send(IPC_ROLE_WORKER, receiver, type), expected);
        }
}

static void every_type_fits_the_buffer_and_has_a_name_and_a_sender(void **state)
{
    (void)state;
    unsigned n_types = 0;
    for (unsigned type = 0; type < 256; type++) {
        size_t size = ipc_type_size(type);
        unsigned n_routes = 0;
        for (unsigned sender = 0; sender < IPC_ROLE_COUNT; sender++)
            for (unsigned receiver = 0; receiver < IPC_ROLE_COUNT; receiver++)
                n_routes += ipc_may_send(sender, receiver, type);
        assert_int_equal(size > 0, n_routes > 0);
        assert_true(size <= IPC_MESSAGE_MAX);
        assert_int_equal(strcmp(ipc_type_name(type), "unknown") == 0, size == 0);
        n_types += size > 0;
    }
    assert_true(n_types >= 20);
}

int main(void)
{
#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, make_pair, close_pair)
    const struct CMUnitTest tests[] = {
        WITH_PAIR(a_message_arrives_with_its_descriptor),
        WITH_PAIR(the_end_is_told_after_what_was_said),
        WITH_PAIR(a_size_that_is_not_the_types_is_refused),
        WITH_PAIR(descriptors_that_are_not_the_types_are_closed),
        WITH_PAIR(a_type_the_sender_may_not_say_is_refused_with_its_descriptor),
        cmocka_unit_test(a_text_without_its_end_is_refused),
        cmocka_unit_test(a_length_past_the_message_is_refused),
        cmocka_unit_test(a_worker_asks_keeper_and_broker_and_reports_to_the_parent_only),
        cmocka_unit_test(every_type_fits_the_buffer_and_has_a_name_and_a_sender),
    };
    return cmocka_run_group_tests_name("ipc channel", tests, NULL, NULL);
}
