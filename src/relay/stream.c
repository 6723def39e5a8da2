/* A TCP connection and its other side: read from one, written to the other at once; what that doesn't take is held, and nothing more is read
 * until it is gone. Each direction ends by itself (RFC 9293 section 3.6). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/relay.h"

struct side {
    struct io_source io;
    bool readable, ended;       /* ended: its last byte was read */
    bool shut;                  /* it was told that no more comes */
    char *held;                 /* what it did not take yet; NULL: nothing */
    size_t held_at, held_end;
    size_t appetite;            /* how much is read for it at once */
};

struct stream {
    struct relay_link link;
    struct side client, instance;
    struct io_deferred more;
};

static struct stream *stream_of(struct relay_link *link)
{
    return container_of(link, struct stream, link);
}

static void touch(struct stream *s)
{
    const struct relay_limits *limits = &s->link.relay->limits;
    uint32_t open_ms = s->client.ended || s->instance.ended ? limits->stream_half_idle_ms : limits->stream_idle_ms;
    relay_link_touch(&s->link, s->link.state == RELAY_ASKING ? limits->dial_ms : open_ms);
}

/* ---- moving ---- */

/* Writes what is held. 1: all of it; 0: it takes no more now; negative errno. */
static int flush_held(struct relay *relay, struct side *to)
{
    while (to->held) {
        ssize_t n = write(to->io.fd, to->held + to->held_at, to->held_end - to->held_at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        to->held_at += (size_t)n;
        relay->held -= (size_t)n;
        if (to->held_at == to->held_end) {
            free(to->held);
            to->held = NULL;
        }
    }
    return 1;
}

static int hold(struct relay *relay, struct side *to, const char *data, size_t n)
{
    to->held = malloc(n);
    if (!to->held)
        return -ENOMEM;
    memcpy(to->held, data, n);
    to->held_at = 0;
    to->held_end = n;
    relay->held += n;
    to->appetite = RELAY_READ_MIN;
    return 0;
}

static size_t reading_size(const struct relay *relay, const struct side *to)
{
    return relay->held > RELAY_HELD_MAX ? RELAY_READ_MIN / 4 : to->appetite;
}

/* One reading. 1: there may be more; 0: there is nothing, or no room for it; negative errno. */
static int move_once(struct stream *s, struct side *from, struct side *to)
{
    struct relay *relay = s->link.relay;
    int r = flush_held(relay, to);
    if (r <= 0)
        return r;
    if (from->ended) {
        if (!to->shut && shutdown(to->io.fd, SHUT_WR) < 0 && errno != ENOTCONN)
            return -errno;
        to->shut = true;
        return 0;
    }
    if (!from->readable)
        return 0;
    size_t size = reading_size(relay, to);
    ssize_t n = read(from->io.fd, relay->buffer, size);
    if (n < 0 && errno == EAGAIN)
        from->readable = false;
    if (n < 0)
        return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -errno;
    if (n == 0) {
        from->ended = true;
        return 1;
    }
    relay_link_count(&s->link, from == &s->client, (size_t)n);
    ssize_t written = write(to->io.fd, relay->buffer, (size_t)n);
    if (written < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    if (written < n)
        return hold(relay, to, relay->buffer + (written > 0 ? written : 0), (size_t)(n - (written > 0 ? written : 0)));
    if ((size_t)n == size && to->appetite < RELAY_BUFFER_SIZE)
        to->appetite = 2 * to->appetite < RELAY_BUFFER_SIZE ? 2 * to->appetite : RELAY_BUFFER_SIZE;
    return 1;
}

/* 1: more to do, and others have their turn first; 0: nothing; negative errno. */
static int move(struct stream *s, struct side *from, struct side *to)
{
    int r = 1;
    for (unsigned i = 0; i < RELAY_READS_A_TURN && r == 1; i++)
        r = move_once(s, from, to);
    return r;
}

static const char *failure(int r)
{
    const char *text = strerrordesc_np(-r);
    return text ? text : "broken";
}

static void go_on(struct stream *s)
{
    if (s->link.state != RELAY_OPEN)
        return;
    int in = move(s, &s->client, &s->instance), out = in < 0 ? in : move(s, &s->instance, &s->client);
    if (in < 0 || out < 0) {
        relay_link_end(&s->link, IPC_DENIED_NOT, failure(in < 0 ? in : out));
        return;
    }
    if (s->client.shut && s->instance.shut) {
        relay_link_end(&s->link, IPC_DENIED_NOT, "");
        return;
    }
    touch(s);
    if (in || out)
        io_defer(&s->link.relay->loop, &s->more);
}

static void more_ready(struct io_deferred *deferred)
{
    go_on(container_of(deferred, struct stream, more));
}

static void client_ready(struct io_source *source, uint32_t events)
{
    struct stream *s = container_of(source, struct stream, client.io);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->client.readable = true;
    /* Before there is another side, all there is to see is that nobody waits for it any more. */
    if (s->link.state == RELAY_ASKING && events & (EPOLLHUP | EPOLLERR))
        relay_link_end(&s->link, IPC_DENIED_NOT, "the client went away");
    else
        go_on(s);
}

static void instance_ready(struct io_source *source, uint32_t events)
{
    struct stream *s = container_of(source, struct stream, instance.io);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->instance.readable = true;
    go_on(s);
}

/* ---- life ---- */

static void stream_dialled(struct relay_link *link, int fd)
{
    struct stream *s = stream_of(link);
    s->instance.io = (struct io_source){ .fd = fd, .ready = instance_ready };
    link->state = RELAY_OPEN;
    int r = io_watch(&link->relay->loop, &s->instance.io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    if (r < 0)
        relay_link_end(link, IPC_DENIED_NOT, failure(r));
    else
        go_on(s);
}

/* Only what isn't connected yet goes to the new place. */
static void stream_moved(struct relay_link *link)
{
    if (link->state == RELAY_ASKING)
        relay_dial(link);
}

static void side_close(struct relay *relay, struct side *side)
{
    if (side->io.fd >= 0) {
        io_unwatch(&relay->loop, &side->io);
        close(side->io.fd);
    }
    side->io.fd = -1;
    if (side->held)
        relay->held -= side->held_end - side->held_at;
    free(side->held);
    side->held = NULL;
}

static void stream_release(struct relay_link *link)
{
    struct stream *s = stream_of(link);
    io_undefer(&link->relay->loop, &s->more);
    side_close(link->relay, &s->client);
    side_close(link->relay, &s->instance);
}

static void stream_free(struct io_grave *grave)
{
    free(container_of(grave, struct stream, link.grave));
}

static const struct relay_link_ops stream_ops = { .dialled = stream_dialled, .moved = stream_moved, .release = stream_release, .free = stream_free };

void relay_stream_begin(struct relay *relay, int fd, const struct address *client, uint16_t client_port, uint16_t port)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return;
    }
    s->link = (struct relay_link){ .relay = relay, .ops = &stream_ops, .client = *client, .client_port = client_port };
    s->client = (struct side){ .io = { .fd = fd, .ready = client_ready }, .appetite = RELAY_READ_MIN };
    s->instance = (struct side){ .io = { .fd = -1 }, .appetite = RELAY_READ_MIN };
    s->more.run = more_ready;
    if (!relay_link_admit(&s->link, "tcp", port)) {
        close(fd);
        free(s);
        return;
    }
    touch(s);
    int r = io_watch(&relay->loop, &s->client.io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    if (r < 0)
        relay_link_end(&s->link, IPC_DENIED_NOT, failure(r));
    else
        relay_dial(&s->link);
}
