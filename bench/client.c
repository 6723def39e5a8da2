/* The client of the bench for what no load generator measures: handshakes, idle connections, event-stream latency, start-up, paired timings.
 *
 * client handshakes PORT CA NAME N fresh|resumed     N connections that end after the handshake, 8 at a time
 * client idle       PORT CA NAME N http/1.1|h2       N connections with one answered request each; "ready", then waits for the end of stdin
 * client events     PORT CA NAME N                   latency of N chunks in nanoseconds, one a line; CA "plain": no TLS
 * client first      PORT CA NAME TIMEOUT_MS          polls until a request is answered with 200; prints CLOCK_MONOTONIC in nanoseconds
 * client pairs      PORT CA SNI N A B STATUS         request times for Host A and B on one connection, in random order, "a b" a line
 *
 * Everything is on 127.0.0.1, over TLS 1.3, with the chain and the name verified. Its own failures end it with status 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONCURRENT_HANDSHAKES = 8, ANSWER_MAX = 65536 };

static SSL_CTX *context;
static const char *server_name;
static struct sockaddr_in server;
static SSL_SESSION *kept_session;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept_session);
    kept_session = session;
    return 1;
}

static void setup(const char *port, const char *ca, const char *name)
{
    server_name = name;
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (strcmp(ca, "plain") == 0)
        return;
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_load_verify_locations(context, ca, NULL) || !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) || !SSL_CTX_set1_groups_list(context, "X25519"))
        die("cannot set up TLS with %s", ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_new_session);
}

static int open_socket(bool nonblocking)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0), one = 1;
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static SSL *new_tls(int fd, const char *alpn)
{
    SSL *ssl = SSL_new(context);
    unsigned char protocol[32];
    size_t length = strlen(alpn);
    protocol[0] = (unsigned char)length;
    memcpy(protocol + 1, alpn, length);
    if (!ssl || !SSL_set_fd(ssl, fd) || !SSL_set_tlsext_host_name(ssl, server_name) || !SSL_set1_host(ssl, server_name) ||
        SSL_set_alpn_protos(ssl, protocol, (unsigned)length + 1) != 0)
        die("cannot make a TLS connection");
    SSL_set_connect_state(ssl);
    return ssl;
}

/* A blocking connection, over TLS or plain (ssl NULL). */
struct line {
    int fd;
    SSL *ssl;
};

static bool try_open(struct line *line, const char *alpn)
{
    line->fd = open_socket(false);
    line->ssl = NULL;
    if (connect(line->fd, (struct sockaddr *)&server, sizeof server) < 0) {
        close(line->fd);
        return false;
    }
    if (!context)
        return true;
    line->ssl = new_tls(line->fd, alpn);
    if (SSL_connect(line->ssl) == 1)
        return true;
    SSL_free(line->ssl);
    close(line->fd);
    return false;
}

static void line_close(struct line *line)
{
    if (line->ssl)
        SSL_shutdown(line->ssl); /* OpenSSL takes a session whose connection was cut short for spoilt */
    SSL_free(line->ssl);
    close(line->fd);
}

static ssize_t line_read(struct line *line, void *data, size_t size)
{
    return line->ssl ? SSL_read(line->ssl, data, (int)size) : read(line->fd, data, size);
}

static bool line_write(struct line *line, const void *data, size_t size)
{
    return (line->ssl ? SSL_write(line->ssl, data, (int)size) : write(line->fd, data, size)) == (ssize_t)size;
}

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

struct attempt {
    int fd;
    SSL *ssl;
};

static void attempt_start(struct attempt *attempt, int epoll_fd, bool resumed)
{
    attempt->fd = open_socket(true);
    if (connect(attempt->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    attempt->ssl = new_tls(attempt->fd, "http/1.1");
    if (resumed && !SSL_set_session(attempt->ssl, kept_session))
        die("the session cannot be used");
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = attempt };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, attempt->fd, &event);
}

static int run_handshakes(unsigned n, bool resumed)
{
    if (resumed) {
        struct line line;
        if (!try_open(&line, "http/1.1") || ask(&line, server_name) != 200 || !kept_session)
            die("no session ticket to resume with");
        line_close(&line);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
    struct attempt attempts[CONCURRENT_HANDSHAKES];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    unsigned n_started = 0, n_done = 0, n_resumed = 0;
    for (; n_started < n && n_started < CONCURRENT_HANDSHAKES; n_started++)
        attempt_start(&attempts[n_started], epoll_fd, resumed);
    while (n_done < n) {
        struct epoll_event events[CONCURRENT_HANDSHAKES];
        int n_events = epoll_wait(epoll_fd, events, CONCURRENT_HANDSHAKES, 10000);
        if (n_events <= 0)
            die("no progress for 10 s");
        for (int i = 0; i < n_events; i++) {
            struct attempt *attempt = events[i].data.ptr;
            int status = SSL_do_handshake(attempt->ssl);
            if (status != 1) {
                int error = SSL_get_error(attempt->ssl, status);
                if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
                    die("handshake %u failed", n_done);
                continue;
            }
            n_done++;
            n_resumed += (unsigned)SSL_session_reused(attempt->ssl);
            SSL_shutdown(attempt->ssl);
            SSL_free(attempt->ssl);
            close(attempt->fd);
            if (n_started < n) {
                attempt_start(attempt, epoll_fd, resumed);
                n_started++;
            }
        }
    }
    if (n_resumed != (resumed ? n : 0))
        die("%u of %u connections were resumed", n_resumed, n);
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
    size_t name = strlen(server_name), size = 24;
    put_frame_head(out + size, 0, 4, 0, 0); /* SETTINGS */
    size += 9;
    put_frame_head(out + size, 5 + name, 1, 5, 1); /* HEADERS: END_STREAM, END_HEADERS; RFC 7541 static indexes 2, 7, 4, and 1 with a literal */
    size += 9;
    memcpy(out + size, (unsigned char[]){ 0x82, 0x87, 0x84, 0x41, (unsigned char)name }, 5);
    memcpy(out + size + 5, server_name, name);
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
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    struct line *lines = calloc(n, sizeof *lines);
    if (!lines)
        die("no memory");
    for (unsigned i = 0; i < n; i++) {
        if (!try_open(&lines[i], alpn))
            die("connection %u was refused", i);
        if (strcmp(alpn, "h2") == 0 ? !ask_h2(&lines[i]) : ask(&lines[i], server_name) != 200)
            die("connection %u was not answered", i);
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
    if (!try_open(&line, "http/1.1"))
        die("cannot connect");
    char buffer[ANSWER_MAX];
    int length = snprintf(buffer, sizeof buffer, "GET /events/%u HTTP/1.1\r\nHost: %s\r\n\r\n", n, server_name);
    if (!line_write(&line, buffer, (size_t)length))
        die("cannot ask");
    size_t size = 0;
    unsigned n_seen = 0;
    while (n_seen < n) {
        ssize_t got = line_read(&line, buffer + size, sizeof buffer - 1 - size);
        int64_t now = now_ns();
        if (got <= 0)
            die("the stream ended after %u of %u chunks", n_seen, n);
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
    int64_t deadline = now_ns() + (int64_t)timeout_ms * 1000000;
    while (now_ns() < deadline) {
        struct line line;
        if (try_open(&line, "http/1.1")) {
            int status = ask(&line, server_name);
            int64_t now = now_ns();
            line_close(&line);
            if (status == 200) {
                printf("%lld\n", (long long)now);
                return 0;
            }
        }
        ERR_clear_error();
        nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
    }
    die("no 200 within %u ms", timeout_ms);
}

/* ---- paired timings ---- */

static int run_pairs(unsigned n, const char *const hosts[2], int status)
{
    enum { WARM_UP = 200 };
    struct line line;
    if (!try_open(&line, "http/1.1"))
        die("cannot connect");
    for (unsigned i = 0; i < n + WARM_UP; i++) {
        unsigned char random;
        if (getrandom(&random, 1, 0) != 1)
            die("getrandom: %s", strerror(errno));
        int64_t took[2];
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned which = turn ^ (random & 1);
            int64_t started = now_ns();
            int got = ask(&line, hosts[which]);
            took[which] = now_ns() - started;
            if (got != status)
                die("%s was answered with %d, not %d", hosts[which], got, status);
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
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    setup(argv[2], argv[3], argv[4]);
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
