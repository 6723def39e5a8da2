/* The engine's events: lines of JSON cut out of the stream, and what one says. */
#pragma once

#include "base/buf.h"
#include "docker/container.h"

enum { DOCKER_EVENT_LINE_MAX = 1 << 20 }; /* a container's labels are part of each of its events */

enum docker_event_type { DOCKER_EVENT_OTHER, DOCKER_EVENT_CONTAINER, DOCKER_EVENT_NETWORK, DOCKER_EVENT_DAEMON };

enum docker_event_action {
    DOCKER_ACTION_OTHER,
    DOCKER_ACTION_CREATE, DOCKER_ACTION_START, DOCKER_ACTION_RESTART, DOCKER_ACTION_PAUSE, DOCKER_ACTION_UNPAUSE, DOCKER_ACTION_STOP,
    DOCKER_ACTION_DIE, DOCKER_ACTION_DESTROY, DOCKER_ACTION_RENAME, DOCKER_ACTION_UPDATE,
    DOCKER_ACTION_CONNECT, DOCKER_ACTION_DISCONNECT, /* a network's; "remove" of a network (Podman) is DESTROY */
    DOCKER_ACTION_RELOAD,
};

/* Texts live in the caller's arena. */
struct docker_event {
    enum docker_event_type type;
    enum docker_event_action action;
    struct str id;                /* of the container or network */
    struct str name;              /* the container's or network's (after a rename: the new one) */
    struct str project, service;  /* Compose's labels of a container */
    struct str container;         /* connect, disconnect: the container's ID */
    struct str driver;            /* a network's */
    struct str offered;           /* a container's label postern.service, "" without */
    uint64_t time_ns;             /* since 1970, by the engine's clock: what "since=" takes */
};

/* 0; -EINVAL (not an event), -E2BIG, -ENOMEM. An event of a kind that nobody here knows is OTHER. */
int docker_event_parse(struct str line, struct arena *arena, struct docker_event *ret, struct error *err) must_check;

/* What is wanted of GET /events, escaped for a request's path: containers, networks and the daemon. since_ns 0: from now on. */
enum { DOCKER_EVENTS_PATH_SIZE = 192 };
const char *docker_events_path(uint64_t since_ns, char text[static DOCKER_EVENTS_PATH_SIZE]);

/* Lines out of pieces. */
struct docker_lines {
    struct buf rest; /* of a line whose end has not come */
    bool is_taken;   /* it was handed out whole */
};

void docker_lines_init(struct docker_lines *lines);
void docker_lines_deinit(struct docker_lines *lines);
/* Takes from *piece up to a line's end. True: *ret_line is the line without its end (borrowed until the next call; never empty).
 * False: piece is used up. A line past DOCKER_EVENT_LINE_MAX sets *ret_error to -E2BIG, no memory to -ENOMEM: then nothing that follows can be
 * trusted, and the stream should be closed. */
bool docker_lines_next(struct docker_lines *lines, struct str *piece, struct str *ret_line, int *ret_error) must_check;
