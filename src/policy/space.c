/* Cutting the address axis: into elements, between all places where a used selector begins or ends; then these into classes, selector by
 * selector. Each selector takes what it holds of every class into a class of its own, so that a class is a path in a tree whose steps are
 * selectors, and two elements are in one class exactly when the same selectors hold them. Large selectors come first: what many classes
 * have in common is then one path near the root. */
#include "policy/space.h"

#include <errno.h>

#include "policy/space_order.h"

enum { SETS_MAX = 1 << 26, MEMBERS_MAX = 1 << 27 };

/* ---- classes ---- */

/* What became of a set's elements: those that the selector stamp - 1 holds, too, are in the set child. */
struct split {
    uint32_t stamp, child;
};

struct refining {
    struct cutting *c;
    uint32_t *set_of;      /* by element: of the selectors that hold it, so far */
    struct space_set *sets;
    struct split *splits;  /* by set */
    uint32_t n_sets, max_sets;
    struct span *spans;    /* scratch, as many as the largest selector has ranges */
};

static int reserve_set(struct refining *r)
{
    uint32_t max = r->max_sets ? r->max_sets * 2 : 64;
    if (r->n_sets < r->max_sets)
        return 0;
    if (max > SETS_MAX)
        return -E2BIG;
    struct space_set *sets = realloc(r->sets, max * sizeof *sets);
    if (sets)
        r->sets = sets;
    struct split *splits = realloc(r->splits, max * sizeof *splits);
    if (splits)
        r->splits = splits;
    if (!sets || !splits)
        return -ENOMEM;
    r->max_sets = max;
    return 0;
}

static int add_set(struct refining *r, uint32_t parent, uint32_t id)
{
    int e = reserve_set(r);
    if (e < 0)
        return e;
    r->sets[r->n_sets] = (struct space_set){ parent, id };
    r->splits[r->n_sets] = (struct split){ 0 };
    r->splits[parent] = (struct split){ id + 1, r->n_sets++ };
    return 0;
}

static int refine_span(struct refining *r, struct span span, uint32_t id)
{
    for (uint32_t i = span.first; i < span.end; i++) {
        uint32_t set = r->set_of[i];
        int e = r->splits[set].stamp == id + 1 ? 0 : add_set(r, set, id);
        if (e < 0)
            return e;
        r->set_of[i] = r->splits[set].child;
    }
    return 0;
}

static int refine(struct refining *r, uint32_t id)
{
    const struct relation_selector *selector = &r->c->selectors[id];
    int e = 0;
    cutting_find_spans(r->c, selector, r->spans);
    for (uint32_t i = 0; e == 0 && i < selector->n; i++) {
        r->c->n_steps += r->spans[i].end - r->spans[i].first;
        e = r->c->n_steps > SPACE_STEPS_MAX ? -E2BIG : refine_span(r, r->spans[i], id);
    }
    return e;
}

/* Classes are numbered as they appear on the axis, what nobody holds first; intervals don't merge across borders of families. */
static int list_intervals(struct refining *r, struct space_part *part)
{
    uint32_t *class_of = calloc(r->n_sets, sizeof *class_of); /* by set, + 1 */
    part->starts = malloc(((size_t)r->c->n_elements + 1) * sizeof *part->starts);
    part->class_of = malloc(((size_t)r->c->n_elements + 1) * sizeof *part->class_of);
    part->set_of = malloc(r->n_sets * sizeof *part->set_of);
    if (class_of && part->starts && part->class_of && part->set_of) {
        part->set_of[part->n_classes++] = 0;
        class_of[0] = 1;
        for (uint32_t i = 0; i < r->c->n_elements; i++) {
            uint32_t set = r->set_of[i];
            if (i && set == r->set_of[i - 1] && !is_border(r->c, i))
                continue;
            if (!class_of[set]) {
                part->set_of[part->n_classes++] = set;
                class_of[set] = part->n_classes;
            }
            part->starts[part->n_intervals] = address_of(element_start(r->c, i));
            part->class_of[part->n_intervals++] = class_of[set] - 1;
        }
    }
    free(class_of);
    return part->n_classes ? 0 : -ENOMEM;
}

static int make_classes(struct cutting *c, unsigned side, struct span *spans)
{
    struct space_part *part = &c->space->parts[side];
    struct refining r = { .c = c, .spans = spans };
    r.set_of = calloc((size_t)c->n_elements + 1, sizeof *r.set_of);
    int e = r.set_of ? reserve_set(&r) : -ENOMEM;
    if (e == 0) {
        r.sets[r.n_sets] = (struct space_set){ 0 };
        r.splits[r.n_sets++] = (struct split){ 0 };
    }
    for (uint32_t id = 0; e == 0 && id < c->space->n_ids; id++)
        if (c->sides[id] >> side & 1)
            e = refine(&r, id);
    if (e == 0)
        e = list_intervals(&r, part);
    part->sets = r.sets;
    part->n_sets = r.n_sets;
    free(r.set_of);
    free(r.splits);
    return e;
}

/* ---- indexes of what came out ---- */

/* For each selector: the classes in it, ascending. */
static int index_classes(struct space_part *part, uint32_t n_ids)
{
    uint64_t n = 0;
    part->first_class = calloc((size_t)n_ids + 2, sizeof *part->first_class);
    if (!part->first_class)
        return -ENOMEM;
    for (uint32_t k = 0; k < part->n_classes; k++) {
        for (uint32_t set = part->set_of[k]; set; set = part->sets[set].parent, n++)
            part->first_class[part->sets[set].id + 2]++;
        if (n > MEMBERS_MAX)
            return -E2BIG;
    }
    part->classes = malloc((n + 1) * sizeof *part->classes);
    if (!part->classes)
        return -ENOMEM;
    for (uint32_t i = 2; i <= n_ids + 1; i++)
        part->first_class[i] += part->first_class[i - 1];
    for (uint32_t k = 0; k < part->n_classes; k++)
        for (uint32_t set = part->set_of[k]; set; set = part->sets[set].parent)
            part->classes[part->first_class[part->sets[set].id + 1]++] = k;
    return 0;
}

/* For each class: its intervals, ascending. */
static int index_intervals(struct space_part *part)
{
    part->first_interval = calloc((size_t)part->n_classes + 2, sizeof *part->first_interval);
    part->intervals = malloc(((size_t)part->n_intervals + 1) * sizeof *part->intervals);
    if (!part->first_interval || !part->intervals)
        return -ENOMEM;
    for (uint32_t i = 0; i < part->n_intervals; i++)
        part->first_interval[part->class_of[i] + 2]++;
    for (uint32_t i = 2; i <= part->n_classes + 1; i++)
        part->first_interval[i] += part->first_interval[i - 1];
    for (uint32_t i = 0; i < part->n_intervals; i++)
        part->intervals[part->first_interval[part->class_of[i] + 1]++] = i;
    return 0;
}

/* ---- the whole ---- */

static int classify(struct cutting *c)
{
    uint32_t most = 0;
    for (uint32_t id = 0; id < c->space->n_ids; id++)
        most = c->selectors[id].n > most ? c->selectors[id].n : most;
    struct span *spans = malloc(((size_t)most + 1) * sizeof *spans);
    int r = spans ? 0 : -ENOMEM;
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++)
        r = make_classes(c, side, spans);
    free(spans);
    return r;
}

static int cut(struct cutting *c)
{
    int r = cutting_number_selectors(c);
    if (r == 0)
        r = cutting_find_elements(c);
    if (r == 0)
        r = classify(c);
    if (r == 0)
        r = index_classes(&c->space->parts[SPACE_DESTINATION], c->space->n_ids);
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++)
        r = index_intervals(&c->space->parts[side]);
    return r;
}

static void cutting_deinit(struct cutting *c)
{
    free(c->selectors);
    free(c->sides);
    free(c->keys);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        free(c->blocks[i]);
    free(c->pages);
    free(c->v4);
}

int space_init(struct space **ret, const struct relation *const *relations, uint32_t n)
{
    struct space *space = calloc(1, sizeof *space);
    struct cutting c = { .space = space };
    if (!space)
        return -ENOMEM;
    space->relations = malloc(((size_t)n + 1) * sizeof *space->relations);
    space->id_of = calloc((size_t)n + 1, sizeof *space->id_of);
    int r = space->relations && space->id_of ? 0 : -ENOMEM;
    if (r == 0) {
        memcpy(space->relations, relations, n * sizeof *relations);
        space->n_relations = n;
        r = cut(&c);
    }
    cutting_deinit(&c);
    if (r < 0)
        space_free(space);
    else
        *ret = space;
    return r;
}

struct space *space_free(struct space *space)
{
    if (!space)
        return NULL;
    for (uint32_t i = 0; i < space->n_relations; i++)
        free(space->id_of[i]);
    for (unsigned i = 0; i < N_SIDES; i++) {
        struct space_part *part = &space->parts[i];
        free(part->starts);
        free(part->class_of);
        free(part->sets);
        free(part->set_of);
        free(part->first_class);
        free(part->classes);
        free(part->first_interval);
        free(part->intervals);
    }
    free(space->relations);
    free(space->id_of);
    free(space);
    return NULL;
}

int space_find_relation(const struct space *space, const struct relation *relation)
{
    for (uint32_t i = 0; i < space->n_relations; i++)
        if (space->relations[i] == relation)
            return (int)i;
    return -1;
}

uint32_t space_n_classes(const struct space *space, enum space_side side)
{
    return space->parts[side].n_classes;
}

static uint32_t interval_of(const struct space_part *part, const struct address *address)
{
    uint32_t first = 0, end = part->n_intervals;
    while (end - first > 1) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&part->starts[middle], address) <= 0)
            first = middle;
        else
            end = middle;
    }
    return first;
}

uint32_t space_class_of(const struct space *space, enum space_side side, const struct address *address)
{
    const struct space_part *part = &space->parts[side];
    return part->class_of[interval_of(part, address)];
}

bool space_class_range(const struct space *space, enum space_side side, uint32_t class_index, uint32_t k, struct relation_range *ret)
{
    const struct space_part *part = &space->parts[side];
    if (class_index >= part->n_classes || k >= part->first_interval[class_index + 1] - part->first_interval[class_index])
        return false;
    uint32_t i = part->intervals[part->first_interval[class_index] + k];
    struct key last = { 0, 0 };
    if (i + 1 < part->n_intervals)
        last = key_of(&part->starts[i + 1]);
    last.hi -= last.lo == 0;
    last.lo--;
    *ret = (struct relation_range){ part->starts[i], address_of(last) };
    return true;
}
