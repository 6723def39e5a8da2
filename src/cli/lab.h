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

struct lab_demo_options {
    bool once; /* end after the table */
    bool json; /* every path as JSON instead of the table; implies once */
};
/* An exit status. Interrupted after its table it has done what was asked: 0 unless something was not as declared. */
int lab_demo(const char *file, const char *name, const struct lab_demo_options *options);
/* The same table for a lab that is up. */
int lab_try(const char *file, const char *name, bool json);
