/* HTTP/2 towards a client (RFC 9113): each stream is an exchange's front; extended CONNECT (RFC 8441) for WebSocket.
 *
 *   a stream:  HEADERS ─▶ exchange_begin ─▶ DATA ... both ways ─▶ closed by nghttp2 (on_stream_close)
 * A request's data opens the window again when the instance has taken it; a response's data is held while its window is shut. What is sent in
 * one round leaves together at its end. A stream's memory lives to the end of the round in which it closed. */
#include <errno.h>

#include "gateway/client.h"
#include "gateway/forward.h"
#include "gateway/h2_session.h"

enum { SWEEP_MS = 10000, DRAIN_NOTICE_MS = 500, WINDOW_MAX = H2_CONNECTION_WINDOW, READ_WHILE_HELD_MAX = 256 * 1024 };

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

static const struct front_ops front_h2_ops;

static struct front_h2 *h2_of(struct h2_session *session)
{
    return container_of(session, struct front_h2, s);
}

static void send_later(struct front_h2 *h2)
{
    io_defer(&h2->client->gw->loop, &h2->client->again);
}

/* ---- streams ---- */

static void stream_drained(struct h2_body *body)
{
    struct front_stream *stream = container_of(body, struct front_stream, out);
    if (stream->x)
        exchange_front_writable(stream->x);
}

static struct front_stream *stream_new(struct front_h2 *h2, int32_t id)
{
    struct front_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    uint64_t now_ms = h2->client->gw->loop.now_ms;
    stream->h2 = h2;
    stream->window = H2_STREAM_WINDOW;
    stream->progress_ms = now_ms;
    stream->out = (struct h2_body){ .session = &h2->s, .drained = stream_drained, .stream_id = id, .progress_ms = now_ms };
    stream->next = h2->streams;
    stream->link = &h2->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    h2->streams = stream;
    if (!h2->sweeping) {
        h2->sweeping = true;
        io_timer_set(&h2->client->gw->loop, &h2->client->timer, SWEEP_MS);
    }
    return stream;
}

static void stream_release(struct io_grave *grave)
{
    free(container_of(grave, struct front_stream, grave));
}

/* What goes nowhere any more still counts in the connection's window. */
static void give_back(struct front_stream *stream)
{
    struct front_h2 *h2 = stream->h2;
    size_t n = spill_len(stream->in);
    if (h2->collecting == stream) {
        h2->collecting = NULL;
        n += h2->n_collected;
    }
    if (n)
        nghttp2_session_consume_connection(h2->s.ng, n);
}

static void stream_free(struct front_stream *stream, const char *reason)
{
    struct gateway *gw = stream->h2->s.gw;
    struct exchange *x = TAKE(stream->x);
    if (x)
        exchange_client_gone(x, reason);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    else if (!stream->h2->streams)
        stream->h2->idle_since_ms = gw->loop.now_ms;
    give_back(stream);
    h2_body_deinit(&stream->out);
    spill_free(&stream->in);
    free(TAKE(stream->trailers));
    io_bury(&gw->loop, &stream->grave, stream_release);
}

static void stream_reset(struct front_stream *stream, uint32_t error)
{
    nghttp2_submit_rst_stream(stream->h2->s.ng, NGHTTP2_FLAG_NONE, stream->out.stream_id, error);
    send_later(stream->h2);
}

/* ---- the response: what the exchange calls ---- */

static bool head_passes(const struct front_stream *stream, const struct http_field *field, const struct http_head *head)
{
    if (field->id == HTTP_SEC_WEBSOCKET && stream->extended_connect) /* RFC 8441 section 5: the accept key is HTTP/1's */
        return !str_equal_nocase(field->name, STR("sec-websocket-accept"));
    return forward_response_passes(field, head->status != 204 && !stream->tunnel, stream->x == NULL);
}

/* 101 opens an extended CONNECT's tunnel with 200; an instance that says 2xx without having switched must not seem to have. */
static unsigned status_for(struct front_stream *stream, const struct http_head *head)
{
    stream->tunnel = head->status == 101;
    if (stream->tunnel)
        return 200;
    return stream->extended_connect && head->status >= 200 && head->status < 300 ? 502 : head->status;
}

static void front_head(void *self, const struct http_head *head, bool end)
{
    struct front_stream *stream = self;
    struct h2_session *s = &stream->h2->s;
    struct h2_writer *w = &s->gw->h2->writer;
    bool is_interim = head->status < 200 && head->status != 101;
    h2_writer_start(w);
    h2_writer_add_status(w, status_for(stream, head));
    for (uint32_t i = 0; i < head->n_fields; i++)
        if (head_passes(stream, &head->fields[i], head))
            h2_writer_add(w, head->fields[i].name, head->fields[i].value, head->fields[i].id == HTTP_REQUEST_ID);
    if (stream->x && !is_interim)
        h2_writer_add(w, STR("postern-request-id"), str_of(stream->x->record.id), true);
    nghttp2_data_provider body = h2_body_provider(&stream->out);
    int r = w->overflowed ? -1
            : is_interim  ? nghttp2_submit_headers(s->ng, NGHTTP2_FLAG_NONE, stream->out.stream_id, NULL, w->fields, w->n, NULL)
                          : nghttp2_submit_response(s->ng, stream->out.stream_id, w->fields, w->n, end ? NULL : &body);
    if (r < 0)
        stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
    if (end) {
        stream->x = NULL;
        send_later(stream->h2);
    }
}

static bool front_body(void *self, struct str piece, bool end)
{
    struct front_stream *stream = self;
    if (end)
        stream->x = NULL;
    bool more = h2_body_write(&stream->out, piece, end);
    if (end)
        send_later(stream->h2);
    return more;
}

static void front_trailers(void *self, const struct http_head *trailers)
{
    struct front_stream *stream = self;
    stream->x = NULL;
    h2_body_write_trailers(&stream->out, trailers);
    send_later(stream->h2);
}

static void front_flush(void *self)
{
    struct front_stream *stream = self;
    send_later(stream->h2);
}

static bool front_is_fluent(void *self)
{
    const struct front_stream *stream = self;
    return h2_body_is_fluent(&stream->out);
}

static void front_resume(void *self)
{
    struct front_stream *stream = self;
    stream->resume = stream->h2->resume = true;
    send_later(stream->h2);
}

static void front_abort(void *self)
{
    struct front_stream *stream = self;
    stream->x = NULL;
    stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
}

static const struct front_ops front_h2_ops = {
    .head = front_head,
    .body = front_body,
    .trailers = front_trailers,
    .flush = front_flush,
    .is_fluent = front_is_fluent,
    .resume = front_resume,
    .abort = front_abort,
};

/* ---- the request ---- */

/* The data has gone on: the client may send as much again, and more at a time where it goes on quickly. Held data stays within the connection's
 * window in any case. */
static void open_window(struct front_stream *stream, size_t n)
{
    nghttp2_session *ng = stream->h2->s.ng;
    nghttp2_session_consume(ng, stream->out.stream_id, n);
    stream->progress_ms = stream->h2->s.gw->loop.now_ms;
    stream->taken += n;
    if (stream->taken < (uint64_t)stream->window || stream->window == WINDOW_MAX)
        return;
    stream->taken = 0;
    stream->window *= 4;
    nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, stream->out.stream_id, stream->window);
}

static void end_request(struct front_stream *stream)
{
    struct h2_reader *trailers = TAKE(stream->trailers);
    stream->request_ended = false;
    if (trailers && trailers->head.n_fields)
        exchange_request_trailers(stream->x, &trailers->head);
    else
        exchange_request_body(stream->x, STR_NONE, true);
    free(trailers);
}

/* What was held goes on as long as it is wanted. */
static void deliver(struct front_stream *stream)
{
    while (stream->x && exchange_takes_body(stream->x)) {
        struct str piece = str_first(spill_str(stream->in), GATEWAY_PLAIN_SIZE);
        if (piece.len == 0) {
            if (stream->request_ended)
                end_request(stream);
            return;
        }
        exchange_request_body(stream->x, piece, false);
        open_window(stream, piece.len);
        spill_consume(&stream->in, piece.len);
    }
}

static void deliver_resumed(struct front_h2 *h2)
{
    if (!h2->resume)
        return;
    h2->resume = false;
    for (struct front_stream *stream = h2->streams; stream; stream = stream->next) {
        if (!stream->resume)
            continue;
        stream->resume = false;
        deliver(stream);
    }
}

static int refuse(struct front_stream *stream, enum http_violation violation)
{
    struct front_h2 *h2 = stream->h2;
    struct exchange_asker asker = client_asker(h2->client);
    exchange_refuse(h2->s.gw, &asker, http_violation_status(violation), http_violation_text(violation), &front_h2_ops, stream);
    return h2_glitch(&h2->s, GLITCH_REFUSED_HEAD);
}

static int begin(struct front_stream *stream, const struct http_head *head, bool ends_stream)
{
    struct front_h2 *h2 = stream->h2;
    struct exchange_asker asker = client_asker(h2->client);
    stream->extended_connect = head->websocket;
    struct exchange *x = exchange_begin(h2->s.gw, &asker, head, !ends_stream, &front_h2_ops, stream);
    if (!x)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (x->state != EXCHANGE_OVER)
        stream->x = x;
    return 0;
}

static int take_request(struct front_stream *stream, bool ends_stream)
{
    struct h2_reader *reader = stream->h2->s.reader;
    glitch_earn_updates(&stream->h2->s.glitch);
    enum http_violation violation = h2_reader_finish(reader, ends_stream);
    return violation == HTTP_FINE ? begin(stream, &reader->head, ends_stream) : refuse(stream, violation);
}

/* Frames of one stream that came in one reading go on as one piece. */
static int pass_collected(struct front_h2 *h2, bool end)
{
    struct front_stream *stream = TAKE(h2->collecting);
    if (!stream)
        return 0;
    struct str piece = str_make(h2->collected, h2->n_collected);
    if (!stream->x) { /* the answer didn't wait for it */
        nghttp2_session_consume(h2->s.ng, stream->out.stream_id, piece.len);
        return 0;
    }
    stream->request_ended = end;
    if (stream->in || !exchange_takes_body(stream->x))
        return spill_append(&stream->in, piece, WINDOW_MAX) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    stream->request_ended = false;
    exchange_request_body(stream->x, piece, end);
    open_window(stream, piece.len);
    return 0;
}

/* The head is complete and the instance not necessarily there: trailers may have to wait. */
static int take_trailers(struct front_stream *stream)
{
    struct h2_session *s = &stream->h2->s;
    if (h2_reader_finish(s->reader, true) != HTTP_FINE) {
        stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
        return h2_glitch(s, GLITCH_REFUSED_HEAD);
    }
    int r = stream->h2->collecting == stream ? pass_collected(stream->h2, false) : 0;
    if (!stream->x || r < 0)
        return r;
    stream->trailers = malloc(sizeof *stream->trailers);
    if (!stream->trailers)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    h2_reader_move(stream->trailers, s->reader);
    stream->request_ended = true;
    deliver(stream);
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = user_data;
    struct front_h2 *h2 = h2_of(s);
    h2->block_since_ms = s->gw->loop.now_ms;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        h2_block_begin(s, H2_TRAILERS, false);
        return 0;
    }
    struct front_stream *stream = stream_new(h2, frame->hd.stream_id);
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, stream);
    h2_block_begin(s, H2_REQUEST, false);
    return 0;
}

static int on_headers(struct front_stream *stream, const nghttp2_frame *frame)
{
    struct h2_session *s = &stream->h2->s;
    if (!s->reader)
        return 0;
    bool ends_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    int r = frame->headers.cat == NGHTTP2_HCAT_REQUEST ? take_request(stream, ends_stream) : take_trailers(stream);
    h2_block_end(s);
    return r;
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = user_data;
    struct front_stream *stream = frame->hd.stream_id ? nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (stream)
            return on_headers(stream, frame);
        h2_block_end(s);
        return 0;
    case NGHTTP2_DATA:
        if (stream && stream->x && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
            if (h2_of(s)->collecting == stream)
                return pass_collected(h2_of(s), true);
            stream->request_ended = true;
            deliver(stream);
        }
        return h2_note_data_frame(s, frame);
    case NGHTTP2_RST_STREAM:
        if (stream)
            stream->counted = true;
        return h2_glitch(s, stream ? GLITCH_RESET : GLITCH_UNKNOWN_FRAME);
    default:
        return 0;
    }
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len, void *user_data)
{
    struct front_h2 *h2 = h2_of(user_data);
    struct front_stream *stream = nghttp2_session_get_stream_user_data(ng, stream_id);
    (void)flags;
    if (!stream || !stream->x) { /* an answer didn't wait for it */
        nghttp2_session_consume(ng, stream_id, len);
        return 0;
    }
    stream->progress_ms = h2->s.gw->loop.now_ms;
    if (h2->collecting == stream) {
        memmove(h2->collected + h2->n_collected, data, len);
        h2->n_collected += len;
        return 0;
    }
    int r = pass_collected(h2, false);
    h2->collecting = stream;
    h2->collected = h2->s.gw->plain_in + ((const char *)data - h2->s.gw->plain_in); /* the same place, which is ours to write to */
    h2->n_collected = len;
    return r;
}

static int on_stream_close(nghttp2_session *ng, int32_t stream_id, uint32_t error, void *user_data)
{
    struct front_stream *stream = nghttp2_session_get_stream_user_data(ng, stream_id);
    (void)error;
    if (!stream)
        return 0;
    bool our_doing = stream->x && !stream->counted; /* the client broke a rule in its middle: as cheap for it as a reset, and as dear for us */
    stream_free(stream, "the client reset the stream");
    return our_doing ? h2_glitch(user_data, GLITCH_BROKEN_FRAME) : 0;
}

/* A whole response to half a request (RFC 9113 section 8.1): the rest isn't wanted. */
static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    bool ends = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (ends && nghttp2_session_get_stream_remote_close(ng, frame->hd.stream_id) == 0)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static const nghttp2_session_callbacks *front_callbacks(void)
{
    static nghttp2_session_callbacks *callbacks;
    if (callbacks)
        return callbacks;
    callbacks = h2_callbacks_new();
    if (!callbacks)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    return callbacks;
}

/* ---- the connection ---- */

int front_h2_start(struct client *client)
{
    struct gateway *gw = client->gw;
    const nghttp2_session_callbacks *callbacks = front_callbacks();
    struct front_h2 *h2 = callbacks ? calloc(1, sizeof *h2) : NULL;
    if (!h2)
        return -ENOMEM;
    h2->client = client;
    h2->s.gw = gw;
    h2->s.t = &client->t;
    h2->read_more = true; /* what came with the end of the handshake */
    h2->idle_since_ms = gw->loop.now_ms;
    int r = h2_session_init(&h2->s, callbacks, true);
    if (r < 0) {
        free(h2);
        return r;
    }
    client->h2 = h2;
    io_timer_set(&gw->loop, &client->timer, GATEWAY_HEAD_MS); /* the preface is owed at once */
    return 0;
}

void front_h2_stop(struct client *client, const char *reason)
{
    struct front_h2 *h2 = TAKE(client->h2);
    if (!h2)
        return;
    while (h2->streams)
        stream_free(h2->streams, reason);
    h2_session_deinit(&h2->s);
    free(h2);
}

/* Says goodbye with a code and closes; what was said may still be read. */
static void finish(struct client *client, uint32_t error, const char *reason)
{
    struct h2_session *s = &client->h2->s;
    nghttp2_session_terminate_session(s->ng, error);
    h2_send(s);
    client_close(client, reason);
}

/* Sends; true: the connection goes on. */
static bool send_all(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    if (h2_send(&h2->s) < 0 || client->t.failed) {
        client_close(client, "the client reset the connection");
        return false;
    }
    if (nghttp2_session_want_read(h2->s.ng) || nghttp2_session_want_write(h2->s.ng))
        return true;
    client_linger(client);
    return false;
}

static bool receive(struct client *client, size_t len)
{
    struct front_h2 *h2 = client->h2;
    int r = h2_receive(&h2->s, client->gw->plain_in, len);
    if (r == 0 && pass_collected(h2, false) < 0)
        r = -ENOMEM;
    if (h2->s.verdict == GLITCH_CUT) {
        finish(client, NGHTTP2_ENHANCE_YOUR_CALM, "the client flooded the connection");
        return false;
    }
    if (r < 0) {
        finish(client, NGHTTP2_PROTOCOL_ERROR, "the client broke HTTP/2's rules");
        return false;
    }
    return true;
}

/* False: the connection is gone. */
static bool read_all(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    struct transport *t = &client->t;
    for (unsigned turn = 0; turn < GATEWAY_READS_A_TURN;) {
        if (spill_len(t->tx) > READ_WHILE_HELD_MAX) { /* it doesn't read what it asked for */
            h2->read_more = true;
            return true;
        }
        ssize_t n = transport_read_full(t, client->gw->plain_in, GATEWAY_BULK_SIZE);
        if (n == -EAGAIN) {
            h2->read_more = false;
            return true;
        }
        if (n <= 0) {
            client_close(client, n == 0 ? "the client went away" : "the client reset the connection");
            return false;
        }
        if (!receive(client, (size_t)n))
            return false;
        turn += gateway_reading_cost((size_t)n);
    }
    h2->read_more = true;
    send_later(h2);
    return true;
}

/* A block that doesn't end must not hold its reader for ever. */
static void watch_block(struct front_h2 *h2)
{
    if (h2->s.reader && !h2->sweeping) {
        h2->sweeping = true;
        io_timer_set(&h2->client->gw->loop, &h2->client->timer, SWEEP_MS);
    }
}

void front_h2_input(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    deliver_resumed(h2);
    if ((client->t.readable || client->t.rx || h2->read_more) && !read_all(client))
        return;
    watch_block(h2);
    send_all(client);
}

void front_h2_drained(struct client *client)
{
    if (send_all(client) && client->h2->read_more)
        send_later(client->h2);
}

/* Announces the end (RFC 9113 section 6.8); the last stream is named once what is under way has arrived. */
void front_h2_drain(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    if (!h2 || h2->draining)
        return;
    h2->draining = true;
    h2->drain_ms = client->gw->loop.now_ms + DRAIN_NOTICE_MS;
    nghttp2_submit_shutdown_notice(h2->s.ng);
    io_timer_set(&client->gw->loop, &client->timer, DRAIN_NOTICE_MS);
    send_later(h2);
}

/* ---- time ---- */

/* Ends the streams whose client neither reads nor sends. */
static void sweep_streams(struct front_h2 *h2)
{
    uint64_t now_ms = h2->client->gw->loop.now_ms;
    struct front_stream *next;
    for (struct front_stream *stream = h2->streams; stream; stream = next) {
        next = stream->next;
        bool stalled = stream->out.held && now_ms - stream->out.progress_ms > GATEWAY_STALL_MS;
        bool owed = stream->x && !stream->x->request_done && !stream->tunnel && !stream->request_ended && !stream->in;
        bool silent = owed && exchange_takes_body(stream->x) && now_ms - stream->progress_ms > GATEWAY_BODY_IDLE_MS;
        if (!stalled && !silent)
            continue;
        struct exchange *x = TAKE(stream->x);
        if (x)
            exchange_client_gone(x, stalled ? "the client stopped reading" : "the client stopped in the middle of its request");
        stream_reset(stream, NGHTTP2_CANCEL);
    }
}

void front_h2_timeout(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    struct io_loop *loop = &client->gw->loop;
    if (h2->s.reader && loop->now_ms - h2->block_since_ms >= GATEWAY_HEAD_MS) {
        finish(client, NGHTTP2_ENHANCE_YOUR_CALM, "the head did not come in time");
        return;
    }
    if (!h2->s.settings_seen) {
        client_close(client, NULL);
        return;
    }
    if (h2->draining && !h2->goodbye && loop->now_ms >= h2->drain_ms) {
        h2->goodbye = true;
        nghttp2_submit_goaway(h2->s.ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2->s.ng), NGHTTP2_NO_ERROR, NULL, 0);
    }
    sweep_streams(h2);
    uint64_t idle_ms = loop->now_ms - h2->idle_since_ms;
    if (!h2->streams && idle_ms >= GATEWAY_IDLE_H2_MS)
        nghttp2_session_terminate_session(h2->s.ng, NGHTTP2_NO_ERROR);
    h2->sweeping = h2->streams || h2->s.reader;
    io_timer_set(loop, &client->timer, h2->sweeping || idle_ms >= GATEWAY_IDLE_H2_MS ? SWEEP_MS : GATEWAY_IDLE_H2_MS - idle_ms);
    send_all(client);
}
