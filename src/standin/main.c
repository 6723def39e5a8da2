/* postern-standin: one small process that stands for any service of a homelab. Options, listeners, the loop. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/log.h"
#include "standin/standin.h"

enum listener_kind { LISTENER_HTTP, LISTENER_H2C, LISTENER_HTTPS, LISTENER_TCP_ECHO, LISTENER_UDP_ECHO };
enum { LISTENERS_MAX = 16, DATAGRAM_MAX = 64 << 10 };

struct listener {
    enum listener_kind kind;
    int fd;
    char text[128];        /* as asked for, with the port that was got */
    const char *unix_path; /* removed at the end */
};

static struct listener listeners[LISTENERS_MAX];
static size_t n_listeners;

static const char help[] =
    "usage: postern-standin --name NAME --host HOST [OPTION]...\n"
    "Stands for a service: answers with its name, its host and the request that it saw, as JSON.\n\n"
    "  --protocol P           http (default), h2c or https; for the --listen and --unix that follow\n"
    "  --listen ADDRESS:PORT  [ADDRESS]:PORT for IPv6; port 0 takes a free one; may be repeated\n"
    "  --unix PATH            a unix socket, may be repeated\n"
    "  --tcp-echo ADDRESS:PORT, --udp-echo ADDRESS:PORT\n"
    "                         greets with NAME@HOST and the peer's address, then gives back what comes; each datagram likewise\n"
    "  --certificate FILE, --key FILE       for https; else one is made for the name\n"
    "  --tls-name NAME, --certificate-out FILE   the name in it (default: NAME), and where to write it\n"
    "  --die-with-parent      ends when its parent does\n\n"
    "It says where it listens, one JSON line on standard output, and ends on SIGTERM.\n"
    "Paths: /events?n=&interval_ms=&pad=  /ws  /echo  /slow?ms=  /bytes/N  /upload  /status/N  /refuse  /trailers  /early-hints\n"
    "  /respond?status=&field=Name:Value&body=  /grpc/fail  /goaway  /evil/WHAT  (any: chunked=1, close=1); all else: the JSON answer.\n";

/* "A:P" or "[A]:P". */
static bool parse_endpoint(const char *text, struct address *ret_address, uint16_t *ret_port)
{
    struct str s = str_of(text), host;
    uint64_t port;
    size_t colon = s.len;
    while (colon > 0 && s.ptr[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return false;
    host = str_first(s, colon - 1);
    if (host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = str_make(host.ptr + 1, host.len - 2);
    if (!str_to_u64(str_skip(s, colon), UINT16_MAX, &port))
        return false;
    *ret_port = (uint16_t)port;
    return address_parse(host, ret_address);
}

static int listener_bind(const char *text, int type, struct listener *listener)
{
    struct address address;
    uint16_t port;
    int one = 1;
    struct sockaddr_storage sa;
    char shown[ADDRESS_TEXT_SIZE];
    if (!parse_endpoint(text, &address, &port))
        return -EINVAL;
    socklen_t length = address_to_sockaddr(&address, port, &sa);
    int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&sa, length) < 0 || (type == SOCK_STREAM && listen(fd, 4096) < 0) ||
        getsockname(fd, (struct sockaddr *)&sa, &length) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    port = ntohs(((struct sockaddr_in *)&sa)->sin_port); /* the same place in both families */
    snprintf(listener->text, sizeof(listener->text), address_is_v4(&address) ? "%s:%u" : "[%s]:%u", address_format(&address, shown), port);
    listener->fd = fd;
    return 0;
}

static int listener_bind_unix(const char *path, struct listener *listener)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    str_copy(sa.sun_path, sizeof(sa.sun_path), str_of(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    unlink(path);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, 0666) < 0 || listen(fd, 4096) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    str_copy(listener->text, sizeof(listener->text), str_of(path));
    listener->unix_path = path;
    listener->fd = fd;
    return 0;
}

static bool listener_add(struct standin *standin, enum listener_kind kind, const char *text, bool is_unix)
{
    if (n_listeners == LISTENERS_MAX) {
        log_error("at most %d listeners", LISTENERS_MAX);
        return false;
    }
    struct listener *listener = &listeners[n_listeners];
    listener->kind = kind;
    int r = is_unix ? listener_bind_unix(text, listener) : listener_bind(text, kind == LISTENER_UDP_ECHO ? SOCK_DGRAM : SOCK_STREAM, listener);
    if (r < 0) {
        log_error("cannot listen on %s: %s", text, r == -EINVAL ? "expected ADDRESS:PORT" : strerror(-r));
        return false;
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = listener };
    if (epoll_ctl(standin->epoll, EPOLL_CTL_ADD, listener->fd, &event) < 0)
        return false;
    n_listeners++;
    return true;
}

static void listener_accept(struct standin *standin, const struct listener *listener)
{
    for (unsigned i = 0; i < 64; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        const struct protocol *protocol = listener->kind == LISTENER_TCP_ECHO ? &protocol_tcp_echo
                                          : listener->kind == LISTENER_H2C    ? &protocol_http2
                                                                              : &protocol_http1;
        int r = connection_open(standin, fd, protocol, listener->kind == LISTENER_HTTPS);
        if (r < 0 && r != -ECONNRESET)
            log_warning("connection: %s", strerror(-r));
    }
}

static void listener_answer_datagrams(const struct standin *standin, const struct listener *listener)
{
    static char data[DATAGRAM_MAX], answer[DATAGRAM_MAX + 256];
    for (unsigned i = 0; i < 64; i++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof(peer);
        struct address address;
        char text[ADDRESS_TEXT_SIZE];
        ssize_t n = recvfrom(listener->fd, data, sizeof(data), 0, (struct sockaddr *)&peer, &length);
        if (n < 0 || !address_from_sockaddr((struct sockaddr *)&peer, &address))
            return;
        int head = snprintf(answer, 256, "%.*s@%.*s %s ", STR_ARG(standin->name), STR_ARG(standin->host), address_format(&address, text));
        if (head < 0 || head >= 256)
            return;
        memcpy(answer + head, data, (size_t)n);
        ssize_t sent = sendto(listener->fd, answer, (size_t)head + (size_t)n, 0, (struct sockaddr *)&peer, length);
        (void)sent; /* datagrams may be lost */
    }
}

/* ---- TCP echo ---- */

static int tcp_echo_start(struct connection *connection)
{
    char text[ADDRESS_TEXT_SIZE];
    buf_printf(&connection->out, "%.*s@%.*s %s\n", STR_ARG(connection->standin->name), STR_ARG(connection->standin->host),
               address_format(&connection->peer, text));
    return connection->out.error;
}

static int tcp_echo_data(struct connection *connection)
{
    size_t n = connection->out.len < STANDIN_OUT_HIGH ? STANDIN_OUT_HIGH - connection->out.len : 0;
    struct str piece = str_first(buf_str(&connection->in), n);
    buf_append(&connection->out, piece);
    buf_consume(&connection->in, piece.len);
    connection->finish = connection->eof && !connection->in.len;
    return connection->out.error;
}

static int tcp_echo_pump(struct connection *connection)
{
    (void)connection;
    return 0;
}

const struct protocol protocol_tcp_echo = { "tcp-echo", tcp_echo_start, tcp_echo_data, tcp_echo_pump, NULL };

/* ---- the loop ---- */

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int standin_loop(struct standin *standin, int signals)
{
    struct epoll_event events[128];
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    if (epoll_ctl(standin->epoll, EPOLL_CTL_ADD, signals, &event) < 0)
        return -errno;
    for (;;) {
        standin->now_ms = monotonic_ms();
        int timeout = connection_run_timers(standin);
        int n = epoll_wait(standin->epoll, events, ARRAY_SIZE(events), timeout);
        if (n < 0 && errno != EINTR)
            return -errno;
        standin->now_ms = monotonic_ms();
        for (int i = 0; i < n; i++) {
            struct listener *listener = events[i].data.ptr;
            if (!listener)
                return 0;
            if (listener < listeners || listener >= listeners + LISTENERS_MAX)
                connection_run(events[i].data.ptr, events[i].events);
            else if (listener->kind == LISTENER_UDP_ECHO)
                listener_answer_datagrams(standin, listener);
            else
                listener_accept(standin, listener);
        }
    }
}

static void announce(const struct standin *standin)
{
    static const char *const kinds[] = { "http", "h2c", "https", "tcp-echo", "udp-echo" };
    printf("{\"name\":\"%.*s\",\"host\":\"%.*s\",\"listen\":[", STR_ARG(standin->name), STR_ARG(standin->host));
    for (size_t i = 0; i < n_listeners; i++)
        printf("%s{\"protocol\":\"%s\",\"at\":\"%s\"}", i ? "," : "", kinds[listeners[i].kind], listeners[i].text);
    printf("]}\n");
    fflush(stdout);
}

struct wish {
    enum listener_kind kind;
    const char *text;
    bool is_unix;
};

int main(int argc, char **argv)
{
    enum { NAME = 1, HOST, PROTOCOL, LISTEN, UNIX, TCP_ECHO, UDP_ECHO, CERTIFICATE, KEY, TLS_NAME, CERTIFICATE_OUT, DIE, HELP };
    static const struct option options[] = {
        { "name", required_argument, NULL, NAME },         { "host", required_argument, NULL, HOST },
        { "protocol", required_argument, NULL, PROTOCOL }, { "listen", required_argument, NULL, LISTEN },
        { "unix", required_argument, NULL, UNIX },         { "tcp-echo", required_argument, NULL, TCP_ECHO },
        { "udp-echo", required_argument, NULL, UDP_ECHO }, { "certificate", required_argument, NULL, CERTIFICATE },
        { "key", required_argument, NULL, KEY },           { "tls-name", required_argument, NULL, TLS_NAME },
        { "certificate-out", required_argument, NULL, CERTIFICATE_OUT },
        { "die-with-parent", no_argument, NULL, DIE },     { "help", no_argument, NULL, HELP },
        { 0 },
    };
    struct standin standin = { .name = STR("standin"), .host = STR("localhost") };
    struct wish wishes[LISTENERS_MAX];
    size_t n_wishes = 0;
    enum listener_kind kind = LISTENER_HTTP;
    const char *certificate = NULL, *key = NULL, *tls_name = NULL, *certificate_out = NULL;
    bool https = false;
    log_init("postern-standin", LOG_INFO);

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        struct wish wish = { .text = optarg };
        switch (option) {
        case NAME: standin.name = str_of(optarg); continue;
        case HOST: standin.host = str_of(optarg); continue;
        case CERTIFICATE: certificate = optarg; continue;
        case KEY: key = optarg; continue;
        case TLS_NAME: tls_name = optarg; continue;
        case CERTIFICATE_OUT: certificate_out = optarg; continue;
        case DIE: prctl(PR_SET_PDEATHSIG, SIGTERM); continue;
        case PROTOCOL:
            kind = strcmp(optarg, "h2c") == 0 ? LISTENER_H2C : strcmp(optarg, "https") == 0 ? LISTENER_HTTPS : LISTENER_HTTP;
            if (kind == LISTENER_HTTP && strcmp(optarg, "http") != 0) {
                log_error("--protocol %s: expected http, h2c or https", optarg);
                return 2;
            }
            continue;
        case LISTEN: wish.kind = kind; break;
        case UNIX: wish.kind = kind; wish.is_unix = true; break;
        case TCP_ECHO: wish.kind = LISTENER_TCP_ECHO; break;
        case UDP_ECHO: wish.kind = LISTENER_UDP_ECHO; break;
        case HELP: fputs(help, stdout); return 0;
        default: fputs(help, stderr); return 2;
        }
        if (n_wishes == LISTENERS_MAX) {
            log_error("at most %d listeners", LISTENERS_MAX);
            return 2;
        }
        https |= wish.kind == LISTENER_HTTPS;
        wishes[n_wishes++] = wish;
    }
    if (optind != argc || n_wishes == 0) {
        fputs(help, stderr);
        return 2;
    }

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    cleanup_close int signals = signalfd(-1, &mask, SFD_CLOEXEC);
    standin.epoll = epoll_create1(EPOLL_CLOEXEC);
    standin.now_ms = monotonic_ms();
    if (signals < 0 || standin.epoll < 0) {
        log_error("cannot start: %s", strerror(errno));
        return 2;
    }
    if (https) {
        char name[256];
        str_copy(name, sizeof(name), standin.name);
        standin.tls = certificate_context(certificate, key, tls_name ? tls_name : name, certificate_out);
        if (!standin.tls)
            return 2;
    }
    int status = 0;
    for (size_t i = 0; i < n_wishes && status == 0; i++)
        if (!listener_add(&standin, wishes[i].kind, wishes[i].text, wishes[i].is_unix))
            status = 2;
    if (status == 0) {
        announce(&standin);
        int r = standin_loop(&standin, signals);
        if (r < 0) {
            log_error("%s", strerror(-r));
            status = 2;
        }
    }
    connection_close_all(&standin);
    for (size_t i = 0; i < n_listeners; i++) {
        close(listeners[i].fd);
        if (listeners[i].unix_path)
            unlink(listeners[i].unix_path);
    }
    SSL_CTX_free(standin.tls);
    close(standin.epoll);
    return status;
}
