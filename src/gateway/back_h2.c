/* HTTP/2 towards an instance, without TLS and by prior knowledge (h2c, RFC 9113 section 3.3): many exchanges share a connection.
 *
 *   a session:  CONNECTING (exchanges wait for it) ─▶ OPEN (exchanges are its streams) ─▶ LEAVING (no new ones) ─▶ closed
 * The connection's window always opens at once and only a stream's waits for its client, so that one client that doesn't read can't stop the
 * others. A stream that its instance says it never looked at is asked again elsewhere. */
#include "gateway/back_h2.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "gateway/forward.h"

enum { HELD_MAX = 4 * H2_STREAM_WINDOW, KEY_MAX = 64 };

/* ---- streams ---- */

static void body_drained(struct h2_body *body)
{
    struct back_stream *stream = container_of(body, struct back_stream, out);
    if (stream->x)
        exchange_back_writable(stream->x);
}

struct back_stream *back_stream_new(struct back_h2 *b, struct exchange *x)
{
    struct back_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->b = b;
    stream->x = x;
    stream->websocket = x->websocket;
    stream->out = (struct h2_body){ .session = &b->s, .drained = body_drained };
    stream->next = b->streams;
    stream->link = &b->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    b->streams = stream;
    b->n_streams++;
    return stream;
}

static void stream_release(struct io_grave *grave)
{
    free(container_of(grave, struct back_stream, grave));
}

void back_stream_free(struct back_stream *stream)
{
    struct back_h2 *b = stream->b;
    if (!stream->link)
        return;
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    stream->link = NULL;
    if (!stream->closed && stream->out.stream_id)
        nghttp2_session_set_stream_user_data(b->s.ng, stream->out.stream_id, NULL);
    b->n_streams--;
    h2_body_deinit(&stream->out);
    spill_free(&stream->request);
    spill_free(&stream->in);
    free(TAKE(stream->trailers));
    io_bury(&b->gw->loop, &stream->grave, stream_release);
    if (b->n_streams == 0 && b->state == BACK_OPEN)
        io_timer_set(&b->gw->loop, &b->timer, GATEWAY_BACK_IDLE_MS);
    if (b->n_streams == 0 && b->state == BACK_LEAVING)
        back_h2_send_later(b); /* which closes it */
}

/* ---- the request ---- */

static void add_to_pack(void *self, struct str name, struct str value)
{
    struct exchange *x = self;
    if (h2_pack_add(&x->request, name, value) < 0)
        x->request_framing = UINT8_MAX; /* checked at the end */
}

/* What a client of HTTP/1 expects when its WebSocket opens (RFC 6455 section 4.2.2). */
static void compute_accept(struct exchange *x, const struct http_head *head)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[SHA_DIGEST_LENGTH];
    char text[KEY_MAX + sizeof guid];
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->id != HTTP_SEC_WEBSOCKET || !str_equal_nocase(field->name, STR("sec-websocket-key")) || field->value.len > KEY_MAX)
            continue;
        memcpy(text, field->value.ptr, field->value.len);
        memcpy(text + field->value.len, guid, sizeof guid - 1);
        SHA1((const unsigned char *)text, field->value.len + sizeof guid - 1, digest);
        EVP_EncodeBlock((unsigned char *)x->websocket_accept, digest, sizeof digest);
        return;
    }
}

int back_h2_pack(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body)
{
    x->request_framing = has_body ? HTTP_CHUNKED : HTTP_NO_BODY;
    x->websocket = head->websocket;
    if (head->websocket && head->version != 20)
        compute_accept(x, head);
    add_to_pack(x, STR(":method"), head->websocket ? STR("CONNECT") : head->method);
    if (head->websocket)
        add_to_pack(x, STR(":protocol"), STR("websocket"));
    add_to_pack(x, STR(":scheme"), STR("http"));
    add_to_pack(x, STR(":path"), head->path);
    add_to_pack(x, STR(":authority"), head->authority);
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        bool is_key = field->id == HTTP_SEC_WEBSOCKET && str_equal_nocase(field->name, STR("sec-websocket-key"));
        if ((forward_request_passes(field) && !(is_key && head->websocket)) || (field->id == HTTP_CONTENT_LENGTH && head->has_content_length))
            add_to_pack(x, field->name, field->value);
    }
    if (head->expect_continue)
        add_to_pack(x, STR("expect"), STR("100-continue"));
    if (head->te_trailers)
        add_to_pack(x, STR("te"), STR("trailers"));
    forward_identity(x, head, principal, add_to_pack, x);
    return x->request_framing == UINT8_MAX ? -ENOMEM : 0;
}

static int back_start(void *self, struct exchange *x)
{
    struct back_stream *stream = self;
    struct back_h2 *b = stream->b;
    struct h2_writer *w = &b->gw->h2->writer;
    nghttp2_data_provider body = h2_body_provider(&stream->out);
    bool has_body = !x->request_done || stream->websocket;
    h2_pack_read(x->request, w);
    int32_t id = w->overflowed ? NGHTTP2_ERR_NOMEM : nghttp2_submit_request(b->s.ng, NULL, w->fields, w->n, has_body ? &body : NULL, stream);
    if (id < 0) {
        back_h2_leave(b); /* stream ids are used up, or memory: either way not this one */
        return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -ECONNABORTED;
    }
    stream->out.stream_id = id;
    stream->request = TAKE(x->request);
    back_h2_send_later(b);
    return 0;
}

static bool back_body(void *self, struct str piece, bool end)
{
    struct back_stream *stream = self;
    bool more = h2_body_write(&stream->out, piece, end);
    spill_free(&stream->request); /* what has passed can't be asked again */
    back_h2_send_later(stream->b);
    return more;
}

static void back_trailers(void *self, const struct http_head *trailers)
{
    struct back_stream *stream = self;
    spill_free(&stream->request);
    h2_body_write_trailers(&stream->out, trailers);
    back_h2_send_later(stream->b);
}

static bool back_is_fluent(void *self)
{
    const struct back_stream *stream = self;
    return h2_body_is_fluent(&stream->out);
}

static void back_resume(void *self)
{
    struct back_stream *stream = self;
    stream->paused = false;
    stream->resume = stream->b->resume = true;
    back_h2_send_later(stream->b);
}

static void back_cancel(void *self)
{
    struct back_stream *stream = self;
    struct back_h2 *b = stream->b;
    stream->x = NULL;
    if (!stream->closed && stream->out.stream_id)
        nghttp2_submit_rst_stream(b->s.ng, NGHTTP2_FLAG_NONE, stream->out.stream_id, NGHTTP2_CANCEL);
    back_stream_free(stream);
    if (b->state != BACK_CLOSED)
        back_h2_send_later(b);
}

const struct back_ops back_h2_ops = {
    .start = back_start,
    .body = back_body,
    .trailers = back_trailers,
    .is_fluent = back_is_fluent,
    .resume = back_resume,
    .cancel = back_cancel,
};

/* ---- the response ---- */

/* The stream's part in the exchange is over, well or badly. */
static void break_stream(struct back_stream *stream, const char *reason)
{
    struct exchange *x = TAKE(stream->x);
    back_cancel(stream);
    if (x)
        exchange_back_broken(x, reason);
}

/* The response is complete. What was left of the request isn't wanted (RFC 9113 section 8.1), and would hold the stream for ever. */
static void response_over(struct back_stream *stream)
{
    if (!stream->link)
        return;
    if (stream->closed)
        back_stream_free(stream);
    else if (nghttp2_session_get_stream_local_close(stream->b->s.ng, stream->out.stream_id) == 0)
        back_cancel(stream);
}

/* A WebSocket's 2xx is told as HTTP/1 would tell it (RFC 8441 section 5, RFC 6455 section 4.2.2). */
static void as_switch(struct back_stream *stream, struct http_head *head)
{
    head->status = 101;
    head->upgrade = head->websocket = true;
    head->upgrade_to = STR("websocket");
    head->has_content_length = false;
    if (stream->x->websocket_accept[0] && head->n_fields < HTTP_FIELDS_MAX)
        head->fields[head->n_fields++] = (struct http_field){ .name = STR("Sec-WebSocket-Accept"), .value = str_of(stream->x->websocket_accept),
                                                              .id = HTTP_SEC_WEBSOCKET };
}

static int take_head(struct back_stream *stream, bool ends_stream)
{
    struct h2_session *s = &stream->b->s;
    struct http_head *head = &s->reader->head;
    struct exchange *x = stream->x;
    enum http_violation violation = h2_reader_finish(s->reader, ends_stream);
    if (violation != HTTP_FINE) {
        break_stream(stream, http_violation_text(violation));
        return h2_glitch(s, GLITCH_REFUSED_HEAD);
    }
    spill_free(&stream->request);
    if (head->status < 200) {
        exchange_response_head(x, head, false);
        return 0;
    }
    back_group_note_success(stream->b->group);
    stream->got_head = true;
    if (stream->websocket && head->status < 300 && !ends_stream)
        as_switch(stream, head);
    if (ends_stream)
        stream->x = NULL;
    exchange_response_head(x, head, ends_stream);
    if (ends_stream)
        response_over(stream);
    return 0;
}

static void pass_end(struct back_stream *stream)
{
    struct exchange *x = TAKE(stream->x);
    struct h2_reader *trailers = TAKE(stream->trailers);
    stream->response_ended = false;
    if (trailers && trailers->head.n_fields)
        exchange_response_trailers(x, &trailers->head);
    else
        exchange_response_body(x, STR_NONE, true);
    free(trailers);
    exchange_response_flush(x);
    response_over(stream);
}

static void open_window(struct back_stream *stream, size_t n)
{
    if (!stream->closed && stream->b->state != BACK_CLOSED)
        nghttp2_session_consume_stream(stream->b->s.ng, stream->out.stream_id, n);
}

/* What was held goes on as long as it is wanted. */
static void deliver(struct back_stream *stream)
{
    struct spill *held = stream->paused ? NULL : TAKE(stream->in);
    if (held && stream->x) {
        size_t n = spill_len(held);
        struct exchange *x = stream->x;
        stream->paused = !exchange_response_body(x, spill_str(held), false);
        exchange_response_flush(x);
        open_window(stream, n);
    }
    spill_free(&held);
    if (stream->x && stream->response_ended && !stream->in && !stream->paused)
        pass_end(stream);
}

void back_h2_deliver_resumed(struct back_h2 *b)
{
    if (!b->resume)
        return;
    b->resume = false;
    struct back_stream *next;
    for (struct back_stream *stream = b->streams; stream; stream = next) {
        next = stream->next;
        if (!stream->resume)
            continue;
        stream->resume = false;
        deliver(stream);
    }
}

static int take_trailers(struct back_stream *stream)
{
    struct h2_session *s = &stream->b->s;
    if (h2_reader_finish(s->reader, true) != HTTP_FINE) {
        break_stream(stream, "the instance sent malformed trailers");
        return h2_glitch(s, GLITCH_REFUSED_HEAD);
    }
    stream->trailers = malloc(sizeof *stream->trailers);
    if (!stream->trailers)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    h2_reader_move(stream->trailers, s->reader);
    stream->response_ended = true;
    deliver(stream);
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct back_stream *stream = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    h2_block_begin(user_data, stream && stream->got_head ? H2_TRAILERS : H2_RESPONSE, true);
    return 0;
}

static struct back_h2 *b_of(struct h2_session *session)
{
    return container_of(session, struct back_h2, s);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = user_data;
    struct back_stream *stream = frame->hd.stream_id ? nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id) : NULL;
    bool ends_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    int r = 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (stream && stream->x && s->reader) {
            stream->touched = true;
            r = stream->got_head ? take_trailers(stream) : take_head(stream, ends_stream);
        }
        h2_block_end(s);
        return r;
    case NGHTTP2_DATA:
        if (stream && stream->x && ends_stream) {
            stream->response_ended = true;
            deliver(stream);
        }
        return h2_note_data_frame(s, frame);
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            back_h2_settings_came(b_of(s));
        return 0;
    case NGHTTP2_GOAWAY:
        back_h2_leave(b_of(s));
        return 0;
    default:
        return 0;
    }
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len, void *user_data)
{
    struct back_stream *stream = nghttp2_session_get_stream_user_data(ng, stream_id);
    struct str piece = str_make((const char *)data, len);
    (void)flags, (void)user_data;
    nghttp2_session_consume_connection(ng, len);
    if (!stream || !stream->x) {
        nghttp2_session_consume_stream(ng, stream_id, len);
        return 0;
    }
    if (stream->paused || stream->in) {
        if (spill_append(&stream->in, piece, HELD_MAX) < 0)
            break_stream(stream, "no memory");
        return 0;
    }
    stream->touched = true;
    struct exchange *x = stream->x;
    bool more = exchange_response_body(x, piece, false);
    stream->paused = stream->x == x && !more;
    open_window(stream, len);
    return 0;
}

static const char *close_reason(uint32_t error)
{
    return error == NGHTTP2_NO_ERROR ? "the instance ended the stream instead of answering" : "the instance reset the stream";
}

static int on_stream_close(nghttp2_session *ng, int32_t stream_id, uint32_t error, void *user_data)
{
    struct back_stream *stream = nghttp2_session_get_stream_user_data(ng, stream_id);
    (void)user_data;
    if (!stream)
        return 0;
    stream->closed = true;
    if (stream->x && stream->response_ended) /* all is here, some of it still held */
        return 0;
    struct exchange *x = TAKE(stream->x);
    struct spill *request = TAKE(stream->request);
    back_stream_free(stream);
    if (x && request && error == NGHTTP2_REFUSED_STREAM) {
        exchange_back_refused(x, request); /* RFC 9113 section 8.7: it was not processed */
        return 0;
    }
    spill_free(&request);
    if (x)
        exchange_back_broken(x, close_reason(error));
    return 0;
}

const nghttp2_session_callbacks *back_h2_callbacks(void)
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
    return callbacks;
}

/* After a reading: what the fronts have collected goes out. */
void back_h2_flush_touched(struct back_h2 *b)
{
    for (struct back_stream *stream = b->streams; stream; stream = stream->next) {
        if (!stream->touched)
            continue;
        stream->touched = false;
        exchange_response_flush(stream->x);
    }
}
