/* HTTP/1.1 towards an instance: one exchange at a time on a connection, which is kept when both sides ended cleanly.
 *
 *   idle ── start ─▶ HEAD ─▶ BODY ─▶ (TRAILERS) ─▶ idle, or closed when anything is left over
 *                     └─ 101 ─▶ TUNNEL ─▶ closed
 * An instance is not trusted: what breaks HTTP's rules, comes unasked, or comes twice ends the connection and reaches nobody else. */
#include "gateway/back_h1.h"

#include <errno.h>

#include "gateway/forward.h"
#include "gateway/head_writer.h"

enum { HELD_MAX = 2 * HTTP_HEAD_SIZE_MAX + GATEWAY_PLAIN_SIZE };

/* ---- the request ---- */

static void write_field(void *self, struct str name, struct str value)
{
    head_write_field(self, name, value);
}

/* RFC 8441 section 5 to RFC 6455 section 4.1: the key that HTTP/2 leaves out. */
static void write_websocket_key(struct head_writer *w, struct exchange *x)
{
    char id[17];
    unsigned char key[25];
    gateway_random_id(x->gw, id);
    EVP_EncodeBlock(key, (const unsigned char *)id, 16);
    head_write_field(w, STR("Sec-WebSocket-Key"), str_make((const char *)key, 24));
}

static void write_framing(struct head_writer *w, struct exchange *x, const struct http_head *head, bool has_body)
{
    if (head->has_content_length) {
        x->request_framing = HTTP_LENGTH;
        head_write(w, STR("Content-Length: "));
        head_write_number(w, head->content_length);
        head_write(w, STR("\r\n"));
    } else if (has_body && !x->extended_connect) {
        x->request_framing = HTTP_CHUNKED;
        head_write(w, STR("Transfer-Encoding: chunked\r\n"));
    } else {
        x->request_framing = HTTP_NO_BODY;
    }
}

int back_h1_pack(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body)
{
    struct head_writer w = { .ptr = x->gw->head_out, .cap = GATEWAY_HEAD_SIZE };
    head_write(&w, x->extended_connect ? STR("GET") : head->method);
    head_write(&w, STR(" "));
    head_write(&w, head->path);
    head_write(&w, STR(" HTTP/1.1\r\nHost: "));
    head_write(&w, head->authority);
    head_write(&w, STR("\r\n"));
    for (uint32_t i = 0; i < head->n_fields; i++)
        if (forward_request_passes(&head->fields[i]))
            head_write_field(&w, head->fields[i].name, head->fields[i].value);
    write_framing(&w, x, head, has_body);
    if (head->expect_continue)
        head_write(&w, STR("Expect: 100-continue\r\n"));
    if (x->extended_connect || head->upgrade) {
        head_write(&w, STR("Connection: Upgrade\r\n"));
        head_write_field(&w, STR("Upgrade"), x->extended_connect ? STR("websocket") : head->upgrade_to);
    } else if (head->te_trailers) {
        head_write(&w, STR("Connection: TE\r\nTE: trailers\r\n"));
    }
    if (x->extended_connect)
        write_websocket_key(&w, x);
    forward_identity(x, head, principal, write_field, &w);
    head_write(&w, STR("\r\n"));
    if (w.overflowed)
        return -E2BIG;
    return spill_append(&x->request, str_make(w.ptr, w.len), GATEWAY_HEAD_SIZE);
}

static int back_start(void *self, struct exchange *x)
{
    struct back_h1 *b = self;
    b->x = x;
    b->state = RESPONSE_HEAD;
    b->scanned = 0;
    b->request_framing = x->request_framing;
    b->paused = false;
    io_timer_clear(&b->t.gw->loop, &b->timer);
    int r = transport_write(&b->t, spill_str(x->request));
    if (r == 0)
        r = transport_flush(&b->t);
    return r < 0 ? r : 0;
}

static bool back_body(void *self, struct str piece, bool end)
{
    struct back_h1 *b = self;
    char line[HTTP1_CHUNK_LINE_MAX];
    bool tunnel = b->state == RESPONSE_TUNNEL;
    bool chunked = b->request_framing == HTTP_CHUNKED && !tunnel;
    int r = 0;
    if (b->request_framing == HTTP_NO_BODY && !tunnel)
        return true; /* whoever is wrong about that: bytes without framing would be a request of their own */
    if (chunked && piece.len) {
        size_t line_len = http1_format_chunk_line(line, piece.len);
        struct str size_line = str_make(line, line_len);
        struct str parts[] = { size_line, piece, end ? STR("\r\n0\r\n\r\n") : STR("\r\n") };
        r = transport_write_parts(&b->t, parts, ARRAY_SIZE(parts));
    } else if (piece.len) {
        r = transport_write(&b->t, piece);
    } else if (chunked && end) {
        r = transport_write(&b->t, STR("0\r\n\r\n"));
    }
    if (r == 0)
        r = transport_flush(&b->t);
    if (end && tunnel)
        transport_shutdown(&b->t);
    /* A failed write is left for the reading side: an answer that came before the reset still counts. */
    return r == 0;
}

static void back_trailers(void *self, const struct http_head *trailers)
{
    struct back_h1 *b = self;
    struct head_writer w = { .ptr = b->t.gw->head_out, .cap = GATEWAY_HEAD_SIZE };
    if (b->request_framing != HTTP_CHUNKED) {
        back_body(b, STR_NONE, true);
        return;
    }
    head_write(&w, STR("0\r\n"));
    for (uint32_t i = 0; i < trailers->n_fields; i++)
        if (forward_request_passes(&trailers->fields[i]))
            head_write_field(&w, trailers->fields[i].name, trailers->fields[i].value);
    head_write(&w, STR("\r\n"));
    if (!w.overflowed && transport_write(&b->t, str_make(w.ptr, w.len)) == 0)
        transport_flush(&b->t);
}

static bool back_is_fluent(void *self)
{
    struct back_h1 *b = self;
    return transport_is_fluent(&b->t);
}

static void back_resume(void *self)
{
    struct back_h1 *b = self;
    b->paused = false;
    io_defer(&b->t.gw->loop, &b->again);
}

static void back_cancel(void *self)
{
    back_h1_close(self);
}

const struct back_ops back_h1_ops = {
    .start = back_start,
    .body = back_body,
    .trailers = back_trailers,
    .is_fluent = back_is_fluent,
    .resume = back_resume,
    .cancel = back_cancel,
};

/* ---- the response ---- */

/* Everything of this exchange was received. */
static void response_complete(struct back_h1 *b, struct exchange *x, bool left_over)
{
    if (!transport_is_open(&b->t))
        return;
    b->x = NULL;
    if (left_over || !b->keep_alive || !x->request_done || b->t.tx || b->t.failed || b->t.ended)
        back_h1_close(b);
    else
        back_h1_keep(b);
}

/* Each of the following takes what it can from the window and returns what it used; -1: the connection is closed or out of this exchange. */

static ssize_t take_head(struct back_h1 *b, const char *data, size_t len)
{
    struct exchange *x = b->x;
    struct http_head *head = &b->t.gw->head_back;
    enum http_violation violation;
    size_t used;
    int r = http1_parse_response(data, len, &b->scanned, x->is_head, head, &used, &violation);
    if (r == HTTP1_MORE)
        return 0;
    if (r != 0) {
        back_h1_broken(b, http_violation_text(violation));
        return -1;
    }
    b->scanned = 0;
    if (head->status < 200 && head->status != 101) {
        exchange_response_head(x, head, false);
        return b->x == x ? (ssize_t)used : -1;
    }
    back_group_note_success(b->group);
    b->group->n_reuses_proven += b->reused;
    b->framing = head->framing;
    b->left = head->content_length;
    b->keep_alive = head->keep_alive && head->framing != HTTP_UNTIL_CLOSE;
    b->state = RESPONSE_BODY;
    http1_chunked_init(&b->chunked);
    bool end = head->status != 101 && (head->framing == HTTP_NO_BODY || (head->framing == HTTP_LENGTH && b->left == 0));
    exchange_response_head(x, head, end);
    if (b->x != x)
        return -1;
    if (end) {
        response_complete(b, x, used < len);
        return -1;
    }
    if (x->state == EXCHANGE_TUNNEL)
        b->state = RESPONSE_TUNNEL;
    return (ssize_t)used;
}

static ssize_t take_length(struct back_h1 *b, const char *data, size_t len)
{
    struct exchange *x = b->x;
    struct str piece = str_make(data, len < b->left ? len : (size_t)b->left);
    b->left -= piece.len;
    bool end = b->left == 0;
    b->paused = !exchange_response_body(x, piece, end);
    if (b->x != x)
        return -1;
    if (end) {
        response_complete(b, x, piece.len < len);
        return -1;
    }
    return (ssize_t)piece.len;
}

static ssize_t take_chunked(struct back_h1 *b, const char *data, size_t len)
{
    struct exchange *x = b->x;
    struct str piece;
    enum http_violation violation;
    size_t used;
    int r = http1_chunked_decode(&b->chunked, data, len, &used, &piece, &violation);
    if (r == HTTP1_REFUSED) {
        back_h1_broken(b, http_violation_text(violation));
        return -1;
    }
    if (piece.len)
        b->paused = !exchange_response_body(x, piece, false);
    if (b->x != x)
        return -1;
    if (r == HTTP1_DONE) {
        b->state = RESPONSE_TRAILERS;
        b->scanned = 0;
    }
    return (ssize_t)used;
}

static ssize_t take_trailers(struct back_h1 *b, const char *data, size_t len)
{
    struct exchange *x = b->x;
    struct http_head *trailers = &b->t.gw->head_back;
    enum http_violation violation;
    size_t used;
    int r = http1_parse_trailers(data, len, &b->scanned, true, trailers, &used, &violation);
    if (r == HTTP1_MORE)
        return 0;
    if (r != 0) {
        back_h1_broken(b, http_violation_text(violation));
        return -1;
    }
    if (trailers->n_fields)
        exchange_response_trailers(x, trailers);
    else
        exchange_response_body(x, STR_NONE, true);
    if (b->x == x)
        response_complete(b, x, used < len);
    return -1;
}

static ssize_t take_raw(struct back_h1 *b, const char *data, size_t len)
{
    struct exchange *x = b->x;
    b->paused = !exchange_response_body(x, str_make(data, len), false);
    return b->x == x ? (ssize_t)len : -1;
}

static ssize_t take(struct back_h1 *b, const char *data, size_t len)
{
    switch (b->state) {
    case RESPONSE_HEAD:
        return take_head(b, data, len);
    case RESPONSE_TRAILERS:
        return take_trailers(b, data, len);
    case RESPONSE_TUNNEL:
        return take_raw(b, data, len);
    default:
        if (b->framing == HTTP_LENGTH)
            return take_length(b, data, len);
        return b->framing == HTTP_CHUNKED ? take_chunked(b, data, len) : take_raw(b, data, len);
    }
}

/* Works through the window; what stays is copied into b->in. False: nothing more of this connection for this exchange. */
static bool process(struct back_h1 *b, const char *data, size_t len, bool in_spill)
{
    size_t done = 0;
    while (done < len && !b->paused) {
        ssize_t used = take(b, data + done, len - done);
        if (used < 0)
            return false;
        if (used == 0)
            break;
        done += (size_t)used;
    }
    if (in_spill)
        spill_consume(&b->in, done);
    else if (done < len && spill_append(&b->in, str_make(data + done, len - done), HELD_MAX) < 0) {
        back_h1_broken(b, "no memory");
        return false;
    }
    return true;
}

static void back_at_end(struct back_h1 *b)
{
    struct exchange *x = b->x;
    bool whole = b->state == RESPONSE_TUNNEL || (b->state == RESPONSE_BODY && b->framing == HTTP_UNTIL_CLOSE && !b->t.cut_short);
    if (!whole) {
        back_h1_broken(b, b->state == RESPONSE_HEAD ? "the instance closed the connection instead of answering"
                                                 : "the instance closed the connection in the middle of its response");
        return;
    }
    exchange_response_body(x, STR_NONE, true);
    exchange_response_flush(x);
    back_h1_close(b);
}

/* Only what goes on as one piece is read in large ones: of that no more stays here than the client's socket doesn't take. */
static size_t reading_size(const struct back_h1 *b)
{
    bool as_it_comes = b->framing == HTTP_LENGTH ? b->left >= GATEWAY_BULK_SIZE : b->framing == HTTP_UNTIL_CLOSE;
    return b->state == RESPONSE_BODY && as_it_comes ? exchange_response_piece(b->x) : GATEWAY_PLAIN_SIZE;
}

static ssize_t read_more(struct back_h1 *b, char **ret_window)
{
    struct gateway *gw = b->t.gw;
    if (!b->in) {
        *ret_window = gw->plain_back;
        return transport_read_full(&b->t, gw->plain_back, reading_size(b));
    }
    int r = spill_reserve(&b->in, GATEWAY_PLAIN_SIZE / 4, HELD_MAX);
    if (r < 0)
        return r;
    ssize_t n = transport_read_full(&b->t, b->in->data + b->in->end, GATEWAY_PLAIN_SIZE / 4);
    if (n > 0)
        b->in->end += (size_t)n;
    *ret_window = NULL;
    return n;
}

void back_h1_input(struct back_h1 *b)
{
    struct exchange *x = b->x;
    if (!x) {
        (void)back_h1_idle_is_silent(b);
        return;
    }
    for (unsigned turn = 0; turn < GATEWAY_READS_A_TURN;) {
        if (b->in && !b->paused && (turn == 0 || b->state != RESPONSE_HEAD) && !process(b, b->in->data + b->in->start, spill_len(b->in), true))
            break;
        if (b->x != x || b->paused)
            break;
        char *window;
        ssize_t n = read_more(b, &window);
        if (n == -EAGAIN)
            break;
        if (n == 0) {
            back_at_end(b);
            break;
        }
        if (n < 0) {
            back_h1_broken(b, n == -E2BIG ? "the instance's head is too large" : "the instance reset the connection");
            break;
        }
        if (b->state == RESPONSE_BODY && b->framing == HTTP_LENGTH)
            io_timer_set(&b->t.gw->loop, &b->timer, GATEWAY_FIRST_BYTE_MS);
        bool goes_on = window ? process(b, window, (size_t)n, false) : process(b, b->in->data + b->in->start, spill_len(b->in), true);
        if (!goes_on)
            break;
        turn += gateway_reading_cost((size_t)n);
        if (turn >= GATEWAY_READS_A_TURN)
            io_defer(&b->t.gw->loop, &b->again);
    }
    exchange_response_flush(x);
}
