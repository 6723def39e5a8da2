/* postern-relay: moves what direct ports are for, between connected sockets. It accepts TCP; of UDP it is handed each flow by the porter. The
 * other side comes from the broker. It has no address to send to, no file, and nothing to parse. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/slots.h"
#include "relay/relay.h"
#include "roles/relay_profile.h"
#include "roles/role.h"

enum { DESCRIPTORS_PER_LINK = 2, FLOWS_A_TURN = 32 };

struct process {
    struct relay relay;
    struct role role;
    struct io_source parent, broker, porter;
    struct io_timer drain_limit;
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

/* ---- broker and porter ---- */

static void broker_ready(struct io_source *source, uint32_t events)
{
    struct process *p = container_of(source, struct process, broker);
    (void)events;
    for (;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds;
        int r = ipc_receive_from(source->fd, IPC_ROLE_BROKER, IPC_ROLE_RELAY, &buffer, fds, &n_fds);
        if (r == -EAGAIN)
            break;
        if (r < 0) {
            io_unwatch(&p->relay.loop, source); /* the parent tells what comes next */
            return;
        }
        const struct ipc_dial_answer *answer = (const void *)&buffer;
        if (buffer.header.type == IPC_BROKER_ENDED)
            relay_target_ended(&p->relay, ((const struct ipc_target_ended *)(const void *)&buffer)->identity);
        else
            relay_dial_answered(&p->relay, answer->id, n_fds ? fds[0] : -1, answer->status);
    }
    relay_dial_send_pending(&p->relay);
}

static void porter_ready(struct io_source *source, uint32_t events)
{
    struct process *p = container_of(source, struct process, porter);
    (void)events;
    for (unsigned i = 0; i < FLOWS_A_TURN; i++) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds;
        int r = ipc_receive_from(source->fd, IPC_ROLE_PORTER, IPC_ROLE_RELAY, &buffer, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            io_unwatch(&p->relay.loop, source);
            return;
        }
        if (buffer.header.type == IPC_PORTER_FLOW)
            relay_flow_begin(&p->relay, (const struct ipc_flow *)(const void *)&buffer, fds);
        else
            relay_flow_refused(&p->relay, (const struct ipc_flow_refused *)(const void *)&buffer);
    }
}

/* ---- the parent ---- */

static struct io_source *source_of(struct process *p, uint32_t peer)
{
    return peer == IPC_ROLE_BROKER ? &p->broker : peer == IPC_ROLE_PORTER ? &p->porter : NULL;
}

static void channel_lost(struct process *p, const struct ipc_channel *message)
{
    struct io_source *source = source_of(p, message->peer);
    if (message->peer == IPC_ROLE_LOGGER && p->relay.records >= 0) {
        close_low(p->relay.records);
        p->relay.records = -1;
    }
    if (!source || source->fd < 0)
        return;
    io_unwatch(&p->relay.loop, source);
    close_low(source->fd);
    source->fd = -1;
    if (message->peer == IPC_ROLE_BROKER)
        relay_dial_set_channel(&p->relay, -1);
}

static void channel_came(struct process *p, const struct ipc_channel *message, int fd)
{
    struct io_source *source = source_of(p, message->peer);
    channel_lost(p, message);
    if (message->peer == IPC_ROLE_LOGGER && p->role.start.log_requests) {
        p->relay.records = fd;
        return;
    }
    if (!source) {
        close_low(fd);
        return;
    }
    source->fd = fd;
    int r = io_watch(&p->relay.loop, source, message->peer == IPC_ROLE_BROKER ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN);
    if (r < 0)
        fail("watching a channel", r);
    if (message->peer == IPC_ROLE_BROKER)
        relay_dial_set_channel(&p->relay, fd);
}

static void take_image(struct process *p, const struct ipc_image *message, int fd)
{
    struct image view, old;
    struct error err;
    int r = role_attach_image(fd, message->block_size, IMAGE_VIEW, &view, &err);
    close_low(fd);
    if (r < 0) {
        log_error("the new declaration's view: %s", err.text);
        return;
    }
    r = relay_take_view(&p->relay, view, &old);
    role_detach_image(r < 0 ? view : old);
    if (r < 0) {
        log_error("the new declaration's view: %s", strerror(-r));
        return;
    }
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation, .block_size = message->block_size };
    tell_parent(&taken);
}

static void take_listener(struct process *p, const struct ipc_listener *message, const int *fds, size_t n_fds)
{
    if (message->closing) {
        relay_listener_remove(&p->relay, &message->address, message->port);
        return;
    }
    int r = n_fds == 1 ? relay_listener_add(&p->relay, fds[0], &message->address, message->port) : -EPROTO;
    if (r < 0)
        fail("a listener", r);
}

static void drained(struct relay *relay)
{
    struct ipc_drain message = { .header = IPC_HEADER(IPC_ROLE_DRAINED, message), .remaining = relay->n_links };
    tell_parent(&message);
    io_loop_stop(&relay->loop);
}

static void drain_limit_reached(struct io_timer *timer)
{
    drained(&container_of(timer, struct process, drain_limit)->relay);
}

static void drain(struct process *p, const struct ipc_drain *message)
{
    p->relay.drained = drained;
    p->drain_limit.fire = drain_limit_reached;
    io_timer_set(&p->relay.loop, &p->drain_limit, message->limit_ms);
    relay_drain(&p->relay);
}

static void parent_ready(struct io_source *source, uint32_t events)
{
    struct process *p = container_of(source, struct process, parent);
    (void)events;
    for (;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = slots_receive(IPC_PARENT_FD, IPC_ROLE_RELAY, &buffer, fds, &n_fds);
        const void *message = &buffer;
        if (r == -EAGAIN)
            return;
        if (r == -EPIPE)
            exit(EXIT_SUCCESS);
        if (r < 0)
            fail("a message of the parent", r);
        switch (buffer.header.type) {
        case IPC_PARENT_CHANNEL_LOST:
            channel_lost(p, message);
            break;
        case IPC_PARENT_CHANNEL:
            channel_came(p, message, fds[0]);
            break;
        case IPC_PARENT_IMAGE:
            take_image(p, message, fds[0]);
            break;
        case IPC_PARENT_LISTENER:
            take_listener(p, message, fds, n_fds);
            break;
        case IPC_PARENT_DRAIN:
            drain(p, message);
            break;
        default:
            for (size_t i = 0; i < n_fds; i++)
                close_low(fds[i]);
        }
    }
}

/* ---- start ---- */

static void start_relay(struct process *p)
{
    struct image view;
    struct metrics_page *metrics;
    struct error err;
    if (role_attach_image(p->role.block, p->role.start.block_size, IMAGE_VIEW, &view, &err) < 0) {
        log_error("the declaration's view: %s", err.text);
        exit(EXIT_FAILURE);
    }
    int r = role_map_metrics(p->role.metrics, &metrics);
    if (r < 0)
        fail("the metrics page", r);
    close_low(TAKE_FD(p->role.block));
    close_low(TAKE_FD(p->role.metrics));
    r = relay_init(&p->relay, view, metrics);
    if (r < 0)
        fail("starting", r);
}

/* No more links than there are descriptors for. */
static void bound_links(struct relay *relay)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max <= 2 * IPC_SLOTS_END)
        return;
    uint64_t room = (limit.rlim_max - 2 * IPC_SLOTS_END) / DESCRIPTORS_PER_LINK;
    if (room < relay->limits.links) {
        relay->limits.links = (uint32_t)room;
        log_warning("at most %u connections and flows at a time: the limit of open files is %llu", relay->limits.links,
                    (unsigned long long)limit.rlim_max);
    }
}

int main(void)
{
    static struct process p;
    if (role_start(IPC_ROLE_RELAY, &p.role) < 0)
        return EXIT_FAILURE;
    int r = slots_reserve();
    if (r < 0)
        fail("low descriptors", r);
    start_relay(&p);
    bound_links(&p.relay);
    p.broker = (struct io_source){ .fd = -1, .ready = broker_ready };
    p.porter = (struct io_source){ .fd = -1, .ready = porter_ready };
    p.parent = (struct io_source){ .fd = IPC_PARENT_FD, .ready = parent_ready };
    r = io_watch(&p.relay.loop, &p.parent, EPOLLIN);
    if (r < 0)
        fail("watching the parent", r);
    if (role_confine(&p.role, &relay_profile) < 0)
        return EXIT_FAILURE;
    r = io_loop_run(&p.relay.loop);
    if (r < 0)
        fail("the event loop", r);
    relay_deinit(&p.relay);
    return EXIT_SUCCESS;
}
