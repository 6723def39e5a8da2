/* HTTP/1.1 as a plain, forgiving server speaks it; written apart from src/http, so that a mistake there is not mirrored here. */
#include <errno.h>
#include <stdlib.h>

#include "standin/standin.h"

enum reading { READ_HEAD, READ_LENGTH, READ_CHUNK_LINE, READ_CHUNK, READ_CHUNK_END, READ_TRAILERS, READ_DONE };

struct http1 {
    enum reading reading;
    uint64_t left;           /* of the body or chunk */
    struct request request;
    struct answer answer;
    bool has_request, answering, head_sent, continue_due, keep_alive;
};

static void http1_clear(struct http1 *http)
{
    if (http->has_request)
        request_deinit(&http->request);
    if (http->answering)
        answer_deinit(&http->answer);
    *http = (struct http1){ .reading = READ_HEAD };
}

static int http1_start(struct connection *connection)
{
    connection->state = calloc(1, sizeof(struct http1));
    return connection->state ? 0 : -ENOMEM;
}

static void http1_stop(struct connection *connection)
{
    struct http1 *http = connection->state;
    if (http) {
        http1_clear(http);
        free(http);
    }
    connection->state = NULL;
}

static int http1_refuse(struct connection *connection)
{
    buf_printf(&connection->out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    connection->finish = true;
    return connection->out.error;
}

/* The next line of rest without its end; false when there is no whole one. */
static bool http1_line(struct str *rest, struct str *ret_line)
{
    size_t end = str_find_char(*rest, '\n');
    if (end == rest->len)
        return false;
    struct str line = str_first(*rest, end);
    *rest = str_skip(*rest, end + 1);
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    return true;
}

static bool http1_parse_head(struct request *request)
{
    struct str rest = buf_str(&request->head), line;
    if (!http1_line(&rest, &line))
        return false;
    request->method = str_split(&line, ' ');
    request->target = str_split(&line, ' ');
    if (!request->method.len || !request->target.len || !str_starts_with(line, STR("HTTP/1.")))
        return false;
    while (http1_line(&rest, &line) && line.len) {
        if (request->n_fields == STANDIN_FIELDS_MAX)
            return false;
        struct str name = str_split(&line, ':');
        request->fields[request->n_fields++] = (struct request_field){ name, str_trim(line) };
    }
    request_split_target(request);
    request->authority = request_field(request, STR("host"));
    request->is_head = str_equal(request->method, STR("HEAD"));
    return true;
}

/* Where the head that begins in ends (past its empty line), or 0. */
static size_t http1_head_end(struct str in)
{
    const char *end = in.len ? memmem(in.ptr, in.len, "\r\n\r\n", 4) : NULL;
    return end ? (size_t)(end - in.ptr) + 4 : 0;
}

static int http1_answer(struct connection *connection, struct http1 *http)
{
    answer_init(&http->answer);
    http->answering = true;
    return answer_make(&http->answer, connection, &http->request);
}

/* Takes a head from in. 0: taken or not whole yet (*ret_taken); 1: the connection is another protocol's now. */
static int http1_take_head(struct connection *connection, struct http1 *http, bool *ret_taken)
{
    size_t end = http1_head_end(buf_str(&connection->in));
    *ret_taken = false;
    if (!end)
        return connection->in.len > STANDIN_HEAD_MAX ? http1_refuse(connection) : 0;
    *ret_taken = true;
    struct request *request = &http->request;
    request_init(request);
    http->has_request = true;
    connection->n_requests++;
    buf_append(&request->head, str_first(buf_str(&connection->in), end));
    buf_consume(&connection->in, end);
    if (request->head.error || !http1_parse_head(request))
        return http1_refuse(connection);

    int result;
    if (evil_take(connection, request, &result))
        return result < 0 ? result : 1;
    if (str_equal(request->path, STR("/ws")) && request_field(request, STR("upgrade")).len) {
        result = websocket_take(connection, request);
        return result == -EPROTO ? http1_refuse(connection) : result < 0 ? result : 1;
    }
    struct str coding = request_field(request, STR("transfer-encoding")), length = request_field(request, STR("content-length"));
    if (coding.len)
        http->reading = READ_CHUNK_LINE;
    else if (length.len && !str_to_u64(length, UINT64_MAX, &http->left))
        return http1_refuse(connection);
    else
        http->reading = http->left ? READ_LENGTH : READ_DONE;
    http->keep_alive = !str_equal_nocase(request_field(request, STR("connection")), STR("close"));
    if (answer_needs_digest(request) && http->reading != READ_DONE) {
        request->digest = EVP_MD_CTX_new();
        if (!request->digest || !EVP_DigestInit_ex(request->digest, EVP_sha256(), NULL))
            return -ENOMEM;
    }
    bool refused = str_equal(request->path, STR("/refuse"));
    if (!refused && str_equal_nocase(request_field(request, STR("expect")), STR("100-continue")))
        buf_append(&connection->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    return answer_needs_body(request) ? 0 : http1_answer(connection, http);
}

static void http1_body(struct connection *connection, struct http1 *http, size_t n)
{
    struct str piece = str_first(buf_str(&connection->in), n);
    request_body(&http->request, piece);
    if (http->answering && http->answer.body == BODY_ECHO)
        buf_append(&http->answer.text, piece);
    buf_consume(&connection->in, n);
    http->left -= n;
}

static bool hex_u64(struct str text, uint64_t *ret)
{
    uint64_t value = 0;
    if (!text.len || text.len > 15)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = str_lower_char(text.ptr[i]);
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = value;
    return true;
}

/* One step of the body. 1: something was taken; 0: needs more; negative errno. */
static int http1_take_body(struct connection *connection, struct http1 *http)
{
    struct str rest = buf_str(&connection->in), line;
    size_t room = SIZE_MAX;
    if (http->answering && http->answer.body == BODY_ECHO)
        room = http->answer.text.len < STANDIN_OUT_HIGH ? STANDIN_OUT_HIGH - http->answer.text.len : 0;

    switch (http->reading) {
    case READ_LENGTH:
    case READ_CHUNK: {
        size_t n = rest.len < http->left ? rest.len : (size_t)http->left;
        if (n > room)
            n = room;
        http1_body(connection, http, n);
        if (http->left == 0)
            http->reading = http->reading == READ_CHUNK ? READ_CHUNK_END : READ_DONE;
        return n > 0;
    }
    case READ_CHUNK_LINE: {
        if (!http1_line(&rest, &line))
            return 0;
        struct str size = str_split(&line, ';');
        if (!hex_u64(size, &http->left))
            return -EPROTO;
        http->reading = http->left ? READ_CHUNK : READ_TRAILERS;
        buf_consume(&connection->in, connection->in.len - rest.len);
        return 1;
    }
    case READ_CHUNK_END:
        if (!http1_line(&rest, &line))
            return 0;
        if (line.len)
            return -EPROTO;
        http->reading = READ_CHUNK_LINE;
        buf_consume(&connection->in, connection->in.len - rest.len);
        return 1;
    case READ_TRAILERS:
        if (!http1_line(&rest, &line))
            return 0;
        if (line.len) {
            struct str name = str_split(&line, ':');
            buf_printf(&http->request.trailers, "%s[", http->request.trailers.len ? "," : "");
            buf_append_json(&http->request.trailers, name);
            buf_append_char(&http->request.trailers, ',');
            buf_append_json(&http->request.trailers, str_trim(line));
            buf_append_char(&http->request.trailers, ']');
        } else {
            http->reading = READ_DONE;
        }
        buf_consume(&connection->in, connection->in.len - rest.len);
        return 1;
    case READ_HEAD:
    case READ_DONE: break;
    }
    return 0;
}

static int http1_data(struct connection *connection)
{
    struct http1 *http = connection->state;
    int r = 0;
    if (http->reading == READ_HEAD) {
        bool taken;
        if (connection->eof && !connection->in.len) {
            connection->finish = true;
            return 0;
        }
        r = http1_take_head(connection, http, &taken);
        if (r == 1 || r < 0 || !taken || connection->finish)
            return r == 1 ? 0 : r;
    }
    do
        r = http1_take_body(connection, http);
    while (r == 1);
    if (r < 0)
        return r;
    if (http->reading == READ_DONE) {
        if (!http->answering)
            r = http1_answer(connection, http);
        http->answer.echo_end = true;
    } else if (connection->eof && !connection->in.len) {
        return -ECONNRESET;
    }
    return r;
}

static void http1_send_head(struct connection *connection, struct http1 *http)
{
    struct answer *answer = &http->answer;
    struct buf *out = &connection->out;
    bool bodiless = answer->status == 204 || answer->status == 304;
    buf_printf(out, "HTTP/1.1 %u %s\r\n", answer->status, answer_reason(answer->status));
    buf_append(out, buf_str(&answer->fields));
    if (!bodiless && answer->has_length)
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)answer->length);
    else if (!bodiless)
        buf_append(out, STR("Transfer-Encoding: chunked\r\n"));
    if (answer->close || !http->keep_alive)
        buf_append(out, STR("Connection: close\r\n"));
    buf_append(out, STR("\r\n"));
    if (bodiless || http->request.is_head)
        answer->body = BODY_NONE;
    http->head_sent = true;
}

static void http1_finish(struct connection *connection, struct http1 *http)
{
    struct answer *answer = &http->answer;
    if (!answer->has_length && answer->status != 204 && answer->status != 304 && !http->request.is_head) {
        buf_append(&connection->out, STR("0\r\n"));
        buf_append(&connection->out, buf_str(&answer->trailers));
        buf_append(&connection->out, STR("\r\n"));
    }
    /* A body that nobody wants any more is not read: the connection ends instead. */
    connection->finish = answer->close || !http->keep_alive || http->reading != READ_DONE;
    http1_clear(http);
}

static int http1_pump(struct connection *connection)
{
    struct http1 *http = connection->state;
    if (!http->answering)
        return 0;
    struct answer *answer = &http->answer;
    if (!http->head_sent) {
        if (answer->early.len) {
            buf_printf(&connection->out, "HTTP/1.1 103 Early Hints\r\n%.*s\r\n", STR_ARG(buf_str(&answer->early)));
            buf_clear(&answer->early);
        }
        if (answer->not_before_ms > connection->standin->now_ms) {
            connection->wake_ms = answer->not_before_ms;
            return 0;
        }
        http1_send_head(connection, http);
    }
    bool end = false;
    while (!end && connection->out.len < STANDIN_OUT_HIGH) {
        static char piece[64 << 10];
        uint64_t wake_ms;
        size_t n = answer_pull(answer, piece, sizeof(piece), connection->standin->now_ms, &end, &wake_ms);
        if (n && !answer->has_length)
            buf_printf(&connection->out, "%zx\r\n", n);
        buf_append(&connection->out, str_make(piece, n));
        if (n && !answer->has_length)
            buf_append(&connection->out, STR("\r\n"));
        if (wake_ms) {
            connection->wake_ms = wake_ms == UINT64_MAX ? 0 : wake_ms;
            return connection->out.error;
        }
    }
    if (end)
        http1_finish(connection, http);
    return connection->out.error;
}

const struct protocol protocol_http1 = { "http/1.1", http1_start, http1_data, http1_pump, http1_stop };
