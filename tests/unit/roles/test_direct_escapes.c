/* A relay and a porter that have been taken over try every way to send to somebody else, under their real profiles: the kernel ends them at the
 * first call, and the victim hears nothing. The first tests are the controls: what honest ones call works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "ipc/slots.h"
#include "roles/porter_profile.h"
#include "roles/relay_profile.h"

enum { WORKED = 43, SURVIVED = 42, UNREADY = 41, HOSTILE_UID = 61998 };

/* What the process was given before it was confined, as a real one is. */
struct hands {
    int channel;                 /* below IPC_SLOTS_END; to the relay or from the porter */
    int tcp_listener;            /* of a relay: below */
    int udp_listener;            /* of a porter: above, shut for sending */
    int client, instance;        /* connected UDP, above */
    int stream;                  /* connected TCP, above */
    struct sockaddr_in victim;   /* to be reached by none of them */
    struct sockaddr_in peer;     /* of client */
};

struct attempt {
    const char *name;
    long (*run)(const struct hands *h);
};

static char evil[] = { 'e', 'v', 'i', 'l' };

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in address = { 0 };
    socklen_t size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    return address;
}

static int bound(int type)
{
    struct sockaddr_in address = loopback(0);
    const int one = 1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

static int connected(int type, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 ? fd : -1;
}

static long message_to(int fd, const struct sockaddr_in *to)
{
    struct iovec part = { evil, sizeof evil };
    struct msghdr message = { .msg_name = (void *)(uintptr_t)to, .msg_namelen = to ? sizeof *to : 0, .msg_iov = &part, .msg_iovlen = 1 };
    return sendmsg(fd, &message, 0);
}

/* ---- both ---- */

static long try_sendto(const struct hands *h)
{
    return sendto(h->client, evil, sizeof evil, 0, (const struct sockaddr *)&h->victim, sizeof h->victim);
}

static long try_sendmsg(const struct hands *h)
{
    return message_to(h->client, &h->victim);
}

static long try_sendmmsg(const struct hands *h)
{
    struct iovec part = { evil, sizeof evil };
    struct mmsghdr one = { .msg_hdr = { .msg_name = (void *)(uintptr_t)&h->victim, .msg_namelen = sizeof h->victim, .msg_iov = &part, .msg_iovlen = 1 } };
    return sendmmsg(h->client, &one, 1, 0);
}

static long try_fast_open(const struct hands *h)
{
    return sendto(h->tcp_listener, evil, sizeof evil, MSG_FASTOPEN, (const struct sockaddr *)&h->victim, sizeof h->victim);
}

static long try_dup(const struct hands *h)
{
    return dup(h->client);
}

static long try_dup3(const struct hands *h)
{
    return dup3(h->client, h->channel, O_CLOEXEC);
}

static long try_duplicate_by_fcntl(const struct hands *h)
{
    return fcntl(h->client, F_DUPFD, 4);
}

static long try_unix_socket(const struct hands *h)
{
    (void)h;
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_tcp_socket(const struct hands *h)
{
    (void)h;
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static long try_raw_socket(const struct hands *h)
{
    (void)h;
    return socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
}

static long try_open(const struct hands *h)
{
    (void)h;
    return open("/etc/hostname", O_RDONLY | O_CLOEXEC);
}

static long try_execve(const struct hands *h)
{
    char *arguments[] = { NULL };
    (void)h;
    return execve("/bin/true", arguments, arguments);
}

static long try_io_uring(const struct hands *h)
{
    char parameters[120] = { 0 };
    (void)h;
    return syscall(SYS_io_uring_setup, 8, parameters);
}

/* ---- the relay ---- */

static long relay_works(const struct hands *h)
{
    char byte[8];
    if (write(h->client, "ab", 2) != 2 || write(h->instance, "cd", 2) != 2 || write(h->stream, "x", 1) != 1 || shutdown(h->stream, SHUT_WR) < 0)
        return 1;
    if (read(h->client, byte, sizeof byte) != -1 || errno != EAGAIN)
        return 2;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (getpeername(h->client, (struct sockaddr *)&address, &size) < 0 || accept4(h->tcp_listener, NULL, NULL, SOCK_CLOEXEC) < IPC_SLOTS_END)
        return 3;
    return -WORKED;
}

static long try_udp_socket(const struct hands *h)
{
    (void)h;
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static long try_connect_elsewhere(const struct hands *h)
{
    return connect(h->client, (const struct sockaddr *)&h->victim, sizeof h->victim);
}

static long try_bind(const struct hands *h)
{
    struct sockaddr_in address = loopback(0);
    return bind(h->instance, (struct sockaddr *)&address, sizeof address);
}

static long try_set_option(const struct hands *h)
{
    const int one = 1;
    return setsockopt(h->stream, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

static long try_shut_listener(const struct hands *h)
{
    return shutdown(h->tcp_listener, SHUT_RDWR);
}

static long try_receive_a_descriptor(const struct hands *h)
{
    char byte;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    return recvmsg(h->stream, &message, MSG_DONTWAIT);
}

static const struct attempt of_relay[] = {
    { "sendto", try_sendto }, { "sendmsg", try_sendmsg }, { "sendmmsg", try_sendmmsg }, { "sendto(MSG_FASTOPEN)", try_fast_open },
    { "socket", try_udp_socket }, { "socket(tcp)", try_tcp_socket }, { "socket(unix)", try_unix_socket }, { "connect", try_connect_elsewhere },
    { "bind", try_bind }, { "setsockopt", try_set_option }, { "shutdown(listener)", try_shut_listener },
    { "recvmsg(instance)", try_receive_a_descriptor }, { "dup", try_dup }, { "dup3", try_dup3 }, { "fcntl(F_DUPFD)", try_duplicate_by_fcntl },
    { "open", try_open }, { "execve", try_execve }, { "io_uring_setup", try_io_uring },
};

/* ---- the porter ---- */

/* A socket as the porter makes them, from the listener's port to that address. */
static int make_flow(const struct hands *h, const struct sockaddr_in *to)
{
    struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
    const struct sock_fprog filter = { ARRAY_SIZE(nothing), nothing };
    struct sockaddr_in own = h->peer; /* of the listener */
    const int one = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < IPC_SLOTS_END || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0 || setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&own, sizeof own) < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one) < 0)
        return -1;
    return fd;
}

static long porter_works(const struct hands *h)
{
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    char data[8];
    if (recvfrom(h->udp_listener, data, sizeof data, 0, (struct sockaddr *)&from, &size) != 5)
        return 1;
    int fd = make_flow(h, &from);
    char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = { 0 };
    struct iovec part = { evil, sizeof evil };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    if (fd < 0 || sendmsg(h->channel, &message, 0) != sizeof evil || write(h->channel, evil, sizeof evil) != sizeof evil || close(fd) < 0)
        return 2;
    return -WORKED;
}

static long try_write(const struct hands *h)
{
    return write(make_flow(h, &h->victim), evil, sizeof evil);
}

static long try_writev(const struct hands *h)
{
    struct iovec part = { evil, sizeof evil };
    return writev(make_flow(h, &h->victim), &part, 1);
}

static long try_message_of_a_flow(const struct hands *h)
{
    return message_to(make_flow(h, &h->victim), NULL);
}

static long try_send_from_listener(const struct hands *h)
{
    return message_to(h->udp_listener, &h->victim);
}

/* Whatever is free below would be a socket's number next. */
static long try_free_a_low_number(const struct hands *h)
{
    (void)h;
    close(100);
    return message_to(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), &h->victim);
}

/* Comparisons of half a register are escapes, too. */
static long try_write_to_a_wide_number(const struct hands *h)
{
    return syscall(SYS_write, (1UL << 32) | (unsigned long)make_flow(h, &h->victim), evil, sizeof evil);
}

static const struct attempt of_porter[] = {
    { "write", try_write }, { "writev", try_writev }, { "sendmsg(flow)", try_message_of_a_flow }, { "sendto", try_sendto },
    { "sendmmsg", try_sendmmsg }, { "sendmsg(listener)", try_send_from_listener }, { "close(low)", try_free_a_low_number },
    { "write(2^32 + flow)", try_write_to_a_wide_number }, { "socket(tcp)", try_tcp_socket }, { "socket(unix)", try_unix_socket },
    { "socket(raw)", try_raw_socket }, { "dup", try_dup }, { "dup3", try_dup3 }, { "fcntl(F_DUPFD)", try_duplicate_by_fcntl }, { "open", try_open },
    { "execve", try_execve }, { "io_uring_setup", try_io_uring },
};

/* ---- one process for each ---- */

struct world {
    int victim, peer, tcp, dialled, channel[2], udp_listener, visitor;
};

static void world_init(struct world *w)
{
    w->victim = bound(SOCK_DGRAM);
    w->peer = bound(SOCK_DGRAM);
    w->tcp = bound(SOCK_STREAM);
    assert_int_equal(listen(w->tcp, 8), 0);
    struct sockaddr_in there = name_of(w->tcp);
    w->dialled = connected(SOCK_STREAM, &there);
    /* Only sockets of its own user may share the port. */
    setfsuid(geteuid() == 0 ? HOSTILE_UID : geteuid());
    w->udp_listener = bound(SOCK_DGRAM);
    setfsuid(geteuid());
    assert_true(shutdown(w->udp_listener, SHUT_WR) == 0 || errno == ENOTCONN);
    there = name_of(w->udp_listener);
    w->visitor = connected(SOCK_DGRAM, &there);
    assert_int_equal(write(w->visitor, "knock", 5), 5);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, w->channel), 0);
    assert_true(w->victim >= 0 && w->peer >= 0 && w->dialled >= 0 && w->visitor >= 0);
}

static void world_deinit(struct world *w)
{
    const int all[] = { w->victim, w->peer, w->tcp, w->dialled, w->channel[0], w->channel[1], w->udp_listener, w->visitor };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        close(all[i]);
}

static int raise_above(int fd)
{
    return fcntl(fd, F_DUPFD, IPC_SLOTS_END);
}

static _Noreturn void run(const struct world *w, const struct confine_profile *profile, long (*what)(const struct hands *))
{
    struct sockaddr_in peer = name_of(w->peer), there = name_of(w->tcp);
    struct hands h = { .channel = w->channel[1], .tcp_listener = w->tcp, .victim = name_of(w->victim), .peer = name_of(w->udp_listener) };
    struct error err;
    uint32_t in_force, missing;
    h.udp_listener = raise_above(w->udp_listener);
    h.client = raise_above(connected(SOCK_DGRAM | SOCK_NONBLOCK, &peer));
    h.instance = raise_above(connected(SOCK_DGRAM | SOCK_NONBLOCK, &peer));
    h.stream = raise_above(connected(SOCK_STREAM, &there));
    if (h.udp_listener < 0 || h.client < 0 || h.instance < 0 || h.stream < 0 || h.channel >= IPC_SLOTS_END || slots_reserve() < 0)
        _exit(UNREADY);
    if (confine_apply(profile, geteuid() == 0 ? HOSTILE_UID : 0, HOSTILE_UID, &in_force, &missing, &err) < 0 || !(in_force & IPC_CONFINED_SECCOMP))
        _exit(UNREADY);
    long r = what(&h);
    syscall(SYS_exit_group, r == -WORKED ? WORKED : SURVIVED);
    __builtin_unreachable();
}

static int status_of(const struct world *w, const struct confine_profile *profile, long (*what)(const struct hands *))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run(w, profile, what);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void expect_work(const struct confine_profile *profile, long (*what)(const struct hands *))
{
    struct world w;
    if (IS_SANITIZED)
        skip();
    world_init(&w);
    int status = status_of(&w, profile, what);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != WORKED)
        fail_msg("an honest one can't work: status %x", (unsigned)status);
    world_deinit(&w);
}

static void expect_end(const struct confine_profile *profile, const struct attempt *attempts, size_t n)
{
    if (IS_SANITIZED)
        skip();
    for (size_t i = 0; i < n; i++) {
        struct world w;
        char heard[8];
        world_init(&w);
        int status = status_of(&w, profile, attempts[i].run);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: not ended by the kernel, status %x", attempts[i].name, (unsigned)status);
        struct pollfd p = { w.victim, POLLIN, 0 };
        if (poll(&p, 1, 20) != 0)
            fail_msg("%s: the victim heard %zd bytes", attempts[i].name, recv(w.victim, heard, sizeof heard, MSG_DONTWAIT));
        world_deinit(&w);
    }
}

static void test_an_honest_relay_works(void **state)
{
    (void)state;
    expect_work(&relay_profile, relay_works);
}

static void test_a_hijacked_relay_sends_to_nobody_else(void **state)
{
    (void)state;
    expect_end(&relay_profile, of_relay, ARRAY_SIZE(of_relay));
}

static void test_an_honest_porter_works(void **state)
{
    (void)state;
    const struct confine_profile profile = porter_profile(false);
    expect_work(&profile, porter_works);
}

static void test_a_hijacked_porter_sends_to_nobody_at_all(void **state)
{
    (void)state;
    const struct confine_profile profile = porter_profile(false);
    expect_end(&profile, of_porter, ARRAY_SIZE(of_porter));
}

/* As parent_listen.c makes them: whoever holds one, confined or not. */
static void test_a_udp_listener_that_is_shut_receives_and_cannot_send(void **state)
{
    (void)state;
    struct world w;
    char data[8];
    world_init(&w);
    struct sockaddr_in to = name_of(w.victim);
    assert_int_equal(sendto(w.udp_listener, evil, sizeof evil, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(connect(w.udp_listener, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(w.udp_listener, evil, sizeof evil, MSG_NOSIGNAL), -1);
    assert_int_equal(recv(w.udp_listener, data, sizeof data, MSG_DONTWAIT), 5);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_honest_relay_works),
        cmocka_unit_test(test_a_hijacked_relay_sends_to_nobody_else),
        cmocka_unit_test(test_an_honest_porter_works),
        cmocka_unit_test(test_a_hijacked_porter_sends_to_nobody_at_all),
        cmocka_unit_test(test_a_udp_listener_that_is_shut_receives_and_cannot_send),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("direct escapes", tests, NULL, NULL);
}
