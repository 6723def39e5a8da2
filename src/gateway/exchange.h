/* One request and its response: decided here, joined here, and recorded when it is over.
 *
 *   exchange_begin
 *      │ denied, malformed, nothing healthy ──────────────▶ answered by ourselves
 *      ▼
 *   DIALLING ── exchange_back_ready ─▶ SENDING ── response head ─▶ RESPONDING ── response end ─▶ OVER
 *      │ exchange_back_failed: the next instance, or 502/503/504        │ 101 or extended CONNECT
 *      │                                                                ▼
 *      └──────────── client gone, revoked, instance broke ──────────▶ TUNNEL ──▶ OVER
 *
 * A front is the client's side of it (an HTTP/1 connection, an HTTP/2 stream), a back the instance's. Both call in through the functions here and
 * are called through their operations. After exchange_over, or after an operation `abort` or `cancel`, neither side is called again: whichever side
 * is told forgets its pointer first. Data is passed as borrowed slices that are valid during the call only; a receiver takes all of it and says
 * whether it wants more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gateway/gateway.h"
#include "gateway/spill.h"

/* What a response goes to. self is the front given to exchange_begin. */
struct front_ops {
    /* An interim (1xx, not 101) or the final head. end: no body and no trailers follow. A 101 head (HTTP/1 fronts) or any 2xx to an
     * extended CONNECT (HTTP/2) is followed by raw bytes both ways. */
    void (*head)(void *self, const struct http_head *head, bool end);
    /* A piece of the body, end with the last one (which may be empty). False: congested; exchange_front_writable will be called. */
    bool (*body)(void *self, struct str piece, bool end);
    /* Trailers end the body. */
    void (*trailers)(void *self, const struct http_head *trailers);
    /* What was collected during this callback goes out now. */
    void (*flush)(void *self);
    /* The request's body is wanted (again). Called from inside other callbacks: defer the reading. */
    void (*resume)(void *self);
    /* Whether a large piece is likely to go on at once, as those before it did. */
    bool (*is_fluent)(void *self);
    /* The response can't be completed: break it off so that the client notices. The exchange is over. */
    void (*abort)(void *self);
};

/* What a request goes to. self is the back given to exchange_back_ready. */
struct back_ops {
    /* Sends exchange->request (packed by its protocol's pack function). Called once, from exchange_back_ready. 0 or a negative errno (nothing was sent). */
    int (*start)(void *self, struct exchange *x);
    bool (*body)(void *self, struct str piece, bool end);
    void (*trailers)(void *self, const struct http_head *trailers);
    bool (*is_fluent)(void *self);
    /* The response's body is wanted again. Defer the reading. */
    void (*resume)(void *self);
    /* The exchange is over before its end: drop the connection or reset the stream. */
    void (*cancel)(void *self);
};

enum exchange_state { EXCHANGE_DIALLING, EXCHANGE_SENDING, EXCHANGE_RESPONDING, EXCHANGE_TUNNEL, EXCHANGE_OVER };
enum { EXCHANGE_CANDIDATES = 4, EXCHANGE_INTERIMS_MAX = 16 };

/* What an exchange waits for while it has no back: part of whoever will call exchange_back_ready or exchange_back_failed (and has cleared
 * exchange->wait then). */
struct exchange_wait {
    void (*cancel)(struct exchange_wait *wait); /* the exchange is over: forget it */
};

/* An instance that may serve it, copied so that no view needs to stay. */
struct exchange_candidate {
    uint64_t identity, generation;
    uint32_t target;
    char name[64];
};

struct exchange {
    struct exchange *next, **link;   /* in gw->exchanges */
    struct gateway *gw;
    const struct front_ops *front_ops;
    void *front;
    const struct back_ops *back_ops; /* NULL until exchange_back_ready */
    void *back;
    struct exchange_wait *wait;      /* while a connection is being found */
    struct io_timer timer;           /* the instance's first byte */
    struct spill *request;           /* the packed head, until it was sent */

    uint8_t state;                   /* enum exchange_state */
    uint8_t protocol;                /* enum image_protocol */
    uint8_t request_framing;         /* enum http_framing, towards the instance */
    uint8_t n_candidates, candidate;
    uint8_t n_interims;
    bool reuse_allowed;              /* HAProxy's "safe": not the client connection's first request */
    bool request_done, response_started;
    bool is_head, upgrade, extended_connect;
    bool front_congested, back_congested;
    bool refused;                    /* an instance said once that it hadn't looked at it */
    bool websocket;                  /* towards HTTP/2; with what its HTTP/1 client waits for */
    char websocket_accept[29];

    uint32_t service;                /* of the current view: what a TLS connection to a candidate verifies */
    struct exchange_candidate candidates[EXCHANGE_CANDIDATES];
    struct address client;
    char host[256];                  /* as asked, lower case, without port: judged again at every change */
    uint64_t started_us;
    struct ipc_record record;
    struct io_grave grave;
};

/* Who asks, as the connection established it. */
struct exchange_asker {
    struct address address;
    uint32_t principal;              /* in the current view; never IMAGE_NONE */
    bool first_on_connection;
};

/* Decides on a request and starts it. has_body: body, end and trailers follow through the functions below. The head is borrowed for the call.
 * The exchange may be over (answered by ourselves) when it returns; front then was called already with all of the answer. Returns NULL only
 * when memory is short (nothing was called). */
struct exchange *exchange_begin(struct gateway *gw, const struct exchange_asker *asker, const struct http_head *head, bool has_body,
                                const struct front_ops *ops, void *front);
/* Answers a request that HTTP's rules refuse (violation's status), with its record. No exchange lives on. */
void exchange_refuse(struct gateway *gw, const struct exchange_asker *asker, unsigned status, const char *reason, const struct front_ops *ops,
                     void *front);

/* A connection that was closed before TLS: a record and nothing else. principal IMAGE_NONE: nobody. */
void exchange_record_refusal(struct gateway *gw, const struct address *address, uint32_t principal, enum ipc_record_denied why);

/* ---- called by fronts ---- */
/* Whether body pieces are wanted now; otherwise the front holds them and front_ops.resume will be called. */
bool exchange_takes_body(const struct exchange *x);
/* How much of a body that is passed on as it comes is worth reading at once. */
size_t exchange_request_piece(const struct exchange *x);
void exchange_request_body(struct exchange *x, struct str piece, bool end);
void exchange_request_trailers(struct exchange *x, const struct http_head *trailers);
/* front_ops.body said congested before; it no longer is. */
void exchange_front_writable(struct exchange *x);
/* The client went away, or the front can't go on. The front is not called again. reason: for the record, static. */
void exchange_client_gone(struct exchange *x, const char *reason);

/* ---- called by backs and the dialer ---- */
/* A connection or stream for x's current candidate. May call ops->start at once. */
void exchange_back_ready(struct exchange *x, const struct back_ops *ops, void *back);
/* No connection (status: negative errno). Nothing was sent: the next candidate is tried. */
void exchange_back_failed(struct exchange *x, int status);
/* The same for one of several that waited for the same connection: the instance's failure is counted by whoever calls, once. */
void exchange_back_missed(struct exchange *x, int status);
/* The instance says that it hasn't processed the request (RFC 9113 section 8.7), of which no body was passed: it is asked again, once.
 * Takes the packed request back. */
void exchange_back_refused(struct exchange *x, struct spill *request);
/* back_ops.body said congested before; it no longer is. */
void exchange_back_writable(struct exchange *x);
void exchange_response_head(struct exchange *x, const struct http_head *head, bool end);
/* As exchange_request_piece. */
size_t exchange_response_piece(const struct exchange *x);
/* False: the client is congested; back_ops.resume will be called. */
bool exchange_response_body(struct exchange *x, struct str piece, bool end);
void exchange_response_trailers(struct exchange *x, const struct http_head *trailers);
/* At the end of a back's reading: what the front collected goes out. x may be NULL. */
void exchange_response_flush(struct exchange *x);
/* The instance broke off or broke the rules. Before a response: 502; after: the client's response is broken off. The back is not called
 * again. reason: for the record, static. */
void exchange_back_broken(struct exchange *x, const char *reason);

/* ---- called by the gateway ---- */
/* Memory kept for exchanges to come. */
void exchange_free_spares(struct gateway *gw);
/* Judges it again by the current view; ends it when its right is gone. */
void exchange_judge_again(struct exchange *x);
