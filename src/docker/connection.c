/* Questions to the engine, one after the other over one connection.
 *
 *   CLOSED ── turn: connect ──▶ PINGING ── answered ──▶ ASKING ── answered ──▶ IDLE ── turn ──▶ ASKING
 *      ▲                           │                      │                      │
 *      └────────── lost ───────────┴──────────────────────┴──────────────────────┘ */
#include "docker/connection.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "docker/json.h"

enum state { CLOSED, PINGING, IDLE, ASKING };

enum {
    READ_SIZE = 64 << 10,
    BUSY_AGAIN_MS = 50, /* a full backlog of the engine's socket is asked again */
};

static void take_turn(struct io_deferred *deferred);
static void on_ready(struct io_source *source, uint32_t events);
static void on_timer(struct io_timer *timer);

/* ---- life ---- */

int docker_connection_init(struct docker_connection *connection, struct io_loop *loop, const char *socket_path)
{
    struct sockaddr_un name;
    if (strlen(socket_path) >= sizeof name.sun_path)
        return -ENAMETOOLONG;
    char *path = strdup(socket_path);
    if (!path)
        return -ENOMEM;
    *connection = (struct docker_connection){
        .source = { .fd = -1, .ready = on_ready },
        .timer = { .fire = on_timer },
        .turn = { .run = take_turn },
        .loop = loop,
        .socket_path = path,
    };
    connection->last = &connection->first;
    buf_init(&connection->out, DOCKER_PATH_MAX + 256);
    docker_response_init(&connection->response);
    return 0;
}

static void hang_up(struct docker_connection *connection)
{
    if (connection->source.fd >= 0) {
        io_unwatch(connection->loop, &connection->source);
        close(TAKE_FD(connection->source.fd));
    }
    io_timer_clear(connection->loop, &connection->timer);
    connection->deadline_ms = 0;
    connection->api_minor = 0;
    connection->state = CLOSED;
    connection->is_reused = false;
}

static void forget_all(struct docker_question *question)
{
    for (; question; question = question->next)
        question->is_asked = false;
}

void docker_connection_deinit(struct docker_connection *connection)
{
    if (!connection->loop)
        return;
    hang_up(connection);
    io_undefer(connection->loop, &connection->turn);
    forget_all(connection->first);
    forget_all(connection->doomed);
    connection->first = connection->doomed = NULL;
    connection->last = &connection->first;
    connection->n_questions = 0;
    docker_response_deinit(&connection->response);
    buf_deinit(&connection->out);
    free(TAKE(connection->socket_path));
    connection->loop = NULL;
}

/* ---- the queue ---- */

int docker_connection_ask(struct docker_connection *connection, struct docker_question *question, const char *path)
{
    size_t len = strlen(path);
    if (len >= sizeof question->path)
        return -ENAMETOOLONG;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)path[i] <= ' ' || (unsigned char)path[i] >= 0x7f)
            return -EINVAL;
    if (path[0] != '/' || question->is_asked)
        return -EINVAL;
    if (connection->n_questions >= DOCKER_QUESTIONS_MAX)
        return -ENOBUFS;
    memcpy(question->path, path, len + 1);
    question->next = NULL;
    question->is_asked = true;
    *connection->last = question;
    connection->last = &question->next;
    connection->n_questions++;
    io_defer(connection->loop, &connection->turn);
    return 0;
}

static void unlink_question(struct docker_connection *connection, struct docker_question **at)
{
    struct docker_question *question = *at;
    *at = question->next;
    if (connection->last == &question->next)
        connection->last = at;
    question->next = NULL;
    question->is_asked = false;
    connection->n_questions--;
}

void docker_connection_withdraw(struct docker_connection *connection, struct docker_question *question)
{
    if (!question->is_asked || !connection->loop)
        return;
    bool is_its_turn = connection->first == question;
    struct docker_question **lists[] = { &connection->first, &connection->doomed };
    for (size_t i = 0; i < ARRAY_SIZE(lists) && question->is_asked; i++)
        for (struct docker_question **at = lists[i]; *at; at = &(*at)->next)
            if (*at == question) {
                unlink_question(connection, at);
                break;
            }
    if (is_its_turn && connection->state != IDLE)
        hang_up(connection);
    if (connection->first)
        io_defer(connection->loop, &connection->turn);
}

/* ---- how it ends ---- */

/* All that wait are told, of which each may ask again, withdraw others, or deinit the connection. */
static void fail(struct docker_connection *connection, int r)
{
    hang_up(connection);
    struct docker_question **end = &connection->doomed;
    while (*end)
        end = &(*end)->next;
    *end = connection->first;
    connection->first = NULL;
    connection->last = &connection->first;
    struct error err = connection->err;
    while (connection->doomed) {
        struct docker_question *question = connection->doomed;
        unlink_question(connection, &connection->doomed);
        question->done(question, r, NULL, &err);
    }
}

static void fail_saying(struct docker_connection *connection, int r, const char *what)
{
    error_set(&connection->err, "%s: %s", connection->socket_path, what);
    fail(connection, r);
}

/* The engine is gone. A question that a connection took which was used before, and of whose answer nothing came, may have met its end. */
static void lost(struct docker_connection *connection)
{
    bool is_untouched = connection->response.status == 0 && connection->response.head.len == 0;
    if (connection->state == ASKING && connection->is_reused && is_untouched) {
        hang_up(connection);
        io_defer(connection->loop, &connection->turn);
    } else if (connection->first) {
        fail_saying(connection, -ECONNRESET, "the engine hung up");
    } else {
        hang_up(connection);
    }
}

static void on_timer(struct io_timer *timer)
{
    struct docker_connection *connection = container_of(timer, struct docker_connection, timer);
    if (connection->deadline_ms > connection->loop->now_ms)
        io_defer(connection->loop, &connection->turn);
    else
        fail_saying(connection, -ETIMEDOUT, "the engine doesn't answer in time");
}

/* ---- asking ---- */

static int connect_to(struct docker_connection *connection)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    str_copy(name.sun_path, sizeof name.sun_path, str_of(connection->socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    connection->source.fd = fd;
    int r = connect(fd, (const struct sockaddr *)&name, sizeof name) < 0 ? -errno
                                                                          : io_watch(connection->loop, &connection->source, EPOLLIN | EPOLLRDHUP);
    if (r < 0)
        close(TAKE_FD(connection->source.fd));
    return r;
}

static void fail_to_connect(struct docker_connection *connection, int r)
{
    if (r == -ENOENT || r == -ECONNREFUSED)
        fail_saying(connection, r, "no engine listens there (is Docker running? docker: at the host names another socket)");
    else if (r == -EACCES || r == -EPERM)
        fail_saying(connection, r, "not allowed (run it as root, or as a member of the socket's group)");
    else
        fail_saying(connection, r, strerrordesc_np(-r));
}

static void flush(struct docker_connection *connection)
{
    while (connection->out.len > 0) {
        ssize_t n = send(connection->source.fd, connection->out.ptr, connection->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            lost(connection);
            return;
        }
        buf_consume(&connection->out, (size_t)n);
    }
    uint32_t events = EPOLLIN | EPOLLRDHUP | (connection->out.len > 0 ? EPOLLOUT : 0);
    int r = io_rewatch(connection->loop, &connection->source, events);
    if (r < 0)
        fail_saying(connection, r, strerrordesc_np(-r));
}

static bool take_piece(void *context, struct str piece);

static void send_question(struct docker_connection *connection, enum state state)
{
    docker_response_deinit(&connection->response);
    docker_response_init(&connection->response);
    buf_clear(&connection->out);
    if (state == PINGING) {
        buf_append(&connection->out, STR("GET /_ping"));
    } else {
        buf_printf(&connection->out, "GET /v1.%u%s", connection->api_minor, connection->first->path);
        if (connection->first->piece) {
            connection->response.take = take_piece;
            connection->response.context = connection;
        }
    }
    buf_append(&connection->out, STR(" HTTP/1.1\r\nHost: docker\r\nUser-Agent: postern\r\nAccept: application/json\r\n\r\n"));
    if (connection->out.error) {
        fail_saying(connection, connection->out.error, "no memory");
        return;
    }
    connection->state = (uint8_t)state;
    connection->is_opened = false;
    flush(connection);
}

static void take_turn(struct io_deferred *deferred)
{
    struct docker_connection *connection = container_of(deferred, struct docker_connection, turn);
    struct docker_question *question = connection->first;
    uint64_t now_ms = connection->loop->now_ms;
    if (!question || connection->state == PINGING || connection->state == ASKING)
        return;
    if (connection->deadline_ms == 0)
        connection->deadline_ms = now_ms + (question->timeout_ms ? question->timeout_ms : DOCKER_TIMEOUT_MS);
    uint64_t left_ms = connection->deadline_ms > now_ms ? connection->deadline_ms - now_ms : 0;
    if (connection->source.fd < 0) {
        int r = connect_to(connection);
        if (r == -EAGAIN) {
            io_timer_set(connection->loop, &connection->timer, left_ms < BUSY_AGAIN_MS ? left_ms : BUSY_AGAIN_MS);
            return;
        }
        if (r < 0) {
            fail_to_connect(connection, r);
            return;
        }
    }
    io_timer_set(connection->loop, &connection->timer, left_ms);
    send_question(connection, connection->api_minor == 0 ? PINGING : ASKING);
}

/* ---- answers ---- */

/* The newest version that both speak. */
static int settle_version(struct docker_connection *connection)
{
    struct str minor_text = str_of(connection->response.api_version), major_text = str_split(&minor_text, '.');
    uint64_t minor;
    if (connection->response.status != 200) {
        error_set(&connection->err, "%s: the engine answers /_ping with %u", connection->socket_path, connection->response.status);
        return -EPROTO;
    }
    if (!str_equal(major_text, STR("1")) || !str_to_u64(minor_text, 9999, &minor)) {
        error_set(&connection->err, "%s: not a Docker engine: it doesn't say which version 1.N of the API it speaks", connection->socket_path);
        return -EPROTONOSUPPORT;
    }
    if (minor < DOCKER_API_OLDEST) {
        error_set(&connection->err, "%s: the engine speaks API 1.%u at most; at least 1.%d is needed (Docker 19.03)", connection->socket_path,
                  (unsigned)minor, DOCKER_API_OLDEST);
        return -EPROTONOSUPPORT;
    }
    connection->api_minor = minor < DOCKER_API_NEWEST ? (unsigned)minor : DOCKER_API_NEWEST;
    return 0;
}

static void answered(struct docker_connection *connection)
{
    bool keeps_alive = connection->response.keeps_alive;
    if (connection->state == PINGING) {
        int r = settle_version(connection);
        if (r < 0)
            fail(connection, r);
        else if (!keeps_alive)
            fail_saying(connection, -EPROTO, "the engine hangs up after each answer");
        else
            send_question(connection, ASKING);
        return;
    }
    struct docker_question *question = connection->first;
    unlink_question(connection, &connection->first);
    if (keeps_alive) {
        io_timer_clear(connection->loop, &connection->timer);
        connection->deadline_ms = 0;
        connection->state = IDLE;
        connection->is_reused = true;
    } else {
        hang_up(connection);
    }
    if (connection->first)
        io_defer(connection->loop, &connection->turn);
    question->done(question, 0, &connection->response, NULL);
}

static bool note_head(struct docker_connection *connection)
{
    struct docker_question *question = connection->first;
    if (connection->state != ASKING || connection->is_opened || !question->piece || connection->response.status != 200)
        return connection->state == ASKING;
    connection->is_opened = true;
    connection->deadline_ms = 0;
    io_timer_clear(connection->loop, &connection->timer);
    if (question->opened)
        question->opened(question);
    return connection->loop && connection->first == question && connection->state == ASKING;
}

/* What is called here may withdraw the question, or deinit the connection. */
static bool take_piece(void *context, struct str piece)
{
    struct docker_connection *connection = context;
    struct docker_question *question = connection->first;
    if (!note_head(connection))
        return false;
    if (!question->piece(question, piece)) {
        if (connection->loop && connection->first == question)
            connection->is_unwanted = true;
        return false;
    }
    return connection->loop && connection->first == question && connection->state == ASKING;
}

static void feed(struct docker_connection *connection, struct str bytes)
{
    struct docker_question *question = connection->first;
    size_t used = 0;
    connection->is_unwanted = false;
    int r = docker_response_feed(&connection->response, bytes, &used);
    if (!connection->loop || connection->first != question || connection->state == CLOSED)
        return; /* a stream that was withdrawn while it was told */
    if (r < 0) {
        fail_saying(connection, r, "no memory for its answer");
    } else if (connection->is_unwanted) {
        fail_saying(connection, -ECANCELED, "not wanted any more");
    } else if (r == DOCKER_RESPONSE_REFUSED) {
        error_set(&connection->err, "%s: not an engine's answer: %s", connection->socket_path, connection->response.problem);
        fail(connection, -EPROTO);
    } else if (r == DOCKER_RESPONSE_MORE) {
        (void)note_head(connection);
    } else {
        if (used < bytes.len)
            connection->response.keeps_alive = false; /* nobody asked for more */
        answered(connection);
    }
}

static void on_ready(struct io_source *source, uint32_t events)
{
    struct docker_connection *connection = container_of(source, struct docker_connection, source);
    char bytes[READ_SIZE];
    if (events & EPOLLOUT)
        flush(connection);
    if (source->fd < 0 || !(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = recv(source->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (connection->state != PINGING && connection->state != ASKING)
        hang_up(connection); /* the engine's end, or words that nobody asked for: the next question connects anew */
    else if (n > 0)
        feed(connection, str_make(bytes, (size_t)n));
    else if (n == 0 && connection->response.status != 0 && docker_response_finish(&connection->response) == 0)
        answered(connection);
    else
        lost(connection);
}

/* ---- refusals ---- */

const char *docker_response_message(const struct docker_response *response, char text[static DOCKER_MESSAGE_SIZE])
{
    json_t *root;
    text[0] = 0;
    if (docker_json_load(buf_str(&response->body), &root, NULL) < 0)
        return text;
    const char *message = json_string_value(json_object_get(root, "message"));
    if (message)
        str_copy(text, DOCKER_MESSAGE_SIZE, str_of(message));
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    json_decref(root);
    return text;
}
