/* What the porter does: takes the datagrams that come to the listeners of direct UDP ports, and makes the socket of each new flow.
 *
 *   listener ──first datagram──▶ who? may they? ──▶ a socket from the port to its sender ──▶ relay
 *                                  │ no: silence, counted
 *
 * Of a connected socket and a listener at one port the kernel prefers the connected one, so all that follows goes to the relay directly; what
 * came before there was such a socket is sent after it. Nothing is kept of a flow. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"
#include "ipc/message.h"
#include "policy/image.h"

enum {
    PORTER_RECENT = 1024,             /* sources remembered, of flows and of refusals; one that is forgotten is met anew */
    PORTER_RECENT_MS = 1000,          /* a datagram in this time belongs to the flow that was told */
    PORTER_FLOWS_BURST = 1024,        /* of one principal at once, and then so many a second */
    PORTER_FLOWS_PER_SECOND = 128,
    PORTER_REFUSED_AGAIN_MS = 10000,  /* until a source that was refused is written down again */
    PORTER_REFUSED_PER_SECOND = 16,   /* written down, of all sources; the others are counted */
    PORTER_DATAGRAMS_A_TURN = 32,
    PORTER_DATAGRAM_SIZE = 65536,
};

struct porter_recent {
    struct address client, address;
    uint16_t client_port, port;
    uint64_t at_ms;                   /* 0: empty */
};

struct porter_allowance {
    uint32_t used;
    uint64_t at_ms;
};

struct porter {
    struct io_loop loop;
    struct image view;
    int relay;                        /* channel, to whatever relay there is */
    struct porter_door *doors;
    struct porter_allowance *allowances; /* by principal */
    struct porter_recent flows[PORTER_RECENT], refusals[PORTER_RECENT];
    struct porter_allowance written;  /* refusals */
    uint64_t n_refused;               /* not told yet */
    struct io_timer tell;
    uint64_t said_ms;                 /* when it was last said that no socket could be made */
    char buffer[PORTER_DATAGRAM_SIZE];
};

/* view is taken over; relay is the channel. 0 or negative errno. */
int porter_init(struct porter *porter, struct image view, int relay) must_check;
/* 0, and *ret_old is no longer used; -ENOMEM: nothing changed. */
int porter_take_view(struct porter *porter, struct image view, struct image *ret_old) must_check;
/* A UDP listener, taken over. 0 or negative errno. */
int porter_door_add(struct porter *porter, int fd, const struct address *address, uint16_t port) must_check;
void porter_door_remove(struct porter *porter, const struct address *address, uint16_t port);
/* Whether the view has a UDP port that only who has CAP_NET_BIND_SERVICE can bind. */
bool porter_needs_low_ports(struct image view);
