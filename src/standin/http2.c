/* HTTP/2 with prior knowledge, by nghttp2: the same routes as HTTP/1.1, gRPC's trailers included. */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "standin/standin.h"

struct stream {
    int32_t id;
    struct request request;
    struct answer answer;
    bool answering, submitted, reset;
    uint64_t wake_ms;
    struct stream *next, **link;
};

struct http2 {
    nghttp2_session *session;
    struct connection *connection;
    struct stream *streams;
};

static void stream_free(struct stream *stream)
{
    request_deinit(&stream->request);
    if (stream->answering)
        answer_deinit(&stream->answer);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    free(stream);
}

static int stream_pull(struct stream *stream, struct http2 *http, uint8_t *data, size_t size, uint32_t *flags)
{
    bool end;
    size_t n = answer_pull(&stream->answer, (char *)data, size, http->connection->standin->now_ms, &end, &stream->wake_ms);
    if (end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->answer.trailers.len)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        return (int)n;
    }
    return n ? (int)n : NGHTTP2_ERR_DEFERRED;
}

/* "Name: value" lines as header fields, in lower case (RFC 9113 section 8.2.1), into nv; returns how many. */
static size_t lines_to_nv(struct buf *lines, nghttp2_nv *nv, size_t max)
{
    struct str rest = buf_str(lines);
    size_t n = 0;
    while (rest.len && n < max) {
        struct str value = str_split(&rest, '\n'), name = str_split(&value, ':');
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        value = str_trim(value);
        char *lower = (char *)lines->ptr + (name.ptr - lines->ptr);
        for (size_t i = 0; i < name.len; i++)
            lower[i] = str_lower_char(lower[i]);
        nv[n++] = (nghttp2_nv){ (uint8_t *)lower, (uint8_t *)(uintptr_t)value.ptr, name.len, value.len, NGHTTP2_NV_FLAG_NONE };
    }
    return n;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t size, uint32_t *flags, nghttp2_data_source *source,
                               void *user)
{
    struct stream *stream = source->ptr;
    int n = stream_pull(stream, user, data, size, flags);
    if (n > 0 && stream->answer.body == BODY_ECHO) /* only what has gone back makes room for more */
        nghttp2_session_consume(session, id, (size_t)n);
    if (*flags & NGHTTP2_DATA_FLAG_NO_END_STREAM) {
        nghttp2_nv nv[16];
        size_t count = lines_to_nv(&stream->answer.trailers, nv, ARRAY_SIZE(nv));
        if (nghttp2_submit_trailer(session, id, nv, count) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return n;
}

static int stream_submit(struct http2 *http, struct stream *stream)
{
    struct answer *answer = &stream->answer;
    nghttp2_nv nv[STANDIN_FIELDS_MAX];
    if (answer->early.len) {
        nv[0] = (nghttp2_nv){ (uint8_t *)":status", (uint8_t *)"103", 7, 3, NGHTTP2_NV_FLAG_NONE };
        size_t n = 1 + lines_to_nv(&answer->early, nv + 1, 8);
        nghttp2_submit_headers(http->session, NGHTTP2_FLAG_NONE, stream->id, NULL, nv, n, NULL);
        buf_clear(&answer->early);
    }
    if (answer->not_before_ms > http->connection->standin->now_ms) {
        stream->wake_ms = answer->not_before_ms;
        return 0;
    }
    char status[4] = { (char)('0' + answer->status / 100 % 10), (char)('0' + answer->status / 10 % 10), (char)('0' + answer->status % 10), 0 };
    bool bodiless = answer->status == 204 || answer->status == 304;
    if (answer->has_length && !bodiless && answer->body != BODY_NONE)
        buf_printf(&answer->fields, "Content-Length: %llu\r\n", (unsigned long long)answer->length);
    if (bodiless || stream->request.is_head)
        answer->body = BODY_NONE;
    nv[0] = (nghttp2_nv){ (uint8_t *)":status", (uint8_t *)status, 7, 3, NGHTTP2_NV_FLAG_NONE };
    size_t n = 1 + lines_to_nv(&answer->fields, nv + 1, ARRAY_SIZE(nv) - 1);
    nghttp2_data_provider provider = { .source.ptr = stream, .read_callback = read_body };
    stream->submitted = true;
    return nghttp2_submit_response(http->session, stream->id, nv, n, answer->body == BODY_NONE ? NULL : &provider) ? -EPROTO : 0;
}

static int stream_answer(struct http2 *http, struct stream *stream)
{
    struct str path = stream->request.path;
    http->connection->n_requests++;
    if (str_equal(path, STR("/evil/reset"))) {
        stream->reset = true;
        return nghttp2_submit_rst_stream(http->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR) ? -EPROTO : 0;
    }
    if (str_equal(path, STR("/evil/refused-stream"))) {
        stream->reset = true;
        return nghttp2_submit_rst_stream(http->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_REFUSED_STREAM) ? -EPROTO : 0;
    }
    if (str_equal(path, STR("/evil/stall")))
        return 0;
    if (str_equal(path, STR("/evil/close")))
        return -ECONNABORTED;
    if (str_equal(path, STR("/evil/connection-reset"))) {
        http->connection->reset = true;
        return 0;
    }
    if (str_equal(path, STR("/evil/garbage"))) {
        buf_append(&http->connection->out, STR("this is no frame, and never will be one"));
        return 0;
    }
    answer_init(&stream->answer);
    stream->answering = true;
    int r = answer_make(&stream->answer, http->connection, &stream->request);
    if (str_equal(path, STR("/goaway")))
        nghttp2_submit_goaway(http->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR, NULL, 0);
    return r < 0 ? r : stream_submit(http, stream);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2 *http = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    request_init(&stream->request);
    /* Reserved whole, so that the slices of the fields stay where they are. */
    if (!buf_reserve(&stream->request.head, 64 << 10)) {
        request_deinit(&stream->request);
        free(stream);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    stream->id = frame->hd.stream_id;
    stream->link = &http->streams;
    stream->next = http->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    http->streams = stream;
    nghttp2_session_set_stream_user_data(session, stream->id, stream);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
                     size_t value_length, uint8_t flags, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct str n = str_make((const char *)name, name_length), v = str_make((const char *)value, value_length);
    (void)flags;
    (void)user;
    if (!stream)
        return 0;
    struct request *request = &stream->request;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        buf_printf(&request->trailers, "%s[", request->trailers.len ? "," : "");
        buf_append_json(&request->trailers, n);
        buf_append_char(&request->trailers, ',');
        buf_append_json(&request->trailers, v);
        buf_append_char(&request->trailers, ']');
        return 0;
    }
    if (request->head.len + name_length + value_length > request->head.cap || request->n_fields == STANDIN_FIELDS_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct str kept_name = str_make(request->head.ptr + request->head.len, name_length);
    buf_append(&request->head, n);
    struct str kept = str_make(request->head.ptr + request->head.len, value_length);
    buf_append(&request->head, v);
    if (str_equal(n, STR(":method")))
        request->method = kept;
    else if (str_equal(n, STR(":path")))
        request->target = kept;
    else if (str_equal(n, STR(":authority")))
        request->authority = kept;
    else if (n.len && n.ptr[0] != ':')
        request->fields[request->n_fields++] = (struct request_field){ kept_name, kept };
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2 *http = user;
    struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    int r = 0;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct request *request = &stream->request;
        request_split_target(request);
        request->is_head = str_equal(request->method, STR("HEAD"));
        if (answer_needs_digest(request) && !end) {
            request->digest = EVP_MD_CTX_new();
            if (!request->digest || !EVP_DigestInit_ex(request->digest, EVP_sha256(), NULL))
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        if (end || !answer_needs_body(request))
            r = stream_answer(http, stream);
    } else if (end && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && !stream->answering) {
        r = stream_answer(http, stream);
    }
    if (end && stream->answering) {
        stream->answer.echo_end = true;
        nghttp2_session_resume_data(session, stream->id);
    }
    return r < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
    (void)flags;
    (void)user;
    if (stream)
        request_body(&stream->request, str_make((const char *)data, length));
    if (stream && stream->answering && stream->answer.body == BODY_ECHO) {
        buf_append(&stream->answer.text, str_make((const char *)data, length));
        nghttp2_session_resume_data(session, id);
        return 0;
    }
    nghttp2_session_consume(session, id, length);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
    (void)error;
    (void)user;
    if (stream)
        stream_free(stream);
    return 0;
}

static int http2_start(struct connection *connection)
{
    struct http2 *http = calloc(1, sizeof(*http));
    nghttp2_session_callbacks *callbacks = NULL;
    connection->state = http;
    if (!http || nghttp2_session_callbacks_new(&callbacks) != 0)
        return -ENOMEM;
    http->connection = connection;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option *option = NULL;
    int r = nghttp2_option_new(&option);
    if (r == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        r = nghttp2_session_server_new2(&http->session, callbacks, http, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (r != 0)
        return -ENOMEM;
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 256 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 256 << 10 },
    };
    if (nghttp2_submit_settings(http->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)) != 0 ||
        nghttp2_session_set_local_window_size(http->session, NGHTTP2_FLAG_NONE, 0, 1 << 20) != 0)
        return -ENOMEM;
    return 0;
}

static void http2_stop(struct connection *connection)
{
    struct http2 *http = connection->state;
    if (http) {
        while (http->streams)
            stream_free(http->streams);
        nghttp2_session_del(http->session);
        free(http);
    }
    connection->state = NULL;
}

static int http2_data(struct connection *connection)
{
    struct http2 *http = connection->state;
    if (connection->in.len) {
        ssize_t n = nghttp2_session_mem_recv(http->session, (const uint8_t *)connection->in.ptr, connection->in.len);
        if (n < 0)
            return -EPROTO;
        buf_consume(&connection->in, (size_t)n);
    }
    if (connection->eof)
        connection->finish = true;
    return 0;
}

static int http2_pump(struct connection *connection)
{
    struct http2 *http = connection->state;
    uint64_t now_ms = connection->standin->now_ms;
    for (struct stream *stream = http->streams; stream; stream = stream->next) {
        if (!stream->wake_ms || stream->wake_ms > now_ms)
            continue;
        stream->wake_ms = 0;
        if (!stream->submitted && stream->answering && stream_submit(http, stream) < 0)
            return -EPROTO;
        nghttp2_session_resume_data(http->session, stream->id);
    }
    while (connection->out.len < STANDIN_OUT_HIGH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(http->session, &data);
        if (n < 0)
            return -EPROTO;
        if (n == 0)
            break;
        buf_append(&connection->out, str_make((const char *)data, (size_t)n));
    }
    for (struct stream *stream = http->streams; stream; stream = stream->next)
        if (stream->wake_ms && stream->wake_ms != UINT64_MAX && (!connection->wake_ms || stream->wake_ms < connection->wake_ms))
            connection->wake_ms = stream->wake_ms;
    if (!nghttp2_session_want_read(http->session) && !nghttp2_session_want_write(http->session))
        connection->finish = true;
    return connection->out.error;
}

const struct protocol protocol_http2 = { "h2c", http2_start, http2_data, http2_pump, http2_stop };
