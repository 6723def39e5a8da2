/* Docker's word, kept current: lists at the start and after every event, and what only inspect says of containers that run.
 *
 *   away ──connected──▶ asking containers ──▶ asking networks ──▶ (changed) ──▶ asking about each container that isn't known yet ──▶ (changed)
 *     ▲                        ▲                                                             │
 *     └──── events end ────────┴──────────────────────── event ──────────────────────────────┘
 *
 * While the engine is away the last word stands. */
#pragma once

#include "docker/connection.h"
#include "docker/container.h"
#include "docker/events.h"
#include "docker/network.h"
#include "enforce/links.h"

struct docker_view {
    struct io_loop *loop;
    void (*changed)(struct docker_view *view);              /* there is a new word, or more of it */
    void (*away)(struct docker_view *view, const char *why); /* told once, when the engine can't be asked any more */

    bool has_word;
    struct docker_containers containers;                    /* until changed is called again */
    struct docker_networks networks;
    int *namespaces;                                        /* of each container; LINKS_NO_NAMESPACE while it isn't known */

    /* Its own: */
    struct arena arena, next;
    struct docker_containers next_containers;
    struct docker_connection events, lists;
    struct docker_question event_stream, containers_question, networks_question, container_question;
    struct docker_lines lines;
    struct io_timer retry;
    struct io_deferred turn;
    struct buf known;                                       /* struct known_container */
    char asked_id[DOCKER_ID_LEN + 1];
    bool is_asking, is_stale, is_away, is_open;
    uint32_t retry_ms;
};

/* Nothing is asked before the loop runs. 0, -ENOMEM, -ENAMETOOLONG. */
int docker_view_init(struct docker_view *view, struct io_loop *loop, const char *socket_path) must_check;
void docker_view_deinit(struct docker_view *view);
