/* Connections to h2c instances: found or dialled for an exchange, shared, watched, and closed. */
#include "gateway/back_h2.h"

#include <errno.h>

enum { ALIVE_MS = 15000 };

void back_h2_send_later(struct back_h2 *b)
{
    io_defer(&b->gw->loop, &b->again);
}

/* ---- closing ---- */

static void back_release(struct io_grave *grave)
{
    struct back_h2 *b = container_of(grave, struct back_h2, grave);
    if (b->s.ng)
        h2_session_deinit(&b->s);
    free(b);
}

static struct exchange *wait_take(struct back_wait *wait)
{
    struct exchange *x = wait->x;
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->b->n_streams--;
    free(wait);
    x->wait = NULL;
    return x;
}

/* Out of the group; nothing new comes to it. */
static void back_unlink(struct back_h2 *b)
{
    if (!b->link)
        return;
    *b->link = b->next;
    if (b->next)
        b->next->link = b->link;
    b->link = NULL;
}

/* One connection failed, however many waited for it. */
static void fail_waiting(struct back_h2 *b, int status)
{
    if (b->waiting && status != -EAGAIN)
        back_group_note_failure(b->gw, b->group);
    while (b->waiting)
        exchange_back_missed(wait_take(b->waiting), status);
}

/* Everybody on it is told. Its memory and nghttp2's live to the end of the round: this may be inside of a callback. */
static void back_close(struct back_h2 *b, int status, const char *reason)
{
    struct gateway *gw = b->gw;
    if (b->state == BACK_CLOSED)
        return;
    b->state = BACK_CLOSED;
    back_unlink(b);
    dialer_cancel(gw, &b->dial);
    io_timer_clear(&gw->loop, &b->timer);
    io_undefer(&gw->loop, &b->again);
    while (b->streams) {
        struct back_stream *stream = b->streams;
        struct exchange *x = TAKE(stream->x);
        back_stream_free(stream);
        if (x)
            exchange_back_broken(x, reason);
    }
    fail_waiting(b, status);
    if (b->t.gw)
        transport_close(&b->t);
    b->group->n_live--;
    io_bury(&gw->loop, &b->grave, back_release);
}

void back_h2_leave(struct back_h2 *b)
{
    if (b->state == BACK_CONNECTING) {
        back_close(b, -ECONNABORTED, NULL);
        return;
    }
    if (b->state != BACK_OPEN)
        return;
    b->state = BACK_LEAVING;
    back_unlink(b);
    back_h2_send_later(b);
    fail_waiting(b, -ECONNABORTED);
}

void back_h2_close_idle(struct gateway *gw, struct back_group *group)
{
    (void)gw;
    while (group->sessions)
        back_h2_leave(group->sessions);
}

/* ---- the connection ---- */

/* False: the session is gone. */
static bool read_all(struct back_h2 *b)
{
    for (unsigned turn = 0; turn < GATEWAY_READS_A_TURN && b->state != BACK_CLOSED;) {
        ssize_t n = transport_read_full(&b->t, b->gw->plain_back, GATEWAY_BULK_SIZE);
        if (n == -EAGAIN) {
            b->read_more = false;
            return true;
        }
        if (n <= 0) {
            back_close(b, -ECONNRESET, n == 0 ? "the instance closed the connection" : "the instance reset the connection");
            return false;
        }
        b->heard = true;
        b->pinged = false;
        int r = h2_receive(&b->s, b->gw->plain_back, (size_t)n);
        back_h2_flush_touched(b);
        if (r < 0 || b->s.verdict == GLITCH_CUT) {
            back_close(b, -EPROTO, r < 0 && b->s.verdict != GLITCH_CUT ? "the instance broke HTTP/2's rules" : "the instance flooded the connection");
            return false;
        }
        if (b->s.verdict != GLITCH_FINE)
            back_h2_leave(b);
        turn += gateway_reading_cost((size_t)n);
    }
    b->read_more = true;
    back_h2_send_later(b);
    return b->state != BACK_CLOSED;
}

static void back_work(struct back_h2 *b)
{
    back_h2_deliver_resumed(b);
    if ((b->t.readable || b->read_more) && !read_all(b))
        return;
    if (b->state == BACK_CLOSED)
        return;
    int r = h2_send(&b->s);
    bool over = !nghttp2_session_want_read(b->s.ng) && !nghttp2_session_want_write(b->s.ng);
    if (r < 0 || b->t.failed)
        back_close(b, -ECONNRESET, "the instance reset the connection");
    else if (over || (b->state == BACK_LEAVING && b->n_streams == 0))
        back_close(b, -ECONNABORTED, "the instance closed the connection");
}

static void back_ready(struct io_source *source, uint32_t events)
{
    struct back_h2 *b = container_of(container_of(source, struct transport, io), struct back_h2, t);
    transport_note_events(&b->t, events);
    if ((events & EPOLLOUT) && transport_is_congested(&b->t))
        transport_flush(&b->t);
    back_work(b);
}

static void back_again(struct io_deferred *deferred)
{
    struct back_h2 *b = container_of(deferred, struct back_h2, again);
    if (b->state == BACK_OPEN || b->state == BACK_LEAVING)
        back_work(b);
}

/* Idle: closed. In use: an instance that says nothing for long is asked whether it is there, or its dead connection would go on being shared. */
static void back_timeout(struct io_timer *timer)
{
    struct back_h2 *b = container_of(timer, struct back_h2, timer);
    if (b->n_streams == 0) {
        nghttp2_session_terminate_session(b->s.ng, NGHTTP2_NO_ERROR);
        h2_send(&b->s);
        back_close(b, -ECONNABORTED, NULL);
        return;
    }
    if (b->pinged) {
        back_close(b, -ETIMEDOUT, "the instance does not answer");
        return;
    }
    if (!b->heard) {
        b->pinged = true;
        nghttp2_submit_ping(b->s.ng, NGHTTP2_FLAG_NONE, NULL);
        back_h2_send_later(b);
    }
    b->heard = false;
    io_timer_set(&b->gw->loop, &b->timer, ALIVE_MS);
}

/* ---- finding a stream for an exchange ---- */

static uint32_t capacity(const struct back_h2 *b)
{
    uint32_t of_peer = b->s.ng ? nghttp2_session_get_remote_settings(b->s.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) : H2_STREAMS_MAX;
    return of_peer < H2_STREAMS_MAX ? of_peer : H2_STREAMS_MAX;
}

static bool knows_websocket(const struct back_h2 *b)
{
    return nghttp2_session_get_remote_settings(b->s.ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

static void attach(struct back_h2 *b, struct exchange *x)
{
    struct back_stream *stream = back_stream_new(b, x);
    if (!stream) {
        exchange_back_failed(x, -ENOMEM);
        return;
    }
    if (b->n_streams == 1) {
        b->heard = true;
        b->pinged = false;
        io_timer_set(&b->gw->loop, &b->timer, ALIVE_MS);
    }
    exchange_back_ready(x, &back_h2_ops, stream);
}

/* Exchanges that needed no more than the connection, or (settings_received) everybody. */
static void attach_waiting(struct back_h2 *b)
{
    struct back_wait *next;
    for (struct back_wait *wait = b->waiting; wait && b->state == BACK_OPEN; wait = next) {
        next = wait->next;
        if (wait->x->websocket && !b->settings_received)
            continue;
        struct exchange *x = wait_take(wait);
        if (x->websocket && !knows_websocket(b))
            exchange_back_failed(x, -EPROTONOSUPPORT);
        else
            attach(b, x);
    }
}

void back_h2_settings_came(struct back_h2 *b)
{
    b->settings_received = true;
    attach_waiting(b);
}

static void wait_cancel(struct exchange_wait *w)
{
    struct back_wait *wait = container_of(w, struct back_wait, wait);
    wait_take(wait);
}

static int wait_for(struct back_h2 *b, struct exchange *x)
{
    struct back_wait *wait = calloc(1, sizeof *wait);
    if (!wait)
        return -ENOMEM;
    *wait = (struct back_wait){ .wait = { .cancel = wait_cancel }, .b = b, .x = x, .next = b->waiting, .link = &b->waiting };
    if (wait->next)
        wait->next->link = &wait->next;
    b->waiting = wait;
    b->n_streams++;
    x->wait = &wait->wait;
    return 0;
}

static void connected(struct dial *dial, int fd, int status)
{
    struct back_h2 *b = container_of(dial, struct back_h2, dial);
    if (status == 0) {
        status = transport_init(&b->t, b->gw, fd, NULL, back_ready);
        if (status < 0)
            b->t.gw = NULL;
    }
    if (status == 0) {
        b->s.gw = b->gw;
        b->s.t = &b->t;
        const nghttp2_session_callbacks *callbacks = back_h2_callbacks();
        status = callbacks ? h2_session_init(&b->s, callbacks, false) : -ENOMEM;
    }
    if (status < 0) {
        back_close(b, status, NULL);
        return;
    }
    b->state = BACK_OPEN;
    io_timer_set(&b->gw->loop, &b->timer, b->n_streams ? ALIVE_MS : GATEWAY_BACK_IDLE_MS);
    attach_waiting(b);
    back_h2_send_later(b);
}

/* A session that x may wait for, or NULL. */
static struct back_h2 *dial_new(struct exchange *x, struct back_group *group, int *ret_status)
{
    const struct exchange_candidate *c = &x->candidates[x->candidate];
    struct back_h2 *b = calloc(1, sizeof *b);
    *ret_status = -ENOMEM;
    if (!b)
        return NULL;
    b->gw = x->gw;
    b->group = group;
    b->t.io.fd = -1;
    b->dial.done = connected;
    b->timer.fire = back_timeout;
    b->again.run = back_again;
    *ret_status = dialer_start(b->gw, &b->dial, c->generation, c->target, &group->n_dials_in_flight);
    if (*ret_status < 0) {
        free(b);
        return NULL;
    }
    group->n_live++;
    b->next = group->sessions;
    b->link = &group->sessions;
    if (b->next)
        b->next->link = &b->next;
    group->sessions = b;
    return b;
}

void back_h2_acquire(struct exchange *x)
{
    struct back_group *group = back_group_get(x->gw, x->candidates[x->candidate].identity);
    int status = -ENOMEM;
    struct back_h2 *b = group ? group->sessions : NULL;
    while (b && b->n_streams >= capacity(b))
        b = b->next;
    if (b && b->state == BACK_OPEN && x->websocket && b->settings_received && !knows_websocket(b)) {
        exchange_back_failed(x, -EPROTONOSUPPORT);
        return;
    }
    if (b && b->state == BACK_OPEN && (!x->websocket || b->settings_received)) {
        x->gw->metrics->reuses++;
        attach(b, x);
        return;
    }
    if (!b && group)
        b = dial_new(x, group, &status);
    if (b)
        status = wait_for(b, x);
    if (status < 0)
        exchange_back_failed(x, status);
}
