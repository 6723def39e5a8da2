/* Asking the broker for established sockets. Asks outlive a broker: they are sent again on the next channel. */
#pragma once

#include <stdint.h>

#include "gateway/gateway.h"

struct dial {
    struct dial *next, **link;
    uint64_t id, generation;
    uint32_t target;
    bool sent;
    void (*done)(struct dial *dial, int fd, int status); /* fd >= 0 and status 0, or -1 and a negative errno; dial is no longer queued */
};

enum { DIALER_PENDING_MAX = 1024 };

/* Queues dial and asks as soon as the channel takes it. -EAGAIN: too many pending; done is not called then. */
int dialer_start(struct gateway *gw, struct dial *dial, uint64_t generation, uint32_t target) must_check;
/* Takes it back; an answer that still comes is closed unseen. */
void dialer_cancel(struct gateway *gw, struct dial *dial);
/* A broker answered (fd -1 without one). */
void dialer_answered(struct gateway *gw, uint64_t id, int fd, int status);
/* The channel is new or writable again (-1: it was lost). Asks that had no answer are sent again on a new one. */
void dialer_set_channel(struct gateway *gw, int channel);
void dialer_send_pending(struct gateway *gw);
