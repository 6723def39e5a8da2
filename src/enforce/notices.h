/* What the kernel tells whoever listens: rules that somebody changed, interfaces and addresses that come and go. */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "io/loop.h"

enum { NOTICES_NAME_SIZE = 32 };

/* A transaction of somebody's, that touched tables with the name. */
struct notices_change {
    pid_t pid;                       /* 0: not known, some notices were lost */
    char name[NOTICES_NAME_SIZE];    /* of the process */
};

struct notices {
    struct io_loop *loop;
    const char *table;
    void (*rules_changed)(struct notices *notices, const struct notices_change *change);
    void (*links_changed)(struct notices *notices);
    struct io_source rules, links;
    bool is_touched;                 /* by the transaction whose end has not come */
};

/* table is borrowed. Only with CAP_NET_ADMIN. 0 or a negative errno with err. */
int notices_init(struct notices *notices, struct io_loop *loop, const char *table, struct error *err) must_check;
void notices_deinit(struct notices *notices);
