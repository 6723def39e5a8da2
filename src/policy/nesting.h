/* Nested prefixes as disjoint ranges: prefixes nest or are disjoint, and each address is left to the innermost that holds it. */
#pragma once

#include "base/address.h"

struct nesting_range {
    struct address first, last; /* inclusive */
    uint32_t owner;             /* the caller's */
    uint32_t rank;              /* of equal extents, the greater one is the inner; the caller's, too */
};

/* The addresses that a prefix holds, as IPv4 is held in them: those of ::/0 are all there are; nesting_cut leaves IPv4 out. */
struct nesting_range nesting_range_of(const struct address_prefix *prefix, uint32_t owner, uint32_t rank);
/* Sorts the ranges, which must nest or be disjoint, and writes what each one is left with, ascending; no range goes across the border of
 * the IPv4-mapped addresses, and what spans it holds none of IPv4. ret has room for 2 * n + 2. How many. */
uint32_t nesting_cut(struct nesting_range *ranges, uint32_t n, struct nesting_range *ret);
