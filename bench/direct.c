/* The load of direct ports: an instance that gives datagrams back and pours out what a stream asks for, and the clients that ask both.
 *   direct instance PORT            UDP: echo; TCP: reads eight bytes, a length in the machine's order, and sends as much
 *   direct udp PORT N FLOWS SIZE    N datagrams there and back, the flows in turn, few enough under way for any socket's buffer; prints the
 *                                   microseconds they took
 *   direct tcp PORT BYTES           one stream; prints the microseconds it took */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FLOWS_MAX = 2048, PATIENCE_MS = 1000, UNDER_WAY_MAX = 64, FIRST_OWN = 22000, PIECE = 256 * 1024 };

static char piece[PIECE];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct sockaddr_in at(const char *port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* own: the port to come from, 0 for any; the same each time, so that the same flows go on. */
static int open_socket(int type, const char *port, int is_client, unsigned own)
{
    struct sockaddr_in address = at(port);
    const int one = 1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        die("socket");
    struct sockaddr_in from = at("0");
    from.sin_port = htons((uint16_t)own);
    if (own && bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
    if ((is_client ? connect : bind)(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die(is_client ? "connect" : "bind");
    return fd;
}

/* ---- the instance ---- */

static void pour(int fd)
{
    uint64_t left;
    if (read(fd, &left, sizeof left) != sizeof left)
        left = 0;
    while (left > 0) {
        ssize_t n = write(fd, piece, left < PIECE ? left : PIECE);
        if (n <= 0)
            break;
        left -= (uint64_t)n;
    }
    close(fd);
}

static void serve(const char *port)
{
    int udp = open_socket(SOCK_DGRAM, port, 0, 0), tcp = open_socket(SOCK_STREAM, port, 0, 0);
    struct pollfd ready[2] = { { udp, POLLIN, 0 }, { tcp, POLLIN, 0 } };
    if (listen(tcp, 64) < 0)
        die("listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[0].revents) {
            ssize_t n = recvfrom(udp, piece, sizeof piece, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
            if (n >= 0)
                (void)!sendto(udp, piece, (size_t)n, 0, (struct sockaddr *)&from, length);
        }
        if (ready[1].revents) {
            int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0 && fork() == 0) {
                pour(fd);
                _exit(0);
            }
            if (fd >= 0)
                close(fd);
        }
    }
}

/* ---- the clients ---- */

static void ask_udp(const char *port, uint64_t n, unsigned flows, size_t size)
{
    struct rlimit limit = { FLOWS_MAX + 64, FLOWS_MAX + 64 };
    struct epoll_event events[FLOWS_MAX];
    int fds[FLOWS_MAX], epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t sent = 0, back = 0;
    if (flows == 0 || flows > FLOWS_MAX)
        die("flows");
    setrlimit(RLIMIT_NOFILE, &limit);
    /* Each flow is begun before the clock is: what is measured is what goes on. */
    for (unsigned i = 0; i < flows; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
        struct pollfd answer = { fds[i] = open_socket(SOCK_DGRAM, port, 1, FIRST_OWN + i), POLLIN, 0 };
        for (unsigned tries = 0;; tries++) {
            if (tries == 50)
                die("no answer");
            (void)!write(fds[i], piece, size);
            if (poll(&answer, 1, 200) > 0 && read(fds[i], piece, sizeof piece) >= 0)
                break;
        }
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            die("epoll");
    }
    int64_t began = now_us();
    for (unsigned i = 0; i < flows && i < UNDER_WAY_MAX && sent < n; i++, sent++)
        (void)!write(fds[i], piece, size);
    while (back < n) {
        int ready = epoll_wait(epoll, events, FLOWS_MAX, PATIENCE_MS);
        if (ready <= 0) {
            fprintf(stderr, "%llu of %llu datagrams came back\n", (unsigned long long)back, (unsigned long long)n);
            exit(1);
        }
        for (int i = 0; i < ready; i++) {
            if (read(fds[events[i].data.u32], piece, sizeof piece) != (ssize_t)size)
                die("an answer");
            back++;
            if (sent < n && write(fds[sent % flows], piece, size) == (ssize_t)size)
                sent++;
        }
    }
    printf("%lld\n", (long long)(now_us() - began));
}

static void ask_tcp(const char *port, uint64_t bytes)
{
    uint64_t got = 0;
    int64_t began = now_us();
    int fd = open_socket(SOCK_STREAM, port, 1, 0);
    if (write(fd, &bytes, sizeof bytes) != sizeof bytes)
        die("asking");
    for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;)
        got += (uint64_t)n;
    if (got != bytes) {
        fprintf(stderr, "%llu of %llu bytes came\n", (unsigned long long)got, (unsigned long long)bytes);
        exit(1);
    }
    printf("%lld\n", (long long)(now_us() - began));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "instance") == 0)
        serve(argv[2]);
    else if (argc == 6 && strcmp(argv[1], "udp") == 0 && strtoul(argv[4], NULL, 10) <= FLOWS_MAX)
        ask_udp(argv[2], strtoull(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    else if (argc == 4 && strcmp(argv[1], "tcp") == 0)
        ask_tcp(argv[2], strtoull(argv[3], NULL, 10));
    else
        return 2;
    return 0;
}
