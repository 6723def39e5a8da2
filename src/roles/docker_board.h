/* The board: what the docker role shows of the engine and of each container, in a page of fixed size that it alone writes and the watcher maps
 * read-only. Texts are untrusted and may be seen half written: `stamp` is odd meanwhile, and changes with every writing. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

enum { DOCKER_BOARD_CONTAINERS = 4096 };

enum docker_board_engine {
    DOCKER_BOARD_ENGINE_UNKNOWN,    /* not asked yet */
    DOCKER_BOARD_ENGINE_THERE,
    DOCKER_BOARD_ENGINE_AWAY,       /* trouble says why */
};

enum docker_board_status {
    DOCKER_BOARD_EMPTY,             /* no such entry */
    DOCKER_BOARD_LOOKING,
    DOCKER_BOARD_RUNNING,           /* its namespace is the broker's */
    DOCKER_BOARD_PAUSED,            /* as RUNNING, but nothing in it moves */
    DOCKER_BOARD_ABSENT,            /* trouble says whether there is one that doesn't run */
    DOCKER_BOARD_REFUSED,           /* trouble says why */
    DOCKER_BOARD_WAITING,           /* it ends again and again: next look in wait_ms */
};

struct docker_board_container {
    uint32_t stamp;
    uint32_t status;                /* enum docker_board_status */
    uint64_t since;                 /* CLOCK_REALTIME seconds */
    uint32_t n_starts;              /* namespaces that were found, this one included */
    uint32_t wait_ms;
    uint32_t n_replicas;            /* that run by this name; the lowest number is the one dialled */
    uint32_t unused;
    char reference[128];
    char id[16];                    /* its first 12 digits */
    char trouble[192];
};

struct docker_board_head {
    uint32_t stamp;
    uint32_t engine;                /* enum docker_board_engine */
    uint64_t since;
    uint32_t n_containers;          /* entries in use; those past the end are counted but not shown */
    uint32_t n_reconnects;
    char version[64];
    char socket[128];
    char trouble[192];
};

struct docker_board {
    struct docker_board_head head;
    struct docker_board_container containers[DOCKER_BOARD_CONTAINERS];
};

enum { DOCKER_BOARD_SIZE = (sizeof(struct docker_board) + 4095) / 4096 * 4096 };
