/* The routes: what each path answers. docs of the paths: postern-standin --help. */
#include <errno.h>
#include <stdio.h>

#include "standin/standin.h"

enum { ANSWER_TEXT_MAX = 1 << 20, ECHO_PIECE = 16 << 10 };

void answer_init(struct answer *answer)
{
    *answer = (struct answer){ .status = 200 };
    buf_init(&answer->fields, STANDIN_HEAD_MAX);
    buf_init(&answer->trailers, STANDIN_HEAD_MAX);
    buf_init(&answer->early, STANDIN_HEAD_MAX);
    buf_init(&answer->text, ANSWER_TEXT_MAX);
}

void answer_deinit(struct answer *answer)
{
    buf_deinit(&answer->fields);
    buf_deinit(&answer->trailers);
    buf_deinit(&answer->early);
    buf_deinit(&answer->text);
}

const char *answer_reason(unsigned status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 413: return "Content Too Large";
    case 416: return "Range Not Satisfiable";
    case 503: return "Service Unavailable";
    default: return "Stand-in";
    }
}

static bool is_grpc(const struct request *request)
{
    return str_starts_with(request_field(request, STR("content-type")), STR("application/grpc"));
}

bool answer_needs_body(const struct request *request)
{
    static const char *const at_once[] = { "/events", "/echo", "/refuse", "/early-hints" };
    for (size_t i = 0; i < ARRAY_SIZE(at_once); i++)
        if (str_equal(request->path, str_of(at_once[i])))
            return false;
    return !is_grpc(request);
}

bool answer_needs_digest(const struct request *request)
{
    return answer_needs_body(request) && !str_equal(request->path, STR("/upload"));
}

static void answer_json(struct answer *answer, struct connection *connection, struct request *request)
{
    struct buf *out = &answer->text;
    char peer[ADDRESS_TEXT_SIZE];
    buf_printf(&answer->fields, "Content-Type: application/json\r\n");
    buf_printf(out, "{\"name\":");
    buf_append_json(out, connection->standin->name);
    buf_printf(out, ",\"host\":");
    buf_append_json(out, connection->standin->host);
    buf_printf(out, ",\"protocol\":\"%s%s\",\"method\":", connection->protocol->name, connection->tls ? "+tls" : "");
    buf_append_json(out, request->method);
    buf_printf(out, ",\"path\":");
    buf_append_json(out, request->target);
    buf_printf(out, ",\"authority\":");
    buf_append_json(out, request->authority);
    buf_printf(out, ",\"headers\":[");
    for (uint32_t i = 0; i < request->n_fields; i++) {
        buf_printf(out, "%s[", i ? "," : "");
        buf_append_json(out, request->fields[i].name);
        buf_append_char(out, ',');
        buf_append_json(out, request->fields[i].value);
        buf_append_char(out, ']');
    }
    buf_printf(out, "],\"trailers\":[");
    buf_append(out, buf_str(&request->trailers));
    buf_printf(out, "],\"body_length\":%llu", (unsigned long long)request->body_length);
    if (request->digest) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned length = 0;
        EVP_DigestFinal_ex(request->digest, digest, &length);
        buf_printf(out, ",\"body_sha256\":\"");
        for (unsigned i = 0; i < length; i++)
            buf_printf(out, "%02x", digest[i]);
        buf_append_char(out, '"');
    }
    buf_printf(out, ",\"peer\":\"%s\",\"peer_port\":%u,\"connection\":%llu,\"request\":%llu}\n", address_format(&connection->peer, peer),
               connection->peer_port, (unsigned long long)connection->number, (unsigned long long)connection->n_requests);
    answer->body = BODY_TEXT;
}

/* "bytes=A-B", "bytes=A-" or "bytes=-N" on a thing of size bytes (RFC 9110 section 14.1.2); anything else is answered whole. */
static void answer_range(struct answer *answer, const struct request *request, uint64_t size)
{
    struct str range = request_field(request, STR("range"));
    answer->body = BODY_BYTES;
    answer->offset = 0;
    answer->left = size;
    buf_printf(&answer->fields, "Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n");
    if (!str_starts_with(range, STR("bytes=")))
        return;
    struct str last = str_skip(range, 6), first = str_split(&last, '-');
    uint64_t from, to = size - 1;
    if (first.len == 0) {
        if (!str_to_u64(last, size, &from) || from == 0)
            return;
        from = size - from;
    } else if (!str_to_u64(first, UINT64_MAX, &from) || (last.len && !str_to_u64(last, UINT64_MAX, &to))) {
        return;
    }
    if (from >= size || to < from) {
        answer->status = 416;
        answer->left = 0;
        buf_printf(&answer->fields, "Content-Range: bytes */%llu\r\n", (unsigned long long)size);
        return;
    }
    if (to >= size)
        to = size - 1;
    answer->status = 206;
    answer->offset = from;
    answer->left = to - from + 1;
    buf_printf(&answer->fields, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)from, (unsigned long long)to,
               (unsigned long long)size);
}

static void answer_grpc(struct answer *answer, const struct request *request)
{
    struct str type = request_field(request, STR("content-type"));
    buf_printf(&answer->fields, "Content-Type: %.*s\r\n", STR_ARG(type));
    if (str_equal(request->path, STR("/grpc/fail"))) {
        buf_printf(&answer->fields, "Grpc-Status: 5\r\nGrpc-Message: no such thing\r\n");
        answer->body = BODY_NONE;
        return;
    }
    buf_printf(&answer->trailers, "Grpc-Status: 0\r\nGrpc-Message: fine\r\n");
    answer->body = BODY_ECHO;
}

/* /respond?status=N&field=Name:Value&body=text&length=N: an answer as the caller wants it. */
static void answer_as_asked(struct answer *answer, const struct request *request)
{
    struct request one = { .query = STR_NONE };
    answer->status = (unsigned)request_number(request, "status", 200, 999);
    struct str rest = request->query;
    while (rest.len) {
        one.query = str_split(&rest, '&');
        if (request_text(&one, "field", &answer->fields))
            buf_append(&answer->fields, STR("\r\n"));
    }
    request_text(request, "body", &answer->text);
    answer->body = BODY_TEXT;
    answer->close = request_number(request, "close", 0, 1);
}

int answer_make(struct answer *answer, struct connection *connection, struct request *request)
{
    struct str path = request->path;
    uint64_t number;
    uint64_t now = connection->standin->now_ms;

    buf_printf(&answer->fields, "Stand-In: %.*s@%.*s\r\n", STR_ARG(connection->standin->name), STR_ARG(connection->standin->host));
    if (is_grpc(request)) {
        answer_grpc(answer, request);
    } else if (str_equal(path, STR("/events"))) {
        buf_printf(&answer->fields, "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n");
        answer->body = BODY_EVENTS;
        answer->n_left = request_number(request, "n", 10, UINT32_MAX);
        answer->interval_ms = request_number(request, "interval_ms", 100, 3600000);
        answer->pad = request_number(request, "pad", 0, 8192);
    } else if (str_equal(path, STR("/echo"))) {
        answer->body = BODY_ECHO;
    } else if (str_starts_with(path, STR("/bytes/")) && str_to_u64(str_skip(path, 7), UINT64_MAX, &number)) {
        answer_range(answer, request, number);
    } else if (str_equal(path, STR("/slow"))) {
        answer_json(answer, connection, request);
        answer->not_before_ms = now + request_number(request, "ms", 1000, 3600000);
    } else if (str_starts_with(path, STR("/status/")) && str_to_u64(str_skip(path, 8), 999, &number) && number >= 200) {
        answer->status = (unsigned)number;
        buf_printf(&answer->text, "status %u\n", answer->status);
        answer->body = BODY_TEXT;
    } else if (str_equal(path, STR("/refuse"))) {
        answer->status = 413;
        answer->close = true;
    } else if (str_equal(path, STR("/trailers"))) {
        buf_printf(&answer->fields, "Trailer: X-Checksum\r\n");
        buf_printf(&answer->trailers, "X-Checksum: 1234\r\n");
        buf_printf(&answer->text, "body before trailers\n");
        answer->body = BODY_TEXT;
    } else if (str_equal(path, STR("/early-hints"))) {
        buf_printf(&answer->early, "Link: </style.css>; rel=preload\r\n");
        answer->not_before_ms = now + request_number(request, "ms", 50, 3600000);
        answer_json(answer, connection, request);
    } else if (str_equal(path, STR("/respond"))) {
        answer_as_asked(answer, request);
    } else {
        answer_json(answer, connection, request);
    }

    answer->close |= request_number(request, "close", 0, 1) != 0;
    answer->has_length = !(answer->trailers.len || request_number(request, "chunked", 0, 1));
    switch (answer->body) {
    case BODY_NONE: answer->length = 0; break;
    case BODY_TEXT: answer->length = answer->text.len; break;
    case BODY_BYTES: answer->length = answer->left; break;
    case BODY_EVENTS:
    case BODY_ECHO: answer->has_length = false; break;
    }
    return answer->fields.error ? answer->fields.error : answer->text.error;
}

/* Byte i of every /bytes/N is the same function of i, so that a range or a whole can be checked without keeping it. */
static void bytes_fill(char *data, size_t size, uint64_t offset)
{
    static char pattern[251 * 256];
    if (!pattern[1])
        for (size_t i = 0; i < sizeof(pattern); i++)
            pattern[i] = (char)(i % 251);
    size_t done = 0;
    while (done < size) {
        size_t from = (size_t)((offset + done) % 251);
        size_t n = sizeof(pattern) - from;
        if (n > size - done)
            n = size - done;
        memcpy(data + done, pattern + from, n);
        done += n;
    }
}

static size_t pull_text(struct answer *answer, char *data, size_t size)
{
    size_t n = answer->text.len - (size_t)answer->text_sent;
    if (n > size)
        n = size;
    if (n)
        memcpy(data, answer->text.ptr + answer->text_sent, n);
    answer->text_sent += n;
    return n;
}

static size_t pull_event(struct answer *answer, char *data, size_t size, uint64_t now_ms)
{
    if (answer->text_sent == answer->text.len) {
        buf_clear(&answer->text);
        answer->text_sent = 0;
        buf_printf(&answer->text, "id: %llu\ndata: {\"event\":%llu", (unsigned long long)answer->sequence, (unsigned long long)answer->sequence);
        if (answer->pad)
            buf_printf(&answer->text, ",\"pad\":\"%0*d\"", (int)answer->pad, 0);
        buf_printf(&answer->text, "}\n\n");
        answer->sequence++;
        answer->n_left--;
        answer->not_before_ms = now_ms + answer->interval_ms;
    }
    return pull_text(answer, data, size);
}

size_t answer_pull(struct answer *answer, char *data, size_t size, uint64_t now_ms, bool *ret_end, uint64_t *ret_wake_ms)
{
    size_t n = 0;
    *ret_end = false;
    *ret_wake_ms = 0;
    switch (answer->body) {
    case BODY_NONE: *ret_end = true; return 0;
    case BODY_TEXT:
        n = pull_text(answer, data, size);
        *ret_end = answer->text_sent == answer->text.len;
        return n;
    case BODY_BYTES:
        n = answer->left < size ? (size_t)answer->left : size;
        bytes_fill(data, n, answer->offset);
        answer->offset += n;
        answer->left -= n;
        *ret_end = answer->left == 0;
        return n;
    case BODY_EVENTS:
        if (answer->text_sent == answer->text.len) {
            if (answer->n_left == 0) {
                *ret_end = true;
                return 0;
            }
            if (now_ms < answer->not_before_ms) {
                *ret_wake_ms = answer->not_before_ms;
                return 0;
            }
        }
        return pull_event(answer, data, size, now_ms);
    case BODY_ECHO:
        n = answer->text.len < size ? answer->text.len : size;
        if (n > ECHO_PIECE)
            n = ECHO_PIECE;
        if (n) {
            memcpy(data, answer->text.ptr, n);
            buf_consume(&answer->text, n);
        }
        *ret_end = answer->text.len == 0 && answer->echo_end;
        if (n == 0 && !*ret_end)
            *ret_wake_ms = UINT64_MAX;
        return n;
    }
    return 0;
}
