/* HTTP/2 towards a client (RFC 9113): each stream is an exchange's front; extended CONNECT (RFC 8441) for WebSocket.
 *
 *   a stream:  HEADERS ─▶ exchange_begin ─▶ DATA ... both ways ─▶ closed by nghttp2 (on_stream_close)
 * A request's data opens the window again when the instance has taken it; a response's data is held while its window is shut. What is sent in
 * one round leaves together at its end. A stream's memory lives to the end of the round in which it closed. */
#include "gateway/front_h2.h"

#include "gateway/forward.h"

static const struct front_ops front_h2_ops;

static struct front_h2 *h2_of(struct h2_session *session)
{
    return container_of(session, struct front_h2, s);
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
        io_timer_set(&h2->client->gw->loop, &h2->client->timer, FRONT_H2_SWEEP_MS);
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
    h2_let_go(&h2->s, n);
    if (h2->collecting == stream) {
        h2->collecting = NULL;
        n += h2->n_collected;
    }
    if (n)
        nghttp2_session_consume_connection(h2->s.ng, n);
}

void front_stream_free(struct front_stream *stream, const char *reason)
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

void front_stream_reset(struct front_stream *stream, uint32_t error)
{
    nghttp2_submit_rst_stream(stream->h2->s.ng, NGHTTP2_FLAG_NONE, stream->out.stream_id, error);
    front_h2_send_later(stream->h2);
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
        front_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
    if (end) {
        stream->x = NULL;
        front_h2_send_later(stream->h2);
    }
}

static bool front_body(void *self, struct str piece, bool end)
{
    struct front_stream *stream = self;
    if (end)
        stream->x = NULL;
    bool more = h2_body_write(&stream->out, piece, end);
    if (end)
        front_h2_send_later(stream->h2);
    return more;
}

static void front_trailers(void *self, const struct http_head *trailers)
{
    struct front_stream *stream = self;
    stream->x = NULL;
    h2_body_write_trailers(&stream->out, trailers);
    front_h2_send_later(stream->h2);
}

static void front_flush(void *self)
{
    struct front_stream *stream = self;
    front_h2_send_later(stream->h2);
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
    front_h2_send_later(stream->h2);
}

static void front_abort(void *self)
{
    struct front_stream *stream = self;
    stream->x = NULL;
    front_stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
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
    if (stream->taken < (uint64_t)stream->window || stream->window == H2_CONNECTION_WINDOW)
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
        if (stream->in) {
            h2_let_go(&stream->h2->s, piece.len);
            spill_consume(&stream->in, piece.len);
        }
    }
}

void front_h2_deliver_resumed(struct front_h2 *h2)
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

/* A piece has no place: the exchange ends here, for what came before and after it must not reach the instance as the whole. */
static void drop_request(struct front_stream *stream, size_t n)
{
    struct exchange *x = TAKE(stream->x);
    nghttp2_session_consume_connection(stream->h2->s.ng, n);
    give_back(stream);
    spill_free(&stream->in);
    front_stream_reset(stream, NGHTTP2_ENHANCE_YOUR_CALM);
    exchange_client_gone(x, "too much waits for instances");
}

/* Where instances leave too much waiting in all, clients that sent much are the first to be told to stop. */
static int hold_request(struct front_stream *stream, struct str piece)
{
    struct h2_session *s = &stream->h2->s;
    if (!h2_hold(s, piece.len, H2_HELD_UPLOADS)) {
        drop_request(stream, piece.len);
        return 0;
    }
    if (spill_append(&stream->in, piece, H2_CONNECTION_WINDOW) == 0)
        return 0;
    h2_let_go(s, piece.len);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Frames of one stream that came in one reading go on as one piece. */
int front_h2_pass_collected(struct front_h2 *h2, bool end)
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
        return hold_request(stream, piece);
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
        front_stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
        return h2_glitch(s, GLITCH_REFUSED_HEAD);
    }
    int r = stream->h2->collecting == stream ? front_h2_pass_collected(stream->h2, false) : 0;
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
                return front_h2_pass_collected(h2_of(s), true);
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
    int r = front_h2_pass_collected(h2, false);
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
    front_stream_free(stream, "the client reset the stream");
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

const nghttp2_session_callbacks *front_h2_callbacks(void)
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
