/* A UDP flow: everything between one source address and port and one of our ports. Both sides are connected sockets, so a datagram is read and
 * written, and goes nowhere else. What finds no room is dropped, as anywhere on its way. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/relay.h"

struct datagram {
    struct datagram *next;
    size_t len;
    char data[];
};

struct flow {
    struct relay_link link;
    struct relay_link *next_flow;       /* of its bucket */
    struct address address;             /* of ours */
    uint16_t port;
    struct io_source client, instance;  /* instance.fd -1: being asked for */
    bool is_answered;                   /* the instance has said something */
    uint64_t asked_us;
    struct datagram *first, **last;     /* that wait for the instance */
    uint32_t n_held;
    size_t held;
    struct io_timer redial;
};

static struct flow *flow_of(struct relay_link *link)
{
    return container_of(link, struct flow, link);
}

/* ---- the table ---- */

static uint32_t bucket_of(const struct address *client, uint16_t client_port, const struct address *address, uint16_t port)
{
    uint64_t h = address_hash(client) * 31 + address_hash(address) + ((uint64_t)client_port << 16 | port) * 0x9e3779b97f4a7c15;
    return (uint32_t)(h >> 32 ^ h) % RELAY_BUCKETS;
}

static struct flow *find(const struct relay *relay, const struct ipc_flow *m)
{
    struct relay_link *link = relay->flows[bucket_of(&m->client, m->client_port, &m->address, m->port)];
    while (link) {
        struct flow *flow = flow_of(link);
        if (flow->link.client_port == m->client_port && flow->port == m->port && address_equal(&flow->link.client, &m->client) &&
            address_equal(&flow->address, &m->address))
            return flow;
        link = flow->next_flow;
    }
    return NULL;
}

static void table_add(struct flow *flow)
{
    struct relay_link **bucket = &flow->link.relay->flows[bucket_of(&flow->link.client, flow->link.client_port, &flow->address, flow->port)];
    flow->next_flow = *bucket;
    *bucket = &flow->link;
}

static void table_remove(struct flow *flow)
{
    struct relay_link **at = &flow->link.relay->flows[bucket_of(&flow->link.client, flow->link.client_port, &flow->address, flow->port)];
    while (*at != &flow->link)
        at = &flow_of(*at)->next_flow;
    *at = flow->next_flow;
}

/* ---- moving ---- */

static void touch(struct flow *flow)
{
    const struct relay_limits *limits = &flow->link.relay->limits;
    relay_link_touch(&flow->link, flow->link.relay->draining ? limits->flow_drain_ms : flow->is_answered ? limits->flow_idle_ms : limits->flow_new_ms);
}

static void hold(struct flow *flow, const char *data, size_t len)
{
    struct datagram *d = NULL;
    if (flow->n_held < RELAY_FLOW_HELD_MAX && flow->held + len <= RELAY_FLOW_HELD_BYTES)
        d = malloc(sizeof *d + len);
    if (!d) {
        flow->link.relay->metrics->datagrams_dropped++;
        return;
    }
    d->next = NULL;
    d->len = len;
    memcpy(d->data, data, len);
    *flow->last = d;
    flow->last = &d->next;
    flow->n_held++;
    flow->held += len;
}

static void drop_held(struct flow *flow)
{
    for (struct datagram *d = flow->first, *next; d; d = next) {
        next = d->next;
        free(d);
    }
    flow->first = NULL;
    flow->last = &flow->first;
    flow->n_held = 0;
    flow->held = 0;
}

static void instance_close(struct flow *flow)
{
    if (flow->instance.fd < 0)
        return;
    io_unwatch(&flow->link.relay->loop, &flow->instance);
    close(flow->instance.fd);
    flow->instance.fd = -1;
}

/* The instance is not where it was, or nothing listens there (yet): the broker knows where it is now. Not more than once a second. */
static void ask_again(struct flow *flow)
{
    struct relay *relay = flow->link.relay;
    uint64_t since_ms = (relay->loop.now_us - flow->asked_us) / 1000;
    instance_close(flow);
    flow->link.state = RELAY_ASKING;
    if (since_ms < relay->limits.redial_ms) {
        if (!io_timer_is_set(&flow->redial))
            io_timer_set(&relay->loop, &flow->redial, relay->limits.redial_ms - since_ms);
        return;
    }
    flow->asked_us = relay->loop.now_us;
    relay_dial(&flow->link);
}

static void redial_due(struct io_timer *timer)
{
    ask_again(container_of(timer, struct flow, redial));
}

static void instance_failed(struct flow *flow)
{
    if (!flow->is_answered)
        flow->link.dial_turn++; /* it may listen in the other family only */
    ask_again(flow);
}

/* False: the instance refuses, and is asked for anew; the datagram waits. */
static bool to_instance(struct flow *flow, const char *data, size_t len)
{
    struct metrics_page *metrics = flow->link.relay->metrics;
    for (unsigned i = 0; i < 2; i++) {
        if (write(flow->instance.fd, data, len) >= 0) {
            metrics->datagrams_in++;
            relay_link_count(&flow->link, true, len);
            return true;
        }
        if (errno == EINTR)
            continue;
        break;
    }
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == EMSGSIZE || errno == EPERM) {
        metrics->datagrams_dropped++;
        return true;
    }
    hold(flow, data, len);
    instance_failed(flow);
    return false;
}

static void client_ready(struct io_source *source, uint32_t events)
{
    struct flow *flow = container_of(source, struct flow, client);
    struct relay *relay = flow->link.relay;
    (void)events;
    for (unsigned i = 0; i < RELAY_DATAGRAMS_A_TURN && flow->link.state != RELAY_OVER; i++) {
        ssize_t n = read(source->fd, relay->buffer, RELAY_BUFFER_SIZE);
        if (n < 0 && errno == ECONNREFUSED) {
            relay_link_end(&flow->link, IPC_DENIED_NOT, "the client went away");
            return;
        }
        if (n < 0 && errno != EINTR)
            return; /* EAGAIN, or what the network said of an answer: the next one may arrive */
        if (n < 0)
            continue;
        touch(flow);
        if (flow->link.state == RELAY_OPEN)
            (void)to_instance(flow, relay->buffer, (size_t)n);
        else
            hold(flow, relay->buffer, (size_t)n);
    }
}

static void instance_ready(struct io_source *source, uint32_t events)
{
    struct flow *flow = container_of(source, struct flow, instance);
    struct relay *relay = flow->link.relay;
    (void)events;
    for (unsigned i = 0; i < RELAY_DATAGRAMS_A_TURN && flow->link.state == RELAY_OPEN; i++) {
        ssize_t n = read(source->fd, relay->buffer, RELAY_BUFFER_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            instance_failed(flow);
        if (n < 0)
            return;
        flow->is_answered = true;
        touch(flow);
        if (write(flow->client.fd, relay->buffer, (size_t)n) >= 0) {
            relay->metrics->datagrams_out++;
            relay_link_count(&flow->link, false, (size_t)n);
        } else if (errno == ECONNREFUSED) {
            relay_link_end(&flow->link, IPC_DENIED_NOT, "the client went away");
        } else {
            relay->metrics->datagrams_dropped++;
        }
    }
}

/* ---- life ---- */

static void flow_dialled(struct relay_link *link, int fd)
{
    struct flow *flow = flow_of(link);
    struct datagram *d = flow->first;
    flow->instance = (struct io_source){ .fd = fd, .ready = instance_ready };
    link->state = RELAY_OPEN;
    /* By level: a round's share is read, and the rest is there the next time. */
    int r = io_watch(&link->relay->loop, &flow->instance, EPOLLIN);
    if (r < 0) {
        relay_link_end(link, IPC_DENIED_NOT, "out of descriptors or memory");
        return;
    }
    flow->first = NULL;
    flow->last = &flow->first;
    flow->n_held = 0;
    flow->held = 0;
    for (struct datagram *next; d; d = next) { /* what is refused is held anew, and what follows it */
        next = d->next;
        if (link->state == RELAY_OPEN)
            (void)to_instance(flow, d->data, d->len);
        else
            hold(flow, d->data, d->len);
        free(d);
    }
}

static void flow_moved(struct relay_link *link)
{
    struct flow *flow = flow_of(link);
    flow->is_answered = false;
    link->dial_turn = 0;
    ask_again(flow);
}

/* Let go of at once, since a socket keeps the namespace that it was made in; the successor is asked for. */
static void flow_ended(struct relay_link *link)
{
    struct flow *flow = flow_of(link);
    if (link->state != RELAY_OPEN)
        return;
    flow->is_answered = false;
    ask_again(flow);
}

static void flow_drain(struct relay_link *link)
{
    touch(flow_of(link));
}

static void flow_release(struct relay_link *link)
{
    struct flow *flow = flow_of(link);
    io_timer_clear(&link->relay->loop, &flow->redial);
    table_remove(flow);
    drop_held(flow);
    instance_close(flow);
    io_unwatch(&link->relay->loop, &flow->client);
    close(flow->client.fd);
    flow->client.fd = -1;
    link->relay->metrics->flows_open--;
}

static void flow_free(struct io_grave *grave)
{
    free(container_of(grave, struct flow, link.grave));
}

static const struct relay_link_ops flow_ops = {
    .dialled = flow_dialled, .moved = flow_moved, .ended = flow_ended, .drain = flow_drain, .release = flow_release, .free = flow_free,
};

/* Of what the porter says only the datagram counts: whose it is, and where the socket sends, is asked of the kernel. */
static bool is_as_told(int fd, const struct ipc_flow *m)
{
    struct sockaddr_storage peer, own;
    socklen_t peer_length = sizeof peer, own_length = sizeof own;
    struct address client, address;
    return getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0 && getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 &&
           address_from_sockaddr((struct sockaddr *)&peer, &client) && address_from_sockaddr((struct sockaddr *)&own, &address) &&
           address_equal(&client, &m->client) && address_equal(&address, &m->address) &&
           address_sockaddr_port((struct sockaddr *)&peer) == m->client_port && address_sockaddr_port((struct sockaddr *)&own) == m->port;
}

static struct flow *flow_new(struct relay *relay, const struct ipc_flow *m, int fd)
{
    struct flow *flow = relay->draining || !is_as_told(fd, m) ? NULL : calloc(1, sizeof *flow);
    if (!flow) {
        close(fd);
        return NULL;
    }
    flow->link = (struct relay_link){ .relay = relay, .ops = &flow_ops, .client = m->client, .client_port = m->client_port };
    flow->address = m->address;
    flow->port = m->port;
    flow->client = (struct io_source){ .fd = fd, .ready = client_ready };
    flow->instance.fd = -1;
    flow->last = &flow->first;
    flow->redial.fire = redial_due;
    flow->asked_us = relay->loop.now_us;
    if (!relay_link_admit(&flow->link, "udp", m->port)) {
        close(fd);
        free(flow);
        return NULL;
    }
    relay->metrics->flows_open++;
    table_add(flow);
    touch(flow);
    if (io_watch(&relay->loop, &flow->client, EPOLLIN) < 0) {
        relay_link_end(&flow->link, IPC_DENIED_NOT, "out of descriptors or memory");
        return NULL;
    }
    relay_dial(&flow->link);
    return flow;
}

void relay_flow_begin(struct relay *relay, const struct ipc_flow *m, const int *fds)
{
    struct flow *flow = find(relay, m);
    int memory = m->is_long ? fds[m->is_new] : -1;
    if (flow && m->is_new)
        close(fds[0]); /* two datagrams in one moment made two sockets: the first stays */
    else if (m->is_new)
        flow = flow_new(relay, m, fds[0]);
    size_t len = m->length;
    const char *data = (const char *)m->data;
    if (memory >= 0) {
        ssize_t n = read(memory, relay->buffer, RELAY_BUFFER_SIZE);
        close(memory);
        data = relay->buffer;
        len = n > 0 ? (size_t)n : 0;
    }
    if (!flow)
        relay->metrics->datagrams_dropped++;
    else if (flow->link.state == RELAY_OPEN)
        (void)to_instance(flow, data, len);
    else
        hold(flow, data, len);
}

void relay_flow_refused(struct relay *relay, const struct ipc_flow_refused *m)
{
    relay->metrics->datagrams_refused += m->n;
    if (m->why != IPC_DENIED_NOT)
        relay_record_refusal(relay, &m->client, "udp", m->port, (enum ipc_record_denied)m->why);
}
