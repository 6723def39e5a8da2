/* On no: the smallest change to the declaration that would make it yes, tried before it is offered. */
#pragma once

#include "cli/question.h"
#include "policy/amend.h"
#include "policy/change.h"

struct remedy {
    bool is_found;
    struct amend amend;
    struct model *model;      /* the declaration as changed */
    struct change change;     /* all that the change opens */
    struct buf diff;          /* "- old" and "+ new" lines */
    char why_not[256];        /* not found: what stands in the way */
};

/* from and to as on the command line. asked: one thing only. 0, or -ENOMEM. */
int remedy_find(const struct layers *layers, const struct parties *parties, const char *from, const char *to, uint32_t over, uint32_t surface,
                struct remedy *ret) must_check;
void remedy_deinit(struct remedy *remedy);
#define cleanup_remedy cleanup(remedy_deinit)

/* What the change opens beside what was asked for: entries of change that aren't on the way to it. */
bool remedy_is_aside(const struct remedy *remedy, const struct change_entry *entry, const struct parties *parties, const struct access *access);
