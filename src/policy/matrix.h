/* Exact comparison of relations: addresses are put into classes that no rule of any relation tells apart, and each relation becomes rows
 * of sorted intervals over (destination class, protocol, port), so that composing and comparing are linear merges.
 *
 * Sources and destinations are classed separately: an address is one thing as a sender and another as a receiver, and one joint partition
 * grows with the product of both. Nothing is sampled: a class stands for every address in it. */
#pragma once

#include "policy/relation.h"

struct space; /* the two partitions of the address axis, common to some relations */

/* 0; -ENOMEM; -E2BIG when the relations hold too many ranges, or ranges nested so deeply that to tell their addresses apart would take too
 * much. The relations must outlive the space and may not grow. */
int space_init(struct space **ret, const struct relation *const *relations, uint32_t n) must_check;
struct space *space_free(struct space *space);

enum space_side { SPACE_SOURCE, SPACE_DESTINATION };

uint32_t space_n_classes(const struct space *space, enum space_side side);
/* Never fails: an address that no rule speaks of is in the class of those (class 0). */
uint32_t space_class_of(const struct space *space, enum space_side side, const struct address *address);
/* The k-th range of a class, ascending; false past the last. */
bool space_class_range(const struct space *space, enum space_side side, uint32_t class_index, uint32_t k, struct relation_range *ret);

/* What may pass from one source class to one destination class: protocols p and ports q with first <= (p << 16 | q) <= last. */
struct matrix_interval {
    uint32_t destination;  /* class */
    uint32_t first, last;  /* protocol << 16 | port */
};

struct matrix_row {
    const struct matrix_interval *items; /* ascending, disjoint, not adjacent; the matrix's */
    uint32_t n;
};

/* Source classes that may send the same share a row; row 0 is empty. */
struct matrix {
    const struct space *space;
    struct arena arena;
    struct matrix_row *rows;
    uint32_t n_rows;
    uint32_t *row_of;              /* by source class */
};

/* What one matrix may hold; past it, the call says -E2BIG. */
enum { MATRIX_MEMORY_MAX = 1 << 30 };

void matrix_deinit(struct matrix *matrix);
#define cleanup_matrix cleanup(matrix_deinit)

static inline const struct matrix_row *matrix_row(const struct matrix *matrix, uint32_t source)
{
    return &matrix->rows[matrix->row_of[source]];
}

/* All of these: 0, -ENOMEM or -E2BIG; *ret is the caller's, untouched on failure. The relation must be one of the space's (else -EINVAL), and
 * both matrices of one space. */
int matrix_of(const struct space *space, const struct relation *relation, struct matrix *ret) must_check;
int matrix_unite(const struct matrix *a, const struct matrix *b, struct matrix *ret) must_check;
int matrix_intersect(const struct matrix *a, const struct matrix *b, struct matrix *ret) must_check;
int matrix_subtract(const struct matrix *a, const struct matrix *b, struct matrix *ret) must_check;
/* The same, but only for destinations whose class is marked (NULL: all are); of others, a stays as it is. */
int matrix_intersect_marked(const struct matrix *a, const struct matrix *b, const bool *marks, struct matrix *ret) must_check;
int matrix_subtract_marked(const struct matrix *a, const struct matrix *b, const bool *marks, struct matrix *ret) must_check;
/* Only from marked source classes to marked destination classes; NULL: all are. */
int matrix_restrict(const struct matrix *a, const bool *sources, const bool *destinations, struct matrix *ret) must_check;
bool matrix_is_empty(const struct matrix *matrix);
/* The first interval of a row that reaches up to the key (protocol << 16 | port) of the destination class or lies past it; row->n: none. */
uint32_t matrix_row_find(const struct matrix_row *row, uint32_t destination, uint32_t key);
bool matrix_allows(const struct matrix *matrix, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port);
