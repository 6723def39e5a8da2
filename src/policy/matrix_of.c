/* The matrix of a relation: a row is made once per source selector and once per set of them, not per class. */
#include <errno.h>

#include "policy/matrix_building.h"

enum { SORT_SMALL = 32 };

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

/* ---- of a relation ---- */

/* Source selectors of the relation that some class has in common: a path in a tree, as the space's sets are, without the selectors that
 * are sources in other relations only. */
struct source_set {
    uint32_t parent, id;
    uint32_t row;                 /* + 1; 0: not made yet */
    bool has_child, is_needed;    /* is_needed: a class's, or where ways part */
};

/* For one relation: its rules by source, and the rows of its source selectors and of sets of them. */
struct reading {
    struct building b;
    struct arena arena;           /* scratch: all below */
    const struct relation *relation;
    const uint32_t *id_of;        /* by the relation's selector */
    uint32_t *first_rule, *rules; /* by id */
    uint32_t *row_of_id;          /* row + 1 */
    struct source_set *sets;      /* the first is the empty one; parents come first */
    uint32_t n_sets;
    uint32_t *slots, n_slots;     /* of sets, by parent and id: open addressing, set + 1 */
    uint32_t *set_of;             /* by the space's set */
    uint32_t *runs, *ends;        /* as many as there are ids */
};

static int index_rules(struct reading *r, uint32_t n_ids)
{
    uint32_t n = relation_n_rules(r->relation);
    r->first_rule = arena_array(&r->arena, (size_t)n_ids + 2, uint32_t);
    r->rules = arena_array(&r->arena, n, uint32_t);
    r->row_of_id = arena_array(&r->arena, n_ids, uint32_t);
    r->runs = arena_array(&r->arena, n_ids, uint32_t);
    r->ends = arena_array(&r->arena, n_ids, uint32_t);
    if (!r->first_rule || !r->rules || !r->row_of_id || !r->runs || !r->ends)
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
    e = building_add_row(&r->b, r->b.list.items, r->b.list.n, &row);
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

/* All rows of runs into the list. */
static int unite_runs(struct reading *r, uint32_t n)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += building_row(&r->b, r->runs[i])->n;
    int e = intervals_reserve(&r->b.list, total);
    if (e == 0)
        e = intervals_reserve(&r->b.spare, total);
    r->b.list.n = 0;
    if (e < 0)
        return e;
    for (uint32_t i = 0; i < n; i++) {
        const struct matrix_row *row = building_row(&r->b, r->runs[i]);
        if (row->n)
            memcpy(r->b.list.items + r->b.list.n, row->items, row->n * sizeof *row->items);
        r->b.list.n += row->n;
        r->ends[i] = (uint32_t)r->b.list.n;
    }
    merge_runs(&r->b.list, &r->b.spare, r->ends, n);
    merge_overlaps(&r->b.list);
    return 0;
}

/* ---- sets of sources ---- */

static uint32_t *find_slot(const struct reading *r, uint32_t parent, uint32_t id)
{
    uint64_t hash = ((uint64_t)parent << 32 | id) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 32) & (r->n_slots - 1);
    while (r->slots[at] && (r->sets[r->slots[at] - 1].parent != parent || r->sets[r->slots[at] - 1].id != id))
        at = (at + 1) & (r->n_slots - 1);
    return &r->slots[at];
}

static uint32_t find_or_add_set(struct reading *r, uint32_t parent, uint32_t id)
{
    uint32_t *slot = find_slot(r, parent, id);
    if (!*slot) {
        r->sets[parent].is_needed |= r->sets[parent].has_child;
        r->sets[parent].has_child = true;
        r->sets[r->n_sets] = (struct source_set){ .parent = parent, .id = id };
        *slot = ++r->n_sets;
    }
    return *slot - 1;
}

/* Numbers what the space's sets are in this relation, and finds for which of them a row is needed. */
static int number_sets(struct reading *r, const struct space_part *part)
{
    for (r->n_slots = 2; r->n_slots < 2 * part->n_sets;)
        r->n_slots *= 2;
    r->slots = arena_array(&r->arena, r->n_slots, uint32_t);
    r->sets = arena_array(&r->arena, part->n_sets, struct source_set);
    r->set_of = arena_array(&r->arena, part->n_sets, uint32_t);
    if (!r->slots || !r->sets || !r->set_of)
        return -ENOMEM;
    r->sets[r->n_sets++].row = 1;
    for (uint32_t i = 1; i < part->n_sets; i++) {
        uint32_t parent = r->set_of[part->sets[i].parent], id = part->sets[i].id;
        r->set_of[i] = r->row_of_id[id] ? find_or_add_set(r, parent, id) : parent;
    }
    for (uint32_t k = 0; k < part->n_classes; k++)
        r->sets[r->set_of[part->set_of[k]]].is_needed = true;
    return 0;
}

/* Of the set's selectors, and of the nearest set before it that has a row. */
static int make_row_of_set(struct reading *r, struct source_set *set)
{
    uint32_t n = 0, row = 0;
    const struct source_set *at = set;
    for (; !at->row; at = &r->sets[at->parent])
        r->runs[n++] = r->row_of_id[at->id] - 1;
    if (at->row > 1)
        r->runs[n++] = at->row - 1;
    row = r->runs[0];
    int e = 0;
    if (n == 2)
        e = intervals_unite(building_row(&r->b, r->runs[0]), building_row(&r->b, r->runs[1]), &r->b.list);
    else if (n > 2)
        e = unite_runs(r, n);
    if (e == 0 && n > 1)
        e = building_add_row(&r->b, r->b.list.items, r->b.list.n, &row);
    if (e == 0)
        set->row = row + 1;
    return e;
}

static int read_relation(struct reading *r)
{
    const struct space *space = r->b.matrix.space;
    const struct space_part *sources = &space->parts[SPACE_SOURCE];
    int e = index_rules(r, space->n_ids);
    for (uint32_t id = 0; e == 0 && id < space->n_ids; id++)
        if (r->first_rule[id] != r->first_rule[id + 1])
            e = make_row_of_id(r, id);
    if (e == 0)
        e = number_sets(r, sources);
    for (uint32_t i = 1; e == 0 && i < r->n_sets; i++)
        if (r->sets[i].is_needed)
            e = make_row_of_set(r, &r->sets[i]);
    for (uint32_t k = 0; e == 0 && k < sources->n_classes; k++)
        r->b.matrix.row_of[k] = r->sets[r->set_of[sources->set_of[k]]].row - 1;
    return e;
}

int matrix_of(const struct space *space, const struct relation *relation, struct matrix *ret)
{
    struct reading r = { .relation = relation };
    int number = space_find_relation(space, relation);
    if (number < 0)
        return -EINVAL;
    r.id_of = space->id_of[number];
    arena_init(&r.arena, 0);
    int e = building_init(&r.b, space);
    if (e == 0)
        e = read_relation(&r);
    arena_deinit(&r.arena);
    return building_finish(&r.b, e, ret);
}
