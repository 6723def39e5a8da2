/* One client's connection: bytes in and out, with or without TLS, for the protocol that is spoken on it. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "standin/standin.h"

enum { READ_PIECE = 64 << 10, TURNS_MAX = 64 };

static void connection_close(struct connection *connection)
{
    if (connection->protocol && connection->protocol->stop)
        connection->protocol->stop(connection);
    if (connection->reset) {
        struct linger linger = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    } else if (connection->tls) {
        SSL_shutdown(connection->tls);
    }
    SSL_free(connection->tls);
    close(connection->fd);
    buf_deinit(&connection->in);
    buf_deinit(&connection->out);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    free(connection);
}

int connection_open(struct standin *standin, int fd, const struct protocol *protocol, bool tls)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof(peer);
    if (!connection) {
        close(fd);
        return -ENOMEM;
    }
    connection->standin = standin;
    connection->fd = fd;
    buf_init(&connection->in, STANDIN_IN_MAX);
    buf_init(&connection->out, STANDIN_OUT_MAX);
    connection->number = ++standin->n_accepted;
    connection->link = &standin->connections;
    connection->next = standin->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    standin->connections = connection;

    if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && address_from_sockaddr((struct sockaddr *)&peer, &connection->peer))
        /* the same place in both families */
        connection->peer_port = ntohs(((struct sockaddr_in *)&peer)->sin_port); /* NOLINT(clang-analyzer-core.CallAndMessage): it is */
    if (tls) {
        connection->tls = SSL_new(standin->tls);
        if (!connection->tls || SSL_set_fd(connection->tls, fd) != 1) {
            connection_close(connection);
            return -ENOMEM;
        }
        SSL_set_accept_state(connection->tls);
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
    connection->interest = EPOLLIN;
    connection->protocol = protocol;
    int r = protocol->start(connection);
    if (r == 0 && epoll_ctl(standin->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        r = -errno;
    if (r < 0) {
        connection_close(connection);
        return r;
    }
    connection_run(connection, EPOLLIN);
    return 0;
}

int connection_switch(struct connection *connection, const struct protocol *protocol)
{
    connection->protocol = protocol;
    connection->wake_ms = 0;
    connection->pause = false;
    return protocol->start(connection);
}

/* Bytes read into in; 0 at the end (eof is set); -EAGAIN; another negative errno. */
static ssize_t connection_read(struct connection *connection)
{
    static char piece[READ_PIECE];
    if (connection->in.len + READ_PIECE > STANDIN_IN_MAX)
        return -EAGAIN; /* full: whoever speaks takes from it first */
    ssize_t n;
    if (connection->tls) {
        ERR_clear_error();
        n = SSL_read(connection->tls, piece, READ_PIECE);
        if (n <= 0) {
            int error = SSL_get_error(connection->tls, (int)n);
            if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
                return -EAGAIN;
            if (error != SSL_ERROR_ZERO_RETURN)
                return -EPROTO;
            n = 0;
        }
    } else {
        n = read(connection->fd, piece, READ_PIECE);
        if (n < 0)
            return -errno;
    }
    if (n == 0)
        connection->eof = true;
    buf_append(&connection->in, str_make(piece, (size_t)n));
    return connection->in.error ? connection->in.error : n;
}

static int connection_flush(struct connection *connection)
{
    while (connection->out.len) {
        ssize_t n;
        if (connection->tls) {
            ERR_clear_error();
            size_t piece = connection->out.len > READ_PIECE ? READ_PIECE : connection->out.len;
            n = SSL_write(connection->tls, connection->out.ptr, (int)piece);
            if (n <= 0) {
                int error = SSL_get_error(connection->tls, (int)n);
                return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -EPIPE;
            }
        } else {
            n = send(connection->fd, connection->out.ptr, connection->out.len, MSG_NOSIGNAL);
            if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        }
        buf_consume(&connection->out, (size_t)n);
    }
    return 0;
}

/* One turn; 1 when another could move more. */
static int connection_turn(struct connection *connection, bool readable)
{
    ssize_t n = -EAGAIN;
    if (readable && !connection->eof && !connection->pause && !connection->finish) {
        n = connection_read(connection);
        if (n < 0 && n != -EAGAIN && n != -EINTR)
            return (int)n;
    }
    if (connection->tls && !SSL_is_init_finished(connection->tls))
        return 0;
    size_t in_before = connection->in.len;
    int r = connection->finish ? 0 : connection->protocol->data(connection);
    if (r == 0 && !connection->reset && connection->out.len < STANDIN_OUT_HIGH && !connection->finish) {
        connection->wake_ms = 0;
        r = connection->protocol->pump(connection);
    }
    if (r < 0)
        return r;
    if (connection->reset)
        return -ECONNRESET;
    size_t out_before = connection->out.len;
    r = connection_flush(connection);
    if (r < 0)
        return r;
    if (connection->finish && connection->out.len == 0)
        return -ECONNABORTED;
    return n > 0 || connection->in.len != in_before || (out_before && connection->out.len == 0);
}

static void note_wake(const struct connection *connection)
{
    struct standin *standin = connection->standin;
    if (connection->wake_ms && (!standin->next_wake_ms || connection->wake_ms < standin->next_wake_ms))
        standin->next_wake_ms = connection->wake_ms;
}

void connection_run(struct connection *connection, uint32_t events)
{
    int r = 1;
    if (events & EPOLLERR || (events & EPOLLHUP && connection->eof))
        r = -ECONNRESET;
    for (unsigned i = 0; r == 1 && i < TURNS_MAX; i++)
        r = connection_turn(connection, true);
    if (r < 0) {
        connection_close(connection);
        return;
    }
    note_wake(connection);
    uint32_t interest = 0;
    if (!connection->eof && !connection->pause && connection->in.len + READ_PIECE <= STANDIN_IN_MAX)
        interest |= EPOLLIN;
    /* r == 1: turns ran out; being writable brings us back at once, after the others. */
    if (connection->out.len || r == 1)
        interest |= EPOLLOUT;
    if (interest != connection->interest) {
        struct epoll_event event = { .events = interest, .data.ptr = connection };
        epoll_ctl(connection->standin->epoll, EPOLL_CTL_MOD, connection->fd, &event);
        connection->interest = interest;
    }
}

int connection_run_timers(struct standin *standin)
{
    struct connection *next;
    /* All are looked at only when one is due: thousands that wait for nothing cost nothing. */
    if (standin->next_wake_ms && standin->next_wake_ms <= standin->now_ms) {
        standin->next_wake_ms = 0;
        for (struct connection *connection = standin->connections; connection; connection = next) {
            next = connection->next;
            if (connection->wake_ms && connection->wake_ms <= standin->now_ms) {
                connection->wake_ms = 0;
                connection_run(connection, 0);
            } else {
                note_wake(connection);
            }
        }
    }
    if (!standin->next_wake_ms)
        return -1;
    if (standin->next_wake_ms <= standin->now_ms)
        return 0;
    return standin->next_wake_ms - standin->now_ms > 60000 ? 60000 : (int)(standin->next_wake_ms - standin->now_ms);
}

void connection_close_all(struct standin *standin)
{
    while (standin->connections)
        connection_close(standin->connections);
}
