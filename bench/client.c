/* The client of the bench for what no load generator measures: handshakes, idle connections, event-stream latency, start-up, paired timings.
 *
 * client handshakes PORT CA NAME N fresh|resumed     N connections that end after the handshake, 8 at a time
 * client idle       PORT CA NAME N http/1.1|h2       N connections with one answered request each; "ready", then waits for the end of stdin
 * client events     PORT CA NAME N                   latency of N chunks in nanoseconds, one a line; CA "plain": no TLS
 * client first      PORT CA NAME TIMEOUT_MS          polls until a request is answered with 200; prints CLOCK_MONOTONIC in nanoseconds
 * client pairs      PORT CA SNI N A B STATUS         request times for Host A and B on one connection, in random order, "a b" a line
 *
 * Everything is on 127.0.0.1, over TLS 1.3, with the chain and the name verified. Its own failures end it with status 1. */
#include "line.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { CONCURRENT_HANDSHAKES = 8, ANSWER_MAX = 65536 };

/* One request with its whole answer read. The status, or -1 when the connection broke. */
static int ask(struct line *line, const char *host)
{
    char request[512], answer[ANSWER_MAX];
    int length = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    if (!line_write(line, request, (size_t)length))
        return -1;
    size_t size = 0;
    for (;;) {
        ssize_t n = line_read(line, answer + size, sizeof answer - 1 - size);
        if (n <= 0)
            return -1;
        size += (size_t)n;
        answer[size] = '\0';
        const char *end = strstr(answer, "\r\n\r\n"), *found;
        if (!end)
            continue;
        if ((found = strcasestr(answer, "\r\ncontent-length:")) && found < end) {
            if (size < (size_t)(end + 4 - answer) + strtoul(found + 17, NULL, 10))
                continue;
        } else if (!strstr(end, "0\r\n\r\n")) {
            continue;
        }
        return (int)strtoul(answer + 9, NULL, 10);
    }
}

/* ---- handshakes ---- */

static void attempt_start(struct line *attempt, int epoll_fd, bool resumed)
{
    line_begin(attempt, "http/1.1");
    if (resumed && !SSL_set_session(attempt->ssl, line_session))
        line_die("the session cannot be used");
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = attempt };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, attempt->fd, &event);
}

static int run_handshakes(unsigned n, bool resumed)
{
    if (resumed) {
        struct line line;
        if (!line_open(&line, "http/1.1") || ask(&line, line_server_name) != 200 || !line_session)
            line_die("no session ticket to resume with");
        line_close(&line);
        SSL_CTX_set_session_cache_mode(line_context, SSL_SESS_CACHE_OFF);
    }
    struct line attempts[CONCURRENT_HANDSHAKES];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    unsigned n_started = 0, n_done = 0, n_resumed = 0;
    for (; n_started < n && n_started < CONCURRENT_HANDSHAKES; n_started++)
        attempt_start(&attempts[n_started], epoll_fd, resumed);
    while (n_done < n) {
        struct epoll_event events[CONCURRENT_HANDSHAKES];
        int n_events = epoll_wait(epoll_fd, events, CONCURRENT_HANDSHAKES, 10000);
        if (n_events <= 0)
            line_die("no progress for 10 s");
        for (int i = 0; i < n_events; i++) {
            struct line *attempt = events[i].data.ptr;
            int status = SSL_do_handshake(attempt->ssl);
            if (status != 1) {
                int error = SSL_get_error(attempt->ssl, status);
                if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
                    line_die("handshake %u failed", n_done);
                continue;
            }
            n_done++;
            n_resumed += (unsigned)SSL_session_reused(attempt->ssl);
            line_close(attempt);
            if (n_started < n) {
                attempt_start(attempt, epoll_fd, resumed);
                n_started++;
            }
        }
    }
    if (n_resumed != (resumed ? n : 0))
        line_die("%u of %u connections were resumed", n_resumed, n);
    printf("%u\n", n_done);
    return 0;
}

/* ---- idle connections ---- */

static void put_frame_head(unsigned char *at, size_t length, unsigned type, unsigned flags, unsigned stream)
{
    at[0] = (unsigned char)(length >> 16);
    at[1] = (unsigned char)(length >> 8);
    at[2] = (unsigned char)length;
    at[3] = (unsigned char)type;
    at[4] = (unsigned char)flags;
    at[5] = at[6] = at[7] = 0;
    at[8] = (unsigned char)stream;
}

/* The smallest HTTP/2 client there is: one GET, frames read until its stream ends. */
static bool ask_h2(struct line *line)
{
    unsigned char out[512] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", in[ANSWER_MAX];
    size_t name = strlen(line_server_name), size = 24;
    put_frame_head(out + size, 0, 4, 0, 0); /* SETTINGS */
    size += 9;
    put_frame_head(out + size, 5 + name, 1, 5, 1); /* HEADERS: END_STREAM, END_HEADERS; RFC 7541 static indexes 2, 7, 4, and 1 with a literal */
    size += 9;
    memcpy(out + size, (unsigned char[]){ 0x82, 0x87, 0x84, 0x41, (unsigned char)name }, 5);
    memcpy(out + size + 5, line_server_name, name);
    if (name > 100 || !line_write(line, out, size + 5 + name))
        return false;
    size_t filled = 0, at = 0;
    for (;;) {
        ssize_t n = line_read(line, in + filled, sizeof in - filled);
        if (n <= 0)
            return false;
        filled += (size_t)n;
        while (filled - at >= 9) {
            size_t length = (size_t)in[at] << 16 | (size_t)in[at + 1] << 8 | in[at + 2];
            unsigned type = in[at + 3], flags = in[at + 4], stream = in[at + 8];
            if (filled - at < 9 + length)
                break;
            at += 9 + length;
            if (type == 4 && !(flags & 1)) {
                put_frame_head(out, 0, 4, 1, 0);
                if (!line_write(line, out, 9))
                    return false;
            }
            if (stream == 1 && type <= 1 && (flags & 1))
                return true;
            if (stream == 1 && type == 3)
                return false;
        }
    }
}

static int run_idle(unsigned n, const char *alpn)
{
    SSL_CTX_set_session_cache_mode(line_context, SSL_SESS_CACHE_OFF);
    struct line *lines = calloc(n, sizeof *lines);
    if (!lines)
        line_die("no memory");
    for (unsigned i = 0; i < n; i++) {
        if (!line_open(&lines[i], alpn))
            line_die("connection %u was refused", i);
        if (strcmp(alpn, "h2") == 0 ? !ask_h2(&lines[i]) : ask(&lines[i], line_server_name) != 200)
            line_die("connection %u was not answered", i);
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    for (unsigned i = 0; i < n; i++)
        line_close(&lines[i]);
    free(lines);
    return 0;
}

/* ---- event streams ---- */

static int run_events(unsigned n)
{
    struct line line;
    if (!line_open(&line, "http/1.1"))
        line_die("cannot connect");
    char buffer[ANSWER_MAX];
    int length = snprintf(buffer, sizeof buffer, "GET /events/%u HTTP/1.1\r\nHost: %s\r\n\r\n", n, line_server_name);
    if (!line_write(&line, buffer, (size_t)length))
        line_die("cannot ask");
    size_t size = 0;
    unsigned n_seen = 0;
    while (n_seen < n) {
        ssize_t got = line_read(&line, buffer + size, sizeof buffer - 1 - size);
        int64_t now = line_now_ns();
        if (got <= 0)
            line_die("the stream ended after %u of %u chunks", n_seen, n);
        size += (size_t)got;
        buffer[size] = '\0';
        char *at = buffer, *found, *end;
        while ((found = strstr(at, "data: ")) && (end = strstr(found, "\n\n"))) {
            printf("%lld\n", (long long)(now - strtoll(found + 6, NULL, 10)));
            n_seen++;
            at = end + 2;
        }
        size -= (size_t)(at - buffer);
        memmove(buffer, at, size + 1);
    }
    line_close(&line);
    return 0;
}

/* ---- the first answer ---- */

static int run_first(unsigned timeout_ms)
{
    int64_t deadline = line_now_ns() + (int64_t)timeout_ms * 1000000;
    while (line_now_ns() < deadline) {
        struct line line;
        if (line_open(&line, "http/1.1")) {
            int status = ask(&line, line_server_name);
            int64_t now = line_now_ns();
            line_close(&line);
            if (status == 200) {
                printf("%lld\n", (long long)now);
                return 0;
            }
        }
        ERR_clear_error();
        nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
    }
    line_die("no 200 within %u ms", timeout_ms);
}

/* ---- paired timings ---- */

static int run_pairs(unsigned n, const char *const hosts[2], int status)
{
    enum { WARM_UP = 200 };
    struct line line;
    if (!line_open(&line, "http/1.1"))
        line_die("cannot connect");
    for (unsigned i = 0; i < n + WARM_UP; i++) {
        unsigned char random;
        if (getrandom(&random, 1, 0) != 1)
            line_die("getrandom: %s", strerror(errno));
        int64_t took[2];
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned which = turn ^ (random & 1);
            int64_t started = line_now_ns();
            int got = ask(&line, hosts[which]);
            took[which] = line_now_ns() - started;
            if (got != status)
                line_die("%s was answered with %d, not %d", hosts[which], got, status);
        }
        if (i >= WARM_UP)
            printf("%lld %lld\n", (long long)took[0], (long long)took[1]);
    }
    line_close(&line);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: client MODE PORT CA NAME N [...]; see the head of client.c\n");
        return 2;
    }
    line_setup(argv[2], argv[3], argv[4]);
    const char *mode = argv[1];
    unsigned n = (unsigned)strtoul(argv[5], NULL, 10);
    if (strcmp(mode, "handshakes") == 0 && argc == 7)
        return run_handshakes(n, strcmp(argv[6], "resumed") == 0);
    if (strcmp(mode, "idle") == 0 && argc == 7)
        return run_idle(n, argv[6]);
    if (strcmp(mode, "events") == 0 && argc == 6)
        return run_events(n);
    if (strcmp(mode, "first") == 0 && argc == 6)
        return run_first(n);
    if (strcmp(mode, "pairs") == 0 && argc == 9)
        return run_pairs(n, (const char *const[2]){ argv[6], argv[7] }, (int)strtol(argv[8], NULL, 10));
    fprintf(stderr, "client: no mode %s with %d arguments\n", mode, argc - 2);
    return 2;
}
