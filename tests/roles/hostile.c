/* postern-worker-hostile: a worker that has been taken over, for tests only. It starts as a worker does, is confined as a worker is, and then
 * does one of two things: an attempt of attempts.c named by its argument, or, started by a real parent without one, it asks keeper and broker
 * for all that isn't its surface's, and says what came of it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attempts.h"
#include "base/log.h"
#include "ipc/slots.h"
#include "roles/role.h"
#include "roles/worker_profile.h"
#include "tls/chains.h"

enum { SURVIVED = 42, WORKED = 43, TARGETS_TRIED = 8, GENERATIONS_TRIED = 3, FIRST_OF_ONE_TARGET = 3 };

static void wait_readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    poll(&p, 1, 10000);
}

/* ---- attempts, with the unit test as the parent ---- */

/* A descriptor by way of the broker's channel lands high, as a dialled connection does. */
static int receive_high(int broker)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    wait_readable(broker);
    int r = ipc_receive_from(broker, IPC_ROLE_BROKER, IPC_ROLE_WORKER, &buffer, fds, &n);
    return r == 0 && n == 1 ? fds[0] : -1;
}

static int receive_low(void)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    wait_readable(IPC_PARENT_FD);
    int r = slots_receive(IPC_PARENT_FD, IPC_ROLE_WORKER, &buffer, fds, &n);
    return r == 0 && n == 1 ? fds[0] : -1;
}

/* The control: all that a worker needs still works, else a profile that forbids everything would pass. */
static int do_honest_work(const struct attempt_world *w)
{
    char byte;
    const int one = 1;
    int queued;
    if (w->listener < 0 || w->listener >= IPC_SLOTS_END || w->broker >= IPC_SLOTS_END || w->connection < IPC_SLOTS_END)
        return SURVIVED;
    int client = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < IPC_SLOTS_END || read(client, &byte, 1) != 1 || write(client, &byte, 1) != 1)
        return SURVIVED;
    if (setsockopt(client, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one) < 0 || ioctl(client, TIOCOUTQ, &queued) < 0)
        return SURVIVED;
    void *memory = malloc(1 << 22);
    if (!memory || shutdown(client, SHUT_WR) < 0 || slots_close(w->listener) < 0)
        return SURVIVED;
    free(memory);
    return WORKED;
}

static int run_attempt(struct role *role, const char *name)
{
    struct attempt_world w = { .pid = (int)role->start.surface, .victim_port = (unsigned short)role->start.worker };
    if (slots_reserve() < 0)
        return EXIT_FAILURE;
    w.listener = receive_low();
    w.broker = receive_low();
    w.connection = receive_high(w.broker);
    w.failed = receive_high(w.broker);
    w.udp = receive_high(w.broker);
    w.unix_stream = receive_high(w.broker);
    if (w.unix_stream < 0 || role_confine(role, &worker_profile) < 0)
        return EXIT_FAILURE;
    if (strcmp(name, "honest_work") == 0)
        return do_honest_work(&w);
    for (unsigned i = 0; i < n_attempts; i++)
        if (strcmp(attempts[i].name, name) == 0) {
            (void)!attempts[i].run(&w);
            return SURVIVED;
        }
    return EXIT_FAILURE;
}

/* ---- asking, with a real parent, keeper and broker ---- */

/* Who is at the other end of what the broker gave. */
static void ask_instance(uint32_t surface, int fd)
{
    static const char question[] = "GET /hostile HTTP/1.0\r\nhost: hostile\r\n\r\n";
    char answer[2048];
    ssize_t n;
    if (write(fd, question, sizeof question - 1) < 0)
        return;
    wait_readable(fd);
    while ((n = read(fd, answer, sizeof answer - 1)) > 0) {
        answer[n] = '\0';
        char *name = strstr(answer, "\"name\"");
        if (name)
            log_info("hostile: surface %u reached %.40s", (unsigned)surface, name);
        wait_readable(fd);
    }
}

static void ask_broker(int broker, uint64_t generation, uint32_t surface, uint32_t first, uint32_t end)
{
    for (uint64_t g = generation; g < generation + GENERATIONS_TRIED; g++)
        for (uint32_t target = first; target < end; target++) {
            struct ipc_dial dial = { .header = IPC_HEADER(IPC_BROKER_DIAL, dial), .id = g * 100 + target, .generation = g, .target = target };
            struct ipc_buffer buffer;
            int fds[IPC_FDS_MAX];
            size_t n = 0;
            if (ipc_send_plain(broker, &dial) < 0) {
                log_info("hostile: the broker ended the channel");
                return;
            }
            wait_readable(broker);
            int r = ipc_receive_from(broker, IPC_ROLE_BROKER, IPC_ROLE_WORKER, &buffer, fds, &n);
            int status = r < 0 ? r : ((const struct ipc_dial_answer *)(const void *)&buffer)->status;
            log_info("hostile: dial generation %+d target %u: %s", (int)(g - generation), (unsigned)target, n ? "a socket" : strerror(-status));
            if (n)
                ask_instance(surface, fds[0]);
            for (size_t i = 0; i < n; i++)
                close(fds[i]);
            if (r < 0)
                return;
        }
}

/* Waits for the answer among what the keeper pushes. */
static void ask_keeper(int keeper, const char *what, const struct ipc_sign *sign)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n = 0;
    if (ipc_send_plain(keeper, sign) < 0) {
        log_info("hostile: sign %s: the keeper ended the channel", what);
        return;
    }
    for (;;) {
        n = 0;
        wait_readable(keeper);
        int r = ipc_receive_from(keeper, IPC_ROLE_KEEPER, IPC_ROLE_WORKER, &buffer, fds, &n);
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        if (r < 0) {
            log_info("hostile: sign %s: %s", what, strerror(-r));
            return;
        }
        if (buffer.header.type == IPC_KEEPER_SIGN_ANSWER) {
            const struct ipc_sign_answer *answer = (const void *)&buffer;
            log_info("hostile: sign %s: %s", what, answer->status == 0 ? "SIGNED" : strerror(-answer->status));
            return;
        }
    }
}

/* The identity of a certificate that the keeper does sign for, so that only the content can be the reason to refuse. */
static uint64_t first_certificate(int keeper)
{
    for (;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n = 0;
        wait_readable(keeper);
        int r = ipc_receive_from(keeper, IPC_ROLE_KEEPER, IPC_ROLE_WORKER, &buffer, fds, &n);
        if (r < 0)
            return 0;
        struct tls_chain_head head = { 0 };
        bool has_head = buffer.header.type == IPC_KEEPER_CERTIFICATES && lseek(fds[0], 0, SEEK_SET) == 0 &&
                        read(fds[0], &head, sizeof head) == (ssize_t)sizeof head;
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        if (has_head)
            return head.certificate;
    }
}

static void ask_all(struct role *role, int keeper, int broker)
{
    static const char certificate_request[] = "0\x82\x01\x00 a certificate to be signed, or a client's proof";
    struct ipc_sign sign = { .header = IPC_HEADER(IPC_KEEPER_SIGN, sign), .certificate = first_certificate(keeper) };
    /* Each ends with its first forbidden ask, so each worker of the surface tries another. */
    if (role->start.worker == 0)
        ask_broker(broker, role->start.generation, role->start.surface, 0, TARGETS_TRIED);
    if (role->start.worker >= FIRST_OF_ONE_TARGET)
        ask_broker(broker, role->start.generation, role->start.surface, role->start.worker - FIRST_OF_ONE_TARGET,
                   role->start.worker - FIRST_OF_ONE_TARGET + 1);
    if (role->start.worker >= FIRST_OF_ONE_TARGET)
        return;
    for (uint32_t scheme = IPC_SIGN_ECDSA_SHA256; scheme <= IPC_SIGN_RSA_PKCS1_SHA256; scheme++) {
        sign.scheme = scheme;
        sign.length = sizeof certificate_request;
        memcpy(sign.input, certificate_request, sizeof certificate_request);
        if (role->start.worker == 1)
            ask_keeper(keeper, "bytes of a certificate", &sign);
        memset(sign.input, ' ', 64);
        memcpy(sign.input + 64, "TLS 1.3, client CertificateVerify", 34);
        sign.length = 64 + 34 + 32;
        ask_keeper(keeper, "a client's CertificateVerify", &sign);
    }
    log_info("hostile: done");
}

static int be_worker(struct role *role)
{
    int keeper = -1, broker = -1;
    if (slots_reserve() < 0 || role_confine(role, &worker_profile) < 0)
        return EXIT_FAILURE;
    for (bool asked = false;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n = 0;
        struct pollfd p = { IPC_PARENT_FD, POLLIN, 0 };
        poll(&p, 1, -1);
        int r = slots_receive(IPC_PARENT_FD, IPC_ROLE_WORKER, &buffer, fds, &n);
        if (r == -EAGAIN)
            continue;
        if (r < 0)
            return EXIT_SUCCESS;
        const struct ipc_channel *channel = (const void *)&buffer;
        if (buffer.header.type == IPC_PARENT_CHANNEL && channel->peer == IPC_ROLE_KEEPER)
            keeper = fds[0];
        else if (buffer.header.type == IPC_PARENT_CHANNEL && channel->peer == IPC_ROLE_BROKER)
            broker = fds[0];
        if (!asked && keeper >= 0 && broker >= 0) {
            asked = true;
            ask_all(role, keeper, broker);
        }
    }
}

int main(int argc, char **argv)
{
    struct role role;
    if (role_start(IPC_ROLE_WORKER, &role) < 0)
        return EXIT_FAILURE;
    role_deinit(&role);
    return argc > 1 ? run_attempt(&role, argv[1]) : be_worker(&role);
}
