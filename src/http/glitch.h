/* One score per HTTP/2 connection for everything that is allowed and still costs us more than its sender: rapid resets, floods, oddities.
 *
 * A leaky bucket: events add their weight, time takes away. At three quarters the connection is asked to end (GOAWAY), at the full it is
 * cut. The budget never grows with what a peer has opened or sent over a connection's life, or a patient one could save up for a flood. */
#pragma once

#include <stdint.h>

enum glitch_event {
    GLITCH_RESET,          /* a stream given up by its opener before it was answered */
    GLITCH_CONTINUATION,   /* a CONTINUATION frame */
    GLITCH_SETTINGS,       /* SETTINGS after the first */
    GLITCH_PING,
    GLITCH_EMPTY_DATA,     /* DATA without data, not the end */
    GLITCH_WINDOW_UPDATE,  /* one that no request or frame of ours explains */
    GLITCH_PRIORITY,
    GLITCH_UNKNOWN_FRAME,
    GLITCH_REFUSED_HEAD,   /* a message that HTTP's rules refuse */
    GLITCH_BROKEN_FRAME,   /* a stream error, or a stream past the limit */
    GLITCH_EVENT_COUNT
};

enum glitch_verdict { GLITCH_FINE, GLITCH_END, GLITCH_CUT };

enum {
    GLITCH_LIMIT = 10000,
    GLITCH_END_AT = GLITCH_LIMIT / 4 * 3,
    GLITCH_FORGIVEN_PER_S = 1000,
    GLITCH_UPDATE_CREDIT_MAX = 1000, /* of WINDOW_UPDATEs that are explained */
};

struct glitch {
    uint64_t updated_ms;
    uint32_t score;
    uint32_t update_credit;
};

/* All zero is a new connection's. now_ms never goes back. */
enum glitch_verdict glitch_add(struct glitch *glitch, enum glitch_event event, uint64_t now_ms);
/* A request came or a DATA frame went out: WINDOW_UPDATEs for a stream and the connection may well follow. */
void glitch_earn_updates(struct glitch *glitch);
/* A WINDOW_UPDATE came in. */
enum glitch_verdict glitch_add_window_update(struct glitch *glitch, uint64_t now_ms);
