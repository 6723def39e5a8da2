/* An override file for one Compose project: each service on the networks that the declaration gives it a need for, and on no other.
 *
 * Services that may talk to each other share an internal network; no two share one that may not, so that there are as many as it takes.
 * A grant across projects has a network of the two's own, which both projects' files name as external. Whoever may use the internet, or asks
 * its host's gateway by public names, has a network with a way out to itself. What only the gate reaches has no network. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/containers.h"

enum { COMPOSE_SERVICES_MAX = 256, COMPOSE_NETWORKS_MAX = 1024 };

enum compose_mode {
    COMPOSE_ON_NETWORKS,
    COMPOSE_ON_NONE,
    COMPOSE_LEFT,            /* the host's network, or another container's: not for an override to change */
};

/* A service as its project's own file has it. Texts are what a Compose file may have there (compose_text_is_plain). */
struct compose_service {
    struct str name;
    enum compose_mode mode;
    struct str mode_text;                /* LEFT: "host", "service:vpn" */
    const struct str *networks, *aliases; /* networks: by their keys in the file */
    uint32_t n_networks, n_aliases, n_copies;
    bool publishes, names_networks;      /* has ports:; has networks: of its own */
};

/* Addresses that are not free: of a network of that name, or "" for what is no network's. */
struct compose_taken {
    struct address_prefix prefix;
    struct str network;
};

struct compose_input {
    const struct model *model;
    uint32_t host;
    struct str project, revision;
    const struct compose_service *services; /* by name */
    uint32_t n_services;
    const struct compose_taken *taken;
    uint32_t n_taken;
    struct address_prefix pool;          /* IPv4; where subnets are cut from */
    bool isolates;                       /* the engine can give a bridge no address of the host's (Docker 28) */
};

#define COMPOSE_POOL "10.214.0.0/16"

/* Letters, digits, '.', '_', '-', the first no sign. */
bool compose_text_is_plain(struct str text) pure_function;
/* Appends. The same input gives the same bytes. 0; -EINVAL with err: not such a project, no room in the pool; -E2BIG, -ENOMEM. */
int render_compose(const struct compose_input *input, struct buf *out, struct error *err) must_check;
