/* Relations: selectors made canonical and kept once each, rules and reasons appended. */
#include "policy/relation.h"

#include <errno.h>

const struct relation_range relation_all_v4 = {
    { { [10] = 0xff, [11] = 0xff } },
    { { [10] = 0xff, [11] = 0xff, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xff } },
};
const struct relation_range relation_all_v6 = {
    { { [9] = 1 } },
    { { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
};

enum { RELATION_SLOTS_MIN = 64, RELATION_N_MAX = 1 << 26 };

/* Open addressing; a slot holds a selector's number + 1. */
struct relation_index {
    uint32_t n_used, n_slots; /* n_slots: a power of two */
    uint32_t *slots;
    struct arena arena;       /* holds the scratch only */
    struct relation_range *scratch;
    uint32_t n_scratch;
};

void relation_init(struct relation *relation)
{
    *relation = (struct relation){ 0 };
    arena_init(&relation->arena, RELATION_MEMORY_MAX);
    buf_init(&relation->selectors, RELATION_MEMORY_MAX);
    buf_init(&relation->hashes, RELATION_MEMORY_MAX);
    buf_init(&relation->rules, RELATION_MEMORY_MAX);
    buf_init(&relation->reasons, RELATION_MEMORY_MAX);
}

void relation_deinit(struct relation *relation)
{
    if (relation->index) {
        free(relation->index->slots);
        arena_deinit(&relation->index->arena);
        free(relation->index);
    }
    arena_deinit(&relation->arena);
    buf_deinit(&relation->selectors);
    buf_deinit(&relation->hashes);
    buf_deinit(&relation->rules);
    buf_deinit(&relation->reasons);
    relation->index = NULL;
}

/* All that a relation holds, against the one cap that its parts share. */
static bool has_room(const struct relation *relation, size_t more)
{
    size_t held = relation->arena.held + relation->selectors.len + relation->hashes.len + relation->rules.len + relation->reasons.len;
    return held <= RELATION_MEMORY_MAX && more <= RELATION_MEMORY_MAX - held;
}

/* ---- ranges ---- */

static bool is_valid(const struct relation_range *range)
{
    bool v4 = address_is_v4(&range->first);
    if (address_compare(&range->first, &range->last) > 0 || v4 != address_is_v4(&range->last))
        return false;
    return v4 || address_compare(&range->first, &relation_all_v4.first) > 0 || address_compare(&range->last, &relation_all_v4.first) < 0;
}

/* Whether b is the address after a, in the same family. */
static bool is_next(const struct address *a, const struct address *b)
{
    uint64_t lo = address_half(a, 1) + 1;
    return lo == address_half(b, 1) && address_half(a, 0) + (lo == 0) == address_half(b, 0) && address_is_v4(a) == address_is_v4(b);
}

/* Whether b, which doesn't start before a, goes on where a is or ends. */
static bool continues(const struct relation_range *a, const struct relation_range *b)
{
    return address_compare(&b->first, &a->last) <= 0 || is_next(&a->last, &b->first);
}

static int compare_ranges(const void *a, const void *b)
{
    return address_compare(&((const struct relation_range *)a)->first, &((const struct relation_range *)b)->first);
}

enum order { ORDER_CANONICAL, ORDER_SORTED, ORDER_NONE };

static enum order find_order(const struct relation_range *ranges, uint32_t n)
{
    enum order order = ORDER_CANONICAL;
    for (uint32_t i = 1; i < n; i++) {
        if (compare_ranges(&ranges[i - 1], &ranges[i]) > 0)
            return ORDER_NONE;
        if (continues(&ranges[i - 1], &ranges[i]))
            order = ORDER_SORTED;
    }
    return order;
}

/* What is sorted; from may be to. Returns how many remain. */
static uint32_t merge_ranges(const struct relation_range *from, uint32_t n, struct relation_range *to)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (out == 0 || !continues(&to[out - 1], &from[i]))
            to[out++] = from[i];
        else if (address_compare(&from[i].last, &to[out - 1].last) > 0)
            to[out - 1].last = from[i].last;
    }
    return out;
}

/* ---- equal selectors ---- */

static uint64_t hash_ranges(const struct relation_range *ranges, uint32_t n)
{
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ n, word;
    const char *bytes = (const char *)ranges;
    for (size_t at = 0; at < (size_t)n * sizeof *ranges; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

bool relation_selector_equal(struct relation_selector a, struct relation_selector b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.items, b.items, (size_t)a.n * sizeof *a.items) == 0);
}

uint64_t relation_selector_hash(const struct relation *relation, uint32_t index)
{
    return ((const uint64_t *)(const void *)relation->hashes.ptr)[index];
}

static void place(const struct relation_index *index, uint64_t hash, uint32_t selector)
{
    uint32_t at = (uint32_t)hash & (index->n_slots - 1);
    while (index->slots[at])
        at = (at + 1) & (index->n_slots - 1);
    index->slots[at] = selector + 1;
}

static int grow(struct relation *relation, struct relation_index *index)
{
    uint32_t n = index->n_slots ? index->n_slots * 2 : RELATION_SLOTS_MIN;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    free(index->slots);
    index->slots = slots;
    index->n_slots = n;
    for (uint32_t i = 0; i < relation_n_selectors(relation); i++)
        place(index, relation_selector_hash(relation, i), i);
    return 0;
}

static bool find(const struct relation *relation, struct relation_selector wanted, uint64_t hash, uint32_t *ret)
{
    const struct relation_index *index = relation->index;
    for (uint32_t at = (uint32_t)hash & (index->n_slots - 1); index->slots[at]; at = (at + 1) & (index->n_slots - 1))
        if (relation_selector_hash(relation, index->slots[at] - 1) == hash &&
            relation_selector_equal(relation_selector(relation, index->slots[at] - 1), wanted)) {
            *ret = index->slots[at] - 1;
            return true;
        }
    return false;
}

static int prepare(struct relation *relation)
{
    if (!relation->index)
        relation->index = calloc(1, sizeof *relation->index);
    struct relation_index *index = relation->index;
    if (!index)
        return -ENOMEM;
    return 2 * index->n_used >= index->n_slots ? grow(relation, index) : 0;
}

static int reserve_scratch(struct relation_index *index, uint32_t n)
{
    if (n <= index->n_scratch)
        return 0;
    n = n < 2 * index->n_scratch ? 2 * index->n_scratch : n;
    arena_deinit(&index->arena);
    index->scratch = arena_array(&index->arena, n, struct relation_range);
    index->n_scratch = index->scratch ? n : 0;
    return index->scratch ? 0 : -ENOMEM;
}

/* The ranges as they are when they may stay so, else made canonical in the scratch: large sets usually come sorted, and are copied once. */
static int make_canonical(struct relation_index *index, const struct relation_range *ranges, uint32_t n, struct relation_selector *ret)
{
    enum order order = find_order(ranges, n);
    int r = order == ORDER_CANONICAL ? 0 : reserve_scratch(index, n);
    *ret = (struct relation_selector){ ranges, n };
    if (r < 0 || order == ORDER_CANONICAL)
        return r;
    if (order == ORDER_NONE) {
        memcpy(index->scratch, ranges, (size_t)n * sizeof *ranges);
        qsort(index->scratch, n, sizeof *index->scratch, compare_ranges);
        ranges = index->scratch;
    }
    *ret = (struct relation_selector){ index->scratch, merge_ranges(ranges, n, index->scratch) };
    return 0;
}

static int add_new(struct relation *relation, struct relation_selector selector, uint64_t hash, uint32_t *ret)
{
    size_t bytes = (size_t)selector.n * sizeof *selector.items;
    if (!has_room(relation, bytes + sizeof selector + sizeof hash) || relation_n_selectors(relation) >= RELATION_N_MAX)
        return -E2BIG;
    struct relation_range *own = arena_alloc(&relation->arena, selector.n, sizeof *own);
    if (!own)
        return -ENOMEM;
    if (bytes)
        memcpy(own, selector.items, bytes);
    selector.items = own;
    uint32_t number = relation_n_selectors(relation);
    buf_append(&relation->selectors, str_make((const char *)&selector, sizeof selector));
    buf_append(&relation->hashes, str_make((const char *)&hash, sizeof hash));
    if (relation->selectors.error || relation->hashes.error)
        return relation->selectors.error ? relation->selectors.error : relation->hashes.error;
    place(relation->index, hash, number);
    relation->index->n_used++;
    *ret = number;
    return 0;
}

int relation_add_selector(struct relation *relation, const struct relation_range *ranges, uint32_t n, uint32_t *ret)
{
    if ((size_t)n * sizeof *ranges > RELATION_MEMORY_MAX)
        return -E2BIG;
    for (uint32_t i = 0; i < n; i++)
        if (!is_valid(&ranges[i]))
            return -EINVAL;
    struct relation_selector selector;
    int r = prepare(relation);
    if (r == 0)
        r = make_canonical(relation->index, ranges, n, &selector);
    if (r < 0)
        return r;
    uint64_t hash = hash_ranges(selector.items, selector.n);
    return find(relation, selector, hash, ret) ? 0 : add_new(relation, selector, hash, ret);
}

/* ---- rules and reasons ---- */

int relation_add_reason(struct relation *relation, struct relation_reason reason, uint32_t *ret)
{
    uint32_t number = relation_n_reasons(relation);
    const struct relation_reason *last = number ? relation_reason(relation, number - 1) : NULL;
    if (!has_room(relation, sizeof reason + reason.file.len + reason.text.len) || number >= RELATION_N_MAX)
        return -E2BIG;
    /* Files come in runs: rule by rule out of the same one. */
    reason.file = last && str_equal(last->file, reason.file) ? last->file : arena_copy(&relation->arena, reason.file);
    reason.text = arena_copy(&relation->arena, reason.text);
    if (!reason.file.ptr || !reason.text.ptr)
        return -ENOMEM;
    buf_append(&relation->reasons, str_make((const char *)&reason, sizeof reason));
    if (relation->reasons.error)
        return relation->reasons.error;
    *ret = number;
    return 0;
}

int relation_add_rule(struct relation *relation, const struct relation_rule *rule)
{
    if (relation_selector(relation, rule->source).n == 0 || relation_selector(relation, rule->destination).n == 0)
        return 0;
    if (!has_room(relation, sizeof *rule) || relation_n_rules(relation) >= RELATION_N_MAX)
        return -E2BIG;
    buf_append(&relation->rules, str_make((const char *)rule, sizeof *rule));
    return relation->rules.error;
}

int relation_append_rule(struct relation *to, const struct relation *from, uint32_t index)
{
    struct relation_rule rule = *relation_rule(from, index);
    struct relation_selector source = relation_selector(from, rule.source), destination = relation_selector(from, rule.destination);
    int r = relation_add_selector(to, source.items, source.n, &rule.source);
    if (r == 0)
        r = relation_add_selector(to, destination.items, destination.n, &rule.destination);
    if (r == 0)
        r = relation_add_reason(to, *relation_reason(from, rule.reason), &rule.reason);
    return r == 0 ? relation_add_rule(to, &rule) : r;
}

int relation_append(struct relation *to, const struct relation *from)
{
    uint32_t n = relation_n_selectors(from), *selectors = malloc(((size_t)n + 1) * sizeof *selectors);
    uint32_t reasons = relation_n_reasons(to);
    int r = selectors ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        struct relation_selector selector = relation_selector(from, i);
        r = relation_add_selector(to, selector.items, selector.n, &selectors[i]);
    }
    for (uint32_t i = 0, number; r == 0 && i < relation_n_reasons(from); i++)
        r = relation_add_reason(to, *relation_reason(from, i), &number);
    for (uint32_t i = 0; r == 0 && i < relation_n_rules(from); i++) {
        struct relation_rule rule = *relation_rule(from, i);
        rule.source = selectors[rule.source];
        rule.destination = selectors[rule.destination];
        rule.reason += reasons;
        r = relation_add_rule(to, &rule);
    }
    free(selectors);
    return r;
}

uint32_t relation_n_selectors(const struct relation *relation)
{
    return (uint32_t)(relation->selectors.len / sizeof(struct relation_selector));
}

uint32_t relation_n_rules(const struct relation *relation)
{
    return (uint32_t)(relation->rules.len / sizeof(struct relation_rule));
}

uint32_t relation_n_reasons(const struct relation *relation)
{
    return (uint32_t)(relation->reasons.len / sizeof(struct relation_reason));
}

struct relation_selector relation_selector(const struct relation *relation, uint32_t index)
{
    return ((const struct relation_selector *)(const void *)relation->selectors.ptr)[index];
}

const struct relation_rule *relation_rule(const struct relation *relation, uint32_t index)
{
    return (const struct relation_rule *)(const void *)relation->rules.ptr + index;
}

const struct relation_reason *relation_reason(const struct relation *relation, uint32_t index)
{
    return (const struct relation_reason *)(const void *)relation->reasons.ptr + index;
}

/* ---- prefixes and points ---- */

struct relation_range relation_range_of_prefix(const struct address_prefix *prefix)
{
    struct relation_range range = { prefix->address, prefix->address };
    for (unsigned bit = prefix->bits; bit < 8 * sizeof range.last.bytes; bit++)
        range.last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    if (prefix->bits < 96) {
        if (address_compare(&range.first, &relation_all_v4.first) < 0 && address_compare(&range.last, &relation_all_v4.last) >= 0)
            range.first = relation_all_v6.first;
        if (address_compare(&range.first, &relation_all_v6.last) <= 0 && address_compare(&range.last, &relation_all_v6.last) > 0)
            range.last = relation_all_v6.last;
    }
    return range;
}

bool relation_range_cut_points(struct relation_range *range)
{
    if (address_compare(&range->last, &relation_all_v6.last) > 0)
        range->last = relation_all_v6.last;
    return address_compare(&range->first, &range->last) <= 0;
}

/* The first byte of every point, and the eighth by what it is the point of. */
enum { POINT_MARK = 0xff, POINT_SERVICE = 0, POINT_CONTAINER = 1, POINT_INTERNET = 2 };

static void put_number(uint8_t bytes[static 4], uint32_t n)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(n >> (24 - 8 * i));
}

static uint32_t get_number(const uint8_t bytes[static 4])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

struct address relation_service_point(uint32_t surface, uint32_t service)
{
    struct address point = { { POINT_MARK } };
    put_number(point.bytes + 8, surface);
    put_number(point.bytes + 12, service);
    return point;
}

static bool is_point(const struct address *address, uint8_t what)
{
    const uint8_t mark[8] = { POINT_MARK, [7] = what };
    return memcmp(address->bytes, mark, sizeof mark) == 0;
}

bool relation_is_service_point(const struct address *address, uint32_t *ret_surface, uint32_t *ret_service)
{
    if (!is_point(address, POINT_SERVICE))
        return false;
    *ret_surface = get_number(address->bytes + 8);
    *ret_service = get_number(address->bytes + 12);
    return true;
}

struct address relation_container_point(uint32_t container)
{
    struct address point = { { POINT_MARK, [7] = POINT_CONTAINER } };
    put_number(point.bytes + 12, container);
    return point;
}

bool relation_is_container_point(const struct address *address, uint32_t *ret_container)
{
    if (!is_point(address, POINT_CONTAINER))
        return false;
    *ret_container = get_number(address->bytes + 12);
    return true;
}

struct address relation_internet_point(void)
{
    return (struct address){ { POINT_MARK, [7] = POINT_INTERNET } };
}

bool relation_is_internet_point(const struct address *address)
{
    return is_point(address, POINT_INTERNET);
}

/* ---- one question ---- */

bool relation_selector_contains(struct relation_selector selector, const struct address *address)
{
    uint32_t first = 0, end = selector.n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&selector.items[middle].last, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first < selector.n && address_compare(&selector.items[first].first, address) <= 0;
}

uint32_t relation_find_rule(const struct relation *relation, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < relation_n_rules(relation); i++) {
        const struct relation_rule *rule = relation_rule(relation, i);
        if (rule->protocol_first <= protocol && protocol <= rule->protocol_last && rule->port_first <= port && port <= rule->port_last &&
            relation_selector_contains(relation_selector(relation, rule->destination), to) &&
            relation_selector_contains(relation_selector(relation, rule->source), from))
            return i;
    }
    return UINT32_MAX;
}
