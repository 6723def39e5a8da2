/* An instance that misbehaves: each path under /evil/ breaks HTTP, or the connection, in its own way. */
#include <errno.h>
#include <stdlib.h>

#include "standin/standin.h"

/* What is sent, then what is done. forever: repeated for as long as it is read. */
enum evil_then { THEN_STALL, THEN_CLOSE, THEN_RESET, THEN_SWALLOW };

struct evil_act {
    const char *name;
    const char *first, *forever;
    enum evil_then then;
};

#define OK_FIELDS "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

static const struct evil_act evil_acts[] = {
    { "reset", "", NULL, THEN_RESET },
    { "reset-in-head", "HTTP/1.1 200 OK\r\nContent-Ty", NULL, THEN_RESET },
    { "reset-in-body", OK_FIELDS "Content-Length: 100\r\n\r\nten bytes.", NULL, THEN_RESET },
    { "close", "", NULL, THEN_CLOSE },
    { "close-in-head", "HTTP/1.1 200 OK\r\nContent-Ty", NULL, THEN_CLOSE },
    { "close-mid-chunk", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n64\r\nten bytes.", NULL, THEN_CLOSE },
    { "close-between-chunks", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\na\r\nten bytes.\r\n", NULL, THEN_CLOSE },
    { "close-idle", OK_FIELDS "Content-Length: 3\r\n\r\nok\n", NULL, THEN_CLOSE },
    { "stall", "", NULL, THEN_STALL },
    { "stall-in-head", "HTTP/1.1 200 OK\r\nContent-Ty", NULL, THEN_STALL },
    { "stall-in-body", OK_FIELDS "Content-Length: 100\r\n\r\nten bytes.", NULL, THEN_STALL },
    { "garbage", "\x16\x03\x01\x02\x00 this is no HTTP \xff\xfe\r\n\r\n", NULL, THEN_CLOSE },
    { "no-head", "just a body, as HTTP/0.9 had it\n", NULL, THEN_CLOSE },
    { "endless-garbage", "", "garbage without any line end ", THEN_STALL },
    { "endless-headers", "HTTP/1.1 200 OK\r\n", "X-More: and more\r\n", THEN_STALL },
    { "endless-header-value", "HTTP/1.1 200 OK\r\nX-Long: ", "and longer ", THEN_STALL },
    { "endless-1xx", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", THEN_STALL },
    { "endless-continue", "", "HTTP/1.1 100 Continue\r\n\r\n", THEN_STALL },
    { "endless-trailers", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n", "X-More: and more\r\n", THEN_STALL },
    { "endless-body", OK_FIELDS "\r\n", "and more ", THEN_STALL },
    { "two-responses", OK_FIELDS "Content-Length: 3\r\n\r\nok\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoison\n", NULL, THEN_STALL },
    { "short-length", OK_FIELDS "Content-Length: 100\r\n\r\nten bytes.", NULL, THEN_CLOSE },
    { "long-length", OK_FIELDS "Content-Length: 3\r\n\r\nok\nand much more than was announced", NULL, THEN_CLOSE },
    { "length-and-chunked", OK_FIELDS "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", NULL, THEN_STALL },
    { "two-lengths", OK_FIELDS "Content-Length: 3\r\nContent-Length: 4\r\n\r\nok\n", NULL, THEN_STALL },
    { "negative-length", OK_FIELDS "Content-Length: -1\r\n\r\nok\n", NULL, THEN_STALL },
    { "huge-length", OK_FIELDS "Content-Length: 99999999999999999999999\r\n\r\nok\n", NULL, THEN_STALL },
    { "bad-chunk-size", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\n\r\n0\r\n\r\n", NULL, THEN_STALL },
    { "huge-chunk-size", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok\n\r\n0\r\n\r\n", NULL, THEN_STALL },
    { "bad-chunk-end", OK_FIELDS "Transfer-Encoding: chunked\r\n\r\n3\r\nok\nXX0\r\n\r\n", NULL, THEN_STALL },
    { "unknown-coding", OK_FIELDS "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", NULL, THEN_STALL },
    { "bare-cr", OK_FIELDS "X-Split: a\rSet-Cookie: b\r\nContent-Length: 3\r\n\r\nok\n", NULL, THEN_STALL },
    { "bad-name", OK_FIELDS "X Bad: a\r\nContent-Length: 3\r\n\r\nok\n", NULL, THEN_STALL },
    { "folded", OK_FIELDS "X-Folded: a\r\n b\r\nContent-Length: 3\r\n\r\nok\n", NULL, THEN_STALL },
    { "bad-status", "HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nok\n", NULL, THEN_STALL },
    { "bad-version", "HTTP/3.7 200 OK\r\nContent-Length: 3\r\n\r\nok\n", NULL, THEN_STALL },
    { "unasked-upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", NULL, THEN_STALL },
    { "body-in-204", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoison\n", NULL, THEN_STALL },
    { "never-read", "", NULL, THEN_SWALLOW },
};

/* /evil/raw?data=PERCENT-ENCODED&then=close|reset|stall sends just that. /evil/drip?ms=N sends a good answer byte by byte. */
struct evil {
    const struct evil_act *act;
    struct buf text;
    size_t sent;
    uint64_t drip_ms;
    bool done;
};

static int evil_start(struct connection *connection)
{
    (void)connection;
    return 0;
}

static int evil_data(struct connection *connection)
{
    struct evil *evil = connection->state;
    if (evil->act->then == THEN_SWALLOW) {
        connection->pause = true;
        return 0;
    }
    buf_clear(&connection->in);
    if (connection->eof)
        connection->finish = true;
    return 0;
}

static int evil_pump(struct connection *connection)
{
    struct evil *evil = connection->state;
    if (evil->drip_ms && evil->sent < evil->text.len) {
        buf_append_char(&connection->out, evil->text.ptr[evil->sent++]);
        connection->wake_ms = connection->standin->now_ms + evil->drip_ms;
        return 0;
    }
    if (!evil->done && !evil->drip_ms)
        buf_append(&connection->out, buf_str(&evil->text));
    evil->done = true;
    if (evil->act->forever)
        while (connection->out.len < STANDIN_OUT_HIGH)
            buf_append(&connection->out, str_of(evil->act->forever));
    if (evil->act->then == THEN_CLOSE)
        connection->finish = true;
    /* What was sent before the reset must arrive, so the reset waits for an empty buffer and a moment. */
    if (evil->act->then == THEN_RESET) {
        if (connection->out.len || evil->sent == 0) {
            evil->sent = 1;
            connection->wake_ms = connection->standin->now_ms + 20;
        } else {
            connection->reset = true;
        }
    }
    return connection->out.error;
}

static void evil_stop(struct connection *connection)
{
    struct evil *evil = connection->state;
    buf_deinit(&evil->text);
    free(evil);
    connection->state = NULL;
}

static const struct protocol protocol_evil = { "evil", evil_start, evil_data, evil_pump, evil_stop };

static const struct evil_act evil_raw[] = {
    { "stall", "", NULL, THEN_STALL },
    { "close", "", NULL, THEN_CLOSE },
    { "reset", "", NULL, THEN_RESET },
};

bool evil_take(struct connection *connection, const struct request *request, int *ret_result)
{
    const struct evil_act *act = NULL;
    if (!str_starts_with(request->path, STR("/evil/")))
        return false;
    struct str name = str_skip(request->path, 6);
    struct evil *evil = calloc(1, sizeof(*evil));
    if (!evil) {
        *ret_result = -ENOMEM;
        return true;
    }
    buf_init(&evil->text, STANDIN_HEAD_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(evil_acts); i++)
        if (str_equal(name, str_of(evil_acts[i].name)))
            act = &evil_acts[i];
    if (act) {
        buf_append(&evil->text, str_of(act->first));
    } else if (str_equal(name, STR("raw"))) {
        cleanup_buf struct buf then = { .max = 64 };
        request_text(request, "then", &then);
        request_text(request, "data", &evil->text);
        act = &evil_raw[0];
        for (size_t i = 0; i < ARRAY_SIZE(evil_raw); i++)
            if (str_equal(buf_str(&then), str_of(evil_raw[i].name)))
                act = &evil_raw[i];
    } else if (str_equal(name, STR("drip"))) {
        act = &evil_raw[0];
        evil->drip_ms = request_number(request, "ms", 20, 60000);
        buf_append(&evil->text, STR(OK_FIELDS "Content-Length: 3\r\n\r\nok\n"));
    } else {
        buf_deinit(&evil->text);
        free(evil);
        return false;
    }
    evil->act = act;
    connection->protocol->stop(connection);
    connection->state = evil;
    *ret_result = connection_switch(connection, &protocol_evil);
    return true;
}
