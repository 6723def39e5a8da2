/* Inside the comparison of relations: how the address axis is cut into classes. For matrices and the cutting of the space only. */
#pragma once

#include "policy/matrix.h"

/* A set of selectors is a path in a tree: what its parent is, and one selector more. The first is the empty one; parents come first, and
 * ids ascend along a path. */
struct space_set {
    uint32_t parent, id;
};

/* One side's partition. A class is a set of selectors: those that hold its addresses. */
struct space_part {
    struct address *starts;        /* intervals of the axis, from its beginning to its end */
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
    uint32_t n_relations;
    const struct relation **relations;
    uint32_t **id_of;              /* by relation and its selector: one number for equal selectors of all relations, about the largest first;
                                    * SPACE_UNUSED */
    uint32_t n_ids;
    struct space_part parts[2];
};

enum { SPACE_UNUSED = UINT32_MAX };

/* The number of a relation in the space, or -1. */
int space_find_relation(const struct space *space, const struct relation *relation);
