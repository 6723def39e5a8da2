/* Cutting the address axis: all used ranges sorted by where they begin, then one sweep that keeps the set of selectors that hold the
 * address it is at. Every time the set changes, a class ends and another one goes on; equal sets are one class. */
#include "policy/space.h"

#include <errno.h>

#include "policy/space_order.h"

/* ---- the sweep ---- */

static void put_interval(struct space_part *part, struct key start, uint32_t class_index)
{
    part->starts[part->n_intervals] = address_of(start);
    part->class_of[part->n_intervals++] = class_index;
}

/* From start on the class is another one. What was before may not go across a border, and doesn't merge across it. */
static void begin_interval(struct space_part *part, struct key start, uint32_t class_index)
{
    uint32_t before = part->class_of[part->n_intervals - 1];
    bool is_border = false;
    if (is_same(key_of(&part->starts[part->n_intervals - 1]), start)) {
        part->class_of[part->n_intervals - 1] = class_index;
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(space_borders); i++) {
        struct key last_start = key_of(&part->starts[part->n_intervals - 1]);
        if (is_before(last_start, space_borders[i]) && is_before(space_borders[i], start))
            put_interval(part, space_borders[i], before);
        is_border |= is_same(space_borders[i], start);
    }
    if (before != class_index || is_border)
        put_interval(part, start, class_index);
}

static int make_room(struct sweep_side *side)
{
    if (side->n == side->max) {
        uint32_t max = side->max ? side->max * 2 : 64;
        struct active *active = realloc(side->active, max * sizeof *active);
        if (!active)
            return -ENOMEM;
        side->active = active;
        side->max = max;
    }
    if (side->n_singles == side->max_singles) {
        uint32_t max = side->max_singles ? side->max_singles * 2 : 64;
        uint32_t *singles = realloc(side->singles, max * sizeof *singles);
        if (!singles)
            return -ENOMEM;
        side->singles = singles;
        side->max_singles = max;
    }
    uint32_t *list = realloc(side->list, ((size_t)side->max + side->max_singles) * sizeof *list);
    if (!list)
        return -ENOMEM;
    side->list = list;
    return 0;
}

static int activate(struct sweep_side *side, uint32_t id, struct key last)
{
    int r = side->n == side->max || !side->list ? make_room(side) : 0;
    if (r < 0)
        return r;
    uint32_t at = side->n++;
    for (; at && side->active[at - 1].id > id; at--)
        side->active[at] = side->active[at - 1];
    side->active[at] = (struct active){ last, id };
    side->is_changed = true;
    side->around = 0;
    return 0;
}

static int hold_single(struct sweep_side *side, uint32_t id)
{
    int r = side->n_singles == side->max_singles || !side->list ? make_room(side) : 0;
    if (r < 0)
        return r;
    uint32_t at = side->n_singles++;
    for (; at && side->singles[at - 1] > id; at--)
        side->singles[at] = side->singles[at - 1];
    side->singles[at] = id;
    side->is_changed = true;
    return 0;
}

/* Drops what ended before start: what held the address before it alone, too. */
static void retire(struct sweep_side *side, struct key start)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < side->n; i++)
        if (!is_before(side->active[i].last, start))
            side->active[out++] = side->active[i];
    if (out != side->n)
        side->around = 0;
    side->is_changed = out != side->n || side->n_singles;
    side->n = out;
    side->n_singles = 0;
}

/* The ids of both kinds, ascending. A selector holds an address by one range only. */
static uint32_t list_ids(const struct sweep_side *side)
{
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < side->n; i++) {
        while (k < side->n_singles && side->singles[k] < side->active[i].id)
            side->list[n++] = side->singles[k++];
        side->list[n++] = side->active[i].id;
    }
    while (k < side->n_singles)
        side->list[n++] = side->singles[k++];
    return n;
}

static int name_class(struct sweep_side *side, uint32_t *ret)
{
    if (side->n_singles == 0 && side->around) {
        *ret = side->around - 1;
        return 0;
    }
    uint32_t n = list_ids(side), *single = n == 1 ? &side->class_of_single[side->list[0]] : NULL;
    int r = 0;
    if (single && *single)
        *ret = *single - 1;
    else
        r = space_lists_add(&side->lists, side->list, n, ret);
    if (r == 0 && single)
        *single = *ret + 1;
    if (r == 0 && side->n_singles == 0)
        side->around = *ret + 1;
    return r;
}

static int begin_class(struct sweep_side *side, struct key start)
{
    uint32_t class_index;
    if (!side->is_changed)
        return 0;
    int r = name_class(side, &class_index);
    if (r == 0)
        begin_interval(side->part, start, class_index);
    return r;
}

static int activate_item(struct cutting *c, const struct item *item)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < N_SIDES; i++)
        if (c->sides[item->id] >> i & 1)
            r = item->k == ITEM_SINGLE ? hold_single(&c->side[i], item->id)
                                       : activate(&c->side[i], item->id, key_of(&c->selectors[item->id].items[item->k].last));
    return r;
}

/* Where the next selector ends or begins, after this place. False when there is neither. */
static bool next_change(const struct cutting *c, size_t at, struct key *ret)
{
    struct key soonest = { UINT64_MAX, UINT64_MAX };
    if (c->side[0].n_singles || c->side[1].n_singles)
        soonest = *ret;
    for (unsigned s = 0; s < N_SIDES; s++)
        for (uint32_t i = 0; i < c->side[s].n; i++)
            if (is_before(c->side[s].active[i].last, soonest))
                soonest = c->side[s].active[i].last;
    bool ends = key_step(&soonest);
    if (at < count_all(c)) {
        struct key begins = item_at(c, at).first;
        if (!ends || is_before(begins, soonest)) {
            *ret = begins;
            return true;
        }
    }
    *ret = soonest;
    return ends;
}

static int sweep(struct cutting *c)
{
    struct key start = { 0, 0 };
    size_t at = 0;
    int r = 0;
    do {
        for (unsigned i = 0; i < N_SIDES; i++)
            retire(&c->side[i], start);
        for (; r == 0 && at < count_all(c); at++) {
            struct item item = item_at(c, at);
            if (!is_same(item.first, start))
                break;
            r = activate_item(c, &item);
        }
        c->n_steps += c->side[0].n + c->side[1].n + c->side[0].n_singles + c->side[1].n_singles;
        if (r == 0 && c->n_steps > SPACE_STEPS_MAX)
            r = -E2BIG;
        for (unsigned i = 0; r == 0 && i < N_SIDES; i++)
            r = begin_class(&c->side[i], start);
    } while (r == 0 && next_change(c, at, &start));
    for (unsigned i = 0; r == 0 && i < N_SIDES; i++)
        begin_interval(c->side[i].part, (struct key){ UINT64_MAX, UINT64_MAX }, c->side[i].part->class_of[c->side[i].part->n_intervals - 1]);
    return r;
}

static int sweep_prepare(struct cutting *c)
{
    for (unsigned i = 0; i < N_SIDES; i++) {
        struct sweep_side *side = &c->side[i];
        size_t n = 2;
        uint32_t nobody;
        for (uint32_t id = 0; id < c->space->n_ids; id++)
            n += c->sides[id] >> i & 1 ? 2 * (size_t)c->selectors[id].n : 0;
        side->part = &c->space->parts[i];
        side->part->starts = malloc((n + 2) * sizeof *side->part->starts);
        side->part->class_of = malloc((n + 2) * sizeof *side->part->class_of);
        side->class_of_single = calloc((size_t)c->space->n_ids + 1, sizeof *side->class_of_single);
        if (!side->part->starts || !side->part->class_of || !side->class_of_single)
            return -ENOMEM;
        int r = space_lists_add(&side->lists, &side->part->n_classes, 0, &nobody);
        if (r < 0)
            return r;
        put_interval(side->part, (struct key){ 0, 0 }, nobody);
    }
    return 0;
}

/* ---- indexes of what came out ---- */

/* For each selector: the classes in it, ascending. */
static int index_classes(struct space_part *part, uint32_t n_ids)
{
    part->first_class = calloc((size_t)n_ids + 2, sizeof *part->first_class);
    part->classes = malloc(((size_t)part->first_id[part->n_classes] + 1) * sizeof *part->classes);
    if (!part->first_class || !part->classes)
        return -ENOMEM;
    for (uint32_t i = 0; i < part->first_id[part->n_classes]; i++)
        part->first_class[part->ids[i] + 2]++;
    for (uint32_t i = 2; i <= n_ids + 1; i++)
        part->first_class[i] += part->first_class[i - 1];
    for (uint32_t k = 0; k < part->n_classes; k++)
        for (uint32_t i = part->first_id[k]; i < part->first_id[k + 1]; i++)
            part->classes[part->first_class[part->ids[i] + 1]++] = k;
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

static int index_part(struct space_part *part, struct space_lists *lists, uint32_t n_ids)
{
    part->n_classes = lists->n;
    part->first_id = TAKE(lists->first);
    part->ids = TAKE(lists->items);
    int r = index_classes(part, n_ids);
    return r == 0 ? index_intervals(part) : r;
}

/* ---- the whole ---- */

static int cut(struct cutting *c)
{
    int r = cutting_number_selectors(c);
    if (r == 0)
        r = cutting_sort(c);
    if (r < 0)
        return r;
    r = sweep_prepare(c);
    if (r == 0)
        r = sweep(c);
    for (unsigned i = 0; r == 0 && i < N_SIDES; i++)
        r = index_part(&c->space->parts[i], &c->side[i].lists, c->space->n_ids);
    return r;
}

static void cutting_deinit(struct cutting *c)
{
    free(c->selectors);
    free(c->sides);
    free(c->items);
    free(c->spare);
    free(c->v4);
    for (unsigned i = 0; i < N_SIDES; i++) {
        free(c->side[i].active);
        free(c->side[i].list);
        free(c->side[i].singles);
        free(c->side[i].class_of_single);
        space_lists_deinit(&c->side[i].lists);
    }
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
        free(part->first_id);
        free(part->ids);
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
