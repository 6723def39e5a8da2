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

/* Groups lie scattered over the axis: where a few ranges are is found first, so that what is needed of them comes from memory at once. */
static int refine(struct refining *r, uint32_t id)
{
    const struct relation_selector *selector = &r->c->selectors[id];
    struct span spans[64];
    size_t at = 0;
    int e = 0;
    for (uint32_t first = 0, n; e == 0 && first < selector->n; first += n) {
        n = selector->n - first < ARRAY_SIZE(spans) ? selector->n - first : ARRAY_SIZE(spans);
        for (uint32_t i = 0; i < n; i++) {
            spans[i] = cutting_find_span(r->c, &selector->items[first + i], &at);
            __builtin_prefetch(&r->set_of[spans[i].first], 1);
        }
        for (uint32_t i = 0; e == 0 && i < n; i++) {
            r->c->n_steps += spans[i].end - spans[i].first;
            e = r->c->n_steps > SPACE_STEPS_MAX ? -E2BIG : refine_span(r, spans[i], id);
        }
    }
    return e;
}

/* An interval begins there: intervals don't merge across borders of families. */
static bool is_start(const struct refining *r, uint32_t element)
{
    return element == 0 || r->set_of[element] != r->set_of[element - 1] || is_border(r->c->axis, element);
}

/* Classes are numbered as they appear on the axis, what nobody holds first. */
static int list_intervals(struct refining *r, struct space_part *part)
{
    struct arena *arena = &r->c->space->arena;
    uint32_t *class_of = arena_array(&r->c->arena, r->n_sets, uint32_t); /* by set, + 1 */
    for (uint32_t i = 0; i < r->c->axis->n_elements; i++)
        part->n_intervals += is_start(r, i);
    part->starts = arena_array(arena, part->n_intervals, uint32_t);
    part->class_of = arena_array(arena, part->n_intervals, uint32_t);
    part->sets = arena_array(arena, r->n_sets, struct space_set);
    part->set_of = arena_array(arena, r->n_sets, uint32_t);
    if (!class_of || !part->starts || !part->class_of || !part->sets || !part->set_of)
        return -ENOMEM;
    memcpy(part->sets, r->sets, r->n_sets * sizeof *part->sets);
    part->n_sets = r->n_sets;
    class_of[0] = ++part->n_classes;
    for (uint32_t i = 0, interval = 0; i < r->c->axis->n_elements; i++) {
        uint32_t set = r->set_of[i];
        if (!is_start(r, i))
            continue;
        if (!class_of[set]) {
            part->set_of[part->n_classes++] = set;
            class_of[set] = part->n_classes;
        }
        part->starts[interval] = i;
        part->class_of[interval++] = class_of[set] - 1;
    }
    return 0;
}

static int make_classes(struct cutting *c, unsigned side)
{
    struct refining r = { .c = c, .set_of = arena_array(&c->arena, c->axis->n_elements, uint32_t) };
    int e = r.set_of ? reserve_set(&r) : -ENOMEM;
    if (e == 0) {
        r.sets[r.n_sets] = (struct space_set){ 0 };
        r.splits[r.n_sets++] = (struct split){ 0 };
    }
    for (uint32_t id = 0; e == 0 && id < c->space->n_ids; id++)
        if (c->sides[id] >> side & 1)
            e = refine(&r, id);
    if (e == 0)
        e = list_intervals(&r, &c->space->parts[side]);
    free(r.sets);
    free(r.splits);
    return e;
}

/* ---- indexes of what came out ---- */

/* For each selector: the classes in it, ascending. */
static int index_classes(struct arena *arena, struct space_part *part, uint32_t n_ids)
{
    uint64_t n = 0;
    part->first_class = arena_array(arena, (size_t)n_ids + 2, uint32_t);
    if (!part->first_class)
        return -ENOMEM;
    for (uint32_t k = 0; k < part->n_classes; k++) {
        for (uint32_t set = part->set_of[k]; set; set = part->sets[set].parent, n++)
            part->first_class[part->sets[set].id + 2]++;
        if (n > MEMBERS_MAX)
            return -E2BIG;
    }
    part->classes = arena_array(arena, n, uint32_t);
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
static int index_intervals(struct arena *arena, struct space_part *part)
{
    part->first_interval = arena_array(arena, (size_t)part->n_classes + 2, uint32_t);
    part->intervals = arena_array(arena, part->n_intervals, uint32_t);
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

static int cut(struct cutting *c)
{
    int r = cutting_number_selectors(c);
    if (r == 0)
        r = cutting_find_elements(c);
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++)
        r = make_classes(c, side);
    if (r == 0)
        r = index_classes(&c->space->arena, &c->space->parts[SPACE_DESTINATION], c->space->n_ids);
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++)
        r = index_intervals(&c->space->arena, &c->space->parts[side]);
    return r;
}

static void cutting_deinit(struct cutting *c)
{
    arena_deinit(&c->arena);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        free(c->blocks[i]);
    free(c->pages);
}

int space_init(struct space **ret, const struct relation *const *relations, uint32_t n)
{
    struct space *space = calloc(1, sizeof *space);
    if (!space)
        return -ENOMEM;
    struct cutting c = { .space = space, .axis = &space->axis };
    arena_init(&space->arena, 0);
    arena_init(&c.arena, 0);
    space->relations = arena_array(&space->arena, n, const struct relation *);
    space->id_of = arena_array(&space->arena, n, uint32_t *);
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
    arena_deinit(&space->arena);
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

static uint32_t interval_of(const struct space *space, const struct space_part *part, struct space_key key)
{
    uint32_t first = 0, end = part->n_intervals;
    while (end - first > 1) {
        uint32_t middle = first + (end - first) / 2;
        if (is_before(key, element_start(&space->axis, part->starts[middle])))
            end = middle;
        else
            first = middle;
    }
    return first;
}

uint32_t space_class_of(const struct space *space, enum space_side side, const struct address *address)
{
    const struct space_part *part = &space->parts[side];
    return part->class_of[interval_of(space, part, key_of(address))];
}

bool space_class_range(const struct space *space, enum space_side side, uint32_t class_index, uint32_t k, struct relation_range *ret)
{
    const struct space_part *part = &space->parts[side];
    if (class_index >= part->n_classes || k >= part->first_interval[class_index + 1] - part->first_interval[class_index])
        return false;
    uint32_t i = part->intervals[part->first_interval[class_index] + k];
    struct space_key last = { 0, 0 };
    if (i + 1 < part->n_intervals)
        last = element_start(&space->axis, part->starts[i + 1]);
    last.hi -= last.lo == 0;
    last.lo--;
    *ret = (struct relation_range){ address_of(element_start(&space->axis, part->starts[i])), address_of(last) };
    return true;
}
