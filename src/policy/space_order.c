/* The places at which a used selector begins or ends, each selector read once: of IPv4 as a bitmap, of IPv6 sorted. */
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

/* By size, the largest first; of about the same size, as they come. None is empty: rules of nobody are none. */
static int order_by_size(struct cutting *c)
{
    struct space *s = c->space;
    uint32_t count[32] = { 0 }, at = 0;
    uint32_t *new_id = arena_array(&c->arena, s->n_ids, uint32_t);
    struct relation_selector *selectors = arena_array(&c->arena, s->n_ids, struct relation_selector);
    uint8_t *sides = arena_array(&c->arena, s->n_ids, uint8_t);
    if (!new_id || !selectors || !sides)
        return -ENOMEM;
    for (uint32_t id = 0; id < s->n_ids; id++)
        count[__builtin_clz(c->selectors[id].n)]++;
    for (unsigned i = 0; i < ARRAY_SIZE(count); i++) {
        uint32_t n = count[i];
        count[i] = at;
        at += n;
    }
    for (uint32_t id = 0; id < s->n_ids; id++) {
        new_id[id] = count[__builtin_clz(c->selectors[id].n)]++;
        selectors[new_id[id]] = c->selectors[id];
        sides[new_id[id]] = c->sides[id];
    }
    for (uint32_t i = 0; i < s->n_relations; i++)
        for (uint32_t k = 0; k < relation_n_selectors(s->relations[i]); k++)
            if (s->id_of[i][k] != SPACE_UNUSED)
                s->id_of[i][k] = new_id[s->id_of[i][k]];
    c->selectors = selectors;
    c->sides = sides;
    return 0;
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
    n.slots = arena_array(&c->arena, n.n_slots, uint32_t);
    n.hashes = arena_array(&c->arena, total, uint64_t);
    c->selectors = arena_array(&c->arena, total, struct relation_selector);
    c->sides = arena_array(&c->arena, total, uint8_t);
    int r = n.slots && n.hashes && c->selectors && c->sides ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < s->n_relations; i++) {
        s->id_of[i] = arena_array(&s->arena, relation_n_selectors(s->relations[i]), uint32_t);
        if (s->id_of[i])
            number_relation(&n, s->relations[i], s->id_of[i]);
        else
            r = -ENOMEM;
    }
    return r == 0 ? order_by_size(c) : r;
}

/* ---- where elements begin ---- */

/* How many of a selector's ranges lie before a place. */
static uint32_t count_before(const struct relation_selector *selector, struct space_key place)
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

/* Of a selector's ranges, those of IPv4. */
static struct span find_v4(const struct relation_selector *selector)
{
    return (struct span){ count_before(selector, space_borders[0]), count_before(selector, space_borders[1]) };
}

static uint32_t v4_of(const struct address *address)
{
    uint32_t number;
    memcpy(&number, address->bytes + 12, sizeof number);
    return be32toh(number);
}

static struct page *find_page(const struct cutting *c, uint32_t address)
{
    const struct page_block *block = c->blocks[address >> PAGE_BITS >> BLOCK_BITS];
    uint32_t number = block ? block->pages[address >> PAGE_BITS & BLOCK_MASK] : 0;
    return number ? &c->pages[number - 1] : NULL;
}

static struct page *add_page(struct cutting *c, uint32_t address)
{
    struct page_block **block = &c->blocks[address >> PAGE_BITS >> BLOCK_BITS];
    if (!*block)
        *block = calloc(1, sizeof **block);
    if (!*block)
        return NULL;
    if (!c->pages || c->n_pages == c->max_pages) {
        uint32_t max = c->max_pages ? c->max_pages * 2 : 64;
        struct page *pages = realloc(c->pages, max * sizeof *pages);
        if (!pages)
            return NULL;
        c->pages = pages;
        c->max_pages = max;
    }
    c->pages[c->n_pages] = (struct page){ 0 };
    (*block)->pages[address >> PAGE_BITS & BLOCK_MASK] = ++c->n_pages;
    return &c->pages[c->n_pages - 1];
}

/* bits, of the 64 addresses around this one. */
static int mark_v4(struct cutting *c, uint32_t address, uint64_t bits)
{
    struct page *page = find_page(c, address);
    if (!page)
        page = add_page(c, address);
    if (!page)
        return -ENOMEM;
    page->bits[address >> 6 & 3] |= bits;
    return 0;
}

/* Past the end of IPv4 an element begins anyway. */
static int mark_ranges_v4(struct cutting *c, const struct relation_range *ranges, uint32_t n)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        uint32_t first = v4_of(&ranges[i].first), next = v4_of(&ranges[i].last) + 1;
        bool is_one_word = first >> 6 == next >> 6;
        r = mark_v4(c, first, UINT64_C(1) << (first & 63) | (is_one_word ? UINT64_C(1) << (next & 63) : 0));
        if (r == 0 && !is_one_word && next)
            r = mark_v4(c, next, UINT64_C(1) << (next & 63));
    }
    return r;
}

static void take_keys(struct cutting *c, const struct relation_range *ranges, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct space_key next = key_of(&ranges[i].last);
        c->axis->keys[c->axis->n_keys++] = key_of(&ranges[i].first);
        if (key_step(&next) && !is_same(next, space_borders[0]))
            c->axis->keys[c->axis->n_keys++] = next;
    }
}

static int take_ranges(struct cutting *c)
{
    uint64_t n = 0, n_keys = 0;
    for (uint32_t id = 0; id < c->space->n_ids; id++) {
        struct span v4 = find_v4(&c->selectors[id]);
        n += c->selectors[id].n;
        n_keys += 2 * (uint64_t)(c->selectors[id].n - (v4.end - v4.first));
        if (n > SPACE_RANGES_MAX)
            return -E2BIG;
    }
    c->axis->keys = arena_array(&c->arena, n_keys + 2, struct space_key);
    if (!c->axis->keys)
        return -ENOMEM;
    c->axis->keys[c->axis->n_keys++] = (struct space_key){ 0, 0 };
    c->axis->keys[c->axis->n_keys++] = space_borders[1];
    int r = mark_v4(c, 0, 1);
    for (uint32_t id = 0; r == 0 && id < c->space->n_ids; id++) {
        const struct relation_selector *selector = &c->selectors[id];
        struct span v4 = find_v4(selector);
        take_keys(c, selector->items, v4.first);
        take_keys(c, selector->items + v4.end, selector->n - v4.end);
        r = mark_ranges_v4(c, selector->items + v4.first, v4.end - v4.first);
    }
    return r;
}

static unsigned count_bits(uint64_t bits)
{
    bits -= bits >> 1 & UINT64_C(0x5555555555555555);
    bits = (bits & UINT64_C(0x3333333333333333)) + (bits >> 2 & UINT64_C(0x3333333333333333));
    bits = (bits + (bits >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(bits * UINT64_C(0x0101010101010101) >> 56);
}

static void list_page(struct cutting *c, struct page *page, uint32_t address)
{
    for (unsigned i = 0; i < ARRAY_SIZE(page->bits); i++) {
        page->before[i] = c->axis->n_v4;
        for (uint64_t bits = page->bits[i]; bits; bits &= bits - 1)
            c->axis->v4[c->axis->n_v4++] = address + 64 * i + (unsigned)__builtin_ctzll(bits);
    }
}

static int list_v4(struct cutting *c)
{
    size_t n = 0;
    for (uint32_t i = 0; i < c->n_pages; i++)
        for (unsigned k = 0; k < ARRAY_SIZE(c->pages[i].bits); k++)
            n += count_bits(c->pages[i].bits[k]);
    c->axis->v4 = arena_array(&c->space->arena, n, uint32_t);
    if (!c->axis->v4)
        return -ENOMEM;
    for (uint32_t b = 0; b < N_BLOCKS; b++)
        for (uint32_t k = 0; c->blocks[b] && k <= BLOCK_MASK; k++)
            if (c->blocks[b]->pages[k])
                list_page(c, &c->pages[c->blocks[b]->pages[k] - 1], (b << BLOCK_BITS | k) << PAGE_BITS);
    return 0;
}

/* ---- sorting ---- */

static uint64_t half_of(const struct space_key *key, bool hi)
{
    return hi ? key->hi : key->lo;
}

static int compare_keys(const void *a, const void *b)
{
    const struct space_key *x = a, *y = b;
    return is_before(*y, *x) - is_before(*x, *y);
}

/* By digits from the last to the first, without those in which all are equal. */
static int sort_many(struct cutting *c)
{
    struct space_key differ = { 0, 0 }, *spare = arena_array(&c->arena, c->axis->n_keys, struct space_key);
    if (!spare)
        return -ENOMEM;
    for (size_t i = 1; i < c->axis->n_keys; i++) {
        differ.lo |= c->axis->keys[i].lo ^ c->axis->keys[0].lo;
        differ.hi |= c->axis->keys[i].hi ^ c->axis->keys[0].hi;
    }
    for (unsigned half = 0; half < 2; half++)
        for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS) {
            size_t count[1 << DIGIT_BITS] = { 0 }, at = 0;
            if ((half_of(&differ, half == 1) >> shift & DIGIT_MASK) == 0)
                continue;
            for (size_t i = 0; i < c->axis->n_keys; i++)
                count[half_of(&c->axis->keys[i], half == 1) >> shift & DIGIT_MASK]++;
            for (size_t i = 0; i < ARRAY_SIZE(count); i++) {
                size_t here = count[i];
                count[i] = at;
                at += here;
            }
            for (size_t i = 0; i < c->axis->n_keys; i++)
                spare[count[half_of(&c->axis->keys[i], half == 1) >> shift & DIGIT_MASK]++] = c->axis->keys[i];
            struct space_key *swap = c->axis->keys;
            c->axis->keys = spare;
            spare = swap;
        }
    return 0;
}

static int sort_keys(struct cutting *c)
{
    size_t out = 1;
    if (c->axis->n_keys >= 1 << DIGIT_BITS) {
        int r = sort_many(c);
        if (r < 0)
            return r;
    } else {
        qsort(c->axis->keys, c->axis->n_keys, sizeof *c->axis->keys, compare_keys);
    }
    for (size_t i = 1; i < c->axis->n_keys; i++)
        if (!is_same(c->axis->keys[i], c->axis->keys[out - 1]))
            c->axis->keys[out++] = c->axis->keys[i];
    struct space_key *keys = arena_array(&c->space->arena, out, struct space_key);
    if (!keys)
        return -ENOMEM;
    memcpy(keys, c->axis->keys, out * sizeof *keys);
    c->axis->keys = keys;
    c->axis->n_keys = out;
    while (is_before(c->axis->keys[c->axis->n_low], space_borders[0]))
        c->axis->n_low++;
    return 0;
}

int cutting_find_elements(struct cutting *c)
{
    int r = take_ranges(c);
    if (r == 0)
        r = list_v4(c);
    if (r == 0)
        r = sort_keys(c);
    c->axis->n_elements = (uint32_t)(c->axis->n_keys + c->axis->n_v4);
    return r;
}

/* ---- spans ---- */

/* An element begins at the address. */
static uint32_t find_element_v4(const struct cutting *c, uint32_t address)
{
    const struct page *page = find_page(c, address);
    unsigned word = address >> 6 & 3;
    uint64_t below = page->bits[word] & ((UINT64_C(1) << (address & 63)) - 1);
    return (uint32_t)c->axis->n_low + page->before[word] + count_bits(below);
}

/* The first key from at on that is not before place; in steps that double, as ranges come in order. */
static size_t skip_to(const struct cutting *c, size_t at, struct space_key place)
{
    size_t width = 1, first = at;
    while (width <= c->axis->n_keys - first && is_before(c->axis->keys[first + width - 1], place)) {
        first += width;
        width *= 2;
    }
    for (size_t end = width < c->axis->n_keys - first ? first + width : c->axis->n_keys; first < end;) {
        size_t middle = first + (end - first) / 2;
        if (is_before(c->axis->keys[middle], place))
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static uint32_t element_of_key(const struct cutting *c, size_t key)
{
    return (uint32_t)(key < c->axis->n_low ? key : key + c->axis->n_v4);
}

static bool is_key_v4(struct space_key key)
{
    return key.hi == 0 && key.lo >> 32 == MAPPED;
}

struct span cutting_find_span(const struct cutting *c, const struct relation_range *range, size_t *at)
{
    struct space_key first = key_of(&range->first), next = key_of(&range->last);
    bool is_end = !key_step(&next);
    if (!is_key_v4(first)) {
        size_t from = skip_to(c, *at, first);
        *at = is_end ? c->axis->n_keys : skip_to(c, from, next);
        return (struct span){ element_of_key(c, from), element_of_key(c, *at - 1) + 1 };
    }
    struct span span = { .first = find_element_v4(c, (uint32_t)first.lo) };
    if (is_same(first, key_of(&range->last)))
        span.end = span.first + 1;
    else
        span.end = is_key_v4(next) ? find_element_v4(c, (uint32_t)next.lo) : (uint32_t)c->axis->n_low + c->axis->n_v4;
    return span;
}
