/* Bridges with a name that Docker makes up, which it doesn't know: for a few seconds they may be its own, so new that it hasn't told yet. What
 * is there when it has its first word, and isn't in it, is somebody else's. */
#pragma once

#include "docker/network.h"
#include "enforce/links.h"
#include "io/loop.h"
#include "policy/container_filter.h"

enum { UNSETTLED_MAX = 64, UNSETTLED_MS = 5000 };

struct unsettled {
    struct io_loop *loop;
    void (*settled)(struct unsettled *unsettled); /* time is over for one of them: it isn't Docker's */
    struct io_timer timer;
    char names[UNSETTLED_MAX][CONTAINER_NAME_SIZE];
    int indexes[UNSETTLED_MAX];
    uint64_t until_ms[UNSETTLED_MAX];
    uint32_t n;
    int newest;                                   /* no interface with a higher index was seen yet */
    bool had_word;
};

void unsettled_init(struct unsettled *unsettled, struct io_loop *loop);
void unsettled_deinit(struct unsettled *unsettled);
/* networks: NULL before Docker's first word; then all such bridges are unsettled. Past UNSETTLED_MAX the rest counts as not Docker's. */
void unsettled_look(struct unsettled *unsettled, const struct links *links, const struct docker_networks *networks);
