/* Connections to instances that speak HTTP/1.1: dialled, over TLS where declared, kept while idle, closed. */
#include "gateway/back_h1.h"

#include <errno.h>

#include "gateway/dialer.h"

/* As many as two HTTP/2 clients can have requests under way: fewer would be closed and dialled again all the time under their load. */
enum { IDLE_MAX = 256, REUSES_PROVE = 16, RESTED_MS = 100 };

/* A dial under way for an exchange. */
struct back_dial {
    struct exchange_wait wait;
    struct dial dial;
    struct exchange *x;
    struct back_group *group;
    SSL *ssl;
};

/* ---- closing ---- */

static void unlink_idle(struct back_h1 *b)
{
    if (!b->idle_link)
        return;
    *b->idle_link = b->idle_next;
    if (b->idle_next)
        b->idle_next->idle_link = b->idle_link;
    b->idle_link = NULL;
    b->group->n_idle--;
}

static void back_release(struct io_grave *grave)
{
    free(container_of(grave, struct back_h1, grave));
}

void back_h1_close(struct back_h1 *b)
{
    struct gateway *gw = b->t.gw;
    if (!transport_is_open(&b->t))
        return;
    unlink_idle(b);
    b->x = NULL;
    b->group->n_live--;
    io_timer_clear(&gw->loop, &b->timer);
    io_undefer(&gw->loop, &b->again);
    spill_free(&b->in);
    transport_close(&b->t);
    io_bury(&gw->loop, &b->grave, back_release);
}

void back_h1_broken(struct back_h1 *b, const char *reason)
{
    struct exchange *x = b->x;
    back_h1_close(b);
    if (x)
        exchange_back_broken(x, reason);
}

static void idle_too_long(struct io_timer *timer)
{
    struct back_h1 *b = container_of(timer, struct back_h1, timer);
    if (b->x && b->paused) /* it is the client that is slow */
        io_timer_set(&b->t.gw->loop, timer, GATEWAY_FIRST_BYTE_MS);
    else
        back_h1_broken(b, "the instance stopped in the middle of its response");
}

void back_h1_keep(struct back_h1 *b)
{
    struct back_group *group = b->group;
    if (group->n_idle >= IDLE_MAX) {
        back_h1_close(b);
        return;
    }
    spill_free(&b->in);
    b->state = RESPONSE_HEAD;
    b->scanned = 0;
    b->idle_next = group->idle;
    b->idle_link = &group->idle;
    if (b->idle_next)
        b->idle_next->idle_link = &b->idle_next;
    group->idle = b;
    group->n_idle++;
    io_timer_set(&b->t.gw->loop, &b->timer, GATEWAY_BACK_IDLE_MS);
}

void back_h1_close_idle(struct gateway *gw, struct back_group *group)
{
    (void)gw;
    while (group->idle)
        back_h1_close(group->idle);
}

bool back_h1_idle_is_silent(struct back_h1 *b)
{
    char byte;
    if (transport_read(&b->t, &byte, 1) == -EAGAIN)
        return true;
    b->group->n_reuses_proven = 0;
    back_h1_close(b);
    return false;
}

static void back_again(struct io_deferred *deferred)
{
    struct back_h1 *b = container_of(deferred, struct back_h1, again);
    if (transport_is_open(&b->t))
        back_h1_input(b);
}

/* ---- connecting ---- */

static void handshake_step(struct back_h1 *b)
{
    struct exchange *x = b->x;
    int r = transport_handshake(&b->t);
    transport_flush(&b->t);
    if (r == -EAGAIN)
        return;
    b->handshaking = false;
    b->x = NULL;
    x->wait = NULL;
    io_timer_clear(&b->t.gw->loop, &b->timer);
    if (r < 0) {
        back_h1_close(b);
        exchange_back_failed(x, -EPROTO);
        return;
    }
    exchange_back_ready(x, &back_h1_ops, b);
}

static void back_ready(struct io_source *source, uint32_t events)
{
    struct back_h1 *b = container_of(container_of(source, struct transport, io), struct back_h1, t);
    transport_note_events(&b->t, events);
    if (b->handshaking) {
        handshake_step(b);
        if (b->handshaking || !transport_is_open(&b->t))
            return;
    }
    if ((events & EPOLLOUT) && transport_is_congested(&b->t) && transport_flush(&b->t) == 0 && b->x)
        exchange_back_writable(b->x);
    if (b->t.readable && !b->paused)
        back_h1_input(b);
}

static void handshake_cancel(struct exchange_wait *wait)
{
    back_h1_close(container_of(wait, struct back_h1, wait));
}

static void handshake_late(struct io_timer *timer)
{
    struct back_h1 *b = container_of(timer, struct back_h1, timer);
    if (!b->handshaking) {
        idle_too_long(timer);
        return;
    }
    struct exchange *x = b->x;
    x->wait = NULL;
    back_h1_close(b);
    exchange_back_failed(x, -ETIMEDOUT);
}

static void connected(struct exchange *x, struct back_group *group, int fd, SSL *ssl)
{
    struct back_h1 *b = calloc(1, sizeof *b);
    if (!b || transport_init(&b->t, x->gw, fd, ssl, back_ready) < 0) {
        if (!b) {
            close(fd);
            SSL_free(ssl);
        }
        free(b);
        exchange_back_failed(x, -ENOMEM);
        return;
    }
    b->group = group;
    group->n_live++;
    b->timer.fire = handshake_late;
    b->again.run = back_again;
    if (!ssl) {
        exchange_back_ready(x, &back_h1_ops, b);
        return;
    }
    b->handshaking = true;
    b->x = x;
    b->wait.cancel = handshake_cancel;
    x->wait = &b->wait;
    io_timer_set(&x->gw->loop, &b->timer, GATEWAY_HANDSHAKE_MS);
    handshake_step(b);
}

static void dial_free(struct back_dial *d)
{
    d->group->n_live--;
    SSL_free(d->ssl);
    free(d);
}

static void dial_cancel(struct exchange_wait *wait)
{
    struct back_dial *d = container_of(wait, struct back_dial, wait);
    dialer_cancel(d->x->gw, &d->dial);
    dial_free(d);
}

static void dial_done(struct dial *dial, int fd, int status)
{
    struct back_dial *d = container_of(dial, struct back_dial, dial);
    struct exchange *x = d->x;
    struct back_group *group = d->group;
    SSL *ssl = TAKE(d->ssl);
    x->wait = NULL;
    if (status == 0)
        connected(x, group, fd, ssl);
    else
        SSL_free(ssl);
    dial_free(d);
    if (status < 0)
        exchange_back_failed(x, status);
}

static int dial_start(struct exchange *x, struct back_group *group)
{
    const struct exchange_candidate *c = &x->candidates[x->candidate];
    struct back_dial *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->x = x;
    d->group = group;
    group->n_live++;
    d->wait.cancel = dial_cancel;
    d->dial.done = dial_done;
    int r = x->protocol == IMAGE_PROTOCOL_HTTPS ? gateway_client_ssl(x->gw, x->service, &d->ssl) : 0;
    if (r == 0)
        r = dialer_start(x->gw, &d->dial, c->generation, c->target, &group->n_dials_in_flight);
    if (r < 0) {
        dial_free(d);
        return r;
    }
    x->wait = &d->wait;
    return 0;
}

/* An instance may close right after its answer without having said so, or when a connection has rested for as long as it likes; its end may be
 * here before its event is. So each is looked at once more, but for those that are in constant use towards an instance that has proven to keep them. */
static bool needs_a_look(const struct back_h1 *b)
{
    uint64_t rested_ms = b->t.gw->loop.now_ms + GATEWAY_BACK_IDLE_MS - b->timer.due_ms;
    return b->group->n_reuses_proven < REUSES_PROVE || rested_ms >= RESTED_MS;
}

static struct back_h1 *take_idle(struct back_group *group)
{
    while (group->idle) {
        struct back_h1 *b = group->idle;
        if (!needs_a_look(b))
            return b;
        b->t.readable = true;
        if (back_h1_idle_is_silent(b))
            return b;
    }
    return NULL;
}

void back_h1_acquire(struct exchange *x)
{
    struct back_group *group = back_group_get(x->gw, x->candidates[x->candidate].identity);
    struct back_h1 *b = group && x->reuse_allowed ? take_idle(group) : NULL;
    if (b) {
        unlink_idle(b);
        b->reused = true;
        x->gw->metrics->reuses++;
        exchange_back_ready(x, &back_h1_ops, b);
        return;
    }
    int r = group ? dial_start(x, group) : -ENOMEM;
    if (r < 0)
        exchange_back_failed(x, r);
}
