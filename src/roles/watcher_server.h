/* The watcher's connections: the control socket's one-line questions, and GET /metrics.
 *
 *   (accepted) ──▶ READING ──whole request──▶ WRITING ──all out──▶ LINGERING ──peer's end or limit──▶ (closed)
 *                     │                          ▲
 *                     └──{"ask":"reload"}──▶ WAITING ── IPC_PARENT_RELOAD_RESULT, or limit
 * A connection has one request, 4 KiB at most, and five seconds (a reload: two minutes) in all. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "roles/watcher_state.h"

enum {
    SERVER_CONNECTIONS_MAX = 32,     /* of each kind */
    SERVER_REQUEST_MAX = 4096,
    SERVER_LIMIT_MS = 5000,
    SERVER_RELOAD_LIMIT_MS = 120000,
};

enum server_kind { SERVER_CONTROL, SERVER_METRICS };
enum server_state { SERVER_READING, SERVER_WAITING, SERVER_WRITING, SERVER_LINGERING };

struct server_connection {
    int fd;                          /* -1: free */
    enum server_state state;
    int64_t limit_ms;
    uint64_t reload;                 /* WAITING: what the parent was asked as */
    size_t len;
    struct buf out;
    size_t sent;
    char in[SERVER_REQUEST_MAX];
};

struct server {
    struct server_connection connections[2][SERVER_CONNECTIONS_MAX]; /* by kind */
    struct watcher_state *watched;
    uint64_t last_reload;
};

void server_init(struct server *server, struct watcher_state *watched);
/* Takes an accepted, non-blocking connection; where there is no room the one with the least time left makes some: who only holds
 * connections keeps nobody out. Returns its index. */
unsigned server_accept(struct server *server, enum server_kind kind, int fd, int64_t now_ms);
void server_ready(struct server *server, enum server_kind kind, unsigned index, int64_t now_ms);
/* Answers whoever waits for that reload; report is its text. */
void server_tell_reload(struct server *server, const struct ipc_reload_result *result, struct str report, int64_t now_ms);
/* Ends what has had its time; returns the milliseconds until the next one, or -1. */
int server_turn(struct server *server, int64_t now_ms);
