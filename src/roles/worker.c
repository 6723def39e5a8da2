/* postern-worker: one surface's gateway. Holds its view, its listeners and its clients; asks keeper and broker for everything else.
 *
 * All of its authority came over the parent's channel; see worker_profile.c for what it may call. While a signature is waited for in the middle
 * of a handshake, the parent's messages are heard only as far as channels go; the rest waits until the handshake's caller has returned. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/client.h"
#include "gateway/dialer.h"
#include "gateway/gateway.h"
#include "ipc/slots.h"
#include "roles/role.h"
#include "roles/worker_keeper.h"
#include "roles/worker_profile.h"
#include "tls/context.h"
#include "tls/provider.h"
#include "tls/ticket.h"

enum { DEFERRED_MAX = 32, DEFERRED_GUESTS_MAX = 2 * GUESTS_MAX /* each of them gone, and another come */ };

struct parent_message {
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
};

struct worker {
    struct gateway gw;
    struct role role;
    struct io_source parent, keeper_source, broker;
    struct worker_keeper keeper;
    struct tls_provider *provider;
    struct tls_ticket_keys *tickets;
    struct io_timer drain_limit;
    struct io_deferred later;
    bool signing_waits;            /* inside renew: only channels are taken */
    size_t n_waiting, n_waiting_guests;
    struct parent_message waiting[DEFERRED_MAX];
    struct ipc_guest waiting_guests[DEFERRED_GUESTS_MAX];
};

static _Noreturn void fail(const char *what, int r)
{
    log_error("%s: %s", what, strerror(-r));
    exit(EXIT_FAILURE);
}

static void close_low(int fd)
{
    if (slots_close(fd) < 0)
        fail("low descriptors", -EBADF);
}

static void tell_parent(const void *message)
{
    if (ipc_send_plain(IPC_PARENT_FD, message) < 0)
        log_warning("the parent takes no messages");
}

/* ---- the keeper ---- */

static void take_certificates(struct worker *w, const struct ipc_certificates *message, int chains)
{
    struct error err;
    struct tls_context *context;
    struct str surface = image_str(w->gw.view, gateway_surface(&w->gw)->name);
    if (worker_keeper_context(message, chains, w->provider, w->tickets, surface, &context, &err) < 0)
        log_error("certificates from the keeper: %s", err.text);
    else
        gateway_take_tls(&w->gw, context);
}

static void keeper_pushed(void *context, const struct ipc_header *message, int fds[], size_t n_fds)
{
    struct worker *w = context;
    if (message->type == IPC_KEEPER_CERTIFICATES && n_fds == 1)
        take_certificates(w, (const struct ipc_certificates *)(const void *)message, fds[0]);
    else if (message->type == IPC_KEEPER_TICKET_KEYS)
        (void)!worker_keeper_tickets((const struct ipc_ticket_keys *)(const void *)message, w->tickets);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

static void keeper_ready(struct io_source *source, uint32_t events)
{
    struct worker *w = container_of(source, struct worker, keeper_source);
    (void)events;
    if (worker_keeper_receive(&w->keeper) < 0)
        io_unwatch(&w->gw.loop, source); /* the parent tells what comes next */
}

/* ---- the broker ---- */

static void broker_ready(struct io_source *source, uint32_t events)
{
    struct worker *w = container_of(source, struct worker, broker);
    (void)events;
    for (;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds;
        int r = ipc_receive_from(source->fd, IPC_ROLE_BROKER, IPC_ROLE_WORKER, &buffer, fds, &n_fds);
        if (r == -EAGAIN)
            break;
        if (r < 0) {
            io_unwatch(&w->gw.loop, source);
            return;
        }
        const struct ipc_dial_answer *answer = (const void *)&buffer;
        dialer_answered(&w->gw, answer->id, n_fds ? fds[0] : -1, answer->status);
    }
    dialer_send_pending(&w->gw);
}

/* ---- the parent ---- */

static struct io_source *source_of(struct worker *w, uint32_t peer)
{
    return peer == IPC_ROLE_KEEPER ? &w->keeper_source : peer == IPC_ROLE_BROKER ? &w->broker : NULL;
}

static void channel_lost(struct worker *w, const struct ipc_channel *message)
{
    struct io_source *source = source_of(w, message->peer);
    if (message->peer == IPC_ROLE_LOGGER && w->gw.recorder.pipe >= 0) {
        close_low(w->gw.recorder.pipe);
        w->gw.recorder.pipe = -1;
    }
    if (!source || source->fd < 0)
        return;
    io_unwatch(&w->gw.loop, source);
    close_low(source->fd);
    source->fd = -1;
    if (message->peer == IPC_ROLE_BROKER)
        dialer_set_channel(&w->gw, -1);
    else
        worker_keeper_set_channel(&w->keeper, -1);
}

static void channel_came(struct worker *w, const struct ipc_channel *message, int fd)
{
    struct io_source *source = source_of(w, message->peer);
    channel_lost(w, message);
    if (message->peer == IPC_ROLE_LOGGER) {
        if (w->role.start.log_requests)
            w->gw.recorder.pipe = fd;
        else
            close_low(fd);
        return;
    }
    if (!source) {
        close_low(fd);
        return;
    }
    source->fd = fd;
    int r = io_watch(&w->gw.loop, source, message->peer == IPC_ROLE_BROKER ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN);
    if (r < 0)
        fail("watching a channel", r);
    if (message->peer == IPC_ROLE_BROKER)
        dialer_set_channel(&w->gw, fd);
    else
        worker_keeper_set_channel(&w->keeper, fd);
}

static void take_image(struct worker *w, const struct ipc_image *message, int fd)
{
    struct image view;
    struct error err;
    int r = role_attach_image(fd, message->block_size, IMAGE_VIEW, &view, &err);
    close_low(fd);
    if (r < 0) {
        log_error("the new declaration's view: %s", err.text);
        return;
    }
    r = gateway_take_view(&w->gw, view, (void *)(uintptr_t)view.header, message->block_size);
    if (r < 0) {
        role_detach_image(view);
        log_error("the new declaration's view: %s", strerror(-r));
        return;
    }
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation, .block_size = message->block_size };
    tell_parent(&taken);
}

static void take_listener(struct worker *w, const struct ipc_listener *message, const int *fds, size_t n_fds)
{
    if (message->closing) {
        listener_remove(&w->gw, &message->address, message->port);
        return;
    }
    int r = n_fds == 1 ? listener_add(&w->gw, fds[0], &message->address, message->port,
                                      message->kind == IMAGE_LISTENER_REDIRECT ? message->redirect_to : 0)
                       : -EPROTO;
    if (r < 0)
        fail("a listener", r);
}

static void drained(struct gateway *gw)
{
    struct ipc_drain message = { .header = IPC_HEADER(IPC_ROLE_DRAINED, message), .remaining = gw->n_clients };
    tell_parent(&message);
    io_loop_stop(&gw->loop);
}

static void drain_limit_reached(struct io_timer *timer)
{
    drained(&container_of(timer, struct worker, drain_limit)->gw);
}

static void drain(struct worker *w, const struct ipc_drain *message)
{
    w->gw.drained = drained;
    w->drain_limit.fire = drain_limit_reached;
    io_timer_set(&w->gw.loop, &w->drain_limit, message->limit_ms);
    gateway_drain(&w->gw);
}

static void take_guest(struct worker *w, const struct ipc_guest *guest)
{
    gateway_take_guest(&w->gw, &guest->address, guest->container, guest->is_present);
}

static bool is_about_channels(uint16_t type)
{
    return type == IPC_PARENT_CHANNEL || type == IPC_PARENT_CHANNEL_LOST;
}

static void dispatch(struct worker *w, const struct parent_message *m)
{
    const void *message = &m->buffer;
    switch (m->buffer.header.type) {
    case IPC_PARENT_CHANNEL_LOST:
        channel_lost(w, message);
        break;
    case IPC_PARENT_CHANNEL:
        channel_came(w, message, m->fds[0]);
        break;
    case IPC_PARENT_IMAGE:
        take_image(w, message, m->fds[0]);
        break;
    case IPC_PARENT_LISTENER:
        take_listener(w, message, m->fds, m->n_fds);
        break;
    case IPC_PARENT_DRAIN:
        drain(w, message);
        break;
    case IPC_PARENT_GUEST:
        take_guest(w, message);
        break;
    default:
        for (size_t i = 0; i < m->n_fds; i++)
            close_low(m->fds[i]);
    }
}

/* Takes one message off the parent's channel. 0, -EAGAIN; ends the process with the parent. */
static int hear_parent(struct worker *w)
{
    struct parent_message m;
    int r = slots_receive(IPC_PARENT_FD, IPC_ROLE_WORKER, &m.buffer, m.fds, &m.n_fds);
    if (r == -EAGAIN)
        return r;
    if (r == -EPIPE)
        exit(EXIT_SUCCESS);
    if (r < 0)
        fail("a message of the parent", r);
    if (!w->signing_waits || is_about_channels(m.buffer.header.type)) {
        dispatch(w, &m);
        return 0;
    }
    io_defer(&w->gw.loop, &w->later);
    if (m.buffer.header.type == IPC_PARENT_GUEST && w->n_waiting_guests < DEFERRED_GUESTS_MAX) {
        memcpy(&w->waiting_guests[w->n_waiting_guests++], &m.buffer, sizeof w->waiting_guests[0]);
        return 0;
    }
    if (w->n_waiting == DEFERRED_MAX)
        fail("the parent's messages while a signature is waited for", -ENOBUFS);
    w->waiting[w->n_waiting++] = m;
    return 0;
}

static void hear_what_waited(struct io_deferred *deferred)
{
    struct worker *w = container_of(deferred, struct worker, later);
    for (size_t i = 0; i < w->n_waiting; i++)
        dispatch(w, &w->waiting[i]);
    for (size_t i = 0; i < w->n_waiting_guests; i++)
        take_guest(w, &w->waiting_guests[i]);
    w->n_waiting = w->n_waiting_guests = 0;
}

static void parent_ready(struct io_source *source, uint32_t events)
{
    struct worker *w = container_of(source, struct worker, parent);
    (void)events;
    hear_what_waited(&w->later); /* in the order of sending: an older declaration must not come after a newer one */
    while (hear_parent(w) == 0)
        ;
}

/* The keeper died in the middle of a handshake: wait for the channel to its successor. */
static int renew_keeper_channel(void *context, int timeout_ms)
{
    struct worker *w = context;
    int broken = w->keeper_source.fd;
    uint64_t give_up_us = io_now_us() + (uint64_t)timeout_ms * 1000;
    w->signing_waits = true;
    while (w->keeper_source.fd == broken || w->keeper_source.fd < 0) {
        uint64_t now_us = io_now_us();
        struct pollfd wait = { .fd = IPC_PARENT_FD, .events = POLLIN };
        if (now_us >= give_up_us || poll(&wait, 1, (int)((give_up_us - now_us) / 1000) + 1) < 0)
            break;
        (void)hear_parent(w);
        if (w->keeper_source.fd < 0)
            broken = -1;
    }
    w->signing_waits = false;
    return w->keeper_source.fd >= 0 && w->keeper_source.fd != broken ? w->keeper_source.fd : -ETIMEDOUT;
}

/* ---- start ---- */

static void start_tls(struct worker *w)
{
    struct error err;
    struct worker_keeper_hooks hooks = { .renew = renew_keeper_channel, .pushed = keeper_pushed, .context = w };
    worker_keeper_init(&w->keeper, -1, &hooks);
    if (tls_provider_new(worker_keeper_sign, &w->keeper, &w->provider, &err) < 0) {
        log_error("%s", err.text);
        exit(EXIT_FAILURE);
    }
    int r = tls_ticket_keys_new(tls_provider_library(w->provider), &w->tickets);
    if (r < 0)
        fail("session tickets", r);
}

static void start_gateway(struct worker *w)
{
    struct image view;
    struct metrics_page *metrics;
    struct error err;
    if (role_attach_image(w->role.block, w->role.start.block_size, IMAGE_VIEW, &view, &err) < 0) {
        log_error("the declaration's view: %s", err.text);
        exit(EXIT_FAILURE);
    }
    int r = role_map_metrics(w->role.metrics, &metrics);
    if (r < 0)
        fail("the metrics page", r);
    close_low(TAKE_FD(w->role.block));
    close_low(TAKE_FD(w->role.metrics));
    r = gateway_init(&w->gw, view, (void *)(uintptr_t)view.header, w->role.start.block_size, metrics, w->role.start.worker);
    if (r < 0)
        fail("starting", r);
}

int main(void)
{
    static struct worker w;
    if (role_start(IPC_ROLE_WORKER, &w.role) < 0)
        return EXIT_FAILURE;
    int r = slots_reserve();
    if (r < 0)
        fail("low descriptors", r);
    start_gateway(&w);
    start_tls(&w);
    w.keeper_source = (struct io_source){ .fd = -1, .ready = keeper_ready };
    w.broker = (struct io_source){ .fd = -1, .ready = broker_ready };
    w.parent = (struct io_source){ .fd = IPC_PARENT_FD, .ready = parent_ready };
    w.later.run = hear_what_waited;
    r = io_watch(&w.gw.loop, &w.parent, EPOLLIN);
    if (r < 0)
        fail("watching the parent", r);
    if (role_confine(&w.role, &worker_profile) < 0)
        return EXIT_FAILURE;
    r = io_loop_run(&w.gw.loop);
    if (r < 0)
        fail("the event loop", r);
    gateway_deinit(&w.gw);
    tls_ticket_keys_free(w.tickets);
    tls_provider_free(w.provider);
    return EXIT_SUCCESS;
}
