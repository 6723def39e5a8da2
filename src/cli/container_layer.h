/* What the container tables of a declaration's hosts let pass, as they will be written: for each host that enforces a project, the tables are
 * worked out for an engine on paper (every declared container once, each project on a network of its own, the others on Docker's default
 * one), and what they hold is asked by the meaning of their rules, not by the declaration. */
#pragma once

#include "base/error.h"
#include "policy/access.h"
#include "render/containers.h"

enum container_answer {
    CONTAINER_NO,
    CONTAINER_YES,
    CONTAINER_UNHELD,  /* neither end is enforced: nothing is dropped, and nothing is vouched for */
};

/* Where a container is on paper: two addresses on one bridge. */
struct container_place {
    struct address addresses[2]; /* IPv4, IPv6 */
    char bridge[CONTAINER_NAME_SIZE], port[CONTAINER_NAME_SIZE];
};

struct container_layer {
    const struct access *access;
    struct arena arena;
    struct container_filter **filters; /* by host; NULL: it enforces nothing */
    struct container_place *places;    /* by container */
};

/* Containers of one host, squared: past it there are too many to judge each pair of them. */
enum { CONTAINER_LAYER_WORK_MAX = 1 << 22 };

/* The access must outlive it. 0; -ENOMEM; -E2BIG or -EINVAL with err. */
int container_layer_init(struct container_layer *ret, const struct access *access, struct error *err) must_check;
void container_layer_deinit(struct container_layer *layer);
#define cleanup_container_layer cleanup(container_layer_deinit)

/* New flows from a container to a port of another of its host, to the internet (port 0), or to an address that is a host's. *ret_rule (may be
 * NULL): the comment of the entry that lets it, or "". is_any: whether it passes by one of the families is what is asked; else, by each. */
enum container_answer container_layer_ask_container(const struct container_layer *layer, uint32_t from, uint32_t to, uint8_t protocol, uint16_t port,
                                                    bool is_any, struct str *ret_rule);
enum container_answer container_layer_ask_internet(const struct container_layer *layer, uint32_t from, bool is_any, struct str *ret_rule);
enum container_answer container_layer_ask_address(const struct container_layer *layer, uint32_t from, const struct address *to, uint8_t protocol,
                                                  uint16_t port, struct str *ret_rule);

enum container_difference_kind { CONTAINER_MISSING, CONTAINER_EXTRA };

/* One thing that the tables do and the declaration doesn't say, or the other way round. */
struct container_difference {
    enum container_difference_kind kind;
    uint32_t from;
    uint32_t to;               /* container; MODEL_NONE: an address, or the internet */
    struct address address;    /* of an address; zero bytes: the internet */
    uint8_t protocol;          /* of the internet 0 */
    uint16_t port;             /* 0: every one that isn't named otherwise */
    uint32_t line;             /* MISSING: of what declares it */
    struct str rule;           /* EXTRA: of the entry that lets it */
};

struct container_proof {
    struct arena arena;
    struct container_difference *items;
    uint32_t n;
    bool is_cut;               /* there are more than CONTAINER_DIFFERENCES_MAX */
    uint32_t n_enforced;       /* containers whose traffic was judged */
    uint32_t *unheld;          /* containers that nothing holds */
    uint32_t n_unheld;
};

enum { CONTAINER_DIFFERENCES_MAX = 1000 };

/* Every pair of containers of a host, the internet, and every address of every host; all ports: those that tables or declaration name, and
 * one that stands for all others. 0, -ENOMEM or -E2BIG. */
int container_layer_prove(const struct container_layer *layer, struct container_proof *ret) must_check;
void container_proof_deinit(struct container_proof *proof);
