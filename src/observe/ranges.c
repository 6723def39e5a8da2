/* Sets of addresses as sorted ranges. */
#include "observe/ranges.h"

#include <errno.h>

void ranges_init(struct ranges *ranges, uint32_t max)
{
    *ranges = (struct ranges){ .max = max };
}

void ranges_deinit(struct ranges *ranges)
{
    free(ranges->items);
    *ranges = (struct ranges){ .max = ranges->max };
}

static bool ranges_hold(struct ranges *ranges, uint64_t n)
{
    if (ranges->error || n <= ranges->n_held)
        return !ranges->error;
    uint64_t n_held = ranges->n_held ? ranges->n_held * 2ULL : 16;
    n_held = n_held < n ? n : n_held;
    n_held = n_held > ranges->max ? ranges->max : n_held;
    if (n > n_held) {
        ranges->error = -E2BIG;
        return false;
    }
    struct relation_range *items = reallocarray(ranges->items, n_held, sizeof *items);
    if (!items) {
        ranges->error = -ENOMEM;
        return false;
    }
    ranges->items = items;
    ranges->n_held = (uint32_t)n_held;
    return true;
}

void ranges_add(struct ranges *ranges, struct relation_range range)
{
    if (ranges_hold(ranges, (uint64_t)ranges->n + 1))
        ranges->items[ranges->n++] = range;
}

void ranges_add_all(struct ranges *ranges, const struct relation_range *items, uint32_t n)
{
    if (n && ranges_hold(ranges, (uint64_t)ranges->n + n)) {
        memcpy(ranges->items + ranges->n, items, n * sizeof *items);
        ranges->n += n;
    }
}

/* The address after or before; the ends of the axis wrap, and callers look first. */
static struct address address_after(struct address address)
{
    address_advance(&address);
    return address;
}

static struct address address_before(struct address address)
{
    address_retreat(&address);
    return address;
}

static bool is_adjacent(const struct address *last, const struct address *first)
{
    struct address after = address_after(*last);
    return address_equal(&after, first) && address_is_v4(last) == address_is_v4(first);
}

static int range_compare(const void *a, const void *b)
{
    return address_compare(&((const struct relation_range *)a)->first, &((const struct relation_range *)b)->first);
}

void ranges_normalise(struct ranges *ranges)
{
    if (ranges->error || ranges->n < 2)
        return;
    qsort(ranges->items, ranges->n, sizeof *ranges->items, range_compare);
    uint32_t n = 0;
    for (uint32_t i = 1; i < ranges->n; i++) {
        struct relation_range *last = &ranges->items[n], *next = &ranges->items[i];
        if (address_compare(&next->first, &last->last) <= 0 || is_adjacent(&last->last, &next->first)) {
            if (address_compare(&next->last, &last->last) > 0)
                last->last = next->last;
        } else {
            ranges->items[++n] = *next;
        }
    }
    ranges->n = n + 1;
}

bool ranges_overlap(const struct relation_range *a, const struct relation_range *b)
{
    return address_compare(&a->first, &b->last) <= 0 && address_compare(&b->first, &a->last) <= 0;
}

void ranges_subtract(struct ranges *ranges, const struct relation_range *items, uint32_t n)
{
    struct ranges left = { .max = ranges->max, .error = ranges->error };
    uint32_t k = 0;
    for (uint32_t i = 0; i < ranges->n && !left.error; i++) {
        struct relation_range item = ranges->items[i];
        bool is_gone = false;
        while (k < n && address_compare(&items[k].last, &item.first) < 0)
            k++;
        for (uint32_t j = k; j < n && ranges_overlap(&items[j], &item) && !is_gone; j++) {
            if (address_compare(&item.first, &items[j].first) < 0)
                ranges_add(&left, (struct relation_range){ item.first, address_before(items[j].first) });
            is_gone = address_compare(&items[j].last, &item.last) >= 0;
            item.first = is_gone ? item.first : address_after(items[j].last);
        }
        if (!is_gone)
            ranges_add(&left, item);
    }
    free(ranges->items);
    *ranges = left;
}

void ranges_intersect(const struct relation_range *a, uint32_t n_a, const struct relation_range *b, uint32_t n_b, struct ranges *ret)
{
    uint32_t i = 0, k = 0;
    while (i < n_a && k < n_b) {
        if (ranges_overlap(&a[i], &b[k])) {
            const struct address *first = address_compare(&a[i].first, &b[k].first) > 0 ? &a[i].first : &b[k].first;
            const struct address *last = address_compare(&a[i].last, &b[k].last) < 0 ? &a[i].last : &b[k].last;
            ranges_add(ret, (struct relation_range){ *first, *last });
        }
        if (address_compare(&a[i].last, &b[k].last) < 0)
            i++;
        else
            k++;
    }
}

bool ranges_contain(const struct relation_range *items, uint32_t n, const struct address *address)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address_compare(&items[middle].last, address) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && address_compare(&items[low].first, address) <= 0;
}
