/* Inside the comparison of relations: how the address axis is cut into classes. For matrices and the cutting of the space only. */
#pragma once

#include "policy/matrix.h"

/* One side's partition. A class is a set of selectors: those that hold its addresses. */
struct space_part {
    struct address *starts;        /* intervals of the axis, from its beginning to its end */
    uint32_t *class_of;            /* by interval */
    uint32_t n_intervals;
    uint32_t n_classes;
    uint32_t *first_id, *ids;      /* by class, n_classes + 1: its selectors, ascending */
    uint32_t *first_class, *classes;       /* by selector, n_ids + 1: the classes in it, ascending */
    uint32_t *first_interval, *intervals;  /* by class, n_classes + 1 */
};

struct space {
    uint32_t n_relations;
    const struct relation **relations;
    uint32_t **id_of;              /* by relation and its selector: one number for equal selectors of all relations; SPACE_UNUSED */
    uint32_t n_ids;
    struct space_part parts[2];
};

enum { SPACE_UNUSED = UINT32_MAX };

/* The number of a relation in the space, or -1. */
int space_find_relation(const struct space *space, const struct relation *relation);
/* Exact addition of lists of numbers to a set of lists: finds the equal one or takes a copy. */
struct space_lists {
    uint32_t *items, *first;       /* list i: items[first[i]] to items[first[i + 1]] */
    uint32_t n, n_items, max_lists, max_items;
    uint32_t *slots, n_slots;
};
/* -ENOMEM or -E2BIG; *ret: the list's number, given in the order of first appearance. list must not point into lists. */
int space_lists_add(struct space_lists *lists, const uint32_t *list, uint32_t n, uint32_t *ret) must_check;
void space_lists_deinit(struct space_lists *lists);
