/* Inside the comparison of relations: how the address axis is cut into classes. For matrices and the cutting of the space only. */
#pragma once

#include "policy/matrix.h"

/* An address as two numbers, so that comparing takes no call. */
struct space_key {
    uint64_t hi, lo;
};

/* The elements of the axis, between all places where a used selector begins or ends, in their order: those below the mapped addresses, of
 * IPv4, and above. */
struct space_axis {
    struct space_key *keys;        /* where elements begin that are not of IPv4, ascending; the first is the axis's beginning */
    size_t n_keys, n_low;          /* n_low: of keys, those below the mapped addresses */
    uint32_t *v4;                  /* where elements of IPv4 begin; the first is 0.0.0.0 */
    uint32_t n_v4, n_elements;
};

/* A set of selectors is a path in a tree: what its parent is, and one selector more. The first is the empty one; parents come first, and
 * ids ascend along a path. */
struct space_set {
    uint32_t parent, id;
};

/* One side's partition. A class is a set of selectors: those that hold its addresses. */
struct space_part {
    uint32_t *starts;              /* elements with which the intervals begin, from the axis's beginning to its end */
    uint32_t *class_of;            /* by interval */
    uint32_t n_intervals;
    uint32_t n_classes;
    struct space_set *sets;
    uint32_t n_sets;
    uint32_t *set_of;              /* by class */
    uint32_t *first_class, *classes;       /* of destinations, by selector, n_ids + 1: the classes in it, ascending */
    uint32_t *first_interval, *intervals;  /* by class, n_classes + 1 */
};

struct space {
    struct arena arena;            /* all below */
    uint32_t n_relations;
    const struct relation **relations;
    uint32_t **id_of;              /* by relation and its selector: one number for equal selectors of all relations, about the largest first;
                                    * SPACE_UNUSED */
    uint32_t n_ids;
    struct space_axis axis;
    struct space_part parts[2];
};

enum { SPACE_UNUSED = UINT32_MAX };

/* The number of a relation in the space, or -1. */
int space_find_relation(const struct space *space, const struct relation *relation);
