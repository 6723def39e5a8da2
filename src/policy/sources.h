/* The address axis cut into disjoint ranges, each with the one principal that an address in it is identified as.
 *
 * A declared host's address is that host, whatever prefix it lies in; else the longest prefix of a segment decides. Whoever turns
 * principals into address sets uses these ranges: a prefix written out whole would let the hosts of other segments inside it through. */
#pragma once

#include "base/arena.h"
#include "model/model.h"

struct source_range {
    struct address first, last; /* inclusive; never across the border of the IPv4-mapped addresses */
    uint32_t host;              /* MODEL_NONE: of the segment at large */
    uint32_t segment;           /* MODEL_NONE: a host without one */
};

struct sources {
    struct source_range *items; /* ascending, in the arena */
    uint32_t n;
};

/* 0 or -ENOMEM. */
int sources_init(struct sources *ret, const struct model *model, struct arena *arena) must_check;
/* The range that holds the address, or NULL: nobody. */
const struct source_range *sources_find(const struct sources *sources, const struct address *address);
