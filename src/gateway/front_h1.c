/* HTTP/1 towards a client: one request at a time on a connection; what is sent ahead waits in the socket.
 *
 *   HEAD ── head complete ─▶ BODY ─▶ (TRAILERS) ─▶ WAIT ── response done ─▶ HEAD, or closed
 *    ▲        │ no body ────────────────────────────▲  │ 101
 *    │                                                 ▼
 *    └────────────────────────────────────────────── TUNNEL ─▶ closed
 * A response that ends before its request has been read closes the connection after it. */
#include "gateway/client.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/answer.h"
#include "gateway/forward.h"
#include "gateway/head_writer.h"

enum front_state { FRONT_HEAD, FRONT_BODY, FRONT_TRAILERS, FRONT_WAIT, FRONT_TUNNEL };
enum timer_reason { TIMER_IDLE, TIMER_HEAD, TIMER_BODY, TIMER_STALL, TIMER_NONE };
enum { HELD_MAX = HTTP_HEAD_SIZE_MAX + 2 * GATEWAY_PLAIN_SIZE, COALESCE_MAX = 16 * 1024 };

static const struct front_ops front_h1_ops;

static void arm(struct client *client, enum timer_reason reason, uint64_t ms)
{
    client->timer_reason = (uint8_t)reason;
    if (reason == TIMER_NONE)
        io_timer_clear(&client->gw->loop, &client->timer);
    else
        io_timer_set(&client->gw->loop, &client->timer, ms);
}

void front_h1_start(struct client *client)
{
    client->h1 = (struct front_h1){ .state = FRONT_HEAD };
    arm(client, TIMER_HEAD, GATEWAY_HEAD_MS); /* the first head is owed at once; later ones may be idle first */
}

bool front_h1_is_idle(const struct client *client)
{
    return client->h1.state == FRONT_HEAD && !client->h1.in;
}

bool front_h1_waits_for_reader(const struct client *client)
{
    return client->timer_reason == TIMER_STALL;
}

void front_h1_drain(struct client *client)
{
    client->h1.close_after = true;
    /* Who has asked nothing yet has only just come, its first request on the way: it was accepted, so it is answered. */
    if (front_h1_is_idle(client) && client->n_requests > 0)
        client_close(client, NULL);
}

void front_h1_stop(struct client *client, const char *reason)
{
    struct exchange *x = TAKE(client->h1.x);
    if (x)
        exchange_client_gone(x, reason);
    spill_free(&client->h1.in);
}

void front_h1_timeout(struct client *client)
{
    switch (client->timer_reason) {
    case TIMER_HEAD:
        if (client->n_requests == 0 && !client->h1.in) {
            client_close(client, NULL);
            return;
        }
        __attribute__((fallthrough));
    case TIMER_BODY: {
        if (client->h1.x && !exchange_takes_body(client->h1.x)) {
            arm(client, TIMER_BODY, GATEWAY_BODY_IDLE_MS); /* it is the instance that is slow */
            return;
        }
        if (client->h1.x) {
            client_close(client, "the client stopped in the middle of its request");
            return;
        }
        struct exchange_asker asker = client_asker(client);
        client->h1.close_after = true;
        exchange_refuse(client->gw, &asker, 408, "the head did not come in time", &front_h1_ops, client);
        return;
    }
    case TIMER_STALL:
        if (transport_was_read(&client->t)) {
            arm(client, TIMER_STALL, GATEWAY_STALL_LOOK_MS);
            return;
        }
        client_close(client, "the client stopped reading");
        return;
    default:
        client_close(client, NULL);
    }
}

/* ---- the response: what the exchange calls ---- */

static void write_held(struct gateway *gw)
{
    struct client *holder = TAKE(gw->held_by);
    if (holder)
        (void)!transport_write(&holder->t, str_make(gw->head_held, gw->head_held_len)); /* a failure shows as an event */
}

static void write_status_line(struct head_writer *w, const struct http_head *head)
{
    head_write(w, STR("HTTP/1.1 "));
    head_write_number(w, head->status);
    head_write(w, STR(" "));
    head_write(w, head->reason.len ? head->reason : str_of(http_reason(head->status)));
    head_write(w, STR("\r\n"));
}

/* RFC 9112 section 6.3: how the client will know where the body ends. */
static void write_response_framing(struct head_writer *w, struct front_h1 *h1, const struct http_head *head, bool end)
{
    bool bodyless = head->status == 204 || head->status == 304 || h1->is_head;
    if (head->has_content_length || bodyless)
        return;
    if (end) {
        head_write(w, STR("Content-Length: 0\r\n"));
    } else if (h1->client_1_0) {
        h1->close_after = true;
    } else {
        h1->chunk_out = true;
        head_write(w, STR("Transfer-Encoding: chunked\r\n"));
    }
}

static void write_head(struct head_writer *w, struct client *client, const struct http_head *head, bool end)
{
    struct front_h1 *h1 = &client->h1;
    bool own_answer = h1->x == NULL; /* before there was an exchange: it names its request itself */
    write_status_line(w, head);
    for (uint32_t i = 0; i < head->n_fields; i++)
        if (forward_response_passes(&head->fields[i], head->status != 204, own_answer))
            head_write_field(w, head->fields[i].name, head->fields[i].value);
    if (head->status < 200) {
        if (head->status == 101) {
            head_write(w, STR("Connection: Upgrade\r\n"));
            head_write_field(w, STR("Upgrade"), head->upgrade_to);
        }
        head_write(w, STR("\r\n"));
        return;
    }
    write_response_framing(w, h1, head, end);
    if (h1->x)
        head_write_field(w, STR("Postern-Request-Id"), str_of(h1->x->record.id));
    if (h1->state != FRONT_WAIT || client->gw->draining)
        h1->close_after = true;
    if (h1->close_after)
        head_write(w, STR("Connection: close\r\n"));
    head_write(w, STR("\r\n"));
}

/* Ready for the next request, outside of the callbacks that brought us here. */
static void response_done(struct client *client)
{
    struct front_h1 *h1 = &client->h1;
    if (client->gw->held_by == client)
        write_held(client->gw);
    h1->x = NULL;
    h1->response_done = true;
    io_defer(&client->gw->loop, &client->again);
}

static void front_head(void *self, const struct http_head *head, bool end)
{
    struct client *client = self;
    struct gateway *gw = client->gw;
    struct front_h1 *h1 = &client->h1;
    bool interim = head->status < 200 && head->status != 101;
    if (interim && h1->client_1_0)
        return;
    write_held(gw);
    struct head_writer w = { .ptr = gw->head_held, .cap = GATEWAY_HEAD_SIZE };
    if (!interim)
        h1->chunk_out = false;
    write_head(&w, client, head, end);
    if (w.overflowed) {
        client->t.failed = true;
        io_defer(&gw->loop, &client->again);
        return;
    }
    gw->held_by = client;
    gw->head_held_len = w.len;
    if (head->status == 101) {
        h1->state = FRONT_TUNNEL;
        h1->close_after = true;
        arm(client, TIMER_NONE, 0);
    }
    if (end)
        response_done(client);
}

/* The head and the first piece in one TLS record, where they fit. */
static void write_with_head(struct client *client, struct str piece)
{
    struct gateway *gw = client->gw;
    if (gw->held_by == client && gw->head_held_len + piece.len <= COALESCE_MAX) {
        memcpy(gw->head_held + gw->head_held_len, piece.ptr, piece.len);
        gw->head_held_len += piece.len;
        return;
    }
    write_held(gw);
    (void)!transport_write(&client->t, piece);
}

static void write_chunk(struct client *client, struct str piece, bool end)
{
    char line[HTTP1_CHUNK_LINE_MAX];
    if (piece.len) {
        size_t line_len = http1_format_chunk_line(line, piece.len);
        write_with_head(client, str_make(line, line_len));
        write_with_head(client, piece);
        write_with_head(client, end ? STR("\r\n0\r\n\r\n") : STR("\r\n"));
    } else if (end) {
        write_with_head(client, STR("0\r\n\r\n"));
    }
}

static bool congested(struct client *client)
{
    if (client->t.failed) /* noticed there, outside of the exchange's callbacks */
        io_defer(&client->gw->loop, &client->again);
    if (!transport_is_congested(&client->t))
        return false;
    arm(client, TIMER_STALL, GATEWAY_STALL_MS);
    return true;
}

static bool front_body(void *self, struct str piece, bool end)
{
    struct client *client = self;
    struct front_h1 *h1 = &client->h1;
    if (h1->chunk_out)
        write_chunk(client, piece, end);
    else if (piece.len)
        write_with_head(client, piece);
    if (end)
        response_done(client);
    else if (transport_has_gathered(&client->t))
        transport_flush(&client->t);
    return !congested(client);
}

static void front_trailers(void *self, const struct http_head *trailers)
{
    struct client *client = self;
    struct gateway *gw = client->gw;
    if (!client->h1.chunk_out) {
        response_done(client);
        return;
    }
    write_held(gw);
    struct head_writer w = { .ptr = gw->head_out, .cap = GATEWAY_HEAD_SIZE };
    head_write(&w, STR("0\r\n"));
    for (uint32_t i = 0; i < trailers->n_fields; i++)
        if (forward_response_passes(&trailers->fields[i], false, false))
            head_write_field(&w, trailers->fields[i].name, trailers->fields[i].value);
    head_write(&w, STR("\r\n"));
    if (w.overflowed)
        client->t.failed = true;
    (void)!transport_write(&client->t, str_make(w.ptr, w.len));
    response_done(client);
}

static void front_flush(void *self)
{
    struct client *client = self;
    if (client->gw->held_by == client)
        write_held(client->gw);
    if (transport_flush(&client->t) == 1)
        congested(client);
}

static bool front_is_fluent(void *self)
{
    const struct client *client = self;
    return transport_is_fluent(&client->t);
}

static void front_resume(void *self)
{
    struct client *client = self;
    io_defer(&client->gw->loop, &client->again);
}

static void front_abort(void *self)
{
    struct client *client = self;
    client->h1.x = NULL;
    client->h1.close_after = true;
    front_flush(client);
    client_close(client, NULL);
}

static const struct front_ops front_h1_ops = {
    .head = front_head,
    .body = front_body,
    .trailers = front_trailers,
    .flush = front_flush,
    .is_fluent = front_is_fluent,
    .resume = front_resume,
    .abort = front_abort,
};

/* ---- redirecting listeners ---- */

/* Every name alike: what exists is not asked (RFC 9110 section 15.4.9 keeps the method). */
static void redirect(struct client *client, const struct http_head *request)
{
    struct gateway *gw = client->gw;
    char host[256], port[8] = "";
    struct str name;
    if (client->redirect_to != 443)
        snprintf(port, sizeof port, ":%u", client->redirect_to);
    struct head_writer w = { .ptr = gw->head_out, .cap = GATEWAY_HEAD_SIZE };
    if (!http_authority_host(request->authority, host, &name)) {
        head_write(&w, STR("HTTP/1.1 400 Bad Request\r\n"));
    } else {
        head_write(&w, STR("HTTP/1.1 308 Permanent Redirect\r\nLocation: https://"));
        head_write(&w, name);
        head_write(&w, str_of(port));
        head_write(&w, request->path);
        head_write(&w, STR("\r\n"));
    }
    head_write_field(&w, STR("Date"), gateway_date(gw));
    head_write(&w, STR("Content-Length: 0\r\nConnection: close\r\n\r\n"));
    if (!w.overflowed)
        (void)!transport_write(&client->t, str_make(w.ptr, w.len));
    client->n_requests++;
    client_linger(client);
}

/* ---- the request: what the client sends ---- */

static void refuse(struct client *client, enum http_violation violation)
{
    struct exchange_asker asker = client_asker(client);
    client->h1.close_after = true;
    client->h1.is_head = false;
    client->h1.state = FRONT_WAIT;
    if (client->redirect_to) {
        client_linger(client);
        return;
    }
    exchange_refuse(client->gw, &asker, http_violation_status(violation), http_violation_text(violation), &front_h1_ops, client);
}

/* Each returns what it used of the window; 0: more is needed or nothing is wanted now; -1: the connection is no longer for reading. */

static ssize_t take_head(struct client *client, const char *data, size_t len)
{
    struct front_h1 *h1 = &client->h1;
    struct http_head *head = &client->gw->head_in;
    enum http_violation violation;
    size_t used;
    int r = http1_parse_request(data, len, &h1->scanned, head, &used, &violation);
    if (r == HTTP1_MORE) {
        if (client->timer_reason != TIMER_HEAD)
            arm(client, TIMER_HEAD, GATEWAY_HEAD_MS);
        return 0;
    }
    h1->scanned = 0;
    if (r != 0) {
        refuse(client, violation);
        return -1;
    }
    if (client->redirect_to) {
        redirect(client, head);
        return -1;
    }
    bool has_body = head->framing == HTTP_CHUNKED || (head->framing == HTTP_LENGTH && head->content_length > 0);
    h1->framing = head->framing;
    h1->body_left = head->content_length;
    h1->is_head = head->is_head;
    h1->client_1_0 = head->version == 10;
    h1->close_after = !head->keep_alive;
    h1->response_done = false;
    h1->state = has_body ? FRONT_BODY : FRONT_WAIT;
    http1_chunked_init(&h1->chunked);
    arm(client, has_body ? TIMER_BODY : TIMER_NONE, GATEWAY_BODY_IDLE_MS);
    struct exchange_asker asker = client_asker(client);
    struct exchange *x = exchange_begin(client->gw, &asker, head, has_body, &front_h1_ops, client);
    if (!x) {
        client_close(client, "no memory");
        return -1;
    }
    if (client->state != CLIENT_H1)
        return -1;
    if (x->state != EXCHANGE_OVER)
        h1->x = x;
    return (ssize_t)used;
}

static void body_taken(struct client *client, bool end)
{
    if (end) {
        client->h1.state = FRONT_WAIT;
        arm(client, TIMER_NONE, 0);
    } else if (client->timer_reason == TIMER_BODY) {
        arm(client, TIMER_BODY, GATEWAY_BODY_IDLE_MS);
    }
}

static ssize_t take_length(struct client *client, const char *data, size_t len)
{
    struct front_h1 *h1 = &client->h1;
    struct str piece = str_make(data, len < h1->body_left ? len : (size_t)h1->body_left);
    h1->body_left -= piece.len;
    bool end = h1->body_left == 0;
    body_taken(client, end);
    exchange_request_body(h1->x, piece, end);
    return (ssize_t)piece.len;
}

static ssize_t take_chunked(struct client *client, const char *data, size_t len)
{
    struct front_h1 *h1 = &client->h1;
    struct str piece;
    enum http_violation violation;
    size_t used;
    int r = http1_chunked_decode(&h1->chunked, data, len, &used, &piece, &violation);
    if (r == HTTP1_REFUSED) {
        client_close(client, http_violation_text(violation));
        return -1;
    }
    body_taken(client, false);
    if (r == HTTP1_DONE) {
        h1->state = FRONT_TRAILERS;
        h1->scanned = 0;
    }
    if (piece.len)
        exchange_request_body(h1->x, piece, false);
    return (ssize_t)used;
}

static ssize_t take_trailers(struct client *client, const char *data, size_t len)
{
    struct front_h1 *h1 = &client->h1;
    struct http_head *trailers = &client->gw->head_in;
    enum http_violation violation;
    size_t used;
    int r = http1_parse_trailers(data, len, &h1->scanned, false, trailers, &used, &violation);
    if (r == HTTP1_MORE)
        return 0;
    h1->scanned = 0;
    if (r != 0) {
        client_close(client, http_violation_text(violation));
        return -1;
    }
    body_taken(client, true);
    if (trailers->n_fields)
        exchange_request_trailers(h1->x, trailers);
    else
        exchange_request_body(h1->x, STR_NONE, true);
    return (ssize_t)used;
}

/* Whether the client's bytes are for anybody now. */
static bool wants_input(const struct client *client)
{
    const struct front_h1 *h1 = &client->h1;
    switch (h1->state) {
    case FRONT_HEAD:
        return true;
    case FRONT_WAIT:
        return false;
    default:
        return h1->x && exchange_takes_body(h1->x);
    }
}

static ssize_t take(struct client *client, const char *data, size_t len)
{
    switch (client->h1.state) {
    case FRONT_HEAD:
        return take_head(client, data, len);
    case FRONT_BODY:
        return client->h1.framing == HTTP_CHUNKED ? take_chunked(client, data, len) : take_length(client, data, len);
    case FRONT_TRAILERS:
        return take_trailers(client, data, len);
    case FRONT_TUNNEL:
        exchange_request_body(client->h1.x, str_make(data, len), false);
        return (ssize_t)len;
    default:
        return 0;
    }
}

/* True: the next request may be read on this connection. */
static bool finish_response(struct client *client)
{
    struct front_h1 *h1 = &client->h1;
    if (h1->close_after || h1->state != FRONT_WAIT || client->t.failed) {
        client_linger(client);
        return false;
    }
    h1->response_done = false;
    h1->state = FRONT_HEAD;
    arm(client, TIMER_IDLE, GATEWAY_IDLE_H1_MS);
    return true;
}

/* Works through the window; what stays is copied into h1->in. False: stop reading. */
static bool process(struct client *client, const char *data, size_t len, bool in_spill)
{
    struct front_h1 *h1 = &client->h1;
    size_t done = 0;
    while (done < len && wants_input(client)) {
        ssize_t used = take(client, data + done, len - done);
        if (used < 0 || client->state != CLIENT_H1)
            return false;
        if (used == 0)
            break;
        done += (size_t)used;
    }
    if (in_spill)
        spill_consume(&h1->in, done);
    else if (done < len && spill_append(&h1->in, str_make(data + done, len - done), HELD_MAX) < 0) {
        client_close(client, "no memory");
        return false;
    }
    return true;
}

/* Only what goes on as one piece is read in large ones: of that no more stays here than the instance's socket doesn't take. */
static size_t reading_size(const struct front_h1 *h1)
{
    bool as_it_comes = h1->state == FRONT_BODY && h1->framing == HTTP_LENGTH && h1->body_left >= GATEWAY_BULK_SIZE;
    return as_it_comes ? exchange_request_piece(h1->x) : GATEWAY_PLAIN_SIZE;
}

static ssize_t read_more(struct client *client, char **ret_window)
{
    struct front_h1 *h1 = &client->h1;
    if (!h1->in) {
        *ret_window = client->gw->plain_in;
        return transport_read_full(&client->t, client->gw->plain_in, reading_size(h1));
    }
    int r = spill_reserve(&h1->in, GATEWAY_PLAIN_SIZE / 4, HELD_MAX);
    if (r < 0)
        return r;
    ssize_t n = transport_read_full(&client->t, h1->in->data + h1->in->end, GATEWAY_PLAIN_SIZE / 4);
    if (n > 0)
        h1->in->end += (size_t)n;
    *ret_window = NULL;
    return n;
}

/* Nobody is there to take the response. A client that has only shut down its side may still have sent what isn't wanted yet. */
static bool client_is_gone(const struct client *client)
{
    const struct front_h1 *h1 = &client->h1;
    return client->t.failed || client->t.reset || (client->t.hangup && h1->state == FRONT_WAIT && !h1->response_done);
}

void front_h1_input(struct client *client)
{
    struct front_h1 *h1 = &client->h1;
    if (h1->response_done && transport_is_congested(&client->t) && !client_is_gone(client)) {
        /* The next request is for a client that has read the last answer; to send it is not to read. */
        if (client->timer_reason != TIMER_STALL)
            arm(client, TIMER_STALL, GATEWAY_STALL_MS);
        return;
    }
    if (h1->response_done && !finish_response(client))
        return;
    if (h1->in && wants_input(client) && !process(client, h1->in->data + h1->in->start, spill_len(h1->in), true))
        return;
    for (unsigned turn = 0; turn < GATEWAY_READS_A_TURN && wants_input(client);) {
        char *window;
        ssize_t n = read_more(client, &window);
        if (n == -EAGAIN)
            return;
        if (n == 0) {
            client_close(client, "the client went away");
            return;
        }
        if (n < 0) {
            client_close(client, "the client reset the connection");
            return;
        }
        bool goes_on = window ? process(client, window, (size_t)n, false) : process(client, h1->in->data + h1->in->start, spill_len(h1->in), true);
        if (!goes_on)
            return;
        if (h1->state == FRONT_BODY && h1->framing == HTTP_LENGTH) {
            uint64_t at_hand = spill_len(h1->in); /* the next request may be, too */
            patience_note(&client->t, (size_t)n, h1->body_left > at_hand ? h1->body_left - at_hand : 0);
        }
        turn += gateway_reading_cost((size_t)n);
    }
    if (client->state != CLIENT_H1)
        return;
    if (wants_input(client) && transport_has_input(&client->t))
        io_defer(&client->gw->loop, &client->again);
    else if (!wants_input(client) && client_is_gone(client))
        client_close(client, "the client went away");
}

void front_h1_drained(struct client *client)
{
    struct front_h1 *h1 = &client->h1;
    if (client->timer_reason == TIMER_STALL) {
        bool sending = h1->state == FRONT_BODY || h1->state == FRONT_TRAILERS;
        arm(client, sending ? TIMER_BODY : TIMER_NONE, GATEWAY_BODY_IDLE_MS);
    }
    if (h1->response_done)
        io_defer(&client->gw->loop, &client->again);
    if (h1->x)
        exchange_front_writable(h1->x);
}
