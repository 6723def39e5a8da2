/* Cutting the address axis: all used ranges sorted by where they begin, then one sweep that keeps the set of selectors that hold the
 * address it is at. Every time the set changes, a class ends and another one goes on; equal sets are one class. */
#include "policy/space.h"

#include <endian.h>
#include <errno.h>

enum { N_SIDES = 2, DIGIT_BITS = 11, DIGIT_MASK = (1 << DIGIT_BITS) - 1, SORT_FEW = 32, MAPPED = 0xffff };
/* Ranges in all, and how many selectors the sweep may look at on its way, over and over: past either, the space is too big. */
enum { SPACE_RANGES_MAX = 1 << 24, SPACE_STEPS_MAX = INT32_MAX };

/* An address as two numbers, so that comparing takes no call. */
struct key {
    uint64_t hi, lo;
};

/* A range of a used selector. */
struct item {
    struct key first;
    uint32_t id;
    uint32_t k;          /* its number in the selector, or ITEM_SINGLE for one address */
};

enum { ITEM_SINGLE = UINT32_MAX };

/* The same of IPv4, half the size: of these there are most. */
struct item_v4 {
    uint32_t first, id, k;
};

/* A selector that holds the address where the sweep is. */
struct active {
    struct key last;
    uint32_t id;
};

struct sweep_side {
    struct space_part *part;
    struct active *active;  /* by id */
    uint32_t n, max;
    uint32_t *singles;      /* ids that hold this one address only, ascending */
    uint32_t n_singles, max_singles;
    uint32_t *list;         /* scratch of as many as both */
    uint32_t around;        /* + 1: the class of the active ones without singles; 0: not known */
    struct space_lists lists;
    uint32_t *class_of_single; /* by id: of the addresses in that one selector alone, + 1 */
    bool is_changed;
};

struct cutting {
    struct space *space;
    struct relation_selector *selectors;  /* by id */
    uint8_t *sides;                       /* by id: bit per side that uses it */
    struct item *items, *spare;           /* of IPv6: first those below the mapped addresses */
    struct item_v4 *v4;
    unsigned v4_shift;                    /* to the first bits in which IPv4 addresses differ */
    size_t n_items, n_low, n_v4;
    uint64_t n_steps;
    struct sweep_side side[N_SIDES];
};

/* ---- keys ---- */

static struct key key_of(const struct address *address)
{
    struct key key;
    memcpy(&key.hi, address->bytes, 8);
    memcpy(&key.lo, address->bytes + 8, 8);
    return (struct key){ be64toh(key.hi), be64toh(key.lo) };
}

static struct address address_of(struct key key)
{
    struct address address;
    key = (struct key){ htobe64(key.hi), htobe64(key.lo) };
    memcpy(address.bytes, &key.hi, 8);
    memcpy(address.bytes + 8, &key.lo, 8);
    return address;
}

static bool is_before(struct key a, struct key b)
{
    return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo;
}

static bool is_same(struct key a, struct key b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* False past the end of the axis. */
static bool key_step(struct key *key)
{
    key->lo++;
    if (key->lo == 0)
        key->hi++;
    return key->lo || key->hi;
}

/* Where a family ends and the other one begins: no range of a class goes across. */
static const struct key borders[] = { { 0, UINT64_C(0x0000ffff00000000) }, { 0, UINT64_C(0x0001000000000000) } };

/* ---- one number for equal selectors ---- */

struct numbering {
    struct cutting *c;
    uint32_t *slots, n_slots; /* id + 1 */
    uint64_t *hashes;         /* by id */
};

static uint32_t number_selector(struct numbering *n, const struct relation *relation, uint32_t index)
{
    struct relation_selector selector = relation_selector(relation, index);
    uint64_t hash = relation_selector_hash(relation, index);
    uint32_t at = (uint32_t)hash & (n->n_slots - 1);
    for (; n->slots[at]; at = (at + 1) & (n->n_slots - 1)) {
        uint32_t id = n->slots[at] - 1;
        if (n->hashes[id] == hash && relation_selector_equal(n->c->selectors[id], selector))
            return id;
    }
    uint32_t id = n->c->space->n_ids++;
    n->slots[at] = id + 1;
    n->hashes[id] = hash;
    n->c->selectors[id] = selector;
    return id;
}

static void number_relation(struct numbering *n, const struct relation *relation, uint32_t *id_of)
{
    for (uint32_t i = 0; i < relation_n_selectors(relation); i++)
        id_of[i] = SPACE_UNUSED;
    for (uint32_t i = 0; i < relation_n_rules(relation); i++) {
        const struct relation_rule *rule = relation_rule(relation, i);
        const uint32_t used[N_SIDES] = { rule->source, rule->destination };
        for (unsigned side = 0; side < N_SIDES; side++) {
            if (id_of[used[side]] == SPACE_UNUSED)
                id_of[used[side]] = number_selector(n, relation, used[side]);
            n->c->sides[id_of[used[side]]] |= (uint8_t)(1 << side);
        }
    }
}

static int number_selectors(struct cutting *c)
{
    struct space *s = c->space;
    struct numbering n = { .c = c, .n_slots = 64 };
    uint64_t total = 1;
    for (uint32_t i = 0; i < s->n_relations; i++)
        total += relation_n_selectors(s->relations[i]);
    if (total > SPACE_RANGES_MAX)
        return -E2BIG;
    while (n.n_slots < 2 * total)
        n.n_slots *= 2;
    n.slots = calloc(n.n_slots, sizeof *n.slots);
    n.hashes = malloc(total * sizeof *n.hashes);
    c->selectors = malloc(total * sizeof *c->selectors);
    c->sides = calloc(total, 1);
    int r = n.slots && n.hashes && c->selectors && c->sides ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < s->n_relations; i++) {
        s->id_of[i] = malloc(((size_t)relation_n_selectors(s->relations[i]) + 1) * sizeof *s->id_of[i]);
        if (s->id_of[i])
            number_relation(&n, s->relations[i], s->id_of[i]);
        else
            r = -ENOMEM;
    }
    free(n.slots);
    free(n.hashes);
    return r;
}

/* ---- sorting ---- */

static bool is_mapped(struct key key)
{
    return key.hi == 0 && key.lo >> 32 == MAPPED;
}

/* How many of a selector's ranges lie before a place. */
static uint32_t count_before(const struct relation_selector *selector, struct key place)
{
    uint32_t first = 0, end = selector->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (is_before(key_of(&selector->items[middle].first), place))
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* The first bits in which any differ are those in which the least and the greatest do. */
static int count_items(struct cutting *c)
{
    uint32_t least = UINT32_MAX, greatest = 0;
    for (uint32_t id = 0; id < c->space->n_ids; id++) {
        const struct relation_selector *selector = &c->selectors[id];
        uint32_t first = count_before(selector, borders[0]), end = count_before(selector, borders[1]);
        if (first < end) {
            uint32_t low = (uint32_t)key_of(&selector->items[first].first).lo, high = (uint32_t)key_of(&selector->items[end - 1].first).lo;
            least = low < least ? low : least;
            greatest = high > greatest ? high : greatest;
        }
        c->n_v4 += end - first;
        c->n_items += selector->n - (end - first);
        if (c->n_items + c->n_v4 > SPACE_RANGES_MAX)
            return -E2BIG;
    }
    for (c->v4_shift = 0; (least ^ greatest) >> c->v4_shift >> DIGIT_BITS;)
        c->v4_shift++;
    c->items = malloc((c->n_items + 1) * sizeof *c->items);
    c->spare = malloc((c->n_items + 1) * sizeof *c->spare);
    c->v4 = malloc((c->n_v4 + 1) * sizeof *c->v4);
    return c->items && c->spare && c->v4 ? 0 : -ENOMEM;
}

static void sum_digits(size_t count[static 1 << DIGIT_BITS])
{
    size_t at = 0;
    for (size_t i = 0; i < 1 << DIGIT_BITS; i++) {
        size_t here = count[i];
        count[i] = at;
        at += here;
    }
}

/* IPv4 goes to its place by the first bits in which any differ; ends becomes where the items of each of these end. */
static void take_items(struct cutting *c, size_t ends[static 1 << DIGIT_BITS])
{
    struct item *other = c->items;
    memset(ends, 0, sizeof *ends << DIGIT_BITS);
    for (uint32_t id = 0; id < c->space->n_ids; id++)
        for (uint32_t i = 0; i < c->selectors[id].n; i++) {
            struct key first = key_of(&c->selectors[id].items[i].first);
            if (is_mapped(first))
                ends[(uint32_t)first.lo >> c->v4_shift & DIGIT_MASK]++;
        }
    sum_digits(ends);
    for (uint32_t id = 0; id < c->space->n_ids; id++) {
        const struct relation_selector *selector = &c->selectors[id];
        for (uint32_t i = 0; i < selector->n; i++) {
            struct key first = key_of(&selector->items[i].first);
            uint32_t k = is_same(first, key_of(&selector->items[i].last)) ? ITEM_SINGLE : i;
            if (is_mapped(first))
                c->v4[ends[(uint32_t)first.lo >> c->v4_shift & DIGIT_MASK]++] = (struct item_v4){ (uint32_t)first.lo, id, k };
            else
                *other++ = (struct item){ first, id, k };
        }
    }
}

static void sort_few_v4(struct item_v4 *items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct item_v4 item = items[i];
        size_t at = i;
        for (; at && items[at - 1].first > item.first; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* By bytes from the last to the first, without those in which all are equal. */
static void sort_v4(struct item_v4 *items, struct item_v4 *spare, size_t n)
{
    struct item_v4 *from = items, *to = spare;
    uint32_t differ = 0;
    for (size_t i = 1; i < n; i++)
        differ |= items[i].first ^ items[0].first;
    for (unsigned shift = 0; shift < 32; shift += 8) {
        size_t count[256] = { 0 }, at = 0;
        if ((differ >> shift & 0xff) == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            count[from[i].first >> shift & 0xff]++;
        for (unsigned i = 0; i < ARRAY_SIZE(count); i++) {
            size_t here = count[i];
            count[i] = at;
            at += here;
        }
        for (size_t i = 0; i < n; i++)
            to[count[from[i].first >> shift & 0xff]++] = from[i];
        struct item_v4 *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, n * sizeof *items);
}

/* What begins alike is small enough for the caches. */
static int sort_all_v4(struct cutting *c, const size_t ends[static 1 << DIGIT_BITS])
{
    size_t most = 0;
    for (size_t i = 0, first = 0; i < 1 << DIGIT_BITS; first = ends[i++])
        most = ends[i] - first > most ? ends[i] - first : most;
    struct item_v4 *spare = malloc((most + 1) * sizeof *spare);
    if (!spare)
        return -ENOMEM;
    for (size_t i = 0, first = 0; i < 1 << DIGIT_BITS; first = ends[i++])
        if (ends[i] - first <= SORT_FEW)
            sort_few_v4(c->v4 + first, ends[i] - first);
        else
            sort_v4(c->v4 + first, spare, ends[i] - first);
    free(spare);
    return 0;
}

static uint64_t half_of(const struct item *item, bool hi)
{
    return hi ? item->first.hi : item->first.lo;
}

static void sort_items(struct cutting *c)
{
    uint64_t differ[2] = { 0, 0 };
    for (size_t i = 1; i < c->n_items; i++) {
        differ[0] |= c->items[i].first.lo ^ c->items[0].first.lo;
        differ[1] |= c->items[i].first.hi ^ c->items[0].first.hi;
    }
    for (unsigned half = 0; half < ARRAY_SIZE(differ); half++)
        for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS) {
            size_t count[1 << DIGIT_BITS] = { 0 };
            if ((differ[half] >> shift & DIGIT_MASK) == 0)
                continue;
            for (size_t i = 0; i < c->n_items; i++)
                count[half_of(&c->items[i], half == 1) >> shift & DIGIT_MASK]++;
            sum_digits(count);
            for (size_t i = 0; i < c->n_items; i++)
                c->spare[count[half_of(&c->items[i], half == 1) >> shift & DIGIT_MASK]++] = c->items[i];
            struct item *swap = c->items;
            c->items = c->spare;
            c->spare = swap;
        }
    while (c->n_low < c->n_items && is_before(c->items[c->n_low].first, borders[0]))
        c->n_low++;
}

/* The i-th of all, in the order of the axis. */
static struct item item_at(const struct cutting *c, size_t i)
{
    if (i < c->n_low)
        return c->items[i];
    if (i >= c->n_low + c->n_v4)
        return c->items[i - c->n_v4];
    const struct item_v4 *v4 = &c->v4[i - c->n_low];
    return (struct item){ { 0, (uint64_t)MAPPED << 32 | v4->first }, v4->id, v4->k };
}

static size_t count_all(const struct cutting *c)
{
    return c->n_items + c->n_v4;
}

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
    for (unsigned i = 0; i < ARRAY_SIZE(borders); i++) {
        struct key last_start = key_of(&part->starts[part->n_intervals - 1]);
        if (is_before(last_start, borders[i]) && is_before(borders[i], start))
            put_interval(part, borders[i], before);
        is_border |= is_same(borders[i], start);
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
    size_t ends[1 << DIGIT_BITS];
    int r = number_selectors(c);
    if (r == 0)
        r = count_items(c);
    if (r < 0)
        return r;
    take_items(c, ends);
    r = sort_all_v4(c, ends);
    if (r < 0)
        return r;
    sort_items(c);
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
        space = space_free(space);
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
