/* A worker that has been taken over tries every way out that is known, under its real profile: the kernel ends it at the first call, and
 * the victim hears nothing. The first test is the control: an honest worker's calls all work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempts.h"
#include "ipc/message.h"

enum { WORKED = 43, HOSTILE_UID = 61999 };

static const char *hostile_path;

struct world {
    int victim_tcp, victim_udp, listener, client, connection, failed, udp, unix_near, unix_far, broker_near, broker_far;
    uint16_t victim_port;
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static int bound(int type, uint16_t port, bool listens)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    assert_true(!listens || listen(fd, 8) == 0);
    return fd;
}

static int connected(int type, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        assert_int_equal(errno, ECONNREFUSED);
    return fd;
}

/* The victim has one port number for TCP and UDP. */
static void make_victim(struct world *w)
{
    do {
        w->victim_tcp = bound(SOCK_STREAM, 0, true);
        w->victim_port = port_of(w->victim_tcp);
        w->victim_udp = bound(SOCK_DGRAM, w->victim_port, false);
        if (w->victim_udp < 0)
            close(w->victim_tcp);
    } while (w->victim_udp < 0);
}

static void make_world(struct world *w)
{
    make_victim(w);
    w->listener = bound(SOCK_STREAM, 0, true);
    w->client = connected(SOCK_STREAM, port_of(w->listener));
    assert_int_equal(write(w->client, "x", 1), 1);
    int closed = bound(SOCK_STREAM, 0, false);
    uint16_t closed_port = port_of(closed);
    w->failed = connected(SOCK_STREAM, closed_port);
    close(closed);
    int instance = bound(SOCK_STREAM, 0, true);
    w->connection = connected(SOCK_STREAM, port_of(instance));
    close(instance);
    int udp_instance = bound(SOCK_DGRAM, 0, false);
    w->udp = connected(SOCK_DGRAM, port_of(udp_instance));
    close(udp_instance);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    w->unix_near = pair[0];
    w->unix_far = pair[1];
    assert_int_equal(ipc_pair(&w->broker_near, &w->broker_far), 0);
}

static void close_world(struct world *w)
{
    const int fds[] = { w->victim_tcp, w->victim_udp, w->listener, w->client, w->connection, w->failed, w->udp, w->unix_near, w->unix_far,
        w->broker_near, w->broker_far };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static void send_high(struct world *w, int fd)
{
    struct ipc_dial_answer answer = { .header = IPC_HEADER(IPC_BROKER_DIAL_ANSWER, answer) };
    assert_int_equal(ipc_send(w->broker_near, &answer, &fd, 1), 0);
}

static void send_world(struct world *w, int parent)
{
    uint32_t uid = geteuid() == 0 ? HOSTILE_UID : 0;
    struct ipc_start start = { .header = IPC_HEADER(IPC_PARENT_START, start), .role = IPC_ROLE_WORKER, .uid = uid, .gid = uid,
        .surface = (uint32_t)getpid(), .worker = w->victim_port };
    struct ipc_listener listener = { .header = IPC_HEADER(IPC_PARENT_LISTENER, listener) };
    struct ipc_channel channel = { .header = IPC_HEADER(IPC_PARENT_CHANNEL, channel), .peer = IPC_ROLE_BROKER };
    assert_int_equal(ipc_send(parent, &start, NULL, 0), 0);
    assert_int_equal(ipc_send(parent, &listener, &w->listener, 1), 0);
    assert_int_equal(ipc_send(parent, &channel, &w->broker_far, 1), 0);
    send_high(w, w->connection);
    send_high(w, w->failed);
    send_high(w, w->udp);
    send_high(w, w->unix_near);
}

static pid_t start_hostile(const char *attempt, int channel)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(channel, IPC_PARENT_FD) == IPC_PARENT_FD)
            execl(hostile_path, "postern-worker-hostile", attempt, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Whether the kernel lets it be confined; a sanitizer's build does not. */
static bool is_confined(int parent)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n;
    struct pollfd p = { parent, POLLIN, 0 };
    assert_int_equal(poll(&p, 1, 20000), 1);
    assert_int_equal(ipc_receive_from(parent, IPC_ROLE_WORKER, IPC_ROLE_PARENT, &buffer, fds, &n), 0);
    return buffer.header.type == IPC_ROLE_READY && ((const struct ipc_ready *)(const void *)&buffer)->confinement & IPC_CONFINED_SECCOMP;
}

static int run(struct world *w, const char *attempt)
{
    int parent, child, status;
    assert_int_equal(ipc_pair(&parent, &child), 0);
    pid_t pid = start_hostile(attempt, child);
    close(child);
    send_world(w, parent);
    bool confined = is_confined(parent);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(parent);
    if (!confined)
        skip();
    return status;
}

static void an_honest_worker_can_work(void **state)
{
    (void)state;
    struct world w;
    char byte = 0;
    make_world(&w);
    int status = run(&w, "honest_work");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), WORKED);
    assert_int_equal(read(w.client, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close_world(&w);
}

static void the_attempt_ends_the_worker(void **state)
{
    const struct attempt *attempt = *state;
    struct world w;
    char bytes[8];
    make_world(&w);
    int status = run(&w, attempt->name);
    if (!WIFSIGNALED(status))
        fail_msg("%s: not killed, exit status %d", attempt->name, WEXITSTATUS(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
    assert_int_equal(accept(w.victim_tcp, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(recv(w.victim_udp, bytes, sizeof bytes, MSG_DONTWAIT), -1);
    close_world(&w);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    hostile_path = argv[1];
    struct CMUnitTest *tests = calloc(n_attempts + 1, sizeof *tests);
    if (!tests)
        return 2;
    tests[0] = (struct CMUnitTest)cmocka_unit_test(an_honest_worker_can_work);
    for (unsigned i = 0; i < n_attempts; i++)
        tests[i + 1] = (struct CMUnitTest){ attempts[i].name, the_attempt_ends_the_worker, NULL, NULL, (void *)(uintptr_t)&attempts[i] };
    int failed = _cmocka_run_group_tests("a worker's ways out", tests, n_attempts + 1, NULL, NULL);
    free(tests);
    return failed;
}
