/* Reading asks, checking them against the table, and answering with sockets; bounded per worker and per target. */
#include "roles/broker_serve.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "roles/role.h"

int broker_init(struct broker *broker)
{
    broker->dialer.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (broker->dialer.epoll < 0)
        return -errno;
    for (size_t i = 0; i < BROKER_CHANNELS_MAX; i++)
        broker->channels[i] = (struct broker_channel){ .watch = { BROKER_WATCH_CHANNEL }, .fd = -1 };
    broker->docker = (struct broker_docker){ .watch = { BROKER_WATCH_DOCKER }, .fd = -1 };
    broker_containers_init(&broker->dialer.containers, broker->dialer.epoll);
    broker->said_ms = INT64_MIN / 2;
    broker->pool = calloc(BROKER_DIALS_MAX, sizeof *broker->pool);
    if (!broker->pool)
        return -ENOMEM;
    return broker_netns_init(&broker->dialer.netns);
}

static struct broker_dial *dial_take(struct broker *broker)
{
    if (broker->free) {
        struct broker_dial *dial = broker->free;
        broker->free = dial->next;
        broker->n_in_flight++;
        return dial;
    }
    /* The list is empty, so the first n_in_flight are out and the rest was never used: pages are touched only as needed. */
    return broker->n_in_flight < BROKER_DIALS_MAX ? &broker->pool[broker->n_in_flight++] : NULL;
}

static void dial_give_back(struct broker *broker, struct broker_dial *dial)
{
    dial_end(&broker->dialer, dial);
    dial->next = broker->free;
    broker->free = dial;
    broker->n_in_flight--;
}

static void channel_end(struct broker *broker, struct broker_channel *channel)
{
    if (channel->fd < 0)
        return;
    while (channel->dials) {
        struct broker_dial *dial = channel->dials;
        channel->dials = dial->next;
        dial_give_back(broker, dial);
    }
    close(channel->fd);
    *channel = (struct broker_channel){ .watch = { BROKER_WATCH_CHANNEL }, .fd = -1 };
}

static void end_offender(struct broker *broker, struct broker_channel *channel, const char *what)
{
    log_warning("worker %u of surface %u %s; its channel is ended", channel->worker, channel->surface, what);
    role_report_offence(channel->pid, what);
    channel_end(broker, channel);
}

static void channel_watch(struct broker *broker, struct broker_channel *channel, uint32_t events)
{
    if (channel->events == events)
        return;
    struct epoll_event event = { .events = events, .data.ptr = &channel->watch };
    if (epoll_ctl(broker->dialer.epoll, channel->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, channel->fd, &event) == 0)
        channel->events = events;
}

int broker_add_channel(struct broker *broker, int fd, uint32_t surface, uint32_t worker, int32_t pid)
{
    for (size_t i = 0; i < BROKER_CHANNELS_MAX; i++) {
        struct broker_channel *channel = &broker->channels[i];
        if (channel->fd >= 0)
            continue;
        channel->fd = fd;
        channel->surface = surface;
        channel->worker = worker;
        channel->pid = pid;
        channel_watch(broker, channel, EPOLLIN);
        if (channel->events)
            return 0;
        *channel = (struct broker_channel){ .watch = { BROKER_WATCH_CHANNEL }, .fd = -1 };
        return -errno;
    }
    return -EMFILE;
}

/* What an operator can mend is said, at most once a second: who asks decides how often it happens. */
static void say_trouble(struct broker *broker, struct str target, const struct error *err, int64_t now_ms)
{
    if (!err->text[0])
        return;
    if (now_ms - broker->said_ms < 1000) {
        broker->n_unsaid++;
        return;
    }
    if (broker->n_unsaid > 0)
        log_warning("%.*s can't be dialled: %s (and %u more such failures)", STR_ARG(target), err->text, broker->n_unsaid);
    else
        log_warning("%.*s can't be dialled: %s", STR_ARG(target), err->text);
    broker->said_ms = now_ms;
    broker->n_unsaid = 0;
}

/* Sends what can be sent now. False when the channel is gone. */
static bool channel_answer(struct broker *broker, struct broker_channel *channel)
{
    bool full = false;
    if (channel->has_refusal) {
        int r = ipc_send(channel->fd, &channel->refusal, NULL, 0);
        if (r && r != -EAGAIN)
            goto gone;
        full = r == -EAGAIN;
        channel->has_refusal = full;
    }
    for (struct broker_dial **at = &channel->dials; *at && !full;) {
        struct broker_dial *dial = *at;
        if (dial->state != DIAL_DONE) {
            at = &dial->next;
            continue;
        }
        struct ipc_dial_answer answer = { .header = IPC_HEADER(IPC_BROKER_DIAL_ANSWER, answer), .id = dial->id, .status = dial->status };
        int r = ipc_send(channel->fd, &answer, &dial->socket, dial->status == 0);
        if (r == -ETOOMANYREFS) {
            /* Too many descriptors wait in channels: the worker is told, the socket is not kept. */
            answer.status = -EAGAIN;
            r = ipc_send(channel->fd, &answer, NULL, 0);
        }
        if (r == -EAGAIN) {
            full = true;
        } else if (r) {
            goto gone;
        } else {
            *at = dial->next;
            channel->n_dials--;
            dial_give_back(broker, dial);
        }
    }
    channel_watch(broker, channel, full ? EPOLLOUT : EPOLLIN);
    return true;

gone:
    channel_end(broker, channel);
    return false;
}

static void channel_refuse(struct broker_channel *channel, uint64_t id, int status)
{
    channel->refusal = (struct ipc_dial_answer){ .header = IPC_HEADER(IPC_BROKER_DIAL_ANSWER, channel->refusal), .id = id, .status = status };
    channel->has_refusal = true;
}

/* One ask, answered at once or with a dial in flight. 0, or -EPERM: what was asked for is not this surface's. */
static int answer_dial(struct broker *broker, struct broker_channel *channel, const struct ipc_dial *ask, int64_t now_ms)
{
    const struct image_target *target;
    struct image image;
    int r = broker_table_find(&broker->table, ask->generation, ask->target, channel->surface, &target, &image);
    if (r) {
        channel_refuse(channel, ask->id, r);
        return r == -EPERM ? r : 0;
    }
    unsigned n_same = 0;
    if (channel->n_dials >= BROKER_DIALS_PER_TARGET)
        for (const struct broker_dial *dial = channel->dials; dial; dial = dial->next)
            n_same += dial->identity == target->identity;
    struct broker_dial *dial = NULL;
    if (channel->n_dials < BROKER_DIALS_PER_WORKER && n_same < BROKER_DIALS_PER_TARGET)
        dial = dial_take(broker);
    if (!dial) {
        channel_refuse(channel, ask->id, -EAGAIN);
        return 0;
    }
    struct error err = { 0 };
    dial->id = ask->id;
    dial->channel = channel;
    dial->next = channel->dials;
    channel->dials = dial;
    channel->n_dials++;
    dial_start(&broker->dialer, dial, target, image, ask->turn, now_ms, &err);
    say_trouble(broker, image_str(image, target->name), &err, now_ms);
    return 0;
}

void broker_channel_ready(struct broker *broker, struct broker_channel *channel, uint32_t events, int64_t now_ms)
{
    if (channel->fd < 0 || !channel_answer(broker, channel) || (events & EPOLLIN) == 0)
        goto check_end;
    enum ipc_role sender = channel->surface == IMAGE_SURFACE_DIRECT ? IPC_ROLE_RELAY : IPC_ROLE_WORKER;
    for (unsigned i = 0; i < BROKER_ASKS_PER_TURN && !channel->has_refusal; i++) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(channel->fd, sender, IPC_ROLE_BROKER, &message, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r == -EPIPE) {
            channel_end(broker, channel);
            return;
        }
        if (r || message.header.type != IPC_BROKER_DIAL) {
            end_offender(broker, channel, "sent what no worker sends");
            return;
        }
        struct ipc_dial ask;
        memcpy(&ask, &message, sizeof ask);
        r = answer_dial(broker, channel, &ask, now_ms);
        bool there = channel_answer(broker, channel);
        if (r == -EPERM && there) {
            struct error what;
            error_set(&what, "asked for target %u of generation %llu, which is not its surface's", ask.target, (unsigned long long)ask.generation);
            end_offender(broker, channel, what.text);
        }
        if (r == -EPERM || !there)
            return;
    }
    return;

check_end:
    if (channel->fd >= 0 && events & (EPOLLERR | EPOLLHUP))
        channel_end(broker, channel);
}

int broker_turn(struct broker *broker, int64_t now_ms)
{
    int64_t sleep_ms = broker_netns_expire(&broker->dialer.netns, now_ms);
    broker_containers_bury(&broker->dialer.containers);
    if (broker->n_in_flight == 0)
        return (int)sleep_ms;
    for (size_t i = 0; i < BROKER_CHANNELS_MAX; i++) {
        struct broker_channel *channel = &broker->channels[i];
        bool done = false;
        for (struct broker_dial *dial = channel->dials; dial; dial = dial->next) {
            dial_tick(&broker->dialer, dial, now_ms);
            done = done || dial->state == DIAL_DONE;
        }
        if (done && !channel_answer(broker, channel))
            continue;
        for (const struct broker_dial *dial = channel->dials; dial; dial = dial->next) {
            if (dial->state != DIAL_CONNECTING && dial->state != DIAL_WAITING)
                continue;
            int64_t left_ms = (dial->next_ms < dial->limit_ms ? dial->next_ms : dial->limit_ms) - now_ms;
            if (sleep_ms < 0 || left_ms < sleep_ms)
                sleep_ms = left_ms < 0 ? 0 : left_ms;
        }
    }
    return (int)sleep_ms;
}
