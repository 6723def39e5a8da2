/* Listening: accept in small batches, know the principal before TLS, stop while descriptors are short. */
#include <errno.h>
#include <sys/socket.h>

#include "gateway/client.h"
#include "ipc/slots.h"
#include "tls/context.h"

struct listener {
    struct io_source io;
    struct io_timer pause;
    struct listener *next;
    struct gateway *gw;
    struct address address;
    uint16_t port, redirect_to;
    bool watched;
    struct io_grave grave;
};

static void listener_watch(struct listener *l, bool watch)
{
    if (l->watched == watch)
        return;
    if (watch)
        l->watched = io_watch(&l->gw->loop, &l->io, EPOLLIN | EPOLLEXCLUSIVE) == 0;
    else
        io_unwatch(&l->gw->loop, &l->io);
    if (!watch)
        l->watched = false;
}

static void pause_over(struct io_timer *timer)
{
    struct listener *l = container_of(timer, struct listener, pause);
    listener_watch(l, true);
}

static uint32_t connections_cap(const struct gateway *gw)
{
    uint32_t declared = gateway_surface(gw)->max_connections_per_principal;
    return declared ? declared : GATEWAY_CONNECTIONS_PER_PRINCIPAL;
}

/* Whether the peer may go on to TLS; otherwise it is closed without a byte. */
static bool admit(struct gateway *gw, const struct address *address, uint32_t *ret_principal)
{
    uint32_t principal = gateway_find_principal(gw, address);
    if (principal == IMAGE_NONE) {
        gw->metrics->connections_refused_nobody++;
        exchange_record_refusal(gw, address, IMAGE_NONE, IPC_DENIED_NOBODY);
        return false;
    }
    if (gw->principal_connections[principal] >= connections_cap(gw)) {
        gw->metrics->connections_refused_cap++;
        exchange_record_refusal(gw, address, principal, IPC_DENIED_CAP);
        return false;
    }
    *ret_principal = principal;
    return true;
}

static void take_connection(struct listener *l, int fd, const struct sockaddr *peer)
{
    struct gateway *gw = l->gw;
    struct address address;
    uint32_t principal;
    if (!address_from_sockaddr(peer, &address) || !admit(gw, &address, &principal)) {
        close(fd);
        return;
    }
    SSL *ssl = NULL;
    if (!l->redirect_to) {
        ssl = tls_context_ssl(gw->tls);
        if (!ssl) {
            close(fd);
            return;
        }
        SSL_set_accept_state(ssl);
    }
    client_accept(gw, fd, &address, principal, ssl, l->redirect_to);
}

static void listener_ready(struct io_source *source, uint32_t events)
{
    struct listener *l = container_of(source, struct listener, io);
    (void)events;
    for (int i = 0; i < GATEWAY_ACCEPTS_A_ROUND; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        int fd = accept4(l->io.fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take_connection(l, fd, (const struct sockaddr *)&peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener_watch(l, false); /* the backlog holds them; a connection that closes, or the timer, goes on */
            io_timer_set(&l->gw->loop, &l->pause, GATEWAY_REFUSED_PAUSE_MS);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

int listener_add(struct gateway *gw, int fd, const struct address *address, uint16_t port, uint16_t redirect_to)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    *l = (struct listener){ .io = { .fd = fd, .ready = listener_ready }, .pause = { .fire = pause_over }, .gw = gw, .address = *address,
                            .port = port, .redirect_to = redirect_to, .next = gw->listeners };
    gw->listeners = l;
    listener_resume_all(gw);
    return 0;
}

static void listener_release(struct io_grave *grave)
{
    free(container_of(grave, struct listener, grave));
}

static void listener_free(struct listener *l)
{
    listener_watch(l, false);
    io_timer_clear(&l->gw->loop, &l->pause);
    if (slots_close(l->io.fd) < 0)
        _exit(EXIT_FAILURE); /* a hole among the low descriptors: the system call filter would no longer mean what it says */
    l->io.fd = -1;
    io_bury(&l->gw->loop, &l->grave, listener_release);
}

void listener_remove(struct gateway *gw, const struct address *address, uint16_t port)
{
    for (struct listener **at = &gw->listeners; *at; at = &(*at)->next) {
        struct listener *l = *at;
        if (l->port != port || !address_equal(&l->address, address))
            continue;
        *at = l->next;
        listener_free(l);
        return;
    }
}

void listener_remove_all(struct gateway *gw)
{
    while (gw->listeners) {
        struct listener *l = gw->listeners;
        gw->listeners = l->next;
        listener_free(l);
    }
}

void listener_resume_all(struct gateway *gw)
{
    for (struct listener *l = gw->listeners; l; l = l->next)
        if (!l->watched && (gw->tls || l->redirect_to))
            listener_watch(l, true);
}
