/* Patience: which clients' sockets wait for much, and the one timer of a worker that ends the waiting. */
#include "gateway/patience.h"

#include <sys/socket.h>

#include "gateway/gateway.h"
#include "gateway/transport.h"

enum {
    LOW_WATER = 192 * 1024,
    LEFT_MIN = 4 * LOW_WATER,        /* a body that ends sooner isn't worth the two calls */
    LEFT_LAST = LOW_WATER + GATEWAY_BULK_SIZE, /* after one more reading, less than the low-water mark could be to come */
    FULL = GATEWAY_PLAIN_SIZE / 8 * 7, /* a reading: transport_read_full stops here at the earliest */
    TRUST_AFTER = 512 * 1024,
    DISAPPOINTMENTS_MAX = 5,
    FORGIVEN_AFTER = TRUST_AFTER << DISAPPOINTMENTS_MAX,
    LOOK_MS = 1,                     /* at the next tick; a silence is noticed at the second look */
};

static void set_low_water(const struct transport *t, int n)
{
    setsockopt(t->io.fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof n);
}

static void look(struct io_timer *timer)
{
    struct gateway *gw = container_of(timer, struct gateway, patience);
    struct transport *next;
    for (struct transport *t = gw->patient; t; t = next) {
        next = t->patience.next;
        if (t->patience.heard) {
            t->patience.heard = false;
            continue;
        }
        if (t->patience.disappointments < DISAPPOINTMENTS_MAX)
            t->patience.disappointments++;
        patience_forget(t);
        set_low_water(t, 1); /* which brings an event for what is there */
    }
    if (gw->patient)
        io_timer_set(&gw->loop, &gw->patience, LOOK_MS);
}

static void begin(struct transport *t)
{
    struct gateway *gw = t->gw;
    struct patience *p = &t->patience;
    p->heard = true;
    p->run = 0;
    p->next = gw->patient;
    p->link = &gw->patient;
    if (p->next)
        p->next->patience.link = &p->next;
    gw->patient = t;
    gw->patience.fire = look;
    if (!io_timer_is_set(&gw->patience))
        io_timer_set(&gw->loop, &gw->patience, LOOK_MS);
    set_low_water(t, LOW_WATER);
}

void patience_note(struct transport *t, size_t n, uint64_t left)
{
    struct patience *p = &t->patience;
    p->heard = true;
    if (p->link) {
        p->run += p->run < FORGIVEN_AFTER ? (uint32_t)n : 0;
        if (p->run >= FORGIVEN_AFTER)
            p->disappointments = 0;
        if (left >= LEFT_LAST)
            return;
        patience_forget(t);
        set_low_water(t, 1);
        return;
    }
    if (n < FULL)
        p->run = 0;
    else if (p->run < UINT32_MAX / 2)
        p->run += (uint32_t)n;
    if (left >= LEFT_MIN && p->run >= (uint32_t)TRUST_AFTER << p->disappointments)
        begin(t);
}

void patience_forget(struct transport *t)
{
    struct patience *p = &t->patience;
    p->run = 0;
    if (!p->link)
        return;
    *p->link = p->next;
    if (p->next)
        p->next->patience.link = p->link;
    p->link = NULL;
}
