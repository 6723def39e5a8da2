/* HTTP/2 sessions: bytes in, records out, bodies held between. */
#include "gateway/h2_session.h"

#include <errno.h>

enum { PACK_MAX = 128 * 1024, HELD_MAX = 4 * 1024 * 1024, DEFLATE_TABLE = 1024, ACKS_MAX = 100, FRAME_HEAD = 9, FRAME_MIN = 1024 };

struct h2_shared *h2_shared_new(void)
{
    struct h2_shared *shared = malloc(sizeof *shared);
    if (shared)
        *shared = (struct h2_shared){ .held = 0 };
    return shared;
}

/* ---- nghttp2's memory ---- */

static bool is_shared_buffer(const struct h2_shared *shared, const void *p)
{
    return p == (const void *)shared->frame_buffer;
}

static void *mem_malloc(size_t size, void *shared)
{
    (void)shared;
    return malloc(size);
}

static void *mem_calloc(size_t n, size_t size, void *shared)
{
    (void)shared;
    return calloc(n, size);
}

static void mem_free(void *p, void *shared)
{
    if (!is_shared_buffer(shared, p))
        free(p);
}

/* The only large block of a session's start is its frame buffer (larger heads than it holds chain blocks of their own later). */
static void *mem_realloc(void *p, size_t size, void *user)
{
    struct h2_shared *shared = user;
    if (!p && !shared->frame_buffer_given && size > sizeof shared->frame_buffer - 1024 && size <= sizeof shared->frame_buffer) {
        shared->frame_buffer_given = true;
        return shared->frame_buffer;
    }
    if (!is_shared_buffer(shared, p))
        return realloc(p, size);
    void *own = malloc(size);
    if (own)
        memcpy(own, p, size < sizeof shared->frame_buffer ? size : sizeof shared->frame_buffer);
    return own;
}

/* ---- out ---- */

static void link_stalled(struct h2_body *body)
{
    struct h2_session *session = body->session;
    if (body->stalled_link)
        return;
    body->stalled_next = session->stalled_bodies;
    body->stalled_link = &session->stalled_bodies;
    if (body->stalled_next)
        body->stalled_next->stalled_link = &body->stalled_next;
    session->stalled_bodies = body;
}

static void unlink_stalled(struct h2_body *body)
{
    if (!body->stalled_link)
        return;
    *body->stalled_link = body->stalled_next;
    if (body->stalled_next)
        body->stalled_next->stalled_link = body->stalled_link;
    body->stalled_link = NULL;
}

static void record_write(struct h2_session *session)
{
    struct h2_shared *shared = session->gw->h2;
    if (shared->record_len)
        (void)!transport_write(session->t, str_make(shared->record, shared->record_len)); /* a failure shows as an event */
    shared->record_len = 0;
}

static void record_append(struct h2_session *session, struct str bytes)
{
    struct h2_shared *shared = session->gw->h2;
    size_t cap = session->t->ssl ? sizeof shared->record : sizeof shared->record - 1; /* plain transports gather what is smaller */
    while (bytes.len) {
        size_t n = cap - shared->record_len < bytes.len ? cap - shared->record_len : bytes.len;
        memcpy(shared->record + shared->record_len, bytes.ptr, n);
        shared->record_len += n;
        bytes = str_skip(bytes, n);
        if (shared->record_len == cap)
            record_write(session);
    }
}

/* Bodies that were put off may be asked for again. */
static void wake_stalled(struct h2_session *session)
{
    while (session->stalled_bodies) {
        struct h2_body *body = session->stalled_bodies;
        unlink_stalled(body);
        nghttp2_session_resume_data(session->ng, body->stream_id);
    }
}

int h2_send(struct h2_session *session)
{
    struct h2_shared *shared = session->gw->h2;
    if (session->busy || shared->sending)
        return 0;
    session->busy = shared->sending = true;
    int r = 0;
    if (!transport_is_congested(session->t))
        wake_stalled(session);
    while (!transport_is_congested(session->t) && !session->t->failed) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(session->ng, &data);
        if (n <= 0) {
            r = n < 0 ? -EPROTO : 0;
            break;
        }
        record_append(session, str_make((const char *)data, (size_t)n));
    }
    record_write(session);
    session->busy = shared->sending = false;
    int flushed = transport_flush(session->t);
    return r < 0 ? r : flushed < 0 ? flushed : 0;
}

/* ---- in ---- */

static bool owns_reader(const struct h2_session *session)
{
    return session->reader && session->reader != &session->gw->h2->reader;
}

/* The worker's reader is for whoever is next; a block that goes on later takes its own along. */
static int park_reader(struct h2_session *session)
{
    if (!session->reader || owns_reader(session))
        return 0;
    struct h2_reader *own = malloc(sizeof *own);
    if (!own)
        return -ENOMEM;
    h2_reader_move(own, session->reader);
    session->reader = own;
    return 0;
}

void h2_block_begin(struct h2_session *session, enum h2_head_kind kind, bool from_instance)
{
    h2_block_end(session);
    session->reader = &session->gw->h2->reader;
    h2_reader_start(session->reader, kind, from_instance);
}

void h2_block_end(struct h2_session *session)
{
    if (owns_reader(session))
        free(session->reader);
    session->reader = NULL;
}

int h2_note_data_frame(struct h2_session *session, const nghttp2_frame *frame)
{
    bool says_nothing = frame->hd.length > 0 && frame->hd.length == frame->data.padlen && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    return says_nothing ? h2_glitch(session, GLITCH_EMPTY_DATA) : 0;
}

int h2_receive(struct h2_session *session, const char *data, size_t len)
{
    session->busy = true;
    ssize_t n = nghttp2_session_mem_recv(session->ng, (const uint8_t *)data, len);
    session->busy = false;
    if (n < 0 || (size_t)n != len)
        return -EPROTO;
    return park_reader(session);
}

static int apply_verdict(struct h2_session *session, enum glitch_verdict verdict)
{
    if (verdict > GLITCH_FINE && session->verdict == GLITCH_FINE) /* what is open may end; nothing new */
        nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session->ng), NGHTTP2_ENHANCE_YOUR_CALM,
                              NULL, 0);
    if (verdict > session->verdict)
        session->verdict = (uint8_t)verdict;
    return session->verdict == GLITCH_CUT ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

int h2_glitch(struct h2_session *session, enum glitch_event event)
{
    return apply_verdict(session, glitch_add(&session->glitch, event, session->gw->loop.now_ms));
}

/* ---- callbacks of both sides ---- */

/* Every frame, before its payload: what nghttp2 would pass over in silence still counts. */
static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2_session *session = user_data;
    bool is_ack = hd->flags & NGHTTP2_FLAG_ACK;
    (void)ng;
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM) ? h2_glitch(session, GLITCH_EMPTY_DATA) : 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_GOAWAY:
    case NGHTTP2_PUSH_PROMISE:
        return 0;
    case NGHTTP2_SETTINGS: {
        bool is_first = !session->settings_seen;
        session->settings_seen = true;
        return is_ack || is_first ? 0 : h2_glitch(session, GLITCH_SETTINGS);
    }
    case NGHTTP2_PING:
        return is_ack ? 0 : h2_glitch(session, GLITCH_PING);
    case NGHTTP2_CONTINUATION:
        return h2_glitch(session, GLITCH_CONTINUATION);
    case NGHTTP2_WINDOW_UPDATE:
        return apply_verdict(session, glitch_add_window_update(&session->glitch, session->gw->loop.now_ms));
    case NGHTTP2_PRIORITY:
    case NGHTTP2_PRIORITY_UPDATE:
        return h2_glitch(session, GLITCH_PRIORITY);
    default:
        return h2_glitch(session, GLITCH_UNKNOWN_FRAME);
    }
}

/* Frames of unknown types are ours to see, so that on_begin_frame counts them, and to ignore (RFC 9113 section 5.5). */
static int on_unknown_payload(nghttp2_session *ng, const nghttp2_frame_hd *hd, const uint8_t *data, size_t len, void *user_data)
{
    (void)ng, (void)hd, (void)data, (void)len, (void)user_data;
    return 0;
}

static int on_unknown_frame(nghttp2_session *ng, void **payload, const nghttp2_frame_hd *hd, void *user_data)
{
    (void)ng, (void)payload, (void)hd, (void)user_data;
    return NGHTTP2_ERR_CANCEL;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user_data)
{
    (void)ng, (void)frame, (void)error;
    h2_block_end(user_data);
    return h2_glitch(user_data, GLITCH_BROKEN_FRAME);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t value_len, uint8_t flags, void *user_data)
{
    struct h2_session *session = user_data;
    (void)ng, (void)frame, (void)flags;
    if (session->reader)
        h2_reader_add(session->reader, str_make((const char *)name, name_len), str_make((const char *)value, value_len));
    return 0;
}

/* What nghttp2 would drop and go on is refused by our rules too; where they have no word for it, the stream ends here. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *user_data)
{
    struct h2_session *session = user_data;
    on_header(ng, frame, name, name_len, value, value_len, flags, user_data);
    if (session->reader && session->reader->violation != HTTP_FINE)
        return 0;
    h2_block_end(session);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

bool h2_hold(struct h2_session *session, size_t n, uint32_t share)
{
    if (session->gw->h2->held + n > H2_HELD_WORKER && session->held > share)
        return false;
    session->held += (uint32_t)n;
    session->gw->h2->held += n;
    return true;
}

void h2_let_go(struct h2_session *session, size_t n)
{
    session->held -= (uint32_t)n;
    session->gw->h2->held -= n;
}

/* Where a frame's head may be written so that the frame stands in one piece: over bytes before its payload that are sent already, and are ours
 * to write to. NULL: there is no such place. */
static char *place_for_head(const struct h2_session *session, const struct h2_body *body)
{
    const struct gateway *gw = session->gw;
    char *const scratches[] = { gw->plain_back, gw->plain_in };
    if (!session->t->ssl || body->direct_sent < FRAME_HEAD)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(scratches); i++) {
        uintptr_t offset = (uintptr_t)body->direct.ptr - (uintptr_t)scratches[i];
        if (offset < GATEWAY_BULK_SIZE)
            return scratches[i] + offset - FRAME_HEAD;
    }
    return NULL;
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *framehd, size_t length, nghttp2_data_source *source,
                        void *user_data)
{
    struct h2_session *session = user_data;
    struct h2_body *body = source->ptr;
    (void)ng, (void)frame;
    struct str held = str_first(spill_str(body->held), length);
    char *place = held.len == 0 && length ? place_for_head(session, body) : NULL;
    if (place) {
        memcpy(place, framehd, FRAME_HEAD);
        record_write(session);
        (void)!transport_write(session->t, str_make(place, FRAME_HEAD + length));
    } else {
        record_append(session, str_make((const char *)framehd, FRAME_HEAD));
        record_append(session, held);
        record_append(session, str_first(body->direct, length - held.len));
    }
    body->direct = str_skip(body->direct, length - held.len);
    body->direct_sent += length - held.len;
    h2_let_go(session, held.len);
    spill_consume(&body->held, held.len);
    body->progress_ms = session->gw->loop.now_ms;
    glitch_earn_updates(&session->glitch);
    if (body->congested && !body->ended && spill_len(body->held) + body->direct.len < H2_HELD_LOW && body->direct.len == 0) {
        body->congested = false;
        body->drained(body);
    }
    return 0;
}

static ssize_t on_read_body(nghttp2_session *ng, int32_t stream_id, uint8_t *buffer, size_t length, uint32_t *flags, nghttp2_data_source *source,
                            void *user_data)
{
    struct h2_session *session = user_data;
    struct h2_body *body = source->ptr;
    size_t left = spill_len(body->held) + body->direct.len;
    (void)buffer;
    if (transport_has_gathered(session->t)) {
        record_write(session);
        transport_flush(session->t);
    }
    if (transport_is_congested(session->t) || session->t->failed) {
        link_stalled(body);
        return NGHTTP2_ERR_DEFERRED;
    }
    if (left == 0 && !body->ended) {
        body->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    /* A frame that ends with its TLS record: the next begins one, and needs no copy to share it. */
    size_t room = sizeof session->gw->h2->record - session->gw->h2->record_len;
    if (session->t->ssl && room >= FRAME_MIN && length > room - FRAME_HEAD)
        length = room - FRAME_HEAD;
    if (left > length)
        return (ssize_t)length;
    if (body->ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        struct h2_writer *writer = &session->gw->h2->writer;
        if (body->trailers) {
            h2_pack_read(body->trailers, writer);
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(ng, stream_id, writer->fields, writer->n) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)left;
}

nghttp2_session_callbacks *h2_callbacks_new(void)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(callbacks, on_unknown_payload);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_unknown_frame);
    return callbacks;
}

/* ---- sessions ---- */

static int session_new(struct h2_session *session, const nghttp2_session_callbacks *callbacks, nghttp2_option *option, bool server)
{
    nghttp2_option_set_no_auto_window_update(option, 1); /* a window opens again when its data has gone on: back-pressure */
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, DEFLATE_TABLE);
    nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(option, H2_STREAMS_MAX);
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
    struct h2_shared *shared = session->gw->h2;
    nghttp2_mem mem = { .mem_user_data = shared, .malloc = mem_malloc, .free = mem_free, .calloc = mem_calloc, .realloc = mem_realloc };
    shared->frame_buffer_given = !server; /* a client's preface is put there at once, and waits */
    int r = server ? nghttp2_session_server_new3(&session->ng, callbacks, session, option, &mem)
                   : nghttp2_session_client_new3(&session->ng, callbacks, session, option, &mem);
    shared->frame_buffer_given = true;
    return r;
}

int h2_session_init(struct h2_session *session, const nghttp2_session_callbacks *callbacks, bool server)
{
    static const nghttp2_settings_entry of_server[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEAD_LIST_MAX },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    static const nghttp2_settings_entry of_client[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 2 * H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEAD_LIST_MAX },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    nghttp2_option *option;
    if (nghttp2_option_new(&option) != 0)
        return -ENOMEM;
    int r = session_new(session, callbacks, option, server);
    nghttp2_option_del(option);
    if (r == 0)
        r = server ? nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, of_server, ARRAY_SIZE(of_server))
                   : nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, of_client, ARRAY_SIZE(of_client));
    if (r == 0)
        r = nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
    if (r == 0)
        return 0;
    h2_session_deinit(session);
    return -ENOMEM;
}

void h2_session_deinit(struct h2_session *session)
{
    h2_block_end(session);
    nghttp2_session_del(TAKE(session->ng));
}

/* ---- packs: two lengths, name, value ---- */

struct pack_lengths {
    uint32_t name, value;
};

int h2_pack_add(struct spill **pack, struct str name, struct str value)
{
    struct pack_lengths lengths = { (uint32_t)name.len, (uint32_t)value.len };
    int r = spill_append(pack, str_make((const char *)&lengths, sizeof lengths), PACK_MAX);
    if (r == 0)
        r = spill_append(pack, name, PACK_MAX);
    return r == 0 ? spill_append(pack, value, PACK_MAX) : r;
}

void h2_pack_read(const struct spill *pack, struct h2_writer *writer)
{
    struct str rest = spill_str(pack);
    h2_writer_start(writer);
    while (rest.len) {
        struct pack_lengths lengths;
        memcpy(&lengths, rest.ptr, sizeof lengths);
        rest = str_skip(rest, sizeof lengths);
        struct str name = str_first(rest, lengths.name);
        struct str value = str_first(str_skip(rest, lengths.name), lengths.value);
        rest = str_skip(rest, (size_t)lengths.name + lengths.value);
        h2_writer_add(writer, name, value, false);
    }
}

/* ---- bodies ---- */

nghttp2_data_provider h2_body_provider(struct h2_body *body)
{
    return (nghttp2_data_provider){ .source = { .ptr = body }, .read_callback = on_read_body };
}

static void body_wake(struct h2_body *body)
{
    if (!body->waiting)
        return;
    body->waiting = false;
    nghttp2_session_resume_data(body->session->ng, body->stream_id);
}

/* What is left of a piece stays with us; when everybody holds too much, those who hold most go first. */
static void body_hold(struct h2_body *body, struct str piece)
{
    struct h2_session *session = body->session;
    bool counted = h2_hold(session, piece.len, H2_HELD_CONNECTION);
    if (!counted || spill_append(&body->held, piece, HELD_MAX) < 0) {
        if (counted)
            h2_let_go(session, piece.len);
        nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, body->stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    if (piece.len && spill_len(body->held) == piece.len)
        body->progress_ms = session->gw->loop.now_ms;
}

bool h2_body_write(struct h2_body *body, struct str piece, bool end)
{
    struct h2_session *session = body->session;
    body->ended |= end;
    if (piece.len >= H2_DIRECT_MIN && !session->busy && !session->gw->h2->sending && !transport_is_congested(session->t)) {
        body->direct = piece;
        body->direct_sent = 0;
        body_wake(body);
        h2_send(session);
        piece = body->direct;
        body->direct = STR_NONE;
        if (body->closed)
            return true;
    }
    body_hold(body, piece);
    body_wake(body);
    if (!end && spill_len(body->held) >= H2_HELD_LOW)
        body->congested = true;
    return !body->congested;
}

bool h2_body_is_fluent(const struct h2_body *body)
{
    const struct h2_session *session = body->session;
    return !body->held && transport_is_fluent(session->t) &&
           nghttp2_session_get_remote_window_size(session->ng) >= GATEWAY_BULK_SIZE &&
           nghttp2_session_get_stream_remote_window_size(session->ng, body->stream_id) >= GATEWAY_BULK_SIZE;
}

void h2_body_write_trailers(struct h2_body *body, const struct http_head *trailers)
{
    for (uint32_t i = 0; i < trailers->n_fields; i++)
        if (h2_pack_add(&body->trailers, trailers->fields[i].name, trailers->fields[i].value) < 0)
            break;
    body->ended = true;
    body_wake(body);
}

void h2_body_deinit(struct h2_body *body)
{
    body->closed = true;
    unlink_stalled(body);
    if (body->held)
        h2_let_go(body->session, spill_len(body->held));
    spill_free(&body->held);
    spill_free(&body->trailers);
}
