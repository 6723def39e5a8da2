/* The flows that a declaration lets pass, put together into few grants in a mesh policy's terms: tags and users where segments and hosts
 * are bound to them, else addresses. The grants let pass exactly the flows. */
#pragma once

#include "policy/flows.h"

enum mesh_selector_kind {
    MESH_SEGMENT, /* its tag or user: all of its hosts */
    MESH_HOST,    /* its tag or user */
    MESH_ADDRESS, /* one address of a host */
    MESH_RANGE,   /* strangers of a segment, or an address that is no declared host's */
};

struct mesh_selector {
    enum mesh_selector_kind kind;
    uint32_t index;                /* SEGMENT, HOST, ADDRESS: the segment or host */
    uint32_t address;              /* ADDRESS: which of the host's */
    struct address first, last;    /* ADDRESS, RANGE */
};

struct mesh_service {
    uint16_t port;
    uint8_t transport;             /* enum model_transport */
};

struct mesh_grant {
    const struct mesh_selector *sources, *destinations;
    const struct mesh_service *services;
    const uint32_t *lines;         /* of the declaration: the grants that want this, ascending */
    uint32_t n_sources, n_destinations, n_services, n_lines;
    bool is_derived;               /* nobody wrote it: a gateway needs it to reach an instance */
};

struct mesh_grants {
    struct arena arena;
    struct mesh_grant *items;      /* by the first line */
    uint32_t n;
};

/* 0, -ENOMEM or -E2BIG. The model must outlive it. */
int mesh_grants_init(struct mesh_grants *ret, const struct model *model, const struct flows *flows) must_check;
void mesh_grants_deinit(struct mesh_grants *grants);
#define cleanup_mesh_grants cleanup(mesh_grants_deinit)
int mesh_selector_compare(const struct mesh_selector *a, const struct mesh_selector *b);
