/* The floor: a relay that parses nothing, decides nothing and logs nothing. One epoll loop; TLS to clients, a connection to the instance for each
 * of theirs, bytes both ways with one read and one write a message. What a proxy costs over this is the price of what it does.
 *
 * Trusts everybody: it serves the bench on loopback and nothing else. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 64 * 1024 };

struct pair;
struct end {
    struct pair *pair;
    int fd;
    bool readable;
    char *held;              /* what the socket didn't take */
    size_t n_held;
};

struct pair {
    struct end client, instance;
    SSL *ssl;
    bool closed;
    struct pair *next;
};

static int epoll_fd;
static SSL_CTX *context;
static struct sockaddr_in instance = { .sin_family = AF_INET };
static char cipher_in[SIZE], plain[SIZE], cipher_out[2 * SIZE];
static size_t in_start, in_end, n_out;   /* of the pair that is served now */
static struct pair *closed;

static void close_pair(struct pair *p)
{
    if (p->closed)
        return;
    p->closed = true;
    close(p->client.fd);
    close(p->instance.fd);
    SSL_free(p->ssl);
    free(p->client.held);
    free(p->instance.held);
    p->next = closed;
    closed = p;
}

static ssize_t take(struct end *e, char *to, size_t n)
{
    if (!e->readable)
        return -1;
    ssize_t r = read(e->fd, to, n);
    if (r < (ssize_t)n)
        e->readable = false;
    if (r == 0 || (r < 0 && errno != EAGAIN))
        close_pair(e->pair);
    return r;
}

/* All of it: written, or held until the socket takes more; whoever writes stops while something is held. */
static void give(struct end *e, const char *bytes, size_t n)
{
    ssize_t w = n && !e->n_held ? write(e->fd, bytes, n) : 0;
    if (w < 0 && errno != EAGAIN) {
        close_pair(e->pair);
        return;
    }
    size_t rest = n - (w > 0 ? (size_t)w : 0);
    if (!rest)
        return;
    char *grown = realloc(e->held, e->n_held + rest);
    if (!grown)
        abort();
    memcpy(grown + e->n_held, bytes + n - rest, rest);
    e->held = grown;
    e->n_held += rest;
}

static void give_held(struct end *e)
{
    ssize_t w = e->n_held ? write(e->fd, e->held, e->n_held) : 0;
    if (w <= 0)
        return;
    e->n_held -= (size_t)w;
    memmove(e->held, e->held + w, e->n_held);
    if (!e->n_held) {
        free(e->held);
        e->held = NULL;
    }
}

static int bio_read(BIO *bio, char *to, int n)
{
    struct pair *p = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (in_start == in_end) {
        ssize_t r = take(&p->client, cipher_in, sizeof cipher_in);
        in_start = 0;
        in_end = r > 0 ? (size_t)r : 0;
    }
    size_t held = in_end - in_start;
    if (held == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t m = (size_t)n < held ? (size_t)n : held;
    memcpy(to, cipher_in + in_start, m);
    in_start += m;
    return (int)m;
}

static int bio_write(BIO *bio, const char *bytes, int n)
{
    (void)bio;
    if (n_out + (size_t)n > sizeof cipher_out)
        abort();
    memcpy(cipher_out + n_out, bytes, (size_t)n);
    n_out += (size_t)n;
    return n;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static void flush(struct pair *p)
{
    if (n_out && !p->closed)
        give(&p->client, cipher_out, n_out);
    n_out = 0;
}

/* Client to instance: what is decrypted goes on in one write. */
static void upwards(struct pair *p)
{
    in_start = in_end = 0;
    do {
        size_t n = 0;
        int r = 1;
        while (n < sizeof plain && r > 0 && !p->closed) {
            r = SSL_read(p->ssl, plain + n, (int)(sizeof plain - n)); /* the handshake, too */
            n += r > 0 ? (size_t)r : 0;
        }
        bool over = r <= 0 && !p->closed && SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_READ;
        flush(p);
        if (n && !p->closed)
            give(&p->instance, plain, n);
        if (over)
            close_pair(p);
    } while (!p->closed && (in_start < in_end || (p->client.readable && !p->instance.n_held)));
}

static void downwards(struct pair *p)
{
    while (!p->closed && p->instance.readable && !p->client.n_held && SSL_is_init_finished(p->ssl)) {
        ssize_t n = take(&p->instance, plain, sizeof plain);
        for (ssize_t at = 0; at < n; at += SSL3_RT_MAX_PLAIN_LENGTH) {
            ssize_t m = n - at < SSL3_RT_MAX_PLAIN_LENGTH ? n - at : SSL3_RT_MAX_PLAIN_LENGTH;
            if (SSL_write(p->ssl, plain + at, (int)m) <= 0)
                close_pair(p);
        }
        flush(p);
    }
}

static void ready(struct end *e, uint32_t events)
{
    struct pair *p = e->pair;
    if (p->closed)
        return;
    e->readable |= (events & ~(uint32_t)EPOLLOUT) != 0;
    if (events & EPOLLOUT)
        give_held(e);
    if (p->client.readable && !p->instance.n_held)
        upwards(p);
    if (!p->closed)
        downwards(p);
}

static void watch(struct end *e, struct pair *p, int fd)
{
    int one = 1;
    *e = (struct end){ .pair = p, .fd = fd };
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void accept_all(int listener, const BIO_METHOD *method)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct pair *p = calloc(1, sizeof *p);
        int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* loopback: connects at once */
        BIO *bio = BIO_new(method);
        if (!p || to < 0 || !bio || !(p->ssl = SSL_new(context)) || connect(to, (struct sockaddr *)&instance, sizeof instance) < 0)
            abort();
        int flags = 1;
        if (ioctl(to, FIONBIO, &flags) < 0)
            abort();
        BIO_set_data(bio, p);
        BIO_set_init(bio, 1);
        SSL_set_bio(p->ssl, bio, bio);
        SSL_set_accept_state(p->ssl);
        watch(&p->client, p, fd);
        watch(&p->instance, p, to);
    }
}

/* What it speaks is for client and instance to know. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned n_in, void *argument)
{
    static const unsigned char http1[] = "\x08http/1.1";
    (void)ssl, (void)argument;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, http1, sizeof http1 - 1, in, n_in) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: floor PORT INSTANCE_PORT CERTIFICATE KEY\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)) };
    address.sin_addr.s_addr = instance.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    instance.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    context = SSL_CTX_new(TLS_server_method());
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floor");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0 || !context || !method ||
        SSL_CTX_use_certificate_chain_file(context, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "floor: cannot serve on %s\n", argv[1]);
        return 1;
    }
    SSL_CTX_set_alpn_select_cb(context, select_alpn, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                ready(events[i].data.ptr, events[i].events);
            else
                accept_all(listener, method);
        }
        while (closed) {
            struct pair *p = closed;
            closed = p->next;
            free(p);
        }
    }
}
