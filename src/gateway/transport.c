/* Transports: the OpenSSL BIO over the worker's scratch areas, and plain sockets beside it. */
#include "gateway/transport.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "gateway/gateway.h"

enum { GATHER_MAX = 16 * 1024, LARGE_WRITE = 32 * 1024, FLUENT_AFTER = 4 };

/* ---- the receiving scratch ---- */

static void park_rx(struct gateway *gw)
{
    struct transport *owner = gw->rx_owner;
    if (owner && gw->rx_start < gw->rx_end &&
        spill_append(&owner->rx, str_make(gw->rx_scratch + gw->rx_start, gw->rx_end - gw->rx_start), TRANSPORT_SPILL_MAX) < 0)
        owner->failed = true;
    gw->rx_owner = NULL;
    gw->rx_start = gw->rx_end = 0;
}

static int socket_read(struct transport *t, void *buffer, size_t n)
{
    if (!t->readable || n == 0)
        return -EAGAIN;
    ssize_t r = read(t->io.fd, buffer, n);
    if (r < 0) {
        t->readable = false;
        if (errno == EAGAIN || errno == EINTR)
            return -EAGAIN;
        t->failed = true;
        return -errno;
    }
    if (r == 0) {
        t->ended = true;
        t->readable = false;
    } else if ((size_t)r < n && !t->hangup) {
        t->readable = false; /* a short read emptied the socket: the next byte brings an event */
    }
    return (int)r;
}

/* Ciphertext that is at hand, or freshly read. */
static int rx_take(struct transport *t, char *out, size_t n)
{
    struct gateway *gw = t->gw;
    if (t->rx) {
        struct str held = str_first(spill_str(t->rx), n);
        memcpy(out, held.ptr, held.len);
        spill_consume(&t->rx, held.len);
        return (int)held.len;
    }
    if (gw->rx_owner != t || gw->rx_start == gw->rx_end) {
        park_rx(gw);
        if (t->failed)
            return -EPIPE;
        int r = socket_read(t, gw->rx_scratch, gw->rx_room);
        if (r <= 0)
            return r;
        gw->rx_owner = t;
        gw->rx_end = (size_t)r;
    }
    size_t held = gw->rx_end - gw->rx_start;
    if (n > held)
        n = held;
    memcpy(out, gw->rx_scratch + gw->rx_start, n);
    gw->rx_start += n;
    return (int)n;
}

/* ---- the sending scratch ---- */

/* Behind what is held already. 0 or a negative errno (failed). */
static int hold(struct transport *t, struct str bytes)
{
    size_t before = spill_size(t->tx);
    int r = spill_append(&t->tx, bytes, TRANSPORT_SPILL_MAX);
    t->gw->tx_held += spill_size(t->tx) - before;
    if (r < 0)
        t->failed = true;
    return r;
}

static void let_go(struct transport *t, size_t n)
{
    size_t before = spill_size(t->tx);
    spill_consume(&t->tx, n);
    if (n)
        t->unread = UINT32_MAX;
    if (before)
        t->gw->tx_held -= before - spill_size(t->tx);
}

/* A write of that size was over; what the socket didn't take is held. */
static void note_written(struct transport *t, size_t size)
{
    if (t->tx)
        t->n_taken = 0;
    else if (size >= LARGE_WRITE && t->n_taken < FLUENT_AFTER)
        t->n_taken++;
}

bool transport_was_read(struct transport *t)
{
    int queued;
    if (!transport_is_open(t) || t->failed || ioctl(t->io.fd, TIOCOUTQ, &queued) < 0)
        return false;
    uint32_t before = t->unread;
    t->unread = (uint32_t)queued;
    return t->unread < before;
}

bool transport_is_fluent(const struct transport *t)
{
    return t->n_taken >= FLUENT_AFTER && !t->tx && t->gw->tx_held < TRANSPORT_HELD_FLUENT;
}

bool transport_has_gathered(const struct transport *t)
{
    return t->gw->tx_owner == t && t->gw->tx_len >= TRANSPORT_FLUSH &&
           (t->gw->tx_len >= TRANSPORT_FLUSH_FLUENT || !transport_is_fluent(t));
}

/* Most connections never fill their socket: an event for its being writable, which every new one is, would cost each of them a round. */
static void note_full(struct transport *t)
{
    t->writable = false;
    if (t->watches_room)
        return;
    t->watches_room = true;
    if (io_rewatch(&t->gw->loop, &t->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0)
        t->failed = true;
}

/* What the kernel takes now: its length, or a negative errno. */
static ssize_t socket_push(struct transport *t, struct str bytes)
{
    size_t done = 0;
    while (done < bytes.len) {
        ssize_t w = write(t->io.fd, bytes.ptr + done, bytes.len - done);
        if (w >= 0) {
            done += (size_t)w;
        } else if (errno == EAGAIN) {
            note_full(t);
            break;
        } else if (errno != EINTR) {
            t->failed = true;
            return -errno;
        }
    }
    return (ssize_t)done;
}

/* Behind what is spilled already, or to the kernel and the rest spilled. */
static int socket_write(struct transport *t, struct str bytes)
{
    ssize_t done = t->tx || !t->writable ? 0 : socket_push(t, bytes);
    if (done < 0)
        return (int)done;
    int r = hold(t, str_skip(bytes, (size_t)done));
    note_written(t, bytes.len);
    return r;
}

static int flush_gathered(struct gateway *gw)
{
    struct transport *owner = gw->tx_owner;
    struct str bytes = str_make(gw->tx_scratch, gw->tx_len);
    gw->tx_owner = NULL;
    gw->tx_len = 0;
    if (!owner || bytes.len == 0 || owner->failed)
        return 0;
    return socket_write(owner, bytes);
}

static int gather(struct transport *t, struct str bytes)
{
    struct gateway *gw = t->gw;
    if (gw->tx_owner != t || gw->tx_len + bytes.len > TRANSPORT_GATHER) {
        int r = flush_gathered(gw);
        if (r < 0 && t->failed)
            return r;
        gw->tx_owner = t;
    }
    if (bytes.len > TRANSPORT_GATHER)
        return socket_write(t, bytes);
    if (bytes.len)
        memcpy(gw->tx_scratch + gw->tx_len, bytes.ptr, bytes.len);
    gw->tx_len += bytes.len;
    return 0;
}

/* ---- OpenSSL's side ---- */

static int bio_read(BIO *bio, char *out, int n)
{
    struct transport *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    int r = rx_take(t, out, (size_t)n);
    if (r == -EAGAIN)
        BIO_set_retry_read(bio);
    return r < 0 ? -1 : r;
}

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct transport *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->failed || !transport_is_open(t) || gather(t, str_make(bytes, (size_t)n)) < 0)
        return -1;
    return n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "postern transport");
        if (!method)
            return NULL;
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

static int attach_ssl(struct transport *t)
{
    const BIO_METHOD *method = bio_method();
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return 0;
}

/* ---- transports ---- */

int transport_init(struct transport *t, struct gateway *gw, int fd, SSL *ssl, void (*ready)(struct io_source *, uint32_t))
{
    *t = (struct transport){ .io = { .fd = fd, .ready = ready }, .gw = gw, .ssl = ssl, .writable = true, .unread = UINT32_MAX };
    int r = ssl ? attach_ssl(t) : 0;
    if (r == 0)
        r = io_watch(&gw->loop, &t->io, EPOLLIN | EPOLLRDHUP | EPOLLET);
    if (r < 0)
        transport_close(t);
    return r;
}

void transport_close(struct transport *t)
{
    if (t->gw && t->gw->rx_owner == t) {
        t->gw->rx_owner = NULL;
        t->gw->rx_start = t->gw->rx_end = 0;
    }
    if (t->gw && t->gw->tx_owner == t)
        flush_gathered(t->gw);
    SSL_free(t->ssl);
    t->ssl = NULL;
    let_go(t, SIZE_MAX);
    spill_free(&t->rx);
    patience_forget(t);
    if (t->io.fd >= 0) {
        /* By name: the broker, whose socket this was, may not have come to closing its own descriptor of it. Until then our close alone leaves
         * it in the set, and its events would come to freed memory. */
        io_unwatch(&t->gw->loop, &t->io);
        close(t->io.fd);
    }
    t->io.fd = -1;
    t->failed = true;
}

void transport_note_events(struct transport *t, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        t->readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        t->hangup = true;
    if (events & (EPOLLHUP | EPOLLERR))
        t->reset = true;
    if (events & EPOLLOUT)
        t->writable = true;
}

/* SSL_get_error takes whatever is in the thread's queue for this call's: what somebody else left there must not end this connection. */
static void forget_errors(void)
{
    if (unlikely(ERR_peek_error()))
        ERR_clear_error();
}

static int ssl_result(struct transport *t, int r)
{
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return t->failed ? -EPIPE : -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        return 0;
    default:
        ERR_clear_error();
        if (t->ended) {
            t->cut_short = true;
            return 0;
        }
        if (t->gw->tx_owner == t)
            flush_gathered(t->gw); /* the alert that tells the peer why */
        t->failed = true;
        return -EPROTO;
    }
}

int transport_handshake(struct transport *t)
{
    t->gw->rx_room = TRANSPORT_READ_MIN;
    forget_errors();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1)
        return 0;
    r = ssl_result(t, r);
    if (r == 0)
        r = -EPIPE; /* ended before it was up */
    if (r != -EAGAIN)
        t->failed = true;
    return r;
}

/* As much as n bytes of plaintext need, records' heads and tags included, so that little is left over; within what a reading takes anyway. */
static size_t ciphertext_of(size_t n)
{
    size_t needed = n + n / 512;
    return needed < TRANSPORT_READ_MIN ? TRANSPORT_READ_MIN : needed < TRANSPORT_SCRATCH ? needed : TRANSPORT_SCRATCH;
}

/* room: ciphertext that may be read for it; 0: only what is at hand. */
static ssize_t read_some(struct transport *t, void *buffer, size_t n, size_t room)
{
    if (t->failed)
        return -EPIPE;
    if (!t->ssl)
        return t->ended ? 0 : socket_read(t, buffer, n);
    t->gw->rx_room = room;
    forget_errors();
    int r = SSL_read(t->ssl, buffer, n > INT32_MAX ? INT32_MAX : (int)n);
    return r > 0 ? r : ssl_result(t, r);
}

ssize_t transport_read(struct transport *t, void *buffer, size_t n)
{
    return read_some(t, buffer, n, ciphertext_of(n));
}

bool transport_has_input(const struct transport *t)
{
    const struct gateway *gw = t->gw;
    return t->readable || t->ended || t->rx || (gw->rx_owner == t && gw->rx_start < gw->rx_end) || (t->ssl && SSL_has_pending(t->ssl));
}

ssize_t transport_read_full(struct transport *t, void *buffer, size_t n)
{
    size_t done = 0;
    while (done < n) {
        size_t rest = n - done;
        bool nearly_full = rest < n / 8; /* not worth another call of the system */
        ssize_t r = read_some(t, (char *)buffer + done, rest, nearly_full && t->ssl ? 0 : ciphertext_of(rest));
        if (r <= 0)
            return done ? (ssize_t)done : r;
        done += (size_t)r;
        if (!transport_has_input(t))
            break;
    }
    return (ssize_t)done;
}

/* What the kernel takes of these now, spilling the rest. */
static int push_parts(struct transport *t, struct iovec *parts, int n)
{
    size_t size = 0;
    for (int i = 0; i < n; i++)
        size += parts[i].iov_len;
    while (n > 0) {
        ssize_t w = writev(t->io.fd, parts, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno != EAGAIN) {
            t->failed = true;
            return -errno;
        }
        if (w < 0) {
            note_full(t);
            break;
        }
        for (; n > 0 && (size_t)w >= parts->iov_len; parts++, n--)
            w -= (ssize_t)parts->iov_len;
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + w;
            parts->iov_len -= (size_t)w;
        }
    }
    int r = 0;
    for (; n > 0 && r == 0; parts++, n--)
        r = hold(t, str_make(parts->iov_base, parts->iov_len));
    note_written(t, size);
    return r;
}

/* Small pieces are gathered; large ones aren't worth a copy and leave with what was gathered before them. */
static int write_plain(struct transport *t, const struct str *parts, unsigned n)
{
    struct gateway *gw = t->gw;
    struct iovec all[TRANSPORT_PARTS_MAX + 1];
    int n_all = 0;
    size_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += parts[i].len;
    if (total < GATHER_MAX || t->tx || !t->writable) {
        int r = 0;
        for (unsigned i = 0; i < n && r == 0; i++)
            r = gather(t, parts[i]);
        return r;
    }
    if (gw->tx_owner == t && gw->tx_len)
        all[n_all++] = (struct iovec){ gw->tx_scratch, gw->tx_len };
    for (unsigned i = 0; i < n; i++)
        if (parts[i].len)
            all[n_all++] = (struct iovec){ (void *)(uintptr_t)parts[i].ptr, parts[i].len };
    if (gw->tx_owner == t)
        gw->tx_len = 0;
    return push_parts(t, all, n_all);
}

int transport_write_parts(struct transport *t, const struct str *parts, unsigned n)
{
    if (t->failed)
        return -EPIPE;
    if (!t->ssl)
        return write_plain(t, parts, n);
    int r = 0;
    for (unsigned i = 0; i < n && r == 0; i++)
        r = transport_write(t, parts[i]);
    return r;
}

int transport_write(struct transport *t, struct str bytes)
{
    if (t->failed)
        return -EPIPE;
    if (!t->ssl)
        return write_plain(t, &bytes, 1);
    while (bytes.len) {
        struct str record = str_first(bytes, SSL3_RT_MAX_PLAIN_LENGTH);
        int r = SSL_write(t->ssl, record.ptr, (int)record.len);
        if (r <= 0) {
            r = ssl_result(t, r);
            t->failed = true;
            return r < 0 ? r : -EPIPE;
        }
        bytes = str_skip(bytes, (size_t)r);
    }
    return 0;
}

int transport_flush(struct transport *t)
{
    if (!transport_is_open(t))
        return -EPIPE;
    if (t->gw->tx_owner == t) {
        int r = flush_gathered(t->gw);
        if (r < 0)
            return r;
    }
    if (t->tx && t->writable && !t->failed) {
        ssize_t done = socket_push(t, spill_str(t->tx));
        if (done < 0)
            return (int)done;
        let_go(t, (size_t)done);
    }
    if (t->failed)
        return -EPIPE;
    return t->tx ? 1 : 0;
}

void transport_shutdown(struct transport *t)
{
    if (!transport_is_open(t) || t->failed)
        return;
    if (t->ssl && SSL_is_init_finished(t->ssl)) {
        SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
    if (transport_flush(t) == 0)
        shutdown(t->io.fd, SHUT_WR);
}

void transport_release_scratches(struct gateway *gw)
{
    flush_gathered(gw);
    park_rx(gw);
}
