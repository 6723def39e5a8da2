/* Matrices of matrices: rows are combined once per pair of them that meets in some class. */
#include "policy/matrix.h"

#include <errno.h>

#include "policy/matrix_building.h"

int intervals_reserve(struct intervals *list, size_t n)
{
    size_t max = list->max ? list->max : 1024;
    if (n <= list->max)
        return 0;
    if (n > ROW_INTERVALS_MAX)
        return -E2BIG;
    while (max < n)
        max *= 2;
    struct matrix_interval *items = realloc(list->items, max * sizeof *items);
    if (!items)
        return -ENOMEM;
    list->items = items;
    list->max = max;
    return 0;
}

/* ---- rows ---- */

static void matrix_init(struct matrix *matrix, const struct space *space)
{
    *matrix = (struct matrix){ .space = space };
    arena_init(&matrix->arena, MATRIX_MEMORY_MAX);
}

void matrix_deinit(struct matrix *matrix)
{
    arena_deinit(&matrix->arena);
}

static void *allocate(struct matrix *matrix, size_t n, size_t size, int *ret_error)
{
    void *p = arena_alloc(&matrix->arena, n, size);
    if (!p)
        *ret_error = n > (MATRIX_MEMORY_MAX - matrix->arena.held) / size ? -E2BIG : -ENOMEM;
    return p;
}

static uint32_t n_rows_of(const struct building *b)
{
    return (uint32_t)(b->rows.len / sizeof(struct matrix_row));
}

int building_add_row(struct building *b, const struct matrix_interval *items, size_t n, uint32_t *ret)
{
    struct matrix_row row = { NULL, (uint32_t)n };
    int r = 0;
    if (n == 0 && n_rows_of(b)) {
        *ret = 0;
        return 0;
    }
    struct matrix_interval *own = n ? allocate(&b->matrix, n, sizeof *own, &r) : NULL;
    if (r < 0)
        return r;
    if (n)
        memcpy(own, items, n * sizeof *own);
    row.items = own;
    *ret = n_rows_of(b);
    buf_append(&b->rows, str_make((const char *)&row, sizeof row));
    return b->rows.error;
}

int building_init(struct building *b, const struct space *space)
{
    uint32_t empty;
    int r = 0;
    *b = (struct building){ 0 };
    matrix_init(&b->matrix, space);
    buf_init(&b->rows, MATRIX_MEMORY_MAX);
    b->matrix.row_of = allocate(&b->matrix, space_n_classes(space, SPACE_SOURCE), sizeof *b->matrix.row_of, &r);
    return r == 0 ? building_add_row(b, NULL, 0, &empty) : r;
}

int building_finish(struct building *b, int r, struct matrix *ret)
{
    if (r == 0) {
        b->matrix.n_rows = n_rows_of(b);
        b->matrix.rows = allocate(&b->matrix, b->matrix.n_rows, sizeof *b->matrix.rows, &r);
    }
    if (r == 0) {
        memcpy(b->matrix.rows, b->rows.ptr, b->rows.len);
        *ret = b->matrix;
    } else {
        matrix_deinit(&b->matrix);
    }
    buf_deinit(&b->rows);
    free(b->list.items);
    free(b->spare.items);
    return r;
}

/* ---- two rows into one; room for what comes out is there ---- */

static void put_merged(struct intervals *out, const struct matrix_interval *interval)
{
    struct matrix_interval *last = out->n ? &out->items[out->n - 1] : NULL;
    if (!last || last->destination != interval->destination || interval->first > last->last + 1)
        out->items[out->n++] = *interval;
    else if (interval->last > last->last)
        last->last = interval->last;
}

int intervals_unite(const struct matrix_row *a, const struct matrix_row *b, struct intervals *out)
{
    int r = intervals_reserve(out, (size_t)a->n + b->n);
    out->n = 0;
    if (r < 0)
        return r;
    for (uint32_t i = 0, k = 0; i < a->n || k < b->n;) {
        bool is_a = k == b->n || (i < a->n && begin_of(&a->items[i]) <= begin_of(&b->items[k]));
        put_merged(out, is_a ? &a->items[i++] : &b->items[k++]);
    }
    return 0;
}

static int unite_rows(const struct matrix_row *a, const struct matrix_row *b, const bool *marks, struct intervals *out)
{
    (void)marks;
    return intervals_unite(a, b, out);
}

/* The first interval from at on that ends at position or later; in steps that double, for rows of very different lengths. */
static uint32_t skip_to(const struct matrix_row *row, uint32_t at, uint64_t position)
{
    uint32_t width = 1, first = at;
    if (at == row->n || end_of(&row->items[at]) >= position)
        return at;
    while (width < row->n - first && end_of(&row->items[first + width]) < position) {
        first += width;
        width *= 2;
    }
    uint32_t end = width < row->n - first ? first + width : row->n;
    for (first++; first < end;) {
        uint32_t middle = first + (end - first) / 2;
        if (end_of(&row->items[middle]) < position)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static int intersect_rows(const struct matrix_row *a, const struct matrix_row *b, const bool *marks, struct intervals *out)
{
    int r = intervals_reserve(out, (size_t)a->n + b->n);
    out->n = 0;
    for (uint32_t i = 0, k = 0; r == 0 && i < a->n;) {
        const struct matrix_interval *x = &a->items[i], *y = k < b->n ? &b->items[k] : NULL;
        if (marks && !marks[x->destination]) {
            out->items[out->n++] = *x;
            i++;
        } else if (!y || end_of(x) < begin_of(y)) {
            i = !y && !marks ? a->n : marks ? i + 1 : skip_to(a, i, begin_of(y));
        } else if (end_of(y) < begin_of(x)) {
            k = skip_to(b, k, begin_of(x));
        } else {
            out->items[out->n++] = (struct matrix_interval){ x->destination, x->first > y->first ? x->first : y->first,
                                                             x->last < y->last ? x->last : y->last };
            if (x->last < y->last)
                i++;
            else
                k++;
        }
    }
    return r;
}

static int subtract_rows(const struct matrix_row *a, const struct matrix_row *b, const bool *marks, struct intervals *out)
{
    int r = intervals_reserve(out, (size_t)a->n + b->n);
    out->n = 0;
    for (uint32_t i = 0, k = 0; r == 0 && i < a->n; i++) {
        struct matrix_interval rest = a->items[i];
        bool remains = true;
        k = skip_to(b, k, begin_of(&rest));
        for (; (!marks || marks[rest.destination]) && k < b->n && begin_of(&b->items[k]) <= end_of(&rest); k++) {
            const struct matrix_interval *hole = &b->items[k];
            if (hole->first > rest.first)
                out->items[out->n++] = (struct matrix_interval){ rest.destination, rest.first, hole->first - 1 };
            remains = hole->last < rest.last;
            if (!remains)
                break; /* it may reach into the next interval, too */
            rest.first = hole->last + 1;
        }
        if (remains)
            out->items[out->n++] = rest;
    }
    return r;
}

/* ---- of two matrices ---- */

/* Pairs of rows that were combined already. */
struct pair_slot {
    uint64_t pair;  /* row of a << 32 | row of b */
    uint32_t row;   /* + 1; 0: empty */
};

struct pairs {
    struct pair_slot *slots;
    uint32_t n_used, n_slots;
};

static struct pair_slot *find_slot(struct pair_slot *slots, uint32_t n_slots, uint64_t pair)
{
    uint64_t hash = pair * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 32) & (n_slots - 1);
    while (slots[at].row && slots[at].pair != pair)
        at = (at + 1) & (n_slots - 1);
    return &slots[at];
}

static int pairs_reserve(struct pairs *pairs)
{
    uint32_t n = pairs->n_slots ? pairs->n_slots * 2 : 1024;
    if (2 * (pairs->n_used + 1) <= pairs->n_slots)
        return 0;
    struct pair_slot *slots = calloc(n, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < pairs->n_slots; i++)
        if (pairs->slots[i].row)
            *find_slot(slots, n, pairs->slots[i].pair) = pairs->slots[i];
    free(pairs->slots);
    pairs->slots = slots;
    pairs->n_slots = n;
    return 0;
}

typedef int (*combine_rows)(const struct matrix_row *a, const struct matrix_row *b, const bool *marks, struct intervals *out);

static int combine_pair(struct building *out, const struct matrix *a, const struct matrix *b, combine_rows rows, const bool *marks,
                        uint64_t pair, struct pairs *pairs, uint32_t *ret)
{
    int r = pairs_reserve(pairs);
    if (r < 0)
        return r;
    struct pair_slot *slot = find_slot(pairs->slots, pairs->n_slots, pair);
    if (!slot->row) {
        uint32_t row = 0;
        r = rows(&a->rows[pair >> 32], &b->rows[(uint32_t)pair], marks, &out->list);
        if (r == 0)
            r = building_add_row(out, out->list.items, out->list.n, &row);
        if (r < 0)
            return r;
        *slot = (struct pair_slot){ pair, row + 1 };
        pairs->n_used++;
    }
    *ret = slot->row - 1;
    return 0;
}

static int combine(const struct matrix *a, const struct matrix *b, combine_rows rows, const bool *marks, struct matrix *ret)
{
    struct building out;
    struct pairs pairs = { 0 };
    int r = building_init(&out, a->space);
    for (uint32_t k = 0; r == 0 && k < space_n_classes(a->space, SPACE_SOURCE); k++)
        r = combine_pair(&out, a, b, rows, marks, (uint64_t)a->row_of[k] << 32 | b->row_of[k], &pairs, &out.matrix.row_of[k]);
    free(pairs.slots);
    return building_finish(&out, r, ret);
}

int matrix_unite(const struct matrix *a, const struct matrix *b, struct matrix *ret)
{
    return combine(a, b, unite_rows, NULL, ret);
}

int matrix_intersect(const struct matrix *a, const struct matrix *b, struct matrix *ret)
{
    return combine(a, b, intersect_rows, NULL, ret);
}

int matrix_subtract(const struct matrix *a, const struct matrix *b, struct matrix *ret)
{
    return combine(a, b, subtract_rows, NULL, ret);
}

int matrix_intersect_marked(const struct matrix *a, const struct matrix *b, const bool *marks, struct matrix *ret)
{
    return combine(a, b, intersect_rows, marks, ret);
}

int matrix_subtract_marked(const struct matrix *a, const struct matrix *b, const bool *marks, struct matrix *ret)
{
    return combine(a, b, subtract_rows, marks, ret);
}

static int keep_marked(struct building *out, const struct matrix_row *row, const bool *marks, uint32_t *ret)
{
    int r = intervals_reserve(&out->list, row->n);
    out->list.n = 0;
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < row->n; i++)
        if (!marks || marks[row->items[i].destination])
            out->list.items[out->list.n++] = row->items[i];
    return building_add_row(out, out->list.items, out->list.n, ret);
}

int matrix_restrict(const struct matrix *a, const bool *sources, const bool *destinations, struct matrix *ret)
{
    struct building out;
    uint32_t *row_of_row = calloc((size_t)a->n_rows + 1, sizeof *row_of_row); /* + 1; 0: not made yet */
    int r = building_init(&out, a->space);
    if (!row_of_row)
        r = -ENOMEM;
    for (uint32_t k = 0; r == 0 && k < space_n_classes(a->space, SPACE_SOURCE); k++) {
        uint32_t row = 0;
        if (sources && !sources[k])
            continue;
        if (row_of_row[a->row_of[k]] == 0) {
            r = keep_marked(&out, matrix_row(a, k), destinations, &row);
            row_of_row[a->row_of[k]] = row + 1;
        }
        out.matrix.row_of[k] = row_of_row[a->row_of[k]] - 1;
    }
    free(row_of_row);
    return building_finish(&out, r, ret);
}

bool matrix_is_empty(const struct matrix *matrix)
{
    for (uint32_t i = 0; i < matrix->n_rows; i++)
        if (matrix->rows[i].n)
            return false;
    return true;
}

uint32_t matrix_row_find(const struct matrix_row *row, uint32_t destination, uint32_t key)
{
    return skip_to(row, 0, (uint64_t)destination << PORT_BITS | key);
}

bool matrix_allows(const struct matrix *matrix, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    const struct matrix_row *row = matrix_row(matrix, space_class_of(matrix->space, SPACE_SOURCE, from));
    uint32_t destination = space_class_of(matrix->space, SPACE_DESTINATION, to), key = (uint32_t)protocol << 16 | port;
    uint32_t at = matrix_row_find(row, destination, key);
    return at < row->n && row->items[at].destination == destination && row->items[at].first <= key;
}
