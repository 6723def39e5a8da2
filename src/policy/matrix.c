/* Rows of a matrix. A relation's row is made once per source selector and once per set of them, not per class; two matrices are combined
 * once per pair of rows that meet in some class. */
#include "policy/matrix.h"

#include <errno.h>

#include "policy/space.h"

enum { ROW_INTERVALS_MAX = 1 << 27, SORT_SMALL = 32, PORT_BITS = 24 };

/* A growing list of intervals. */
struct intervals {
    struct matrix_interval *items;
    size_t n, max;
};

static int intervals_reserve(struct intervals *list, size_t n)
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

static void swap_intervals(struct intervals *a, struct intervals *b)
{
    struct intervals swap = *a;
    *a = *b;
    *b = swap;
}

/* Where an interval begins on the axis of all. */
static uint64_t begin_of(const struct matrix_interval *interval)
{
    return (uint64_t)interval->destination << PORT_BITS | interval->first;
}

static uint64_t end_of(const struct matrix_interval *interval)
{
    return (uint64_t)interval->destination << PORT_BITS | interval->last;
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

/* Rows are added to a growing list, which the matrix takes over at the end. */
struct building {
    struct matrix matrix;
    struct buf rows;          /* struct matrix_row */
    struct intervals list, spare;
};

static uint32_t n_rows_of(const struct building *b)
{
    return (uint32_t)(b->rows.len / sizeof(struct matrix_row));
}

static struct matrix_row *row_at(const struct building *b, uint32_t index)
{
    return (struct matrix_row *)(void *)b->rows.ptr + index;
}

static int add_row(struct building *b, const struct matrix_interval *items, size_t n, uint32_t *ret)
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

static int building_init(struct building *b, const struct space *space)
{
    uint32_t empty;
    int r = 0;
    *b = (struct building){ 0 };
    matrix_init(&b->matrix, space);
    buf_init(&b->rows, MATRIX_MEMORY_MAX);
    b->matrix.row_of = allocate(&b->matrix, space_n_classes(space, SPACE_SOURCE), sizeof *b->matrix.row_of, &r);
    return r == 0 ? add_row(b, NULL, 0, &empty) : r;
}

static int building_finish(struct building *b, int r, struct matrix *ret)
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

/* ---- order ---- */

static void sort_small(struct matrix_interval *items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct matrix_interval item = items[i];
        size_t at = i;
        for (; at && begin_of(&items[at - 1]) > begin_of(&item); at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* By bytes from the last to the first, without those in which all are equal. */
static int sort_intervals(struct intervals *list, struct intervals *spare)
{
    uint64_t differ = 0;
    if (list->n <= SORT_SMALL) {
        sort_small(list->items, list->n);
        return 0;
    }
    int r = intervals_reserve(spare, list->n);
    if (r < 0)
        return r;
    for (size_t i = 1; i < list->n; i++)
        differ |= begin_of(&list->items[i]) ^ begin_of(&list->items[0]);
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t count[256] = { 0 }, at = 0;
        if ((differ >> shift & 0xff) == 0)
            continue;
        for (size_t i = 0; i < list->n; i++)
            count[begin_of(&list->items[i]) >> shift & 0xff]++;
        for (unsigned i = 0; i < ARRAY_SIZE(count); i++) {
            size_t n = count[i];
            count[i] = at;
            at += n;
        }
        for (size_t i = 0; i < list->n; i++)
            spare->items[count[begin_of(&list->items[i]) >> shift & 0xff]++] = list->items[i];
        spare->n = list->n;
        swap_intervals(list, spare);
    }
    return 0;
}

/* What is sorted becomes disjoint and not adjacent. */
static void merge_overlaps(struct intervals *list)
{
    size_t out = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct matrix_interval *last = out ? &list->items[out - 1] : NULL;
        if (!last || last->destination != list->items[i].destination || list->items[i].first > last->last + 1)
            list->items[out++] = list->items[i];
        else if (list->items[i].last > last->last)
            last->last = list->items[i].last;
    }
    list->n = out;
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

static int unite_rows(const struct matrix_row *a, const struct matrix_row *b, const bool *marks, struct intervals *out)
{
    (void)marks;
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

/* ---- of a relation ---- */

/* For one relation: its rules by source, and the rows of its source selectors. */
struct reading {
    struct building b;
    const struct relation *relation;
    const uint32_t *id_of;        /* by the relation's selector */
    uint32_t *first_rule, *rules; /* by id */
    uint32_t *row_of_id;          /* row + 1 */
    uint32_t *row_of_list;
    uint32_t n_list_rows;
    uint32_t *list, *ends;        /* scratch, as many as there are ids */
    struct space_lists lists;
};

static int index_rules(struct reading *r, uint32_t n_ids)
{
    uint32_t n = relation_n_rules(r->relation);
    r->first_rule = calloc((size_t)n_ids + 2, sizeof *r->first_rule);
    r->rules = malloc(((size_t)n + 1) * sizeof *r->rules);
    r->row_of_id = calloc((size_t)n_ids + 1, sizeof *r->row_of_id);
    r->list = malloc(((size_t)n_ids + 1) * sizeof *r->list);
    r->ends = malloc(((size_t)n_ids + 1) * sizeof *r->ends);
    if (!r->first_rule || !r->rules || !r->row_of_id || !r->list || !r->ends)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        r->first_rule[r->id_of[relation_rule(r->relation, i)->source] + 2]++;
    for (uint32_t i = 2; i <= n_ids + 1; i++)
        r->first_rule[i] += r->first_rule[i - 1];
    for (uint32_t i = 0; i < n; i++)
        r->rules[r->first_rule[r->id_of[relation_rule(r->relation, i)->source] + 1]++] = i;
    return 0;
}

static int expand_rule(struct reading *r, const struct relation_rule *rule)
{
    const struct space_part *part = &r->b.matrix.space->parts[SPACE_DESTINATION];
    uint32_t id = r->id_of[rule->destination], first = part->first_class[id], end = part->first_class[id + 1];
    int e = intervals_reserve(&r->b.list, r->b.list.n + (end - first));
    for (uint32_t i = first; e == 0 && i < end; i++)
        r->b.list.items[r->b.list.n++] = (struct matrix_interval){
            part->classes[i], (uint32_t)rule->protocol_first << 16 | rule->port_first, (uint32_t)rule->protocol_last << 16 | rule->port_last,
        };
    return e;
}

static int make_row_of_id(struct reading *r, uint32_t id)
{
    uint32_t row;
    int e = 0;
    r->b.list.n = 0;
    for (uint32_t i = r->first_rule[id]; e == 0 && i < r->first_rule[id + 1]; i++)
        e = expand_rule(r, relation_rule(r->relation, r->rules[i]));
    if (e == 0)
        e = sort_intervals(&r->b.list, &r->b.spare);
    if (e < 0)
        return e;
    merge_overlaps(&r->b.list);
    e = add_row(&r->b, r->b.list.items, r->b.list.n, &row);
    if (e == 0)
        r->row_of_id[id] = row + 1;
    return e;
}

/* Merges sorted runs of a list pairwise until one is left; run i ends at ends[i]. */
static void merge_runs(struct intervals *list, struct intervals *spare, uint32_t *ends, uint32_t n_runs)
{
    for (; n_runs > 1; n_runs = (n_runs + 1) / 2) {
        uint32_t out = 0, first = 0;
        for (uint32_t run = 0; run < n_runs; run += 2) {
            uint32_t middle = ends[run], end = run + 1 < n_runs ? ends[run + 1] : middle, i = first, k = middle;
            while (i < middle && k < end)
                spare->items[out++] = begin_of(&list->items[i]) <= begin_of(&list->items[k]) ? list->items[i++] : list->items[k++];
            while (i < middle)
                spare->items[out++] = list->items[i++];
            while (k < end)
                spare->items[out++] = list->items[k++];
            ends[run / 2] = end;
            first = end;
        }
        spare->n = out;
        swap_intervals(list, spare);
    }
}

/* All of the selectors' rows into one. */
static int unite_list(struct reading *r, uint32_t n, uint32_t *ret)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += row_at(&r->b, r->row_of_id[r->list[i]] - 1)->n;
    int e = intervals_reserve(&r->b.list, total);
    if (e == 0)
        e = intervals_reserve(&r->b.spare, total);
    r->b.list.n = 0;
    if (e < 0)
        return e;
    for (uint32_t i = 0; i < n; i++) {
        const struct matrix_row *row = row_at(&r->b, r->row_of_id[r->list[i]] - 1);
        if (row->n)
            memcpy(r->b.list.items + r->b.list.n, row->items, row->n * sizeof *row->items);
        r->b.list.n += row->n;
        r->ends[i] = (uint32_t)r->b.list.n;
    }
    merge_runs(&r->b.list, &r->b.spare, r->ends, n);
    merge_overlaps(&r->b.list);
    return add_row(&r->b, r->b.list.items, r->b.list.n, ret);
}

static int remember_list_row(struct reading *r, uint32_t list, uint32_t row)
{
    if (list == r->n_list_rows) {
        uint32_t *grown = list & (list - 1) ? r->row_of_list : realloc(r->row_of_list, (list ? 2 * (size_t)list : 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        r->row_of_list = grown;
        r->row_of_list[r->n_list_rows++] = row;
    }
    return 0;
}

/* The class's selectors that are sources in this relation. */
static int make_row_of_class(struct reading *r, uint32_t class_index, uint32_t *ret)
{
    const struct space_part *part = &r->b.matrix.space->parts[SPACE_SOURCE];
    uint32_t n = 0, list, row;
    for (uint32_t i = part->first_id[class_index]; i < part->first_id[class_index + 1]; i++)
        if (r->row_of_id[part->ids[i]])
            r->list[n++] = part->ids[i];
    if (n < 2) {
        *ret = n ? r->row_of_id[r->list[0]] - 1 : 0;
        return 0;
    }
    int e = space_lists_add(&r->lists, r->list, n, &list);
    if (e < 0)
        return e;
    if (list < r->n_list_rows) {
        *ret = r->row_of_list[list];
        return 0;
    }
    e = unite_list(r, n, &row);
    if (e == 0)
        e = remember_list_row(r, list, row);
    if (e == 0)
        *ret = row;
    return e;
}

static int read_relation(struct reading *r)
{
    const struct space *space = r->b.matrix.space;
    int e = index_rules(r, space->n_ids);
    for (uint32_t id = 0; e == 0 && id < space->n_ids; id++)
        if (r->first_rule[id] != r->first_rule[id + 1])
            e = make_row_of_id(r, id);
    for (uint32_t k = 0; e == 0 && k < space->parts[SPACE_SOURCE].n_classes; k++)
        e = make_row_of_class(r, k, &r->b.matrix.row_of[k]);
    return e;
}

int matrix_of(const struct space *space, const struct relation *relation, struct matrix *ret)
{
    struct reading r = { .relation = relation };
    int number = space_find_relation(space, relation);
    if (number < 0)
        return -EINVAL;
    r.id_of = space->id_of[number];
    int e = building_init(&r.b, space);
    if (e == 0)
        e = read_relation(&r);
    free(r.first_rule);
    free(r.rules);
    free(r.row_of_id);
    free(r.row_of_list);
    free(r.list);
    free(r.ends);
    space_lists_deinit(&r.lists);
    return building_finish(&r.b, e, ret);
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
            r = add_row(out, out->list.items, out->list.n, &row);
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
    return add_row(out, out->list.items, out->list.n, ret);
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
