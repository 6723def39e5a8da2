/* Inside of HTTP/2 towards instances: back_h2.c speaks for the streams, back_h2_session.c finds, keeps and closes the connections. */
#pragma once

#include "gateway/back_pool.h"
#include "gateway/dialer.h"
#include "gateway/h2_session.h"

enum session_state { BACK_CONNECTING, BACK_OPEN, BACK_LEAVING, BACK_CLOSED };

struct back_h2 {
    struct h2_session s;
    struct transport t;
    struct dial dial;
    struct gateway *gw;
    struct back_group *group;
    struct back_h2 *next, **link;   /* in group->sessions */
    struct back_stream *streams;
    struct back_wait *waiting;      /* exchanges that wait for the connection, or for its first SETTINGS */
    struct io_timer timer;
    struct io_deferred again;
    struct io_grave grave;
    uint32_t n_streams;             /* open ones and waiting exchanges */
    uint8_t state;
    bool settings_received;
    bool read_more, resume;
    bool heard, pinged;             /* anything since the timer was set; a PING is unanswered */
};

/* An exchange without a stream yet. */
struct back_wait {
    struct exchange_wait wait;
    struct back_h2 *b;
    struct exchange *x;
    struct back_wait *next, **link;
};

struct back_stream {
    struct h2_body out;
    struct back_h2 *b;
    struct exchange *x;             /* NULL: over */
    struct back_stream *next, **link;
    struct spill *request;          /* packed, until the instance has shown that it takes it */
    struct spill *in;               /* response data that the client doesn't take yet */
    struct h2_reader *trailers;
    struct io_grave grave;
    bool paused, resume, touched;
    bool response_ended;            /* waits behind in */
    bool got_head, websocket;
    bool closed;                    /* nghttp2 has forgotten it */
};

extern const struct back_ops back_h2_ops;

/* ---- back_h2.c ---- */
/* x's stream on the session, not started yet. NULL: no memory. */
struct back_stream *back_stream_new(struct back_h2 *b, struct exchange *x);
/* Takes the stream off its session; twice is fine. Its memory lives to the end of the round. */
void back_stream_free(struct back_stream *stream);
/* NULL: no memory. */
const nghttp2_session_callbacks *back_h2_callbacks(void);
/* What was held for clients that read again. */
void back_h2_deliver_resumed(struct back_h2 *b);
/* After a reading: what the fronts have collected goes out. */
void back_h2_flush_touched(struct back_h2 *b);

/* ---- back_h2_session.c ---- */
/* What was submitted goes out at the end of the round. */
void back_h2_send_later(struct back_h2 *b);
/* The instance goes, or we don't want it any more: what is open may end, nothing new begins. */
void back_h2_leave(struct back_h2 *b);
/* The instance's SETTINGS: who waited for what it can do goes on. */
void back_h2_settings_came(struct back_h2 *b);
