/* What the lab's commands share: the lab's name, and bringing one up. */
#pragma once

#include "cli/declaration.h"
#include "lab/space.h"
#include "lab/world.h"

struct lab_up {
    struct cli_declaration declaration;
    struct world world;
    struct space space;
    int lifeline; /* the lab ends when it is closed, where tied */
};

/* Reads the declaration and brings its lab up, saying on out how it goes; tied: it lives no longer than this process. On success the
 * caller deinits *ret; a message was printed otherwise. */
bool lab_bring_up(const char *file, const char *name, bool tied, FILE *out, struct lab_up *ret) must_check;
void lab_up_deinit(struct lab_up *up);

int lab_demo(const char *file, const char *name, bool once);
