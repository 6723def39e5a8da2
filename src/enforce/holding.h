/* What a host's container tables are to hold: the declaration's projects and grants, by Docker's word about who is where. Pure but for memory. */
#pragma once

#include "docker/container.h"
#include "docker/network.h"
#include "enforce/links.h"
#include "model/model.h"
#include "policy/container_filter.h"

struct holding_input {
    const struct model *model;
    uint32_t host;
    const struct docker_containers *containers; /* inspected or not */
    const struct docker_networks *networks;
    const struct links *links;
    const int *namespaces;                      /* of each container, as links numbers them; NULL: none is known */
    /* Bridges that nothing is said of yet, though Docker doesn't know them: they may be its own, so new that it hasn't told. */
    const char (*unsettled)[CONTAINER_NAME_SIZE];
    uint32_t n_unsettled;
    const struct address *resolvers;            /* who containers ask for names, where Docker isn't told otherwise */
    uint32_t n_resolvers;
};

/* What a person should know: lines without an end. */
struct holding_notes {
    struct buf text;
    uint32_t n;
};

struct holding_counts {
    uint32_t n_enforced, n_observed;            /* projects with containers here */
    uint32_t n_containers;                      /* running, of projects that are enforced */
    uint32_t n_grants;                          /* lines of the declaration that let a container here reach something */
};

/* *ret is sealed and the caller's. notes: added to. 0; -ENOMEM; -E2BIG with err, -EINVAL for a bridge whose name nft can't be told. */
int holding_init(struct container_filter *ret, const struct holding_input *input, struct holding_notes *notes, struct holding_counts *ret_counts,
                 struct error *err) must_check;

/* Whether the declaration has this Compose project enforced on the host; NULL: it isn't listed for it. */
const struct model_project *holding_project(const struct model *model, uint32_t host, struct str name);
/* The names that Docker makes up, "br-" and twelve hexadecimal digits, and those of postern render compose, "pn-" and eight. */
bool holding_is_docker_name(struct str name) pure_function;
