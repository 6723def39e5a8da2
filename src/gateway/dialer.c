/* Dials: a queue of asks to the broker, in order of asking, each sent once per channel. */
#include "gateway/dialer.h"

#include <errno.h>

static void set_in_flight(struct gateway *gw, struct dial *dial, bool in_flight)
{
    if (dial->sent == in_flight)
        return;
    dial->sent = in_flight;
    gw->dialer.n_in_flight += in_flight ? 1u : -1u;
    *dial->n_target_in_flight += in_flight ? 1u : -1u;
}

static void unlink_dial(struct gateway *gw, struct dial *dial)
{
    set_in_flight(gw, dial, false);
    *dial->link = dial->next;
    if (dial->next)
        dial->next->link = dial->link;
    else
        gw->dialer.last = dial->link == &gw->dialer.first ? NULL : container_of(dial->link, struct dial, next);
    dial->link = NULL;
    gw->dialer.n_dials--;
}

/* The broker refuses more than it has room for; what waits here instead costs nobody a request. One target that doesn't answer must not
 * take all of the room. */
static bool has_room(const struct gateway *gw, const struct dial *dial)
{
    return gw->dialer.channel >= 0 && gw->dialer.n_in_flight < DIALER_IN_FLIGHT_MAX && *dial->n_target_in_flight < DIALER_TARGET_IN_FLIGHT_MAX;
}

/* False: the channel is full (EPOLLOUT comes back here) or broken (the parent brings another). */
static bool ask(struct gateway *gw, struct dial *dial)
{
    struct ipc_dial message = { .id = dial->id, .generation = dial->generation, .target = dial->target };
    message.header = IPC_HEADER(IPC_BROKER_DIAL, message);
    if (ipc_send_plain(gw->dialer.channel, &message) < 0)
        return false;
    set_in_flight(gw, dial, true);
    return true;
}

void dialer_send_pending(struct gateway *gw)
{
    for (struct dial *dial = gw->dialer.first; dial; dial = dial->next)
        if (!dial->sent && has_room(gw, dial) && !ask(gw, dial))
            return;
}

int dialer_start(struct gateway *gw, struct dial *dial, uint64_t generation, uint32_t target, uint32_t *n_target_in_flight)
{
    struct gateway_dialer *dialer = &gw->dialer;
    if (dialer->n_dials == DIALER_PENDING_MAX)
        return -EAGAIN;
    dial->id = ++dialer->last_id;
    dial->generation = generation;
    dial->target = target;
    dial->n_target_in_flight = n_target_in_flight;
    dial->sent = false;
    dial->next = NULL;
    dial->link = dialer->last ? &dialer->last->next : &dialer->first;
    *dial->link = dial;
    dialer->last = dial;
    dialer->n_dials++;
    gw->metrics->dials++;
    if (has_room(gw, dial))
        (void)ask(gw, dial);
    return 0;
}

void dialer_cancel(struct gateway *gw, struct dial *dial)
{
    if (dial->link)
        unlink_dial(gw, dial);
}

void dialer_answered(struct gateway *gw, uint64_t id, int fd, int status)
{
    for (struct dial *dial = gw->dialer.first; dial; dial = dial->next) {
        if (dial->id != id)
            continue;
        unlink_dial(gw, dial);
        if (status == 0 && fd < 0)
            status = -EPROTO;
        if (status < 0)
            gw->metrics->dials_failed++;
        dial->done(dial, status < 0 ? -1 : fd, status);
        return;
    }
    if (fd >= 0)
        close(fd); /* nobody waits for it any more */
}

void dialer_set_channel(struct gateway *gw, int channel)
{
    gw->dialer.channel = channel;
    for (struct dial *dial = gw->dialer.first; dial; dial = dial->next)
        set_in_flight(gw, dial, false);
    dialer_send_pending(gw);
}
