/* The grants of a model, indexed by who and by what: which grants speak of a host or a segment, and which services each target names.
 * Shared by all that derive something from the grants; pure. */
#pragma once

#include "base/arena.h"
#include "base/table.h"
#include "model/model.h"

struct grants {
    const struct model *model;
    struct arena arena;
    struct model_indexes *by_host;      /* grants whose from: names the host, in file order, each once */
    struct model_indexes *by_segment;   /* the same for a segment */
    struct model_indexes *by_service;   /* the same for a service, whose containers ask */
    struct model_indexes *targets;      /* services that one target names, by grants_target; surfaces not yet considered */
    uint32_t *first_target;             /* of each grant, in targets */
    uint64_t *service_surfaces;         /* bit per surface a web service may be served on; 0 for other kinds */
    uint64_t *grant_surfaces;           /* bit per surface in over: */
    bool *grant_has_source;             /* somebody can be identified as one of its principals by a declared address */
    bool *grant_has_container;          /* a service is among its principals: its containers ask where they run */
    bool has_containers;                /* of any grant */
};

/* A file of 16 MB with thousands of different patterns, each of which means most of the services, is where this ends. */
enum { GRANTS_MEMORY_MAX = 1 << 30 };

/* 0 or -ENOMEM; nothing to deinit then. The model must outlive it and have at most 64 surfaces. */
int grants_init(struct grants *ret, const struct model *model) must_check;
void grants_deinit(struct grants *grants);
#define cleanup_grants cleanup(grants_deinit)

/* The web services that target t of grant g means on the surface are those here whose service_surfaces has the surface. */
static inline const struct model_indexes *grants_target(const struct grants *grants, uint32_t g, uint32_t t)
{
    return &grants->targets[grants->first_target[g] + t];
}

/* Whether somebody can ask by grant g at that gateway: by an address, or from a container beside it. */
bool grants_has_source_at(const struct grants *grants, uint32_t g, uint32_t gateway);
/* Whether grant g is one for that surface: it names a web service of it, or a pattern, so that its principals are guests there. */
bool grants_is_for_surface(const struct grants *grants, uint32_t g, uint32_t surface);
/* The next grant, in file order, of two ascending lists taken as one; each grant once. False at the end. */
struct grants_cursor {
    struct model_indexes a, b;
    uint32_t at_a, at_b;
};
bool grants_next(struct grants_cursor *cursor, uint32_t *ret_grant);
/* Everything that speaks of a declared host: itself and its segment. */
struct grants_cursor grants_of_host(const struct grants *grants, uint32_t host);
