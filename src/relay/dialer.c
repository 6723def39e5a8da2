/* Asks of the broker, in order of asking, each sent once per channel; they outlive a broker. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "relay/relay.h"

enum { IN_FLIGHT_MAX = 96 }; /* fewer than the broker takes of one target, which all may be for */

static struct relay_link *last_of(struct relay_link **link)
{
    return container_of(link, struct relay_link, next_dial);
}

static void set_sent(struct relay_link *link, bool is_sent)
{
    if (link->dial_sent != is_sent)
        link->relay->dialer.n_in_flight += is_sent ? 1u : -1u;
    link->dial_sent = is_sent;
}

static bool ask(struct relay_link *link)
{
    struct ipc_dial message = { .header = IPC_HEADER(IPC_BROKER_DIAL, message), .id = link->dial_id, .generation = link->generation,
                                .target = link->target, .turn = link->dial_turn };
    if (ipc_send_plain(link->relay->dialer.channel, &message) < 0)
        return false; /* full: EPOLLOUT comes back here; broken: the parent brings another */
    set_sent(link, true);
    return true;
}

void relay_dial_send_pending(struct relay *relay)
{
    struct relay_dialer *dialer = &relay->dialer;
    for (struct relay_link *link = dialer->first; link && dialer->channel >= 0 && dialer->n_in_flight < IN_FLIGHT_MAX; link = link->next_dial)
        if (!link->dial_sent && !ask(link))
            return;
}

void relay_dial(struct relay_link *link)
{
    struct relay_dialer *dialer = &link->relay->dialer;
    relay_dial_cancel(link);
    link->dial_id = ++dialer->last_id;
    link->next_dial = NULL;
    link->link_dial = dialer->last ? &dialer->last->next_dial : &dialer->first;
    *link->link_dial = link;
    dialer->last = link;
    link->relay->metrics->dials++;
    if (dialer->channel >= 0 && dialer->n_in_flight < IN_FLIGHT_MAX)
        (void)ask(link);
}

void relay_dial_cancel(struct relay_link *link)
{
    struct relay_dialer *dialer = &link->relay->dialer;
    if (!link->link_dial)
        return;
    set_sent(link, false);
    *link->link_dial = link->next_dial;
    if (link->next_dial)
        link->next_dial->link_dial = link->link_dial;
    else
        dialer->last = link->link_dial == &dialer->first ? NULL : last_of(link->link_dial);
    link->link_dial = NULL;
}

static struct relay_link *find(const struct relay *relay, uint64_t id)
{
    struct relay_link *link = relay->dialer.first;
    while (link && link->dial_id != id)
        link = link->next_dial;
    return link;
}

void relay_dial_answered(struct relay *relay, uint64_t id, int fd, int status)
{
    struct relay_link *link = find(relay, id);
    if (!link) {
        if (fd >= 0)
            close(fd); /* nobody waits for it any more */
        return;
    }
    relay_dial_cancel(link);
    if (fd >= 0) {
        relay_link_connected(link);
        link->ops->dialled(link, fd);
        return;
    }
    relay->metrics->dials_failed++;
    if (status == -ESTALE) { /* a declaration ago */
        link->generation = relay->view.header->generation;
        relay_dial(link);
        return;
    }
    relay_link_end(link, IPC_DENIED_NOT, strerrordesc_np(-status) ? strerrordesc_np(-status) : "the service can't be reached");
}

void relay_dial_set_channel(struct relay *relay, int channel)
{
    relay->dialer.channel = channel;
    for (struct relay_link *link = relay->dialer.first; link; link = link->next_dial)
        set_sent(link, false);
    relay_dial_send_pending(relay);
}
