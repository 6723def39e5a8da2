/* One dial: from a target of the table to an established socket, or the reason why not.
 *
 *            dial_start                    first connect done, by either
 *   (free) ───────────▶ CONNECTING ────────────────────────────────────▶ DONE ──▶ taken by the caller, dial_end ──▶ (free)
 *      │                 │  ▲  │ ▲  attempt_next: this one failed, or 250 ms have passed
 *      │                 │  │  └─┘
 *      │ not there (yet) │  │ it came          WAITING: for a container's namespace, as long as the limit or the container's own allows;
 *      └──▶ WAITING ◀────┘──┘                   in it are also those whose container ended before they were connected
 *
 * Addresses are tried in the target's order, each given 250 ms alone (RFC 8305 section 5), all of them 3 s together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/error.h"
#include "policy/image.h"
#include "roles/broker_container.h"
#include "roles/broker_netns.h"
#include "roles/broker_watch.h"

enum { DIAL_FALLBACK_MS = 250, DIAL_LIMIT_MS = 3000, DIAL_UNIX_RETRY_MS = 20, DIAL_STARTING_RETRY_MS = 20 };

struct broker_attempt {
    struct broker_watch watch;
    int fd;                     /* -1: not under way */
    struct broker_dial *dial;
};

enum broker_dial_state { DIAL_FREE, DIAL_WAITING, DIAL_CONNECTING, DIAL_DONE };

struct broker_dial {
    enum broker_dial_state state;
    uint64_t id;                /* the worker's name for it */
    uint64_t identity;          /* the target's, to count its dials */
    struct broker_channel *channel;
    struct broker_dial *next;   /* of the caller's list */
    int64_t limit_ms, next_ms;  /* give up; start the next attempt */
    uint32_t kind;              /* enum image_target_kind */
    uint16_t port;
    bool is_datagram;           /* UDP: a connect that nobody answers, so which address is right shows only to who sends */
    uint32_t turn;              /* of UDP: which address comes first, counted round */
    uint64_t container;         /* CONTAINER: its number */
    bool found_again;           /* its addresses were looked up a second time */
    bool finds_routes;          /* the namespace's own addresses, from these sources: */
    struct address sources[2];
    unsigned n_routes, n_tried, n_under_way;
    int status;                 /* DONE: 0, or negative errno */
    int socket;                 /* DONE with status 0: established, owned until taken */
    struct broker_route routes[IMAGE_TARGET_ADDRESSES];
    struct broker_attempt attempts[IMAGE_TARGET_ADDRESSES];
    char path[BROKER_NETNS_PATH_MAX]; /* the socket or the namespace; a copy, for the table may be replaced meanwhile */
};

struct broker_dialer {
    int epoll;
    struct broker_netns netns;
    struct broker_containers containers;
};

/* Begins; where it can be told at once the state is DONE on return. err is set where an operator has something to mend. */
void dial_start(struct broker_dialer *dialer, struct broker_dial *dial, const struct image_target *target, struct image image, uint32_t turn,
                int64_t now_ms, struct error *err);
/* An attempt's descriptor is ready. */
void dial_attempt_ready(struct broker_dialer *dialer, struct broker_attempt *attempt, int64_t now_ms);
/* A container came, changed or went: a dial of it waits, or begins anew. Nothing happens to others. */
void dial_container_changed(struct broker_dialer *dialer, struct broker_dial *dial, uint64_t container, int64_t now_ms);
/* Time has passed: starts what is due, gives up at the limit. */
void dial_tick(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms);
/* Closes all it holds, the established socket too unless taken (socket set to -1). The state is FREE then. */
void dial_end(struct broker_dialer *dialer, struct broker_dial *dial);
