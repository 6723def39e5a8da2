/* Asking the broker for established sockets. Asks outlive a broker: they are sent again on the next channel. */
#pragma once

#include <stdint.h>

#include "gateway/gateway.h"

struct dial {
    struct dial *next, **link;
    uint64_t id, generation;
    uint32_t target;
    bool sent;                    /* in flight: the broker has it */
    uint32_t *n_target_in_flight; /* of its target; outlives the dial */
    void (*done)(struct dial *dial, int fd, int status); /* fd >= 0 and status 0, or -1 and a negative errno; dial is no longer queued */
};

/* Pending: asked or waiting to be. In flight: fewer than the broker takes of one worker, and of one target. */
enum { DIALER_PENDING_MAX = 8192, DIALER_IN_FLIGHT_MAX = 192, DIALER_TARGET_IN_FLIGHT_MAX = 64 };

/* Queues dial and asks as soon as there is room. n_target_in_flight counts that target's dials that the broker has. -EAGAIN: too many
 * are pending; done is not called then. */
int dialer_start(struct gateway *gw, struct dial *dial, uint64_t generation, uint32_t target, uint32_t *n_target_in_flight) must_check;
/* Takes it back; an answer that still comes is closed unseen. */
void dialer_cancel(struct gateway *gw, struct dial *dial);
/* A broker answered (fd -1 without one). */
void dialer_answered(struct gateway *gw, uint64_t id, int fd, int status);
/* The channel is new or writable again (-1: it was lost). Asks that had no answer are sent again on a new one. */
void dialer_set_channel(struct gateway *gw, int channel);
void dialer_send_pending(struct gateway *gw);
