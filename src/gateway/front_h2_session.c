/* HTTP/2 connections with clients: what is read and sent, how they end, and what time ends. */
#include "gateway/front_h2.h"

#include <errno.h>

enum { DRAIN_NOTICE_MS = 500, READ_WHILE_HELD_MAX = 256 * 1024 };

int front_h2_start(struct client *client)
{
    struct gateway *gw = client->gw;
    const nghttp2_session_callbacks *callbacks = front_h2_callbacks();
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
        front_stream_free(h2->streams, reason);
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
    if (r == 0 && front_h2_pass_collected(h2, false) < 0)
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
    front_h2_send_later(h2);
    return true;
}

/* A block that doesn't end must not hold its reader for ever. */
static void watch_block(struct front_h2 *h2)
{
    if (h2->s.reader && !h2->sweeping) {
        h2->sweeping = true;
        io_timer_set(&h2->client->gw->loop, &h2->client->timer, FRONT_H2_SWEEP_MS);
    }
}

void front_h2_input(struct client *client)
{
    struct front_h2 *h2 = client->h2;
    front_h2_deliver_resumed(h2);
    if ((client->t.readable || client->t.rx || h2->read_more) && !read_all(client))
        return;
    watch_block(h2);
    send_all(client);
}

void front_h2_drained(struct client *client)
{
    if (send_all(client) && client->h2->read_more)
        front_h2_send_later(client->h2);
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
    front_h2_send_later(h2);
}

/* ---- time ---- */

/* Ends the streams whose client neither reads nor sends. */
static void sweep_streams(struct front_h2 *h2)
{
    uint64_t now_ms = h2->client->gw->loop.now_ms;
    bool is_read = transport_is_congested(&h2->client->t) && transport_was_read(&h2->client->t);
    struct front_stream *next;
    for (struct front_stream *stream = h2->streams; stream; stream = next) {
        next = stream->next;
        bool stalled = stream->out.held && !is_read && now_ms - stream->out.progress_ms > GATEWAY_STALL_MS;
        bool owed = stream->x && !stream->x->request_done && !stream->tunnel && !stream->request_ended && !stream->in;
        bool silent = owed && exchange_takes_body(stream->x) && now_ms - stream->progress_ms > GATEWAY_BODY_IDLE_MS;
        if (!stalled && !silent)
            continue;
        struct exchange *x = TAKE(stream->x);
        if (x)
            exchange_client_gone(x, stalled ? "the client stopped reading" : "the client stopped in the middle of its request");
        front_stream_reset(stream, NGHTTP2_CANCEL);
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
    io_timer_set(loop, &client->timer, h2->sweeping || idle_ms >= GATEWAY_IDLE_H2_MS ? FRONT_H2_SWEEP_MS : GATEWAY_IDLE_H2_MS - idle_ms);
    send_all(client);
}
