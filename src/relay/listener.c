/* Listening for direct TCP: accepted in small batches, judged at once; who may not is closed without a byte. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/slots.h"
#include "relay/relay.h"

enum { PAUSE_MS = 100 };

struct relay_listener {
    struct io_source io;
    struct io_timer pause;
    struct relay_listener *next;
    struct relay *relay;
    struct address address;
    uint16_t port;
    struct io_grave grave;
};

static void pause_over(struct io_timer *timer)
{
    struct relay_listener *l = container_of(timer, struct relay_listener, pause);
    if (io_watch(&l->relay->loop, &l->io, EPOLLIN) < 0)
        io_timer_set(&l->relay->loop, &l->pause, PAUSE_MS);
}

static void listener_ready(struct io_source *source, uint32_t events)
{
    struct relay_listener *l = container_of(source, struct relay_listener, io);
    (void)events;
    for (unsigned i = 0; i < RELAY_ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer;
        struct address client;
        socklen_t length = sizeof peer;
        uint16_t port;
        int fd = accept4(source->fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && address_from_sockaddr((struct sockaddr *)&peer, &client)) {
            port = address_sockaddr_port((struct sockaddr *)&peer);
            relay_stream_begin(l->relay, fd, &client, port, l->port);
            continue;
        }
        if (fd >= 0) {
            close(fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            io_unwatch(&l->relay->loop, &l->io); /* the backlog holds them meanwhile */
            io_timer_set(&l->relay->loop, &l->pause, PAUSE_MS);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

int relay_listener_add(struct relay *relay, int fd, const struct address *address, uint16_t port)
{
    struct relay_listener *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    *l = (struct relay_listener){ .io = { .fd = fd, .ready = listener_ready }, .pause = { .fire = pause_over }, .relay = relay, .address = *address,
                                  .port = port, .next = relay->listeners };
    int r = io_watch(&relay->loop, &l->io, EPOLLIN);
    if (r < 0) {
        free(l);
        return r;
    }
    relay->listeners = l;
    return 0;
}

static void listener_release(struct io_grave *grave)
{
    free(container_of(grave, struct relay_listener, grave));
}

static void listener_free(struct relay_listener *l)
{
    if (!io_timer_is_set(&l->pause))
        io_unwatch(&l->relay->loop, &l->io);
    io_timer_clear(&l->relay->loop, &l->pause);
    if (slots_close(l->io.fd) < 0)
        _exit(EXIT_FAILURE); /* a hole among the low descriptors: the system call filter would no longer mean what it says */
    l->io.fd = -1;
    io_bury(&l->relay->loop, &l->grave, listener_release);
}

void relay_listener_remove(struct relay *relay, const struct address *address, uint16_t port)
{
    for (struct relay_listener **at = &relay->listeners; *at; at = &(*at)->next) {
        struct relay_listener *l = *at;
        if (l->port != port || !address_equal(&l->address, address))
            continue;
        *at = l->next;
        listener_free(l);
        return;
    }
}

void relay_listener_remove_all(struct relay *relay)
{
    while (relay->listeners) {
        struct relay_listener *l = relay->listeners;
        relay->listeners = l->next;
        listener_free(l);
    }
}
