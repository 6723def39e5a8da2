/* An HTTP/1.1 connection to an instance: its state, shared by who connects and keeps it (back_h1_connection.c) and who speaks on it (back_h1.c). */
#pragma once

#include "gateway/back_pool.h"
#include "gateway/transport.h"
#include "http/h1.h"

enum back_h1_state { RESPONSE_HEAD, RESPONSE_BODY, RESPONSE_TRAILERS, RESPONSE_TUNNEL };

struct back_h1 {
    struct transport t;
    struct exchange *x;            /* NULL: idle */
    struct exchange_wait wait;     /* in TLS's handshake: x waits for it */
    struct back_group *group;
    struct back_h1 *idle_next, **idle_link;
    struct io_timer timer;
    struct io_deferred again;
    struct io_grave grave;
    struct spill *in;              /* of the response, not yet consumed */
    size_t scanned;
    uint64_t left;
    struct http1_chunked chunked;
    uint8_t state, framing, request_framing;
    bool keep_alive, paused, handshaking, reused;
};

extern const struct back_ops back_h1_ops;

/* ---- back_h1_connection.c ---- */
/* Out of the pool and closed; its exchange is not told. Twice is fine. */
void back_h1_close(struct back_h1 *b);
/* Closes it, and tells its exchange why (static text). */
void back_h1_broken(struct back_h1 *b, const char *reason);
/* Nobody uses it any more; another exchange may. */
void back_h1_keep(struct back_h1 *b);
/* A connection that nobody uses must stay silent. False: it did not, and was closed. */
bool back_h1_idle_is_silent(struct back_h1 *b);

/* ---- back_h1.c ---- */
/* There may be something to read, or to go on with. */
void back_h1_input(struct back_h1 *b);
