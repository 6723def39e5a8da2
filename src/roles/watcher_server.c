/* Small bounded servers on sockets that the parent made: JSON lines for the command line, HTTP/1 for a scraper. */
#include "roles/watcher_server.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "roles/watcher_report.h"

void server_init(struct server *server, struct watcher_state *watched)
{
    for (size_t kind = 0; kind < ARRAY_SIZE(server->connections); kind++)
        for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++)
            server->connections[kind][i].fd = -1;
    server->watched = watched;
}

static void connection_end(struct server_connection *connection)
{
    if (connection->fd < 0)
        return;
    close(connection->fd);
    buf_deinit(&connection->out);
    *connection = (struct server_connection){ .fd = -1 };
}

unsigned server_accept(struct server *server, enum server_kind kind, int fd, int64_t now_ms)
{
    struct server_connection *all = server->connections[kind];
    unsigned index = 0;
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        if (all[i].fd < 0) {
            index = i;
            break;
        }
        if (all[i].limit_ms < all[index].limit_ms)
            index = i;
    }
    connection_end(&all[index]);
    all[index] = (struct server_connection){ .fd = fd, .limit_ms = now_ms + SERVER_LIMIT_MS };
    buf_init(&all[index].out, WATCHER_REPORT_MAX);
    return index;
}

/* ---- writing ---- */

static void connection_write(struct server_connection *connection)
{
    while (connection->sent < connection->out.len) {
        ssize_t n = send(connection->fd, connection->out.ptr + connection->sent, connection->out.len - connection->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            connection_end(connection);
            return;
        }
        connection->sent += (size_t)n;
    }
    /* Closed with something unread, the answer's end could be lost (RFC 9112 section 9.6). */
    connection->state = SERVER_LINGERING;
    shutdown(connection->fd, SHUT_WR);
}

static void connection_answer(struct server_connection *connection)
{
    if (connection->out.error) {
        connection_end(connection);
        return;
    }
    connection->state = SERVER_WRITING;
    connection_write(connection);
}

/* ---- the control socket ---- */

static void control_refuse(struct server_connection *connection, const char *why)
{
    buf_append(&connection->out, STR("{\"error\":"));
    buf_append_json(&connection->out, str_of(why));
    buf_append(&connection->out, STR("}\n"));
    connection_answer(connection);
}

static void ask_reload(struct server *server, struct server_connection *connection, int64_t now_ms)
{
    struct ipc_reload reload = { .header = IPC_HEADER(IPC_WATCHER_RELOAD, reload), .request = ++server->last_reload };
    if (ipc_send_plain(IPC_PARENT_FD, &reload)) {
        control_refuse(connection, "the parent can't be asked now; try again");
        return;
    }
    connection->state = SERVER_WAITING;
    connection->reload = reload.request;
    connection->limit_ms = now_ms + SERVER_RELOAD_LIMIT_MS;
}

static void control_answer(struct server *server, struct server_connection *connection, struct str line, int64_t now_ms)
{
    json_t *request = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *ask = json_object_get(request, "ask");
    struct str word = json_is_string(ask) ? str_make(json_string_value(ask), json_string_length(ask)) : STR("");
    if (str_equal(word, STR("status"))) {
        watcher_report_status(server->watched, now_ms, &connection->out);
        connection_answer(connection);
    } else if (str_equal(word, STR("metrics"))) {
        watcher_report_metrics(server->watched, now_ms, &connection->out);
        connection_answer(connection);
    } else if (str_equal(word, STR("reload"))) {
        ask_reload(server, connection, now_ms);
    } else {
        control_refuse(connection, "asked is {\"ask\":\"status\"}, \"metrics\" or \"reload\"");
    }
    json_decref(request);
}

void server_tell_reload(struct server *server, const struct ipc_reload_result *result, struct str report, int64_t now_ms)
{
    for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        struct server_connection *connection = &server->connections[SERVER_CONTROL][i];
        if (connection->fd < 0 || connection->state != SERVER_WAITING || connection->reload != result->request)
            continue;
        connection->limit_ms = now_ms + SERVER_LIMIT_MS;
        buf_printf(&connection->out, "{\"status\":%d,\"generation\":%llu,\"revision\":", (int)result->status, (unsigned long long)result->generation);
        buf_append_json(&connection->out, str_of(result->revision));
        buf_append(&connection->out, STR(",\"report\":"));
        buf_append_json(&connection->out, report);
        buf_append(&connection->out, STR("}\n"));
        connection_answer(connection);
    }
}

/* ---- metrics over HTTP ---- */

static void http_answer(struct server_connection *connection, const char *status, struct str type, struct str body, bool with_body)
{
    buf_printf(&connection->out,
               "HTTP/1.1 %s\r\nContent-Type: %.*s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", status,
               STR_ARG(type), body.len);
    if (with_body)
        buf_append(&connection->out, body);
    connection_answer(connection);
}

static void metrics_answer(struct server *server, struct server_connection *connection, struct str head, int64_t now_ms)
{
    struct str plain = STR("text/plain; charset=utf-8");
    struct str line = str_first(head, str_find_char(head, '\n'));
    struct str method = str_split(&line, ' ');
    struct str target = str_split(&line, ' ');
    bool is_head = str_equal(method, STR("HEAD"));
    target = str_first(target, str_find_char(target, '?'));
    if (!str_starts_with(line, STR("HTTP/1."))) {
        http_answer(connection, "400 Bad Request", plain, STR("This is no HTTP/1 request.\n"), true);
    } else if (!is_head && !str_equal(method, STR("GET"))) {
        http_answer(connection, "405 Method Not Allowed\r\nAllow: GET, HEAD", plain, STR("Metrics are read with GET.\n"), true);
    } else if (!str_equal(target, STR("/metrics"))) {
        http_answer(connection, "404 Not Found", plain, STR("There is only /metrics.\n"), !is_head);
    } else {
        cleanup_buf struct buf body;
        buf_init(&body, WATCHER_REPORT_MAX / 2);
        watcher_report_metrics(server->watched, now_ms, &body);
        if (body.error)
            http_answer(connection, "500 Internal Server Error", plain, STR("Too much to report.\n"), !is_head);
        else
            http_answer(connection, "200 OK", STR("text/plain; version=0.0.4; charset=utf-8"), buf_str(&body), !is_head);
    }
}

/* ---- reading ---- */

static void connection_read(struct server *server, enum server_kind kind, struct server_connection *connection, int64_t now_ms)
{
    ssize_t n = read(connection->fd, connection->in + connection->len, sizeof connection->in - connection->len);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        connection_end(connection);
        return;
    }
    connection->len += (size_t)n;
    struct str got = str_make(connection->in, connection->len);
    if (kind == SERVER_CONTROL) {
        size_t end = str_find_char(got, '\n');
        if (end < got.len)
            control_answer(server, connection, str_first(got, end), now_ms);
        else if (connection->len == sizeof connection->in)
            control_refuse(connection, "the question is too long");
        return;
    }
    const char *end = memmem(got.ptr, got.len, "\r\n\r\n", 4);
    if (end)
        metrics_answer(server, connection, str_first(got, (size_t)(end - got.ptr)), now_ms);
    else if (connection->len == sizeof connection->in)
        http_answer(connection, "431 Request Header Fields Too Large", STR("text/plain; charset=utf-8"), STR("The request is too long.\n"), true);
}

/* What comes after the request is thrown away, a bounded amount at a time; its end ends the connection. */
static void connection_drain(struct server_connection *connection)
{
    for (unsigned i = 0; i < 16; i++) {
        ssize_t n = read(connection->fd, connection->in, sizeof connection->in);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            break;
    }
    connection_end(connection);
}

void server_ready(struct server *server, enum server_kind kind, unsigned index, int64_t now_ms)
{
    struct server_connection *connection = &server->connections[kind][index];
    if (connection->fd < 0)
        return;
    if (connection->state == SERVER_READING)
        connection_read(server, kind, connection, now_ms);
    else if (connection->state == SERVER_WRITING)
        connection_write(connection);
    if (connection->fd >= 0 && connection->state == SERVER_LINGERING)
        connection_drain(connection);
}

int server_turn(struct server *server, int64_t now_ms)
{
    int64_t next_ms = -1;
    for (size_t kind = 0; kind < ARRAY_SIZE(server->connections); kind++)
        for (size_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
            struct server_connection *connection = &server->connections[kind][i];
            if (connection->fd < 0)
                continue;
            int64_t left_ms = connection->limit_ms - now_ms;
            if (left_ms <= 0 && connection->state == SERVER_WAITING) {
                connection->limit_ms = now_ms + SERVER_LIMIT_MS;
                control_refuse(connection, "the reload takes longer than two minutes; 'postern status' tells what is in force");
                left_ms = SERVER_LIMIT_MS;
            }
            if (left_ms <= 0)
                connection_end(connection);
            else if (next_ms < 0 || left_ms < next_ms)
                next_ms = left_ms;
        }
    return (int)next_ms;
}
