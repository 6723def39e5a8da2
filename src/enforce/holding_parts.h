/* Shared by the files that work out what is held: networks, containers, and the addresses that they have. */
#pragma once

#include "enforce/holding.h"

struct net {
    const struct docker_network *network;
    const struct model_project *project; /* whose it is, where that is declared here */
    enum container_class class;
    bool has_strangers;                  /* containers that aren't of the network's own project */
    bool is_judged;                      /* not everything may talk inside */
};

/* A running container's network namespace: what is said of it holds for all that share it. */
struct member {
    const struct docker_container *container;
    const struct model_project *project; /* enforced, or NULL */
    struct net **nets;                   /* of each endpoint; NULL: no bridge */
    int namespace;
};

struct holding {
    const struct holding_input *in;
    struct container_filter *filter;
    struct holding_notes *notes;
    struct arena arena;
    struct net *nets;
    uint32_t n_nets;
    struct member *members;              /* of each container, by its number in the list */
};

/* An address on a bridge that a container has; it has one from just before it starts until it ends. */
struct place {
    const struct member *member;
    const struct net *net;
    struct address address;
};

struct places {
    struct place *items;
    uint32_t n;
};

void holding_note(struct holding *h, const char *format, ...) printf_like(2, 3);
/* The container whose network namespace it uses; NULL: the host's, or nobody's that is listed. */
const struct docker_container *holding_owner(const struct holding *h, const struct docker_container *container);
/* An element with the place's bridge and, as from, its address. */
struct container_element holding_at(const struct place *place);
/* What the declaration's grants let pass. *ret_n: how many of them say something about containers that are here. 0 or a negative errno. */
int holding_add_grants(struct holding *h, const struct places *places, uint32_t *ret_n) must_check;
