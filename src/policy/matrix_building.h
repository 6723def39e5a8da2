/* Inside matrices: lists of intervals and matrices in the making. For matrix.c and matrix_of.c only. */
#pragma once

#include "policy/space.h"

enum { ROW_INTERVALS_MAX = 1 << 27, PORT_BITS = 24 };

/* A growing list of intervals. */
struct intervals {
    struct matrix_interval *items;
    size_t n, max;
};

/* Room for n in all. 0, -ENOMEM, -E2BIG. */
int intervals_reserve(struct intervals *list, size_t n) must_check;

/* All of two rows in place of what the list held. 0, -ENOMEM, -E2BIG. */
int intervals_unite(const struct matrix_row *a, const struct matrix_row *b, struct intervals *out) must_check;

static inline void swap_intervals(struct intervals *a, struct intervals *b)
{
    struct intervals swap = *a;
    *a = *b;
    *b = swap;
}

/* Where an interval begins on the axis of all. */
static inline uint64_t begin_of(const struct matrix_interval *interval)
{
    return (uint64_t)interval->destination << PORT_BITS | interval->first;
}

static inline uint64_t end_of(const struct matrix_interval *interval)
{
    return (uint64_t)interval->destination << PORT_BITS | interval->last;
}

/* Rows are added to a growing list, which the matrix takes over at the end. */
struct building {
    struct matrix matrix;
    struct buf rows;          /* struct matrix_row */
    struct intervals list, spare;
};

/* With row 0, which is empty. Whatever it says, building_finish comes after it. */
int building_init(struct building *b, const struct space *space) must_check;
/* Copies the intervals; none of them: row 0. */
int building_add_row(struct building *b, const struct matrix_interval *items, size_t n, uint32_t *ret) must_check;
/* r: how it went so far, and what is returned unless this fails; *ret is set when it returns 0. */
int building_finish(struct building *b, int r, struct matrix *ret) must_check;

static inline struct matrix_row *building_row(const struct building *b, uint32_t index)
{
    return (struct matrix_row *)(void *)b->rows.ptr + index;
}
