/* Every path that a lab can try, with what the declaration says of it (by the naive evaluator) beside what was measured. */
#pragma once

#include "lab/probe.h"
#include "lab/world.h"

enum row_expect {
    ROW_SERVED,     /* 200 from the service, by one of its instances */
    ROW_NOT_FOUND,  /* 404, the same for everything that isn't granted or isn't there */
    ROW_REDIRECTED, /* 308 to the surface */
    ROW_ANSWERED,   /* the port answers, by the one who has it */
    ROW_REFUSED,    /* nothing gets through */
};

struct row {
    uint32_t from;         /* a host; n_hosts of the model: the neighbour on the LAN */
    enum row_expect expect;
    uint32_t service;      /* SERVED, ANSWERED: MODEL_NONE when it is a port */
    uint32_t host;         /* where it must be answered, or MODEL_NONE for any of the service's hosts */
    uint32_t line;         /* of the grant; 0: none */
    uint32_t surface;      /* SERVED, NOT_FOUND, REDIRECTED */
    bool may_be_closed;    /* REFUSED: no firewall of ours is there, so that nothing listens is enough */
    bool is_quiet;         /* ANSWERED: it waits to be spoken to in a protocol that a probe doesn't speak; a connection is enough */
    bool by_lan;
    bool shown;            /* one of those worth a look */
    bool holds;            /* measured as declared */
    struct str asks;       /* "https://grafana.home.example", "roc:22" */
    struct probe *probe;   /* in rows.probes */
};

struct rows {
    const struct world *world;
    struct row *items;
    uint32_t n, n_max;
    uint64_t n_left_out;   /* paths that there was no room for */
    struct arena texts;
    struct probe *probes;  /* shared with the processes that try them */
    size_t probes_size;
};

/* Borrows the world. 0 or -ENOMEM. */
int rows_init(struct rows *ret, const struct world *world) must_check;
void rows_deinit(struct rows *rows);
/* The name of who asks. */
struct str rows_from(const struct rows *rows, uint32_t from);
/* Tries all, each source from its own host of the lab that supervisor is; fills in the probes and holds. 0 or a negative errno with err. */
int rows_try(struct rows *rows, int supervisor, struct error *err) must_check;
/* "200 from grafana@roc": what was declared, and what was measured. */
void rows_describe_expected(const struct rows *rows, const struct row *row, struct buf *out);
void rows_describe_measured(const struct row *row, struct buf *out);
