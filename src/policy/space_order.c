/* The ranges of all used selectors, each selector once, sorted by where they begin. */
#include "policy/space_order.h"

#include <errno.h>

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

int cutting_number_selectors(struct cutting *c)
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
        uint32_t first = count_before(selector, space_borders[0]), end = count_before(selector, space_borders[1]);
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
    while (c->n_low < c->n_items && is_before(c->items[c->n_low].first, space_borders[0]))
        c->n_low++;
}

int cutting_sort(struct cutting *c)
{
    size_t ends[1 << DIGIT_BITS];
    int r = count_items(c);
    if (r < 0)
        return r;
    take_items(c, ends);
    r = sort_all_v4(c, ends);
    if (r == 0)
        sort_items(c);
    return r;
}
