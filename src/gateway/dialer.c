/* Dials: a queue of asks to the broker, in order of asking, each sent once per channel. */
#include "gateway/dialer.h"

#include <errno.h>

static void unlink_dial(struct gateway *gw, struct dial *dial)
{
    *dial->link = dial->next;
    if (dial->next)
        dial->next->link = dial->link;
    else
        gw->dialer.last = dial->link == &gw->dialer.first ? NULL : container_of(dial->link, struct dial, next);
    dial->link = NULL;
    gw->dialer.n_dials--;
}

void dialer_send_pending(struct gateway *gw)
{
    for (struct dial *dial = gw->dialer.first; dial && gw->dialer.channel >= 0; dial = dial->next) {
        if (dial->sent)
            continue;
        struct ipc_dial ask = { .id = dial->id, .generation = dial->generation, .target = dial->target };
        ask.header = IPC_HEADER(IPC_BROKER_DIAL, ask);
        if (ipc_send_plain(gw->dialer.channel, &ask) < 0)
            return; /* full: EPOLLOUT comes back here; broken: the parent brings another channel */
        dial->sent = true;
    }
}

int dialer_start(struct gateway *gw, struct dial *dial, uint64_t generation, uint32_t target)
{
    struct gateway_dialer *dialer = &gw->dialer;
    if (dialer->n_dials == DIALER_PENDING_MAX)
        return -EAGAIN;
    dial->id = ++dialer->last_id;
    dial->generation = generation;
    dial->target = target;
    dial->sent = false;
    dial->next = NULL;
    dial->link = dialer->last ? &dialer->last->next : &dialer->first;
    *dial->link = dial;
    dialer->last = dial;
    dialer->n_dials++;
    gw->metrics->dials++;
    dialer_send_pending(gw);
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
        dial->sent = false;
    dialer_send_pending(gw);
}
