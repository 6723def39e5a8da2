/* Sets of addresses that grow range by range, and what is done with them. */
#pragma once

#include "policy/relation.h"

struct ranges {
    struct relation_range *items;
    uint32_t n, n_held, max; /* max: the most ranges, set by ranges_init */
    int error;               /* 0, -ENOMEM or -E2BIG; sticks, and adding is then a no-op */
};

void ranges_init(struct ranges *ranges, uint32_t max);
void ranges_deinit(struct ranges *ranges);
#define cleanup_ranges cleanup(ranges_deinit)

void ranges_add(struct ranges *ranges, struct relation_range range);
void ranges_add_all(struct ranges *ranges, const struct relation_range *items, uint32_t n);
/* Ascending, disjoint, never adjacent within a family. */
void ranges_normalise(struct ranges *ranges);
/* Takes the items out; both are normalised, before and after. */
void ranges_subtract(struct ranges *ranges, const struct relation_range *items, uint32_t n);
/* Adds what both have to ret; a and b are normalised. */
void ranges_intersect(const struct relation_range *a, uint32_t n_a, const struct relation_range *b, uint32_t n_b, struct ranges *ret);
bool ranges_overlap(const struct relation_range *a, const struct relation_range *b);
/* Whether one of the ranges, normalised, holds the address. */
bool ranges_contain(const struct relation_range *items, uint32_t n, const struct address *address);
