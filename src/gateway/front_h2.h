/* Inside of HTTP/2 towards a client: front_h2.c speaks for the streams, front_h2_session.c for the connection they share. */
#pragma once

#include "gateway/client.h"
#include "gateway/h2_session.h"

enum { FRONT_H2_SWEEP_MS = 10000 };

struct front_stream {
    struct h2_body out;
    struct front_h2 *h2;
    struct exchange *x;             /* NULL: answered, or not begun */
    struct front_stream *next, **link;
    struct spill *in;               /* request data that the instance doesn't take yet */
    struct h2_reader *trailers;     /* the request's, waiting behind it */
    struct io_grave grave;
    uint64_t progress_ms;           /* of the request's data */
    uint64_t taken;                 /* bytes of it that went on since the window was set */
    int32_t window;
    bool request_ended;             /* END_STREAM came and waits behind in */
    bool resume;                    /* the exchange asked for more */
    bool extended_connect, tunnel;
    bool counted;                   /* its reset, in the glitch score */
};

struct front_h2 {
    struct h2_session s;
    struct client *client;
    struct front_stream *streams;
    struct front_stream *collecting; /* whose data of this reading is being put together in ... */
    char *collected;                 /* ... the reading's own buffer, over what was read already */
    size_t n_collected;
    uint64_t idle_since_ms, block_since_ms, drain_ms;
    bool read_more;                 /* the last reading stopped before the socket was empty */
    bool resume;                    /* some stream has resume set */
    bool sweeping;                  /* the timer is due soon enough for open streams */
    bool draining, goodbye;         /* GOAWAY was announced; was sent */
};

/* ---- front_h2.c ---- */
/* NULL: no memory. */
const nghttp2_session_callbacks *front_h2_callbacks(void);
/* The stream is over; its exchange, where there is one, is told why (static text). Its memory lives to the end of the round. */
void front_stream_free(struct front_stream *stream, const char *reason);
void front_stream_reset(struct front_stream *stream, uint32_t error);
/* Request data that instances take again. */
void front_h2_deliver_resumed(struct front_h2 *h2);
/* Frames of one stream that came in one reading go on as one piece. 0, or what ends nghttp2's callback. */
int front_h2_pass_collected(struct front_h2 *h2, bool end) must_check;

/* What was submitted goes out at the end of the round. */
static inline void front_h2_send_later(struct front_h2 *h2)
{
    io_defer(&h2->client->gw->loop, &h2->client->again);
}
