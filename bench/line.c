/* Connections to the proxy that is measured: on 127.0.0.1, over TLS 1.3, with the chain and the name verified. */
#include "line.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

SSL_CTX *line_context;
const char *line_server_name;
static struct sockaddr_in server;
SSL_SESSION *line_session;

void line_die(const char *format, ...)
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

int64_t line_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(line_session);
    line_session = session;
    return 1;
}

void line_setup(const char *port, const char *ca, const char *name)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_IGN);
    line_server_name = name;
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (strcmp(ca, "plain") == 0)
        return;
    line_context = SSL_CTX_new(TLS_client_method());
    if (!line_context || !SSL_CTX_load_verify_locations(line_context, ca, NULL) || !SSL_CTX_set_ciphersuites(line_context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_min_proto_version(line_context, TLS1_3_VERSION) || !SSL_CTX_set1_groups_list(line_context, "X25519"))
        line_die("cannot set up TLS with %s", ca);
    SSL_CTX_set_verify(line_context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(line_context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(line_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(line_context, on_new_session);
}

static int open_socket(bool nonblocking)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0), one = 1;
    if (fd < 0)
        line_die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static SSL *new_tls(int fd, const char *alpn)
{
    SSL *ssl = SSL_new(line_context);
    unsigned char protocol[32];
    size_t length = strlen(alpn);
    protocol[0] = (unsigned char)length;
    memcpy(protocol + 1, alpn, length);
    if (!ssl || !SSL_set_fd(ssl, fd) || !SSL_set_tlsext_host_name(ssl, line_server_name) || !SSL_set1_host(ssl, line_server_name) ||
        SSL_set_alpn_protos(ssl, protocol, (unsigned)length + 1) != 0)
        line_die("cannot make a TLS connection");
    SSL_set_connect_state(ssl);
    return ssl;
}

void line_begin(struct line *line, const char *alpn)
{
    line->fd = open_socket(true);
    if (connect(line->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        line_die("connect: %s", strerror(errno));
    line->ssl = new_tls(line->fd, alpn);
}

bool line_open(struct line *line, const char *alpn)
{
    line->fd = open_socket(false);
    line->ssl = NULL;
    if (connect(line->fd, (struct sockaddr *)&server, sizeof server) < 0) {
        close(line->fd);
        return false;
    }
    if (!line_context)
        return true;
    line->ssl = new_tls(line->fd, alpn);
    if (SSL_connect(line->ssl) == 1)
        return true;
    SSL_free(line->ssl);
    close(line->fd);
    return false;
}

void line_close(struct line *line)
{
    if (line->ssl)
        SSL_shutdown(line->ssl); /* OpenSSL takes a session whose connection was cut short for spoilt */
    SSL_free(line->ssl);
    close(line->fd);
}

ssize_t line_read(struct line *line, void *data, size_t size)
{
    return line->ssl ? SSL_read(line->ssl, data, (int)size) : read(line->fd, data, size);
}

bool line_write(struct line *line, const void *data, size_t size)
{
    return (line->ssl ? SSL_write(line->ssl, data, (int)size) : write(line->fd, data, size)) == (ssize_t)size;
}
