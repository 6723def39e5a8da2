/* What both sides of HTTP/2 share: an nghttp2 session over a transport, header blocks being read, bodies being written, the glitch score.
 *
 * nghttp2 may not be entered from its own callbacks: while `busy`, everything that would send is put off. All that a session has to say
 * leaves in records of the largest size, as late in a round as possible, so that many streams share one write. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

#include "gateway/gateway.h"
#include "gateway/spill.h"
#include "gateway/transport.h"
#include "http/glitch.h"
#include "http/h2_head.h"

enum {
    H2_STREAMS_MAX = 100,
    H2_STREAM_WINDOW = 64 * 1024,
    H2_CONNECTION_WINDOW = 1024 * 1024,
    H2_HEAD_LIST_MAX = HTTP_HEAD_SIZE_MAX,
    H2_DIRECT_MIN = 8 * 1024,         /* a piece that is worth sending without holding a copy */
    H2_HELD_LOW = 32 * 1024,          /* of one body: more than this and its writer pauses */
    H2_HELD_CONNECTION = 1024 * 1024, /* a connection that holds more is the first to lose streams ... */
    H2_HELD_WORKER = 256 * 1024 * 1024, /* ... when all together hold more than this */
    H2_HELD_UPLOADS = H2_STREAM_WINDOW, /* as H2_HELD_CONNECTION for what clients send: one more stream's worth would wait for an instance */
};

struct h2_session {
    nghttp2_session *ng;
    struct gateway *gw;
    struct transport *t;
    struct h2_reader *reader;        /* of the block under way: the worker's, or an own one when the block is cut in two */
    struct glitch glitch;
    uint32_t held;                   /* bytes of bodies that wait for a window */
    uint8_t verdict;                 /* enum glitch_verdict, the worst so far */
    bool busy;
    bool settings_seen;
    struct h2_body *stalled_bodies;  /* put off because the transport is congested */
};

/* One worker's scratches for all of its sessions.
 *
 * A frame's bytes live from nghttp2's packing to our copying, inside of one call of nghttp2_session_mem_send; so one frame buffer serves all
 * sessions with clients, where h2_session_init hands it to each through nghttp2's allocator. That holds as long as no callback says "would
 * block" with a packed frame in hand: bodies are put off before they are packed instead. */
struct h2_shared {
    struct h2_reader reader;
    struct h2_writer writer;
    uint64_t held;                   /* sum over the sessions */
    char record[16 * 1024];          /* what the session that is sending has to say */
    size_t record_len;
    bool sending;                    /* one session is: its frame is in frame_buffer, and no other may begin */
    bool frame_buffer_given;
    char frame_buffer[17 * 1024];    /* the one that nghttp2 would keep 16 KiB for in each idle session */
};

struct h2_shared *h2_shared_new(void);

/* A body on its way out. Part of a stream; data providers point to it. */
struct h2_body {
    struct h2_session *session;
    void (*drained)(struct h2_body *body); /* what was held is less than H2_HELD_LOW again, after h2_body_write said false */
    struct spill *held;
    struct str direct;               /* borrowed during h2_body_write */
    size_t direct_sent;              /* of it, before what is left */
    struct spill *trailers;          /* packed; they end the body */
    uint64_t progress_ms;
    struct h2_body *stalled_next, **stalled_link;
    int32_t stream_id;
    bool ended, congested, waiting, closed; /* waiting: nghttp2 asked and there was nothing */
};

/* ---- sessions ---- */

/* Callbacks that both sides have set already (data out, unknown and broken frames, floods); user data is the struct h2_session. NULL: no memory. */
nghttp2_session_callbacks *h2_callbacks_new(void);
/* Takes session->gw, t; server or client. 0 or -ENOMEM. */
int h2_session_init(struct h2_session *session, const nghttp2_session_callbacks *callbacks, bool server) must_check;
void h2_session_deinit(struct h2_session *session);
/* 0; -EPROTO: beyond repair (what nghttp2 says to the peer is queued). Not to be called while busy. */
int h2_receive(struct h2_session *session, const char *data, size_t len) must_check;
/* Everything that may go out now. 0 or a negative errno. Does nothing while busy. */
int h2_send(struct h2_session *session);
/* Adds to the score; at three quarters the peer is told (GOAWAY). For callbacks: 0, or what ends them when the connection is to be cut. */
int h2_glitch(struct h2_session *session, enum glitch_event event);
/* For on_frame_recv: a DATA frame of padding only. */
int h2_note_data_frame(struct h2_session *session, const nghttp2_frame *frame);

/* ---- header blocks: begin in on_begin_headers, add in on_header, end in on_frame_recv ---- */
void h2_block_begin(struct h2_session *session, enum h2_head_kind kind, bool from_instance);
void h2_block_end(struct h2_session *session);

/* ---- heads that wait ---- */
/* Appends one field to a pack. */
int h2_pack_add(struct spill **pack, struct str name, struct str value) must_check;
/* The pack's fields into writer, borrowed. */
void h2_pack_read(const struct spill *pack, struct h2_writer *writer);

/* ---- bodies out ---- */
/* Bytes that wait in the session are counted, in both directions. False, and nothing is counted, when the worker holds too much and this
 * session more than its share of it. */
bool h2_hold(struct h2_session *session, size_t n, uint32_t share) must_check;
void h2_let_go(struct h2_session *session, size_t n);
/* For nghttp2_submit_response and nghttp2_submit_request. */
nghttp2_data_provider h2_body_provider(struct h2_body *body);
/* Takes a piece: sent at once where that saves a copy, or held. False: congested, drained will be called. The stream may have been closed
 * when it returns (its memory lives to the end of the round). Without memory, or past the worker's cap, the stream is reset. */
bool h2_body_write(struct h2_body *body, struct str piece, bool end);
/* Whether a large piece would go on at once: windows are open and the transport is fluent. */
bool h2_body_is_fluent(const struct h2_body *body);
/* Ends it with trailers. */
void h2_body_write_trailers(struct h2_body *body, const struct http_head *trailers);
/* The stream is closed. Twice is fine. */
void h2_body_deinit(struct h2_body *body);
